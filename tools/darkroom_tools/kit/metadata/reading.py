"""Metadata of a picture file: EXIF as facts, and text as text that nobody may trust."""

import math
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from darkroom_tools.kit.clean import clean_text

__all__ = ["Exif", "capped", "comments", "read_exif"]

TEXT_LIMIT: Final = 2000
TEXT_LIMIT_IN_ALL: Final = 8000
VALUES_LIMIT: Final = 64
# Damaged EXIF makes Pillow fail in all these ways; the picture is no worse for it.
UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
_DATE: Final = re.compile(r"(\d{4}):(\d{2}):(\d{2})[ T](\d{2}:\d{2}:\d{2})")
_CHARSETS: Final = {b"ASCII\0\0\0": "ascii", b"UNICODE\0": "utf-16", b"JIS\0\0\0\0\0": "iso2022_jp"}
# XPTitle, XPComment, XPAuthor, XPKeywords, XPSubject: UTF-16 in byte fields.
_WINDOWS_TEXT: Final = range(0x9C9B, 0x9CA0)
_USER_COMMENT: Final = 0x9286
# Addresses inside the file and private blocks: no facts about the picture.
_SKIPPED: Final = frozenset({0x8769, 0x8825, 0xA005, 0x927C, 0x0201, 0x0202, 0x02BC, 0x8773, 0x83BB, 0xEA1C})


class Exif:
    """What an EXIF block says.

    Attributes:
        facts: Numbers, dates as ISO 8601 and `gps` in decimal degrees, by EXIF tag name.
        texts: Text by EXIF tag name, as it stands in the file.
    """

    def __init__(self) -> None:
        self.facts: dict[str, Any] = {}
        self.texts: dict[str, str] = {}

    def add(self, tag: int, name: str, value: Any) -> None:
        """Take one entry, as text or as a fact; what is neither is left out."""
        if tag in _SKIPPED:
            return
        text = _text(tag, value)
        if text is None:
            fact = _number(value)
            if fact is not None:
                self.facts[name] = fact
            return
        date = _DATE.fullmatch(text)
        if date:
            self.facts[name] = "{}-{}-{}T{}".format(*date.groups())
        elif text:
            self.texts[name] = text


def read_exif(block: bytes) -> Exif:
    """Read an EXIF block; entries that cannot be read are left out.

    Text is taken as UTF-8 where it is that, else as Latin-1, as cameras and phones write it.
    """
    from PIL.ExifTags import IFD, TAGS
    from PIL.Image import Exif as Block

    found = Exif()
    reader = Block()
    try:
        with warnings.catch_warnings(action="ignore"):
            reader.load(block)
            entries = [*reader.items(), *reader.get_ifd(IFD.Exif).items()]
            position = reader.get_ifd(IFD.GPSInfo)
    except UNREADABLE:
        return found
    for tag, value in entries:
        if tag in TAGS:
            found.add(tag, TAGS[tag], value)
    gps = _gps(position)
    if gps:
        found.facts["gps"] = gps
    return found


def comments(fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Name and text of the comments that PNG, JPEG, GIF and TIFF files carry, from libvips' header fields."""
    for field, text in fields.items():
        if field.startswith("png-comment-"):
            yield field.split("-", 3)[-1], text
        elif field in ("jpeg-comment", "gif-comment", "image-description"):
            yield "Comment" if field != "image-description" else "ImageDescription", text


def capped(texts: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Texts made safe to show: 2000 characters each and 8000 in all, nothing invisible."""
    kept: dict[str, str] = {}
    left = TEXT_LIMIT_IN_ALL
    for name, text in texts:
        shown_name = clean_text(name, 80)
        shown = clean_text(text, min(TEXT_LIMIT, left - len(shown_name))) if left > len(shown_name) + 1 else ""
        if shown.strip() and shown_name not in kept:
            kept[shown_name] = shown
            left -= len(shown) + len(shown_name)
    return kept


def _text(tag: int, value: Any) -> str | None:
    """The entry as text, None if it holds no text."""
    if isinstance(value, str):
        try:
            value = value.encode("latin-1").decode("utf-8")
        except UnicodeError:
            pass
        return str(value).strip("\0 \t\r\n")
    if not isinstance(value, bytes):
        return None
    if tag == _USER_COMMENT:
        charset, body = _CHARSETS.get(value[:8], "utf-8"), value[8:]
    elif tag in _WINDOWS_TEXT:
        charset, body = "utf-16-le", value
    else:
        return None
    return body.decode(charset, "replace").strip("\0 \t\r\n")


def _number(value: Any) -> Any:
    """A number or a short list of numbers as JSON, None for everything else."""
    if isinstance(value, tuple) and 0 < len(value) <= VALUES_LIMIT:
        parts = [_number(part) for part in value]
        return None if None in parts else parts
    if isinstance(value, (bool, str, bytes, tuple, dict)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else round(number, 8)


def _gps(position: Mapping[int, Any]) -> dict[str, float]:
    """Latitude and longitude in decimal degrees (south and west negative), altitude in metres."""
    found: dict[str, float] = {}
    for name, letter_tag, tag, negative, most in (("latitude", 1, 2, "S", 90), ("longitude", 3, 4, "W", 180)):
        parts = _number(position.get(tag))
        if isinstance(parts, list) and len(parts) == 3 and not any(isinstance(part, list) for part in parts):
            degrees = parts[0] + parts[1] / 60 + parts[2] / 3600
            letter = str(position.get(letter_tag, "")).strip("\0 ").upper()
            if degrees <= most:
                found[name] = round(-degrees if letter == negative else degrees, 7)
    altitude = _number(position.get(6))
    if isinstance(altitude, (int, float)):
        found["altitude"] = -altitude if position.get(5) in (1, b"\x01") else altitude
    return found if {"latitude", "longitude"} <= found.keys() else {}
