"""Reads the formats that libvips does not: through Pillow, and HEIC through pillow-heif where that is installed.

Runs in pixel workers only. `open_foreign` reads the header; pixels come from `Foreign.decode`, after the codec has
held the header against its limits.
"""

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import PIL.Image
import pyvips

from darkroom.engine.failures import not_readable
from darkroom.engine.fields import ICC
from darkroom.engine.fields import field as field_of
from darkroom_tools.errors import DarkroomError, LimitExceeded, UnsupportedFormat

__all__ = ["Foreign", "is_foreign", "open_foreign"]

PIL.Image.MAX_IMAGE_PIXELS = None  # the codec's own limits decide

_PLUGINS: Mapping[str, tuple[str, str]] = {
    "avif": ("AvifImagePlugin", "AVIF"),
    "bmp": ("BmpImagePlugin", "BMP"),
    "ico": ("IcoImagePlugin", "ICO"),
    "jp2": ("Jpeg2KImagePlugin", "JPEG2000"),
    "pnm": ("PpmImagePlugin", "PPM"),
    "psd": ("PsdImagePlugin", "PSD"),
    "qoi": ("QoiImagePlugin", "QOI"),
}
# Bands, band format and colour space of the modes that are handed on. The last is no mode of Pillow's.
_MODES: Mapping[str, tuple[int, str, str]] = {
    "L": (1, "uchar", "b-w"),
    "LA": (2, "uchar", "b-w"),
    "RGB": (3, "uchar", "srgb"),
    "RGBA": (4, "uchar", "srgb"),
    "CMYK": (4, "uchar", "cmyk"),
    "F": (1, "float", "b-w"),
    "I;16": (1, "ushort", "grey16"),
    "RGB;16": (3, "ushort", "rgb16"),
}
_CONVERTED: Mapping[str, str] = {
    "1": "L",
    "La": "LA",
    "PA": "RGBA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "YCbCr": "RGB",
    "I": "I;16",
    "I;16B": "I;16",
}
# Pillow decodes these pixel by pixel in Python: a megapixel takes some three seconds.
_SLOW_DECODERS: Final = frozenset({"qoi", "ppm_plain", "bmp_rle"})
_SLOW_PIXELS: Final = 4_000_000
_ORIENTATION: Final = 0x0112


@dataclass(frozen=True, slots=True)
class Foreign:
    """A file of which the header was read.

    Attributes:
        header: Size, bands, depth and metadata as libvips names them; its pixels mean nothing.
        decode: Decodes the pixels, frames of an animation below one another. They are still to be turned by their
            `orientation` field, where they have one.
        upright_size: Width and height of a frame, once it is turned.
        frames: Frames that `decode` gives.
        warnings: What of the file will not be in the picture.
    """

    header: pyvips.Image
    decode: Callable[[], pyvips.Image]
    upright_size: tuple[int, int]
    frames: int = 1
    warnings: list[str] = field(default_factory=list)


def is_foreign(format: str, *, sequence: bool) -> bool:
    """Whether a format is read here; `sequence` says of an AVIF that it is an animation."""
    return format == "heic" or (format in _PLUGINS and (format != "avif" or sequence))


def open_foreign(path: Path, format: str) -> Foreign:
    """Read the header of a file.

    Args:
        path: The file.
        format: A format for which `is_foreign` holds.

    Raises:
        InvalidImage: Damaged.
        UnsupportedFormat: A variant that is not read, or HEIC without its library.
        LimitExceeded: Larger than its slow decoder may take on.
    """
    with _damage_told(format):
        return _open_heic(path) if format == "heic" else _open_with_pillow(path, format)


