"""Writes a picture into a new file, the one encode at the end of a plan. Runs in pixel workers only.

Beside the pixels only the ICC profile is written, unless `Encoding` asks for metadata.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyvips

from darkroom.engine.failures import explain
from darkroom.engine.fields import ANIMATION, ICC, without
from darkroom.engine.fit import Watch, fit, tiles
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Output, Picture
from darkroom.engine.restamp import KEEP_PROFILE, Stamp, anew, in_place, stamp
from darkroom.engine.savers import (
    SAVERS,
    WITHOUT_PROFILE,
    has_palette,
    ladder,
    options,
    row_filter,
    save,
    to_bytes,
)
from darkroom.engine.sniff import FORMATS
from darkroom_tools.errors import OutputTooLarge
from darkroom_tools.image import Encoding, Format, Image
from darkroom_tools.kit.density import JFIF_BYTES, stating_density, with_density
from darkroom_tools.kit.format_rules import ANIMATED, LONGEST_SIDE, OPAQUE, can_hold, kept_format
from darkroom_tools.kit.metadata.changes import Edit
from darkroom_tools.kit.metadata.rewrite import Rewritten, rewrite

__all__ = ["Encoded", "encode_image"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A written picture and what the writing adds to the reply.

    Attributes:
        output: The file.
        facts: With `target_bytes` the `quality` or number of `colours` used, `bytes`, whether the target was
            `reached` and the number of `encodes`; where nothing may grow the sizes before and after; of edited
            metadata the blocks that are `written`.
        kept: Kinds of metadata that the source had and the file has.
        removed: Kinds of metadata that the source had and the file has not.
        warnings: What the format could not hold; the picture's own warnings are not repeated.
    """

    output: Output
    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_DEEP = frozenset({"png", "tiff"})
# Formats are compared on so many tiles of that side, and a picture of no more pixels as a whole.
_TILE, _TILES_ACROSS = 128, 4
_PIXELS_OF_TILES = (_TILE * _TILES_ACROSS) ** 2
# A drawing has fewer bits a pixel: the seams between tiles would decide, and all of it is encoded in no time.
_PLAIN_BITS = 0.25
# What the wrapping of three blocks of metadata takes at most.
_WRAPPING = 128


def encode_image(image: Image, directory: Path, stem: str, limits: Limits, watch: Watch) -> Encoded:
    """Compute a picture's pixels and write them to the new file `directory/stem.<extension>`.

    The format is that of `image.encoding`, or else the source's. With `target_bytes` the best quality up to
    `encoding.quality` (95 where that is None) is searched whose file is no larger; where even the worst is, that
    one is written and `reached` is False. Pixels are never scaled to fit. Where only metadata is to change, the
    file's own bytes are written with other metadata, if its format and state allow.

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
    encoding = image.encoding
    if encoding.metadata:
        _check_size(image, image.source.format, image.frames, limits)
        ready = in_place(image)
        if ready is not None:
            return _ready(ready, image, directory, stem)
    rival = _rival(image)
    warnings: list[str] = list(encoding.losses)
    image = _settled(anew(image, warnings), watch)
    encoded = _encoded(image, directory, stem, limits, watch, warnings)
    if not encoding.never_larger:
        return encoded
    size = encoded.output.picture.bytes
    if rival is not None and len(rival.data) <= size:
        encoded.output.path.unlink()
        encoded = _ready(rival, replace(image, encoding=encoding), directory, stem)
        encoded.facts["originalKept"] = True
    elif size > image.source.bytes:
        encoded.warnings.append(f"The {encoded.output.picture.format.upper()} is larger than the original.")
    return replace(encoded, facts={**_sizes(image.source.bytes, encoded.output.picture.bytes), **encoded.facts})


def _ready(rewritten: Rewritten, image: Image, directory: Path, stem: str) -> Encoded:
    """Write a file that is there already, with its pixels as they were."""
    format = image.source.format
    kind = FORMATS[format]
    path = directory / f"{stem}.{kind.extension}"
    with _new_file(path) as file, open(file, "wb", closefd=False) as stream:
        stream.write(rewritten.data)
    picture = Picture(format, kind.media_type, len(rewritten.data), image.width, image.height, image.frames)
    facts = _written_facts(image.encoding, rewritten.after)
    had, held = rewritten.before, rewritten.after
    # A gain map stands among the other pictures behind the end of a JPEG.
    lost = image.encoding.losses if format == "jpeg" and "other" in had - held else ()
    warnings = [*lost, *rewritten.warnings]
    return Encoded(Output(path, picture), facts, sorted(had & held), sorted(had - held), warnings)


def _written_facts(encoding: Encoding, held: frozenset[str]) -> dict[str, Any]:
    edited = any(isinstance(change, Edit) for change in encoding.metadata)
    return {"written": sorted(held & {"exif", "xmp", "iptc"})} if edited else {}


def _rival(image: Image) -> Rewritten | None:
    """The source's own bytes with the wanted metadata, where they may be the answer because nothing may grow."""
    encoding = image.encoding
    if not encoding.never_larger or encoding.format not in (None, image.source.format):
        return None
    return in_place(replace(image, encoding=Encoding(metadata=encoding.metadata)))


