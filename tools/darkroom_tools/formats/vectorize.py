"""Image to SVG."""

import re
from dataclasses import replace
from typing import Annotated, Final, Literal

from pydantic import Field

from darkroom_tools.base import Encoding, File, Image, Run, Settings, tool
from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.pixels import as_array, as_color, first_frame, premultiplied, resized
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape as FileShape
from darkroom_tools.shape import Shapes

LONGEST_SIDE: Final = 1024
# Tracing cannot be stopped. Its time grows with the neighbours that differ, some ten seconds for a million of them.
MOST_EDGES: Final = 250_000
# The tracer counts the shapes of a drawing in 16 bits.
MOST_RUNS: Final = 60_000
MOST_PRECISE: Final = 8
OPAQUE: Final = 128
DECIMALS: Final = 2
LARGE: Final = 1_000_000
PATH: Final = re.compile(r'<path d="([MLCZ\d .,e-]*)" fill="(#[0-9A-Fa-f]{6})" transform="translate\(([\d.,-]+)\)"/>')


Shape = tuple[str, str, str]
"""Outline, colour and place of a filled path."""


class Vectorize(Settings):
    """How a picture is traced."""

    color_mode: Literal["bw", "color"] = "bw"
    """bw traces dark shapes in black"""

    threshold: Annotated[int, Field(ge=0, le=255)] = 128
    """bw: darker is ink"""

    color_precision: Annotated[int, Field(ge=1, le=16)] = 6
    """color: bits a channel, 8 at most"""

    layer_difference: Unpublished[Annotated[int, Field(ge=1, le=128)]] = 6

    filter_speckle: Annotated[int, Field(ge=1, le=256)] = 4
    """Drops spots smaller than this, pixels"""

    path_mode: Literal["none", "polygon", "spline"] = "spline"
    """none keeps pixel steps"""

    corner_threshold: Unpublished[Annotated[int, Field(ge=0, le=180)]] = 60

    invert: bool = False
    """bw: light is ink"""


def _shape(_: Vectorize, __: Shapes) -> FileShape:
    return FileShape(0, 0, format="svg")


@tool(title="Image to SVG", example={"colorMode": "color", "filterSpeckle": 8}, shape=_shape)
def vectorize(image: Image, settings: Vectorize, run: Run) -> File:
    """Trace a logo or drawing into an SVG of filled shapes."""
    width, height = image.width, image.height
    pixels, shapes = _prepared(first_frame(image), settings)
    run.progress(0.2, "Tracing")
    ink = _shapes(image, pixels, settings, run, binary=settings.color_mode == "bw")
    clip = _shapes(image, shapes, settings, run, binary=True) if shapes is not None else None
    data = _document(ink, clip, (width, height), (pixels.width, pixels.height)).encode()
    facts = {"paths": len(ink), "tracedWidth": pixels.width, "tracedHeight": pixels.height}
    return File(data, "image/svg+xml", "svg", facts, tuple(_warnings(image, pixels, ink, len(data), settings)))


def _prepared(image: Image, settings: Vectorize) -> "tuple[pyvips.Image, pyvips.Image | None]":
    """What is traced, simple enough to be traced in time; in colour also what is not transparent, as black on white."""
    side = min(1.0, LONGEST_SIDE / max(image.width, image.height))
    pixels = _scaled(image.reduced(side), image.width * side, image.height * side)
    binary = settings.color_mode == "bw"
    most = MOST_RUNS if binary else MOST_EDGES
    while True:
        plain, shapes = (_drawing(pixels, settings), None) if binary else _colours(pixels)
        found = _detail(plain, settings)
        if found <= most:
            return plain, shapes
        shrink = 0.98 * (most / found) ** 0.5
        pixels = _scaled(pixels, pixels.width * shrink, pixels.height * shrink)


def _scaled(pixels: "pyvips.Image", width: float, height: float) -> "pyvips.Image":
    """8-bit sRGB pixels of about that size, in memory."""
    size = max(1, rounded(width)), max(1, rounded(height))
    colour = as_color(pixels)
    if colour.format == "ushort":
        colour = colour.cast("uchar", shift=True).copy(interpretation="srgb")
    return premultiplied(colour, lambda p: resized(p, *size)).copy_memory()


