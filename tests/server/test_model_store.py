import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from support import onnx_models as onnx

from darkroom.engine.model_store import adopt_model, import_model, installed_models, remove_model, verify_model
from darkroom_tools.errors import InvalidSettings, ModelInvalid, ModelNotInstalled


def source(folder: Path, data: bytes) -> Path:
    path = folder / "given.onnx"
    path.write_bytes(data)
    return path


def files_of(models_dir: Path) -> set[str]:
    return {path.name for path in models_dir.iterdir()} - {".lock"}


def test_an_imported_model_is_listed_with_the_digest_of_its_bytes(tmp_path: Path) -> None:
    data = onnx.identity()

    import_model(tmp_path / "models", "u2net", source(tmp_path, data))

    found = installed_models(tmp_path / "models")["u2net"]
    assert found.path.read_bytes() == data
    assert (found.sha256, found.bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_the_manifest_on_disk_names_all_that_is_known_of_a_file(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.identity()})

    entry = json.loads((models_dir / "manifest.json").read_text())["one"]

    assert set(entry) == {"file", "sha256", "bytes", "added", "trust", "source"}
    assert (models_dir / entry["file"]).stat().st_size == entry["bytes"]


def test_a_manifest_of_an_older_version_keeps_working(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.identity()})
    manifest = models_dir / "manifest.json"
    entries = json.loads(manifest.read_text())
    old = {name: entries["one"][name] for name in ("file", "sha256", "bytes", "added")}
    manifest.write_text(json.dumps({"one": old}))

    found = verify_model(models_dir, "one")

    assert (found.trust, found.source) == ("first-use", "")


def test_a_file_of_the_folder_is_adopted_under_its_name_with_its_source(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.times(2)})
    (models_dir / ".part").write_bytes(onnx.times(3))

    adopt_model(models_dir, "one", models_dir / ".part", source="https://example.com/one", judge=lambda _: "md5")

    found = verify_model(models_dir, "one")
    assert (found.trust, found.source) == ("md5", "https://example.com/one")
    assert found.path.read_bytes() == onnx.times(3)
    assert files_of(models_dir) == {"manifest.json", found.path.name}


def test_a_judge_that_refuses_changes_nothing(tmp_path: Path) -> None:
    def refuse(_path: Path) -> NoReturn:
        raise ModelInvalid("It is another one.")

    models_dir = onnx.install(tmp_path, {"one": onnx.times(2)})
    (models_dir / ".part").write_bytes(onnx.times(3))
    before = files_of(models_dir)

    with pytest.raises(ModelInvalid, match="another one"):
        adopt_model(models_dir, "one", models_dir / ".part", source="", judge=refuse)
    with pytest.raises(ModelInvalid, match="another one"):
        import_model(models_dir, "one", source(tmp_path, onnx.times(3)), judge=refuse)

    assert files_of(models_dir) == before
    assert verify_model(models_dir, "one").path.read_bytes() == onnx.times(2)


def test_a_folder_without_imports_has_no_models(tmp_path: Path) -> None:
    assert installed_models(tmp_path / "nowhere") == {}


def test_importing_an_id_again_replaces_its_file_and_leaves_no_other(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.times(2), "other": onnx.identity()})

    import_model(models_dir, "one", source(tmp_path, onnx.times(3)))

    models = installed_models(models_dir)
    assert models["one"].path.read_bytes() == onnx.times(3)
    assert files_of(models_dir) == {"manifest.json", models["one"].path.name, models["other"].path.name}


def test_a_file_that_somebody_put_into_the_folder_is_left_alone(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.times(2)})
    (models_dir / "mine.onnx").write_bytes(onnx.times(5))

    import_model(models_dir, "one", models_dir / "mine.onnx")
    remove_model(models_dir, "one")

    assert files_of(models_dir) == {"manifest.json", "mine.onnx"}


def test_a_removed_model_is_gone_from_list_and_disk(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.identity()})

    remove_model(models_dir, "one")

    assert installed_models(models_dir) == {}
    assert files_of(models_dir) == {"manifest.json"}


@pytest.mark.parametrize("use", [remove_model, verify_model])
def test_an_unknown_model_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, use: Callable[[Path, str], object]
) -> None:
    with pytest.raises(ModelNotInstalled) as caught:
        use(tmp_path, "u2net")

    assert caught.value.details["command"] == "darkroom models pull u2net"


