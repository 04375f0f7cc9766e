"""The places of a face, and the one similarity that puts it where a photo wants it.

Where the detector gives eyes and mouth only, chin, hairline and crown follow from the mean proportions of adult faces
(Farkas: Anthropometry of the Head and Face, 1994); they are right to a few percent of the head.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeGuard

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.pixels import resized
from darkroom_tools.native import pyvips

if TYPE_CHECKING:
    from darkroom_tools.kit.faces import Face

__all__ = ["Landmarks", "Placement", "Point", "landmarks_of", "placed", "rendered"]

Point = tuple[float, float]

MOUTH_BY_EYES: Final = 1.06
"""From the eye line to the mouth, in distances between the eyes."""
CHIN_BY_MOUTH: Final = 1.73
FOREHEAD_BY_MOUTH: Final = 1.14
"""From the eye line to the chin and to the hairline, in distances from the eye line to the mouth."""
CROWN_BY_FACE: Final = 0.15
"""From the hairline to the crown, in distances from the hairline to the chin."""

MARGIN: Final = 4
"""Pixels around the photo that its resampling reaches into."""

POINTS: Final = ("leftEye", "rightEye", "eyeCenter", "chin", "forehead", "crown", "nose")


@dataclass(frozen=True, slots=True)
class Landmarks:
    """Places of a face, in pixels of the picture from its top left corner; pixel n reaches from n to n + 1.

    Attributes:
        left_eye: Middle of the eye that is further left in the picture.
        right_eye: Of the other one.
        chin: Its lowest point.
        forehead: The middle of the hairline.
        crown: The highest point of the skull, without hair.
        nose: Its tip.
        center_x: The middle of the face at the height of the eyes.
    """

    left_eye: Point
    right_eye: Point
    chin: Point
    forehead: Point
    crown: Point
    nose: Point
    center_x: float

    @property
    def eye_center(self) -> Point:
        """Half-way between the eyes."""
        return _between(self.left_eye, self.right_eye, 0.5)

    @property
    def roll(self) -> float:
        """How far the head leans, in radians; positive where the eye further right is lower."""
        across, down = self.right_eye[0] - self.left_eye[0], self.right_eye[1] - self.left_eye[1]
        return math.atan2(down, across) if across or down else 0.0

    def to_wire(self, width: int, height: int) -> dict[str, Any]:
        """The places as shares of the picture's width and height."""
        points = (
            self.left_eye,
            self.right_eye,
            self.eye_center,
            self.chin,
            self.forehead,
            self.crown,
            self.nose,
        )
        shares: dict[str, Any] = {
            name: {"x": round(x / width, 5), "y": round(y / height, 5)}
            for name, (x, y) in zip(POINTS, points, strict=True)
        }
        return {**shares, "faceCenterX": round(self.center_x / width, 5)}

    @classmethod
    def from_wire(cls, shares: Mapping[str, Any], width: int, height: int) -> Self:
        """Places given as shares of width and height: both eyes, the chin, and the crown or the forehead.

        Each is `{"x": …, "y": …}` or `[x, y]`.

        Raises:
            InvalidSettings: A place is missing, no pair of numbers, or far outside the picture.
        """
        given = {name: _point(name, shares[name], width, height) for name in POINTS if shares.get(name) is not None}
        missing = [name for name in ("leftEye", "rightEye", "chin") if name not in given]
        if not {"crown", "forehead"} & set(given):
            missing.append("crown")
        if missing:
            raise InvalidSettings(
                f"'landmarks' lacks {', '.join(missing)}. Give leftEye, rightEye, chin and crown as [x, y], each 0 to "
                "1 from the top left corner.",
                field="landmarks",
            )
        left, right = sorted((given["leftEye"], given["rightEye"]))
        middle, chin = _between(left, right, 0.5), given["chin"]
        crown = given.get("crown") or _between(given["forehead"], chin, -CROWN_BY_FACE)
        forehead = given.get("forehead") or _between(crown, chin, CROWN_BY_FACE / (1 + CROWN_BY_FACE))
        share = shares.get("faceCenterX")
        center = share * width if _is_number(share) else middle[0]
        return cls(left, right, chin, forehead, crown, given.get("nose") or _between(middle, chin, 0.38), center)


def landmarks_of(face: "Face") -> Landmarks:
    """The places of a face that was found: eyes and nose as they are, the others by proportion."""
    right, left, nose, *mouth = face.landmarks
    first, second = sorted((right, left))
    eyes, lips = _between(first, second, 0.5), _between(mouth[0], mouth[1], 0.5)
    width = math.dist(first, second)
    angle = math.atan2(second[1] - first[1], second[0] - first[0])
    down = (-math.sin(angle), math.cos(angle))
    seen = (lips[0] - eyes[0]) * down[0] + (lips[1] - eyes[1]) * down[1]
    # Two measures of one length: the mean of both is wrong by less than either.
    unit = (max(seen, 0.0) + MOUTH_BY_EYES * width) / 2 if seen > 0 else MOUTH_BY_EYES * width

    def along(distance: float) -> Point:
        return eyes[0] + down[0] * distance, eyes[1] + down[1] * distance

    forehead, chin = along(-FOREHEAD_BY_MOUTH * unit), along(CHIN_BY_MOUTH * unit)
    crown = _between(forehead, chin, -CROWN_BY_FACE)
    return Landmarks(first, second, chin, forehead, crown, nose, eyes[0])


