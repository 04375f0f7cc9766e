"""Boxes around what matters: always inside the picture, in the ratio that is asked for."""

from collections.abc import Sequence
from typing import Final

from darkroom_tools.kit.geometry import Box, largest_box, rounded

__all__ = ["FACE_PRESETS", "Region", "around", "grown", "held", "portrait", "together"]

Region = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""

TOGETHER: Final = 0.5
"""Height of a further face, in heights of the largest, from which on it belongs to the picture's people."""
FACE_PRESETS: Final = {
    "close-up": (1.8, 0.5),
    "head-and-shoulders": (2.8, 0.7),
    "upper-body": (4.5, 0.9),
    "half-body": (7.0, 1.1),
}
"""Height of the box and room above the brows, where forehead and hair are, in heights of the face."""

BESIDE: Final = 0.2
"""Room at each side of a face, in heights of the face."""


def together(regions: Sequence[Region], least: float = TOGETHER) -> list[Region]:
    """Those regions that are at least `least` as high as the highest, the largest first."""
    ordered = sorted(regions, key=lambda r: (r[1] - r[3], r[0], r[1]))
    return [r for r in ordered if r[3] - r[1] >= least * (ordered[0][3] - ordered[0][1])]


def grown(region: Region, aside: float, above: float, below: float) -> Region:
    """A region with room at both sides, above and below, each in its own heights."""
    left, top, right, bottom = region
    height = bottom - top
    return left - aside * height, top - above * height, right + aside * height, bottom + below * height


def portrait(people: Sequence[Region], preset: str, padding: float) -> Region:
    """The region that a preset shows of people: of one, its height is that of the box; it may leave the picture.

    Args:
        people: Their faces, the largest first.
        preset: A name of `FACE_PRESETS`.
        padding: Room to add at each side, as a share of the preset's height.
    """
    height = people[0][3] - people[0][1]
    times, headroom = FACE_PRESETS[preset]
    left, top, right, bottom = _union(people)
    more = padding * times * height
    return (
        left - BESIDE * height - more,
        top - headroom * height - more,
        right + BESIDE * height + more,
        bottom + (times - 1 - headroom) * height + more,
    )


def _union(regions: Sequence[Region]) -> Region:
    """The smallest region around all."""
    return (
        min(r[0] for r in regions),
        min(r[1] for r in regions),
        max(r[2] for r in regions),
        max(r[3] for r in regions),
    )


def held(start: float, length: float, whole: int, keep: Sequence[tuple[float, float]]) -> float:
    """Where a window along one axis starts: near `start`, so that no span of `keep` is cut.

    Spans come in order of weight; one that does not fit into the window together with those before it is left out.
    One that is longer than the window alone is shown from its middle.
    """
    low, high = 0.0, max(0.0, whole - length)
    for first, last in keep:
        first, last = max(0.0, first), min(float(whole), last)
        if last - first > length:
            middle = (first + last - length) / 2
            first, last = middle, middle + length
        lowest, highest = max(low, last - length), min(high, first)
        if lowest <= highest:
            low, high = lowest, highest
    return min(max(start, low), high)


def around(region: Region, ratio: tuple[int, int], width: int, height: int) -> Box:
    """The smallest box of a ratio that holds a region, moved and, where the picture is too small, cut to lie in it.

    Args:
        region: May reach beyond the picture.
        ratio: Width and height to compare.
        width: Of the picture.
        height: Of the picture.
    """
    left, top, right, bottom = region
    wide, high = max(right - left, 1.0), max(bottom - top, 1.0)
    wide, high = max(wide, high * ratio[0] / ratio[1]), max(high, wide * ratio[1] / ratio[0])
    most = largest_box(width, height, *ratio)
    size = most if wide > most[0] or high > most[1] else (max(1, rounded(wide)), max(1, rounded(high)))
    x, y = (left + right - size[0]) / 2, (top + bottom - size[1]) / 2
    return Box(_inside(x, size[0], width), _inside(y, size[1], height), *size)


def _inside(start: float, length: int, whole: int) -> int:
    return max(0, min(rounded(start), whole - length))
