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
from typing import Final

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
    found: list[tuple[np.ndarray, ...]] = []
    for step in range(steps):
        if scale > last:
            break
        report(step / steps)
        found.append(_at_scale(picture, scale))
        scale *= SCALE_STEP
    if not found:
        return Windows(*(np.empty(0) for _ in range(4)))
    return Windows(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _at_scale(picture: "pyvips.Image", scale: float) -> "tuple[np.ndarray, ...]":
    columns, rows = max(SIDE, round(picture.width / scale)), max(SIDE, round(picture.height / scale))
    across, down = picture.width / columns, picture.height / rows
    reduced = picture if scale == 1 else picture.resize(1 / across, vscale=1 / down, kernel="linear")
    pixels = np.asarray(reduced.numpy()).reshape(reduced.height, reduced.width)
    top, left, margin = _judged(pixels, 2 if scale < FINE_SCALE else 1)
    side = np.full(len(top), SIDE * math.sqrt(across * down))
    return left * across, top * down, side, margin


def _judged(pixels: "np.ndarray", stride: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Top, left and margin of the windows that pass all stages."""
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), np.int32)
    np.cumsum(np.cumsum(pixels, 0, dtype=np.int32), 1, out=sums[1:, 1:])
    rows, columns = sums.shape[0] - SIDE, sums.shape[1] - SIDE
    alive = np.ones((-(-rows // stride), -(-columns // stride)), bool)
    margins = np.zeros(alive.shape, np.float32)
    stages = _cascade()
    for stage in stages[:DENSE_STAGES]:
        votes = sum(tree.table[_codes(sums, tree.block, rows, columns, stride)] for tree in stage.trees)
        alive &= votes >= stage.threshold
        margins += votes - stage.threshold
    at_row, at_column = np.nonzero(alive)
    margin = margins[at_row, at_column]
    at_row, at_column = at_row * stride, at_column * stride
    flat = sums.reshape(-1)
    for stage in stages[DENSE_STAGES:]:
        corner = at_row * sums.shape[1] + at_column
        votes = np.zeros(len(corner), np.float32)
        for tree in stage.trees:
            votes += tree.table[_codes_at(flat, corner, tree.block, sums.shape[1])]
        passed = votes >= stage.threshold
        margin = (margin + votes - stage.threshold)[passed]
        at_row, at_column = at_row[passed], at_column[passed]
    return at_row, at_column, margin


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
        code |= area[row * h : row * h + rows : stride, column * w : column * w + columns : stride] >= middle
    return code


def _codes_at(flat: "np.ndarray", corner: "np.ndarray", block: tuple[int, int, int, int], across: int) -> "np.ndarray":
    """The patterns of some windows, given by the position of their corner in the table of sums."""
    x, y, w, h = block
    offsets = (np.arange(4)[:, None] * h + y) * across + np.arange(4) * w + x
    grid = flat[corner[None, None, :] + offsets[:, :, None]]
    area = grid[1:, 1:] - grid[:-1, 1:] - grid[1:, :-1] + grid[:-1, :-1]
    code = np.zeros(len(corner), np.uint8)
    for row, column in NEIGHBOURS:
        code <<= 1
        code |= area[row, column] >= area[1, 1]
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
