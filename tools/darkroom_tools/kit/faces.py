"""Where the faces of a picture are: by a network where one is installed, else by a cascade of our own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.kit import faces_cascade, faces_yunet
from darkroom_tools.kit.faces_eyes import PATCH, Point, contrast, eye_centres, eye_detail, five_landmarks
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, resized, white_level
from darkroom_tools.models import best_installed, cards_for
from darkroom_tools.native import np, pyvips

__all__ = ["FACE_MODELS", "Face", "Faces", "find_faces"]

FACE_MODELS: Final = tuple(card.id for card in cards_for("faces"))

WORKING_SIDE: Final = 1_000
"""The cascade looks at a picture of at most this side; its smallest face has 24 pixels there."""

TURNS: Final = (-20, 20)
TURNED_SIDE: Final = 300
"""Degrees by which a picture of at most that side is turned where no upright face was found."""

THOROUGH: Final = 0.75
"""Sensitivity from which the picture is always turned too, at more than that side, and from which a large one is looked
at again in twice the usual size for small faces."""

THOROUGH_SIDE: Final = 500
SMALL: Final = 2.5
"""Side of the turned picture then, and the largest face of the look for small ones over the smallest."""

NEAR, ALIKE = 0.3, 0.4
"""Windows belong together whose centres are within this share of their side, and whose sides differ by less (log)."""

WEAKEST, STRONGEST = 46.0, 86.0
"""Evidence of a face at sensitivity 1, and where a face is certain."""

RANGE: Final = 20.0
"""How much more evidence sensitivity 0 asks for than sensitivity 1."""

FOR_SKIN, FOR_EYES = 12.0, 50.0
"""Evidence for the share of skin over a half, and for each deviation of fine detail at the eyes over the usual."""

USUAL_DETAIL, MOST_DETAIL = 0.1, 0.2
"""Detail that anything may have, and beyond which more says nothing."""

NO_FACE: Final = 20.0
"""Evidence against: a blurred post is even on both sides without eyes, hair has two sides that contradict each other."""


@dataclass(frozen=True, slots=True)
class Face:
    """A face, in pixels of the picture.

    Attributes:
        left: Of the box from the brows to the chin.
        top: Of the box.
        width: Of the box.
        height: Of the box.
        score: How sure it is, 0..1.
        landmarks: Right eye, left eye, tip of the nose, right and left corner of the mouth; right and left are the
            person's own, so the right eye is the left one in the picture.
    """

    left: float
    top: float
    width: float
    height: float
    score: float
    landmarks: tuple[Point, ...]

    @property
    def center(self) -> Point:
        """The middle of the box."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class Faces:
    """The faces of a picture.

    Attributes:
        found: The largest first.
        method: `lbp-cascade`, or the id of the model.
        estimated: Whether nose and mouth follow from the eyes instead of being seen.
    """

    found: tuple[Face, ...]
    method: str
    estimated: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    x: float
    y: float
    side: float
    evidence: float


def find_faces(pixels: "pyvips.Image", sensitivity: float, run: Run) -> Faces:
    """Find faces that look towards the camera.

    Args:
        pixels: One frame of any kind; alpha is ignored.
        sensitivity: 0..1; higher finds more, and more that are none.
        run: Asked for a model; cancels between scales.
    """
    color = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    model = best_installed("faces", run.installed)
    if model is not None:
        seen = faces_yunet.detect(color, model, 0.9 - 0.6 * sensitivity, run)
        return Faces(_largest_first([Face(*box, score, points) for box, score, points in seen]), model.id, False)
    if min(color.width, color.height) < faces_cascade.SIDE:
        return Faces((), "lbp-cascade", True)
    least = WEAKEST + RANGE * (1 - sensitivity)
    thorough = sensitivity >= THOROUGH
    found = _upright_at(WORKING_SIDE, color, least, run)
    if thorough and max(color.width, color.height) > WORKING_SIDE:
        found += _upright_at(2 * WORKING_SIDE, color, least, run, largest=SMALL * faces_cascade.SIDE)
    if thorough or not found:
        coarse = _reduced(color, THOROUGH_SIDE if thorough else TURNED_SIDE)
        tilted = [face for degrees in TURNS for face in _turned(coarse, degrees, least, run)]
        found += [_scaled(face, color.width / coarse.shape[1]) for face in tilted]
    return Faces(_largest_first(_without_doubles(found)), "lbp-cascade", True)


