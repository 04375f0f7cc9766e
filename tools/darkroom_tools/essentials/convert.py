"""Convert."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.errors import UnsupportedFormat

Quality = Annotated[int, Field(ge=1, le=100)]


class Convert(Settings):
    """The wanted format."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    format: Literal["jpeg", "png", "webp", "avif", "tiff", "gif", "heif", "heic"]
    """heif is AV1 in HEIF; heic is refused"""

    quality: Quality | None = None
    """Default jpeg 80, webp 80, avif 50"""

    @field_validator("format", mode="before")
    @classmethod
    def _no_heic(cls, value: Any) -> Any:
        if value == "heic":
            raise UnsupportedFormat(
                "HEIC (HEVC) cannot be written. Use 'avif', or 'heif' for AV1 in a HEIF container.",
                field="format",
                got="heic",
                nearest="avif",
            )
        return value


@tool(title="Convert", sequential=True, example={"format": "webp", "quality": 80})
def convert(image: Image, settings: Convert) -> Image:
    """Write a picture in another format; JPEG gets white for transparency."""
    return image.encode_as(format=settings.format, quality=settings.quality, target_bytes=None)
