"""Crop: the right pixels, exact boxes, smooth shapes."""

import math
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import skimage.data
from hypothesis import assume, given
from hypothesis import strategies as st
from support.pictures import array_of, encoded_as, noise, picture, use

from darkroom_tools.errors import InvalidSettings, ProcessingFailed
from darkroom_tools.essentials.crop import crop

PHOTO = noise(90, 60)


def cut(array: np.ndarray, **asked: Any) -> np.ndarray:
    return array_of(use(crop, picture(array), **asked))


@pytest.mark.parametrize(
    ("asked", "box"),
    [
        ({"left": 10, "top": 20, "width": 30, "height": 15}, (10, 20, 30, 15)),
        ({"left": 0, "top": 0, "width": 90, "height": 60}, (0, 0, 90, 60)),
        ({"left": 10.5, "top": 20.4, "width": 29.5, "height": 15.4}, (11, 20, 30, 15)),
        ({"width": 30, "height": 20}, (30, 20, 30, 20)),
        ({"left": 80}, (80, 0, 10, 60)),
        ({"top": 50, "height": 10}, (0, 50, 90, 10)),
        ({"left": 10, "top": 50, "width": 50, "height": 50, "unit": "percent"}, (9, 30, 45, 30)),
        ({"left": 50, "top": 0, "width": 100, "height": 100, "unit": "percent"}, (45, 0, 45, 60)),
        ({"left": 0, "top": 0, "width": 0.1, "height": 0.1, "unit": "percent"}, (0, 0, 1, 1)),
        ({"aspectRatio": "1:1"}, (15, 0, 60, 60)),
        ({"aspectRatio": "16:9"}, (0, 4, 90, 51)),
        ({"aspectRatio": "9:16"}, (28, 0, 34, 60)),
        ({"aspectRatio": "1.91:1"}, (0, 6, 90, 47)),
        ({"aspectRatio": "free", "left": 1, "top": 2, "width": 3, "height": 4}, (1, 2, 3, 4)),
        ({"left": 10, "top": 10, "width": 40, "height": 20, "aspectRatio": "1:1"}, (20, 10, 20, 20)),
        ({"left": 10, "top": 10, "width": 20, "height": 40, "aspectRatio": "1:1"}, (10, 20, 20, 20)),
        ({"aspectRatio": "99999:1"}, (0, 29, 90, 1)),
    ],
)
def test_the_pixels_of_the_box_are_kept_and_no_other(asked: Any, box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    assert (cut(PHOTO, **asked) == PHOTO[top : top + height, left : left + width]).all()
    assert cut(PHOTO, **asked).shape[:2] == (height, width)


@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 40), st.integers(1, 40))
def test_no_larger_box_of_that_ratio_fits(w: int, h: int, across: int, down: int) -> None:
    got = use(crop, picture(np.zeros((h, w, 3), np.uint8)), aspectRatio=f"{across}:{down}")
    assert got.width <= w
    assert got.height <= h
    assert got.width == w or got.height == h
    assert abs(got.width * down - got.height * across) <= max(across, down) or 1 in (got.width, got.height)


@given(st.data())
def test_a_box_has_exactly_its_area(data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, 89)), data.draw(st.integers(0, 59))
    width, height = data.draw(st.integers(1, 90)), data.draw(st.integers(1, 60))
    assume(left + width <= 90 and top + height <= 60)
    assert cut(PHOTO, left=left, top=top, width=width, height=height).size == 3 * width * height


