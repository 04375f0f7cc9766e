"""How a picture goes into a PDF: as the file's own compressed pixels where PDF can hold them, else compressed anew.

A JPEG keeps its pixels bit for bit, and so does a PNG without transparency. Other pictures from lossless formats are
compressed without loss, those from lossy ones as JPEG of quality 90, alpha without loss beside it. Of metadata only
the colour profile goes in.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from darkroom_tools.image import File, Image
from darkroom_tools.kit.metadata.containers import Damaged
from darkroom_tools.kit.metadata.jpeg import JPEG
from darkroom_tools.kit.metadata.png import PNG
from darkroom_tools.kit.pdf import PdfPicture
from darkroom_tools.kit.pixels import as_array, color_bands, first_frame
from darkroom_tools.native import np

__all__ = ["jpeg_without_metadata", "pdf_picture"]

QUALITY: Final = 90
ROWS_AT_ONCE: Final = 256
LOSSY: Final = frozenset({"jpeg", "webp", "avif", "heif", "heic", "jxl", "jp2"})

SOS, ADOBE = 0xDA, 0xEE
FRAMES: Final = frozenset({*range(0xC0, 0xD0)}) - {0xC4, 0xC8, 0xCC}
FRAMES_FOR_PDF: Final = frozenset({0xC0, 0xC1, 0xC2})


class Jpeg(NamedTuple):
    """A JPEG file without metadata, and what its frame header says."""

    data: bytes
    width: int
    height: int
    components: int
    inverted: bool


def pdf_picture(image: Image, encode: Callable[[Image], File]) -> PdfPicture:
    """The picture, or its first frame, as PDF stores it.

    Args:
        image: Any picture; its pixels are read once, from top to bottom, or not at all.
        encode: Writes a JPEG.

    Raises:
        DarkroomError: The file is damaged, or the work was cancelled.
    """
    original = image.stored
    if original is not None and image.frames == 1 and original.format in ("jpeg", "png"):
        data = original.read()
        copied = _from_jpeg(image, data) if original.format == "jpeg" else _from_png(image, data)
        if copied is not None:
            return replace(copied, orientation=image.source.orientation, exact=True)
    return _compressed(image, encode)


def jpeg_without_metadata(data: bytes) -> Jpeg | None:
    """A JPEG up to its end marker, with the same compressed pixels and no metadata, thumbnail or comment.

    JFIF and Adobe headers stay, because they say how colours are stored. None where the file is cut off, or its frame
    is of a kind that PDF readers do not know, such as 12 bits or lossless.
    """
    try:
        parts = JPEG.parse(data)
    except Damaged:
        return None
    needed = {part.raw[1]: part.raw for part in parts if part.kind is None}
    frame = next((_frame(bytes(raw)) for marker, raw in needed.items() if marker in FRAMES), None)
    if frame is None or SOS not in needed:
        return None
    data = b"".join(part.raw if part.kind is None else part.bare for part in parts)
    return Jpeg(data, *frame, inverted=ADOBE in needed and frame[2] == 4)


def _frame(segment: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a frame of 8 bits, grey, colour or CMYK; None for others."""
    if segment[1] not in FRAMES_FOR_PDF or len(segment) < 13:
        return None
    bits, height, width, components = struct.unpack_from(">BHHB", segment, 4)
    # Without a header that says so, decoders know RGB by these names only.
    named_rgb = segment[10::3] == b"RGB"
    fits = bits == 8 and components in (1, 3, 4) and width > 0 and height > 0 and not named_rgb
    return (width, height, components) if fits else None


def _from_jpeg(image: Image, data: bytes) -> PdfPicture | None:
    jpeg = jpeg_without_metadata(data)
    if jpeg is None or not _profile_fits(image, jpeg.components):
        return None
    profile = _profile(image)
    if jpeg.components == 4 and profile is None:
        return None  # without a profile nobody knows what these inks look like
    return PdfPicture(
        *(jpeg.width, jpeg.height, jpeg.components, jpeg.data, "DCTDecode"), inverted=jpeg.inverted, profile=profile
    )


