"""Seam carving: which pixels of each row stay when a picture gets narrower, or come twice when it gets wider.

Avidan, Shamir: Seam Carving for Content-Aware Image Resizing (2007), with the forward energy of Rubinstein, Shamir,
Avidan: Improved Seam Carving for Video Retargeting (2008). The optimal paths from all pixels of the last row form a
forest: two of them share a pixel only if they start at the same pixel of the first row. So the best path of each tree
is an optimal seam that touches none of the others, and many seams come out of one pass.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from darkroom_tools.native import np

__all__ = ["carried_over", "carve", "energy_of"]

WIDEST_STEP: Final = 3
"""A picture grows by at most one in so many columns at a time, else the same seam would be repeated."""


class _State(NamedTuple):
    """A picture in the middle of being carved: brightness, energy, and the source column of each pixel."""

    light: "np.ndarray"
    energy: "np.ndarray"
    columns: "np.ndarray"

    def keep(self, kept: "np.ndarray") -> "_State":
        rows = len(kept)
        return _State(*(plane[kept].reshape(rows, -1) for plane in self))

    def take(self, order: "np.ndarray") -> "_State":
        return _State(*(np.take_along_axis(plane, order, 1) for plane in self))


def energy_of(light: "np.ndarray", threshold: float, blur: float) -> "np.ndarray":
    """How much a pixel matters by itself: the slope of the brightness (Sobel), spread a little.

    Args:
        light: Brightness, 0..255, rows × columns.
        threshold: Slopes below so many levels a pixel count as flat.
        blur: Radius in pixels that the slopes are spread over.
    """
    padded = np.pad(light, 1, mode="edge")
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    slope: np.ndarray = np.hypot(down[:, 2:] - down[:, :-2], across[2:] - across[:-2]) / 8
    slope[slope < threshold] = 0
    for axis in (0, 1):
        # Two passes of a box are close to a bell.
        for _ in range(2):
            slope = _box(slope, blur / 2, axis)
    return slope


def carve(
    light: "np.ndarray", energy: "np.ndarray", width: int, report: Callable[[float], None] = lambda _: None
) -> "np.ndarray":
    """Find where the pixels of a picture of another width come from.

    Args:
        light: Brightness, 0..255, float32, rows × columns.
        energy: What each pixel costs beside the edges that its removal makes; large values protect.
        width: Wanted number of columns, at least 1.
        report: Takes the share that is done, 0..1.

    Returns:
        For each row of the result the columns of the source, never falling; rows × new width.
    """
    rows, before = light.shape
    columns = np.broadcast_to(np.arange(before, dtype=np.int32), (rows, before))
    state = _State(light, energy, columns)
    seams = abs(width - before)
    done = 0
    while state.light.shape[1] > width:
        kept = _without_seams(state, state.light.shape[1] - width)
        state = state.keep(kept)
        report((before - state.light.shape[1]) / seams)
    while state.light.shape[1] < width:
        now = state.light.shape[1]
        step = min(width - now, max(1, now // WIDEST_STEP))
        state = state.take(_with_seams_twice(state, step))
        done += step
        report(done / seams)
    return state.columns


def carried_over(array: "np.ndarray", columns: "np.ndarray", across: int, width: int) -> "np.ndarray":
    """Carry a plan that was made on a reduced picture over to the full one.

    Between the seams of the plan the full picture's own seams lie evenly, and whole pixels are moved, so that nothing
    is blurred. A column that comes twice is averaged with its neighbour, except in pictures with alpha.

    Args:
        array: The full picture, rows × columns × bands.
        columns: What `carve` found on the reduced one.
        across: Columns that the reduced picture had.
        width: Wanted number of columns of the full one.
    """
    rows, before, bands = array.shape
    reach = max(1, abs(across - columns.shape[1]))
    share = np.abs(columns - np.arange(columns.shape[1])).astype(np.float32) / reach
    low, high, part = _between(width, columns.shape[1])
    top, bottom, part_down = _between(rows, len(columns))
    result = np.empty((rows, width, bands), array.dtype)
    steps = np.arange(width, dtype=np.int32)
    for row in range(rows):
        line = share[top[row]] * (1 - part_down[row]) + share[bottom[row]] * part_down[row]
        shift = np.floor((line[low] * (1 - part) + line[high] * part) * (before - width) + 0.5).astype(np.int32)
        # Where a column comes often, the rounding of the two sizes could step back by one.
        source = np.maximum.accumulate(np.clip(steps + shift, 0, before - 1))
        result[row] = array[row, source]
        if width > before and bands in (1, 3):
            twice = np.flatnonzero(source[1:] == source[:-1]) + 1
            after = np.minimum(source[twice] + 1, before - 1)
            # One half rounds up, in whole numbers of either depth.
            result[row, twice] = (array[row, source[twice]].astype(np.uint32) + array[row, after] + 1) // 2
    return result


def _between(length: int, coarse: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """For each of `length` places the neighbours among `coarse` places over the same span, and the share of the second."""
    at = np.clip((np.arange(length) + 0.5) * (coarse / length) - 0.5, 0, coarse - 1)
    low = np.floor(at).astype(np.int32)
    return low, np.minimum(low + 1, coarse - 1), (at - low).astype(np.float32)


def _with_seams_twice(state: _State, count: int) -> "np.ndarray":
    """The order of columns in which the `count` seams that would go first come twice."""
    rows, width = state.light.shape
    order = np.broadcast_to(np.arange(width, dtype=np.int32), (rows, width))
    if width == 1:
        return np.concatenate([order, order], 1)
    rest = state._replace(columns=order)
    while width - rest.light.shape[1] < count:
        rest = rest.keep(_without_seams(rest, count - (width - rest.light.shape[1])))
    gone = np.ones((rows, width), bool)
    np.put_along_axis(gone, rest.columns, False, 1)
    twice = np.nonzero(gone)[1].reshape(rows, count).astype(np.int32)
    return np.sort(np.concatenate([order, twice], 1), 1)


def _without_seams(state: _State, most: int) -> "np.ndarray":
    """Which pixels stay when the cheapest seams that do not touch, at most `most` of them, are taken out."""
    rows, width = state.light.shape
    steps, cost, root = _cheapest_paths(state)
    order = np.argsort(cost, kind="stable")
    _, first = np.unique(root[order], return_index=True)
    ends = order[np.sort(first)]
    ends = ends[: min(most, width - 1)]
    kept = np.ones((rows, width), bool)
    at = ends
    for row in range(rows - 1, -1, -1):
        kept[row, at] = False
        at = at + steps[row, at]
    return kept


def _cheapest_paths(state: _State) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Dynamic programming from the first row down.

    Returns the step to the row above (-1, 0, 1) for each pixel, and for each pixel of the last row the cost of the
    cheapest path to it and the column where that path starts.
    """
    light, energy = state.light, state.energy
    rows, width = light.shape
    straight, left, right = _costs(light)
    steps = np.zeros((rows, width), np.int8)
    root = np.arange(width, dtype=np.int32)
    padded = np.full(width + 2, np.inf, np.float32)
    padded[1:-1] = straight[0] + energy[0]
    choices = np.empty((3, width), np.float32)
    columns = np.arange(width)
    for row in range(1, rows):
        np.add(padded[1:-1], straight[row], out=choices[0])
        np.add(padded[:-2], left[row], out=choices[1])
        np.add(padded[2:], right[row], out=choices[2])
        side = np.where(choices[1] <= choices[2], -1, 1)
        best = np.minimum(choices[1], choices[2])
        step = np.where(choices[0] <= best, 0, side)
        steps[row] = step
        root = root[columns + step]
        np.minimum(choices[0], best, out=padded[1:-1])
        padded[1:-1] += energy[row]
    return steps, padded[1:-1].copy(), root


def _costs(light: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The forward energy: the new edges that removing a pixel makes, by where the seam comes from above."""
    padded = np.pad(light, ((1, 0), (1, 1)), mode="edge")
    before, after, above = padded[1:, :-2], padded[1:, 2:], padded[:-1, 1:-1]
    straight = np.abs(after - before)
    return straight, straight + np.abs(above - before), straight + np.abs(above - after)


def _box(plane: "np.ndarray", radius: float, axis: int) -> "np.ndarray":
    """Mean over 2 × radius + 1 pixels along an axis; the edge repeats."""
    reach = min(round(radius), plane.shape[axis] - 1)
    if reach < 1:
        return plane
    margin = [(0, 0), (0, 0)]
    margin[axis] = (reach + 1, reach)
    sums = np.cumsum(np.pad(plane, margin, mode="edge"), axis=axis, dtype=np.float64)
    length = plane.shape[axis]
    high = np.take(sums, np.arange(length) + 2 * reach + 1, axis)
    low = np.take(sums, np.arange(length), axis)
    mean: np.ndarray = ((high - low) / (2 * reach + 1)).astype(np.float32)
    return mean
