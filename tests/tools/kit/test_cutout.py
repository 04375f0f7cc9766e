"""Where the subject is: models as rembg uses them, against rembg itself."""

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pooch
import pytest
from PIL import Image
from support.onnx_models import luminance
from support.pictures import DirectRun, gradient, noise, picture

from darkroom_tools.errors import ModelInvalid, ModelNotInstalled, RuntimeNotInstalled
from darkroom_tools.kit import cutout_models
from darkroom_tools.kit.cutout import subject_mask
from darkroom_tools.kit.pixels import as_array
from darkroom_tools.models import Card, card, cards_for

IDS = [found.id for found in cards_for("cutout")]
KINDS = ["u2net", "isnet-general-use", "isnet-anime", "birefnet-general"]
PHOTO = noise(90, 60, 3, seed=3)


def side_of(contract: Card) -> int:
    return int(contract.inputs[0].shape[-1])


@functools.cache
def own_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run_with(path: Path, model: str) -> DirectRun:
    session = own_session(path)
    return DirectRun({model: lambda array: session.run(None, {session.get_inputs()[0].name: array})})


def by_rembg(path: Path, model: str, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The mask of the library on its own: its session, its ONNX Runtime, our file."""
    kind = cutout_models._sessions()[model]
    monkeypatch.setattr(sys.modules["rembg.sessions.base"], "ort", onnxruntime)
    monkeypatch.setattr(kind, "download_models", classmethod(lambda _, *__, **___: str(path)))
    session = kind(model, onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"])
    return np.asarray(session.predict(Image.fromarray(photo))[0])


@pytest.mark.parametrize("model", KINDS)
def test_a_mask_is_exactly_the_one_that_rembg_makes_of_the_same_file(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(luminance(1, side_of(card(model))))
    found = subject_mask(picture(PHOTO).pixels, run_with(path, model), model)
    assert np.array_equal(as_array(found.mask)[..., 0], by_rembg(path, model, PHOTO, monkeypatch))
    assert (found.method, found.confidence, found.warnings) == (model, None, ())


@pytest.mark.parametrize("model", IDS)
def test_every_card_says_how_its_model_takes_a_picture(model: str) -> None:
    contract = card(model)
    side = side_of(contract)
    given: list[np.ndarray] = []
    plane = np.linspace(-2, 2, side, dtype=np.float32)[None, None, None].repeat(side, 2)

    def answer(array: np.ndarray) -> list[np.ndarray]:
        given.append(array)
        return [plane]

    mask = as_array(subject_mask(picture(PHOTO).pixels, DirectRun({model: answer}), model).mask)[..., 0]
    small = np.asarray(Image.fromarray(PHOTO).resize((side, side), Image.Resampling.LANCZOS)) / 1.0
    scale = contract.divide or small.max()
    expected = (small / scale - contract.mean) / contract.deviation
    assert given[0].dtype == np.float32
    assert np.abs(given[0][0].transpose(1, 2, 0) - expected).max() < 1e-5
    assert contract.outputs[0].shape[-2:] == (side, side)
    scaled = 1 / (1 + np.exp(-plane[0, 0])) if contract.activation == "sigmoid" else plane[0, 0]
    scaled = (scaled - scaled.min()) / np.ptp(scaled)
    full = Image.fromarray((scaled * 255).astype(np.uint8)).resize((90, 60), Image.Resampling.LANCZOS)
    assert np.abs(mask.astype(int) - np.asarray(full).astype(int)).max() <= 1


@pytest.mark.parametrize("model", IDS)
def test_files_and_digests_are_those_that_rembg_pins(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not card(model).sources:
        return
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(pooch, "retrieve", lambda url, known, **_: asked.append((url, known)))
    cutout_models._sessions()[model].download_models()
    url, known = asked[0]
    assert card(model).sources[0] == url
    assert url.endswith(f"/{card(model).file}")
    pinned = {"md5": card(model).md5, "sha256": card(model).sha256}
    assert known in {f"{kind}:{digest}" for kind, digest in pinned.items()}


def test_nothing_is_ever_fetched_or_opened_by_rembg(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("rembg went its own way")

    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")
    monkeypatch.setattr(pooch, "retrieve", refuse)
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    run = DirectRun({"u2netp": lambda array: [array[:, :1]]})
    assert subject_mask(picture(PHOTO).pixels, run, "u2netp").method == "u2netp"
    with pytest.raises(ModelNotInstalled):
        subject_mask(picture(PHOTO).pixels, run, "u2net")


def test_the_library_is_loaded_without_its_compiler_and_without_onnx_runtime() -> None:
    script = (
        "import sys; from darkroom_tools.kit import cutout_models as c; assert 'u2net' in c._sessions(); "
        "assert not {'numba', 'pymatting', 'rembg.bg', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cutout_models.importlib.util, "find_spec", lambda _: None)
    cutout_models._sessions.cache_clear()
    try:
        with pytest.raises(RuntimeNotInstalled, match=r"darkroom-mcp\[ai\]"):
            subject_mask(picture(PHOTO).pixels, DirectRun({"u2net": lambda array: [array]}), "u2net")
    finally:
        cutout_models._sessions.cache_clear()


@pytest.mark.parametrize("value", [0.0, 1.0, -7.5])
def test_a_model_that_sees_the_same_everywhere_finds_no_subject(value: float) -> None:
    run = DirectRun({"u2net": lambda _: [np.full((1, 1, 320, 320), value, np.float32)]})
    assert not as_array(subject_mask(picture(PHOTO).pixels, run, "u2net").mask).any()


@pytest.mark.parametrize("shape", [(320, 320), (1, 320, 320), (2, 1, 320, 320)])
def test_an_answer_of_another_shape_is_a_clear_error(shape: tuple[int, ...]) -> None:
    run = DirectRun({"u2net": lambda _: [np.zeros(shape, np.float32)]})
    with pytest.raises(ModelInvalid, match="u2net"):
        subject_mask(picture(PHOTO).pixels, run, "u2net")


def test_large_logits_do_not_overflow() -> None:
    plane = np.full((1, 1, 1024, 1024), -200, np.float32)
    plane[..., 512:] = 200
    run = DirectRun({"birefnet-general": lambda _: [plane]})
    mask = as_array(subject_mask(picture(PHOTO).pixels, run, "birefnet-general").mask)[..., 0]
    assert mask[30, 10] <= 1
    assert mask[30, 80] >= 254


@pytest.mark.parametrize(
    ("bands", "kind"), [(1, np.uint8), (2, np.uint8), (4, np.uint8), (1, np.uint16), (4, np.uint16)]
)
def test_grey_alpha_and_16_bits_reach_the_model_as_plain_colour(bands: int, kind: Any) -> None:
    given: list[np.ndarray] = []
    run = DirectRun({"u2netp": lambda array: [given.append(array) or array[:, :1]]})
    mask = subject_mask(picture(gradient(50, 40, bands, kind)).pixels, run, "u2netp").mask
    assert (mask.width, mask.height, mask.format) == (50, 40, "uchar")
    restored = given[0][0].transpose(1, 2, 0) * card("u2netp").deviation + card("u2netp").mean
    assert restored.max() == pytest.approx(1, abs=1e-4)
    if bands < 3:
        assert np.ptp(restored, axis=2).max() < 1e-4


def test_non_commercial_models_are_taken_only_when_they_are_named() -> None:
    models = {"bria-rmbg": lambda array: [array[:, :1]]}
    assert subject_mask(picture(PHOTO).pixels, DirectRun(models)).method == "color-cut"
    assert subject_mask(picture(PHOTO).pixels, DirectRun(models), "bria-rmbg").method == "bria-rmbg"


def test_progress_goes_where_the_caller_wants_it() -> None:
    said: list[float] = []
    run = DirectRun()
    subject_mask(picture(PHOTO).pixels, run, report=lambda done, _: said.append(done))
    assert said == sorted(said)
    assert 0 < said[-1] <= 1
    assert run.reports == []