def _sizes(before: int, after: int) -> dict[str, Any]:
    return {"originalSize": before, "processedSize": after, "savedPercent": round(100 * (1 - after / before), 1)}


def _settled(image: Image, watch: Watch) -> Image:
    """The picture with the one format of the candidates that has the smallest file; computed into memory."""
    encoding = image.encoding
    able = [format for format in encoding.formats if _holds(format, image)] or encoding.formats[:1]
    if not able:
        return image
    chosen = replace(image, encoding=_in_format(encoding, able[0]))
    if len(able) == 1:
        return chosen
    try:
        pixels = image.pixels.copy()
        watch(pixels)
        pixels = pixels.copy_memory()
        best = _smallest(replace(image, pixels=pixels), able)
    except (pyvips.Error, MemoryError) as error:
        raise explain(error, [image.source]) from error
    return replace(image, pixels=pixels, encoding=_in_format(encoding, best))


def _smallest(image: Image, able: Sequence[Format]) -> Format:
    """The format with the smallest file: judged by tiles of a large picture, unless it is quickly encoded."""
    pixels = image.pixels
    large = pixels.width * pixels.height > _PIXELS_OF_TILES
    sample = tiles(pixels, _TILE, _TILES_ACROSS) if large else pixels
    sizes = {format: _trial(replace(image, pixels=sample), format) for format in able}
    if large and 8 * min(sizes.values()) < _PLAIN_BITS * _PIXELS_OF_TILES:
        sizes = {format: _trial(image, format) for format in able}
    return min(sizes, key=lambda format: sizes[format])


def _holds(format: Format, image: Image) -> bool:
    """Whether a format can hold the picture without loss of alpha or frames."""
    return can_hold(format, image.width, image.height, image.frames, alpha=image.has_alpha)


def _in_format(encoding: Encoding, format: Format) -> Encoding:
    """The encoding settled on one of its candidates; a PNG among them is lossless."""
    quality = None if format == "png" else encoding.quality
    return replace(encoding, format=format, formats=(), quality=quality)


def _trial(image: Image, format: Format) -> int:
    """Bytes of a picture in a format."""
    pixels, chosen = _suit(image, format, []), options(format, _in_format(image.encoding, format))
    filters = ({"filter": "none"}, {"filter": "all"}) if format == "png" else ({},)
    return min(len(save(pixels, format, "_buffer", keep=0, **chosen, **extra)) for extra in filters)


