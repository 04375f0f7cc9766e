"""Red pupils: which pixels around an eye shine red, and what they looked like without the flash."""

import math
from typing import Final

from darkroom_tools.kit.faces_eyes import Point
from darkroom_tools.native import np, pyvips

__all__ = ["corrected", "red_pupil"]

REACH: Final = 0.24
"""How far from a landmark a pupil is looked for, in distances between the eyes."""

LEAST_RATIO: Final = (2.6, 1.7)
"""Red over the mean of green and blue that makes a pixel red, at sensitivity 0 and 1."""

LEAST_SHINE: Final = (0.55, 0.32)
"""Red less that mean, over the red of the skin around it: brown eyes have the hue of a flash, but do not shine."""

OVER_SKIN: Final = 1.3
"""How much redder than the skin around it a pupil is at least."""

SMALLEST, LARGEST = 0.02, 0.15
"""Radius of a pupil in distances between the eyes; an iris has 0.09."""

ROUND: Final = 0.55
"""Share of its box that a disc fills is 0.79; with lid and glint less."""

DARKER: Final = 0.85
"""Brightness of a pupil without the flash, over the mean of its green and blue."""


def red_pupil(color: "np.ndarray", eye: Point, distance: float, sensitivity: float) -> "np.ndarray | None":
    """Find a pupil that shines red.

    Args:
        color: The picture, height × width × 3, 0..255 of any type.
        eye: Where the eye should be, in pixels.
        distance: Between both eyes, in pixels.
        sensitivity: 0..1; higher takes weaker red.

    Returns:
        Rows and columns of its pixels, 2 × n; None where no round red spot is.
    """
    reach = REACH * distance
    top, left = max(0, math.floor(eye[1] - reach)), max(0, math.floor(eye[0] - reach))
    part = color[top : max(0, math.ceil(eye[1] + reach)), left : max(0, math.ceil(eye[0] + reach))].astype(np.float32)
    if part.shape[0] < 3 or part.shape[1] < 3:
        return None
    red, other = part[..., 0], (part[..., 1] + part[..., 2]) / 2
    redness = red / np.maximum(other, 1)
    ratio, shine = (low + (high - low) * sensitivity for low, high in (LEAST_RATIO, LEAST_SHINE))
    spots = redness > max(ratio, OVER_SKIN * float(np.median(redness)))
    spots &= red - other > shine * float(np.median(red))
    best = None
    for rows, columns in _spots(spots):
        away = math.hypot(rows.mean() + top - eye[1], columns.mean() + left - eye[0])
        if _is_pupil(rows, columns, distance) and away <= reach and (best is None or away < best[0]):
            best = away, np.stack([rows + top, columns + left])
    return None if best is None else best[1]


def corrected(color: "np.ndarray", places: "np.ndarray", strength: float) -> "np.ndarray":
    """The pixels of a pupil without the red: grey, a little darker; a glint was never among them.

    Args:
        color: The picture, height × width × 3.
        places: Rows and columns, 2 × n.
        strength: 0..1.
    """
    values = color[places[0], places[1]].astype(np.float32)
    grey = values[:, 1:].mean(axis=1, keepdims=True) * DARKER
    mixed: np.ndarray = values + strength * (grey - values)
    return np.floor(mixed + 0.5).astype(color.dtype)


def _spots(mask: "np.ndarray") -> "list[tuple[np.ndarray, np.ndarray]]":
    """Rows and columns of each connected spot."""
    height, width = mask.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(mask, np.uint8).data, width, height, 1, "uchar")
    labels = np.asarray(picture.labelregions().numpy()).reshape(height, width)
    found = (np.nonzero((labels == label) & mask) for label in np.unique(labels[mask]))
    return [(rows, columns) for rows, columns in found]


def _is_pupil(rows: "np.ndarray", columns: "np.ndarray", distance: float) -> bool:
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    radius = math.sqrt(len(rows) / math.pi) / distance
    even = 0.5 <= height / width <= 2
    return bool(even and SMALLEST <= radius <= LARGEST and len(rows) >= ROUND * height * width)
