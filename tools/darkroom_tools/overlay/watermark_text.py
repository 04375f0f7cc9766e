"""Text Watermark."""

import math
from typing import Annotated, Literal

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.color import Color, parse_color
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.opacity import Opacity
from darkroom_tools.kit.pixels import turn
from darkroom_tools.kit.stamp import overlap, stamp
from darkroom_tools.kit.text import FontName, VisibleText, missing_glyphs, text_mask
from darkroom_tools.native import pyvips

Position = Literal[
    "center", "top-left", "top", "top-right", "left", "right", "bottom-left", "bottom", "bottom-right", "tiled"
]
MOST_TILES = 500


class WatermarkText(Settings):
    """What is written, how and where."""

    text: VisibleText
    """Plain text, newlines allowed"""

    font: FontName = "sans-serif"
    """sans-serif, serif or monospace"""

    font_size: Annotated[float, Field(ge=8, le=1000)] = 48
    """Pixels"""

    color: Color = "#000000"
    """#RRGGBB"""

    opacity: Opacity = 50
    """Percent"""

    position: Position = "center"
    """Where the text is anchored"""

    rotation: Annotated[float, Field(ge=-360, le=360)] = 0
    """Degrees clockwise"""

    tile: bool = False
    """Same as position tiled"""


@tool(
    title="Text Watermark",
    sequential=True,
    example={"text": "© Darkroom", "position": "bottom-right", "color": "#FFFFFF"},
)
def watermark_text(image: Image, settings: WatermarkText) -> Image:
    """Write text over a picture, once or tiled."""
    across, _ = _anchor(settings.position)
    align: Literal["low", "centre", "high"] = ("low", "centre", "high")[round(across * 2)]
    text = text_mask(settings.text, settings.font, settings.font_size, align)
    turned = turn(text, settings.rotation, (0,))
    left, top = 0, 0
    if settings.tile or settings.position == "tiled":
        mask = _tiled(turned, image.width, image.height, settings.font_size)
    else:
        mask = turned
        left, top = _corner(text, turned, image, settings)
        if overlap(mask.width, mask.height, left, top, image) != (left, top, mask.width, mask.height):
            image = image.warn("Part of the text is outside the picture. A smaller 'fontSize' may help.")
    if settings.opacity < 100:
        mask = (mask * (settings.opacity / 100)).rint().cast("uchar")
    result = stamp(image, [(mask, parse_color(settings.color))], left, top)
    missing = missing_glyphs(settings.text, settings.font)
    if missing:
        result = result.warn(f"No bundled font has {missing[:20]!r}: empty boxes stand in.")
    return result


def _anchor(position: Position) -> tuple[float, float]:
    """Where the anchor is, in the picture and in the text alike: 0 left or top, 0.5 middle, 1 right or bottom."""
    across = 0.0 if position.endswith("left") else 1.0 if position.endswith("right") else 0.5
    down = 0.0 if position.startswith("top") else 1.0 if position.startswith("bottom") else 0.5
    return across, down


def _corner(text: "pyvips.Image", turned: "pyvips.Image", image: Image, settings: WatermarkText) -> tuple[int, int]:
    """Where the top left corner of the turned text goes, so that it turns about its anchor."""
    pad = settings.font_size
    across, down = _anchor(settings.position)
    anchor_x = across * image.width + (0.5 - across) * 2 * pad
    anchor_y = down * image.height + (0.5 - down) * 2 * pad
    to_middle_x, to_middle_y = (0.5 - across) * text.width, (0.5 - down) * text.height
    sine, cosine = math.sin(math.radians(settings.rotation)), math.cos(math.radians(settings.rotation))
    middle_x = anchor_x + to_middle_x * cosine - to_middle_y * sine
    middle_y = anchor_y + to_middle_x * sine + to_middle_y * cosine
    return rounded(middle_x - turned.width / 2), rounded(middle_y - turned.height / 2)


def _tiled(turned: "pyvips.Image", width: int, height: int, size: float) -> "pyvips.Image":
    """The text in cells of 6 × 4 type sizes, larger where it would touch its neighbour or 500 cells would not do."""
    across, down = max(6 * size, turned.width + size), max(4 * size, turned.height + size)
    many = math.ceil(width / across) * math.ceil(height / down)
    while many > MOST_TILES:
        across, down = across * 1.05, down * 1.05
        many = math.ceil(width / across) * math.ceil(height / down)
    cell_width, cell_height = rounded(across), rounded(down)
    cell = turned.embed((cell_width - turned.width) // 2, (cell_height - turned.height) // 2, cell_width, cell_height)
    tiles = cell.replicate(math.ceil(width / cell_width), math.ceil(height / cell_height))
    return tiles.crop(0, 0, width, height)
