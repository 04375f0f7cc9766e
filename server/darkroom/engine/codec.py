"""Reads an untrusted file into a picture. Runs in pixel workers only.

The order is fixed: size, type by leading bytes, pre-scan of the container, header by the one loader of that type,
limits on what the header says, and only then pixels, which stay lazy until the one encode.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pyvips

from darkroom.engine.colour import normalise, read_profile
from darkroom.engine.encode import Encoded, encode_image
from darkroom.engine.failures import explain, not_readable
from darkroom.engine.fields import ICC, field
from darkroom.engine.foreign import Foreign, is_foreign, open_foreign
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Picture
from darkroom.engine.prescan import GPS_IFD, Prescan, prescan, tiff_tags
from darkroom.engine.sniff import DOCUMENTS, HEAD_BYTES, kind_of, sniff
from darkroom_tools.errors import LimitExceeded, UnsupportedFormat
from darkroom_tools.image import Image, Original, Source

__all__ = ["Encoded", "describe", "encode_image", "inspect_file", "open_file", "open_image"]

MAX_PROFILE_BYTES = 4 * 1024 * 1024
_LOADERS: Mapping[str, str] = {
    "jpeg": "jpegload",
    "png": "pngload",
    "webp": "webpload",
    "gif": "gifload",
    "tiff": "tiffload",
    "avif": "heifload",
    "heif": "heifload",
}
_ANIMATED = frozenset({"gif", "webp"})
_SAMPLE_BYTES = {"uchar": 1, "char": 1, "ushort": 2, "short": 2, "uint": 4, "int": 4, "float": 4, "double": 8}
_METADATA_FIELDS = {"exif": "exif-data", "xmp": "xmp-data", "iptc": "iptc-data", "icc": ICC}
# Without a mirror or a quarter turn that needs the last row first.
_TOP_DOWN = frozenset({1, 2})


def inspect_file(path: Path, limits: Limits) -> Picture:
    """The facts of a file by its header; of no format are pixels decoded for them.

    Raises:
        DarkroomError: As `open_image`.
    """
    format, size = _sniff(path, limits)
    if not is_foreign(format, sequence=_is_sequence(path)):
        return describe(open_file(path, limits, sequential=True))
    prescan(path, format, limits)
    with _public_errors(format):
        foreign = _admit(path, format, limits)
    return Picture(format, kind_of(format).media_type, size, *foreign.upright_size, foreign.frames)


def open_file(path: Path, limits: Limits, *, sequential: bool, name: str = "") -> Image | Original:
    """Open a file as a picture, or as it is if it is a document, which only tools made for it may parse.

    Raises:
        DarkroomError: As `open_image`.
    """
    format, size = _sniff(path, limits)
    if format in DOCUMENTS:
        return Original(format, size, path.read_bytes, name)
    return open_image(path, limits, sequential=sequential, name=name)


def _sniff(path: Path, limits: Limits) -> tuple[str, int]:
    """Format and size of a file."""
    size = path.stat().st_size
    if size > limits.file_bytes:
        what = f"The file has {size / 2**20:.1f} MiB; the limit is {limits.file_bytes / 2**20:g} MiB."
        _refuse(what, "FILE_TOO_LARGE", size, limits.file_bytes)
    with path.open("rb") as file:
        return sniff(file.read(HEAD_BYTES)), size


def open_image(path: Path, limits: Limits, *, sequential: bool, name: str = "") -> Image:
    """Open a file as an upright picture in grey or sRGB; pixels are decoded when they are first needed.

    Args:
        path: The file; its name plays no part in how it is read.
        limits: Limits on the input.
        sequential: Whether the pixels will be read once, from top to bottom. Then a large file streams through,
            unless its orientation or its frames need all of it at once.
        name: What the caller calls the file.

    Raises:
        InvalidImage: Empty or damaged.
        UnsupportedFormat: Not a type that is read.
        LimitExceeded, ImageTooComplex: Over a limit.
        OutOfMemory: Reading the header took more memory than a worker has.
    """
    format, size = _sniff(path, limits)
    if format in DOCUMENTS:
        raise UnsupportedFormat(f"The file is {format.upper()}, which is no picture yet.", got=format)
    seen = prescan(path, format, limits)
    with _public_errors(format):
        return _open(Original(format, size, path.read_bytes, name), path, seen, limits, sequential)


@contextmanager
def _public_errors(format: str) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise explain(error, ()) from error
    except pyvips.Error as error:
        meaning = explain(error, ())
        raise (meaning if meaning.code == "OUT_OF_MEMORY" else not_readable(format)) from error


def describe(image: Image | Original) -> Picture:
    """Facts of the file that a picture was opened from; sizes are those of an upright frame, and none of a document."""
    if isinstance(image, Original):
        return Picture(image.format, kind_of(image.format).media_type, image.size)
    kind = kind_of(image.source.format)
    return Picture(image.source.format, kind.media_type, image.source.bytes, image.width, image.height, image.frames)


def _open(original: Original, path: Path, seen: Prescan, limits: Limits, sequential: bool) -> Image:
    format = original.format
    sequence = _is_sequence(path)
    if is_foreign(format, sequence=sequence):
        return _open_foreign(original, path, limits)
    header = _load(path, format, access="sequential")
    pages = field(header, "n-pages", 1)
    frames = pages if format in _ANIMATED else 1
    _check_header(header, frames, limits)
    source = _source(header, original, seen)
    warnings = _losses(format, max(pages, seen.frames), frames, sequence=sequence, gain_map=seen.gain_map)
    streams = sequential and frames == 1 and source.orientation in _TOP_DOWN

    def decode(scale: float) -> pyvips.Image:
        return _decode(path, source, frames, streams, scale, [])

    pixels = _upright(header, source, 1, warnings) if streams else _decode(path, source, frames, streams, 1.0, warnings)
    reload = decode if frames == 1 and format in _REDUCTIONS else None
    return Image(pixels, replace(source, pixels=pixels), warnings=tuple(warnings), reload=reload)


def _admit(path: Path, format: str, limits: Limits) -> Foreign:
    """A file that libvips does not read, its header held against the limits."""
    foreign = open_foreign(path, format)
    _check_header(foreign.header, foreign.frames, limits)
    return foreign


def _open_foreign(original: Original, path: Path, limits: Limits) -> Image:
    foreign = _admit(path, original.format, limits)
    source = _source(foreign.header, original, Prescan())
    warnings = list(foreign.warnings)
    pixels = _upright(foreign.decode(), source, foreign.frames, warnings)
    return Image(pixels, replace(source, pixels=pixels), warnings=tuple(warnings))


def _is_sequence(path: Path) -> bool:
    """Whether the file type box of an AVIF or HEIF file says that it is an animation."""
    with path.open("rb") as file:
        return file.read(12)[8:] in (b"avis", b"msf1")


def _load(path: Path, format: str, **options: Any) -> pyvips.Image:
    image: pyvips.Image = getattr(pyvips.Image, _LOADERS[format])(str(path), fail_on="error", **options)
    return image


def _check_header(header: pyvips.Image, frames: int, limits: Limits) -> None:
    if header.format not in _SAMPLE_BYTES:
        raise UnsupportedFormat("The pixels are complex numbers. Send an image of 8 or 16 bits a band.", got="complex")
    width, height, bands = header.width, header.height, header.bands
    pixels = width * height * frames
    decoded = pixels * bands * _SAMPLE_BYTES[header.format]
    profile = len(field(header, ICC, b""))
    size = f"{width}×{height} pixels" + (f" in {frames} frames" if frames > 1 else "")
    large = "IMAGE_TOO_LARGE"
    for got, limit, code, what, most in (
        (frames, limits.frames, "TOO_MANY_FRAMES", f"{frames} frames", f"{limits.frames}"),
        (max(width, height), limits.side, large, size, f"{limits.side} on the longest side"),
        (
            pixels,
            limits.pixels,
            large,
            f"{size} ({pixels / 1e6:.4g} megapixels)",
            f"{limits.pixels / 1e6:g} megapixels",
        ),
        (bands, limits.bands, large, f"{bands} bands", f"{limits.bands}"),
        (decoded, limits.decoded_bytes, large, f"{decoded / 1e6:.4g} MB decoded", f"{limits.decoded_bytes / 1e6:g} MB"),
        (profile, MAX_PROFILE_BYTES, "METADATA_TOO_LARGE", f"a colour profile of {profile} bytes", "4 MiB"),
    ):
        if got > limit:
            _refuse(f"The image has {what}; the limit is {most}.", code, got, limit)


def _refuse(what: str, code: str, got: int, limit: int) -> NoReturn:
    raise LimitExceeded(f"{what} Make it smaller before sending it.", code=code, got=got, limit=limit)


def _source(header: pyvips.Image, original: Original, seen: Prescan) -> Source:
    orientation = field(header, "orientation", 1)
    metadata = {name for name, stored in _METADATA_FIELDS.items() if header.get_typeof(stored)} | seen.metadata
    if GPS_IFD in tiff_tags(field(header, "exif-data", b"").removeprefix(b"Exif\0\0")):
        metadata.add("gps")
    profile = None
    if "icc" in metadata:
        facts = read_profile(field(header, ICC))
        profile = facts.description if facts is not None else "damaged profile"
    return Source(
        original.format,
        original.size,
        header,
        orientation if orientation in range(1, 9) else 1,
        profile,
        frozenset(metadata),
        original,
    )


def _losses(format: str, pages: int, frames: int, *, sequence: bool, gain_map: bool) -> list[str]:
    """Say what of the file will not be in the picture."""
    warnings = []
    if pages > frames:
        parts = "frames" if format == "png" else "pages"
        warnings.append(f"The file has {pages} {parts}; only the first is used.")
    elif sequence:
        warnings.append("The file is an image sequence; only its first frame is used.")
    if gain_map:
        warnings.append("The HDR gain map was dropped; the picture is its standard-range version.")
    return warnings


def _decode(path: Path, source: Source, frames: int, streams: bool, scale: float, warnings: list[str]) -> pyvips.Image:
    """The upright pixels in grey or sRGB, where `scale` allows from a cheaper decode at a fraction of the size."""
    options: dict[str, Any] = {"access": "sequential"} if streams else {"memory": True}
    if frames > 1:
        options["n"] = -1
    elif source.format in _REDUCTIONS:
        options |= _REDUCTIONS[source.format](scale, min(source.header.width, source.header.height))
    return _upright(_load(path, source.format, **options), source, frames, warnings)


def _upright(loaded: pyvips.Image, source: Source, frames: int, warnings: list[str]) -> pyvips.Image:
    pixels = normalise(loaded, warnings)
    if frames > 1 and source.orientation != 1:
        return Image(pixels, source).map_frames(lambda frame: frame.autorot()).pixels
    return pixels.autorot()


def _jpeg_reduction(scale: float, shortest: int) -> dict[str, Any]:
    """Block shrink while decoding; it leaves at least a factor of two to the final resize, which is the sharper one."""
    possible = (shrink for shrink in (2, 4, 8) if shrink * 2 * scale <= 1 and shrink <= shortest)
    return {"shrink": max(possible, default=1)}


def _webp_reduction(scale: float, shortest: int) -> dict[str, Any]:
    return {"scale": min(1.0, max(2 * scale, 2 / shortest))}


_REDUCTIONS: Mapping[str, Callable[[float, int], dict[str, Any]]] = {"jpeg": _jpeg_reduction, "webp": _webp_reduction}
"""Options of the loader for a scale and a shortest side: no side may vanish, which libvips refuses."""
