"""Crop."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.kit.geometry import Box, largest_box, rounded
from darkroom_tools.kit.pixels import masked, rounded_mask, takes_alpha
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

Offset = Annotated[float, Field(ge=0)]
Length = Annotated[float, Field(gt=0)]


class Crop(Settings):
    """What is kept."""

    left: Offset | None = None
    """Centred when omitted"""

    top: Offset | None = None
    """Centred when omitted"""

    width: Length | None = None
    """To the edge when omitted"""

    height: Length | None = None
    """To the edge when omitted"""

    unit: Literal["px", "percent"] = "px"
    """Of the box"""

    aspect_ratio: str | None = None
    """w:h like 16:9, largest in the box or picture"""

    shape: Literal["rectangle", "circle", "rounded"] = "rectangle"
    """Transparent outside"""

    corner_radius: Offset = 24
    """Pixels"""

    @field_validator("aspect_ratio")
    @classmethod
    def _ratio_form(cls, value: str | None) -> str | None:
        if value is None or value == "free":
            return None
        if not re.fullmatch(r"(?=.*[1-9].*:.*[1-9])\d{1,5}(\.\d{1,4})?:\d{1,5}(\.\d{1,4})?", value):
            raise ValueError(f"'aspectRatio' should be 'free' or like '16:9', but got {value[:40]!r}.")
        return value

    @model_validator(mode="after")
    def _has_box(self) -> Self:
        chosen = (self.left, self.top, self.width, self.height, self.aspect_ratio)
        if self.shape == "rectangle" and all(value is None for value in chosen):
            raise ValueError("Give 'width' and 'height' of the box, or 'aspectRatio'.")
        return self


def _shape(settings: Crop, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    box = _box(image, settings)
    cut = image.sized(box.width, box.height)
    if settings.shape == "rectangle":
        return cut
    return cut.with_alpha() if image.takes_alpha else cut.with_alpha().encoded_as("png")


@tool(title="Crop", sequential=True, example={"aspectRatio": "1:1"}, shape=_shape)
def crop(image: Image, settings: Crop) -> Image:
    """Cut out a box, circle or rounded box."""
    box = _box(image, settings)
    if settings.shape == "rectangle":
        return image.map_frames(lambda frame: frame.crop(*box))
    half_width, half_height = box.width / 2, box.height / 2
    if settings.shape == "circle":
        mask = rounded_mask(box.width, box.height, half_width, half_height)
    else:
        radius = min(settings.corner_radius, half_width, half_height)
        mask = rounded_mask(box.width, box.height, radius, radius)

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        return masked(frame.crop(*box), mask)

    cut = image.map_frames(change)
    if takes_alpha(image):
        return cut
    return cut.encode_as(format="png").warn(
        f"Written as PNG: {image.encoding.format or image.source.format} cannot hold the transparent outside."
    )


def _box(image: Image | Shape, settings: Crop) -> Box:
    """The box in pixels, in the wanted ratio.

    Raises:
        ProcessingFailed: It is not wholly inside the picture.
    """
    left, width = _span(settings.left, settings.width, image.width, settings.unit == "percent")
    top, height = _span(settings.top, settings.height, image.height, settings.unit == "percent")
    inside = 0 <= left and 0 <= top and left + width <= image.width and top + height <= image.height
    if not inside or width < 1 or height < 1:
        raise ProcessingFailed(
            f"The box (left {left}, top {top}, width {width}, height {height}) is not inside the picture of "
            f"{image.width}×{image.height} pixels.",
            width=image.width,
            height=image.height,
        )
    return _in_ratio(Box(left, top, width, height), settings.aspect_ratio)


def _span(start: float | None, length: float | None, whole: int, percent: bool) -> tuple[int, int]:
    """First pixel and length along one axis; in percent rounded and clamped to the picture."""
    unit = whole / 100 if percent else 1
    first = None if start is None else rounded(start * unit)
    if length is None:
        return first or 0, whole - (first or 0)
    size = max(1, rounded(length * unit))
    if percent:
        size = max(1, min(size, whole - (first or 0)))
    return (whole - size) // 2 if first is None else first, size


def _in_ratio(box: Box, ratio: str | None) -> Box:
    if ratio is None:
        return box
    across, down = (float(part) for part in ratio.split(":"))
    width, height = largest_box(box.width, box.height, across, down)
    return Box(box.left + (box.width - width) // 2, box.top + (box.height - height) // 2, width, height)
