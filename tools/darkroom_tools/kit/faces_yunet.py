"""Faces by YuNet: what goes in, and how its maps are read.

Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector, 2023. Each cell of the maps at strides 8, 16 and 32 may
hold a face: how surely (class × object), its box and five points, in cells from the corner of the cell.
"""

from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.kit.faces_eyes import Point
from darkroom_tools.kit.pixels import as_array, resized, white_level
from darkroom_tools.models import Card
from darkroom_tools.native import np, pyvips

__all__ = ["Seen", "detect"]

STRIDES: Final = (8, 16, 32)
LARGEST_OVERLAP: Final = 0.3
"""Share of the union that two boxes of different faces may have in common."""

Seen = tuple[tuple[float, float, float, float], float, tuple[Point, ...]]
"""Left, top, width and height; score; right eye, left eye, nose, corners of the mouth."""


def detect(color: "pyvips.Image", card: Card, least: float, run: Run) -> list[Seen]:
    """Faces in pixels of the picture.

    Args:
        color: Three bands of 8 or 16 bits.
        card: The model.
        least: Smallest score of a face, 0..1.
        run: Runs it.
    """
    side = int(card.inputs[0].shape[2])
    scale = min(side / color.width, side / color.height)
    width, height = max(1, round(color.width * scale)), max(1, round(color.height * scale))
    small = as_array(resized(color, width, height, "linear")).astype(np.float32) * (255 / white_level(color))
    canvas = np.zeros((1, 3, side, side), np.float32)
    canvas[0, :, :height, :width] = small[..., ::-1].transpose(2, 0, 1)
    outputs = run.infer(card.id, [canvas]).outputs
    across, down = color.width / width, color.height / height
    found: list[Seen] = []
    for number, stride in enumerate(STRIDES):
        class_score, object_score, boxes, points = (
            outputs[number + part * len(STRIDES)].reshape(-1, size) for part, size in enumerate((1, 1, 4, 10))
        )
        score = np.sqrt(np.clip(class_score, 0, 1) * np.clip(object_score, 0, 1))[:, 0]
        for cell in np.flatnonzero(score >= least):
            row, column = divmod(int(cell), side // stride)
            middle = boxes[cell, :2] + (column, row)
            size = np.exp(boxes[cell, 2:])
            left, top = (middle - size / 2) * stride * (across, down)
            wide, high = size * stride * (across, down)
            marks = (points[cell].reshape(5, 2) + (column, row)) * stride * (across, down)
            places = tuple((float(x), float(y)) for x, y in marks)
            found.append(((float(left), float(top), float(wide), float(high)), float(score[cell]), places))
    return _apart(found)


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