def _reduced(color: "pyvips.Image", side: int) -> "np.ndarray":
    """The picture with 8 bits a band and at most that side."""
    scale = min(1.0, side / max(color.width, color.height))
    width, height = max(1, round(color.width * scale)), max(1, round(color.height * scale))
    small = resized(color, width, height, "linear") if scale < 1 else color
    values: np.ndarray = np.floor(as_array(small).astype(np.float32) * (255 / white_level(color)) + 0.5)
    return values.astype(np.uint8)


def _largest_first(faces: Sequence[Face]) -> tuple[Face, ...]:
    return tuple(sorted(faces, key=lambda face: (-face.width * face.height, face.left, face.top)))


def _scaled(face: Face, by: float) -> Face:
    left, top, width, height = (value * by for value in (face.left, face.top, face.width, face.height))
    return Face(left, top, width, height, face.score, tuple((x * by, y * by) for x, y in face.landmarks))


def _upright_at(side: int, color: "pyvips.Image", least: float, run: Run, largest: float = math.inf) -> list[Face]:
    """Faces of the picture reduced to a side, in its own pixels."""
    values = _reduced(color, side)
    return [_scaled(face, color.width / values.shape[1]) for face in _upright(values, least, run, largest)]


def _upright(values: "np.ndarray", least: float, run: Run, largest: float = math.inf) -> list[Face]:
    """Faces of a small colour picture, height × width × 3."""
    grey = np.floor(values @ np.array((0.299, 0.587, 0.114), np.float32) + 0.5).astype(np.uint8)

    def look(_: float) -> None:
        run.progress(0)

    colored = bool((values.max(2).astype(np.int16) - values.min(2) > 12).mean() > 0.02)
    means = np.maximum(values.mean((0, 1), dtype=np.float64), 1).astype(np.float32)
    casts = (np.ones(3, np.float32), means.mean() / means) if colored else ()
    candidates = _grouped(faces_cascade.search(grey, largest=largest, report=look))
    judged = (_judged(candidate, values, grey, least, casts) for candidate in candidates)
    return [face for face in judged if face is not None]


def _turned(values: "np.ndarray", degrees: float, least: float, run: Run) -> list[Face]:
    """Faces that are upright once the picture is turned, in pixels of the picture as it is."""
    height, width = values.shape[:2]
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(values).data, width, height, 3, "uchar")
    turned = as_array(picture.rotate(degrees))
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))

    def back(point: Point) -> Point:
        x, y = point[0] - turned.shape[1] / 2, point[1] - turned.shape[0] / 2
        return cosine * x + sine * y + width / 2, -sine * x + cosine * y + height / 2

    faces = []
    for face in _upright(turned, least, run):
        x, y = back(face.center)
        box = replace(face, left=x - face.width / 2, top=y - face.height / 2)
        faces.append(replace(box, landmarks=tuple(back(point) for point in face.landmarks)))
    return faces


def _grouped(windows: faces_cascade.Windows) -> list[_Candidate]:
    """Windows that see the same face as one, weighted by how surely they do."""
    x, y = windows.left + windows.side / 2, windows.top + windows.side / 2
    free = np.ones(len(windows.side), bool)
    found = []
    for best in np.argsort(-windows.margin, kind="stable"):
        if not free[best]:
            continue
        side = windows.side[best]
        near = free & (np.hypot(x - x[best], y - y[best]) < NEAR * side) & (np.abs(np.log(windows.side / side)) < ALIKE)
        free &= ~near
        weight = windows.margin[near] / windows.margin[near].sum()
        evidence = float(windows.margin[best]) + 4 * math.log2(int(near.sum()))
        middle_x, middle_y, wide = (float((values[near] * weight).sum()) for values in (x, y, windows.side))
        found.append(_Candidate(middle_x, middle_y, wide, evidence))
    return found


