"""The order in which lines are read."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_tools.kit.ocr_layout import Box, reading_order


def row(top: float, left: float = 0, width: float = 200, height: float = 10) -> Box:
    return Box(left, top, left + width, top + height)


def flat(boxes: list[Box]) -> list[int]:
    return [n for paragraph in reading_order(boxes) for line in paragraph for n in line]


def test_lines_go_from_top_to_bottom() -> None:
    assert reading_order([row(40), row(0), row(20)]) == [[[1], [2], [0]]]


def test_pieces_of_a_row_go_from_left_to_right() -> None:
    boxes = [row(1, 120, 50), row(0, 0, 50), row(2, 60, 50)]
    assert reading_order(boxes) == [[[1, 2, 0]]]


def test_a_wider_white_starts_a_paragraph() -> None:
    boxes = [row(0), row(14), row(28), row(60), row(74)]
    assert reading_order(boxes) == [[[0], [1], [2]], [[3], [4]]]


def test_two_columns_are_read_one_after_the_other() -> None:
    left, right = [row(15 * n) for n in range(6)], [row(15 * n, 230) for n in range(6)]
    assert flat([*left, *right]) == list(range(12))
    assert flat([box for pair in zip(left, right, strict=True) for box in pair]) == [*range(0, 12, 2), *range(1, 12, 2)]


def test_three_columns_too() -> None:
    boxes = [row(15 * n, 230 * column) for n in range(5) for column in range(3)]
    assert flat(boxes) == [*range(0, 15, 3), *range(1, 15, 3), *range(2, 15, 3)]


def test_a_headline_over_columns_comes_first_and_a_footer_last() -> None:
    columns = [row(40 + 15 * n, left) for left in (0, 230) for n in range(5)]
    assert flat([*columns, row(0, 0, 430, 20), row(130, 0, 430)]) == [10, *range(10), 11]


def test_the_rows_of_a_table_stay_together() -> None:
    boxes = [row(15 * n, left, 40) for n in range(6) for left in (0, 100, 200)]
    assert flat(boxes) == list(range(18))
    assert reading_order(boxes)[0][0] == [0, 1, 2]


def test_an_indented_or_short_line_makes_no_column() -> None:
    boxes = [row(0, 20, 180), row(15), row(30), row(45, 0, 60), row(60, 20, 180), row(75)]
    assert flat(boxes) == list(range(6))


def test_nothing_has_no_order() -> None:
    assert reading_order([]) == []


@given(st.lists(st.tuples(*[st.floats(0, 1000) for _ in range(4)]), max_size=40), st.integers(0, 5))
def test_every_line_is_read_once_and_the_order_of_the_input_does_not_matter(
    places: list[tuple[float, ...]], seed: int
) -> None:
    boxes = [Box(x, y, x + w + 1, y + h + 1) for x, y, w, h in dict.fromkeys(places)]
    order = flat(boxes)
    assert sorted(order) == list(range(len(boxes)))
    assert all(math.isfinite(boxes[n].top) for n in order)
    shuffled = list(boxes)
    random.Random(seed).shuffle(shuffled)
    if len({(box.top + box.bottom, box.left) for box in boxes}) == len(boxes) == len({box.left for box in boxes}):
        assert sorted(flat(shuffled)) == list(range(len(boxes)))


@pytest.mark.parametrize("count", [600])
def test_many_lines_are_ordered_in_no_time(count: int) -> None:
    boxes = [row(12 * (n // 2), 230 * (n % 2)) for n in range(count)]
    assert flat(boxes) == [*range(0, count, 2), *range(1, count, 2)]
