"""JPEG files as segments. Sources: ITU-T T.81 annex B, JFIF 1.02, EXIF 3.0 §4.7, XMP part 3 §1.1.3, CIPA DC-007."""

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from darkroom_tools.kit.metadata.containers import Container, Damaged, Part
from darkroom_tools.kit.metadata.iptc import in_photoshop, of_photoshop
from darkroom_tools.native import np

__all__ = ["JPEG"]

EXIF: Final = b"Exif\0\0"
XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
MORE_XMP: Final = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP: Final = b"Photoshop 3.0\0"
PROFILE: Final = b"ICC_PROFILE\0"
SOI, EOI, SOS, COM, APP0, APP1, APP2, APP13, APP14, APP15 = 0xD8, 0xD9, 0xDA, 0xFE, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF
KNOWN: Final = (
    (APP0, b"JFXX\0", "thumbnail"),
    (APP1, EXIF, "exif"),
    (APP1, XMP, "xmp"),
    (APP1, MORE_XMP, "xmp"),
    (APP2, PROFILE, "icc"),
    (APP13, PHOTOSHOP, "iptc"),
)
MAIN_BLOCKS: Final = frozenset({EXIF, XMP, PHOTOSHOP})
LONGEST: Final = 65_533
JFIF_HEAD: Final = 14


def _parse(data: bytes) -> list[Part]:
    view, parts, at = memoryview(data), [Part(data[:2])], 2
    codes = _codes(data)
    while True:
        start = at
        while data[at : at + 2] == b"\xff\xff":
            at += 1
        marker = data[at + 1] if data[at : at + 1] == b"\xff" and at + 1 < len(data) else 0
        if marker == EOI:
            parts.append(Part(b"\xff\xd9"))
            break
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if marker < 0xC0 or SOI >= marker >= 0xD0 or length < 2 or end > len(data):
            raise Damaged("a segment is cut off or no segment")
        if marker == SOS:
            end = next(codes(end), 0)
            if not end:
                raise Damaged("the end is missing")
        # A leading run of fill bytes belongs to nobody.
        raw = view[start:end] if marker == SOS else view[at:end]
        parts.append(_segment(marker, raw, data[at + 4 : end] if marker != SOS else b""))
        at = end
    behind = at + 2
    if behind < len(data):
        parts.append(Part(view[behind:], "other"))
        parts = list(_with_reach(parts))
    return parts


def _codes(data: bytes) -> Callable[[int], Iterator[int]]:
    """A search for the next marker from an offset in entropy-coded data, where stuffing and restarts are none."""
    found: list[np.ndarray] = []

    def search(start: int) -> Iterator[int]:
        if not found:
            whole = np.frombuffer(data, np.uint8)
            places = np.flatnonzero(whole[:-1] == 0xFF)
            follows = whole[places + 1]
            real = (follows >= 0xC0) & ((follows < 0xD0) | (follows > 0xD8)) & (follows != 0xFF)
            found.append(places[real])
        first = int(np.searchsorted(found[0], start))
        return (int(place) for place in found[0][first : first + 1])

    return search


def _segment(marker: int, raw: memoryview, body: bytes) -> Part:
    if marker == COM:
        return Part(raw, "comments")
    if not APP0 <= marker <= APP15 or (marker == APP14 and body.startswith(b"Adobe")):
        return Part(raw)
    if marker == APP0 and body.startswith(b"JFIF\0") and len(body) >= JFIF_HEAD:
        bare = bytes(raw[:2]) + struct.pack(">H", JFIF_HEAD + 2) + body[: JFIF_HEAD - 2] + b"\0\0"
        return Part(raw) if len(body) == JFIF_HEAD else Part(raw, "thumbnail", bare=bare)
    for owner, name, kind in KNOWN:
        if marker == owner and body.startswith(name):
            content = body.removeprefix(name) if name in MAIN_BLOCKS else None
            return Part(raw, kind, of_photoshop(content or b"") if name == PHOTOSHOP else content)
    return Part(raw, "other", name="mpf" if marker == APP2 and body.startswith(b"MPF\0") else "")


def _with_reach(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts, each index of pictures behind the end with its distance to them."""
    for number, part in enumerate(parts):
        distance = sum(len(later.raw) for later in parts[number:-1])
        yield Part(part.raw, part.kind, reach=distance, name=part.name) if part.name == "mpf" else part


def _make(kind: str, body: bytes, old: Part | None) -> Part:
    if kind == "exif":
        content, marker = EXIF + body, APP1
    elif kind == "xmp":
        content, marker = XMP + body, APP1
    else:
        resources = bytes(old.raw[4:]).removeprefix(PHOTOSHOP) if old is not None else b""
        content, marker = PHOTOSHOP + in_photoshop(body, resources), APP13
    if len(content) > LONGEST:
        raise ValueError(f"a JPEG holds at most {LONGEST - 40} bytes of it, but these are {len(content)}")
    return Part(bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content, kind, body)


def _place(parts: Sequence[Part], kind: str) -> int:
    """Behind the JFIF head, which has to come first, and behind EXIF."""
    head = 2 if len(parts) > 1 and bytes(parts[1].raw[:2]) == b"\xff\xe0" else 1
    while kind != "exif" and head < len(parts) and parts[head].kind == "exif":
        head += 1
    return head


def _join(parts: Sequence[Part]) -> bytes:
    data = bytearray(b"".join(part.raw for part in parts))
    at = 0
    for number, part in enumerate(parts):
        if part.reach:
            moved = sum(len(later.raw) for later in parts[number:-1]) - part.reach
            _move_pictures(data, at + 8, moved)
        at += len(part.raw)
    return bytes(data)


def _move_pictures(data: bytearray, base: int, moved: int) -> None:
    """Correct the offsets of a multi-picture index; `base` is where its TIFF header stands."""
    if not moved:
        return
    order = "<" if data[base : base + 2] == b"II" else ">"
    try:
        directory = base + struct.unpack_from(order + "I", data, base + 4)[0]
        for entry in range(directory + 2, directory + 2 + 12 * struct.unpack_from(order + "H", data, directory)[0], 12):
            tag, _, size, offset = struct.unpack_from(order + "HHII", data, entry)
            for picture in range(base + offset, base + offset + size, 16) if tag == 0xB002 else ():
                there = struct.unpack_from(order + "I", data, picture + 8)[0]
                if there:
                    struct.pack_into(order + "I", data, picture + 8, there + moved)
    except struct.error:
        return


JPEG: Final = Container(frozenset({"exif", "xmp", "iptc"}), _parse, _make, _place, _join)
"""JPEG with JFIF, EXIF, XMP, Photoshop and multi-picture segments."""
