"""Thin lines that stand out of a picture on both sides, and which of them are scratches.

A line is looked for in 16 directions and at three sizes: it is brighter (or darker) than what lies on both sides, for
most of a stretch, and such stretches follow one another. Lines also belong to pictures: hair, wires, edges. What tells
a scratch is how it looks along its whole length: as bright as white or as dark as black, hardly changing with what it
crosses, and with the same thing on both sides.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from darkroom_tools.native import np, pyvips

__all__ = ["Line", "Range", "block_means", "connected", "grown", "halved", "lines_of", "tonal_range"]

DIRECTIONS: Final = 16
LEVELS: Final = 3
"""Lines are looked for at full size, half and a quarter: 1 to 12 pixels wide."""

ASIDE: Final = 3
"""How far from a line its surroundings are, in pixels of a level."""

FULL: Final = 24
"""Contrast, of 255, that counts as much as any larger one."""

STRETCH: Final = 17
"""Pixels along a line that are averaged."""

FILLED: Final = 0.6
"""Share of a stretch that must be line; more where there are other lines close by."""

WEAK: Final = 0.45
"""Share that is enough next to a line."""

BUSY: Final = 0.2
BUSY_MORE: Final = 0.5
"""Activity of a neighbourhood without distrust, and how much more must be filled for each unit beyond."""

AROUND: Final = 8
"""Activity is averaged over 5 × 5 blocks of so many pixels."""

LENGTH: Final = 0.12
"""Of a line that is looked for: share of the longer side of the picture."""

SHORTEST: Final = 24
UNBROKEN: Final = 0.85
"""Least length in pixels, and the share of it that must be there."""

FEWEST: Final = 12
"""Pixels of a line that is judged."""

WEIGHTS: Final = MappingProxyType(
    {
        "always": -1.9,
        "length": 4.2,
        "contrast": 2.4,
        "short of white": -2.5,
        "uneven sides": -4.6,
        "follows its surroundings": -0.9,
        "varies": -1.4,
        "varies more than its surroundings": -2.0,
        "crosses things": 2.9,
    }
)
COARSE: Final = 0.8
"""Logistic regression on lines of six photographs, with and without scratches drawn into them."""


@dataclass(frozen=True, slots=True)
class Range:
    """Black and white of a picture, 0..255."""

    black: float
    white: float

    @property
    def span(self) -> float:
        """Between them."""
        return max(1.0, self.white - self.black)


@dataclass(frozen=True, slots=True)
class Line:
    """A line in a picture.

    Attributes:
        rows: Of its pixels, at its level.
        columns: Of its pixels.
        level: 0 at full size, 1 at half, 2 at a quarter.
        bright: Whether it is brighter than what is around it.
        odds: Logarithm of the odds that it is a scratch.
    """

    rows: "np.ndarray"
    columns: "np.ndarray"
    level: int
    bright: bool
    odds: float


def tonal_range(grey: "np.ndarray") -> Range:
    """The first and the last percent of an 8-bit picture."""
    black, white = np.percentile(grey[::2, ::2], (1, 99))
    return Range(float(black), float(white))


def lines_of(grey: "np.ndarray", report: Callable[[float], None]) -> list[Line]:
    """All lines that may be scratches, judged.

    Args:
        grey: Height × width, uint8.
        report: Told how much is done, 0..1; may raise to stop.
    """
    tones = tonal_range(grey)
    found: list[Line] = []
    part = grey
    for level in range(LEVELS):
        part = halved(part) if level else part
        if min(part.shape) < SHORTEST:
            break
        wanted = max(SHORTEST, round(LENGTH * max(part.shape)))
        for bright in (True, False):
            begun = 2 * level + (not bright)
            values = part if bright else 255 - part
            mask = _lines(values, wanted, _stage(report, begun))
            found += _judged(values, mask, level, bright, tones)
    report(1)
    return found


def _stage(report: Callable[[float], None], begun: int) -> Callable[[float], None]:
    return lambda share: report((begun + share) / (2 * LEVELS))


def halved(grey: "np.ndarray") -> "np.ndarray":
    """Means over 2 × 2 pixels."""
    height, width = grey.shape[0] // 2 * 2, grey.shape[1] // 2 * 2
    sums = grey[:height:2, :width].astype(np.uint16) + grey[1:height:2, :width]
    means: np.ndarray = ((sums[:, ::2] + sums[:, 1::2] + 2) // 4).astype(np.uint8)
    return means


def _lines(values: "np.ndarray", wanted: int, report: Callable[[float], None]) -> "np.ndarray":
    """Where bright lines of at least the wanted length are."""
    ridges = [_ridge(values, turn) for turn in _turns()]
    activity = ridges[0]
    for ridge in ridges[1:]:
        activity = np.maximum(activity, ridge)
    enough = _enough(activity)
    mask = np.zeros(values.shape, bool)
    for number, (ridge, turn) in enumerate(zip(ridges, _turns(), strict=True)):
        report(number / DIRECTIONS)
        filled = _along(ridge, turn, STRETCH)
        sure = (filled >= enough) & (ridge > 128)
        near = _near_long(sure, turn, wanted)
        if near is not None:
            mask |= near & (filled >= np.minimum(enough, round(WEAK * 255))) & (ridge > 76)
    return mask


def _turns() -> Iterator[tuple[float, float]]:
    """Directions of lines: steps across and down."""
    for number in range(DIRECTIONS):
        angle = math.pi * number / DIRECTIONS
        yield math.cos(angle), math.sin(angle)


def _ridge(values: "np.ndarray", turn: tuple[float, float]) -> "np.ndarray":
    """How far a pixel stands out of both sides of a line through it, 255 for `FULL`."""
    height, width = values.shape
    across, down = round(-ASIDE * turn[1]), round(ASIDE * turn[0])
    padded = np.pad(values, ASIDE, mode="edge")
    sides = [
        padded[ASIDE + y : ASIDE + y + height, ASIDE + x : ASIDE + x + width]
        for y, x in ((down, across), (-down, -across))
    ]
    higher = values - np.minimum(values, np.maximum(*sides))
    table = np.minimum(255, np.arange(256) * (255 / FULL) + 0.5).astype(np.uint8)
    return np.asarray(table[higher])


def _along(plane: "np.ndarray", turn: tuple[float, float], length: int) -> "np.ndarray":
    """The mean over a stretch in a direction, uint8; the edge repeats outside."""
    half = length // 2
    places = {
        (round(step * turn[1]), round(step * turn[0])) for step in np.linspace(-half, half, 4 * half + 1).tolist()
    }
    height, width = plane.shape
    padded = np.pad(plane, half, mode="edge")
    total = np.zeros(plane.shape, np.uint16)
    for down, across in places:
        total += padded[half + down : half + down + height, half + across : half + across + width]
    return np.asarray((np.arange(255 * len(places) + 1) // len(places)).astype(np.uint8)[total])


def _enough(activity: "np.ndarray") -> "np.ndarray":
    """The share of a stretch, of 255, that makes it a line at each place."""
    more = BUSY_MORE * np.maximum(np.arange(256) / 255 - BUSY, 0)
    return np.asarray(np.minimum(255, 255 * (FILLED + more)).astype(np.uint8)[block_means(activity)])


def block_means(plane: "np.ndarray") -> "np.ndarray":
    """The mean around each pixel, the same for the pixels of a block, uint8."""
    height, width = plane.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(plane).data, width, height, 1, "uchar")
    blocks = picture.shrink(AROUND, AROUND, ceil=True)
    mean = blocks.conv(pyvips.Image.new_from_array([[1] * 5] * 5, scale=25), precision="integer")
    wide = mean.resize(AROUND, kernel="nearest").crop(0, 0, width, height)
    return np.asarray(wide.numpy()).reshape(height, width)


def _near_long(sure: "np.ndarray", turn: tuple[float, float], wanted: int) -> "np.ndarray | None":
    """The surroundings of unbroken lines of the wanted length, None without any."""
    factor = max(2, wanted // 24)
    if not sure.any():
        return None
    height, width = sure.shape
    padded = np.pad(sure, ((0, -height % factor), (0, -width % factor)))
    shape = (padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    blocks: np.ndarray = np.where(padded.reshape(shape).max((1, 3)), 255, 0).astype(np.uint8)
    wide = grown(blocks) if factor < 4 else blocks
    length = max(5, wanted // factor)
    long = (_along(wide, turn, length) >= round(UNBROKEN * 255)) & (blocks > 0)
    if not long.any():
        return None
    near = _along((long * 255).astype(np.uint8), turn, length + 2) > 0
    near = grown((near * 255).astype(np.uint8)) > 0
    full: np.ndarray = near.repeat(factor, 0).repeat(factor, 1)[:height, :width]
    return full


def grown(mask: "np.ndarray") -> "np.ndarray":
    """The maximum over 3 × 3 pixels."""
    padded = np.pad(mask, 1)
    rows = np.maximum(np.maximum(padded[:-2], padded[1:-1]), padded[2:])
    largest: np.ndarray = np.maximum(np.maximum(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:])
    return largest


def connected(mask: "np.ndarray") -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Rows and columns of the parts of a mask that touch, also where a pixel lies between them."""
    if not mask.any():
        return
    height, width = mask.shape
    wide = grown((mask * 255).astype(np.uint8))
    labels = pyvips.Image.new_from_memory(wide.data, width, height, 1, "uchar").labelregions()
    rows, columns = np.nonzero(mask)
    numbers = np.asarray(labels.numpy()).reshape(height, width)[rows, columns]
    order = np.argsort(numbers, kind="stable")
    for members in np.split(order, np.nonzero(np.diff(numbers[order]))[0] + 1):
        yield rows[members], columns[members]


