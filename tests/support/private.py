"""Files full of what somebody may not want to publish, made without the code under test."""

import functools
import io
import struct
from typing import Any

import skimage.data
from PIL import Image, PngImagePlugin

XMP = (
    "<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>"
    "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    "<rdf:Description rdf:about='' xmlns:foo='http://foo.example/' foo:bar='secret-property'"
    " xmlns:exif='http://ns.adobe.com/exif/1.0/' exif:GPSLatitude='52,31.2N'"
    " xmlns:dc='http://purl.org/dc/elements/1.1/'>"
    "<dc:subject><rdf:Bag><rdf:li>secret-word</rdf:li></rdf:Bag></dc:subject>"
    "<foo:place rdf:parseType='Resource'><exif:GPSLongitude>13,24.3E</exif:GPSLongitude><foo:kept>yes</foo:kept>"
    "</foo:place></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
).encode()
MAKER_NOTE = b"secret-maker" + bytes(range(200))
IIM = b"\x1c\x02\x00\x00\x02\x00\x04\x1c\x02\x78\x00\x0esecret-caption\x1c\x02\x19\x00\x08Stra\xdfe-1"
LATITUDE = (52.0, 31.0, 12.0)


@functools.cache
def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A photograph in which all four quarters look different."""
    return Image.fromarray(skimage.data.astronaut()[:384]).resize((width, height))


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def private_exif(orientation: int = 1) -> bytes:
    """An EXIF block with everything: maker, position, dates, maker note, and a thumbnail that tells a place itself."""
    exif = Image.Exif()
    exif[0x010F] = "secret-maker"
    exif[0x013B] = "secret-artist"
    exif[0x0132] = "2020:01:31 23:30:00"
    exif[0x0112] = orientation
    detail = exif.get_ifd(0x8769)
    detail[0x9003] = "2020:01:31 23:30:00"
    detail[0x9011] = "+01:00"
    detail[0x927C] = MAKER_NOTE
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2], gps[3], gps[4], gps[5], gps[6] = "N", LATITUDE, "E", (13.0, 24.0, 18.0), b"\0", 34.0
    return with_thumbnail(exif.tobytes().removeprefix(b"Exif\0\0"))


def with_thumbnail(block: bytes) -> bytes:
    """A big-endian or little-endian EXIF block with a thumbnail directory at its end."""
    order = "<" if block[:2] == b"II" else ">"
    preview = saved(scene(16, 16), "JPEG", comment=b"secret-thumbnail")
    first = struct.unpack_from(order + "I", block, 4)[0]
    count = struct.unpack_from(order + "H", block, first)[0]
    at = len(block) + len(block) % 2
    entries = ((0x0103, 3, 6 << (16 if order == ">" else 0)), (0x0201, 4, at + 42), (0x0202, 4, len(preview)))
    table = struct.pack(order + "H", 3)
    table += b"".join(struct.pack(order + "HHII", tag, kind, 1, value) for tag, kind, value in entries)
    whole = bytearray(block.ljust(at, b"\0") + table + bytes(4) + preview)
    struct.pack_into(order + "I", whole, first + 2 + 12 * count, at)
    return bytes(whole)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def photoshop(iim: bytes) -> bytes:
    """A Photoshop segment with IPTC records, a thumbnail and a resolution."""
    resources = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iim)) + iim + bytes(len(iim) % 2)
    resources += b"8BIM\x04\x0c\0\0" + struct.pack(">I", 16) + b"secret-preview!!"
    resources += b"8BIM\x03\xed\0\0" + struct.pack(">I", 16) + b"resolution-info!"
    return segment(0xED, b"Photoshop 3.0\0" + resources)


def private_jpeg(orientation: int = 1, **options: Any) -> bytes:
    """A JPEG with every kind of metadata, a JFIF thumbnail, unknown segments, and a second picture behind the end."""
    plain = saved(scene(), "JPEG", **{"quality": 90, "comment": b"secret-comment", **options})
    jfif = segment(0xE0, plain[6:18] + b"\x02\x01secret")
    more_xmp = segment(
        0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 13, 0) + b"secret-more!!"
    )
    body = plain[20:]
    rest = (
        segment(0xE1, b"Exif\0\0" + private_exif(orientation))
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
        + more_xmp
        + segment(0xE5, b"secret-unknown")
        + segment(0xEC, b"Ducky\0secret")
        + photoshop(IIM)
        + segment(0xEE, b"Adobe\0\x64\0\0\0\0\x01")
    )
    return plain[:2] + jfif + rest + body + saved(scene(24, 16), "JPEG", exif=private_exif())


def private_png(**options: Any) -> bytes:
    """A PNG with EXIF, XMP, texts of every kind, a time, an unknown chunk, a physical size, and bytes behind the end."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "secret-title")
    info.add_text("Comment", "secret-comment", zip=True)
    info.add_itxt("Author", "secret-author", "en", "Autor")
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_text("Raw profile type iptc", "\niptc\n 6\n736563726574\n", zip=True)
    info.add(b"tIME", b"\x07\xe8\x01\x1f\x17\x1e\0")
    info.add(b"seCr", b"secret-chunk")
    return saved(scene(), "PNG", pnginfo=info, exif=private_exif(), dpi=(300, 300), **options) + b"secret-behind"


def private_webp(**options: Any) -> bytes:
    """A WebP with EXIF, XMP, and an unknown chunk."""
    data = saved(scene(), "WEBP", exif=private_exif(), xmp=XMP, **options) + b"seCr\x0e\0\0\0secret-unknown"
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


PRIVATE = {"jpeg": private_jpeg, "png": private_png, "webp": private_webp}
"""Makers of such files by format."""
