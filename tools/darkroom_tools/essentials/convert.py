"""Convert."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.pixels import as_color, takes_alpha, white_level, with_alpha
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import WantedOrOwnFormat, written_as
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

PROFILE = "icc-profile-data"

Quality = Annotated[int, Field(ge=1, le=100)]


class Convert(Settings):
    """The wanted format."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    format: WantedOrOwnFormat
    """heif is AV1 in HEIF; heic is refused"""

    quality: Quality | None = None
    """Default jpeg 80, webp 80, avif 50"""

    mode: Unpublished[Literal["RGB", "RGBA", "L"] | None] = None
    """RGB on white, RGBA with alpha where the format can, L grey"""


def _shape(settings: Convert, shapes: Shapes) -> Shape:
    shape = shapes["image"][0].encoded_as(settings.format)
    if settings.mode is None or (settings.mode == "RGBA" and not shape.takes_alpha):
        return shape
    return shape.with_alpha(settings.mode == "RGBA")


@tool(title="Convert", sequential=True, example={"format": "webp", "quality": 80}, shape=_shape)
def convert(image: Image, settings: Convert) -> Image:
    """Write a picture in another format; JPEG gets white for transparency."""
    if settings.format == "auto":
        image = written_as(image.encode_as(target_bytes=None), "auto", settings.quality)
    else:
        image = image.encode_as(format=settings.format, quality=settings.quality, target_bytes=None)
    if settings.mode == "RGBA" and not takes_alpha(image):
        return image
    changed = image.pixels if settings.mode is None else _in_mode(image.pixels, settings.mode)
    return image if changed is image.pixels else image.with_pixels(changed)


def _in_mode(pixels: "pyvips.Image", mode: Literal["RGB", "RGBA", "L"]) -> "pyvips.Image":
    """The pixels in colour or grey, with or without alpha; the same object where they are so already."""
    if mode == "RGBA":
        return with_alpha(as_color(pixels))
    if pixels.hasalpha():
        white = white_level(pixels)
        pixels = pixels.flatten(background=[white], max_alpha=white)
    if mode == "RGB":
        return as_color(pixels)
    if pixels.bands == 1:
        return pixels
    grey = pixels.colourspace("grey16" if pixels.format == "ushort" else "b-w").copy()
    # A profile of colour would make the file of a grey picture invalid.
    grey.remove(PROFILE)
    return grey
