"""IPTC-IIM records, and the Photoshop resources that JPEGs keep them in.

Sources: IPTC-IIM 4.2; Adobe Photoshop file formats, "Image resources".
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["FIELDS", "KEYWORDS", "edit_iptc", "in_photoshop", "keywords_of", "of_photoshop"]

FIELDS: Final = {
    "title": (5, 64),
    "copyright": (116, 128),
    "description": (120, 2000),
    "author": (80, 32),
    "software": (65, 32),
    "headline": (105, 256),
    "city": (90, 32),
    "state": (95, 32),
    "country": (101, 64),
}
"""Dataset of the application record and its most bytes, by field."""

KEYWORDS: Final = 25
KEYWORD_BYTES: Final = 64
DATES: Final = frozenset({55, 60, 62, 63})
SIGNATURE: Final = b"8BIM"
IIM: Final = 0x0404
# Thumbnails, EXIF and XMP of their own, and the digest that tells whether the records are those of the file.
STALE: Final = frozenset({0x0404, 0x0409, 0x040C, 0x0422, 0x0423, 0x0424, 0x0425})
UTF_8: Final = b"\x1b%G"
APPLICATION: Final = 2


def of_photoshop(resources: bytes) -> bytes | None:
    """The IIM records in a block of Photoshop resources, empty if there are none; None for a damaged block."""
    try:
        return next((body for number, _, body in _resources(resources) if number == IIM), b"")
    except (IndexError, struct.error):
        return None


def in_photoshop(records: bytes, resources: bytes) -> bytes:
    """A block of Photoshop resources with these IIM records; what else the old block held stays, but previews."""
    try:
        others = b"".join(whole for number, whole, _ in _resources(resources) if number not in STALE)
    except (IndexError, struct.error):
        others = b""
    if not records:
        return others
    return SIGNATURE + struct.pack(">HHI", IIM, 0, len(records)) + records + bytes(len(records) % 2) + others


def _resources(block: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole and body of each resource."""
    at = 0
    while block[at : at + 4] == SIGNATURE:
        (number,) = struct.unpack_from(">H", block, at + 4)
        start = at + 6 + 1 + block[at + 6]
        start += (start - at) % 2
        (size,) = struct.unpack_from(">I", block, start)
        end = start + 4 + size + size % 2
        if start + 4 + size > len(block):
            raise IndexError
        whole = block[at:end]
        yield number, whole + bytes(len(whole) % 2), block[start + 4 : start + 4 + size]
        at = end


def edit_iptc(
    records: bytes,
    texts: Mapping[str, str],
    keywords: Sequence[str] | None,
    *,
    replace_keywords: bool = False,
    without_dates: bool = False,
) -> bytes:
    """The records with some fields set (empty removes), all text in UTF-8, each cut to the length IIM allows.

    Records that cannot be read are left out, and with `without_dates` those that say when.
    """
    fields = list(_records(records))
    changed = {FIELDS[name][0] for name in texts if name in FIELDS}
    if keywords is not None and replace_keywords:
        changed.add(KEYWORDS)
    if without_dates:
        changed |= DATES
    kept = [(number, _as_utf_8(value)) for number, value in fields if number not in changed and number != 0]
    new = [(FIELDS[name][0], _cut(text, FIELDS[name][1])) for name, text in texts.items() if name in FIELDS and text]
    there = {value for number, value in kept if number == KEYWORDS}
    new += [(KEYWORDS, word) for word in (_cut(k, KEYWORD_BYTES) for k in keywords or ()) if word not in there]
    if not kept and not new:
        return b""
    head = _record(1, 90, UTF_8) + _record(APPLICATION, 0, b"\0\x04")
    return head + b"".join(_record(APPLICATION, number, value) for number, value in sorted(kept + new, key=_number))


def keywords_of(records: bytes) -> list[str]:
    """The keywords in order."""
    return [_as_utf_8(value).decode() for number, value in _records(records) if number == KEYWORDS]


def _number(record: tuple[int, bytes]) -> int:
    return record[0]


def _records(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Dataset and value of the application records; extended lengths end the walk, for nothing needs them."""
    at = 0
    while block[at : at + 1] == b"\x1c" and at + 5 <= len(block):
        record, number, length = struct.unpack_from(">BBH", block, at + 1)
        if length > 0x7FFF or at + 5 + length > len(block):
            return
        if record == APPLICATION:
            yield number, block[at + 5 : at + 5 + length]
        at += 5 + length


def _record(record: int, number: int, value: bytes) -> bytes:
    return struct.pack(">BBBH", 0x1C, record, number, len(value)) + value


def _as_utf_8(value: bytes) -> bytes:
    try:
        value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1").encode()
    return value


def _cut(text: str, limit: int) -> bytes:
    return text.encode()[:limit].decode(errors="ignore").encode()
