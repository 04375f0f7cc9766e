"""In which order lines of text are read: straight, by columns, rows and paragraphs."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Box", "reading_order"]

COLUMN_GAP: Final = 0.8
"""Least width of the white between two columns, in line heights."""
COLUMN_LINES: Final = 3
COLUMN_WIDTH: Final = 6.0
"""Least width of the usual line of a column, in line heights; narrower ones are the cells of a table."""
PARAGRAPH_GAP: Final = 0.6
"""White between two paragraphs beyond that between their lines, in line heights."""
SAME_ROW: Final = 0.5
"""Share of the lower height by which two boxes must overlap to stand in one row."""
DEPTH: Final = 12


@dataclass(frozen=True, slots=True)
class Box:
    """Where a line stands on an upright page, in any unit."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def reading_order(boxes: Sequence[Box]) -> list[list[list[int]]]:
    """Paragraphs of rows of boxes, by number, as one reads them from left to right and from top to bottom."""
    if not boxes:
        return []
    blocks = _blocks(list(range(len(boxes))), boxes, DEPTH)
    return [paragraph for block in blocks for paragraph in _paragraphs(_rows(block, boxes), boxes)]


def _blocks(group: list[int], boxes: Sequence[Box], depth: int) -> list[list[int]]:
    """Parts of the page that are read one after the other, each from row to row."""
    if depth == 0 or len(group) < 2 * COLUMN_LINES:
        return [group]
    columns = _columns(group, boxes)
    if columns is not None:
        return [block for column in columns for block in _blocks(column, boxes, depth - 1)]
    # A headline or a footer that spans the columns hides the white between them: look for a part of the page.
    strips = _strips(group, boxes)
    for start in range(len(strips)):
        end = _columns_end(strips, start, boxes)
        if end is not None:
            parts = [_together(strips[low:high]) for low, high in ((0, start), (start, end), (end, len(strips)))]
            return [block for part in parts if part for block in _blocks(part, boxes, depth - 1)]
    return [group]


def _columns_end(strips: Sequence[list[int]], start: int, boxes: Sequence[Box]) -> int | None:
    """Up to which strip there are columns from a strip on; None if there are none."""
    # Strips that have no columns together get none by one more far below, so few are tried.
    for end in range(start + 1, min(start + COLUMN_LINES + 1, len(strips)) + 1):
        if _columns(_together(strips[start:end]), boxes) is not None:
            while end < len(strips) and _columns(_together(strips[start : end + 1]), boxes) is not None:
                end += 1
            return end
    return None


def _together(strips: Sequence[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(strips))


def _strips(group: Sequence[int], boxes: Sequence[Box]) -> list[list[int]]:
    """The group cut wherever white runs across the page."""
    by_top = sorted(group, key=lambda n: (boxes[n].top, boxes[n].left))
    strips, reached = [[by_top[0]]], boxes[by_top[0]].bottom
    for n in by_top[1:]:
        if boxes[n].top >= reached - 0.2 * boxes[n].height:
            strips.append([n])
        else:
            strips[-1].append(n)
        reached = max(reached, boxes[n].bottom)
    return strips


def _columns(group: Sequence[int], boxes: Sequence[Box]) -> list[list[int]] | None:
    """The group in two columns, left and right of the widest white from its top to its bottom; None without one."""
    if len(group) < 2 * COLUMN_LINES:
        return None
    height = statistics.median(boxes[n].height for n in group)
    by_left = sorted(group, key=lambda n: boxes[n].left)
    reach = list(itertools.accumulate((boxes[n].right for n in by_left), max))
    gaps = [(boxes[by_left[n]].left - reach[n - 1], n) for n in range(1, len(by_left))]
    for gap, n in sorted(gaps, reverse=True):
        if gap < COLUMN_GAP * height:
            return None
        sides = [by_left[:n], by_left[n:]]
        if all(_is_column(side, boxes, height) for side in sides) and _side_by_side(sides, boxes):
            return sides
    return None


def _is_column(side: Sequence[int], boxes: Sequence[Box], height: float) -> bool:
    if len(_rows(side, boxes)) < COLUMN_LINES:
        return False
    return statistics.median(boxes[n].right - boxes[n].left for n in side) >= COLUMN_WIDTH * height


def _side_by_side(sides: Sequence[Sequence[int]], boxes: Sequence[Box]) -> bool:
    tops = [min(boxes[n].top for n in side) for side in sides]
    bottoms = [max(boxes[n].bottom for n in side) for side in sides]
    shared = min(bottoms) - max(tops)
    return shared > 0.5 * min(bottom - top for top, bottom in zip(tops, bottoms, strict=True))


def _rows(group: Sequence[int], boxes: Sequence[Box]) -> list[list[int]]:
    """Boxes beside one another, from left to right; rows from top to bottom."""
    rows: list[list[int]] = []
    for n in sorted(group, key=lambda n: boxes[n].top + boxes[n].bottom):
        row = rows[-1] if rows else []
        if any(_beside(boxes[n], boxes[other]) for other in row):
            row.append(n)
        else:
            rows.append([n])
    return [sorted(row, key=lambda n: boxes[n].left) for row in rows]


def _beside(one: Box, other: Box) -> bool:
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    apart = one.left >= other.right - 0.5 * other.height or other.left >= one.right - 0.5 * one.height
    return apart and overlap > SAME_ROW * min(one.height, other.height)


def _paragraphs(rows: Sequence[list[int]], boxes: Sequence[Box]) -> list[list[list[int]]]:
    """Rows in paragraphs, which stand further apart than the rows in them."""
    tops = [min(boxes[n].top for n in row) for row in rows]
    bottoms = [max(boxes[n].bottom for n in row) for row in rows]
    gaps = [after - before for before, after in zip(bottoms, tops[1:], strict=False)]
    height = statistics.median(bottom - top for top, bottom in zip(tops, bottoms, strict=True))
    usual = statistics.median_low(gaps) if gaps else 0.0
    found = [[rows[0]]]
    for row, gap in zip(rows[1:], gaps, strict=True):
        if gap > max(usual, 0.0) + PARAGRAPH_GAP * height:
            found.append([row])
        else:
            found[-1].append(row)
    return found
