"""Convert."""

from typing import Annotated, ClassVar

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.wanted_format import WantedFormat

Quality = Annotated[int, Field(ge=1, le=100)]


class Convert(Settings):
    """The wanted format."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    format: WantedFormat
    """heif is AV1 in HEIF; heic is refused"""

    quality: Quality | None = None
    """Default jpeg 80, webp 80, avif 50"""


@tool(title="Convert", sequential=True, example={"format": "webp", "quality": 80})
def convert(image: Image, settings: Convert) -> Image:
    """Write a picture in another format; JPEG gets white for transparency."""
    return image.encode_as(format=settings.format, quality=settings.quality, target_bytes=None)
