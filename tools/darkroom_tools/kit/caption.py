"""A caption: text with a shadow and a box, laid on a picture."""

import math
from typing import Final, Literal

from darkroom_tools.image import Image
from darkroom_tools.kit.color import Rgba, parse_color
from darkroom_tools.kit.geometry import Box, rounded
from darkroom_tools.kit.pixels import rounded_mask
from darkroom_tools.kit.stamp import overlap, stamp
from darkroom_tools.kit.text import missing_glyphs, text_mask
from darkroom_tools.native import pyvips

__all__ = ["CaptionPosition", "caption"]

CaptionPosition = Literal["top", "center", "bottom"]

SHADOW_OPACITY: Final = 166
SHADOW_SHIFT: Final = 1 / 16
SHADOW_SIGMA: Final = 1 / 20
DARK: Final = 96
"""Below this luma (0..255) text is dark, and its shadow a light one: a dark one would only blur it."""


def caption(  # noqa: PLR0913 - the settings of a caption
    image: Image,
    text: str,
    *,
    font: str = "sans-serif",
    font_size: float = 48,
    color: str = "#FFFFFF",
    x: float | None = None,
    y: float | None = None,
    position: CaptionPosition = "bottom",
    background: str | None = None,
    padding: float = 12,
    border_radius: float = 0,
    shadow: bool = True,
) -> Image:
    """Write a caption on every frame of a picture; only the rectangle of the caption is touched.

    Args:
        image: Any picture, also a streamed one.
        text: Plain text with a visible character (see `text.has_ink`); lines break at newlines.
        font: A name of `text.FONTS` (see `text.find_font`).
        font_size: Height of the type in pixels.
        color: `#RRGGBB`.
        x: Left edge of the box, or of the ink where there is no box; None centres it.
        y: Upper edge of the same; None follows `position`.
        position: Where the text stands without `y`: a type size (or the padding, if that is more) from the edge.
        background: `#RRGGBB` of a box behind the text, None for none.
        padding: Pixels between the ink and the edge of the box.
        border_radius: Radius of the box's corners in pixels, at most half its shorter side.
        shadow: Whether the ink has a soft shadow, dark behind light text and light behind dark text.

    Raises:
        ProcessingFailed: Nothing of the text can be drawn.
    """
    letters = text_mask(text, font, font_size, "centre" if x is None else "low")
    inset = rounded(padding) if background else 0
    coats, room = _coats(letters, font_size, parse_color(color), background, inset, border_radius, shadow=shadow)
    margin = max(font_size, inset)
    upper = {
        "top": margin,
        "center": (image.height - letters.height) / 2,
        "bottom": image.height - letters.height - margin,
    }
    left = rounded((image.width - letters.width) / 2 if x is None else x + inset)
    top = rounded(upper[position] if y is None else y + inset)
    written = stamp(image, coats, left - room, top - room)
    drawn = Box(left - inset, top - inset, letters.width + 2 * inset, letters.height + 2 * inset)
    if overlap(drawn.width, drawn.height, drawn.left, drawn.top, image) != drawn:
        what = "text or its box" if background else "text"
        written = written.warn(f"Part of the {what} is outside the picture. A smaller 'fontSize' or newlines may help.")
    missing = missing_glyphs(text, font)
    if missing:
        written = written.warn(f"No bundled font has {missing[:20]!r}: empty boxes stand in.")
    return written


def _coats(
    letters: "pyvips.Image",
    font_size: float,
    color: Rgba,
    background: str | None,
    inset: int,
    border_radius: float,
    *,
    shadow: bool,
) -> "tuple[list[tuple[pyvips.Image, Rgba]], int]":
    """The masks of box, shadow and ink with their colours, lowest first, and how far they reach around the ink."""
    reach = math.ceil(font_size * (SHADOW_SHIFT + 3 * SHADOW_SIGMA)) if shadow else 0
    room = max(reach, inset)
    width, height = letters.width + 2 * room, letters.height + 2 * room
    ink_mask = letters.embed(room, room, width, height)
    coats: list[tuple[pyvips.Image, Rgba]] = []
    if background:
        box = _box(letters.width + 2 * inset, letters.height + 2 * inset, border_radius)
        coats.append((box.embed(room - inset, room - inset, width, height), parse_color(background)))
    if shadow:
        coats.append(_shadow(ink_mask, font_size, color))
    return [*coats, (ink_mask, color)], room


def _box(width: int, height: int, radius: float) -> "pyvips.Image":
    radius = min(radius, width / 2, height / 2)
    if radius <= 0:
        return pyvips.Image.black(width, height).invert()
    return rounded_mask(width, height, radius, radius)


def _shadow(ink_mask: "pyvips.Image", size: float, color: Rgba) -> "tuple[pyvips.Image, Rgba]":
    luma = 0.299 * color.red + 0.587 * color.green + 0.114 * color.blue
    shade = 255 if luma < DARK else 0
    shift = max(1, rounded(size * SHADOW_SHIFT))
    moved = ink_mask.embed(shift, shift, ink_mask.width, ink_mask.height)
    return moved.gaussblur(max(0.6, size * SHADOW_SIGMA), precision="integer"), Rgba(
        shade, shade, shade, SHADOW_OPACITY
    )
