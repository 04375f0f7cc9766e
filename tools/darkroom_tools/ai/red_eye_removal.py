"""Red Eye Removal."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.faces import FACE_MODELS, find_faces
from darkroom_tools.kit.percent import PercentOrShare
from darkroom_tools.kit.pixels import as_array, color_bands, first_frame, picture_of, white_level
from darkroom_tools.kit.red_eye import corrected, red_pupil
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import written_as
from darkroom_tools.native import np
from darkroom_tools.shape import Shape, Shapes
from darkroom_tools.shape import still as still_shape

FACE_SENSITIVITY = 0.7
"""A face that is none has no red pupils, so more may be looked at."""


class RedEyeRemoval(Settings):
    """How red a pupil must be, and how much of it goes."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    sensitivity: PercentOrShare = 50
    """Higher takes weaker red"""

    strength: PercentOrShare = 70
    """How much red goes"""

    format: Unpublished[Literal["auto", "png", "jpeg", "webp", "avif"]] = "auto"
    """Of the result"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)] | None] = None
    """Of the file"""


def _shape(settings: RedEyeRemoval, shapes: Shapes) -> Shape:
    return still_shape(settings, shapes).encoded_as(settings.format)


@tool(title="Red Eye Removal", models=FACE_MODELS, shape=_shape)
def red_eye_removal(image: Image, settings: RedEyeRemoval, run: Run) -> Image:
    """Take the red of a flash out of the pupils of faces that look towards the camera."""
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is corrected.")
    pixels = still.pixels.copy_memory()
    result = written_as(still, settings.format, settings.quality)
    if color_bands(pixels) != 3:
        return result.with_facts(method="none", eyesCorrected=0).warn("A grey picture has no red eyes.")
    run.progress(0, "looking for faces")
    faces = find_faces(pixels, FACE_SENSITIVITY, run)
    array = as_array(pixels).copy()
    color = array[..., :3]
    levels = color if white_level(pixels) == 255 else (color >> 8).astype(np.uint8)
    eyes = 0
    for face in faces.found:
        right, left = face.landmarks[:2]
        distance = math.dist(right, left)
        for eye in (right, left):
            places = red_pupil(levels, eye, distance, settings.sensitivity / 100)
            if places is not None:
                color[places[0], places[1]] = corrected(color, places, settings.strength / 100)
                eyes += 1
    result = result.with_facts(method=faces.method, facesDetected=len(faces.found), eyesCorrected=eyes)
    if not faces.found:
        return result.warn("No face was found, so nothing was changed.")
    if not eyes:
        return result.warn("No red eye was found, so nothing was changed. Raise 'sensitivity' for weaker red.")
    return result.with_pixels(picture_of(array, pixels))
