"""Filling a hole with pieces of its surroundings, the most certain and most structured places first.

Criminisi, Perez, Toyama: Region Filling and Object Removal by Exemplar-Based Image Inpainting, 2004. The pieces are
chosen on a reduced picture; what is remembered is where each pixel came from, so that the full picture is filled with
its own pixels, as sharp as they are.
"""

from collections.abc import Callable, Sequence
from typing import Final

from darkroom_tools.native import np

__all__ = ["SIDE", "sources"]

_Known = tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]
"""Rows and columns of the middles of known patches, the patches, and their squares."""

REACH: Final = 4
"""A patch has 2 × 4 + 1 pixels a side."""

SIDE: Final = 2 * REACH + 1
MOST_SOURCES: Final = 12_000
"""Patches to choose from."""

AT_ONCE: Final = 8
"""Patches that are filled at once, where they do not touch."""

FLAT: Final = 0.02
"""Structure of a place without any, so that flat places are filled too."""

CANDIDATES: Final = 16
NEARLY: Final = 1.08
LEVELS: Final = 3.0
"""Of so many patches that are nearly as good as the best, or differ from it by so many levels, the one is taken whose
new pixels are most like those of the others: what only one of them would bring in is likely to be out of place."""

FAR: Final = 0.5
"""How much worse a patch at the other end of the picture may seem than one close by."""


def sources(picture: "np.ndarray", hole: "np.ndarray", report: Callable[[float], None]) -> "np.ndarray":
    """Find for each pixel of a hole which known pixel takes its place.

    Args:
        picture: Height × width × bands, float32, 0..255; at least 9 pixels a side, with a patch outside the hole.
        hole: Height × width, True where pixels are missing.
        report: Told how much is done, 0..1.

    Returns:
        Row and column of the source of each pixel, height × width × 2; known pixels are their own.
    """
    height, width, bands = picture.shape
    values = picture.copy()
    missing = hole.copy()
    certain = (~hole).astype(np.float32)
    places = np.indices((height, width), np.int32).transpose(1, 2, 0).copy()
    origin = places.copy()
    rows, columns, patches = _known_patches(values, hole)
    squares = patches * patches
    total = int(hole.sum())
    values[missing] = 0
    while missing.any():
        report(1 - float(missing.sum()) / total)
        middles = _next_places(values, missing, certain)
        for (y, x), best in zip(
            middles, _best(values, missing, middles, (rows, columns, patches, squares)), strict=True
        ):
            window = _window(y, x)
            gap = missing[window]
            values[window][gap] = patches[best].reshape(SIDE, SIDE, bands)[gap]
            places[window][gap] = origin[window][gap] + (rows[best] - y, columns[best] - x)
            certain[window][gap] = float((certain[window] * ~gap).sum()) / SIDE**2
            missing[window] = False
    return places


def _window(y: int, x: int) -> tuple[slice, slice]:
    return slice(y - REACH, y + REACH + 1), slice(x - REACH, x + REACH + 1)


def _best(values: "np.ndarray", missing: "np.ndarray", middles: Sequence[tuple[int, int]], known: _Known) -> list[int]:
    """For each patch the number of the known one that is most like what is there of it."""
    rows, columns, patches, squares = known
    bands = values.shape[2]
    weights = np.stack([np.repeat(~missing[_window(y, x)].reshape(-1), bands) for y, x in middles], 1)
    wanted = np.stack([values[_window(y, x)].reshape(-1) for y, x in middles], 1) * weights
    cost = squares @ weights.astype(np.float32) - 2 * (patches @ wanted) + (wanted * wanted).sum(0)
    y, x = np.array(middles).T
    far = np.hypot(rows[:, None] - y, columns[:, None] - x) / np.hypot(*missing.shape)
    cost = np.maximum(cost, 0) * (1 + FAR * far) + far
    return [_usual(column, patches, mask == 0) for column, mask in zip(cost.T, weights.T, strict=True)]


def _usual(cost: "np.ndarray", patches: "np.ndarray", gap: "np.ndarray") -> int:
    """Of the patches that fit about as well as the best, the one with the least surprising new pixels."""
    near = _cheapest(cost)
    near = near[cost[near] <= NEARLY * cost[near[0]] + LEVELS**2 * (~gap).sum()]
    new = patches[near][:, gap]
    return int(near[np.argmin(((new - new.mean(0)) ** 2).sum(1))])


