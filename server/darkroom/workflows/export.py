"""The component `export`: how the result is written, in the words of a workflow."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from darkroom_tools.settings import Settings

__all__ = ["Export", "converted"]


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class Export(Settings):
    """Format and pixels of the result."""

    aliases: ClassVar = {"format": "targetFormat", "mode": "targetMode"}
    value_aliases: ClassVar = {"targetFormat": {"jpg": "JPEG", "JPG": "JPEG", "tif": "TIFF", "TIF": "TIFF"}}

    target_format: Annotated[Literal["PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "AUTO"], BeforeValidator(_upper)] = (
        "AUTO"
    )
    """AUTO keeps the format"""

    target_mode: Annotated[Literal["RGB", "RGBA", "L"], BeforeValidator(_upper)] | None = None
    """RGB is opaque, RGBA has transparency, L is grey"""

    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """Default jpeg 80, webp 80, avif 50"""


def converted(export: Export) -> dict[str, Any]:
    """The settings of `convert` that do the same."""
    wanted = {"format": export.target_format.lower(), "mode": export.target_mode, "quality": export.quality}
    return {name: value for name, value in wanted.items() if value is not None}
