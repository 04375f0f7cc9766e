"""EXIF blocks taken apart and written anew without breaking what is not understood.

Sources: CIPA DC-008 (EXIF 3.0) §4.6, TIFF 6.0 §2.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple

from darkroom_tools.kit.metadata.changes import Position

__all__ = ["Entry", "ExifBlock", "ascii_entry", "gps_entries", "only_orientation", "utf16_entry"]

SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
EXIF_IFD, GPS_IFD, INTEROP_IFD, MAKER_NOTE, ORIENTATION = 0x8769, 0x8825, 0xA005, 0x927C, 0x0112
THUMBNAIL_AT, THUMBNAIL_BYTES = 0x0201, 0x0202
# Offsets into the block that nobody follows here: they would point nowhere afterwards.
UNFOLLOWED: Final = frozenset({0x014A, 0x0111, 0x0117, 0x0144, 0x0145, 0xEA1C})
MOST_ENTRIES: Final = 2000


class Entry(NamedTuple):
    """A value of a directory: TIFF type, number of values, and their bytes in the block's byte order."""

    type: int
    length: int
    data: bytes


Directory = dict[int, Entry]


@dataclass
class ExifBlock:
    """An EXIF block as directories of entries by tag.

    Attributes:
        order: `<` or `>`, the byte order.
        main, exif, gps, interop, preview: The directories; `preview` describes the thumbnail.
        thumbnail: A JPEG, empty without one.
        maker_at: Where the maker's own block stood: it may count from the start of the block and must not move.
    """

    order: str = "<"
    main: Directory = field(default_factory=dict)
    exif: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)
    preview: Directory = field(default_factory=dict)
    thumbnail: bytes = b""
    maker_at: int = 0
    _room: int = 0

    @staticmethod
    def parse(data: bytes) -> "ExifBlock":
        """Take a block apart; an entry whose value lies outside is left out.

        Raises:
            ValueError: It is no EXIF block, or a directory is damaged.
        """
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if order is None:
            raise ValueError("no TIFF header")
        # Entries may share bytes, so that a small block would claim to hold much more than itself.
        block = ExifBlock(order, _room=2 * len(data))
        block.main, following = block._read(data, _long(order, data, 4))
        for tag, name in ((EXIF_IFD, "exif"), (GPS_IFD, "gps")):
            setattr(block, name, block._follow(data, block.main.pop(tag, None)))
        block.interop = block._follow(data, block.exif.pop(INTEROP_IFD, None))
        if following:
            block._read_preview(data, following)
        return block

    def _follow(self, data: bytes, pointer: Entry | None) -> Directory:
        if pointer is None or len(pointer.data) < 4:
            return {}
        return self._read(data, _long(self.order, pointer.data, 0))[0]

    def _read_preview(self, data: bytes, at: int) -> None:
        try:
            preview, _ = self._read(data, at)
        except ValueError:
            return
        start, size = preview.pop(THUMBNAIL_AT, None), preview.pop(THUMBNAIL_BYTES, None)
        if start is None or size is None or len(start.data) < 4 or len(size.data) < 4:
            return
        first, length = _long(self.order, start.data, 0), _long(self.order, size.data, 0)
        self.thumbnail = data[first : first + length]
        self.preview = preview if self.thumbnail else {}

    def _read(self, data: bytes, at: int) -> tuple[Directory, int]:
        """The directory at an offset, and the offset of the next one."""
        if at < 8 or at + 2 > len(data):
            raise ValueError("a directory lies outside")
        (count,) = struct.unpack_from(self.order + "H", data, at)
        end = at + 2 + 12 * count
        if end > len(data) or count > MOST_ENTRIES:
            raise ValueError("a directory is cut off")
        found: Directory = {}
        for place in range(at + 2, end, 12):
            tag, kind, number = struct.unpack_from(self.order + "HHI", data, place)
            size = SIZES.get(kind, 0) * number
            start = place + 8 if size <= 4 else _long(self.order, data, place + 8)
            if not size or start + size > len(data) or tag in UNFOLLOWED:
                continue
            if tag == MAKER_NOTE:
                self.maker_at = start
            self._room -= size
            if self._room < 0:
                raise ValueError("entries hold more than the block")
            found[tag] = Entry(kind, number, data[start : start + size])
        return found, _long(self.order, data, end) if end + 4 <= len(data) else 0

    def to_bytes(self) -> bytes:
        """The block, compact; only the maker's own block stays at its offset."""
        return _Writer(self).written()

    def number(self, tag: int) -> int:
        """A short of the main directory, 0 where there is none."""
        entry = self.main.get(tag)
        if entry is None or entry.type != SHORT or len(entry.data) < 2:
            return 0
        return int(struct.unpack_from(self.order + "H", entry.data)[0])

    def short(self, value: int) -> Entry:
        """An entry of one short number."""
        return Entry(SHORT, 1, struct.pack(self.order + "H", value))

    @property
    def empty(self) -> bool:
        """Whether nothing is in it."""
        return not (self.main or self.exif or self.gps or self.interop or self.thumbnail)


