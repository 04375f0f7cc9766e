"""Cheap looks into a container before a decoder touches it.

Some small files cost a decoder minutes or gigabytes before or beside their pixels: JPEGs of thousands of scans,
PNGs whose text inflates without end. Each scan walks the container's own structure once, in time linear in the
file, with a cap on the number of parts; a damaged structure ends the walk and is left for the decoder to refuse.
"""

import mmap
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from darkroom.engine.limits import Limits
from darkroom_tools.errors import ImageTooComplex, LimitExceeded, UnsupportedFormat

__all__ = ["GPS_IFD", "Prescan", "prescan", "tiff_tags"]

MAX_PARTS = 100_000
"""Chunks of a PNG or WebP, markers of a JPEG: far above any real file, low enough to walk in a blink."""


@dataclass(frozen=True, slots=True)
class Prescan:
    """What the walk saw.

    Attributes:
        frames: Frames that the container announces; 1 where it does not tell cheaply.
        gain_map: Whether a JPEG carries an HDR gain map.
        metadata: Kinds of metadata that the decoder does not report by itself (`exif`, `gps` of a TIFF).
    """

    frames: int = 1
    gain_map: bool = False
    metadata: frozenset[str] = frozenset()


def prescan(path: Path, format: str, limits: Limits) -> Prescan:
    """Walk the container of a non-empty file.

    Args:
        path: The file.
        format: Its type as `sniff` told it.
        limits: `jpeg_scans`, `metadata_bytes`, `text_chunks` and `frames` are enforced here.

    Raises:
        ImageTooComplex: Too many scans or parts.
        LimitExceeded: Too much metadata (`METADATA_TOO_LARGE`) or too many frames (`TOO_MANY_FRAMES`).
        UnsupportedFormat: A TIFF that is a camera RAW file, or a kind of Photoshop document that is not read.
    """
    scan = _SCANS.get(format)
    if scan is None:
        return Prescan()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return scan(data, limits)


# A marker with a segment behind it, or the end: no stuffed zero, restart, start of image, TEM or fill.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
_EOI, _SOS, _APP1, _APP2 = 0xD9, 0xDA, 0xE1, 0xE2
_SEQUENTIAL_FRAMES = frozenset({0xC0, 0xC1, 0xC9})
_METADATA_SEGMENTS = frozenset({*range(0xE0, 0xF0), 0xFE})


def _scan_jpeg(data: mmap.mmap, limits: Limits) -> Prescan:
    at, scans, budget, gain_map, components = 2, 0, limits.metadata_bytes, False, None
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, at)
        if found is None or found[1][0] == _EOI:
            return Prescan(gain_map=gain_map)
        marker, at = found[1][0], found.end()
        length = int.from_bytes(data[at : at + 2], "big")
        if length < 2 or at + length > len(data):
            return Prescan(gain_map=gain_map)
        if marker in _SEQUENTIAL_FRAMES:
            components = data[at + 7 : at + 8]
        elif marker == _SOS:
            if data[at + 2 : at + 3] == components:
                return Prescan(gain_map=gain_map)  # one scan holds everything, so decoders read no other
            scans += 1
            if scans > limits.jpeg_scans:
                raise ImageTooComplex(
                    f"The JPEG has more than {limits.jpeg_scans} scans. Save it again as a baseline JPEG.",
                    limit=limits.jpeg_scans,
                )
        elif marker in _METADATA_SEGMENTS:
            budget -= length
            if budget < 0:
                raise _metadata_too_large(limits)
            gain_map = gain_map or _is_gain_map(marker, data[at + 2 : at + length])
        at += length
    raise _too_many_parts("markers")


def _is_gain_map(marker: int, segment: bytes) -> bool:
    """Whether a segment announces an HDR gain map: by ISO 21496-1, or in XMP by its forerunner."""
    if marker == _APP2:
        return segment.startswith(b"urn:iso:std:iso:ts:21496:-1\0")
    return marker == _APP1 and segment.startswith(b"http://ns.adobe.com/xap/") and b"hdrgm:Version" in segment