def _drawing(pixels: "pyvips.Image", settings: Vectorize) -> "pyvips.Image":
    """Ink black, all else white; what is transparent is no ink."""
    grey = pixels.extract_band(0, n=3).colourspace("b-w")
    ink = grey >= settings.threshold if settings.invert else grey < settings.threshold
    if pixels.hasalpha():
        ink = ink & (pixels[3] >= OPAQUE)
    return ink.ifthenelse(0, 255).cast("uchar").copy(interpretation="b-w").copy_memory()


def _colours(pixels: "pyvips.Image") -> "tuple[pyvips.Image, pyvips.Image | None]":
    colour = pixels.extract_band(0, n=3).copy(interpretation="srgb")
    if not pixels.hasalpha():
        return colour.copy_memory(), None
    seen = (pixels[3] >= OPAQUE).copy_memory()
    if seen.min() == 255:
        return colour.copy_memory(), None
    flat = seen.ifthenelse(colour, 255).copy(interpretation="srgb").copy_memory()
    return flat, seen.invert().copy(interpretation="b-w").copy_memory()


def _detail(pixels: "pyvips.Image", settings: Vectorize) -> int:
    """Neighbours in a row that differ at the wanted precision; in a drawing, starts of ink."""
    array = as_array(pixels)
    if pixels.bands == 1:
        return int(((array[:, 1:] == 0) & (array[:, :-1] != 0)).sum() + (array[:, 0] == 0).sum())
    array = array >> (8 - min(settings.color_precision, MOST_PRECISE))
    return int((array[:, 1:] != array[:, :-1]).any(axis=-1).sum())


def _shapes(image: Image, pixels: "pyvips.Image", settings: Vectorize, run: Run, *, binary: bool) -> list[Shape]:
    """What the tracer finds, from the bottom up."""
    import vtracer

    pixels = pixels.copy()
    pixels.remove("icc-profile-data")
    still = replace(image, pixels=pixels, encoding=Encoding(format="png"), reload=None)
    try:
        svg = vtracer.convert_raw_image_to_svg(
            run.encode(still).data,
            img_format="png",
            colormode="binary" if binary else "color",
            mode=settings.path_mode,
            filter_speckle=settings.filter_speckle,
            color_precision=min(settings.color_precision, MOST_PRECISE),
            layer_difference=settings.layer_difference,
            corner_threshold=settings.corner_threshold,
            path_precision=DECIMALS,
        )
    except BaseException as error:  # a panic of the tracer is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise ProcessingFailed(
            "The picture could not be traced. Try a larger 'filterSpeckle', or make the picture smaller first."
        ) from error
    return PATH.findall(svg)


def _document(
    ink: list[Shape],
    clip: list[Shape] | None,
    size: tuple[int, int],
    traced: tuple[int, int],
) -> str:
    """An SVG of the picture's own size, whatever the size at which it was traced."""
    scale = f"scale({size[0] / traced[0]:.6g} {size[1] / traced[1]:.6g})"
    box = f'width="{size[0]}" height="{size[1]}" viewBox="0 0 {size[0]} {size[1]}"'
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<svg xmlns="http://www.w3.org/2000/svg" {box}>']
    if clip is not None:
        lines += ['<clipPath id="seen">', *(_path(outline, None, place) for outline, _, place in clip), "</clipPath>"]
    lines.append(f'<g transform="{scale}"' + (' clip-path="url(#seen)">' if clip is not None else ">"))
    return "\n".join([*lines, *(_path(*shape) for shape in ink), "</g>", "</svg>", ""])


def _path(outline: str, colour: str | None, place: str) -> str:
    fill = f' fill="{colour}"' if colour else ""
    return f'<path d="{outline.strip()}"{fill} transform="translate({place})"/>'


def _warnings(image: Image, pixels: "pyvips.Image", ink: list[Shape], size: int, settings: Vectorize) -> list[str]:
    warnings = []
    if max(pixels.width, pixels.height) < min(LONGEST_SIDE, max(image.width, image.height)):
        warnings.append(f"The picture is so detailed that it was traced at {pixels.width}×{pixels.height} pixels.")
    if not ink:
        warnings.append("No shape was found. Try another 'threshold', 'invert', or a smaller 'filterSpeckle'.")
    if size > LARGE:
        less = " or a smaller 'colorPrecision'" if settings.color_mode == "color" else ""
        warnings.append(f"The SVG has {size / 1e6:.1f} MB: a larger 'filterSpeckle'{less} makes it simpler.")
    return warnings
