"""Files taken apart by a reader of our own for tests, so that the rewriters never vouch for themselves."""

import struct
import zlib
from collections.abc import Iterator


def jpeg_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each segment; a scan's body goes on to the next marker; what stands behind the end as 0."""
    at = 2
    while True:
        assert data[at] == 0xFF, f"no marker at {at}"
        marker = data[at + 1]
        if marker == 0xD9:
            yield marker, b""
            yield 0, data[at + 2 :]
            return
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if marker == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] != 0 and not 0xD0 <= data[end + 1] <= 0xD7):
                end += 1
        yield marker, data[at + 4 : end]
        at = end


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk, with checksums checked; what stands behind the end as an empty name."""
    at = 8
    while True:
        (length,) = struct.unpack_from(">I", data, at)
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(name + body)
        yield name, body
        at += 12 + length
        if name == b"IEND":
            yield b"", data[at:]
            return


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk; the sizes must add up to the file."""
    assert data[:4] == b"RIFF"
    assert struct.unpack_from("<I", data, 4)[0] == len(data) - 8
    at = 12
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        yield data[at : at + 4], data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2


def picture_bytes(data: bytes, format: str) -> list[bytes]:
    """The bytes that hold the pixels."""
    if format == "jpeg":
        return [
            body for marker, body in jpeg_segments(data) if marker and not (0xE0 <= marker <= 0xEF or marker == 0xFE)
        ]
    if format == "png":
        return [
            body for name, body in png_chunks(data) if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"fdAT", b"fcTL")
        ]
    if format == "webp":
        return [body for name, body in webp_chunks(data) if name in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF", b"ANIM")]
    raise AssertionError(format)


def exif_entries(block: bytes) -> dict[str, dict[int, tuple[int, int, bytes]]]:
    """Type, count and bytes of each entry by tag, of the directories `main`, `exif`, `gps` and `thumbnail`."""
    order = {b"II": "<", b"MM": ">"}[block[:2]]
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 9: 4, 10: 8}

    def directory(at: int) -> tuple[dict[int, tuple[int, int, bytes]], int]:
        (count,) = struct.unpack_from(order + "H", block, at)
        entries = {}
        for n in range(count):
            tag, kind, number = struct.unpack_from(order + "HHI", block, at + 2 + 12 * n)
            size, place = sizes[kind] * number, at + 10 + 12 * n
            start = place if size <= 4 else struct.unpack_from(order + "I", block, place)[0]
            assert start + size <= len(block)
            entries[tag] = kind, number, block[start : start + size]
        assert sorted(entries) == list(entries)
        return entries, struct.unpack_from(order + "I", block, at + 2 + 12 * count)[0]

    main, following = directory(struct.unpack_from(order + "I", block, 4)[0])
    found = {"main": main}
    for name, tag in (("exif", 0x8769), ("gps", 0x8825)):
        if tag in main:
            found[name] = directory(struct.unpack(order + "I", main[tag][2])[0])[0]
    if following:
        found["thumbnail"] = directory(following)[0]
    return found


def exif_of(data: bytes, format: str) -> bytes | None:
    """The EXIF block of a file, from its TIFF header on."""
    if format == "jpeg":
        found = [body[6:] for marker, body in jpeg_segments(data) if marker == 0xE1 and body.startswith(b"Exif\0\0")]
    elif format == "png":
        found = [body for name, body in png_chunks(data) if name == b"eXIf"]
    else:
        found = [body for name, body in webp_chunks(data) if name == b"EXIF"]
    assert len(found) <= 1
    return found[0] if found else None


def xmp_of(data: bytes, format: str) -> bytes | None:
    """The XMP packet of a file."""
    if format == "jpeg":
        name = b"http://ns.adobe.com/xap/1.0/\0"
        found = [body[len(name) :] for marker, body in jpeg_segments(data) if marker == 0xE1 and body.startswith(name)]
    elif format == "png":
        name = b"XML:com.adobe.xmp\0\0\0\0\0"
        found = [body[len(name) :] for kind, body in png_chunks(data) if kind == b"iTXt" and body.startswith(name)]
    else:
        found = [body for kind, body in webp_chunks(data) if kind == b"XMP "]
    assert len(found) <= 1
    return found[0] if found else None
