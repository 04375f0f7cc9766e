"""What each format can hold, and which one a picture gets that was not asked for in another. Pure Python."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, get_args

from darkroom_tools.image import Format

__all__ = ["ANIMATED", "LONGEST_SIDE", "OPAQUE", "WRITTEN", "can_hold", "kept_format", "written_as"]

WRITTEN: Final = frozenset(get_args(Format))
"""Formats that are written."""

ANIMATED: Final = frozenset({"gif", "webp"})
"""Those that hold several frames."""

OPAQUE: Final = frozenset({"jpeg", "heic"})
"""Formats of pictures that are written without alpha."""

LONGEST_SIDE: Final[Mapping[str, int]] = MappingProxyType({"webp": 16_383})
"""Pixels of the longest side, where a format itself has a limit."""


def written_as(format: str) -> str:
    """The format that a picture keeps, or what stands in for one that is not written: JPEG for photos, else PNG."""
    if format in WRITTEN:
        return format
    return "jpeg" if format == "heic" else "png"


def kept_format(format: str, frames: int) -> str:
    """The format of a result that was not asked for in another than its own; an animation stays one where it can."""
    if frames > 1 and format in WRITTEN - ANIMATED:
        return "webp"
    return written_as(format)


def can_hold(format: str, width: int, height: int, frames: int, *, alpha: bool) -> bool:
    """Whether a format can hold a picture without loss of alpha or frames."""
    if max(width, height) > LONGEST_SIDE.get(format, width + height):
        return False
    return not (alpha and format in OPAQUE) and (frames == 1 or format in ANIMATED)