@dataclass(frozen=True, slots=True)
class Placement:
    """A similarity from the picture to a photo: turn, scale and shift, without stretching.

    Attributes:
        width: Pixels of the photo across.
        height: And down.
        scale: Pixels of the photo for a pixel of the picture.
        roll: Radians by which the picture is turned back, counter-clockwise.
        origin: A place in the picture …
        target: … and where it goes in the photo.
    """

    width: int
    height: int
    scale: float
    roll: float
    origin: Point
    target: Point

    def to_photo(self, point: Point) -> Point:
        """Where a place of the picture comes to lie in the photo."""
        sine, cosine = math.sin(self.roll), math.cos(self.roll)
        x, y = point[0] - self.origin[0], point[1] - self.origin[1]
        return (
            self.target[0] + self.scale * (cosine * x + sine * y),
            self.target[1] + self.scale * (cosine * y - sine * x),
        )

    def to_picture(self, point: Point) -> Point:
        """Which place of the picture is seen at a place of the photo."""
        sine, cosine = math.sin(self.roll), math.cos(self.roll)
        x, y = (point[0] - self.target[0]) / self.scale, (point[1] - self.target[1]) / self.scale
        return self.origin[0] + cosine * x - sine * y, self.origin[1] + sine * x + cosine * y

    def corners(self) -> tuple[Point, Point, Point, Point]:
        """The corners of the photo in the picture, clockwise from the top left one."""
        w, h = float(self.width), float(self.height)
        first, second, third, fourth = ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h))
        return self.to_picture(first), self.to_picture(second), self.to_picture(third), self.to_picture(fourth)


def placed(
    landmarks: Landmarks, width: int, height: int, head: float, eye_line: float, shift: Point = (0.0, 0.0)
) -> Placement:
    """Put a face into a photo, upright and in the middle.

    Args:
        landmarks: In pixels of the picture.
        width: Pixels of the photo across.
        height: And down.
        head: Height of the head, from chin to crown, in the photo's height.
        eye_line: Height of the eyes above the lower edge, in the photo's height.
        shift: How far the face is moved right and down, in widths and heights of the photo.

    Raises:
        InvalidSettings: The crown is not above the eyes, or the chin not below them.
    """
    roll, eyes = landmarks.roll, landmarks.eye_center
    down, across = (-math.sin(roll), math.cos(roll)), (math.cos(roll), math.sin(roll))
    below, above = (
        (point[0] - eyes[0]) * down[0] + (point[1] - eyes[1]) * down[1] for point in (landmarks.chin, landmarks.crown)
    )
    if below <= 0 or above >= 0:
        raise InvalidSettings(
            "'landmarks' must have the crown above the eyes and the chin below them.", field="landmarks"
        )
    aside = (landmarks.center_x - eyes[0]) * across[0]
    return Placement(
        width,
        height,
        head * height / (below - above),
        roll,
        (eyes[0] + aside * across[0], eyes[1] + aside * across[1]),
        (width * (0.5 + shift[0]), height * (1 - eye_line + shift[1])),
    )


def rendered(pixels: "pyvips.Image", placement: Placement) -> "pyvips.Image":
    """The photo; what lies beyond the picture is its nearest edge.

    The picture is reduced to twice the photo's size with Lanczos, turned bicubically, and reduced once more, so it
    loses neither sharpness nor gains moiré. A picture with alpha must be flattened or premultiplied before.
    """
    fine = 2 if placement.scale < 1 else 1
    wanted = placement.scale * fine
    source = pixels
    if wanted < 1:
        size = max(1, round(pixels.width * wanted)), max(1, round(pixels.height * wanted))
        source = resized(pixels, *size)
    across, down = source.width / pixels.width, source.height / pixels.height
    corners = [(x * across, y * down) for x, y in placement.corners()]
    left, top = (math.floor(min(corner[axis] for corner in corners)) - MARGIN for axis in (0, 1))
    right, bottom = (math.ceil(max(corner[axis] for corner in corners)) + MARGIN for axis in (0, 1))
    source = source.embed(-left, -top, right - left, bottom - top, extend="copy")
    sine, cosine = math.sin(placement.roll), math.cos(placement.roll)
    matrix = [wanted * cosine / across, wanted * sine / down, -wanted * sine / across, wanted * cosine / down]
    # libvips counts from the middle of the first pixel, places from its corner.
    target = placement.to_photo(((left + 0.5) / across, (top + 0.5) / down))
    turned = source.affine(
        matrix,
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, placement.width * fine, placement.height * fine],
        odx=target[0] * fine - 0.5,
        ody=target[1] * fine - 0.5,
        extend="copy",
    )
    return turned if fine == 1 else resized(turned, placement.width, placement.height)


def _between(first: Point, second: Point, share: float) -> Point:
    return first[0] + (second[0] - first[0]) * share, first[1] + (second[1] - first[1]) * share


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _point(name: str, value: Any, width: int, height: int) -> Point:
    pair = (value.get("x"), value.get("y")) if isinstance(value, Mapping) else value
    if (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(_is_number(number) and -1 <= number <= 2 for number in pair)
    ):
        return float(pair[0]) * width, float(pair[1]) * height
    raise InvalidSettings(
        f"'landmarks' has no place for {name}: give [x, y], each 0 to 1 from the top left corner.", field="landmarks"
    )
