"""Adjust Colors: every formula against hand computation, in its order, on every kind of picture."""

import colorsys
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import pyvips
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.codec import bytes_of, opened
from support.pictures import array_of, gradient, noise, picture, use

from darkroom_tools.adjustments.color_adjustments import color_adjustments
from darkroom_tools.errors import InvalidSettings

PHOTO = noise(60, 40)
LUMA = np.array([0.2126, 0.7152, 0.0722])
percents = st.integers(-100, 100)


def adjusted(array: np.ndarray, **asked: Any) -> np.ndarray:
    return array_of(use(color_adjustments, picture(array), **asked))


def worst(got: np.ndarray, wanted: np.ndarray, white: int = 255) -> float:
    assert got.shape == wanted.shape
    return float(np.abs(got.astype(float) - np.clip(wanted, 0, white)).max())


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"brightness": 0, "contrast": 0, "red": 100, "effects": "none"},
        {"effects": []},
        {"effect": "none"},
    ],
)
def test_settings_that_change_nothing_leave_the_very_pixels(bands: int, nothing: dict[str, Any]) -> None:
    image = picture(noise(20, 10, bands))
    assert use(color_adjustments, image, **nothing) is image


def test_a_grey_picture_is_not_touched_by_what_only_colour_would_show() -> None:
    image = picture(noise(20, 10, 1))
    assert use(color_adjustments, image, saturation=50, hue=90, vibrance=-80, effects="grayscale") is image


