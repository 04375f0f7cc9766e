"""Writes a picture into a new file, the one encode at the end of a plan. Runs in pixel workers only.

Defaults come from measurements on photographs: JPEG 80 with optimised Huffman tables, WebP 80 at effort 2 and AVIF
50 at effort 1 are where more encoder time stops paying. Only the ICC profile is ever written beside the pixels.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from darkroom.engine.failures import explain
from darkroom.engine.fields import ANIMATION, ICC, without
from darkroom.engine.fit import Step, Watch, fit, tiles
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Output, Picture
from darkroom.engine.sniff import FORMATS
from darkroom_tools.errors import OutputTooLarge
from darkroom_tools.image import Image

__all__ = ["Encoded", "encode_image"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A written picture and what the writing adds to the reply.

    Attributes:
        output: The file.
        facts: With `target_bytes` the `quality` or number of `colours` used, `bytes`, whether the target was
            `reached` and the number of `encodes`.
        kept: Kinds of metadata that the source had and the file has.
        removed: Kinds of metadata that the source had and the file has not.
        warnings: What the format could not hold; the picture's own warnings are not repeated.
    """

    output: Output
    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_DEFAULT_QUALITY = {"jpeg": 80, "webp": 80, "avif": 50, "heif": 50}
_BEST_SEARCHED_QUALITY = 95
_ANIMATED = frozenset({"gif", "webp"})
_WITHOUT_ALPHA = frozenset({"jpeg"})
_WITHOUT_PROFILE = frozenset({"gif"})
_DEEP = frozenset({"png", "tiff"})
_LONGEST_SIDE = {"webp": 16_383}
_SAVERS: Mapping[str, str] = {
    "jpeg": "jpegsave",
    "png": "pngsave",
    "webp": "webpsave",
    "gif": "gifsave",
    "tiff": "tiffsave",
    "avif": "heifsave",
    "heif": "heifsave",
}
_FIXED: Mapping[str, Mapping[str, Any]] = {
    "jpeg": {},
    "png": {"compression": 6},
    "webp": {"effort": 2},
    "gif": {"effort": 3},
    "tiff": {"compression": "lzw", "predictor": "horizontal"},
    "avif": {"compression": "av1", "effort": 1, "bitdepth": 8},
    "heif": {"compression": "av1", "effort": 1, "bitdepth": 8},
}
# Two passes for tables of its own: a JPEG is 1 to 7 % smaller for twice the time, so only where size was the question.
_TIGHT: Mapping[str, Mapping[str, Any]] = {"jpeg": {"optimize_coding": True}}
# Beyond this a PNG is filtered without a trial, which would need its pixels in memory.
_TRIAL_BYTES = 128 * 2**20


def encode_image(image: Image, directory: Path, stem: str, limits: Limits, watch: Watch) -> Encoded:
    """Compute a picture's pixels and write them to the new file `directory/stem.<extension>`.

    The format is that of `image.encoding`, or else the source's. With `target_bytes` the best quality up to
    `encoding.quality` (95 where that is None) is searched whose file is no larger; where even the worst is, that
    one is written and `reached` is False. Pixels are never scaled to fit.

    Args:
        image: The picture.
        directory: An existing folder.
        stem: Name of the file without extension.
        limits: Limits on the output.
        watch: Called with each libvips image right before it is evaluated: attach progress and cancel to it.

    Raises:
        OutputTooLarge: The result is over a limit; nothing was computed.
        InvalidImage: The source turned out to be damaged.
        ProcessingFailed, OutOfMemory, Cancelled: The computation failed or was stopped.
        FileExistsError: There is such a file already.
    """
    warnings: list[str] = []
    format = image.encoding.format or image.source.format
    if format not in _SAVERS:
        warnings.append(f"{format.upper()} cannot be written; the result is a PNG.")
        format = "png"
    frames = image.frames if format in _ANIMATED else 1
    _check_size(image, format, frames, limits)
    kind = FORMATS[format]
    path = directory / f"{stem}.{kind.extension}"
    try:
        pixels = _suit(image, format, warnings)
        with _new_file(path) as file:
            facts = _write(pixels, format, image, file, watch)
            size = os.fstat(file).st_size
    except (pyvips.Error, MemoryError) as error:
        raise explain(error, [image]) from error
    if facts.get("reached") is False:
        warnings.append(f"No {format.upper()} of this picture is small enough; {size} bytes is the smallest found.")
    held = {"icc"} if pixels.get_typeof(ICC) and format not in _WITHOUT_PROFILE else set()
    had = image.source.metadata
    picture = Picture(format, kind.media_type, size, image.width, image.height, frames)
    return Encoded(Output(path, picture), facts, sorted(had & held), sorted(had - held), warnings)


def _check_size(image: Image, format: str, frames: int, limits: Limits) -> None:
    width, height = image.width, image.height
    pixels, most = width * height * frames, limits.output_pixels
    side, longest = max(width, height), min(limits.output_side, _LONGEST_SIDE.get(format, limits.output_side))
    if side <= longest and pixels <= most:
        return
    size = f"{width}×{height} pixels" + (f" in {frames} frames" if frames > 1 else "")
    limit = f"{longest} on the longest side for {format.upper()}" if side > longest else f"{most / 1e6:g} megapixels"
    raise OutputTooLarge(
        f"The result would have {size}; the limit is {limit}. Ask for a smaller size.",
        got=side if side > longest else pixels,
        limit=longest if side > longest else most,
    )


