"""The setting that names the format of a result."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from darkroom_tools.errors import UnsupportedFormat
from darkroom_tools.image import Image

__all__ = ["LOSSY", "WantedFormat", "WantedOrOwnFormat", "written_as"]

LOSSY: Final = frozenset({"jpeg", "webp", "avif", "heif"})
"""Formats whose quality is a matter of degree."""


def _no_heic(value: Any) -> Any:
    if value == "heic":
        raise UnsupportedFormat(
            "HEIC (HEVC) cannot be written. Use 'avif', or 'heif' for AV1 in a HEIF container.",
            field="format",
            got="heic",
            nearest="avif",
        )
    return value


WantedFormat = Annotated[
    Literal["png", "jpeg", "webp", "avif", "tiff", "gif", "heif", "heic"], BeforeValidator(_no_heic)
]
"""Every format that is written, and `heic`, which is refused with words."""

WantedOrOwnFormat = Annotated[
    Literal["png", "jpeg", "webp", "avif", "tiff", "gif", "heif", "heic", "auto"],
    BeforeValidator(_no_heic),
    WithJsonSchema({"type": "string", "enum": ["png", "jpeg", "webp", "avif", "tiff", "gif", "heif", "heic"]}),
]
"""The same, and unpublished `auto`, which keeps the picture's own."""


def written_as(image: Image, format: str, quality: int | None) -> Image:
    """The picture to be written in a format (`auto` and `original` keep its own), with a quality where it has one."""
    if format not in ("auto", "original"):
        image = image.encode_as(format=format)
    written = image.encoding.format or image.source.format
    # In PNG and GIF a quality would mean a palette.
    return image.encode_as(quality=quality) if quality is not None and written in (*LOSSY, "heic") else image
