"""What is to happen to a picture's metadata when it is written: plain data, carried to the one final encode."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

__all__ = ["EVERYTHING", "Edit", "MetadataChange", "Position", "Strip"]

EVERYTHING: Final = frozenset({"exif", "gps", "xmp", "iptc", "comments", "text", "thumbnail", "other"})
"""All that is not needed to look right; the colour profile (`icc`) is. `other` are blocks of no known kind, further
pictures and whatever stands behind the end."""


@dataclass(frozen=True, slots=True)
class Strip:
    """Take kinds of metadata away.

    Attributes:
        kinds: Of `EVERYTHING` and `icc`. Without `exif` its orientation stays all the same, where pixels need it.
    """

    kinds: frozenset[str] = EVERYTHING


@dataclass(frozen=True, slots=True)
class Position:
    """Where a picture was taken.

    Attributes:
        latitude: Degrees, south negative.
        longitude: Degrees, west negative.
        altitude: Metres above sea level, None if unknown.
    """

    latitude: float
    longitude: float
    altitude: float | None = None


@dataclass(frozen=True, slots=True)
class Edit:
    """Set or remove single fields; all others stay.

    Attributes:
        texts: Of `title`, `description`, `author`, `copyright`, `software`, `headline`, `city`, `state`, `country`;
            an empty text removes the field.
        keywords: Keywords to add, or with `replace_keywords` the whole list; None leaves them.
        replace_keywords: Whether present keywords go first.
        position: None leaves it.
        dates: `YYYY:MM:DD HH:MM:SS`, with `±HH:MM` behind it if known, of `modified`, `taken`, `digitized`; an empty
            text removes the date.
        shift: Minutes that every date present moves by, but those set here.
        remove: EXIF tags to remove, by directory: `("main", 0x010F)`.
        iptc: Whether to make an IPTC block where there is none.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    keywords: tuple[str, ...] | None = None
    replace_keywords: bool = False
    position: Position | None = None
    dates: Mapping[str, str] = field(default_factory=dict)
    shift: int = 0
    remove: tuple[tuple[str, int], ...] = ()
    iptc: bool = False


MetadataChange = Strip | Edit
