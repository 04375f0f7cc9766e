"""Compress."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Format, Image, Settings, tool
from darkroom_tools.shape import Shape, Shapes

KILOBYTE = 1024


class Compress(Settings):
    """How small the file shall be."""

    aliases: ClassVar = {"targetSizeKb": "targetSizeKB"}
    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    mode: Literal["quality", "targetSize"] | None = None
    """Inferred when omitted"""

    quality: Annotated[int, Field(ge=1, le=100)] = 80
    """Below 100, png and gif get a palette"""

    format: Format | None = None
    """Kept when omitted"""

    target_size_kb: Annotated[Annotated[float, Field(gt=0)] | None, Field(alias="targetSizeKB")] = None
    """Largest file, in 1024 bytes"""

    @model_validator(mode="after")
    def _has_target(self) -> Self:
        if self.mode == "targetSize" and self.target_size_kb is None:
            raise ValueError("Mode 'targetSize' needs 'targetSizeKB', the largest file in KB.")
        return self


def _shape(settings: Compress, shapes: Shapes) -> Shape:
    return shapes["image"][0].encoded_as(settings.format or "original")


@tool(title="Compress", sequential=True, example={"quality": 70}, shape=_shape)
def compress(image: Image, settings: Compress) -> Image:
    """Make the file smaller: by quality, or at the best quality that fits a size."""
    if settings.format is not None:
        image = image.encode_as(format=settings.format)
    if settings.target_size_kb is None:
        return image.encode_as(quality=settings.quality, target_bytes=None, effort="tight")
    if settings.mode == "quality":
        ignored = image.warn("'targetSizeKB' was ignored, because 'mode' is 'quality'.")
        return ignored.encode_as(quality=settings.quality, target_bytes=None, effort="tight")
    return image.encode_as(quality=None, target_bytes=max(1, int(settings.target_size_kb * KILOBYTE)))
