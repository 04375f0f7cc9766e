"""Models that lie inside installed packages."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support import onnx_models as onnx
from support.onnx_models import infer

from darkroom.engine import models, packaged_models
from darkroom.engine.model_store import import_model
from darkroom.engine.models import ModelService
from darkroom.engine.packaged_models import packaged_path
from darkroom_tools.models import Card


def carried(inside: str = "models/twice.onnx", sha256: str | None = None) -> Card:
    return Card("twice", "test", "Twice", "twice.onnx", "MIT", packaged=f"carrier_of_models/{inside}", sha256=sha256)


@pytest.fixture
def carrier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that must not be loaded, and which carries a model."""
    package = tmp_path / "packages" / "carrier_of_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('this package was loaded')")
    (package / "models" / "twice.onnx").write_bytes(onnx.times(2))
    monkeypatch.syspath_prepend(str(package.parent))
    yield package
    packaged_models._found.cache_clear()


def announce(monkeypatch: pytest.MonkeyPatch, *cards: Card) -> None:
    monkeypatch.setattr(packaged_models, "cards", lambda: {card.id: card for card in cards})


def test_a_model_in_a_package_is_found_and_hashed_without_loading_the_package(
    carrier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(monkeypatch, carried())
    found = packaged_models.packaged_models()["twice"]
    data = (carrier / "models" / "twice.onnx").read_bytes()
    assert (found.path, found.bytes) == (carrier / "models" / "twice.onnx", len(data))
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert "carrier_of_models" not in sys.modules


def test_a_packaged_file_other_than_that_of_the_card_is_left_out(
    carrier: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    announce(monkeypatch, carried(sha256="0" * 64))
    assert packaged_models.packaged_models() == {}
    assert "twice" in caplog.text


@pytest.mark.parametrize("where", [carried("models/other.onnx").packaged, "no_such_package/x.onnx", None])
def test_what_no_package_carries_is_not_found(carrier: Path, where: str | None) -> None:
    assert packaged_path(Card("x", "test", "X", "x.onnx", "MIT", packaged=where)) is None


@pytest.mark.anyio
async def test_a_packaged_model_runs_in_the_sandbox_and_an_imported_one_wins(
    tmp_path: Path, carrier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    announce(monkeypatch, carried())
    service = ModelService(tmp_path / "models", memory_bytes=2**30, providers=["cpu"])
    one = np.ones((1, 1), np.float32)
    try:
        assert await infer(service, "twice", one) == [[[2]]]

        (tmp_path / "new.onnx").write_bytes(onnx.times(7))
        import_model(tmp_path / "models", "twice", tmp_path / "new.onnx")
        assert await infer(service, "twice", one) == [[[7]]]
    finally:
        await service.aclose()


def test_without_onnx_runtime_packaged_models_do_not_count_as_installed(
    tmp_path: Path, carrier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(monkeypatch, carried())
    service = ModelService(tmp_path / "models", memory_bytes=2**30)
    monkeypatch.setattr(models, "_has_runtime", lambda: False)
    assert service.installed() == {}
    monkeypatch.setattr(models, "_has_runtime", lambda: True)
    assert list(service.installed()) == ["twice"]
