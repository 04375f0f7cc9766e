"""One picture laid on another, by the formulas of W3C Compositing and Blending Level 1.

libvips' own `composite` serves for `over` only: in its other modes the alpha of the upper picture counts twice.
"""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from darkroom_tools.image import Image
from darkroom_tools.kit.pixels import as_color, color_bands, first_frame, white_level
from darkroom_tools.kit.stamp import STREAMED, inserted, overlap
from darkroom_tools.native import pyvips

__all__ = ["Blend", "blended", "laid", "upper_still"]

Blend = Literal[
    "over",
    "multiply",
    "screen",
    "overlay",
    "darken",
    "lighten",
    "hard-light",
    "soft-light",
    "difference",
    "exclusion",
]


def upper_still(image: Image, upper: Image, what: str) -> tuple[Image, Image]:
    """The lower picture, which now tells what happened to the upper one, and the upper one's first frame.

    Args:
        image: The lower picture, whose file the result continues.
        upper: The one to be laid on it.
        what: What the caller calls it.
    """
    for text in upper.warnings:
        image = image.warn(f"{what.capitalize()}: {text}")
    if upper.frames > 1:
        image = image.warn(f"Only the first frame of the {what} was used.")
    return image, first_frame(upper)


def laid(
    image: Image, upper: "pyvips.Image", left: int, top: int, *, blend: Blend = "over", opacity: float = 1
) -> Image:
    """Lay pixels on every frame of a picture; only the rectangle where they overlap is computed.

    The picture keeps its depth; it becomes a colour picture where the upper one has colour.

    Args:
        image: May be streamed: its pixels are read once, in order.
        upper: One frame. For an animation it is read once and kept in memory.
        left: Where its left edge goes, in pixels of a frame; may be negative.
        top: Where its upper edge goes.
        blend: How the colours mix where both are.
        opacity: Share of the upper pixels' alpha that counts, 0 to 1.
    """
    area = overlap(upper.width, upper.height, left, top, image)
    if area is None or opacity == 0:
        return image
    seen = _like(image.pixels, _bare(upper.crop(area.left - left, area.top - top, area.width, area.height)))
    if color_bands(seen) == 3:
        image = image.with_pixels(as_color(image.pixels))
    elif color_bands(image.pixels) == 3:
        seen = as_color(seen)
    if image.frames > 1:
        seen = seen.copy_memory()

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        return inserted(frame, blended(frame.crop(*area), seen, blend, opacity), area.left, area.top)

    return image.map_frames(change)


def blended(base: "pyvips.Image", upper: "pyvips.Image", blend: Blend, opacity: float) -> "pyvips.Image":
    """The upper pixels on those of the base, with the base's bands.

    Args:
        base: With or without alpha.
        upper: Same size, depth and number of colour bands; with or without alpha.
        blend: How the colours mix.
        opacity: Above 0, up to 1.
    """
    bands, plain = color_bands(base), blend == "over"
    color = upper.extract_band(0, n=bands)
    if base.format == "uchar" and not base.hasalpha():
        if not upper.hasalpha():
            return _by_table(base, upper, blend, opacity)
        cover = upper[bands] if opacity == 1 else (upper[bands] * opacity).rint().cast("uchar")
        mixed = color if plain else _by_table(base, color, blend, 1)
        return cover.ifthenelse(mixed, base, blend=True).copy(interpretation=base.interpretation)
    white = white_level(base)
    if not plain:
        below, above = base.extract_band(0, n=bands) / white, color / white
        mixed = MIXES[blend](below, above) * white
        # Where the base is transparent, there is nothing to mix with.
        color = color + (mixed - color) * (base[bands] / white) if base.hasalpha() else mixed
    alpha = (upper[bands] if upper.hasalpha() else white + color[0] * 0) * opacity
    source = color.bandjoin(alpha).cast("float").copy(interpretation=base.interpretation)
    # In whole numbers libvips cuts fractions off.
    result = base.cast("float").composite2(source, "over").rint().cast(base.format)
    return result.extract_band(0, n=base.bands).copy(interpretation=base.interpretation)


def _by_table(base: "pyvips.Image", upper: "pyvips.Image", blend: Blend, opacity: float) -> "pyvips.Image":
    """Opaque 8-bit pixels mixed by a table of all 65536 pairs of values."""
    if blend == "over" and opacity == 1:
        return upper.copy(interpretation=base.interpretation)
    pair = pyvips.Image.xyz(1 << 16, 1)[0]
    below, above = (pair / 256).floor() / 255, pair % 256 / 255
    mixed = MIXES[blend](below, above)
    table = ((below + (mixed - below) * opacity) * 255).rint().cast("uchar")
    pairs = (base.cast("ushort") << 8) | upper
    return pairs.maplut(table).copy(interpretation=base.interpretation)


def _bare(pixels: "pyvips.Image") -> "pyvips.Image":
    """The pixels without metadata, which would be merged into that of the other picture."""
    pixels = pixels.copy()
    for name in pixels.get_fields():
        if name != STREAMED:
            pixels.remove(name)
    return pixels


def _like(base: "pyvips.Image", upper: "pyvips.Image") -> "pyvips.Image":
    """The upper pixels at the depth of the base."""
    if upper.format == base.format:
        return upper
    grey = color_bands(upper) == 1
    if base.format == "ushort":
        return (upper * 257).cast("ushort").copy(interpretation="grey16" if grey else "rgb16")
    return (upper / 257).rint().cast("uchar").copy(interpretation="b-w" if grey else "srgb")


Mix = Callable[["pyvips.Image", "pyvips.Image"], "pyvips.Image"]


def _screen(below: "pyvips.Image", above: "pyvips.Image") -> "pyvips.Image":
    return below + above - below * above


def _hard_light(below: "pyvips.Image", above: "pyvips.Image") -> "pyvips.Image":
    return (above <= 0.5).ifthenelse(below * above * 2, _screen(below, above * 2 - 1))


def _soft_light(below: "pyvips.Image", above: "pyvips.Image") -> "pyvips.Image":
    bend = (below <= 0.25).ifthenelse(((below * 16 - 12) * below + 4) * below, below**0.5)
    darker = below - (1 - above * 2) * below * (1 - below)
    return (above <= 0.5).ifthenelse(darker, below + (above * 2 - 1) * (bend - below))


MIXES: Final[Mapping[Blend, Mix]] = {
    "over": lambda below, above: above,
    "multiply": lambda below, above: below * above,
    "screen": _screen,
    "overlay": lambda below, above: _hard_light(above, below),
    "darken": lambda below, above: below.minpair(above),
    "lighten": lambda below, above: below.maxpair(above),
    "hard-light": _hard_light,
    "soft-light": _soft_light,
    "difference": lambda below, above: (below - above).abs(),
    "exclusion": lambda below, above: below + above - below * above * 2,
}
"""Blend functions over colour values 0 to 1."""