def _suit(image: Image, format: str, warnings: list[str]) -> pyvips.Image:
    """The pixels as the format can hold them."""
    pixels = image.pixels.copy()
    if image.frames > 1 and format not in _ANIMATED:
        warnings.append(f"{format.upper()} holds no animation; the result is the first of {image.frames} frames.")
        pixels = without(pixels.crop(0, 0, image.width, image.height), *ANIMATION)
    if format in _WITHOUT_ALPHA and pixels.hasalpha():
        warnings.append(
            f"{format.upper()} has no transparency; transparent areas now show {image.encoding.background}."
        )
        pixels = _flatten(pixels, image.encoding.background)
    if pixels.format == "ushort" and (format not in _DEEP or _palette(format, image.encoding.quality)):
        warnings.append(f"16 bits a band were reduced to 8, as {format.upper()} is written here.")
        pixels = pixels.cast("uchar", shift=True).copy(interpretation="b-w" if pixels.bands < 3 else "srgb")
    return pixels


def _flatten(pixels: pyvips.Image, background: str) -> pyvips.Image:
    """Lay pixels with alpha on a plain `#RRGGBB`."""
    colour = [int(background[at : at + 2], 16) for at in (1, 3, 5)]
    wide = pixels.format == "ushort"
    if pixels.bands == 2 and len(set(colour)) > 1:
        pixels = pixels.colourspace("rgb16" if wide else "srgb")
    if pixels.bands == 2:
        colour = colour[:1]
    return pixels.flatten(
        background=[value * 257 if wide else value for value in colour], max_alpha=65535 if wide else 255
    )


def _palette(format: str, quality: int | None) -> bool:
    return format == "png" and quality is not None and quality < 100


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """A descriptor of a file that did not exist; an exception takes the file away again."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield file
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(file)


def _write(pixels: pyvips.Image, format: str, image: Image, file: int, watch: Watch) -> dict[str, Any]:
    encoding = image.encoding
    facts: dict[str, Any] = {}
    if encoding.target_bytes is not None:
        found = fit(pixels, _ladder(format, encoding.quality), encoding.target_bytes, _to_bytes(format), watch)
        with open(file, "wb", closefd=False) as stream:
            stream.write(found.data)
        facts = found.facts
    else:
        options = _options(format, encoding.quality)
        if format == "png" and "palette" not in options:
            pixels, options["filter"] = _row_filter(pixels, watch)
        watch(pixels)
        _save(pixels, format, "_target", pyvips.Target.new_to_descriptor(file), **options)
    if format == "heif":
        _brand_as_heif(file)
    return facts


def _save(pixels: pyvips.Image, format: str, sink: str, *target: Any, **options: Any) -> Any:
    return getattr(pixels, _SAVERS[format] + sink)(*target, keep="icc", **_FIXED[format], **options)


def _to_bytes(format: str) -> Callable[[pyvips.Image, Mapping[str, Any]], bytes]:
    return lambda pixels, options: bytes(_save(pixels, format, "_buffer", **_TIGHT.get(format, {}), **options))


def _options(format: str, quality: int | None) -> dict[str, Any]:
    if format in _DEFAULT_QUALITY:
        tight = _TIGHT.get(format, {}) if quality is not None else {}
        return {"Q": quality or _DEFAULT_QUALITY[format], **tight}
    if _palette(format, quality):
        return _png_palette(8, quality or 100)
    if format == "gif" and quality is not None:
        return {"bitdepth": max(1, round(8 * quality / 100))}
    return {}


def _png_palette(bitdepth: int, quality: int) -> dict[str, Any]:
    return {"palette": True, "bitdepth": bitdepth, "Q": quality, "effort": 1}


def _ladder(format: str, quality: int | None) -> list[Step]:
    """The ways to write a format, from the smallest file to the best picture."""
    if format in _DEFAULT_QUALITY:
        best = quality or _BEST_SEARCHED_QUALITY
        return [Step({"Q": level}, {"quality": level}) for level in range(1, best + 1)]
    if format == "gif":
        deepest = _options(format, quality).get("bitdepth", 8)
        return [Step({"bitdepth": bits}, {"colours": 2**bits}) for bits in range(1, deepest + 1)]
    if format == "png":
        levels = ((1, 100), (2, 100), (4, 100), (8, 20), (8, 50), (8, 100))
        palettes = [Step(_png_palette(bits, level), {"colours": 2**bits}) for bits, level in levels]
        return palettes if _palette(format, quality) else [*palettes, Step({"filter": "all"}, {})]
    return [Step({}, {})]


def _row_filter(pixels: pyvips.Image, watch: Watch) -> tuple[pyvips.Image, str]:
    """Which PNG row filter makes the smaller file: all of them suit photographs, none suits drawings.

    Tried on tiles, which reads pixels twice, so they are computed into memory first.
    """
    if pixels.width * pixels.height * pixels.bands * (2 if pixels.format == "ushort" else 1) > _TRIAL_BYTES:
        return pixels, "all"
    watch(pixels)
    pixels = pixels.copy_memory().copy()
    sample = tiles(pixels, 128, 3)
    sizes = {name: len(_save(sample, "png", "_buffer", filter=name)) for name in ("none", "all")}
    return pixels, min(sizes, key=lambda name: sizes[name])


def _brand_as_heif(file: int) -> None:
    """Name the file type box after HEIF instead of AVIF; both are among its compatible brands."""
    if os.pread(file, 8, 4) == b"ftypavif":
        os.pwrite(file, b"mif1", 8)