def _from_png(image: Image, data: bytes) -> PdfPicture | None:
    """The compressed rows of a PNG: PDF knows their filters. None with alpha, 16 bits, interlace or damage."""
    try:
        chunks = [(bytes(part.raw[4:8]), part.raw[8:-4]) for part in PNG.parse(data)[1:] if part.kind is None]
    except Damaged:
        return None
    pixels = b"".join(body for kind, body in chunks if kind == b"IDAT")
    bodies = {kind: bytes(body) for kind, body in chunks if kind in (b"IHDR", b"PLTE", b"tRNS")}
    if b"tRNS" in bodies or len(bodies.get(b"IHDR", b"")) != 13 or not pixels:
        return None
    width, height, bits, color, _, _, interlace = struct.unpack(">IIBBBBB", bodies[b"IHDR"])
    palette = bodies.get(b"PLTE") if color == 3 else None
    components = {0: 1, 2: 3, 3: 1}.get(color)
    if components is None or bits > 8 or interlace or (color == 3 and not palette):
        return None
    if not _profile_fits(image, 1 if color == 0 else 3):
        return None
    profile = _profile(image)
    return PdfPicture(width, height, components, pixels, bits=bits, predicted=True, palette=palette, profile=profile)


def _profile(image: Image) -> bytes | None:
    """The profile of the file as it came; none where it is damaged, which is how its pixels are read elsewhere too."""
    header = image.source.header
    if not header.get_typeof("icc-profile-data") or image.source.profile == "damaged profile":
        return None
    profile = header.get("icc-profile-data")
    return profile if isinstance(profile, bytes) else None


def _profile_fits(image: Image, components: int) -> bool:
    profile = _profile(image)
    return profile is None or profile[16:20] == {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}[components]


def _compressed(image: Image, encode: Callable[[Image], File]) -> PdfPicture:
    """The upright first frame in sRGB of 8 bits, compressed anew."""
    lossless = image.source.format not in LOSSY or _is_lossless_webp(image)
    still = first_frame(replace(image, pixels=image.reduced(1.0)))
    pixels = still.pixels
    if pixels.format == "ushort":
        pixels = pixels.cast("uchar", shift=True).copy(interpretation="b-w" if color_bands(pixels) == 1 else "srgb")
    mask = None
    if pixels.hasalpha():
        # Colour and alpha are written one after the other, but the file may be read only once.
        pixels = pixels.copy_memory()
        alpha = as_array(pixels[pixels.bands - 1])
        mask = _flate(alpha) if int(alpha.min()) < 255 else None
        pixels = pixels.extract_band(0, n=color_bands(pixels))
    if lossless:
        return replace(_flate(as_array(pixels)), mask=mask)
    plain = pixels.copy()
    plain.remove("icc-profile-data")
    quality = image.encoding.quality or QUALITY
    written = replace(still, pixels=plain, reload=None).encode_as(format="jpeg", quality=quality, target_bytes=None)
    jpeg = jpeg_without_metadata(encode(written).data)
    assert jpeg is not None  # noqa: S101 - our own encoder's files are whole
    return PdfPicture(jpeg.width, jpeg.height, jpeg.components, jpeg.data, "DCTDecode", mask=mask)


def _is_lossless_webp(image: Image) -> bool:
    original = image.source.original
    return original is not None and original.format == "webp" and b"VP8L" in original.read()[12:64]


def _flate(array: "np.ndarray") -> PdfPicture:
    """8-bit samples compressed without loss: 1 bit each where all are black or white, else as differences of rows."""
    height, width, components = array.shape
    if components == 1 and bool(((array == 0) | (array == 255)).all()):
        packed = np.packbits(array[:, :, 0] > 0, axis=1)
        return PdfPicture(width, height, 1, zlib.compress(packed.tobytes(), 9), bits=1)
    rows = np.ascontiguousarray(array).reshape(height, width * components)
    middle = rows[height // 2 : height // 2 + 64]
    # Drawings take well to more effort, photographs hardly at all for six times the time.
    effort = 6 if len(zlib.compress(middle.tobytes(), 1)) * 4 < middle.size else 1
    squeezed = zlib.compressobj(effort)
    parts = []
    above = np.zeros((1, rows.shape[1]), np.uint8)
    for start in range(0, height, ROWS_AT_ONCE):
        some = rows[start : start + ROWS_AT_ONCE]
        filtered = np.full((len(some), 1 + rows.shape[1]), 2, np.uint8)
        np.subtract(some, np.concatenate([above, some[:-1]]), out=filtered[:, 1:])
        parts.append(squeezed.compress(filtered.tobytes()))
        above = some[-1:]
    return PdfPicture(width, height, components, b"".join([*parts, squeezed.flush()]), predicted=True)