@contextmanager
def _damage_told(format: str) -> Iterator[None]:
    """Turn whatever a library makes of a damaged file into one error; running out of memory stays what it is."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except (DarkroomError, MemoryError):
        raise
    except Exception as error:
        raise not_readable(format) from error


@contextmanager
def _pillow(path: Path, format: str) -> Iterator[PIL.Image.Image]:
    """The file, opened by the one plugin of its format and by no other."""
    plugin, name = _PLUGINS[format]
    importlib.import_module(f"PIL.{plugin}")
    with PIL.Image.open(path, formats=[name]) as image:
        yield _largest_icon(image) if format == "ico" else image


def _largest_icon(image: Any) -> PIL.Image.Image:
    """The largest picture of an icon, and of several the one with the most colours."""
    entries = image.ico.entry
    best = max(range(len(entries)), key=lambda n: (entries[n].square, entries[n].bpp))
    largest: PIL.Image.Image = image.ico.frame(best)
    return largest


def _open_with_pillow(path: Path, format: str) -> Foreign:
    with _pillow(path, format) as image:
        _check_speed(image, format)
        mode = _mode(image, format)
        frames = getattr(image, "n_frames", 1) if format == "avif" else 1
        header = _header(image, mode, image.info, image.getexif().get(_ORIENTATION, 1))
        width, height = image.size
        turned = field_of(header, "orientation", 1) > 4

    def decode() -> pyvips.Image:
        with _damage_told(format), _pillow(path, format) as image:
            if frames > 1:
                return _dressed(_animation(image, mode, frames), header, ICC, "orientation")
            scale = _sample_scale(image)
            samples = _plain(image, mode) if scale is None else _read_samples(image, path, scale)
            return _dressed(_image(samples, image.size, mode), header, ICC, "orientation")

    return Foreign(header, decode, (height, width) if turned else (width, height), frames)


def _check_speed(image: PIL.Image.Image, format: str) -> None:
    pixels = image.width * image.height
    tiles = getattr(image, "tile", ())
    if tiles and tiles[0][0] in _SLOW_DECODERS and pixels > _SLOW_PIXELS:
        raise LimitExceeded(
            f"The image has {pixels / 1e6:.4g} megapixels; the limit for this kind of {format.upper()} is "
            f"{_SLOW_PIXELS / 1e6:g}, because it decodes slowly. Convert it to PNG first.",
            got=pixels,
            limit=_SLOW_PIXELS,
        )


def _mode(image: PIL.Image.Image, format: str) -> str:
    """The mode in which the pixels are handed on."""
    mode = image.mode
    if mode == "P":
        return "RGBA" if image.has_transparency_data else "RGB"
    if mode == "RGB" and (_sample_scale(image) or 0) > 255:
        return "RGB;16"
    mode = _CONVERTED.get(mode, mode)
    if mode not in _MODES:
        raise UnsupportedFormat(
            f"The {format.upper()} has pixels of the kind {mode}, which are not read. Save it as RGB.", got=mode
        )
    return mode


def _header(image: Any, mode: str, info: Mapping[Any, Any], orientation: object) -> pyvips.Image:
    """An image without pixels that has the size, the kind and the metadata of a Pillow or HEIF picture."""
    bands, depth, space = _MODES[mode]
    header = pyvips.Image.black(*image.size, bands=bands).cast(depth).copy(interpretation=space)
    for name, key in ((ICC, "icc_profile"), ("exif-data", "exif"), ("xmp-data", "xmp")):
        block = info.get(key)
        if isinstance(block, bytes) and block:
            header.set_type(pyvips.GValue.blob_type, name, cast(Any, block))
    if isinstance(orientation, int) and 1 < orientation < 9:
        header.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return header


def _dressed(pixels: pyvips.Image, header: pyvips.Image, *names: str) -> pyvips.Image:
    """The pixels with some fields of the header."""
    for name in names:
        if header.get_typeof(name):
            pixels.set_type(header.get_typeof(name), name, header.get(name))
    return pixels


def _image(samples: bytes, size: tuple[int, int], mode: str) -> pyvips.Image:
    bands, depth, space = _MODES[mode]
    return pyvips.Image.new_from_memory(samples, *size, bands, depth).copy(interpretation=space)


def _plain(image: PIL.Image.Image, mode: str) -> bytes:
    """The samples of a picture in one of `_MODES`."""
    image.load()
    if mode == "I;16":
        return np.asarray(image).clip(0, 65535).astype(np.uint16).tobytes()
    return (image if image.mode == mode else image.convert(mode)).tobytes()


def _animation(image: PIL.Image.Image, mode: str, frames: int) -> pyvips.Image:
    samples, delays = bytearray(), []
    for number in range(frames):
        image.seek(number)
        samples += _plain(image, mode)
        delays.append(round(image.info.get("duration", 0)))
    width, height = image.size
    stacked = _image(bytes(samples), (width, height * frames), mode)
    for name, value in (("page-height", height), ("n-pages", frames), ("loop", 0)):
        stacked.set_type(pyvips.GValue.gint_type, name, value)
    stacked.set_type(pyvips.GValue.array_int_type, "delay", delays)
    return stacked


def _sample_scale(image: Any) -> int | None:
    """The value of white in a binary PNM that Pillow would scale in Python, and to 8 bits if it is in colour."""
    tiles = getattr(image, "tile", ())
    return int(tiles[0][3][1]) if tiles and tiles[0][0] == "ppm" else None


def _read_samples(image: Any, path: Path, white: int) -> bytes:
    """The samples of a binary PNM, scaled so that white is the largest value of 8 or 16 bits."""
    bands = len(image.getbands())
    stored, kept = (">u2", np.uint16) if white > 255 else ("u1", np.uint8)
    samples = np.fromfile(path, stored, image.width * image.height * bands, offset=image.tile[0][2])
    if samples.size < image.width * image.height * bands:
        raise not_readable("pnm")
    most = int(np.iinfo(kept).max)
    if white != most:
        samples = (np.minimum(samples, white).astype(np.uint32) * (2 * most) + white) // (2 * white)
    return samples.astype(kept).tobytes()


def _open_heic(path: Path) -> Foreign:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedFormat(
            "The file is a HEIC photo (HEVC), and its decoder is not installed here. Install it with "
            '`uv tool install "darkroom-mcp[heic]"` and restart the server, or convert the photo to JPEG first.',
            got="heic",
        ) from error
    held = pillow_heif.open_heif(str(path), convert_hdr_to_8bit=True)
    info = dict(held.info)
    # The container's own turn is applied while decoding; the orientation in EXIF only repeats it.
    orientation = pillow_heif.set_orientation(info)
    header = _header(held, held.mode, info, orientation)
    depth = info.get("bit_depth", 8)
    header.set_type(pyvips.GValue.gint_type, "bits-per-sample", depth)
    lost = [f"{depth} bits a channel were reduced to 8."] if depth > 8 else []
    if len(held) > 1:
        lost.append(f"The file holds {len(held)} pictures; only the main one is used.")

    def decode() -> pyvips.Image:
        with _damage_told("heic"):
            photo = held.to_pillow()
            return _dressed(_image(photo.tobytes(), photo.size, photo.mode), header, ICC)

    return Foreign(header, decode, held.size, 1, lost)
