"""PNG files as chunks. Sources: W3C PNG 3rd edition; XMP part 3 §1.1.5; ImageMagick's raw profiles as found in files."""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from darkroom_tools.kit.metadata.containers import Container, Damaged, Part

__all__ = ["PNG"]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
XMP_KEYWORD: Final = b"XML:com.adobe.xmp"
RAW_PROFILE: Final = b"raw profile type "
RAW_KINDS: Final = {
    b"exif": "exif",
    b"app1": "exif",
    b"xmp": "xmp",
    b"iptc": "iptc",
    b"8bim": "iptc",
    b"icc": "icc",
    b"icm": "icc",
}
# Chunks that say how the picture looks, how large it is meant or how it moves.
LOOKS: Final = frozenset(
    b"tRNS gAMA cHRM sRGB cICP mDCV mDCv cLLI cLLi sBIT bKGD hIST sPLT pHYs acTL fcTL fdAT sTER".split()
)
KINDS: Final = {b"iCCP": "icc", b"eXIf": "exif", b"tIME": "text"}
MOST_INFLATED: Final = 16 * 2**20


def _parse(data: bytes) -> list[Part]:
    view, parts, at = memoryview(data), [Part(SIGNATURE)], len(SIGNATURE)
    while True:
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if len(name) < 4 or end > len(data):
            raise Damaged("a chunk is cut off")
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise Damaged("a chunk has another checksum")
        parts.append(_chunk(name, view[at:end]))
        at = end
        if name == b"IEND":
            break
    return parts if at == len(data) else [*parts, Part(view[at:], "other")]


def _chunk(name: bytes, raw: memoryview) -> Part:
    if name in LOOKS or not name[0] & 0x20:
        return Part(raw)
    body = bytes(raw[8:-4])
    if name == b"eXIf":
        return Part(raw, "exif", body.removeprefix(b"Exif\0\0"))
    if name in (b"tEXt", b"zTXt", b"iTXt"):
        return _text(name, raw, body)
    return Part(raw, KINDS.get(name, "other"))


def _text(name: bytes, raw: memoryview, body: bytes) -> Part:
    keyword, _, rest = body.partition(b"\0")
    lower = keyword.lower()
    if keyword == XMP_KEYWORD and name == b"iTXt":
        packed, rest = rest[:1] == b"\x01", rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        return Part(raw, "xmp", _inflated(rest) if packed else rest)
    if lower.startswith(RAW_PROFILE):
        kind = RAW_KINDS.get(lower.removeprefix(RAW_PROFILE).strip(), "text")
        value = _inflated(rest[1:]) if name == b"zTXt" else rest
        holds = kind in ("exif", "xmp")
        return Part(raw, kind, _raw_profile(value) if holds and value else None)
    return Part(raw, "text", name=lower.decode("latin-1"))


def _inflated(packed: bytes) -> bytes | None:
    try:
        return zlib.decompressobj().decompress(packed, MOST_INFLATED)
    except zlib.error:
        return None


def _raw_profile(text: bytes) -> bytes | None:
    """The block in `\\n<name>\\n<length>\\n<hexadecimal>`."""
    try:
        return bytes.fromhex(b"".join(text.split()[2:]).decode("ascii")).removeprefix(b"Exif\0\0")
    except ValueError:
        return None


def _make(kind: str, body: bytes, _old: Part | None) -> Part:
    name, content = (b"eXIf", body) if kind == "exif" else (b"iTXt", XMP_KEYWORD + bytes(5) + body)
    checksum = zlib.crc32(name + content)
    return Part(struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum), kind, body)


def _place(_parts: Sequence[Part], _kind: str) -> int:
    """Behind the header: before anything that other chunks count bytes to."""
    return 2


def _join(parts: Sequence[Part]) -> bytes:
    return b"".join(part.raw for part in parts)


PNG: Final = Container(frozenset({"exif", "xmp"}), _parse, _make, _place, _join)
"""PNG and APNG."""
