"""The setting that names the format of a result."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator

from darkroom_tools.errors import UnsupportedFormat

__all__ = ["LOSSY", "WantedFormat"]

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
