"""WebP files as RIFF chunks. Sources: RFC 9649; RFC 6386 §9.1 for the size in a VP8 frame."""

import struct
from collections.abc import Sequence
from typing import Final

from darkroom_tools.kit.metadata.containers import Container, Damaged, Part

__all__ = ["WEBP"]

KINDS: Final = {b"ICCP": "icc", b"EXIF": "exif", b"XMP ": "xmp"}
LOOKS: Final = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"})
FLAGS: Final = {"icc": 0x20, "exif": 0x08, "xmp": 0x04}
ALPHA: Final = 0x10


def _parse(data: bytes) -> list[Part]:
    view, parts, at = memoryview(data), [Part(data[:12])], 12
    stop = 8 + int.from_bytes(data[4:8], "little")
    if stop > len(data) + len(data) % 2:
        raise Damaged("the file is cut off")
    while at + 8 <= stop:
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if at + 8 + length > len(data):
            raise Damaged("a chunk is cut off")
        parts.append(_chunk(name, view[at : at + 8 + length]))
        at = end
    if not any(_name(part) in (b"VP8 ", b"VP8L", b"ANMF") for part in parts):
        raise Damaged("there is no picture")
    return parts if at >= len(data) else [*parts, Part(view[at:], "other", name="behind")]


def _chunk(name: bytes, raw: memoryview) -> Part:
    kind = None if name in LOOKS else KINDS.get(name, "other")
    body = bytes(raw[8:]) if kind in ("exif", "xmp") else None
    return Part(raw, kind, body.removeprefix(b"Exif\0\0") if body is not None else None)


def _name(part: Part) -> bytes:
    return bytes(part.raw[:4])


def _make(kind: str, body: bytes, _old: Part | None) -> Part:
    return Part((b"EXIF" if kind == "exif" else b"XMP ") + struct.pack("<I", len(body)) + body, kind, body)


def _place(parts: Sequence[Part], kind: str) -> int:
    """At the end, EXIF before XMP, but before what stands behind the file."""
    later = {"other"} if kind == "xmp" else {"xmp", "other"}
    at = len(parts)
    while parts[at - 1].kind in later:
        at -= 1
    return at


def _join(parts: Sequence[Part]) -> bytes:
    chunks = [part for part in parts[1:] if part.name != "behind"]
    held = {part.kind for part in chunks}
    flags = sum(flag for kind, flag in FLAGS.items() if kind in held)
    head = chunks[0].raw
    if bytes(head[:4]) == b"VP8X":
        kept = head[8] & ~sum(FLAGS.values())
        chunks[0] = Part(bytes(head[:8]) + bytes([kept | flags]) + bytes(head[9:]))
    elif flags:
        chunks.insert(0, Part(_extended(chunks, flags)))
    body = b"".join(piece for chunk in chunks for piece in (chunk.raw, bytes(len(chunk.raw) % 2)))
    behind = b"".join(part.raw for part in parts if part.name == "behind")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body + behind


def _extended(chunks: Sequence[Part], flags: int) -> bytes:
    """The chunk that announces metadata, for a file that had none."""
    raw = next(bytes(chunk.raw[:18]) for chunk in chunks if _name(chunk) in (b"VP8 ", b"VP8L"))
    if raw[:4] == b"VP8L":
        (bits,) = struct.unpack_from("<I", raw, 9)
        width, height, flags = bits & 0x3FFF, bits >> 14 & 0x3FFF, flags | (ALPHA if bits >> 28 & 1 else 0)
    else:
        wide, high = struct.unpack_from("<HH", raw, 14)
        width, height = (wide & 0x3FFF) - 1, (high & 0x3FFF) - 1
    canvas = struct.pack("<II", width | (height & 0xFF) << 24, height >> 8)[:6]
    return b"VP8X" + struct.pack("<II", 10, flags) + canvas


WEBP: Final = Container(frozenset({"exif", "xmp"}), _parse, _make, _place, _join)
"""WebP, still or animated."""
