"""What image enhancement corrects when, and what it tells."""

from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import skimage.data
from support.pictures import DirectRun, array_of, noise, picture, use

from darkroom_tools.ai.image_enhancement import image_enhancement
from darkroom_tools.errors import Cancelled, InvalidSettings

PHOTO = np.ascontiguousarray(skimage.data.astronaut()[20:170, 120:300])
DARK = (PHOTO * 0.45).astype(np.uint8)
NAMES = {"brightness", "contrast", "temperature", "tint", "saturation", "sharpness", "denoise"}


def made(image: Any, **settings: Any) -> dict[str, float]:
    facts: dict[str, float] = use(image_enhancement, image, **settings).facts["corrections"]
    return facts


def test_the_reply_has_scores_corrections_issues_and_a_scene() -> None:
    result = use(image_enhancement, picture(DARK))
    assert set(result.facts["scores"]) == {
        "exposure",
        "contrast",
        "whiteBalance",
        "saturation",
        "sharpness",
        "noise",
    }
    assert all(0 <= score <= 100 for score in result.facts["scores"].values())
    assert set(result.facts["corrections"]) == NAMES
    assert "underexposed" in result.facts["issues"]
    assert isinstance(result.facts["suggestedMode"], str)


def test_a_dark_photo_becomes_nearly_what_it_was() -> None:
    result = array_of(use(image_enhancement, picture(DARK))).astype(float)
    assert np.abs(result - PHOTO).mean() < np.abs(DARK.astype(float) - PHOTO).mean() / 2.5


def test_a_picture_that_lacks_nothing_comes_back_untouched() -> None:
    checks = ((np.indices((120, 120)) // 24).sum(0) % 2 * 220 + 15).astype(np.uint8)
    image = picture(checks)
    assert use(image_enhancement, image).pixels is image.pixels


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("exposure", {"brightness"}),
        ("contrast", {"contrast"}),
        ("color", {"temperature", "tint", "saturation"}),
        ("sharpness", {"sharpness"}),
    ],
)
def test_a_mode_of_one_correction_makes_no_other(mode: str, names: set[str]) -> None:
    bad = cv2.GaussianBlur(np.clip(DARK * [1.2, 1, 0.7], 0, 255), (0, 0), 1.5).astype(np.uint8)
    only = made(picture(bad), mode=mode)
    assert {name for name, value in only.items() if value} <= names
    assert {name for name, value in only.items() if value}


def test_a_scene_weighs_the_corrections() -> None:
    usual, night = made(picture(PHOTO // 8)), made(picture(PHOTO // 8), mode="low-light")
    assert usual["contrast"]
    assert night["contrast"] == pytest.approx(1.5 * usual["contrast"], abs=0.1)
    assert night["brightness"] == pytest.approx(1.8 * usual["brightness"], abs=0.1)


def test_strength_scales_the_corrections_and_zero_does_nothing() -> None:
    image = picture(DARK)
    half, usual, twice = (made(image, strength=s) for s in (25, 50, 100))
    assert usual["contrast"] > 0
    assert half["contrast"] == usual["contrast"] / 2
    assert twice["contrast"] == usual["contrast"] * 2
    assert made(image, intensity=100) == twice
    assert use(image_enhancement, image, strength=0).pixels is image.pixels


def test_corrections_can_be_switched_off() -> None:
    image = picture(np.clip(DARK * [1.2, 1, 0.7], 0, 255).astype(np.uint8))
    switched = made(image, corrections={"whiteBalance": False, "contrast": False})
    assert switched["temperature"] == switched["contrast"] == 0
    assert made(image)["temperature"] < 0
    every = ("exposure", "contrast", "whiteBalance", "saturation", "sharpness", "denoise")
    assert use(image_enhancement, image, corrections=dict.fromkeys(every, False)).pixels is image.pixels


def test_light_is_not_cut_off() -> None:
    result = array_of(use(image_enhancement, picture(DARK)))
    assert (result.max(-1) == 255).mean() < 0.005
    assert (result.max(-1) == 0).mean() <= (DARK.max(-1) == 0).mean() + 0.005


def test_noise_is_removed_where_there_is_much() -> None:
    rough = np.clip(PHOTO + np.random.default_rng(0).normal(0, 14, PHOTO.shape), 0, 255).astype(np.uint8)
    result = use(image_enhancement, picture(rough))
    assert result.facts["corrections"]["denoise"] == 5
    assert np.abs(array_of(result).astype(float) - PHOTO).mean() < 0.6 * np.abs(rough.astype(float) - PHOTO).mean()


def test_a_page_becomes_dark_on_white() -> None:
    page = skimage.data.page()
    light = np.linspace(0.5, 1, page.shape[1])[None, :, None] * np.array([1, 0.92, 0.75])
    result = array_of(use(image_enhancement, picture((page[..., None] * light).astype(np.uint8)), mode="document"))
    grey = result.mean(-1)
    ink = cv2.adaptiveThreshold(page, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, 31, 25) > 0
    paper = ~cv2.dilate(ink.astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert np.percentile(grey[paper], 5) > 195
    assert np.median(grey[ink]) < 110
    assert np.ptp(result[paper].astype(int), axis=-1).mean() < 6


@pytest.mark.parametrize("mode", ["auto", "document"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_bands_and_alpha_stay(mode: str, bands: int, dtype: Any) -> None:
    array = noise(50, 40, bands, dtype) // 3
    got = array_of(use(image_enhancement, picture(array), mode=mode))
    assert (got.shape, got.dtype) == (array.shape, array.dtype)
    assert (got != array).any()
    if bands in (2, 4):
        assert (got[..., -1] == array[..., -1]).all()


def test_all_frames_of_an_animation_are_corrected_alike() -> None:
    frames = np.stack([DARK[:60, :80], DARK[60:120, :80], DARK[:60, 80:160]])
    result = use(image_enhancement, picture(frames, "gif", delay=[50, 60, 70]))
    assert result.pixels.get("delay") == [50, 60, 70]
    alone = use(image_enhancement, picture(frames[0]))
    assert (array_of(result)[0] == array_of(alone)).all()
    assert result.facts == alone.facts


def test_a_caller_that_gives_up_stops_the_work() -> None:
    with pytest.raises(Cancelled):
        use(image_enhancement, picture(noise(900, 300)), run=DirectRun(cancel_at=0.3))


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 1)])
@pytest.mark.parametrize("mode", ["auto", "document", "sharpness"])
def test_pictures_of_any_shape_work(mode: str, shape: tuple[int, ...]) -> None:
    assert array_of(use(image_enhancement, picture(noise(shape[1], shape[0], shape[2])), mode=mode)).shape == shape


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mode": "night"}, "low-light"),
        ({"strength": 101}, "strength"),
        ({"corrections": {"contrast": "much"}}, "corrections.contrast"),
        ({"corrections": {"sharp": True}}, "sharp"),
        ({"intensity": -1}, "strength"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        image_enhancement.settings.parse(settings)


def test_what_it_looks_like(golden: Any) -> None:
    hazy = np.round(PHOTO * 0.5 + 100).astype(np.uint8)
    golden(array_of(use(image_enhancement, picture(hazy))), "image-enhancement-haze", tolerance=2)
    page = np.asarray(PIL.Image.fromarray(skimage.data.page()).crop((0, 0, 200, 190)))
    light = np.linspace(0.5, 1, 200)[None, :, None] * np.array([1, 0.92, 0.75])
    result = use(image_enhancement, picture((page[..., None] * light).astype(np.uint8)), mode="document")
    golden(array_of(result), "image-enhancement-document", tolerance=2)
