"""Content and border."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import noise, picture

from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.trimming import find_content


def framed(color: Any, kind: Any = np.uint8) -> np.ndarray:
    scale = 257 if kind == np.uint16 else 1
    seen = np.full((80, 120, 3), color, kind) * np.array(scale, kind)
    seen[20:50, 30:100] = [200 * scale, 30 * scale, 90 * scale]
    return seen


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0), (30, 200, 240)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_border_of_any_colour_is_told_from_the_content(color: Any, kind: Any) -> None:
    assert find_content(picture(framed(color, kind)), 30) == (Box(30, 20, 70, 30), "border-color")


@given(st.integers(3, 60), st.integers(3, 60), st.data())
def test_the_box_is_exactly_around_the_content(width: int, height: int, data: st.DataObject) -> None:
    left, top = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40))
    seen = np.full((top + height + data.draw(st.integers(1, 30)) + 60, left + width + 90, 3), 255, np.uint8)
    seen[top + 30 : top + 30 + height, left + 40 : left + 40 + width] = 0
    assert find_content(picture(seen), 30).box == Box(left + 40, top + 30, width, height)


def test_content_that_touches_a_corner_does_not_decide_the_colour() -> None:
    seen = np.full((80, 120, 3), 255, np.uint8)
    seen[:40, :50] = 0
    assert find_content(picture(seen), 30).box == Box(0, 0, 50, 40)


def test_noise_below_the_threshold_is_border() -> None:
    seen = framed((240, 240, 240)).astype(int) + np.random.default_rng(1).integers(-9, 10, (80, 120, 3))
    seen[5, 5] = 0
    assert find_content(picture(np.clip(seen, 0, 255).astype(np.uint8)), 30).box == Box(30, 20, 70, 30)


def test_transparent_borders_come_first() -> None:
    seen = np.dstack([framed((255, 255, 255)), np.zeros((80, 120), np.uint8)])
    seen[10:70, 5:60, 3] = 255
    assert find_content(picture(seen), 30) == (Box(5, 10, 55, 60), "alpha")


def test_opaque_alpha_plays_no_part() -> None:
    seen = np.dstack([framed((255, 255, 255)), np.full((80, 120), 255, np.uint8)])
    assert find_content(picture(seen), 30) == (Box(30, 20, 70, 30), "border-color")


def test_all_frames_of_an_animation_count() -> None:
    one, other = (np.full((80, 120, 3), 255, np.uint8) for _ in range(2))
    one[10:20, 10:20], other[60:70, 90:110] = 0, 0
    assert find_content(picture(np.stack([one, other]), delay=[50, 50]), 30).box == Box(10, 10, 100, 60)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 50, 3), (50, 1, 4), (60, 60, 1)])
def test_one_colour_has_no_content(shape: tuple[int, int, int]) -> None:
    assert find_content(picture(np.full(shape, 99, np.uint8)), 30).box is None


def test_noise_is_content() -> None:
    assert find_content(picture(noise(50, 40)), 30).box == Box(0, 0, 50, 40)
