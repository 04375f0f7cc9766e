"""Copies on photo paper."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import noise, picture

from darkroom_tools.kit.density import pixels_of
from darkroom_tools.kit.passports import passport_specs, print_sizes
from darkroom_tools.kit.print_sheet import Grid, best_grid, printed

GUTTER = 24
"""2 mm at 300 pixels an inch."""
PAPERS = list(print_sizes().values())


def most(paper: tuple[float, float], width: int, height: int) -> int:
    """By counting up: how many photos fit into the better of both orientations."""
    best = 0
    for across, down in (paper, paper[::-1]):
        columns = rows = 0
        while (columns + 1) * width + columns * GUTTER <= pixels_of(across, 300):
            columns += 1
        while (rows + 1) * height + rows * GUTTER <= pixels_of(down, 300):
            rows += 1
        best = max(best, columns * rows)
    return best


@given(st.sampled_from(PAPERS), st.integers(40, 2400), st.integers(40, 2400))
def test_the_grid_holds_as_many_as_possible_two_millimetres_apart_in_the_middle(
    paper: tuple[float, float], width: int, height: int
) -> None:
    grid = best_grid(paper, width, height)
    assert sorted((grid.width, grid.height)) == [pixels_of(side, 300) for side in paper]
    assert grid.copies == most(paper, width, height)
    for starts, length, whole in ((grid.lefts, width, grid.width), (grid.tops, height, grid.height)):
        if not grid.copies:
            break
        assert all(after - before - length == GUTTER for before, after in itertools.pairwise(starts))
        before, after = starts[0], whole - starts[-1] - length
        assert 0 <= before <= after <= before + 1


@pytest.mark.parametrize(
    ("paper", "code", "copies"),
    [("4x6", "DE", 8), ("A4", "DE", 32), ("4x6", "US", 2), ("A4", "US", 20), ("A4", "ES", 60)],
)
def test_known_sheets(paper: str, code: str, copies: int) -> None:
    spec = passport_specs()[code]
    grid = best_grid(print_sizes()[paper], pixels_of(spec.width_mm, 300), pixels_of(spec.height_mm, 300))
    assert grid.copies == copies


def test_every_copy_is_the_photo_and_nothing_is_drawn_into_it() -> None:
    photo = picture(noise(413, 531)).pixels
    grid = best_grid((102, 152), 413, 531)
    sheet = printed(photo, grid).numpy()
    assert sheet.shape == (grid.height, grid.width, 3)
    for top in grid.tops:
        for left in grid.lefts:
            assert np.array_equal(sheet[top : top + 531, left : left + 413], photo.numpy())


def test_marks_stand_beside_the_edges_of_the_photos_only() -> None:
    grid = Grid(400, 300, (60, 184), (60,))
    sheet = printed(picture(np.full((150, 100, 3), 255, np.uint8)).pixels, grid).numpy()[..., 0]
    assert {60 - 1, 160, 184 - 1, 284} == set(np.flatnonzero(sheet[40] < 255))
    assert {60 - 1, 210} == set(np.flatnonzero(sheet[:, 40] < 255))
    assert sheet[135].min() == 255
    assert sheet[: 60 - 35 - 1].min() == 255


def test_a_photo_larger_than_the_paper_has_no_place() -> None:
    assert best_grid((102, 152), 2000, 2000).copies == 0