@given(percents, percents, percents)
def test_brightness_contrast_and_exposure_are_one_curve(brightness: int, contrast: int, exposure: int) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None]
    slope = 1 + contrast / 100
    wanted = (ramp * (1 + brightness / 100) - 128) * slope + 128
    if exposure:
        gamma = 1 + abs(exposure) / 50
        wanted = 255 * (np.clip(wanted, 0, None) / 255) ** (1 / gamma if exposure > 0 else gamma)
    got = adjusted(ramp, brightness=brightness, contrast=contrast, exposure=exposure)
    assert worst(got, wanted) <= 0.51
    assert (np.diff(got[0, :, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    ("asked", "before", "after"),
    [
        ({"brightness": 50}, 100, 150),
        ({"brightness": -100}, 100, 0),
        ({"brightness": 100, "contrast": -50}, 200, 264),
        ({"contrast": 100}, 138, 148),
        ({"contrast": -100}, 7, 128),
        ({"exposure": 50}, 64, 128),
        ({"exposure": -50}, 128, 64),
        ({"exposure": 100}, 0, 0),
    ],
)
def test_curves_computed_by_hand(asked: dict[str, int], before: int, after: int) -> None:
    got = adjusted(np.full((1, 1, 3), before, np.uint8), **asked)
    assert abs(int(got[0, 0, 0]) - min(after, 255)) <= 1


@given(percents)
def test_saturation_scales_the_difference_from_luma(percent: int) -> None:
    luma = (PHOTO @ LUMA)[..., None]
    got = adjusted(PHOTO, saturation=percent)
    assert worst(got, luma + (PHOTO - luma) * (1 + percent / 100)) <= 0.51


def test_saturation_of_minus_100_is_the_grayscale_effect() -> None:
    plain, effect = adjusted(PHOTO, saturation=-100), adjusted(PHOTO, effects="grayscale")
    assert effect.shape[-1] == 1
    assert (plain == effect).all()
    assert worst(effect[..., 0], PHOTO @ LUMA) <= 0.51


@pytest.mark.parametrize("degrees", [-180, -60, 45, 90, 120, 180])
def test_hue_turns_and_luma_stays(degrees: int) -> None:
    muted = np.uint8(100) + noise(60, 40) // 8
    got = adjusted(muted, hue=degrees).astype(float)
    assert np.abs(got @ LUMA - muted @ LUMA).max() <= 0.6
    pixel = adjusted(np.full((1, 1, 3), (140, 120, 110), np.uint8), hue=degrees)[0, 0] / 255
    turned = (colorsys.rgb_to_hsv(*pixel)[0] - colorsys.rgb_to_hsv(140, 120, 110)[0]) * 360 - degrees
    assert abs((turned + 180) % 360 - 180) <= 30


def test_hue_by_a_half_turn_against_the_published_matrix() -> None:
    # The hueRotate matrix of the W3C's filter effects at 180 degrees; it is given there with three digits.
    matrix = np.array([[-0.574, 1.43, 0.144], [0.426, 0.43, 0.144], [0.426, 1.43, -0.856]])
    assert worst(adjusted(PHOTO, hue=180), PHOTO @ matrix.T) <= 1.6


@given(percents, percents)
def test_temperature_and_tint_are_gains(temperature: int, tint: int) -> None:
    t, n = temperature / 100, tint / 100
    gains = ((1 + 0.15 * t) * (1 + 0.1 * n), (1 + 0.05 * t) * (1 - 0.15 * n), (1 - 0.15 * t) * (1 + 0.1 * n))
    assert worst(adjusted(PHOTO, temperature=temperature, tint=tint), PHOTO * gains) <= 0.51


@given(percents)
def test_vibrance_is_saturation_weighted_by_what_is_not_saturated_yet(percent: int) -> None:
    high = PHOTO.max(axis=-1, keepdims=True).astype(float)
    saturation = (high - PHOTO.min(axis=-1, keepdims=True)) / np.maximum(high, 1e-9)
    luma = (PHOTO @ LUMA)[..., None]
    wanted = luma + (PHOTO - luma) * (1 + percent / 100 * (1 - saturation))
    assert worst(adjusted(PHOTO, vibrance=percent), wanted) <= 0.51


def test_vibrance_leaves_pure_colours_and_greys() -> None:
    pure = np.array([[[255, 0, 0], [0, 200, 0], [0, 0, 90], [77, 77, 77], [255, 255, 255], [0, 0, 0]]], np.uint8)
    assert worst(adjusted(pure, vibrance=100), pure) <= 1
    muted = np.full((1, 1, 3), (140, 120, 110), np.uint8)
    assert np.ptp(adjusted(muted, vibrance=80).astype(int)) > np.ptp(muted.astype(int)) + 15


@pytest.mark.parametrize(("red", "green", "blue"), [(0, 100, 200), (150, 50, 100), (80, 80, 80)])
def test_channels_are_percent(red: int, green: int, blue: int) -> None:
    got = adjusted(PHOTO, red=red, green=green, blue=blue)
    assert worst(got, PHOTO * (np.array([red, green, blue]) / 100)) <= 0.51


def test_sepia_against_the_published_matrix() -> None:
    matrix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    assert worst(adjusted(PHOTO, effects="sepia"), PHOTO @ matrix.T) <= 0.51


def test_invert_is_what_pillow_inverts() -> None:
    assert (adjusted(PHOTO, effects="invert") == np.asarray(PIL.ImageOps.invert(PIL.Image.fromarray(PHOTO)))).all()


def test_a_vignette_darkens_by_the_fourth_power_of_the_cosine() -> None:
    width, height = 81, 61
    got = adjusted(np.full((height, width, 3), 200, np.uint8), effects="vignette")[..., 0].astype(float)
    assert got[30, 40] == 200
    # A pixel's middle is half a pixel inside the corner itself.
    assert abs(got[0, 0] - 80) <= 3
    assert (got == got[::-1]).all()
    assert (got == got[:, ::-1]).all()
    for y, x in ((0, 40), (30, 0), (11, 17)):
        radius = np.hypot((2 * x + 1) / width - 1, (2 * y + 1) / height - 1) / np.sqrt(2)
        tangent = radius * np.sqrt(0.4**-0.5 - 1)
        assert abs(got[y, x] - 200 * np.cos(np.arctan(tangent)) ** 4) <= 1.1


@pytest.mark.parametrize("asked", [["sepia", "invert"], "sepia, invert"])
def test_effects_are_applied_in_the_order_given(asked: Any) -> None:
    stepwise = adjusted(adjusted(PHOTO, effects="sepia"), effects="invert")
    assert np.abs(adjusted(PHOTO, effects=asked).astype(int) - stepwise).max() <= 1
    backwards = adjusted(adjusted(PHOTO, effects="invert"), effects="sepia")
    assert np.abs(backwards.astype(int) - stepwise).max() > 50


def test_the_groups_come_in_the_order_that_the_words_promise() -> None:
    asked = [
        {"brightness": 20, "contrast": 10, "exposure": -10},
        {"saturation": 30, "hue": 40, "temperature": 50, "tint": -20},
        {"vibrance": 40},
        {"sharpness": 60},
        {"red": 120, "blue": 70},
        {"effects": "sepia,vignette"},
    ]
    photo = gradient(60, 40)
    stepwise = photo
    for group in asked:
        stepwise = adjusted(stepwise, **group)
    together = adjusted(photo, **{name: value for group in reversed(asked) for name, value in group.items()})
    assert np.abs(together.astype(int) - stepwise).max() <= 4
    backwards = photo
    for group in reversed(asked):
        backwards = adjusted(backwards, **group)
    assert np.abs(backwards.astype(int) - stepwise).max() > 20


MANY = {"brightness": 15, "exposure": 10, "saturation": 40, "temperature": 30, "vibrance": 20, "sharpness": 30}


@pytest.mark.parametrize(
    "asked",
    [{"brightness": 30}, MANY, {"effects": "grayscale"}, {"effects": "vignette"}, {"effects": "invert"}, {"red": 20}],
)
@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_never_changes(asked: dict[str, Any], bands: int, dtype: Any) -> None:
    array = noise(30, 20, bands, dtype)
    got = use(color_adjustments, picture(array), **asked)
    assert got.has_alpha
    assert (array_of(got)[..., -1] == array[..., -1]).all()


@pytest.mark.parametrize(
    ("asked", "bands"),
    [
        ({"brightness": 30, "contrast": -5}, 1),
        ({"sharpness": 40}, 1),
        ({"red": 50, "green": 50, "blue": 50}, 1),
        ({"effects": "invert,vignette"}, 1),
        ({"temperature": 30}, 3),
        ({"red": 50}, 3),
        ({"effects": "sepia"}, 3),
        ({"effects": "sepia,grayscale"}, 1),
    ],
)
def test_grey_becomes_colour_only_where_it_must(asked: dict[str, Any], bands: int) -> None:
    grey = noise(30, 20, 1)
    got = adjusted(grey, **asked)
    assert got.shape[-1] == bands
    colour = adjusted(np.repeat(grey, 3, axis=-1), **asked)
    assert np.abs(colour.astype(int) - got).max() <= 1


@pytest.mark.parametrize("asked", [{"brightness": 30, "exposure": 20}, MANY, {"effects": "sepia,vignette"}])
def test_16_bits_stay_and_are_what_8_bits_are_but_finer(asked: dict[str, Any]) -> None:
    shallow = gradient(60, 40)
    deep = adjusted(shallow.astype(np.uint16) * 257, **asked)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - adjusted(shallow, **asked)).max() <= 1.5
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    assert len(np.unique(adjusted(ramp, brightness=-40))) > 39_000


@pytest.mark.parametrize("asked", [{"brightness": 30}, MANY, {"effects": "sepia,vignette"}, {"effects": "grayscale"}])
def test_each_frame_is_treated_like_a_still(asked: dict[str, Any]) -> None:
    frames = np.stack([noise(20, 10, seed=n) for n in range(3)])
    got = use(color_adjustments, picture(frames, "gif", delay=[50, 60, 70]), **asked)
    assert (got.frames, got.height) == (3, 10)
    assert got.pixels.get("delay") == [50, 60, 70]
    for frame, still in zip(array_of(got), frames, strict=True):
        assert (frame == adjusted(still, **asked)).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20_000, 3), (3000, 1, 4), (1, 1, 1)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 90, np.uint8)
    got = adjusted(array, **MANY, effects="vignette,invert")
    assert got.shape[:2] == shape[:2]


