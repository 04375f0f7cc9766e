"""Filling thin holes by carrying what is around them along its edges.

Bornemann and März: Fast Image Inpainting Based on Coherence Transport, 2007: from the rim inwards each pixel becomes a
mean of known pixels, those along the local direction of edges (from the structure tensor around it) far more than
those across. A few sweeps of the same means over the filled pixels join what came from both sides.
"""

from collections.abc import Callable, Iterator
from typing import Final

from darkroom_tools.native import np

__all__ = ["carried_in"]

REACH: Final = 5
"""Radius in pixels of the means from the rim inwards."""

SWEEP_REACH: Final = 3
SWEEPS: Final = 8
TENSOR_REACH: Final = 6
TENSOR_SIGMA: Final = 3.0

ALONG: Final = 16.0
"""How much narrower a mean is across a clear edge than along it."""

NO_EDGE: Final = 4.0
"""Squared slope, in levels, below which a direction means little."""

MARGIN: Final = TENSOR_REACH + 2
AT_ONCE: Final = 20_000
"""Pixels whose neighbourhoods are held in memory at once."""


def carried_in(picture: "np.ndarray", hole: "np.ndarray", report: Callable[[float], None]) -> "np.ndarray":
    """Fill a hole.

    Args:
        picture: Height × width × bands, float32, 0..255.
        hole: Height × width, True where pixels are missing; some pixel must be known.
        report: Told how much is done, 0..1.
    """
    edge = ((MARGIN, MARGIN), (MARGIN, MARGIN))
    padded = np.pad(picture.astype(np.float32), (*edge, (0, 0)), mode="edge")
    known = np.pad(~hole, edge, constant_values=False)
    across = padded.shape[1]
    values, is_known = padded.reshape(-1, padded.shape[2]), known.reshape(-1)
    missing = np.flatnonzero(np.pad(hole, edge))
    normal = _normals(padded, known, missing)
    order = _from_the_rim(values, is_known, missing, normal, across, report)
    steps, distance, dy, dx = _disc(SWEEP_REACH, across)
    inside = np.zeros(known.shape, bool)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
    for sweep in range(SWEEPS):
        report(0.7 + 0.3 * sweep / SWEEPS)
        fresh = np.empty((len(order), values.shape[1]), np.float32)
        for part in _parts(len(order)):
            at = missing[order[part]]
            weights = _weights(normal[:, order[part]], dy, dx, distance) * inside.reshape(-1)[at[:, None] + steps]
            fresh[part] = _means(values, at[:, None] + steps, weights)
        values[missing[order]] = fresh
    filled: np.ndarray = padded[MARGIN:-MARGIN, MARGIN:-MARGIN]
    return filled


def _from_the_rim(
    values: "np.ndarray",
    known: "np.ndarray",
    missing: "np.ndarray",
    normal: "np.ndarray",
    across: int,
    report: Callable[[float], None],
) -> "np.ndarray":
    """Fill the rim, then the next rim, until nothing is left; the order in which pixels were filled."""
    steps, distance, dy, dx = _disc(REACH, across)
    beside = np.array([-1, 1, -across, across])
    todo, order = np.arange(len(missing)), []
    while len(todo):
        report(0.7 * (1 - len(todo) / len(missing)))
        rim = known[missing[todo][:, None] + beside].any(1)
        now = todo[rim] if rim.any() else todo
        for part in _parts(len(now)):
            at = missing[now[part]]
            near = at[:, None] + steps
            weights = _weights(normal[:, now[part]], dy, dx, distance) * known[near] + 1e-12 * known[near]
            values[at] = _means(values, near, weights)
        known[missing[now]] = True
        order.append(now)
        todo = todo[~rim] if rim.any() else todo[:0]
    return np.concatenate(order)


def _normals(padded: "np.ndarray", known: "np.ndarray", missing: "np.ndarray") -> "np.ndarray":
    """For each missing pixel the direction across the edges around it, and how clear it is: 3 × n."""
    light = padded.mean(2)
    right, down = np.zeros_like(light), np.zeros_like(light)
    right[1:-1, 1:-1] = _sobel(light)
    down[1:-1, 1:-1] = _sobel(light.T).T
    # A slope is taken from 3 × 3 pixels: one that touches the hole, even at a corner, shows its edge, not the picture's.
    beside = known & np.roll(known, 1, 0) & np.roll(known, -1, 0)
    sure = beside & np.roll(beside, 1, 1) & np.roll(beside, -1, 1)
    flat = [plane.reshape(-1) for plane in (right * sure, down * sure, sure.astype(np.float32))]
    steps, distance, _, _ = _disc(TENSOR_REACH, padded.shape[1])
    bell = np.exp(-(distance**2) / (2 * TENSOR_SIGMA**2)).astype(np.float32)
    result = np.empty((3, len(missing)), np.float32)
    for part in _parts(len(missing)):
        near = missing[part][:, None] + steps
        x, y, weight = (plane[near] for plane in flat)
        total = (weight * bell).sum(1) + 1e-6
        xx, yy, xy = ((product * bell).sum(1) / total for product in (x * x, y * y, x * y))
        angle = 0.5 * np.arctan2(2 * xy, xx - yy)
        result[:, part] = np.cos(angle), np.sin(angle), np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + NO_EDGE)
    return result


def _sobel(light: "np.ndarray") -> "np.ndarray":
    slope = light[:, 2:] - light[:, :-2]
    smooth: np.ndarray = (slope[:-2] + 2 * slope[1:-1] + slope[2:]) / 8
    return smooth


def _weights(normal: "np.ndarray", dy: "np.ndarray", dx: "np.ndarray", distance: "np.ndarray") -> "np.ndarray":
    """The share of each neighbour: near ones, and those along the edge."""
    away = (normal[0][:, None] * dx + normal[1][:, None] * dy) * (1 + ALONG * normal[2])[:, None]
    weights: np.ndarray = np.exp(-0.5 * (away / REACH) ** 2) / distance**2
    return weights


def _means(values: "np.ndarray", near: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    weights = weights.astype(np.float32)
    means: np.ndarray = np.einsum("nk,nkc->nc", weights, values[near]) / np.maximum(weights.sum(1), 1e-20)[:, None]
    return means


def _disc(reach: int, across: int) -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]":
    """The neighbours within a radius: steps in the flat picture, distances, rows and columns."""
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    square = dy * dy + dx * dx
    chosen = (square > 0) & (square <= reach * reach + reach / 2)
    dy, dx = dy[chosen], dx[chosen]
    return dy * across + dx, np.sqrt(square[chosen]).astype(np.float32), dy, dx


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, length, AT_ONCE))
