"""What `darkroom doctor` finds out about models: the runtime, the device, the files, the server's counters."""

import json
from pathlib import Path
from typing import Any, Self

import pytest
from support import onnx_models as onnx

from darkroom import doctor
from darkroom.doctor import Finding, examine
from darkroom.engine.model_store import import_model
from darkroom.paths import DataDir


@pytest.fixture
def where(tmp_path: Path) -> DataDir:
    found = DataDir(tmp_path / "data")
    found.create()
    return found


@pytest.fixture
def canned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probes answer at once with something harmless."""
    monkeypatch.setattr(doctor, "TRY_SANDBOX", """print('["full"]')""")
    probed(monkeypatch, "cpu", {"cpu": "works"})


def probed(monkeypatch: pytest.MonkeyPatch, device: str, tried: dict[str, str], unused: str = "") -> None:
    said = json.dumps({"device": device, "tried": tried, "unused": unused})
    monkeypatch.setattr(doctor, "TRY_DEVICES", f"print('noise'); print({said!r})")


def finding(where: DataDir, subject: str) -> Finding:
    (found,) = [each for each in examine(where) if each.subject == subject]
    return found


def install(where: DataDir, model: str) -> Path:
    """A file for a model that has no card, so that nothing contradicts it."""
    source = where.root / "given.onnx"
    source.write_bytes(onnx.luminance())
    return import_model(where.models, model, source).path


@pytest.mark.usefixtures("canned")
def test_the_device_that_works_is_named_with_what_kept_the_others_away(
    where: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = {"tensorrt": "not available because the library libnvinfer.so.10 is missing", "cuda": "works"}
    probed(monkeypatch, "cuda", {**tried, "coreml": "not part of this build of ONNX Runtime"})
    found = finding(where, "ONNX Runtime")
    assert found.fix is None
    assert found.fact.endswith(
        "models run on cuda; tensorrt is not available because the library libnvinfer.so.10 is missing"
    )


@pytest.mark.usefixtures("canned")
@pytest.mark.parametrize(
    ("why", "fix"),
    [
        ("cuda is not part of this build of ONNX Runtime.", "uv tool install 'darkroom-mcp[gpu]'"),
        ("cuda is not available because the library libcuda.so.1 is missing.", "Check the driver with nvidia-smi"),
    ],
)
def test_a_gpu_that_is_there_but_not_used_has_its_reason_and_a_fix(
    where: DataDir, monkeypatch: pytest.MonkeyPatch, why: str, fix: str
) -> None:
    probed(monkeypatch, "cpu", {"cpu": "works"}, f"The NVIDIA GPU is not used: {why} See `darkroom doctor`.")
    found = finding(where, "GPU")
    assert found.fact == f"The NVIDIA GPU is not used: {why}"
    assert found.fix is not None
    assert found.fix.startswith(fix)


@pytest.mark.usefixtures("canned")
def test_a_runtime_that_does_not_load_is_said_with_the_fix(where: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TRY_DEVICES", "import no_such_module")
    found = finding(where, "ONNX Runtime")
    assert "does not load here" in found.fact
    assert found.fix is not None
    assert "darkroom-mcp[ai]" in found.fix


@pytest.mark.usefixtures("canned")
def test_without_a_runtime_the_command_is_named(where: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "runtime_version", lambda: None)
    found = finding(where, "ONNX Runtime")
    assert found.fix is not None
    assert found.fix.startswith("For models: uv tool install")


@pytest.mark.usefixtures("canned")
def test_models_are_verified_and_a_bad_one_has_its_command(where: DataDir) -> None:
    install(where, "good")
    install(where, "changed").write_bytes(b"other")
    install(where, "u2net")
    found = finding(where, "models")
    assert (found.fact.partition(";")[0], found.fix) == ("good verified", None)
    changed, other = finding(where, "model changed"), finding(where, "model u2net")
    assert "darkroom models import changed FILE" in str(changed.fix)
    assert "but its publisher pins" in str(other.fix)
    assert str(other.fix).endswith("Install it again: darkroom models pull u2net")
    assert not changed.broken


@pytest.mark.usefixtures("canned")
def test_a_damaged_list_and_an_unfinished_download_are_told(where: DataDir) -> None:
    (where.models / ".pull-u2net").write_bytes(bytes(2_000_000))
    begun = finding(where, "model u2net")
    assert begun.fact.startswith("2 MB of it were pulled")
    assert begun.fix is not None
    assert "darkroom models remove u2net" in begun.fix
    (where.models / "manifest.json").write_text("[")
    assert "damaged" in finding(where, "models").fact


@pytest.mark.usefixtures("canned")
def test_a_lock_without_a_server_that_answers_is_no_error(where: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "running_pid", lambda _where: 4711)
    assert "the server does not tell" in finding(where, "model engine").fact


class OneAnswer:
    """Stands for a client of a running server."""

    def __init__(self, *_: object, start: bool) -> None:
        assert not start, "the doctor starts nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, name: str, _arguments: dict[str, Any]) -> dict[str, Any]:
        assert name == "list_models"
        vram = {"usedBytes": 3 * 2**30, "freeBytes": 2**30, "totalBytes": 4 * 2**30}
        memory = {"memoryBytes": 300 * 2**20, "budgetBytes": 4096 * 2**20}
        engine = {"device": "cuda", "sessions": 2, "loads": 3, "evictions": 1, "queued": 0, "requests": 1200}
        return {"engine": {**engine, **memory, "vram": vram}, "items": []}


@pytest.mark.usefixtures("canned")
def test_the_running_servers_counters_are_told(where: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "running_pid", lambda _where: 4711)
    monkeypatch.setattr(doctor, "Client", OneAnswer)
    assert finding(where, "model engine").fact == (
        "on cuda, 2 loaded, 300 MiB of 4,096 MiB, GPU memory 3,072 MiB of 4,096 MiB, "
        "requests 1,200, queued 0, loads 3, evictions 1"
    )