def _long(order: str, data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise ValueError("an offset is cut off")
    return int(struct.unpack_from(order + "I", data, at)[0])


class _Writer:
    """Lays the pieces of a block out one after the other, around the maker's own block."""

    def __init__(self, block: ExifBlock) -> None:
        self._block, self._order = block, block.order
        note = block.exif.get(MAKER_NOTE)
        self._held = (block.maker_at, block.maker_at + len(note.data)) if note and block.maker_at >= 8 else (0, 0)
        if note is not None and len(note.data) <= 4:
            self._held = (0, 0)
        self._data = bytearray(8)
        self._at = 8

    def written(self) -> bytes:
        block, order = self._block, self._order
        main, exif = dict(block.main), dict(block.exif)
        first = self._reserve(_size(main, bool(exif or block.interop), bool(block.gps)))
        preview = {**block.preview}
        if block.interop:
            exif[INTEROP_IFD] = self._pointer(self._directory(block.interop))
        if exif:
            main[EXIF_IFD] = self._pointer(self._directory(exif))
        if block.gps:
            main[GPS_IFD] = self._pointer(self._directory(block.gps))
        following = 0
        if block.thumbnail:
            preview[THUMBNAIL_AT] = self._pointer(self._put(block.thumbnail))
            preview[THUMBNAIL_BYTES] = self._pointer(len(block.thumbnail))
            following = self._directory(preview)
        self._directory(main, first, following)
        self._data[:8] = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
        return bytes(self._data)

    def _pointer(self, offset: int) -> Entry:
        return Entry(LONG, 1, struct.pack(self._order + "I", offset))

    def _reserve(self, size: int) -> int:
        """Room at an even offset, clear of the maker's own block."""
        start = self._at + self._at % 2
        low, high = self._held
        if start < high and start + size > low:
            start = high + high % 2
        self._at = start + size
        if self._at > len(self._data):
            self._data.extend(bytes(self._at - len(self._data)))
        return start

    def _put(self, data: bytes) -> int:
        at = self._reserve(len(data))
        self._data[at : at + len(data)] = data
        return at

    def _directory(self, entries: Directory, at: int = 0, following: int = 0) -> int:
        at = at or self._reserve(2 + 12 * len(entries) + 4)
        lines = []
        for tag in sorted(entries):
            kind, count, data = entries[tag]
            value = data.ljust(4, b"\0") if len(data) <= 4 else self._pointer(self._value(tag, data)).data
            lines.append(struct.pack(self._order + "HHI", tag, kind, count) + value)
        table = struct.pack(self._order + "H", len(entries)) + b"".join(lines)
        self._data[at : at + len(table) + 4] = table + struct.pack(self._order + "I", following)
        return at

    def _value(self, tag: int, data: bytes) -> int:
        low, high = self._held
        if tag != MAKER_NOTE or not high:
            return self._put(data)
        if high > len(self._data):
            self._data.extend(bytes(high - len(self._data)))
        self._data[low:high] = data
        return low


def _size(main: Directory, exif: bool, gps: bool) -> int:
    """Bytes of the main directory once its pointers are in it."""
    return 2 + 12 * (len(main) + exif + gps) + 4


def ascii_entry(text: str) -> Entry:
    """Text as UTF-8 bytes, which is what programs write into fields that the standard calls ASCII."""
    data = text.replace("\0", "").encode() + b"\0"
    return Entry(ASCII, len(data), data)


def utf16_entry(text: str) -> Entry:
    """Text as Windows keeps it in its own fields."""
    data = text.replace("\0", "").encode("utf-16-le") + b"\0\0"
    return Entry(BYTE, len(data), data)


def gps_entries(order: str, position: Position) -> Directory:
    """The entries of a position: degrees, minutes and seconds to 0.0001″ (3 mm), altitude in centimetres."""
    found: Directory = {0: Entry(BYTE, 4, b"\2\3\0\0")}
    for tag, value, letters in ((1, position.latitude, "NS"), (3, position.longitude, "EW")):
        found[tag] = ascii_entry(letters[value < 0])
        whole = round(Fraction(abs(value)) * 36_000_000)
        parts = (whole // 36_000_000, 1), (whole // 600_000 % 60, 1), (whole % 600_000, 10_000)
        found[tag + 1] = Entry(RATIONAL, 3, b"".join(struct.pack(order + "II", *part) for part in parts))
    if position.altitude is not None:
        found[5] = Entry(BYTE, 1, bytes([position.altitude < 0]))
        found[6] = Entry(RATIONAL, 1, struct.pack(order + "II", round(abs(position.altitude) * 100), 100))
    return found


def only_orientation(value: int) -> bytes:
    """The smallest block that tells how to turn the picture."""
    block = ExifBlock()
    block.main[ORIENTATION] = block.short(value)
    return block.to_bytes()


def directories(block: ExifBlock) -> Iterator[tuple[str, Directory]]:
    """The directories by name, but that of the thumbnail."""
    yield from (("main", block.main), ("exif", block.exif), ("gps", block.gps), ("interop", block.interop))
