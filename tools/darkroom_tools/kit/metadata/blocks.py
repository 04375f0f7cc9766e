"""Applies changes to the metadata blocks of a picture, whatever file they stand in.

A field goes into every block that has a place for it, as the Metadata Working Group asks: EXIF, XMP, and IPTC where
there is such a block already or it is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from darkroom_tools.kit.metadata.changes import Edit, MetadataChange, Strip
from darkroom_tools.kit.metadata.exif import (
    ORIENTATION,
    Directory,
    Entry,
    ExifBlock,
    ascii_entry,
    directories,
    gps_entries,
    only_orientation,
    utf16_entry,
)
from darkroom_tools.kit.metadata.iptc import edit_iptc, keywords_of
from darkroom_tools.kit.metadata.xmp import DATES, TEXTS, XmpPacket
from darkroom_tools.native import np

__all__ = ["EXIF_DATES", "EXIF_TEXTS", "Blocks", "apply", "exif_kinds", "upright"]

EXIF_TEXTS: Final = {"description": 0x010E, "author": 0x013B, "copyright": 0x8298, "software": 0x0131}
XP_TITLE, XP_AUTHOR, XP_KEYWORDS = 0x9C9B, 0x9C9D, 0x9C9E
EXIF_DATES: Final = {
    "modified": ("main", 0x0132, 0x9010, 0x9290),
    "taken": ("exif", 0x9003, 0x9011, 0x9291),
    "digitized": ("exif", 0x9004, 0x9012, 0x9292),
}
"""Directory and tag of each date, and the tags of its offset from UTC and of its fraction of a second."""

EXIF_VERSION: Final = (0x9000, Entry(7, 4, b"0232"))
WIDTH_AND_HEIGHT: Final = (0xA002, 0xA003)
GPS_VERSION: Final = 0
DATE: Final = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d:\d\d)(:\d\d)?(.*)", re.DOTALL)


@dataclass
class Blocks:
    """The metadata of a picture.

    Attributes:
        exif: A TIFF structure without the name before it.
        xmp: The main packet.
        iptc: IIM records.
        dropped: Kinds that are to go.
        retitled: Fields that were set, so that older texts of that name are wrong.
        warnings: Sentences for the caller.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dropped: set[str] = field(default_factory=set)
    retitled: set[str] = field(default_factory=set)
    warnings: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all blocks."""
        return sum(len(block) for block in (self.exif, self.xmp, self.iptc) if block)


def apply(blocks: Blocks, changes: Sequence[MetadataChange], holds: frozenset[str]) -> None:
    """Carry out changes in order.

    Args:
        blocks: Is changed.
        changes: What to do.
        holds: Which of `exif`, `xmp` and `iptc` the file can hold.
    """
    for change in changes:
        if isinstance(change, Strip):
            _strip(blocks, change.kinds)
        else:
            _edit(blocks, change, holds)


def upright(blocks: Blocks) -> None:
    """Take out what is wrong once the pixels were encoded anew: how to turn them, their number, the thumbnail."""
    block = _parsed(blocks)
    if block is None:
        return
    block.main.pop(ORIENTATION, None)
    for tag in WIDTH_AND_HEIGHT:
        block.exif.pop(tag, None)
    _drop_thumbnail(block)
    blocks.exif = _bytes(block)


def exif_kinds(data: bytes) -> frozenset[str]:
    """What an EXIF block holds: `exif`, `gps`, `thumbnail`, and `orientation` where it asks for a turn."""
    try:
        block = ExifBlock.parse(data)
    except ValueError:
        return frozenset({"exif"})
    kinds = {
        "exif": block.main.keys() - {ORIENTATION} or block.exif or block.interop,
        "gps": block.gps.keys() - {GPS_VERSION},
        "thumbnail": block.thumbnail,
        "orientation": block.number(ORIENTATION) > 1,
    }
    return frozenset(name for name, there in kinds.items() if there)


def _strip(blocks: Blocks, kinds: frozenset[str]) -> None:
    blocks.dropped |= kinds
    if "exif" in kinds and blocks.exif is not None:
        block = _parsed(blocks)
        orientation = block.number(ORIENTATION) if block is not None else 0
        blocks.exif = only_orientation(orientation) if 1 < orientation <= 8 else None
    elif kinds & {"gps", "thumbnail"}:
        _strip_within(blocks, kinds)
    if "xmp" in kinds:
        blocks.xmp = None
    elif "gps" in kinds and blocks.xmp is not None:
        try:
            packet = XmpPacket(blocks.xmp)
        except ValueError:
            blocks.warnings.append("The XMP packet is damaged, so it was removed as a whole.")
            blocks.dropped.add("xmp")
            blocks.xmp = None
        else:
            packet.remove_place()
            blocks.xmp = None if packet.empty else packet.to_bytes()
    if "iptc" in kinds:
        blocks.iptc = None


def _strip_within(blocks: Blocks, kinds: frozenset[str]) -> None:
    """Take GPS and thumbnail out of an EXIF block that stays."""
    block = _parsed(blocks)
    if block is None:
        return
    if not (("gps" in kinds and block.gps) or ("thumbnail" in kinds and block.thumbnail)):
        return
    if "gps" in kinds:
        block.gps.clear()
    if "thumbnail" in kinds or b"Exif\0\0" in block.thumbnail:
        _drop_thumbnail(block)
    blocks.exif = _bytes(block)


def _drop_thumbnail(block: ExifBlock) -> None:
    block.thumbnail = b""
    block.preview = {}


def _parsed(blocks: Blocks) -> ExifBlock | None:
    """The EXIF block taken apart, None without one; a damaged one is removed."""
    if blocks.exif is None:
        return None
    try:
        return ExifBlock.parse(blocks.exif)
    except ValueError:
        blocks.warnings.append("The EXIF block is damaged, so it was removed as a whole.")
        blocks.dropped.add("exif")
        blocks.exif = None
        return None


def _bytes(block: ExifBlock) -> bytes | None:
    return None if block.empty else block.to_bytes()


def _edit(blocks: Blocks, edit: Edit, holds: frozenset[str]) -> None:
    packet = XmpPacket()
    if blocks.xmp is not None:
        try:
            packet = XmpPacket(blocks.xmp)
        except ValueError:
            blocks.warnings.append("The XMP packet is damaged, so a new one took its place.")
            blocks.dropped.add("xmp")
    keywords = _keywords(edit, packet.keywords() or keywords_of(blocks.iptc or b""))
    blocks.retitled |= edit.texts.keys()
    if "exif" in holds:
        _edit_exif(blocks, edit, keywords)
    if "xmp" in holds:
        _edit_xmp(packet, edit, keywords)
        blocks.xmp = None if packet.empty else packet.to_bytes()
    dates = bool(edit.dates or edit.shift)
    if "iptc" in holds and (edit.iptc or (blocks.iptc and (edit.texts or keywords is not None or dates))):
        texts, replace = dict(edit.texts), edit.replace_keywords
        records = edit_iptc(blocks.iptc or b"", texts, keywords, replace_keywords=replace, without_dates=dates)
        blocks.iptc = records or None


def _keywords(edit: Edit, present: Sequence[str]) -> list[str] | None:
    """The whole list of keywords, None if it stays."""
    if edit.keywords is None:
        return None
    return list(dict.fromkeys([*([] if edit.replace_keywords else present), *edit.keywords]))


def _edit_exif(blocks: Blocks, edit: Edit, keywords: Sequence[str] | None) -> None:
    block = _parsed(blocks) or ExifBlock(exif=dict([EXIF_VERSION]))
    for name, text in edit.texts.items():
        if name in EXIF_TEXTS:
            _set(block.main, EXIF_TEXTS[name], ascii_entry(text) if text else None)
        elif name == "title":
            _set(block.main, XP_TITLE, utf16_entry(text) if text else None)
    if "author" in edit.texts:
        block.main.pop(XP_AUTHOR, None)
    if keywords is not None:
        _set(block.main, XP_KEYWORDS, utf16_entry(";".join(keywords)) if keywords else None)
    if edit.position is not None:
        block.gps = gps_entries(block.order, edit.position)
    if edit.shift:
        _shift_dates(block, edit.shift)
    for name, date in edit.dates.items():
        _set_date(block, name, date)
    held = dict(directories(block))
    for directory, tag in edit.remove:
        held[directory].pop(tag, None)
    untouched = block.exif == dict([EXIF_VERSION]) and not (block.main or block.gps)
    blocks.exif = None if untouched else _bytes(block)


def _set(directory: Directory, tag: int, entry: Entry | None) -> None:
    directory.pop(tag, None)
    if entry is not None:
        directory[tag] = entry


def _set_date(block: ExifBlock, name: str, date: str) -> None:
    """Set a date, its offset from UTC where it has one, and drop what belonged to the old one."""
    place, tag, offset, fraction = EXIF_DATES[name]
    _set(dict(directories(block))[place], tag, ascii_entry(date[:19]) if date else None)
    _set(block.exif, offset, ascii_entry(date[19:]) if date[19:] else None)
    block.exif.pop(fraction, None)


def _shift_dates(block: ExifBlock, minutes: int) -> None:
    for place, tag, *_ in EXIF_DATES.values():
        directory = dict(directories(block))[place]
        if tag in directory:
            moved = _shifted(directory[tag].data.rstrip(b"\0 ").decode("latin-1"), minutes)
            directory[tag] = ascii_entry(moved.replace("-", ":").replace("T", " "))


def _shifted(date: str, minutes: int) -> str:
    """A date moved, as it was written but with `-` and `T`; what is no date stays."""
    found = DATE.fullmatch(date)
    if found is None:
        return date
    year, month, day, clock, seconds, rest = found.groups()
    try:
        moved = np.datetime64(f"{year}-{month}-{day}T{clock}", "m") + np.timedelta64(minutes, "m")
    except ValueError:
        return date
    return f"{moved}{seconds or ''}{rest}"


def _edit_xmp(packet: XmpPacket, edit: Edit, keywords: Sequence[str] | None) -> None:
    for name, text in edit.texts.items():
        if name in TEXTS:
            packet.set_text(name, text)
    if keywords is not None:
        packet.set_keywords(keywords)
    if edit.position is not None:
        packet.set_place(edit.position)
    for prop, date in packet.dates().items() if edit.shift else ():
        packet.set_date(prop, _shifted(date, edit.shift))
    for name, date in edit.dates.items():
        for prop in DATES[name]:
            packet.set_date(prop, _iso(date))


def _iso(date: str) -> str:
    """`YYYY:MM:DD HH:MM:SS±HH:MM` as ISO 8601."""
    return f"{date[:10].replace(':', '-')}T{date[11:]}" if date else ""
