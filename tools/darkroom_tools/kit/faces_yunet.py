"""Faces by YuNet: what goes in, and how its maps are read.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector, 2023. Each cell of the maps at strides 8, 16 and 32 may
hold a face: how surely (class × object), its box and five points, in cells from the corner of the cell. It was trained
on faces of 10 to 300 pixels, so a picture is looked at in several sizes.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from darkroom_tools.base import Run
from darkroom_tools.kit.faces_eyes import Point
from darkroom_tools.kit.pixels import as_array, resized, white_level
from darkroom_tools.models import Card
from darkroom_tools.native import np, pyvips

__all__ = ["Seen", "detect"]

STRIDES: Final = (8, 16, 32)
LARGEST_OVERLAP: Final = 0.3
"""Share of the union that two boxes of different faces may have in common."""

COARSE, FINE = 0.4, 1.9
"""Longer side of the smaller and of the larger look, over that of the network's input."""

WORTH_TILES: Final = 1.25
"""Pictures over this many inputs long are looked at in tiles too, for small faces."""

OVERLAP: Final = 64
"""Pixels that neighbouring tiles have in common: the largest face that only tiles are for."""

EDGE: Final = 2
"""Pixels from the edge of a tile within which a box counts as cut off."""

Seen = tuple[tuple[float, float, float, float], float, tuple[Point, ...]]
"""Left, top, width and height; score; right eye, left eye, nose, corners of the mouth."""


class _Look(NamedTuple):
    """A part of the resized picture.

    Attributes:
        pixels: Height × width × 3.
        corner: Its left and top in the resized picture.
        size: Width and height of the resized picture.
    """

    pixels: "np.ndarray"
    corner: tuple[int, int]
    size: tuple[int, int]


def detect(color: "pyvips.Image", card: Card, least: float, run: Run) -> list[Seen]:
    """Faces in pixels of the picture.

    Args:
        color: Three bands of 8 or 16 bits.
        card: The model.
        least: Smallest score of a face, 0..1.
        run: Runs it.
    """
    side = int(card.inputs[0].shape[2])
    looks = list(_looks(color, side))
    answers = run.infer_each(card.id, ([_canvas(look.pixels, side, white_level(color))] for look in looks))
    found: list[Seen] = []
    for look, answer in zip(looks, answers, strict=True):
        across, down = color.width / look.size[0], color.height / look.size[1]
        for (left, top, width, height), score, points in _decoded(answer.outputs, side, least):
            if _cut_off(left, top, left + width, top + height, look):
                continue
            left, top = (left + look.corner[0]) * across, (top + look.corner[1]) * down
            places = tuple(((x + look.corner[0]) * across, (y + look.corner[1]) * down) for x, y in points)
            found.append(((left, top, width * across, height * down), score, places))
    return _apart(found)


def _looks(color: "pyvips.Image", side: int) -> Iterator[_Look]:
    """The whole picture in two sizes, and a large one in tiles."""
    longer = max(color.width, color.height)
    for share in (1.0, COARSE, FINE) if longer > WORTH_TILES * side else (1.0, COARSE):
        scale = share * side / longer
        width, height = max(1, round(color.width * scale)), max(1, round(color.height * scale))
        small = as_array(resized(color, width, height, "linear"))
        for top in _starts(height, side):
            for left in _starts(width, side):
                yield _Look(small[top : top + side, left : left + side], (left, top), (width, height))


def _starts(length: int, side: int) -> list[int]:
    """Where tiles begin so that they cover the length evenly."""
    steps = max(0, -(-(length - side) // (side - OVERLAP)))
    return [round(n * (length - side) / steps) for n in range(steps + 1)] if steps else [0]


def _canvas(pixels: "np.ndarray", side: int, white: int) -> "np.ndarray":
    """The input: blue first, 0..255; black where the picture ends."""
    canvas = np.zeros((1, 3, side, side), np.float32)
    canvas[0, :, : len(pixels), : pixels.shape[1]] = pixels[..., ::-1].transpose(2, 0, 1)
    canvas *= 255 / white
    return canvas


def _decoded(outputs: "Sequence[np.ndarray]", side: int, least: float) -> Iterator[Seen]:
    """The faces in the maps, in pixels of the input."""
    for number, stride in enumerate(STRIDES):
        class_score, object_score, boxes, points = (
            outputs[number + part * len(STRIDES)].reshape(-1, size) for part, size in enumerate((1, 1, 4, 10))
        )
        score = np.sqrt(np.clip(class_score, 0, 1) * np.clip(object_score, 0, 1))[:, 0]
        for cell in np.flatnonzero(score >= least):
            row, column = divmod(int(cell), side // stride)
            middle = (boxes[cell, :2] + (column, row)) * stride
            # No face is larger than the input, whatever a damaged map says.
            size = np.minimum(np.exp(np.minimum(boxes[cell, 2:], 8)) * stride, side)
            marks = (points[cell].reshape(5, 2) + (column, row)) * stride
            if np.isfinite(middle).all() and np.isfinite(size).all() and np.isfinite(marks).all():
                left, top = middle - size / 2
                places = tuple((float(x), float(y)) for x, y in marks)
                yield (float(left), float(top), float(size[0]), float(size[1])), float(score[cell]), places


def _cut_off(left: float, top: float, right: float, bottom: float, look: _Look) -> bool:
    """Whether a box reaches an edge of its tile beyond which the picture goes on; another look has all of it."""
    height, width = look.pixels.shape[:2]
    corner, size = look.corner, look.size
    return bool(
        (left < EDGE and corner[0] > 0)
        or (top < EDGE and corner[1] > 0)
        or (right > width - EDGE and corner[0] + width < size[0])
        or (bottom > height - EDGE and corner[1] + height < size[1])
    )


def _apart(found: list[Seen]) -> list[Seen]:
    """Non-maximum suppression: of boxes that overlap much, the surest."""
    kept: list[Seen] = []
    for one in sorted(found, key=lambda seen: -seen[1]):
        if all(_shared(one[0], other[0]) <= LARGEST_OVERLAP for other in kept):
            kept.append(one)
    return kept


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / max(one[2] * one[3] + other[2] * other[3] - both, 1e-9)
