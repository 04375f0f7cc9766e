"""Boxes around faces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_tools.kit.crop_box import FACE_PRESETS, Region, around, grown, held, portrait, together
from darkroom_tools.kit.geometry import largest_box

SIDE = st.integers(1, 3000)
PLACE = st.floats(-500, 3500)
RATIO = st.tuples(st.integers(1, 2000), st.integers(1, 2000))


@given(PLACE, PLACE, st.floats(0, 2000), st.floats(0, 2000), RATIO, SIDE, SIDE)
def test_a_box_is_inside_the_picture_in_its_ratio_and_holds_what_fits(
    left: float, top: float, wide: float, high: float, ratio: tuple[int, int], width: int, height: int
) -> None:
    box = around((left, top, left + wide, top + high), ratio, width, height)
    assert 0 <= box.left <= box.left + box.width <= width
    assert 0 <= box.top <= box.top + box.height <= height
    assert box.width >= 1 <= box.height
    exact = box.width * ratio[1] / ratio[0]
    slack = 1 + ratio[1] / ratio[0] + ratio[0] / ratio[1]
    assert abs(box.height - exact) <= slack or (box.width, box.height) == largest_box(width, height, *ratio)
    inside = left >= 0 <= top and left + wide <= width and top + high <= height
    if inside and wide <= box.width - 1 and high <= box.height - 1:
        assert box.left <= left + 1 and box.left + box.width >= left + wide - 1
        assert box.top <= top + 1 and box.top + box.height >= top + high - 1


@given(st.floats(-100, 1000), st.floats(1, 800), st.integers(1, 1000), st.lists(st.tuples(PLACE, st.floats(1, 300))))
def test_a_window_stays_in_the_picture_and_cuts_nothing_that_it_can_hold(
    start: float, length: float, whole: int, spans: list[tuple[float, float]]
) -> None:
    length = min(length, whole)
    keep = [(first, first + size) for first, size in spans]
    found = held(start, length, whole, keep)
    assert -1e-6 <= found <= whole - length + 1e-6
    if keep:
        first, last = max(0.0, keep[0][0]), min(float(whole), keep[0][1])
        if 0 <= last - first <= length:
            assert found <= first + 1e-6
            assert found + length >= last - 1e-6


def test_a_window_moves_no_further_than_it_must() -> None:
    assert held(40, 50, 200, []) == 40
    assert held(40, 50, 200, [(45, 60)]) == 40
    assert held(40, 50, 200, [(80, 100)]) == 50
    assert held(40, 50, 200, [(10, 30)]) == 10
    assert held(500, 50, 200, []) == 150


def test_the_face_that_comes_first_wins_where_both_do_not_fit() -> None:
    assert held(0, 50, 200, [(100, 120), (0, 20)]) == 70
    assert held(0, 50, 200, [(0, 20), (100, 120)]) == 0


def test_a_face_longer_than_the_window_is_shown_from_its_middle() -> None:
    assert held(0, 50, 200, [(100, 180)]) == 115


@pytest.mark.parametrize(("preset", "times"), [("close-up", 1.8), ("head-and-shoulders", 2.8)])
def test_the_box_of_one_face_is_so_many_times_as_high(preset: str, times: float) -> None:
    left, top, right, bottom = portrait([(400, 300, 500, 400)], preset, 0)
    assert bottom - top == pytest.approx(100 * times)
    assert (left, right) == (380, 520)
    assert top < 300
    box = around((left, top, right, bottom), (1, 1), 2000, 2000)
    assert box.width == box.height == pytest.approx(100 * times, abs=1)
    assert box.left + box.width / 2 == pytest.approx(450, abs=1)


def test_presets_grow() -> None:
    assert [times for times, _ in FACE_PRESETS.values()] == [1.8, 2.8, 4.5, 7.0]
    assert all(room < times - 1 for times, room in FACE_PRESETS.values())


def test_padding_adds_a_share_of_the_height_at_each_side() -> None:
    face: Region = (0, 0, 100, 100)
    plain, padded = portrait([face], "upper-body", 0), portrait([face], "upper-body", 0.1)
    assert [abs(b - a) for a, b in zip(plain, padded, strict=True)] == pytest.approx([45] * 4)


def test_people_belong_together_if_they_are_about_as_near() -> None:
    large, near, far = (0, 0, 90, 100), (200, 0, 260, 60), (300, 0, 340, 40)
    assert together([far, near, large]) == [large, near]


def test_room_around_a_face_is_measured_in_its_height() -> None:
    assert grown((10, 20, 30, 40), 0.5, 1, 0.25) == (0, 0, 40, 45)