def test_a_stream_gives_what_a_picture_in_memory_gives(tmp_path: Any) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut())
    (tmp_path / "photo").write_bytes(bytes_of(photo))
    for asked in (MANY, {**MANY, "effects": "vignette,invert"}):
        streamed = opened(tmp_path / "photo", sequential=True)
        assert (array_of(use(color_adjustments, streamed, **asked)) == adjusted(np.asarray(photo), **asked)).all()


def test_a_profile_passes_on_but_not_to_a_grey_picture() -> None:
    image = picture(PHOTO)
    held = image.pixels.copy()
    held.set_type(pyvips.GValue.blob_type, "icc-profile-data", b"profile")
    for asked in ({"brightness": 9}, {"vibrance": 9}, {"sharpness": 9}, {"effects": "vignette"}):
        got = use(color_adjustments, image.with_pixels(held), **asked)
        assert got.pixels.get("icc-profile-data") == b"profile"
    grey = use(color_adjustments, image.with_pixels(held), effects="grayscale")
    assert grey.pixels.get_typeof("icc-profile-data") == 0


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"brightness": 101}, "brightness"),
        ({"contrast": -101}, "contrast"),
        ({"hue": 181}, "hue"),
        ({"sharpness": -1}, "sharpness"),
        ({"red": 201}, "red"),
        ({"effects": "blur"}, "grayscale"),
        ({"effects": ["sepia", "blur"]}, "vignette"),
        ({"effects": 3}, "effects"),
        ({"brightnes": 3}, "brightness"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        color_adjustments.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    cat = skimage.data.chelsea()[20:170, 80:280]
    golden(adjusted(cat, exposure=20, temperature=60, vibrance=60), "color-adjustments-warm", tolerance=1)
    golden(adjusted(cat, effects="sepia,vignette"), "color-adjustments-sepia-vignette", tolerance=1)
