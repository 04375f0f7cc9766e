"""Colours as callers write them, and as the bands of a picture need them."""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from darkroom_tools.kit.pixels import as_color, color_bands, white_level
from darkroom_tools.native import pyvips

__all__ = ["AlphaColor", "CheckedAlphaColor", "CheckedColor", "ClearableColor", "Color", "Rgba", "ink", "parse_color"]

Color = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
"""A setting `#RRGGBB`."""

AlphaColor = Annotated[str, Field(pattern="^#([0-9a-fA-F]{2}){3,4}$")]
"""A setting `#RRGGBB` or `#RRGGBBAA`."""


def _checked(value: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError(f"A colour is written #RRGGBB, such as #FFFFFF, but got {value[:20]!r}.")
    return value


def _checked_or_clear(value: str) -> str:
    return value if value == "transparent" else _checked(value)


def _checked_alpha(value: str) -> str:
    if not re.fullmatch("#([0-9a-fA-F]{2}){3,4}", value):
        raise ValueError(f"A colour is written #RRGGBB or #RRGGBBAA, such as #FFFFFF80, but got {value[:20]!r}.")
    return value


CheckedColor = Annotated[str, AfterValidator(_checked)]
"""A setting `#RRGGBB` without a pattern in the schema, where several of them would cost more than all words."""

CheckedAlphaColor = Annotated[str, AfterValidator(_checked_alpha)]
"""A setting `#RRGGBB` or `#RRGGBBAA` without a pattern in the schema."""

ClearableColor = Annotated[str, AfterValidator(_checked_or_clear)]
"""A setting `#RRGGBB` or `transparent`."""


class Rgba(NamedTuple):
    """A colour in 8 bits a channel; alpha 255 is opaque."""

    red: int
    green: int
    blue: int
    alpha: int = 255


def parse_color(text: str) -> Rgba:
    """The colour of a validated `#RRGGBB` or `#RRGGBBAA`."""
    return Rgba(*bytes.fromhex(text[1:]))


def ink(pixels: "pyvips.Image", color: Rgba) -> "tuple[pyvips.Image, list[float]]":
    """The picture made able to show `color`, and the colour in its bands (without alpha) and depth.

    A grey picture becomes a colour picture only where the colour needs it.
    """
    grey = color.red == color.green == color.blue
    if not grey:
        pixels = as_color(pixels)
    scale = white_level(pixels) / 255
    values = [color.red] if color_bands(pixels) == 1 else [color.red, color.green, color.blue]
    return pixels, [value * scale for value in values]
