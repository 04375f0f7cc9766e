"""Replace Color: exactly the pixels within the tolerance, in every kind of picture."""

from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.codec import bytes_of, opened
from support.pictures import array_of, encoded_as, noise, picture, use

from darkroom_tools.adjustments.replace_color import replace_color
from darkroom_tools.errors import InvalidSettings

PHOTO = noise(60, 40)
BLUE = {"targetColor": "#C86432", "replacementColor": "#0000FF"}


def replaced(array: np.ndarray, **asked: Any) -> np.ndarray:
    return array_of(use(replace_color, picture(array), **asked))


def within(array: np.ndarray, color: tuple[int, int, int], tolerance: float) -> np.ndarray:
    return ((array.astype(np.int64) - color) ** 2).sum(axis=-1) <= tolerance**2


channels = st.integers(0, 255)


@given(st.tuples(channels, channels, channels), st.one_of(st.integers(0, 255), st.floats(0, 255)), st.booleans())
def test_exactly_the_pixels_within_the_euclidean_distance_change(
    color: tuple[int, int, int], tolerance: float, invert: bool
) -> None:
    asked = {"targetColor": f"#{bytes(color).hex()}", "replacementColor": "#010203", "tolerance": tolerance}
    got = replaced(PHOTO, **asked, invert=invert)
    hit = within(PHOTO, color, tolerance) != invert
    assert (got[hit] == (1, 2, 3)).all()
    assert (got[~hit] == PHOTO[~hit]).all()


@pytest.mark.parametrize(
    ("tolerance", "changed"), [(0, [0]), (4.9, [0]), (5, [0, 1, 2]), (6.99, [0, 1, 2]), (7, [0, 1, 2, 3])]
)
def test_the_tolerance_is_inclusive(tolerance: float, changed: list[int]) -> None:
    swatches = np.array([[[200, 100, 50], [203, 104, 50], [200, 96, 47], [198, 103, 56], [200, 108, 50]]], np.uint8)
    got = replaced(swatches, **BLUE, tolerance=tolerance)
    assert [n for n in range(5) if (got[0, n] == (0, 0, 255)).all()] == changed
    rest = [n for n in range(5) if n not in changed]
    assert (got[0, rest] == swatches[0, rest]).all()


def test_red_becomes_green_with_a_tolerance_of_30_by_default() -> None:
    row = np.array([[[255, 0, 0], [225, 0, 0], [224, 0, 0]]], np.uint8)
    assert replaced(row)[0].tolist() == [[0, 255, 0], [0, 255, 0], [224, 0, 0]]


@pytest.mark.parametrize(
    ("asked", "found", "new"),
    [
        ({"targetColor": "#0A0A0A"}, 10, (0, 255, 0)),
        ({"targetColor": "#0A0A0A", "replacementColor": "#112233"}, 10, (17, 34, 51)),
        ({"sourceColor": "#141414", "targetColor": "#112233"}, 20, (17, 34, 51)),
        ({"sourceColor": "#141414", "replacementColor": "#112233"}, 20, (17, 34, 51)),
        ({"sourceColor": "#141414"}, 20, (0, 255, 0)),
    ],
)
def test_target_color_is_found_but_beside_a_source_color_it_is_the_new_one(
    asked: dict[str, str], found: int, new: tuple[int, ...]
) -> None:
    row = np.repeat(np.array([[10, 20, 30]], np.uint8)[..., None], 3, axis=-1)
    got = replaced(row, **asked, tolerance=1)
    assert [tuple(pixel) for pixel in got[0].tolist()] == [new if v == found else (v, v, v) for v in (10, 20, 30)]


