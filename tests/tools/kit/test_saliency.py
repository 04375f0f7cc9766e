"""What draws the eye."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from support.pictures import noise, picture

from darkroom_tools.kit.saliency import SIDE, attention, best_start, busiest_start, small


def spot(height: int, width: int, y: int, x: int, color: tuple[int, int, int]) -> np.ndarray:
    seen = np.full((height, width, 3), 120, np.uint8)
    seen[y - 8 : y + 8, x - 8 : x + 8] = color
    return seen


@pytest.mark.parametrize("color", [(220, 40, 30), (250, 250, 250), (10, 10, 10), (220, 170, 140)])
@pytest.mark.parametrize(("y", "x"), [(30, 30), (60, 120)])
def test_what_stands_out_has_the_most_weight(y: int, x: int, color: tuple[int, int, int]) -> None:
    weights = attention(spot(90, 150, y, x, color))
    assert weights.mean() == pytest.approx(1, abs=1e-3)
    assert weights[y - 10 : y + 10, x - 10 : x + 10].sum() > 0.7 * weights.sum()


@given(st.integers(1, 60), st.integers(1, 60))
def test_pictures_of_any_size_have_finite_weights(height: int, width: int) -> None:
    weights = attention(np.full((height, width, 3), 77, np.uint8))
    assert weights.shape == (height, width)
    assert np.isfinite(weights).all()


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.floats(0.5, 70))
def test_a_window_starts_inside(weights: list[float], length: float) -> None:
    start = best_start(np.array(weights), length)
    assert 0 <= start <= max(0, len(weights) - length)


def test_a_window_has_the_subject_in_its_middle() -> None:
    weights = np.ones(100)
    weights[60:70] = 20
    assert best_start(weights, 40) == pytest.approx(65 - 20, abs=1)


def test_the_busiest_window_has_the_most_grey_levels() -> None:
    seen = np.full((40, 120, 3), 90, np.uint8)
    seen[:, 70:100] = noise(30, 40)
    assert 60 <= busiest_start(seen, 40, 1) <= 70
    assert busiest_start(seen, 40, 0) == 0
    assert busiest_start(np.full((40, 120, 3), 90, np.uint8), 40, 1) == pytest.approx(40, abs=1)


@pytest.mark.parametrize(("bands", "kind"), [(1, np.uint8), (2, np.uint8), (4, np.uint16), (3, np.uint16)])
def test_every_kind_of_picture_is_reduced_to_colour(bands: int, kind: type) -> None:
    seen = small(picture(noise(400, 300, bands, kind)).pixels)
    assert seen.shape == (SIDE * 3 // 4, SIDE, 3)
    assert seen.dtype == np.uint8


def test_a_rocket_and_a_cup_are_found() -> None:
    for seen, middle in ((data.rocket(), 322), (data.coffee(), 330)):
        rgb = small(picture(seen).pixels)
        scale = seen.shape[1] / rgb.shape[1]
        length = 0.4 * rgb.shape[1]
        assert (best_start(attention(rgb).sum(0), length) + length / 2) * scale == pytest.approx(middle, abs=35)
