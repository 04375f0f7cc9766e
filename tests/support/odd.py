"""Pictures that programs forget: every kind that a tool must take, and some that none can."""

import functools
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

__all__ = ["ODD_PICTURES", "TEST_DOCUMENTS", "TEST_PHOTO", "TINY_PICTURE", "UNREADABLE", "endless_picture"]


def _noise(*shape: int, top: int = 256, kind: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, top, shape).astype(kind)


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _smooth(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    red, green = 255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1)
    disc = ((x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2) * 255
    return Image.fromarray(np.stack([red, green, disc], -1).astype(np.uint8))


def _frames(count: int) -> list[Image.Image]:
    return [_smooth(40, 30).rotate(n * 20) for n in range(count)]


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return _saved(_smooth(60, 40), "JPEG", exif=exif)


def _deep(width: int, height: int, bands: int) -> bytes:
    """A PNG of 16 bits a band, which Pillow writes for grey only."""
    rows = _noise(height, width * bands, top=65536, kind=np.uint16).astype(">u2")
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[bands], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _full_of_metadata() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Artist] = "Somebody"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    return _saved(_smooth(50, 40), "JPEG", exif=exif, icc_profile=profile, xmp=xmp, comment=b"Taken at home")


def _animated(format: str) -> bytes:
    first, *rest = _frames(3)
    return _saved(first, format, save_all=True, append_images=rest, duration=[50, 100, 150], loop=0)


TEST_PHOTO = _saved(_smooth(160, 120), "JPEG", quality=92)
"""A small picture without peculiarities."""

TINY_PICTURE = _saved(_smooth(24, 18).quantize(8), "GIF")
"""For what is called very often."""

TEST_DOCUMENTS: Mapping[str, bytes] = MappingProxyType(
    {
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><circle cx="20" cy="15" r="9"/></svg>',
        "pdf": _saved(_smooth(60, 80), "PDF"),
    }
)
"""A small file of each kind that is no picture."""

_MAKERS: dict[str, Callable[[], bytes]] = {
    "one pixel": lambda: _saved(Image.fromarray(_noise(1, 1, 3)), "PNG"),
    "very wide": lambda: _saved(Image.fromarray(_noise(1, 20_000, 3)), "PNG"),
    "very tall": lambda: _saved(Image.fromarray(_noise(3_000, 1, 3)), "PNG"),
    "grey": lambda: _saved(_smooth(50, 40).convert("L"), "JPEG"),
    "grey with alpha": lambda: _saved(_smooth(50, 40).convert("LA"), "PNG"),
    "alpha": lambda: _saved(Image.fromarray(_noise(40, 50, 4)), "PNG"),
    "one bit": lambda: _saved(_smooth(50, 40).convert("1"), "PNG"),
    "palette": lambda: _saved(_smooth(50, 40).quantize(16), "PNG"),
    "palette with transparency": lambda: _saved(_smooth(50, 40).quantize(16), "PNG", transparency=3),
    "16 bit grey": lambda: _saved(Image.fromarray(_noise(40, 50, top=65536, kind=np.uint16)), "PNG"),
    "16 bit colour": lambda: _deep(50, 40, 3),
    "16 bit colour with alpha": lambda: _deep(50, 40, 4),
    "CMYK": lambda: _saved(_smooth(50, 40).convert("CMYK"), "JPEG"),
    "progressive": lambda: _saved(_smooth(50, 40), "JPEG", progressive=True),
    **{f"orientation {n}": functools.partial(_turned, n) for n in range(1, 9)},
    "full of metadata": _full_of_metadata,
    "animated GIF": lambda: _animated("GIF"),
    "animated WebP": lambda: _animated("WEBP"),
    "TIFF": lambda: _saved(_smooth(50, 40), "TIFF", compression="tiff_lzw"),
    "WebP with alpha": lambda: _saved(Image.fromarray(_noise(40, 50, 4)), "WEBP", lossless=True),
    "AVIF": lambda: _saved(_smooth(50, 40), "AVIF"),
}
ODD_PICTURES: Mapping[str, bytes] = MappingProxyType({name: make() for name, make in _MAKERS.items()})
"""Files by what is odd about them."""


def _damaged() -> bytes:
    """A PNG whose compressed pixels are overwritten half-way."""
    data = bytearray(_saved(Image.fromarray(_noise(60, 80, 3)), "PNG"))
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    return bytes(data)


UNREADABLE: Mapping[str, bytes] = MappingProxyType(
    {
        "no picture at all": b"Dear server, please decode this letter. " * 8,
        "nothing": b"",
        "a page of the web": b"<!doctype html><html><body>404</body></html>",
        "a GIF in name only": b"GIF89a" + b"\xff" * 90,
        "only a header": TEST_PHOTO[:200],
        "cut off": TEST_PHOTO[: len(TEST_PHOTO) // 2],
        "damaged": _damaged(),
    }
)
"""Files that no tool can read, by what is wrong with them."""


@functools.cache
def endless_picture() -> bytes:
    """A PNG of 24 megapixels: a small file that every tool decodes for so long that it can be cancelled; twice as wide and
    high it is still within the limits."""
    side = 4_900
    row = bytes(1 + 3 * side)
    squeezed = zlib.compressobj(1)
    pixels = b"".join([*(squeezed.compress(row) for _ in range(side)), squeezed.flush()])
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )
