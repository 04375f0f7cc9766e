"""Stamps: masks of colour on any part of any picture."""

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, noise, picture

from darkroom_tools.kit.color import Rgba
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.stamp import STREAMED, inserted, overlap, stamp


def mask_of(array: np.ndarray) -> pyvips.Image:
    return pyvips.Image.new_from_memory(array.tobytes(), array.shape[1], array.shape[0], 1, "uchar").copy(
        interpretation="b-w"
    )


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(-40, 40), st.integers(-40, 40)),
)
def test_the_overlap_is_what_two_sets_of_pixels_share(
    frame: tuple[int, int], rectangle: tuple[int, int], corner: tuple[int, int]
) -> None:
    across = set(range(frame[0])) & set(range(corner[0], corner[0] + rectangle[0]))
    down = set(range(frame[1])) & set(range(corner[1], corner[1] + rectangle[1]))
    image = picture(np.zeros((frame[1], frame[0], 3), np.uint8))
    wanted = Box(min(across), min(down), len(across), len(down)) if across and down else None
    assert overlap(*rectangle, *corner, image) == wanted


@given(st.integers(-20, 40), st.integers(-20, 40), st.sampled_from([255, 128, 0]))
def test_each_pixel_is_the_mean_of_picture_and_colour_that_mask_and_alpha_ask_for(
    left: int, top: int, alpha: int
) -> None:
    base, mask = noise(30, 20), noise(12, 15, 1)
    got = array_of(stamp(picture(base), [(mask_of(mask), Rgba(250, 20, 90, alpha))], left, top))
    share = np.zeros((120, 120, 1))
    share[50 + top : 65 + top, 50 + left : 62 + left] = mask / 255 * alpha / 255
    share = share[50:70, 50:80]
    wanted = base * (1 - share) + np.array([250, 20, 90]) * share
    assert np.abs(got - wanted).max() <= 1.01


def test_later_coats_lie_over_earlier_ones() -> None:
    full = mask_of(np.full((5, 5), 255, np.uint8))
    dot = mask_of(np.pad(np.full((1, 1), 255, np.uint8), 2))
    got = array_of(stamp(picture(np.zeros((9, 9, 3), np.uint8)), [(full, Rgba(9, 9, 9)), (dot, Rgba(7, 7, 7))], 1, 1))
    assert got[3, 3, 0] == 7
    assert (got[1:6, 1:6, 0] == 9).sum() == 24
    assert (got[..., 0] == 0).sum() == 81 - 25


def test_a_grey_picture_stays_grey_as_long_as_every_colour_is() -> None:
    full = mask_of(np.full((5, 5), 255, np.uint8))
    grey = picture(np.zeros((9, 9, 1), np.uint8))
    assert stamp(grey, [(full, Rgba(9, 9, 9))], 0, 0).pixels.bands == 1
    assert stamp(grey, [(full, Rgba(9, 9, 9)), (full, Rgba(9, 8, 9))], 0, 0).pixels.bands == 3


def test_beside_the_picture_nothing_happens() -> None:
    grey = picture(np.zeros((9, 9, 1), np.uint8))
    assert stamp(grey, [(mask_of(np.full((5, 5), 255, np.uint8)), Rgba(9, 8, 9))], 9, 0) is grey


def test_every_frame_is_stamped_at_the_same_place() -> None:
    frames = np.stack([noise(20, 10, 4, seed=n) for n in range(3)])
    frames[..., 3] |= 1
    full = mask_of(np.full((4, 6), 255, np.uint8))
    got = array_of(stamp(picture(frames, "gif"), [(full, Rgba(1, 2, 3))], 17, 8))
    wanted = frames.copy()
    wanted[:, 8:, 17:] = (1, 2, 3, 255)
    assert (got == wanted).all()


@pytest.mark.parametrize("streams", [True, False])
def test_the_result_says_that_it_streams_as_its_picture_does(streams: bool) -> None:
    pixels = picture(noise(9, 9)).pixels.copy()
    if streams:
        pixels.set_type(pyvips.GValue.gint_type, STREAMED, 1)
    made = inserted(pixels, pixels.crop(2, 2, 3, 3).invert(), 2, 2)
    assert bool(made.get_typeof(STREAMED)) == streams
    assert bool(pixels.get_typeof(STREAMED)) == streams
