"""Content-Aware Resize."""

import math
from collections.abc import Callable
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.faces import FACE_MODELS, Face, find_faces
from darkroom_tools.kit.geometry import MAX_SIDE, check_output
from darkroom_tools.kit.pixels import as_array, color_bands, frame_at, picture_of, resized, white_level
from darkroom_tools.kit.saliency import attention, small
from darkroom_tools.kit.seams import carried_over, carve, energy_of
from darkroom_tools.native import np, pyvips
from darkroom_tools.shape import Shape, Shapes

WORKING_PIXELS: Final = 500_000
"""Seams are found on a picture of about this size; smaller ones are carved exactly."""

REFERENCE_SIDE: Final = 1_200
"""Longest side of the picture for which `blurRadius` counts pixels."""

FACE_SENSITIVITY: Final = 0.5
PROTECTED: Final = 1_000.0
"""Energy of a pixel of a face: more than any edge has."""

NOTICED: Final = 20.0
"""Energy of a pixel that draws the eye twice as much as the average."""

A_LOT: Final = 0.5
"""Share of a side beyond which things are squeezed for want of background."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class ContentAwareResize(Settings):
    """The wanted size, and what matters."""

    width: Side | None = None
    """Pixels; else unchanged"""

    height: Side | None = None
    """Pixels; else unchanged"""

    square: bool = False
    """By the given or the shorter side"""

    protect_faces: bool = True
    """Keep faces as they are"""

    blur_radius: Annotated[float, Field(ge=0, le=20)] = 4
    """Spreads protection around edges"""

    sobel_threshold: Annotated[float, Field(ge=1, le=20)] = 2
    """Weaker slopes count as background"""

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        if not (self.width or self.height or self.square):
            raise ValueError("Give at least one of 'width', 'height' or 'square'.")
        if self.square and self.width and self.height and self.width != self.height:
            raise ValueError("'square' with different 'width' and 'height' contradicts itself. Leave one out.")
        return self

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the result."""
        if self.square:
            side = self.width or self.height or min(width, height)
            return side, side
        return self.width or width, self.height or height


def _shape(settings: ContentAwareResize, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    size = settings.size(image.width, image.height)
    check_output(*size, image.frames)
    return image.sized(*size)


@tool(title="Content-Aware Resize", models=FACE_MODELS, example={"square": True}, shape=_shape)
def content_aware_resize(image: Image, settings: ContentAwareResize, run: Run) -> Image:
    """Change the ratio by removing or adding background (seam carving), without cropping or squeezing subjects."""
    width, height = settings.size(image.width, image.height)
    check_output(width, height, image.frames)
    result = image.with_facts(method="seam-carving")
    if (width, height) == (image.width, image.height):
        return result.warn("The picture has this size already, so nothing was changed.")
    pixels = image.pixels.copy_memory()
    held = image.with_pixels(pixels)
    frames = [frame_at(held, number).pixels for number in range(image.frames)]
    faces: tuple[Face, ...] = ()
    if settings.protect_faces:
        run.progress(0, "looking for faces")
        faces = find_faces(frames[0], FACE_SENSITIVITY, run).found
        result = result.with_facts(facesProtected=len(faces))
    light, energy = _importance(frames, faces, settings)
    arrays = [as_array(frame) for frame in frames]
    both = abs(width - image.width) / image.width + abs(height - image.height) / image.height
    share = abs(width - image.width) / image.width / both
    arrays, light, energy = _across(arrays, light, energy, width, _stage(run, 0.1, 0.1 + 0.8 * share))
    light, energy, arrays = light.T, energy.T, [array.swapaxes(0, 1) for array in arrays]
    arrays, _, _ = _across(arrays, light, energy, height, _stage(run, 0.1 + 0.8 * share, 0.9))
    carved = [picture_of(array.swapaxes(0, 1), frames[0]) for array in arrays]
    numbers = iter(carved)
    if max(1 - width / image.width, 1 - height / image.height) > A_LOT:
        result = result.warn("More than half of a side was removed: look at it with view_image, or crop first.")
    return result.map_frames(lambda _: next(numbers))


def _stage(run: Run, low: float, high: float) -> Callable[[float], None]:
    return lambda done: run.progress(low + (high - low) * done, "finding seams")


def _across(
    arrays: "list[np.ndarray]", light: "np.ndarray", energy: "np.ndarray", width: int, report: Callable[[float], None]
) -> "tuple[list[np.ndarray], np.ndarray, np.ndarray]":
    """Every frame, and what was worked out of them, at another width."""
    before, across = arrays[0].shape[1], light.shape[1]
    if width == before:
        return arrays, light, energy
    wanted = max(1, round(across * width / before))
    if wanted == across:
        # On the reduced picture it is less than one seam, which is found all the same.
        wanted += 1 if width > before or across == 1 else -1
    columns = carve(light, energy, wanted, report)
    carved = [carried_over(np.ascontiguousarray(array), columns, across, width) for array in arrays]
    return carved, np.take_along_axis(light, columns, 1), np.take_along_axis(energy, columns, 1)


def _importance(
    frames: "list[pyvips.Image]", faces: tuple[Face, ...], settings: ContentAwareResize
) -> "tuple[np.ndarray, np.ndarray]":
    """Brightness and energy on a reduced picture, over all frames."""
    whole = frames[0]
    scale = min(1.0, math.sqrt(WORKING_PIXELS / (whole.width * whole.height)))
    width, height = max(1, round(whole.width * scale)), max(1, round(whole.height * scale))
    light = np.stack([_brightness(frame, width, height) for frame in frames]).mean(0)
    unit = max(width, height) / REFERENCE_SIDE
    energy = energy_of(light, settings.sobel_threshold, settings.blur_radius * unit)
    energy += NOTICED * np.clip(_attention(whole, width, height) - 1, 0, 3)
    for face in faces:
        # Hair above, chin below and ears belong to what must not be bent.
        left, right = face.left - 0.15 * face.width, face.left + 1.15 * face.width
        top, bottom = face.top - 0.35 * face.height, face.top + 1.2 * face.height
        across, down = width / whole.width, height / whole.height
        rows = slice(max(0, int(top * down)), max(0, math.ceil(bottom * down)))
        energy[rows, max(0, int(left * across)) : max(0, math.ceil(right * across))] += PROTECTED
    return light, energy


def _attention(frame: "pyvips.Image", width: int, height: int) -> "np.ndarray":
    """How much each place draws the eye, 1 on average: the inside of a thing may be as flat as its background."""
    seen = attention(small(frame))
    data = np.ascontiguousarray(seen, np.float32)
    made = pyvips.Image.new_from_memory(data.data, data.shape[1], data.shape[0], 1, "float")
    return as_array(resized(made, width, height, "linear"))[..., 0]


def _brightness(frame: "pyvips.Image", width: int, height: int) -> "np.ndarray":
    """Grey levels of 0..255; what is transparent counts as black."""
    reduced = resized(frame, width, height, "linear") if (frame.width, frame.height) != (width, height) else frame
    colors, white = color_bands(reduced), white_level(frame)
    array = as_array(reduced).astype(np.float32) * (255 / white)
    light = array[..., :colors] @ np.array((0.299, 0.587, 0.114) if colors == 3 else (1.0,), np.float32)
    opaque: np.ndarray = light * array[..., colors] / 255 if reduced.hasalpha() else light
    return opaque