def _scan_png(data: mmap.mmap, limits: Limits) -> Prescan:
    at, frames, texts, budget = 8, 1, 0, limits.metadata_bytes
    for _ in range(MAX_PARTS):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        if len(kind) < 4 or kind == b"IEND" or end > len(data):
            return Prescan(frames=frames)
        if kind == b"acTL":
            frames = max(1, int.from_bytes(data[at + 8 : at + 12], "big"))
        elif kind in (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"):
            texts += kind.endswith(b"t")
            if texts > limits.text_chunks:
                raise _metadata_too_large(limits, f"more than {limits.text_chunks} text chunks")
            budget -= _inflated_size(kind, data[at + 8 : end], budget)
            if budget < 0:
                raise _metadata_too_large(limits)
        at = end + 4
    raise _too_many_parts("chunks")


def _inflated_size(kind: bytes, body: bytes, budget: int) -> int:
    """Bytes that a PNG chunk holds once inflated, counted up to just over `budget`."""
    if kind in (b"zTXt", b"iCCP"):
        packed = body.partition(b"\0")[2][1:]
    elif kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\x01":
        packed = body.partition(b"\0")[2][2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return len(body)
    try:
        return len(zlib.decompressobj().decompress(packed, budget + 1))
    except zlib.error:
        return len(body)


def _scan_webp(data: mmap.mmap, limits: Limits) -> Prescan:
    at, frames, budget = 12, 0, limits.metadata_bytes
    for _ in range(MAX_PARTS):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if len(kind) < 4 or at + 8 + length > len(data):
            return Prescan(frames=max(1, frames))
        if kind == b"ANMF":
            frames += 1
            if frames > limits.frames:
                raise LimitExceeded(
                    f"The animation has more than {limits.frames} frames. Send a shorter one.",
                    code="TOO_MANY_FRAMES",
                    limit=limits.frames,
                )
        elif kind in (b"ICCP", b"EXIF", b"XMP "):
            budget -= length
            if budget < 0:
                raise _metadata_too_large(limits)
        at += 8 + length + length % 2
    raise _too_many_parts("chunks")


GPS_IFD = 0x8825
"""The tag that points to where a picture was taken."""
_EXIF_IFD, _DNG_VERSION = 0x8769, 0xC612


def tiff_tags(data: bytes | mmap.mmap) -> frozenset[int]:
    """The tags of the first directory of a TIFF or an EXIF block; none where it is damaged."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        offset_at, offset_code, count_code, entry = (8, "Q", "Q", 20) if big else (4, "I", "H", 12)
        at = struct.unpack_from(order + offset_code, data, offset_at)[0]
        count = struct.unpack_from(order + count_code, data, at)[0]
        start = at + struct.calcsize(count_code)
        return frozenset(struct.unpack_from(order + "H", data, start + entry * n)[0] for n in range(min(count, 4096)))
    except struct.error:
        return frozenset()


def _scan_tiff(data: mmap.mmap, limits: Limits) -> Prescan:
    tags = tiff_tags(data)  # the decoder itself counts the pages
    if _DNG_VERSION in tags:
        raise UnsupportedFormat("The file is a camera RAW file (DNG). Develop it to JPEG or TIFF first.", got="dng")
    return Prescan(metadata=frozenset(name for tag, name in ((_EXIF_IFD, "exif"), (GPS_IFD, "gps")) if tag in tags))


_MOST_ICONS, _LARGEST_ICON = 256, 2048


def _scan_ico(data: mmap.mmap, limits: Limits) -> Prescan:
    """Look at the size that each picture inside states, which the directory and the decoder do not."""
    count = int.from_bytes(data[4:6], "little")
    if count > _MOST_ICONS:
        raise _too_many_parts("icons")
    for entry in range(6, 6 + 16 * count, 16):
        at = int.from_bytes(data[entry + 12 : entry + 16], "little")
        head = data[at : at + 24]
        if head[:4] == b"\x89PNG":
            width, height = struct.unpack_from(">II", head.ljust(24, b"\0"), 16)
        else:
            width, height = struct.unpack_from("<ii", head.ljust(24, b"\0"), 4)
            width, height = abs(width), abs(height) // 2  # a mask lies below the picture
        if max(width, height) > min(_LARGEST_ICON, limits.side):
            raise LimitExceeded(
                f"The icon holds a picture of {width}×{height} pixels; the limit is {_LARGEST_ICON} a side.",
                got=max(width, height),
                limit=_LARGEST_ICON,
            )
    return Prescan()


def _scan_psd(data: mmap.mmap, limits: Limits) -> Prescan:
    version, depth = data[4:6], int.from_bytes(data[22:24], "big")
    if version == b"\0\2" or depth in (16, 32):
        what = "is a PSB, for very large pictures" if version == b"\0\2" else f"has {depth} bits a channel"
        raise UnsupportedFormat(f"The Photoshop document {what}, which is not read. Save it as TIFF or PNG.", got="psd")
    return Prescan()


def _too_many_parts(parts: str) -> ImageTooComplex:
    return ImageTooComplex(f"The file has more than {MAX_PARTS} {parts}. Save it again with an image editor.")


def _metadata_too_large(limits: Limits, what: str | None = None) -> LimitExceeded:
    what = what or f"more than {limits.metadata_bytes // 2**20} MiB of metadata"
    return LimitExceeded(
        f"The file holds {what}. Remove its metadata and send it again.",
        code="METADATA_TOO_LARGE",
        limit=limits.metadata_bytes,
    )


_SCANS: Mapping[str, Callable[[mmap.mmap, Limits], Prescan]] = {
    "jpeg": _scan_jpeg,
    "png": _scan_png,
    "webp": _scan_webp,
    "tiff": _scan_tiff,
    "ico": _scan_ico,
    "psd": _scan_psd,
}
