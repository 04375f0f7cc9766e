"""Compare: an exact count, and a picture that shows it."""

from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, gradient, noise, picture, use

from darkroom_tools.errors import InvalidSettings, OutputTooLarge
from darkroom_tools.utilities.compare import compare

PHOTO = noise(40, 30)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", ["diff", "overlay", "side-by-side"])
def test_a_picture_is_like_itself(bands: int, dtype: Any, mode: str) -> None:
    image = picture(noise(20, 10, bands, dtype))
    got = use(compare, image, image, mode=mode, diffThreshold=0)
    assert got.facts == {"similarity": 100.0, "dimensions": {"width": 20, "height": 10}, "diffPixels": 0}
    assert got.warnings == ()
    assert got.encoding.format == "png"


@given(st.integers(0, 255), st.integers(0, 1000))
def test_pixels_with_a_channel_over_the_threshold_are_counted(threshold: int, seed: int) -> None:
    other = noise(40, 30, seed=seed + 1)
    got = use(compare, picture(PHOTO), picture(other), diffThreshold=threshold)
    differ = (np.abs(PHOTO.astype(int) - other).max(axis=-1) > threshold).sum()
    assert got.facts["diffPixels"] == differ
    assert got.facts["similarity"] == pytest.approx(100 * (1 - differ / 1200), abs=0.0101)


def test_one_pixel_in_a_million_is_not_100_percent() -> None:
    black = np.zeros((1000, 1000, 1), np.uint8)
    dot = black.copy()
    dot[3, 5] = 11
    facts = use(compare, picture(black), picture(dot)).facts
    assert (facts["diffPixels"], facts["similarity"]) == (1, 99.99)
    dot[3, 5] = 10
    assert use(compare, picture(black), picture(dot)).facts["similarity"] == 100


def test_diff_marks_exactly_the_changed_pixels_red() -> None:
    changed = PHOTO.copy()
    changed[5:10, 7:20] = PHOTO[5:10, 7:20] + 100
    got = array_of(use(compare, picture(PHOTO), picture(changed)))
    red = (got == (255, 0, 0)).all(axis=-1)
    assert red[5:10, 7:20].all()
    assert red.sum() == 5 * 13
    assert (got[~red].max(axis=-1) == got[~red].min(axis=-1)).all()
    assert got[~red].min() >= 170


@pytest.mark.parametrize("opacity", [0, 30, 100])
def test_overlay_mixes_by_opacity(opacity: int) -> None:
    other = noise(40, 30, seed=9)
    got = array_of(use(compare, picture(PHOTO), picture(other), mode="overlay", opacity=opacity)).astype(float)
    assert np.abs(got - (PHOTO * (1 - opacity / 100) + other * (opacity / 100))).max() <= 0.51


def test_side_by_side_puts_the_image_left_and_the_target_right() -> None:
    other = noise(40, 30, seed=9)
    got = array_of(use(compare, picture(PHOTO), picture(other), mode="side-by-side"))
    assert (got == np.hstack([PHOTO, other])).all()


def test_a_target_of_another_size_is_stretched_and_said() -> None:
    photo = skimage.data.astronaut()
    smaller = np.asarray(PIL.Image.fromarray(photo).resize((256, 128), PIL.Image.Resampling.LANCZOS))
    got = use(compare, picture(smaller), picture(photo), diffThreshold=20)
    assert (got.width, got.height) == (256, 128)
    assert got.facts["similarity"] > 99
    assert "512×512" in got.warnings[0]
    assert "256×128" in got.warnings[0]


def test_colour_under_full_transparency_does_not_count_but_alpha_does() -> None:
    red, green = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    red[..., 0] = green[..., 1] = 255
    assert use(compare, picture(red), picture(green)).facts["diffPixels"] == 0
    green[0, 0, 3] = 255
    assert use(compare, picture(red), picture(green)).facts["diffPixels"] == 1


def test_grey_and_colour_and_depth_are_compared_as_they_look() -> None:
    grey = gradient(50, 20, 1)
    colour = np.repeat(grey, 3, axis=-1)
    deep = colour.astype(np.uint16) * 257
    assert use(compare, picture(grey), picture(colour), diffThreshold=0).facts["diffPixels"] == 0
    assert use(compare, picture(deep), picture(colour), diffThreshold=1).facts["diffPixels"] == 0


def test_only_first_frames_are_compared_and_the_result_is_a_still() -> None:
    frames = np.stack([noise(20, 10, seed=n) for n in range(3)])
    got = use(compare, picture(frames, "gif"), picture(frames[0]), mode="overlay")
    assert got.facts["similarity"] == 100
    assert (got.frames, got.height) == (1, 10)
    assert got.pixels.get_typeof("delay") == 0
    assert "first frames" in got.warnings[0]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    image = picture(np.full(shape, 9, np.uint8))
    for mode in ("diff", "overlay", "side-by-side"):
        assert use(compare, image, picture(PHOTO), mode=mode).facts["dimensions"]["width"] == shape[1]


def test_earlier_wishes_for_the_encoding_do_not_spoil_the_png() -> None:
    image = picture(PHOTO).encode_as(format="jpeg", quality=5, target_bytes=100)
    encoding = use(compare, image, image).encoding
    assert (encoding.format, encoding.quality, encoding.target_bytes) == ("png", None, None)


def test_side_by_side_over_the_limit_is_refused() -> None:
    wide = picture(np.zeros((1, 9000, 1), np.uint8))
    with pytest.raises(OutputTooLarge):
        use(compare, wide, replace(wide), mode="side-by-side")
    assert use(compare, wide, wide).facts["similarity"] == 100


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"mode": "blink"}, "overlay"), ({"diffThreshold": 256}, "255"), ({"opacity": -1}, "opacity"), ({"a": 1}, "mode")],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        compare.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    cat = skimage.data.chelsea()[20:160, 100:240]
    changed = cat.copy()
    changed[50:80, 60:100] //= 2
    for mode in ("diff", "overlay"):
        golden(array_of(use(compare, picture(cat), picture(changed), mode=mode)), f"compare-{mode}", tolerance=2)
