"""What stands behind a cut-out: a colour, a gradient, the blurred original, another picture, a shadow."""

import math

from darkroom_tools.kit.color import parse_color
from darkroom_tools.kit.pixels import as_color, color_bands, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["blurred", "clear", "composed", "covering", "gradient", "plain", "with_shadow"]

SHADOW_REACH = 0.018
"""Blur of the shadow as a share of the shorter side; it falls twice as far down."""


def plain(pixels: "pyvips.Image", color: str) -> "pyvips.Image":
    """One colour in the size and depth of the picture."""
    return _filled(pixels, [[value for value in parse_color(color)[:3]]] * 2, 0)


def gradient(pixels: "pyvips.Image", start: str, end: str, angle: float) -> "pyvips.Image":
    """A linear gradient; 0 runs upwards, 90 to the right, 180 down, corners included as in CSS."""
    return _filled(pixels, [list(parse_color(start)[:3]), list(parse_color(end)[:3])], angle)


def blurred(pixels: "pyvips.Image", mask: "pyvips.Image", sigma: float) -> "pyvips.Image":
    """The original out of focus, without the subject bleeding into it."""
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    # Blurred at a reduced size: beyond a few pixels of sigma the difference cannot be seen, the cost can.
    scale = max(min(1.0, 4 / sigma), 1 / max(1, min(pixels.width, pixels.height)))
    small = colour.resize(scale)
    weight = resized(255 - mask, small.width, small.height, "linear") / 255 + 0.004
    spread = sigma * scale
    soft = (small * weight).gaussblur(spread, precision="float") / weight.gaussblur(spread, precision="float")
    return (
        resized(soft, pixels.width, pixels.height, "linear")
        .rint()
        .cast(pixels.format)
        .copy(interpretation=colour.interpretation)
    )


def covering(pixels: "pyvips.Image", picture: "pyvips.Image") -> "pyvips.Image":
    """Another picture scaled and cropped to cover this one, in its depth, flattened on white."""
    white = white_level(picture)
    other = as_color(picture)
    if other.hasalpha():
        other = other.flatten(background=[white] * 3, max_alpha=white)
    scale = max(pixels.width / other.width, pixels.height / other.height)
    width = max(pixels.width, math.ceil(other.width * scale))
    grown = resized(other, width, max(pixels.height, math.ceil(other.height * scale)), "linear")
    left, top = (grown.width - pixels.width) // 2, (grown.height - pixels.height) // 2
    cropped = grown.crop(left, top, pixels.width, pixels.height)
    return (cropped * (white_level(pixels) / white)).rint().cast(pixels.format).copy(interpretation=_space(pixels))


def with_shadow(backdrop: "pyvips.Image", mask: "pyvips.Image", opacity: float) -> "pyvips.Image":
    """The backdrop darkened where the subject's shadow falls; with alpha, the shadow is part of it.

    Args:
        backdrop: Colour, or colour with alpha.
        mask: 0..255 of the subject.
        opacity: 0..1 at the shadow's darkest.
    """
    shade = shadow(mask, opacity)
    if not backdrop.hasalpha():
        return (backdrop * (1 - shade)).rint().cast(backdrop.format).copy(interpretation=backdrop.interpretation)
    white = white_level(backdrop)
    alpha = (shade * white).rint().cast(backdrop.format)
    return (
        (backdrop.extract_band(0, n=3) * 0)
        .cast(backdrop.format)
        .bandjoin(alpha)
        .copy(interpretation=backdrop.interpretation)
    )


def shadow(mask: "pyvips.Image", opacity: float) -> "pyvips.Image":
    """A soft copy of the mask, lower down: 0..opacity."""
    reach = max(1.0, SHADOW_REACH * min(mask.width, mask.height))
    scale = max(min(1.0, 4 / reach), 1 / max(1, min(mask.width, mask.height)))
    small = mask.resize(scale).gaussblur(max(0.5, reach * scale))
    fall = min(round(2 * reach), mask.height - 1)
    fallen = resized(small, mask.width, mask.height, "linear").embed(0, fall, mask.width, mask.height)
    return fallen / 255 * opacity


def clear(pixels: "pyvips.Image") -> "pyvips.Image":
    """Nothing at all: full transparency in the size and depth of the picture."""
    black = pyvips.Image.black(pixels.width, pixels.height, bands=4)
    return black.cast(pixels.format).copy(interpretation=_space(pixels))


def composed(pixels: "pyvips.Image", mask: "pyvips.Image", backdrop: "pyvips.Image") -> "pyvips.Image":
    """The subject over the backdrop, which has the same size and depth; alpha where the backdrop has it."""
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    cover = mask / 255
    if not backdrop.hasalpha():
        mixed = colour * cover + backdrop * (1 - cover)
        return mixed.rint().cast(pixels.format).copy(interpretation=_space(pixels))
    white = white_level(pixels)
    behind = backdrop[3] / white
    alpha = cover + behind * (1 - cover)
    mixed = colour * cover + backdrop.extract_band(0, n=3) * behind * (1 - cover)
    visible = (alpha > 0).ifthenelse(mixed / (alpha > 0).ifthenelse(alpha, 1), 0)
    return visible.bandjoin(alpha * white).rint().cast(pixels.format).copy(interpretation=_space(pixels))


def _filled(pixels: "pyvips.Image", colors: list[list[int]], angle: float) -> "pyvips.Image":
    width, height = pixels.width, pixels.height
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    length = abs(width * sine) + abs(height * cosine) or 1.0
    places = pyvips.Image.xyz(width, height)
    along = ((places[0] - (width - 1) / 2) * sine - (places[1] - (height - 1) / 2) * cosine) / length + 0.5
    share = (along < 0).ifthenelse(0, (along > 1).ifthenelse(1, along))
    start, end = (np.array(color, float) * (white_level(pixels) / 255) for color in colors)
    filled = share * list(end - start) + list(start)
    return filled.rint().cast(pixels.format).copy(interpretation=_space(pixels))


def _space(pixels: "pyvips.Image") -> str:
    return "rgb16" if pixels.format == "ushort" else "srgb"