def _judged(values: "np.ndarray", mask: "np.ndarray", level: int, bright: bool, tones: Range) -> Iterator[Line]:
    """The connected lines of a mask; in `values` they are the bright ones."""
    top = tones.white if bright else 255 - tones.black
    for rows, columns in connected(mask):
        if len(rows) >= FEWEST:
            yield Line(
                rows, columns, level, bright, _odds(values, rows, columns, top, tones.span) + COARSE * (level > 0)
            )


def _odds(values: "np.ndarray", rows: "np.ndarray", columns: "np.ndarray", top: float, span: float) -> float:
    """How likely a bright line is a scratch, by how it looks along its length."""
    points = np.stack([columns, rows], 1).astype(np.float64)
    points -= points.mean(0)
    _, axes = np.linalg.eigh(points.T @ points)
    along, aside = axes[:, 1], axes[:, 0]

    def at(step: int) -> "np.ndarray":
        y = np.clip(np.rint(rows + step * aside[1]).astype(int), 0, values.shape[0] - 1)
        x = np.clip(np.rint(columns + step * aside[0]).astype(int), 0, values.shape[1] - 1)
        found: np.ndarray = values[y, x].astype(np.float32)
        return found

    peak = np.maximum(np.maximum(at(-1), at(0)), at(1))
    left, right = at(ASIDE + 1), at(-ASIDE - 1)
    around = (left + right) / 2
    contrast, varies, crosses = float(np.median(peak - around)), float(peak.std()), float(around.std())
    together = float(np.mean((around - around.mean()) * (peak - peak.mean()))) / max(crosses**2, 4.0)
    seen = {
        "always": 1.0,
        "length": min((float(np.ptp(points @ along)) + 1) / max(values.shape), 0.6),
        "contrast": min(contrast, 120) / 100,
        "short of white": max(0.0, (top - float(np.percentile(peak, 70))) / span),
        "uneven sides": min(float(np.median(np.abs(left - right))) / max(1.0, contrast), 1.5),
        "follows its surroundings": abs(min(together, 1.2)),
        "varies": min(varies, 60) / 60,
        "varies more than its surroundings": min(4, varies / (8 + crosses)),
        "crosses things": min(crosses, 60) / 60,
    }
    return float(sum(WEIGHTS[name] * value for name, value in seen.items()))