@pytest.mark.parametrize("bands", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_kept(bands: int, dtype: Any) -> None:
    array = noise(30, 20, bands, dtype)
    got = replaced(array, **BLUE, tolerance=120)
    assert (got[..., -1] == array[..., -1]).all()
    assert (got[..., :3] == np.multiply((0, 0, 255), np.iinfo(dtype).max // 255)).all(axis=-1).any()


@given(st.integers(0, 1000), st.one_of(st.integers(0, 255), st.floats(0, 255)), st.booleans())
def test_16_bits_are_compared_in_full_precision(seed: int, tolerance: float, invert: bool) -> None:
    deep = noise(30, 20, 3, np.uint16, seed)
    # Two pixels at and just beyond a distance of 5 in 8 bits.
    deep[0, :2] = [[200 * 257 + 3 * 257, 100 * 257 + 4 * 257, 50 * 257], [203 * 257, 104 * 257 + 1, 50 * 257]]
    got = replaced(deep, **BLUE, tolerance=tolerance, invert=invert)
    assert got.dtype == np.uint16
    hit = within(deep, (200 * 257, 100 * 257, 50 * 257), tolerance * 257) != invert
    assert (got[hit] == (0, 0, 65535)).all()
    assert (got[~hit] == deep[~hit]).all()


def test_16_bits_tell_apart_what_8_bits_could_not() -> None:
    deep = np.array([[[203 * 257, 104 * 257, 50 * 257], [203 * 257, 104 * 257 + 1, 50 * 257]]], np.uint16)
    got = replaced(deep, **BLUE, tolerance=5)
    assert got[0, 0].tolist() == [0, 0, 65535]
    assert (got[0, 1] == deep[0, 1]).all()


def test_grey_stays_grey_unless_the_new_colour_needs_more() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None, :, None]
    grey = replaced(ramp, targetColor="#808080", replacementColor="#000000", tolerance=20)
    assert grey.shape[-1] == 1
    hit = within(np.repeat(ramp, 3, axis=-1), (128, 128, 128), 20)
    assert (grey[..., 0] == np.where(hit, 0, ramp[..., 0])).all()
    colour = replaced(ramp, targetColor="#808080", replacementColor="#FF0000", tolerance=20)
    assert (colour[hit] == (255, 0, 0)).all()
    assert (colour[~hit] == ramp[~hit]).all()


def test_make_transparent_clears_what_matches_and_keeps_the_rest() -> None:
    got = replaced(PHOTO, **BLUE, tolerance=100, makeTransparent=True)
    hit = within(PHOTO, (200, 100, 50), 100)
    assert (got[hit] == 0).all()
    assert (got[~hit][:, :3] == PHOTO[~hit]).all()
    assert (got[~hit][:, 3] == 255).all()
    inverted = replaced(PHOTO, **BLUE, tolerance=100, makeTransparent=True, invert=True)
    assert ((inverted[..., 3] == 255) == hit).all()


def test_make_transparent_keeps_alpha_that_was_there() -> None:
    array = noise(30, 20, 4)
    got = replaced(array, **BLUE, tolerance=100, makeTransparent=True)
    hit = within(array[..., :3], (200, 100, 50), 100)
    assert (got[..., 3] == np.where(hit, 0, array[..., 3])).all()


def test_a_format_without_alpha_becomes_png_and_that_is_said() -> None:
    got = use(replace_color, picture(PHOTO, "jpeg"), makeTransparent=True)
    assert got.encoding.format == "png"
    assert "jpeg" in got.warnings[0]
    for kept in (picture(PHOTO, "webp"), encoded_as(picture(PHOTO, "jpeg"), "webp")):
        got = use(replace_color, kept, makeTransparent=True)
        assert got.encoding.format == kept.encoding.format
        assert got.warnings == ()
    assert use(replace_color, picture(PHOTO, "jpeg")).encoding.format is None


def test_each_frame_is_treated_like_a_still() -> None:
    frames = np.stack([noise(20, 10, seed=n) for n in range(3)])
    got = use(replace_color, picture(frames, "gif", delay=[50, 60, 70]), **BLUE, tolerance=150)
    assert got.pixels.get("delay") == [50, 60, 70]
    for frame, still in zip(array_of(got), frames, strict=True):
        assert (frame == replaced(still, **BLUE, tolerance=150)).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20_000, 3), (3000, 1, 4), (1, 1, 1), (2, 2, 2)])
@pytest.mark.parametrize("transparent", [False, True])
def test_degenerate_pictures_work(shape: tuple[int, ...], transparent: bool) -> None:
    got = replaced(np.full(shape, 9, np.uint8), targetColor="#090909", makeTransparent=transparent)
    if transparent:
        assert (got == 0).all()
    else:
        assert (got[..., :3] == (0, 255, 0)).all()


def test_a_stream_gives_what_a_picture_in_memory_gives(tmp_path: Any) -> None:
    photo = skimage.data.astronaut()
    (tmp_path / "photo").write_bytes(bytes_of(PIL.Image.fromarray(photo)))
    for asked in ({**BLUE, "tolerance": 90}, {**BLUE, "makeTransparent": True}):
        streamed = opened(tmp_path / "photo", sequential=True)
        assert (array_of(use(replace_color, streamed, **asked)) == replaced(photo, **asked)).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"targetColor": "red"}, "targetColor"),
        ({"replacementColor": "#12345"}, "replacementColor"),
        ({"sourceColor": "#12345678"}, "sourceColor"),
        ({"tolerance": 256}, "255"),
        ({"tolerance": -1}, "tolerance"),
        ({"sourceColor": "#000000", "targetColor": "#111111", "replacementColor": "#222222"}, "give one"),
        ({"target": "#000000"}, "targetColor"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        replace_color.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    cup = skimage.data.coffee()[120:270, 100:300]
    asked = {"targetColor": "#A03318", "replacementColor": "#205080", "tolerance": 60}
    golden(replaced(cup, **asked), "replace-color", tolerance=0)
