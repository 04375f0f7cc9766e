"""Photo restoration: what is done, what is skipped and why, and that a good photo stays as it is."""

from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio
from support.pictures import DirectRun, array_of, gradient, noise, picture, use

from darkroom_tools.ai import restore_photo as module
from darkroom_tools.ai.restore_photo import restore_photo
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings
from darkroom_tools.kit.faces import Face, Faces

PHOTO = data.chelsea()[20:220, 60:320]
GREY = cv2.cvtColor(PHOTO, cv2.COLOR_RGB2GRAY)[..., None]
POINTS = ((0.31, 0.37), (0.69, 0.37), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
STEPS = ["scratches", "faces", "noise", "fading", "colour"]


def scratched(photo: np.ndarray) -> np.ndarray:
    damaged = photo.copy()
    for number in range(4):
        start, end = (30 + 60 * number, 5), (22 + 66 * number, 190)
        cv2.line(damaged, start, end, (250,) * photo.shape[2], 2, cv2.LINE_AA)
    return damaged


def inverted(array: np.ndarray, *_: np.ndarray) -> list[np.ndarray]:
    return [-array]


def orange(_: np.ndarray) -> list[np.ndarray]:
    return [np.stack([np.full((512, 512), value, np.float32) for value in (20, 40)])[None]]


def restore(image: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    result = use(restore_photo, image, run=run, **settings)
    assert isinstance(result, Image)
    return result


def step(result: Image, name: str) -> dict[str, Any]:
    return next(each for each in result.facts["steps"] if each["step"] == name)


@pytest.mark.parametrize("photo", [PHOTO, GREY], ids=["colour", "grey"])
def test_scratches_go_and_the_photo_comes_back(photo: np.ndarray) -> None:
    damaged = scratched(photo)
    result = restore(picture(damaged), faceEnhancement=False, denoise=False)
    before, after = (peak_signal_noise_ratio(photo, each) for each in (damaged, array_of(result)))
    assert after > before + 6
    assert 1 < result.facts["scratchCoverage"] < 12
    assert step(result, "scratches") == {"step": "scratches", "done": True, "method": "diffusion"}
    assert result.facts["method"] == "diffusion"


def test_a_good_photo_stays_as_it_is() -> None:
    result = restore(picture(PHOTO), denoise=False)
    assert np.array_equal(array_of(result), PHOTO)
    assert result.facts["scratchCoverage"] == 0
    assert result.facts["method"] == "none"
    assert [each["step"] for each in result.facts["steps"]] == STEPS
    assert not any(each["done"] for each in result.facts["steps"])


def test_missing_models_are_told_and_are_no_error() -> None:
    result = restore(picture(GREY), colorize=True)
    assert result.facts["facesEnhanced"] == 0
    assert result.facts["colorized"] is False
    assert "darkroom models pull gfpgan-1.4" in step(result, "faces")["reason"]
    assert "darkroom models pull ddcolor" in step(result, "colour")["reason"]
    assert len(result.warnings) == 2


def test_a_grey_photo_is_coloured_at_the_end_as_strongly_as_asked() -> None:
    def asked(percent: int) -> Image:
        run = DirectRun({"ddcolor": orange})
        return restore(picture(GREY), run, colorize=True, colorizeStrength=percent, denoise=False)

    result = asked(50)
    seen = array_of(result).astype(int)
    assert result.facts["colorized"] is True
    assert result.facts["isGrayscale"] is True
    assert step(result, "colour")["method"] == "ddcolor"
    assert seen[..., 0].mean() > seen[..., 2].mean() + 15
    whole = array_of(asked(100)).astype(int)
    assert np.ptp(whole, axis=-1).mean() > np.ptp(seen, axis=-1).mean() + 10


def test_a_colour_photo_keeps_its_colours() -> None:
    result = restore(picture(PHOTO), DirectRun({"ddcolor": orange}), colorize=True, denoise=False)
    assert np.array_equal(array_of(result), PHOTO)
    assert "colours of its own" in step(result, "colour")["reason"]


def test_faces_are_restored_with_the_wanted_fidelity(monkeypatch: pytest.MonkeyPatch) -> None:
    face = Face(60, 40, 80, 80, 1.0, tuple((60 + x * 80, 40 + y * 80) for x, y in POINTS))
    monkeypatch.setattr(module, "find_faces", lambda *_: Faces((face,), "given", False))
    given: list[Any] = []
    real = module.restored

    def spy(*arguments: Any, **named: Any) -> Any:
        given.append(named["fidelity"])
        return real(*arguments, **named)

    monkeypatch.setattr(module, "restored", spy)
    result = restore(picture(PHOTO), DirectRun({"gfpgan-1.4": inverted}), fidelity=0.3, denoise=False)
    assert result.facts["facesEnhanced"] == 1
    assert given == [0.3]
    assert step(result, "faces") == {"step": "faces", "done": True, "method": "gfpgan-1.4"}
    assert not np.array_equal(array_of(result)[60:100, 80:120], PHOTO[60:100, 80:120])
    assert np.array_equal(array_of(result)[:, 240:], PHOTO[:, 240:])


def test_noise_is_removed() -> None:
    random = np.random.default_rng(3)
    noisy = np.clip(PHOTO + random.normal(0, 15, PHOTO.shape), 0, 255).astype(np.uint8)
    result = restore(picture(noisy), scratchRemoval=False, denoiseStrength=50)
    assert peak_signal_noise_ratio(PHOTO, array_of(result)) > peak_signal_noise_ratio(PHOTO, noisy) + 4
    assert step(result, "noise")["method"] == "dct-balanced"


def test_faded_tones_come_back() -> None:
    faded = np.round(110 + PHOTO * 0.35).astype(np.uint8)
    result = restore(picture(faded), denoise=False)
    seen = array_of(result)
    assert step(result, "fading")["done"]
    assert np.ptp(np.percentile(seen, (1, 99))) > 1.5 * np.ptp(np.percentile(faded, (1, 99)))


def test_everything_can_be_switched_off() -> None:
    result = restore(picture(scratched(PHOTO)), scratchRemoval=False, faceEnhancement=False, denoise=False)
    assert np.array_equal(array_of(result), scratched(PHOTO))
    assert result.warnings == ()


def test_alpha_and_16_bits_stay() -> None:
    alpha = gradient(PHOTO.shape[1], PHOTO.shape[0], 1)
    deep = np.concatenate([scratched(PHOTO), alpha], -1).astype(np.uint16) * 257
    seen = array_of(restore(picture(deep)))
    assert seen.dtype == np.uint16
    assert seen.shape == deep.shape
    assert np.array_equal(seen[::7, :2, 3], deep[::7, :2, 3])


def test_of_an_animation_the_first_frame_is_restored() -> None:
    result = restore(picture(np.stack([noise(20, 16, 3)] * 2), "gif", delay=[50, 50]))
    assert result.frames == 1
    assert "first of 2 frames" in result.warnings[0]


def test_the_smallest_picture_is_restored() -> None:
    assert array_of(restore(picture(noise(1, 1)))).shape == (1, 1, 3)


def test_who_gives_up_is_heard() -> None:
    with pytest.raises(Cancelled):
        restore(picture(PHOTO), DirectRun(cancel_at=0.1))


@pytest.mark.parametrize(
    "settings", [{"mode": "strong"}, {"fidelity": 2}, {"denoiseStrength": 101}, {"colorizeStrength": -1}]
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        restore_photo.settings.parse(settings)