@pytest.mark.parametrize(
    "asked",
    [
        {"left": 90, "top": 0, "width": 1, "height": 1},
        {"left": 80, "top": 0, "width": 11, "height": 1},
        {"left": 0, "top": 0, "width": 91, "height": 60},
        {"width": 91, "height": 10},
        {"left": 90},
        {"left": 100, "top": 0, "width": 1, "height": 1, "unit": "percent"},
        {"left": 1e300, "top": 0, "width": 1, "height": 1, "unit": "percent"},
        {"left": 0, "top": 0, "width": 0.4, "height": 5e200},
    ],
)
def test_a_box_outside_the_picture_is_refused_with_the_size(asked: Any) -> None:
    with pytest.raises(ProcessingFailed) as refused:
        cut(PHOTO, **asked)
    assert "90×60" in refused.value.message
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "aspectRatio"),
        ({"unit": "percent"}, "aspectRatio"),
        ({"aspectRatio": "free"}, "aspectRatio"),
        ({"width": 0, "height": 5}, "width"),
        ({"left": -1, "top": 0, "width": 5, "height": 5}, "left"),
        ({"aspectRatio": "16/9"}, "16:9"),
        ({"aspectRatio": "0:9"}, "16:9"),
        ({"aspectRatio": "1:0.0"}, "16:9"),
        ({"aspectRatio": "1:" + "9" * 400}, "16:9"),
        ({"aspectRatio": "1:1", "shape": "star"}, "shape"),
        ({"aspectRatio": "1:1", "cornerRadius": -1}, "cornerRadius"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        crop.settings.parse(asked)
    assert words in refused.value.message


@pytest.mark.parametrize(("width", "height"), [(90, 60), (61, 61), (7, 31), (200, 3), (2, 2), (1, 1)])
def test_a_circle_covers_the_area_of_its_ellipse(width: int, height: int) -> None:
    alpha = cut(np.full((height, width, 3), 200, np.uint8), shape="circle")[..., 3]
    assert alpha.sum() / 255 == pytest.approx(math.pi * width * height / 4, rel=0.01, abs=0.2)
    assert (alpha == alpha[::-1]).all()
    assert (alpha == alpha[:, ::-1]).all()


def test_a_circle_agrees_with_one_drawn_large_and_reduced() -> None:
    large = PIL.Image.new("L", (90 * 16, 60 * 16))
    PIL.ImageDraw.Draw(large).ellipse((0, 0, 90 * 16 - 1, 60 * 16 - 1), fill=255)
    drawn = np.asarray(large.reduce(16)).astype(int)
    ours = cut(PHOTO, shape="circle")[..., 3].astype(int)
    assert np.abs(ours - drawn).max() <= 12


def test_a_rounded_box_agrees_with_one_drawn_large_and_reduced() -> None:
    large = PIL.Image.new("L", (90 * 16, 60 * 16))
    PIL.ImageDraw.Draw(large).rounded_rectangle((0, 0, 90 * 16 - 1, 60 * 16 - 1), 20 * 16, fill=255)
    drawn = np.asarray(large.reduce(16)).astype(int)
    ours = cut(PHOTO, shape="rounded", cornerRadius=20)[..., 3].astype(int)
    assert np.abs(ours - drawn).max() <= 12


def test_the_radius_is_24_and_never_more_than_half_a_side() -> None:
    assert (cut(PHOTO, shape="rounded") == cut(PHOTO, shape="rounded", cornerRadius=24)).all()
    assert (cut(PHOTO, shape="rounded", cornerRadius=999) == cut(PHOTO, shape="rounded", cornerRadius=30)).all()
    square = cut(PHOTO, shape="rounded", cornerRadius=0)
    assert (square[..., 3] == 255).all()


def test_a_shape_keeps_the_colour_inside_and_erases_it_outside() -> None:
    round_one = cut(PHOTO, shape="circle")
    inside = round_one[..., 3] == 255
    assert (round_one[inside][:, :3] == PHOTO[inside]).all()
    assert (round_one[round_one[..., 3] == 0] == 0).all()


def test_a_shape_multiplies_the_alpha_that_is_there() -> None:
    array = np.full((60, 60, 4), 100, np.uint8)
    alpha = cut(array, shape="circle")[..., 3]
    assert alpha[30, 30] == 100
    assert alpha.max() == 100
    assert alpha[0, 0] == 0


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_survives_every_shape(bands: int, dtype: Any) -> None:
    array = noise(40, 30, bands, dtype)
    colours = 1 if bands < 3 else 3
    assert (cut(array, aspectRatio="1:1") == array[:, 5:35]).all()
    for shape in ("circle", "rounded"):
        got = cut(array, shape=shape)
        assert got.dtype == dtype
        assert got.shape == (30, 40, colours + 1)
        assert got[15, 20, -1] == (array[15, 20, -1] if bands in (2, 4) else np.iinfo(dtype).max)
        assert (got[15, 20, :colours] == array[15, 20, :colours]).all()


def test_a_shape_without_alpha_in_the_format_is_written_as_png_and_said() -> None:
    got = use(crop, picture(PHOTO, "jpeg"), shape="circle")
    assert got.encoding.format == "png"
    assert "jpeg" in got.warnings[0]
    assert use(crop, encoded_as(picture(PHOTO, "jpeg"), "webp"), shape="circle").encoding.format == "webp"
    assert use(crop, picture(PHOTO, "jpeg"), aspectRatio="1:1").encoding.format is None


@pytest.mark.parametrize("shape", ["rectangle", "circle"])
def test_every_frame_is_cut_alike(shape: str) -> None:
    frames = np.stack([noise(40, 30, 3, seed=seed) for seed in range(3)])
    got = use(crop, picture(frames, "gif", delay=[10, 20, 30]), left=4, top=6, width=20, height=10, shape=shape)
    assert (got.frames, got.width, got.height) == (3, 20, 10)
    middle = array_of(got)[:, 5, 8:12, :3]
    assert (middle == frames[:, 11, 12:16]).all()
    assert got.pixels.get("delay") == [10, 20, 30]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 50, np.uint8)
    assert cut(array, aspectRatio="1:1").shape[:2] == (1, 1)
    assert cut(array, shape="circle").shape[:2] == shape[:2]


def test_what_it_looks_like(golden: Any) -> None:
    cat = skimage.data.chelsea()
    face = {"left": 80, "top": 20, "width": 190, "height": 190}
    golden(cut(cat, **face, shape="circle"), "crop-circle", tolerance=0)
    golden(cut(cat, **face, shape="rounded", aspectRatio="3:2"), "crop-rounded", tolerance=0)
