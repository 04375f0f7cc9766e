"""Face / PII Blur."""

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.faces import FACE_MODELS, Face, find_faces
from darkroom_tools.kit.pixels import as_array, frame_at, picture_of, premultiplied, resized
from darkroom_tools.models import missing
from darkroom_tools.native import np, pyvips

PER_FACE: Final = 200.0
"""`blurRadius` of so much is the whole width of a face."""

TELLING: Final = 20.0
"""Radius below which a face may still be recognised."""

SHOWN: Final = 100
"""Faces that the reply lists."""

HALF_WIDTH, HALF_HEIGHT, HIGHER = 0.66, 0.82, 0.06
"""The hidden ellipse around the middle of a box, in shares of its sides: with ears, hairline and chin."""

FEATHER: Final = 0.15
"""How far outside the ellipse the blur fades out, in shares of its half axes."""


class BlurFaces(Settings):
    """How strongly faces are hidden, and how readily something counts as one."""

    blur_radius: Annotated[float, Field(ge=1, le=100)] = 30
    """Half percent of the face's width"""

    sensitivity: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Higher finds more faces"""


@tool(title="Face / PII Blur", models=FACE_MODELS)
def blur_faces(image: Image, settings: BlurFaces, run: Run) -> Image:
    """Find faces and make them unrecognisable, in every frame.

    Without a model it finds faces that look towards the camera: check the result with view_image.
    """
    held = image.with_pixels(image.pixels.copy_memory())
    frames = [frame_at(held, number).pixels for number in range(image.frames)]
    seen = []
    for number, frame in enumerate(frames):
        run.progress(number / len(frames), f"looking for faces in frame {number + 1} of {len(frames)}")
        seen.append(find_faces(frame, settings.sensitivity, run))
    numbered = [(number, face) for number, faces in enumerate(seen) for face in faces.found]
    listed = [_wire(face, number, image.frames) for number, face in numbered[:SHOWN]]
    result = image.with_facts(method=seen[0].method, facesDetected=len(numbered), faces=listed)
    if not numbered:
        return result.warn("No face was found, so nothing was hidden. Raise 'sensitivity', or crop the face out.")
    if seen[0].method not in FACE_MODELS:
        result = result.warn(
            "Only faces that look towards the camera are found without a model: check it with view_image. "
            f"One finds more: {missing(FACE_MODELS[0]).details['command']}"
        )
    if settings.blur_radius < TELLING:
        result = result.warn(f"Below a 'blurRadius' of {TELLING:g} a face may still be recognised.")
    hidden = []
    for number, frame in enumerate(frames):
        # A face that one frame misses is where its neighbours have it.
        around = [face for faces in seen[max(0, number - 1) : number + 2] for face in faces.found]
        hidden.append(_hidden(frame, around, settings.blur_radius))
    frames_left = iter(hidden)
    return result.map_frames(lambda _: next(frames_left))


def _wire(face: Face, number: int, frames: int) -> dict[str, Any]:
    box = {"x": face.left, "y": face.top, "w": face.width, "h": face.height}
    wire: dict[str, Any] = {key: round(value) for key, value in box.items()}
    return {**wire, "frame": number} if frames > 1 else wire


def _hidden(frame: "pyvips.Image", faces: Sequence[Face], radius: float) -> "pyvips.Image":
    """A frame without these faces."""
    if not faces:
        return frame
    array = as_array(frame).copy()
    for face in faces:
        _hide(array, frame, face, radius)
    return picture_of(array, frame)


def _hide(array: "np.ndarray", frame: "pyvips.Image", face: Face, radius: float) -> None:
    """Replace an ellipse by the means of a few cells, so that nothing finer is left to be brought back."""
    x, y = face.center[0], face.center[1] - HIGHER * face.height
    across, down = HALF_WIDTH * face.width, HALF_HEIGHT * face.height
    reach = 1 + FEATHER
    left, top = max(0, int(x - reach * across)), max(0, int(y - reach * down))
    right, bottom = min(frame.width, int(x + reach * across) + 2), min(frame.height, int(y + reach * down) + 2)
    if left >= right or top >= bottom:
        return
    part = frame.crop(left, top, right - left, bottom - top)
    cell = max(1.0, face.width * radius / PER_FACE)
    columns, rows = max(1, round(part.width / cell)), max(1, round(part.height / cell))

    def coarse(pixels: "pyvips.Image") -> "pyvips.Image":
        return resized(resized(pixels, columns, rows, "linear"), part.width, part.height)

    blurred = as_array(premultiplied(part, coarse)).astype(np.float32)
    rows_at, columns_at = np.mgrid[top:bottom, left:right].astype(np.float32) + 0.5
    distance = np.hypot((columns_at - x) / across, (rows_at - y) / down)
    share = np.clip((reach - distance) / FEATHER, 0, 1)[..., None]
    region = array[top:bottom, left:right]
    mixed = np.floor(region + share * (blurred - region) + 0.5)
    region[...] = np.clip(mixed, 0, np.iinfo(region.dtype).max)