@pytest.mark.parametrize("name", ["", "../u2net", "U2Net", "a/b", ".", "..", ".a", "a.", "a..b", "x" * 41])
def test_ids_that_could_be_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSettings):
        import_model(tmp_path / "models", name, source(tmp_path, onnx.identity()))

    assert not (tmp_path / "models").exists()


def test_a_file_cut_short_anywhere_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    whole = onnx.luminance()
    models_dir = onnx.install(tmp_path, {"one": onnx.identity()})
    before = files_of(models_dir)

    for length in range(len(whole)):
        with pytest.raises(ModelInvalid):
            import_model(models_dir, "cut", source(tmp_path, whole[:length]))

    assert files_of(models_dir) == before


REFUSED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "external data": (onnx.external, "weights in other files"),
    "external data in a subgraph": (lambda _: onnx.external_in_subgraph(), "weights in other files"),
    "a custom domain": (lambda _: onnx.custom(), "custom library"),
    "a compiled context": (lambda _: onnx.custom("EPContext", "com.microsoft"), "compiled for one device"),
    "a picture": (lambda _: b"\x89PNG\r\n\x1a\n" + bytes(100), "no ONNX model"),
    "a pickle": (lambda _: b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01K\x02e.", "no ONNX model"),
    "endless nesting": (lambda _: nested(100), "too deeply"),
}


def nested(depth: int) -> bytes:
    """Graph in attribute in node in graph …, as protobuf bytes."""

    def field(number: int, body: bytes) -> bytes:
        size, rest = b"", len(body)
        while rest > 127:
            size, rest = size + bytes([rest & 127 | 128]), rest >> 7
        return bytes([number << 3 | 2]) + size + bytes([rest]) + body

    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return b"\x08\x08" + field(7, graph) + field(8, b"\x10\x11")


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_needs_more_than_itself_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    make, reason = REFUSED[case]

    with pytest.raises(ModelInvalid, match=reason) as caught:
        import_model(tmp_path / "models", "bad", source(tmp_path, make(tmp_path)))

    assert str(tmp_path) not in caught.value.message
    assert installed_models(tmp_path / "models") == {}


def test_the_refusal_of_a_custom_domain_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid) as caught:
        import_model(tmp_path / "models", "bad", source(tmp_path, onnx.custom(domain="somebody.else")))

    assert caught.value.details["domains"] == ["somebody.else"]


def test_operators_of_onnx_runtime_and_functions_of_the_model_are_accepted(tmp_path: Path) -> None:
    models_dir = onnx.install(
        tmp_path, {"gelu": onnx.custom("Gelu", "com.microsoft"), "own": onnx.with_local_function()}
    )

    assert set(installed_models(models_dir)) == {"gelu", "own"}


def test_a_missing_source_is_refused_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalid) as caught:
        import_model(tmp_path / "models", "one", tmp_path / "missing.onnx")

    assert str(tmp_path) not in caught.value.message


def test_a_changed_file_fails_verification_with_the_command_that_repairs_it(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.times(2)})
    path = verify_model(models_dir, "one").path

    path.write_bytes(onnx.times(3))

    with pytest.raises(ModelInvalid) as caught:
        verify_model(models_dir, "one")
    assert caught.value.details["command"] == "darkroom models import one FILE"


@pytest.mark.parametrize(
    "manifest",
    [
        "not json",
        "[]",
        '{"one": {"file": "../outside.onnx", "sha256": "%s", "bytes": 1, "added": ""}}' % ("0" * 64),
        '{"one": {"file": "one.onnx", "sha256": "short", "bytes": 1, "added": ""}}',
        '{"one": {"file": "one.onnx"}}',
        '{"one": {"file": "one.onnx", "sha256": "%s", "bytes": 1, "added": "", "trust": "all"}}' % ("0" * 64),
    ],
)
def test_a_damaged_manifest_is_said_to_be_so(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)

    with pytest.raises(ModelInvalid, match="damaged"):
        installed_models(tmp_path)


def test_what_a_killed_import_left_is_swept_by_the_next(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"one": onnx.identity()})
    (models_dir / ".import-left").write_bytes(b"half")

    import_model(models_dir, "one", source(tmp_path, onnx.identity()))

    assert files_of(models_dir) == {"manifest.json", installed_models(models_dir)["one"].path.name}
