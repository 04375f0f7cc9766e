"""Image Info."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict

from darkroom_tools.base import Image, Report, tool
from darkroom_tools.kit.density import pixels_per_inch
from darkroom_tools.kit.metadata.reading import capped, comments, read_exif
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.kit.untrusted import UntrustedText
from darkroom_tools.native import pyvips


class Channel(BaseModel):
    """Statistics of one band."""

    model_config = ConfigDict(frozen=True)

    min: float
    max: float
    mean: float
    stdev: float


class ImageInfo(Report):
    """Facts of the file as it came; width and height as the picture is seen."""

    file_size: int
    """Bytes"""
    width: int
    height: int
    format: str
    channels: int
    has_alpha: bool
    color_space: str
    density: int | None = None
    """Pixels per inch"""
    is_progressive: bool
    orientation: int
    """EXIF orientation 1 to 8"""
    has_profile: bool
    has_exif: bool
    has_icc: bool
    has_xmp: bool
    bit_depth: int
    pages: int
    """Frames of an animation too"""
    duration: int | None = None
    """Milliseconds of an animation"""
    loop: int | None = None
    """How often an animation plays; 0 is for ever"""
    histogram: list[Channel]
    exif: dict[str, Any]
    untrusted_text: UntrustedText | None = None


@tool(title="Image Info", sequential=True)
def info(image: Image) -> ImageInfo:
    """Facts of a picture: size, format, colour, EXIF, statistics per channel."""
    header = image.source.header
    held = image.source.metadata
    block = header.get("exif-data") if header.get_typeof("exif-data") else None
    exif = read_exif(block if isinstance(block, bytes) else b"")
    texts = _texts(header)
    profile = [("ICC profile", image.source.profile)] if image.source.profile else []
    untrusted = capped([*exif.texts.items(), *comments(texts), *profile])
    return ImageInfo(
        file_size=image.source.bytes,
        width=image.width,
        height=image.height,
        format=image.source.format,
        channels=header.bands,
        has_alpha=bool(header.hasalpha()),
        color_space=str(header.interpretation),
        density=_density(header),
        is_progressive=bool(_whole(header, "interlaced", 0)),
        orientation=image.source.orientation,
        has_profile="icc" in held,
        has_exif="exif" in held,
        has_icc="icc" in held,
        has_xmp="xmp" in held,
        bit_depth=_bit_depth(header),
        pages=_whole(header, "n-pages", 1),
        duration=_duration(image),
        loop=_whole(header, "loop", 0) if image.frames > 1 else None,
        histogram=_statistics(first_frame(image).pixels),
        exif=exif.facts,
        untrusted_text=UntrustedText(fields=untrusted) if untrusted else None,
    )


def _texts(header: "pyvips.Image") -> dict[str, str]:
    """The text fields of the file by name."""
    try:
        names = header.get_fields()
    except UnicodeDecodeError:
        # pyvips reads the names of all fields as UTF-8, but the keyword of a PNG text chunk is Latin-1.
        return {}
    return {name: str(header.get(name)) for name in names if header.get_typeof(name) == pyvips.GValue.refstr_type}


def _density(header: "pyvips.Image") -> int | None:
    """Whole pixels per inch, None where the file says nothing."""
    density = pixels_per_inch(header)
    return None if density is None else round(density)


def _bit_depth(header: "pyvips.Image") -> int:
    """Bits a channel as stored in the file."""
    depths = {"ushort": 16, "short": 16, "uint": 32, "int": 32, "float": 32, "double": 64}
    return _whole(header, "bits-per-sample", depths.get(str(header.format), 8))


def _duration(image: Image) -> int | None:
    """How long an animation takes to play once, None for a still."""
    if image.frames == 1 or not image.pixels.get_typeof("delay"):
        return None
    delays: Any = image.pixels.get("delay")
    return int(sum(delays[: image.frames]))


def _whole(header: "pyvips.Image", name: str, otherwise: int) -> int:
    """A header field that holds a whole number."""
    value = header.get(name) if header.get_typeof(name) else otherwise
    return value if isinstance(value, int) else otherwise


def _statistics(pixels: "pyvips.Image") -> list[Channel]:
    """Of the first frame, at the picture's own depth; alpha is a channel too."""
    rows = pixels.stats().numpy()[1:]
    # Columns of libvips' table: minimum, maximum, sum, sum of squares, mean, deviation; one pixel deviates by NaN.
    return [
        Channel(min=row[0], max=row[1], mean=round(row[4], 2), stdev=0.0 if math.isnan(row[5]) else round(row[5], 2))
        for row in rows.tolist()
    ]
