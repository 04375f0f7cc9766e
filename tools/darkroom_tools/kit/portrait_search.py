"""Which face a portrait is of, and where its parts are."""

from dataclasses import dataclass
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.errors import NoFace
from darkroom_tools.kit.faces import find_faces
from darkroom_tools.kit.portrait import Landmarks, landmarks_of
from darkroom_tools.native import pyvips

__all__ = ["Portrait", "find_portrait"]

SENSITIVITY: Final = 0.5
OTHERS: Final = 0.4
"""Height of another face, in heights of the largest, from which on it is another person and no chance pattern."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A person in a picture.

    Attributes:
        landmarks: Where the parts of the face are, in pixels.
        method: What found them.
        warnings: Sentences for the caller.
    """

    landmarks: Landmarks
    method: str
    warnings: tuple[str, ...] = ()


def find_portrait(pixels: "pyvips.Image", run: Run) -> Portrait:
    """The largest face of a picture.

    Args:
        pixels: One frame, grey or sRGB.
        run: Runs the detector's model, if there is one.

    Raises:
        NoFace: There is none.
    """
    faces = find_faces(pixels, SENSITIVITY, run)
    if not faces.found:
        raise NoFace(
            "No face was found. Use a photo of one person from the front, or give 'landmarks': leftEye, rightEye, "
            "chin and crown as [x, y], each 0 to 1 from the top left corner.",
            method=faces.method,
        )
    face = faces.found[0]
    warnings: list[str] = []
    others = sum(other.height >= OTHERS * face.height for other in faces.found[1:])
    if others:
        count = "one other face" if others == 1 else f"{others} other faces"
        warnings.append(f"There is {count} in the picture; the largest is used.")
    if faces.estimated:
        warnings.append(
            "The landmarks are estimated from the outline of the face: check the size of the head against your "
            "authority's rules."
        )
    return Portrait(landmarks_of(face), faces.method, tuple(warnings))
