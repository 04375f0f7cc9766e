"""Replace Color."""

import functools
import math
import operator
from typing import Annotated, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.color import Color, Rgba, ink, parse_color
from darkroom_tools.kit.pixels import color_bands, masked, takes_alpha, white_level
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import np, pyvips
from darkroom_tools.shape import Shape, Shapes


class ReplaceColor(Settings):
    """What is found, and what takes its place."""

    target_color: Color = "#FF0000"
    """Colour to find, #RRGGBB"""

    replacement_color: Color = "#00FF00"
    """#RRGGBB"""

    source_color: Unpublished[Color | None] = None
    """Colour to find; then `targetColor` is the new colour"""

    tolerance: Annotated[float, Field(ge=0, le=255)] = 30
    """RGB distance that still matches"""

    invert: bool = False
    """Replace everything else"""

    make_transparent: bool = False
    """Instead of the replacement"""

    @model_validator(mode="after")
    def _one_new_color(self) -> Self:
        if self.source_color is not None and {"target_color", "replacement_color"} <= self.model_fields_set:
            raise ValueError(
                "With 'sourceColor' to find, 'targetColor' and 'replacementColor' both name the new colour: give one."
            )
        return self

    @property
    def found(self) -> Rgba:
        """The colour to find."""
        return parse_color(self.source_color or self.target_color)

    @property
    def new(self) -> Rgba:
        """The colour that takes its place."""
        other = self.source_color is not None and "target_color" in self.model_fields_set
        return parse_color(self.target_color if other else self.replacement_color)


def _shape(settings: ReplaceColor, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    if not settings.make_transparent:
        return image
    return image.with_alpha() if image.takes_alpha else image.with_alpha().encoded_as("png")


@tool(
    title="Replace Color",
    sequential=True,
    example={"targetColor": "#FFFFFF", "replacementColor": "#F4E8D0", "tolerance": 40},
    shape=_shape,
)
def replace_color(image: Image, settings: ReplaceColor) -> Image:
    """Replace one colour and those like it by another, or by transparency.

    A pixel matches if the Euclidean distance of its red, green and blue (0..255) is at most the tolerance.
    """
    pixels = image.pixels
    match = _matching(pixels, settings.found, settings.tolerance)
    hit = match.invert() if settings.invert else match
    if settings.make_transparent:
        cut = image.with_pixels(masked(pixels, hit.invert()))
        if takes_alpha(image):
            return cut
        return cut.encode_as(format="png").warn(
            f"Written as PNG: {image.encoding.format or image.source.format} cannot hold transparency."
        )
    pixels, color = ink(pixels, settings.new)
    bands = color_bands(pixels)
    # Bits that the mask takes from one or the other: half the time of a choice pixel by pixel.
    chosen = hit if pixels.format == "uchar" else (hit * 257).cast("ushort")
    painted = (pixels.extract_band(0, n=bands) & chosen.invert()) | (chosen & color)
    painted = painted.bandjoin(pixels[bands]) if pixels.hasalpha() else painted
    return image.with_pixels(painted.copy(interpretation=pixels.interpretation))


def _matching(pixels: "pyvips.Image", color: Rgba, tolerance: float) -> "pyvips.Image":
    """255 where a pixel is within the tolerance, 0 elsewhere; exact, since squares are looked up and summed whole."""
    white = white_level(pixels)
    scale = white // 255
    limit = (tolerance * scale) ** 2
    levels = np.arange(white + 1, dtype=np.float64)
    squares = np.stack([(levels - channel * scale) ** 2 for channel in color[:3]])
    if color_bands(pixels) == 1:
        squares = squares.sum(axis=0, keepdims=True)
    # Beyond the limit it does not matter how far, so that 8-bit squares fit into 16 bits.
    squares = np.minimum(squares, math.floor(limit) + 1)
    tables, kind = (squares, "double") if white > 255 else (squares.astype(np.uint16), "ushort")
    looked_up = [
        pixels[band].maplut(pyvips.Image.new_from_memory(table.data, white + 1, 1, 1, kind))
        for band, table in enumerate(tables)
    ]
    within: pyvips.Image = functools.reduce(operator.add, looked_up) <= limit
    return within
