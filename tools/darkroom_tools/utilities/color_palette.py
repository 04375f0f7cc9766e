"""Color Palette."""

import math
from typing import Annotated, Literal

from pydantic import Field

from darkroom_tools.base import Image, Report, Settings, tool
from darkroom_tools.kit.palette import main_colors
from darkroom_tools.kit.pixels import as_array, as_color
from darkroom_tools.native import np

SAMPLES = 65_536
"""About as many pixels are looked at: smaller pictures whole, larger ones on a grid."""


class ColorPalette(Settings):
    """How many colours, and how they are written."""

    count: Annotated[int, Field(ge=1, le=32)] = 8
    """At most"""

    format: Literal["hex", "rgb"] = "hex"
    """#RRGGBB or [r, g, b]"""


class Palette(Report):
    """The most frequent colour first; wholly or mostly transparent pixels do not count."""

    colors: list[str] | list[tuple[int, int, int]]
    count: int
    """Fewer than asked if the picture has no more that differ visibly"""
    shares: list[float]
    """Of the visible pixels, 0..1, by colour"""


@tool(title="Color Palette", sequential=True, example={"count": 5})
def color_palette(image: Image, settings: ColorPalette) -> Palette:
    """Find a picture's main colours and the share of each."""
    swatches = main_colors(_sample(image), settings.count)
    found = [(swatch.red, swatch.green, swatch.blue) for swatch in swatches]
    return Palette(
        colors=found if settings.format == "rgb" else [f"#{bytes(color).hex().upper()}" for color in found],
        count=len(found),
        shares=[round(swatch.share, 4) for swatch in swatches],
    )


def _sample(image: Image) -> "np.ndarray":
    """Visible pixels as N × 3, of all frames: evenly spread and unmixed, so that flat colours stay exact."""
    size = image.pixels.width * image.pixels.height
    pixels = image.reduced(min(1.0, math.sqrt(SAMPLES / size)))
    every = max(1, round(math.sqrt(pixels.width * pixels.height / SAMPLES)))
    # A side shorter than the step keeps all its pixels.
    pixels = pixels.subsample(min(every, pixels.width), min(every, pixels.height))
    pixels = as_color(pixels).colourspace("srgb")
    values = as_array(pixels).reshape(-1, pixels.bands)
    return values[values[:, 3] >= 128, :3] if pixels.hasalpha() else values
