"""GIF files as blocks. Sources: CompuServe GIF89a; XMP part 3 §1.1.2."""

from collections.abc import Sequence
from typing import Final

from darkroom_tools.kit.metadata.containers import Container, Damaged, Part

__all__ = ["GIF"]

EXTENSION, IMAGE, END = 0x21, 0x2C, 0x3B
PLAIN_TEXT, CONTROL, COMMENT, APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
XMP: Final = b"XMP DataXMP"
APPLICATIONS: Final = {XMP: "xmp", b"ICCRGBG1012": "icc"}
LOOPS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0"})
# A packet stands in a GIF as it is; whoever counts its bytes as lengths of blocks lands in here and so at its end.
MAGIC_TRAILER: Final = b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def _parse(data: bytes) -> list[Part]:
    view = memoryview(data)
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 12 and data[10] & 0x80 else 0)
    parts = [Part(view[:at])]
    while True:
        block = data[at] if at < len(data) else 0
        if block == END:
            parts.append(Part(view[at : at + 1]))
            break
        if block == EXTENSION and at + 2 < len(data):
            end = _end_of_blocks(data, at + 2)
            parts.append(_extension(data[at + 1], view[at:end]))
        elif block == IMAGE and at + 10 < len(data):
            colours = 3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0
            end = _end_of_blocks(data, at + 11 + colours)
            parts.append(Part(view[at:end]))
        else:
            raise Damaged("the end is missing, or something stands between blocks")
        at = end
    return parts if at + 1 == len(data) else [*parts, Part(view[at + 1 :], "other")]


def _end_of_blocks(data: bytes, at: int) -> int:
    """Where a chain of length-prefixed blocks ends."""
    while at < len(data):
        length = data[at]
        at += 1 + length
        if length == 0:
            return at
    raise Damaged("a block is cut off")


def _extension(label: int, raw: memoryview) -> Part:
    if label == CONTROL:
        return Part(raw)
    if label in (COMMENT, PLAIN_TEXT):
        return Part(raw, "comments" if label == COMMENT else "text")
    owner = bytes(raw[3:14])
    if label == APPLICATION and owner in LOOPS:
        return Part(raw)
    kind = APPLICATIONS.get(owner, "other") if label == APPLICATION else "other"
    body = bytes(raw[14 : -len(MAGIC_TRAILER)]) if owner == XMP and len(raw) > 14 + len(MAGIC_TRAILER) else None
    return Part(raw, kind, body)


def _make(kind: str, body: bytes, _old: Part | None) -> Part:
    return Part(bytes([EXTENSION, APPLICATION, len(XMP)]) + XMP + body + MAGIC_TRAILER, kind, body)


def _place(parts: Sequence[Part], _kind: str) -> int:
    """Before the end."""
    return max(n for n, part in enumerate(parts) if bytes(part.raw[:1]) == b";" and part.kind is None)


def _join(parts: Sequence[Part]) -> bytes:
    return b"".join(part.raw for part in parts)


GIF: Final = Container(frozenset({"xmp"}), _parse, _make, _place, _join)
"""GIF, still or animated."""
