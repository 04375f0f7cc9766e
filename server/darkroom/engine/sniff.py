"""The type of a file by its first bytes, against the list of what is read. Pure Python."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from darkroom_tools.errors import InvalidImage, UnsupportedFormat

__all__ = ["DOCUMENTS", "FORMATS", "HEAD_BYTES", "READ_ONLY", "Kind", "kind_of", "sniff"]

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
"""Pictures that are read and written. `heif` holds AV1, `heic` HEVC."""

READ_ONLY: Mapping[str, Kind] = MappingProxyType(
    {
        "bmp": Kind("image/bmp", "bmp"),
        "heic": Kind("image/heic", "heic"),
        "ico": Kind("image/vnd.microsoft.icon", "ico"),
        "jp2": Kind("image/jp2", "jp2"),
        "pnm": Kind("image/x-portable-anymap", "pnm"),
        "psd": Kind("image/vnd.adobe.photoshop", "psd"),
        "qoi": Kind("image/qoi", "qoi"),
    }
)
"""Pictures that are read but never written (see `darkroom_tools.kit.format_rules`)."""

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
    b"8BPS": "psd",
    b"qoif": "qoi",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jp2",
    b"\xff\x4f\xff\x51": "jp2",
}
# Two letters or four common bytes alone are too little to tell a type by, so a part of the header comes with them.
_PATTERNS = {
    re.compile(rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0", re.DOTALL): "bmp",
    re.compile(rb"\0\0\x01\0[^\0]\0.{12}...\0", re.DOTALL): "ico",
    re.compile(rb"P[1-6f](\s|#[^\n]*\n)+\d+(\s|#[^\n]*\n)+\d+\s"): "pnm",
}
_KNOWN = {
    b"II*\0\x10\0\0\0CR": ("raw", "a camera RAW file"),
    b"\xff\x0a": ("jxl", "a JPEG XL image"),
    b"\0\0\0\x0cJXL ": ("jxl", "a JPEG XL image"),
    b"DDS ": ("dds", "a DirectDraw texture"),
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
    return FORMATS.get(format) or READ_ONLY.get(format) or DOCUMENTS[format]


def sniff(head: bytes) -> str:
    """The format of a file that starts with `head`: a key of `FORMATS`, `READ_ONLY` or `DOCUMENTS`.

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
    found = [name for magic, name in _READ.items() if head.startswith(magic)]
    found += [name for pattern, name in _PATTERNS.items() if pattern.match(head)]
    if not found:
        raise _unsupported("unknown", "no image that is known here")
    return found[0]


def _sniff_boxes(head: bytes) -> str:
    """Tell AVIF, HEIF, HEIC and video apart by the brands of the file type box."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    major, brands = head[8:12], {head[at : at + 4] for at in range(16, size - 3, 4)}
    if major in _AV1_BRANDS:
        return "avif"
    if major in _CONTAINER_BRANDS and brands & _AV1_BRANDS:
        return "heif"
    if major in _CONTAINER_BRANDS | _HEVC_BRANDS:
        return "heic"
    raise _unsupported("video", "a video")


def _unsupported(name: str, words: str, advice: str = "Convert it to one of these first.") -> UnsupportedFormat:
    allowed = sorted([*FORMATS, *READ_ONLY])
    listed = ", ".join(allowed)
    return UnsupportedFormat(f"The file is {words}. These are read: {listed}. {advice}", got=name, allowed=allowed)
