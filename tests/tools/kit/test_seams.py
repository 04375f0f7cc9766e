"""Seam carving: the cheapest seams go, whole, and never two pixels of a row for one."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from darkroom_tools.kit.seams import carried_over, carve, energy_of

LIGHTS = arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(2, 12))).map(lambda a: a.astype(np.float32))


def forward_cost(light: np.ndarray, seam: tuple[int, ...]) -> float:
    """The new edges that the removal of a seam makes, from the definition (Rubinstein et al. 2008, section 5)."""
    width = light.shape[1]
    cost = 0.0
    for row, at in enumerate(seam):
        left, right = light[row, max(0, at - 1)], light[row, min(width - 1, at + 1)]
        cost += abs(right - left)
        if row and seam[row - 1] == at - 1:
            cost += abs(light[row - 1, at] - left)
        if row and seam[row - 1] == at + 1:
            cost += abs(light[row - 1, at] - right)
    return float(cost)


def removed(columns: np.ndarray, width: int) -> np.ndarray:
    """Which pixels do not occur in a plan."""
    gone = np.ones((len(columns), width), bool)
    np.put_along_axis(gone, columns, False, 1)
    return gone


@given(arrays(np.uint8, (4, 5)))
def test_the_first_seam_is_the_cheapest_of_all(values: np.ndarray) -> None:
    light = values.astype(np.float32)
    every = [
        seam
        for seam in itertools.product(range(5), repeat=4)
        if all(abs(a - b) < 2 for a, b in itertools.pairwise(seam))
    ]
    gone = removed(carve(light, np.zeros_like(light), 4), 5)
    taken = tuple(int(row.argmax()) for row in gone)
    assert forward_cost(light, taken) == min(forward_cost(light, seam) for seam in every)


@given(LIGHTS, st.data())
def test_a_narrower_picture_keeps_the_order_of_every_row_and_removes_connected_seams(
    light: np.ndarray, data: st.DataObject
) -> None:
    rows, width = light.shape
    wanted = data.draw(st.integers(1, width))
    columns = carve(light, np.zeros_like(light), wanted)
    assert columns.shape == (rows, wanted)
    assert (np.diff(columns, axis=1) > 0).all()
    assert columns.min() >= 0
    assert columns.max() < width


@given(LIGHTS, st.integers(1, 20))
def test_a_wider_picture_repeats_pixels_and_loses_none(light: np.ndarray, more: int) -> None:
    rows, width = light.shape
    columns = carve(light, np.zeros_like(light), width + more)
    assert columns.shape == (rows, width + more)
    for row in columns:
        assert set(row) == set(range(width))
        assert (np.diff(row) >= 0).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), st.data())
def test_a_plan_at_full_size_is_carried_over_exactly(array: np.ndarray, data: st.DataObject) -> None:
    _, width, _ = array.shape
    light = array[..., 0].astype(np.float32)
    wanted = data.draw(st.integers(1, width))
    columns = carve(light, np.zeros_like(light), wanted)
    carried = carried_over(array, columns, width, wanted)
    assert np.array_equal(carried, np.take_along_axis(array, columns[..., None], 1))


@given(
    st.integers(1, 40),
    st.integers(2, 60),
    st.integers(1, 80),
    st.integers(1, 8),
    st.integers(2, 12),
    st.integers(0, 99),
)
def test_a_plan_of_any_reduced_size_moves_whole_pixels_in_order(
    rows: int, width: int, wanted: int, coarse_rows: int, coarse: int, seed: int
) -> None:
    light = np.random.default_rng(seed).uniform(0, 255, (coarse_rows, coarse)).astype(np.float32)
    target = max(1, round(coarse * wanted / width))
    target += (target == coarse and wanted != width) * (1 if wanted > width else -1)
    columns = carve(light, np.zeros_like(light), max(1, target))
    # Two bands are grey with alpha, where nothing is averaged.
    numbers = np.broadcast_to(np.arange(width, dtype=np.uint16)[:, None], (rows, width, 2))
    carried = carried_over(np.ascontiguousarray(numbers), columns, coarse, wanted)
    assert carried.shape == (rows, wanted, 2)
    steps = np.diff(carried[..., 0].astype(int), axis=1)
    assert (steps > 0).all() if wanted <= width else (steps >= 0).all()


def test_a_repeated_column_is_the_mean_of_itself_and_the_next() -> None:
    array = np.array([[[10], [20], [40]]], np.uint8)
    columns = np.array([[0, 1, 1, 2]])
    assert carried_over(array, columns, 3, 4)[0, :, 0].tolist() == [10, 20, 30, 40]


def test_flat_background_goes_and_things_stay() -> None:
    light = np.full((30, 60), 100, np.float32)
    thing = np.random.default_rng(1).uniform(0, 255, (30, 20)).astype(np.float32)
    light[:, 25:45] = thing
    columns = carve(light, energy_of(light, 2, 0), 30)
    found = np.take_along_axis(light, columns, 1)
    assert any(np.array_equal(found[:, at : at + 20], thing) for at in range(11))


def test_protected_pixels_are_never_taken_while_others_are_left() -> None:
    light = np.random.default_rng(2).uniform(0, 255, (20, 30)).astype(np.float32)
    energy = np.zeros_like(light)
    energy[5:15, 8:16] = 1e6
    columns = carve(light, energy, 12)
    assert not removed(columns, 30)[5:15, 8:16].any()


@pytest.mark.parametrize("axis", [0, 1])
def test_energy_is_the_slope_in_levels_a_pixel(axis: int) -> None:
    ramp = np.arange(20, dtype=np.float32) * 3
    light = np.broadcast_to(ramp[:, None] if axis == 0 else ramp, (20, 20)).astype(np.float32)
    assert energy_of(light, 2, 0)[1:-1, 1:-1] == pytest.approx(3)
    assert not energy_of(light, 4, 0).any()


def test_energy_is_spread_over_its_radius() -> None:
    light = np.zeros((21, 21), np.float32)
    light[:, 10:] = 80
    sharp, spread = energy_of(light, 2, 0), energy_of(light, 2, 6)
    assert not sharp[:, :8].any()
    assert spread[10, 6] > 0
    assert spread.sum() == pytest.approx(sharp.sum(), rel=0.01)


def test_progress_reaches_the_end() -> None:
    heard: list[float] = []
    light = np.random.default_rng(3).uniform(0, 255, (10, 30)).astype(np.float32)
    carve(light, np.zeros_like(light), 20, heard.append)
    carve(light, np.zeros_like(light), 50, heard.append)
    assert heard.count(1.0) == 2
    assert all(0 < share <= 1 for share in heard)