def _judged(
    candidate: _Candidate, values: "np.ndarray", grey: "np.ndarray", least: float, casts: "Sequence[np.ndarray]"
) -> Face | None:
    """The candidate as a face, None where eyes, skin and what the cascade says are too little together.

    `casts` are gains of the three colours under any of which the face may have the colour of skin; none where the
    picture is grey.
    """
    if candidate.evidence < WEAKEST - FOR_SKIN:
        return None
    side = candidate.side
    left, top = candidate.x - side / 2, candidate.y - side / 2
    patch = _patch(grey, left, top, side)
    mirrored = float(np.corrcoef(patch.ravel(), patch[:, ::-1].ravel())[0, 1]) if patch.std() > 0 else 1.0
    evidence = candidate.evidence + FOR_EYES * (min(eye_detail(patch), MOST_DETAIL) - USUAL_DETAIL)
    if casts:
        evidence += FOR_SKIN * (max(_skin(values, left, top, side, gains) for gains in casts) - 0.5)
    if mirrored < -0.4 or (mirrored > 0.9 and contrast(patch) < 0.5):
        evidence -= NO_FACE
    if evidence < least:
        return None
    score = min(1.0, max(0.05, (evidence - WEAKEST) / (STRONGEST - WEAKEST)))
    points = five_landmarks(*eye_centres(patch))
    return Face(left, top, side, side, score, tuple((left + x * side, top + y * side) for x, y in points))


def _patch(grey: "np.ndarray", left: float, top: float, side: float) -> "np.ndarray":
    """A square at the size at which eyes are looked for; the edge repeats outside the picture."""
    at = (np.arange(PATCH) + 0.5) * (side / PATCH) - 0.5
    return _bilinear(grey, top + at, left + at)


def _bilinear(grey: "np.ndarray", down: "np.ndarray", across: "np.ndarray") -> "np.ndarray":
    row, column = np.clip(down, 0, len(grey) - 1), np.clip(across, 0, grey.shape[1] - 1)
    y, x = np.floor(row).astype(int), np.floor(column).astype(int)
    part_y, part_x = (row - y)[:, None], column - x
    below, right = np.minimum(y + 1, len(grey) - 1), np.minimum(x + 1, grey.shape[1] - 1)
    upper = grey[np.ix_(y, x)] * (1 - part_x) + grey[np.ix_(y, right)] * part_x
    lower = grey[np.ix_(below, x)] * (1 - part_x) + grey[np.ix_(below, right)] * part_x
    mixed: np.ndarray = np.floor(upper * (1 - part_y) + lower * part_y + 0.5).astype(np.uint8)
    return mixed


def _skin(values: "np.ndarray", left: float, top: float, side: float, gains: "np.ndarray") -> float:
    """Share of the middle of a face whose chroma is that of skin of any tone (Chai and Ngan, 1999, widened a little)."""
    rows = slice(max(0, int(top + 0.2 * side)), max(1, int(top + 0.9 * side)))
    part = values[rows, max(0, int(left + 0.2 * side)) : max(1, int(left + 0.8 * side))].astype(np.float32)
    if part.size == 0:
        return 0.0
    part = np.minimum(part * gains, 255)
    red, green, blue = part[..., 0], part[..., 1], part[..., 2]
    cb = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    return float(((cr >= 133) & (cr <= 178) & (cb >= 77) & (cb <= 130)).mean())


def _without_doubles(faces: Sequence[Face]) -> list[Face]:
    """Of faces that lie in one another the surest."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        if not any(_overlap(face, other) for other in kept):
            kept.append(face)
    return kept


def _overlap(one: Face, other: Face) -> bool:
    """Whether the middle of one lies in the other."""

    def inside(point: Point, face: Face) -> bool:
        return abs(point[0] - face.center[0]) < face.width / 2 and abs(point[1] - face.center[1]) < face.height / 2

    return inside(one.center, other) or inside(other.center, one)
