"""The type of a file by its first bytes, against the list of what is read. Pure Python."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from darkroom_tools.errors import InvalidImage, UnsupportedFormat

__all__ = ["DOCUMENTS", "FORMATS", "HEAD_BYTES", "Kind", "kind_of", "sniff"]

HEAD_BYTES = 1024
"""How many leading bytes `sniff` wants."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a format is named outside.

    Attributes:
        media_type: IANA media type.
        extension: Without the dot.
    """

    media_type: str
    extension: str


FORMATS: Mapping[str, Kind] = MappingProxyType(
    {
        "jpeg": Kind("image/jpeg", "jpg"),
        "png": Kind("image/png", "png"),
        "webp": Kind("image/webp", "webp"),
        "gif": Kind("image/gif", "gif"),
        "tiff": Kind("image/tiff", "tiff"),
        "avif": Kind("image/avif", "avif"),
        "heif": Kind("image/heif", "heif"),
    }
)
"""Pictures that are read and written. `heif` holds AV1; HEIC (HEVC) is not read."""

DOCUMENTS: Mapping[str, Kind] = MappingProxyType(
    {"svg": Kind("image/svg+xml", "svg"), "pdf": Kind("application/pdf", "pdf")}
)
"""Formats that are no pictures yet: only the tools made for them open them, in workers of their own."""

_READ = {
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF87a": "gif",
    b"GIF89a": "gif",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",
    b"MM\0+": "tiff",
    b"%PDF-": "pdf",
}
_KNOWN = {
    b"II*\0\x10\0\0\0CR": ("raw", "a camera RAW file"),
    b"BM": ("bmp", "a BMP image"),
    b"8BPS": ("psd", "a Photoshop document"),
    b"\xff\x0a": ("jxl", "a JPEG XL image"),
    b"\0\0\0\x0cJXL ": ("jxl", "a JPEG XL image"),
    b"\0\0\0\x0cjP  ": ("jp2", "a JPEG 2000 image"),
    b"\xff\x4f\xff\x51": ("jp2", "a JPEG 2000 image"),
    b"\0\0\x01\0": ("ico", "an icon file"),
    b"v/1\x01": ("exr", "an OpenEXR image"),
    b"#?RADIANCE": ("hdr", "a Radiance HDR image"),
    b"FUJIFILMCCD-RAW": ("raw", "a camera RAW file"),
    b"IIRO": ("raw", "a camera RAW file"),
    b"IIRS": ("raw", "a camera RAW file"),
    b"IIU\0": ("raw", "a camera RAW file"),
    b"\x1f\x8b": ("gzip", "a gzip file"),
    b"PK\x03\x04": ("zip", "a ZIP archive"),
    b"\x1aE\xdf\xa3": ("video", "a video"),
}
_MARKUP = {
    b"<?xml": ("xml", "an XML file"),
    b"<!doctype": ("html", "an HTML page"),
    b"<html": ("html", "an HTML page"),
}
_SVG = re.compile(rb"(<\?xml[^>]*>|<!--.*?-->|<!doctype\s+svg[^>\[]*(\[.*?\]\s*)?>|\s+)*<svg[\s>/]", re.DOTALL)
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_CONTAINER_BRANDS = frozenset({b"mif1", b"msf1"})
_AV1_BRANDS = frozenset({b"avif", b"avis"})


def kind_of(format: str) -> Kind:
    """How a format that `sniff` told is named outside."""
    return FORMATS.get(format) or DOCUMENTS[format]


def sniff(head: bytes) -> str:
    """The format of a file that starts with `head`: a key of `FORMATS` or of `DOCUMENTS`.

    Args:
        head: The first `HEAD_BYTES` bytes, or the whole file if it is shorter.

    Raises:
        InvalidImage: The file is empty (`EMPTY_FILE`).
        UnsupportedFormat: It is something else; the text says what came, where known, and what is read.
    """
    if not head:
        raise InvalidImage("The file is empty. Send the bytes of an image.", code="EMPTY_FILE")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _sniff_boxes(head)
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if _SVG.match(text):
        return "svg"
    for start, (name, words) in (*_KNOWN.items(), *_MARKUP.items()):
        if (text if start in _MARKUP else head).startswith(start):
            raise _unsupported(name, words)
    for magic, name in _READ.items():
        if head.startswith(magic):
            return name
    raise _unsupported("unknown", "no image that is known here")


def _sniff_boxes(head: bytes) -> str:
    """Tell AVIF, HEIF, HEIC and video apart by the brands of the file type box."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, brands = head[8:12], {head[at : at + 4] for at in range(16, size - 3, 4)}
    if major in _AV1_BRANDS:
        return "avif"
    if major in _CONTAINER_BRANDS and brands & _AV1_BRANDS:
        return "heif"
    if major in _CONTAINER_BRANDS | _HEVC_BRANDS:
        raise _unsupported("heic", "a HEIC photo (HEVC), which needs a patented decoder", "Convert it to JPEG first.")
    raise _unsupported("video", "a video")


def _unsupported(name: str, words: str, advice: str = "Convert it to one of these first.") -> UnsupportedFormat:
    allowed = sorted(FORMATS)
    listed = ", ".join(allowed)
    return UnsupportedFormat(f"The file is {words}. These are read: {listed}. {advice}", got=name, allowed=allowed)