def _encoded(image: Image, directory: Path, stem: str, limits: Limits, watch: Watch, warnings: list[str]) -> Encoded:
    """Encode the pixels."""
    format = image.encoding.format or _own_format(image, warnings)
    frames = image.frames if format in ANIMATED else 1
    _check_size(image, format, frames, limits)
    kind = FORMATS[format]
    path = directory / f"{stem}.{kind.extension}"
    try:
        made = stamp(_suit(image, format, warnings), format, image, warnings)
        with _new_file(path) as file:
            facts = _write(made, format, image, file, watch)
            size = os.fstat(file).st_size
    except (pyvips.Error, MemoryError) as error:
        raise explain(error, [image.source]) from error
    if facts.get("reached") is False:
        warnings.append(f"No {format.upper()} of this picture is small enough; {size} bytes is the smallest found.")
    if made.keep & KEEP_PROFILE and made.pixels.get_typeof(ICC) and format not in WITHOUT_PROFILE:
        made.held.add("icc")
    had, held = image.source.metadata, frozenset(made.held)
    picture = Picture(format, kind.media_type, size, image.width, image.height, frames)
    facts |= _written_facts(image.encoding, held)
    return Encoded(Output(path, picture), facts, sorted(had & held), sorted(had - held), warnings)


def _own_format(image: Image, warnings: list[str]) -> str:
    """The format in which a picture is written that was not asked for in another."""
    own = image.source.format
    written = kept_format(own, image.frames)
    if image.frames > 1 and written != own and own in SAVERS:
        warnings.append(f"An animated {own.upper()} cannot be written; the result is an animated WebP.")
    elif written != own:
        warnings.append(f"{own.upper()} cannot be written; the result is a {written.upper()}.")
    return written


def _check_size(image: Image, format: str, frames: int, limits: Limits) -> None:
    width, height = image.width, image.height
    pixels, most = width * height * frames, limits.output_pixels
    side, longest = max(width, height), min(limits.output_side, LONGEST_SIDE.get(format, limits.output_side))
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
    if image.encoding.density is not None:
        pixels = with_density(pixels, image.encoding.density)
    if image.frames > 1 and format not in ANIMATED:
        warnings.append(f"{format.upper()} holds no animation; the result is the first of {image.frames} frames.")
        pixels = without(pixels.crop(0, 0, image.width, image.height), *ANIMATION)
    if format in OPAQUE and pixels.hasalpha():
        warnings.append(
            f"{format.upper()} has no transparency; transparent areas now show {image.encoding.background}."
        )
        pixels = _flatten(pixels, image.encoding.background)
    if pixels.format == "ushort" and (format not in _DEEP or has_palette(format, image.encoding.quality)):
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


def _write(made: Stamp, format: str, image: Image, file: int, watch: Watch) -> dict[str, Any]:
    encoding, pixels = image.encoding, made.pixels
    stated = encoding.density if format == "jpeg" else None
    facts: dict[str, Any] = {}
    if encoding.target_bytes is not None:
        room = encoding.target_bytes - (made.carried.size + _WRAPPING if made.carried else 0)
        room -= JFIF_BYTES if stated else 0
        found = fit(pixels, ladder(format, encoding), max(1, room), to_bytes(format, made.keep), watch)
        _replace(file, found.data)
        facts = found.facts
    else:
        chosen = options(format, encoding)
        if format == "png" and "palette" not in chosen:
            pixels, chosen["filter"] = row_filter(pixels, watch)
        watch(pixels)
        save(pixels, format, "_target", pyvips.Target.new_to_descriptor(file), keep=made.keep, **chosen)
    if format == "heif":
        _brand_as_heif(file)
    if made.carried is not None:
        rewritten = rewrite(os.pread(file, os.fstat(file).st_size, 0), format, (), made.carried)
        made.held |= rewritten.after - {"icc"}
        _replace(file, rewritten.data)
    if stated is not None:
        _replace(file, stating_density(os.pread(file, os.fstat(file).st_size, 0), stated))
        facts |= {"bytes": os.fstat(file).st_size} if "bytes" in facts else {}
    return facts


def _replace(file: int, data: bytes) -> None:
    """Make a file hold these bytes."""
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "wb", closefd=False) as stream:
        stream.write(data)


def _brand_as_heif(file: int) -> None:
    """Name the file type box after HEIF instead of AVIF; both are among its compatible brands."""
    if os.pread(file, 8, 4) == b"ftypavif":
        os.pwrite(file, b"mif1", 8)
