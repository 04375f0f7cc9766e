"""Where the eyes of a face are, and the five landmarks that follow from them."""

import math
from typing import Final

from darkroom_tools.native import np

__all__ = ["Point", "contrast", "eye_centres", "eye_detail", "five_landmarks"]

Point = tuple[float, float]

PATCH: Final = 96
"""Side of the face, in pixels, at which eyes are looked for."""

EYE_X: Final = (0.31, 0.69)
EYE_Y: Final = 0.37
"""Where the eyes usually are in a window of the cascade, as shares of its side."""

REACH_X: Final = 0.15
REACH_Y: Final = 0.12
"""How far from there they are looked for."""

STRAY: Final = 0.09
"""Spread of eyes around their usual place."""

NOSE_DOWN: Final = 0.587
MOUTH_DOWN: Final = 1.042
MOUTH_ASIDE: Final = 0.443
"""Of a face seen from the front, in distances between the eyes (the mean face of the FFHQ photographs)."""

STEEPEST: Final = math.radians(25)
CLOSEST, WIDEST = 0.26, 0.52


def eye_centres(face: "np.ndarray") -> tuple[Point, Point]:
    """The centres of both eyes, the left one in the picture first, in shares of the face's side.

    Each is the point that most gradients around it point away from, dark and near the usual place. Timm and Barth,
    Accurate Eye Centre Localisation by Means of Gradients, 2011. Where the two contradict the shape of a face, the
    usual places are taken.

    Args:
        face: `PATCH` × `PATCH`, grey, 8 bits.
    """
    left, right = (_centre(face.astype(np.float32), usual) for usual in EYE_X)
    across, down = right[0] - left[0], right[1] - left[1]
    if CLOSEST <= across <= WIDEST and abs(math.atan2(down, across)) <= STEEPEST:
        return left, right
    return (EYE_X[0], EYE_Y), (EYE_X[1], EYE_Y)


def five_landmarks(left: Point, right: Point) -> tuple[Point, ...]:
    """Both eyes, the tip of the nose and the corners of the mouth of a face seen from the front."""
    across, down = right[0] - left[0], right[1] - left[1]
    middle = ((left[0] + right[0]) / 2, (left[1] + right[1]) / 2)

    def at(aside: float, below: float) -> Point:
        return middle[0] + aside * across - below * down, middle[1] + aside * down + below * across

    return left, right, at(0, NOSE_DOWN), at(-MOUTH_ASIDE, MOUTH_DOWN), at(MOUTH_ASIDE, MOUTH_DOWN)


def contrast(face: "np.ndarray") -> float:
    """How much darker than the cheeks and the bridge of the nose both eyes are, in deviations of the face.

    A face gives 0.3 to 2.5; about 0 or less is none.
    """
    values = face.astype(np.float32)
    deviation = max(float(values.std()), 1.0)

    def mean(left: float, top: float, right: float, bottom: float) -> float:
        return float(values[int(top * PATCH) : int(bottom * PATCH), int(left * PATCH) : int(right * PATCH)].mean())

    bridge = mean(0.44, 0.38, 0.56, 0.60)
    sides = ((0.18, 0.42), (0.58, 0.82))
    darker = [(0.5 * (mean(a, 0.50, b, 0.66) + bridge) - mean(a, 0.28, b, 0.46)) / deviation for a, b in sides]
    return min(darker)


def eye_detail(face: "np.ndarray") -> float:
    """How much fine detail there is where the eyes should be, in deviations of the face, at the poorer of the two.

    Faces have 0.1 to 0.4, blurred ones and even things less.

    Args:
        face: `PATCH` × `PATCH`, grey, 8 bits.
    """
    values = face.astype(np.float32)
    fine = np.abs(values - _smoothed(_smoothed(_smoothed(values))))
    rows = fine[int(0.30 * PATCH) : int(0.48 * PATCH)]
    width = int(0.28 * PATCH)
    sides = (int(0.16 * PATCH), int(0.58 * PATCH))
    return min(float(rows[:, left : left + width].mean()) for left in sides) / max(float(values.std()), 1.0)


def _centre(face: "np.ndarray", usual: float) -> Point:
    top, bottom = int((EYE_Y - REACH_Y) * PATCH), int((EYE_Y + REACH_Y) * PATCH)
    left, right = int((usual - REACH_X) * PATCH), int((usual + REACH_X) * PATCH)
    smooth = _smoothed(face)[top - 1 : bottom + 1, left - 1 : right + 1]
    across, down = (smooth[1:-1, 2:] - smooth[1:-1, :-2]) / 2, (smooth[2:, 1:-1] - smooth[:-2, 1:-1]) / 2
    strength = np.hypot(across, down)
    strong = strength > strength.mean() + 0.3 * strength.std()
    rows, columns = np.mgrid[: bottom - top, : right - left].astype(np.float32)
    if not strong.any():
        return usual, EYE_Y
    away_x = columns[strong] - columns.reshape(-1, 1)
    away_y = rows[strong] - rows.reshape(-1, 1)
    length = np.maximum(np.hypot(away_x, away_y), 1e-6)
    along = (away_x * (across / strength.clip(1e-6))[strong] + away_y * (down / strength.clip(1e-6))[strong]) / length
    votes = (np.maximum(along, 0) ** 2).mean(1).reshape(rows.shape)
    darkness = smooth.max() - smooth[1:-1, 1:-1]
    astray = ((columns + left + 0.5) / PATCH - usual) ** 2 + ((rows + top + 0.5) / PATCH - EYE_Y) ** 2
    votes = votes * darkness * np.exp(-astray / (2 * STRAY**2))
    best = votes >= 0.95 * votes.max()
    weight = votes[best] / votes[best].sum()
    return (
        float((columns[best] * weight).sum() + left + 0.5) / PATCH,
        float((rows[best] * weight).sum() + top + 0.5) / PATCH,
    )


def _smoothed(values: "np.ndarray") -> "np.ndarray":
    """A 5 × 5 binomial filter, edges repeated."""
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if axis == n else (0, 0) for n in (0, 1)], mode="edge")
        parts = [np.take(padded, range(n, n + values.shape[axis]), axis) for n in range(5)]
        values = (parts[0] + 4 * parts[1] + 6 * parts[2] + 4 * parts[3] + parts[4]) / 16
    return values