def _cheapest(cost: "np.ndarray") -> "np.ndarray":
    some = np.argpartition(cost, min(CANDIDATES, len(cost) - 1))[:CANDIDATES]
    ordered: np.ndarray = some[np.lexsort((some, cost[some]))]
    return ordered


def _known_patches(values: "np.ndarray", hole: "np.ndarray") -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Middles of the patches without a missing pixel, and the patches as rows."""
    windows = np.lib.stride_tricks.sliding_window_view(hole, (SIDE, SIDE))
    rows, columns = np.nonzero(~windows.any((2, 3)))
    # Evenly thinned out; every other patch has nearly the same content.
    step = -(-len(rows) // MOST_SOURCES)
    rows, columns = rows[::step], columns[::step]
    pieces = np.lib.stride_tricks.sliding_window_view(values, (SIDE, SIDE), axis=(0, 1))[rows, columns]
    patches = np.ascontiguousarray(pieces.transpose(0, 2, 3, 1)).reshape(len(rows), -1)
    return rows + REACH, columns + REACH, patches.astype(np.float32)


def _next_places(values: "np.ndarray", missing: "np.ndarray", certain: "np.ndarray") -> list[tuple[int, int]]:
    """Middles of patches on the rim of the hole, the most urgent first, that do not touch one another."""
    height, width = missing.shape
    padded = np.pad(missing, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rim_rows, rim_columns = np.nonzero(missing & ~inner)
    if not len(rim_rows):
        rim_rows, rim_columns = np.nonzero(missing)
    rows = np.clip(rim_rows, REACH, height - 1 - REACH)
    columns = np.clip(rim_columns, REACH, width - 1 - REACH)
    sums = np.pad(np.cumsum(np.cumsum(certain * ~missing, 0), 1), ((1, 0), (1, 0)))
    top, left = rows - REACH, columns - REACH
    confidence = (
        sums[top + SIDE, left + SIDE] - sums[top, left + SIDE] - sums[top + SIDE, left] + sums[top, left]
    ) / SIDE**2
    urgency = confidence * (_structure(values, missing, rim_rows, rim_columns) + FLAT)
    chosen: list[tuple[int, int]] = []
    for at in np.argsort(-urgency, kind="stable"):
        y, x = int(rows[at]), int(columns[at])
        if all(max(abs(y - a), abs(x - b)) > SIDE for a, b in chosen):
            chosen.append((y, x))
        if len(chosen) == AT_ONCE:
            break
    return chosen


def _structure(values: "np.ndarray", missing: "np.ndarray", rows: "np.ndarray", columns: "np.ndarray") -> "np.ndarray":
    """How strongly an edge runs into the hole at places of its rim, 0..1."""
    light = np.pad(values.mean(2), 1, mode="edge")
    known = np.pad(~missing, 1)
    across = (light[1:-1, 2:] - light[1:-1, :-2]) * (known[1:-1, 2:] & known[1:-1, :-2] & known[1:-1, 1:-1]) / 2
    down = (light[2:, 1:-1] - light[:-2, 1:-1]) * (known[2:, 1:-1] & known[:-2, 1:-1] & known[1:-1, 1:-1]) / 2
    fill = np.pad(missing.astype(np.float32), 1, mode="edge")
    normal_x, normal_y = (
        (fill[1:-1, 2:] - fill[1:-1, :-2])[rows, columns],
        (fill[2:, 1:-1] - fill[:-2, 1:-1])[rows, columns],
    )
    length = np.maximum(np.hypot(normal_x, normal_y), 1e-6)
    reach = np.arange(-2, 3)
    y = np.clip(rows[:, None, None] + reach[:, None], 0, missing.shape[0] - 1)
    x = np.clip(columns[:, None, None] + reach, 0, missing.shape[1] - 1)
    # The strongest slope close by, turned by a right angle, along the way into the hole.
    into = np.abs(-down[y, x] * normal_x[:, None, None] + across[y, x] * normal_y[:, None, None])
    strength: np.ndarray = into.reshape(len(rows), -1).max(1) / length / 255
    return strength
