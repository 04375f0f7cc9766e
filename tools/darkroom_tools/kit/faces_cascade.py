"""Frontal faces by a boosted cascade of local binary patterns, without a model runtime.

The cascade is the one that OpenCV trained and scikit-image carries (`data/faces/ORIGIN.md`): 20 stages of weak
classifiers over multi-block local binary patterns in a window of 24 × 24 pixels. Zhang et al., Face Detection Based on
Multi-Block LBP Representation, 2007. All windows of a scale are judged at once: the first stages everywhere, the others
on what is left.
"""

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Final, NamedTuple

from darkroom_tools.native import np, pyvips

__all__ = ["SIDE", "Windows", "search"]

SIDE: Final = 24
"""Side of the window that the cascade judges."""

SCALE_STEP: Final = 1.1
FINE_SCALE: Final = 2.0
"""Below this reduction every second window in both directions is enough."""

DENSE_STAGES: Final = 2
"""Stages judged on whole arrays; after them few windows are left and picking them out is cheaper."""

NEIGHBOURS: Final = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""Row and column of the blocks around the middle one, most significant bit first."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Square windows that passed every stage, in pixels of the searched picture.

    Attributes:
        left: Of each window.
        top: Of each window.
        side: Of each window.
        margin: By how much the sums of the stages were over their thresholds, all stages together.
    """

    left: "np.ndarray"
    top: "np.ndarray"
    side: "np.ndarray"
    margin: "np.ndarray"


class _Level(NamedTuple):
    """The picture at one scale.

    Attributes:
        sums: Over everything above and left of each corner of a pixel.
        rows: Of the windows that passed the first stages.
        columns: Of these windows.
        margin: Of these windows.
        across: Pixels of the picture per column.
        down: Pixels of the picture per row.
    """

    sums: "np.ndarray"
    rows: "np.ndarray"
    columns: "np.ndarray"
    margin: "np.ndarray"
    across: float
    down: float


@dataclass(frozen=True, slots=True)
class _Tree:
    block: tuple[int, int, int, int]
    table: "np.ndarray"


@dataclass(frozen=True, slots=True)
class _Stage:
    threshold: float
    trees: tuple[_Tree, ...]


def search(
    grey: "np.ndarray", *, smallest: float = SIDE, largest: float = math.inf, report: Callable[[float], None]
) -> Windows:
    """All windows of a grey picture in which the cascade sees an upright frontal face.

    Args:
        grey: Height × width, 8 bits.
        smallest: Side of the smallest window wanted, at least 24.
        largest: Side of the largest.
        report: Told how much is done, 0..1.
    """
    height, width = grey.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(grey).data, width, height, 1, "uchar")
    scale, last = max(1.0, smallest / SIDE), min(largest, width, height) / SIDE
    steps = max(1, math.ceil(math.log(max(last / scale, 1), SCALE_STEP)))
    levels: list[_Level] = []
    for step in range(steps):
        if scale > last:
            break
        report(step / steps)
        levels.append(_level(picture, scale))
        scale *= SCALE_STEP
    return _judged(levels)


def _level(picture: "pyvips.Image", scale: float) -> _Level:
    """The picture at one scale, judged by the first stages."""
    columns, rows = max(SIDE, round(picture.width / scale)), max(SIDE, round(picture.height / scale))
    across, down = picture.width / columns, picture.height / rows
    reduced = picture if scale == 1 else picture.resize(1 / across, vscale=1 / down, kernel="linear")
    pixels = np.asarray(reduced.numpy()).reshape(reduced.height, reduced.width)
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(pixels, 0, dtype=np.int32), 1, out=sums[1:, 1:])
    stride = 2 if scale < FINE_SCALE else 1
    rows, columns = sums.shape[0] - SIDE, sums.shape[1] - SIDE
    alive = np.ones((-(-rows // stride), -(-columns // stride)), bool)
    margins = np.zeros(alive.shape, np.float32)
    for stage in _cascade()[:DENSE_STAGES]:
        votes = sum(tree.table[_codes(sums, tree.block, rows, columns, stride)] for tree in stage.trees)
        alive &= votes >= stage.threshold
        margins += votes - stage.threshold
    at_row, at_column = np.nonzero(alive)
    return _Level(sums, at_row * stride, at_column * stride, margins[at_row, at_column], across, down)


def _judged(levels: list[_Level]) -> Windows:
    """The windows that pass the other stages, those of all scales at once: few are left of each."""
    if not levels:
        return Windows(*(np.empty(0) for _ in range(4)))
    flat = np.concatenate([level.sums.reshape(-1) for level in levels])
    starts = np.cumsum([0, *(level.sums.size for level in levels[:-1])])
    counts = [len(level.rows) for level in levels]
    rows, columns, margin = (np.concatenate(part) for part in zip(*(level[1:4] for level in levels), strict=True))
    stride = np.repeat([level.sums.shape[1] for level in levels], counts).astype(np.int32)
    corner = (np.repeat(starts, counts) + rows * stride + columns).astype(np.int32)
    left = columns * np.repeat([level.across for level in levels], counts)
    top = rows * np.repeat([level.down for level in levels], counts)
    side = np.repeat([SIDE * math.sqrt(level.across * level.down) for level in levels], counts)
    left_over = np.arange(len(corner))
    for stage in _cascade()[DENSE_STAGES:]:
        votes = np.zeros(len(corner), np.float32)
        for tree in stage.trees:
            votes += tree.table[_codes_at(flat, corner, tree.block, stride)]
        passed = votes >= stage.threshold
        margin = (margin + votes - stage.threshold)[passed]
        corner, stride, left_over = corner[passed], stride[passed], left_over[passed]
    return Windows(left[left_over], top[left_over], side[left_over], margin)


def _codes(sums: "np.ndarray", block: tuple[int, int, int, int], rows: int, columns: int, stride: int) -> "np.ndarray":
    """The pattern of nine blocks in every window: a bit for each outer block that is as bright as the middle one."""
    x, y, w, h = block
    area = (
        sums[y + h : y + 3 * h + rows, x + w : x + 3 * w + columns]
        - sums[y : y + 2 * h + rows, x + w : x + 3 * w + columns]
        - sums[y + h : y + 3 * h + rows, x : x + 2 * w + columns]
        + sums[y : y + 2 * h + rows, x : x + 2 * w + columns]
    )
    middle = area[h : h + rows : stride, w : w + columns : stride]
    code = np.zeros(middle.shape, np.uint8)
    for row, column in NEIGHBOURS:
        code <<= 1
        block_here = area[row * h : row * h + rows : stride, column * w : column * w + columns : stride]
        code |= (block_here >= middle).view(np.uint8)
    return code


def _codes_at(
    flat: "np.ndarray", corner: "np.ndarray", block: tuple[int, int, int, int], stride: "np.ndarray"
) -> "np.ndarray":
    """The patterns of some windows, given by the position of their corner in the tables of sums and by a row's size."""
    x, y, w, h = block
    first = corner + y * stride + x
    rows = first + (np.arange(4, dtype=np.int32) * h)[:, None] * stride
    grid = flat.take(rows[:, None, :] + (np.arange(4, dtype=np.int32) * w)[:, None])
    area = grid[1:, 1:] - grid[:-1, 1:] - grid[1:, :-1] + grid[:-1, :-1]
    code = np.zeros(len(corner), np.uint8)
    for row, column in NEIGHBOURS:
        code <<= 1
        code |= (area[row, column] >= area[1, 1]).view(np.uint8)
    return code


@functools.cache
def _cascade() -> tuple[_Stage, ...]:
    file = resources.files("darkroom_tools").joinpath("data", "faces", "lbpcascade_frontalface.json")
    data = json.loads(file.read_text(encoding="utf-8"))
    return tuple(
        _Stage(threshold, tuple(_tree(data["features"][feature], *rest) for feature, *rest in trees))
        for threshold, trees in data["stages"]
    )


def _tree(block: list[int], mask: str, member: float, other: float) -> _Tree:
    """The vote of each of the 256 patterns: `member` for those in the mask, least significant bit first."""
    inside = np.unpackbits(np.frombuffer(bytes.fromhex(mask), np.uint8), bitorder="little").astype(bool)
    x, y, w, h = block
    return _Tree((x, y, w, h), np.where(inside, member, other).astype(np.float32))
