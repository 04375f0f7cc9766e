"""Frames around a picture and the shadow under it."""

import math
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from darkroom_tools.kit.color import Rgba, ink
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, premultiplied, resized, rounded_mask, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["Fill", "Pattern", "Shadow", "framed", "gradient_share", "pattern_share", "shadowed"]

Pattern = Literal["stripes", "dots", "checks"]
Share = Callable[["np.ndarray", "np.ndarray"], "np.ndarray"]
"""From columns and rows, as middles of pixels, to how much of the second colour a pixel holds, 0 to 1."""

WORKING_SIGMA: Final = 3.0
"""A shadow is blurred at the size where its blur has this many pixels: more costs time and shows nothing."""


class Shadow(NamedTuple):
    """A shadow: softness (sigma) and shift in pixels, colour, and opacity 0..1."""

    blur: float
    across: int
    down: int
    color: Rgba
    opacity: float

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """Pixels that the canvas grows by at its left, top, right and bottom: twice the blur, moved by the shift."""
        reach = math.ceil(2 * self.blur)
        return (
            max(0, reach - self.across),
            max(0, reach - self.down),
            max(0, reach + self.across),
            max(0, reach + self.down),
        )


class Fill(NamedTuple):
    """What a frame is filled with: the first colour, or both where `share` mixes them."""

    first: Rgba
    second: Rgba
    share: Share | None = None


def framed(pixels: "pyvips.Image", width: int, fill: Fill, radius: float = 0) -> "pyvips.Image":
    """The picture with a frame of `width` pixels at each side; only the frame itself is drawn.

    With a `radius` of its outer corners its inner ones are round as well, so that it is equally wide everywhere.
    Cutting the outer ones is left to the caller.
    """
    if not width:
        return pixels
    if fill.share is None:
        pixels, values = ink(pixels, fill.first)
        whole = _plain(pixels, width, values)
    else:
        pixels = as_color(pixels)
        whole = _joined(pixels, width, fill)
    inner = min(radius - width, pixels.width / 2, pixels.height / 2)
    if inner <= 0:
        return whole
    side = math.ceil(inner)
    mask = rounded_mask(pixels.width, pixels.height, inner, inner)
    mask = mask.embed(width, width, whole.width, whole.height, extend="white")

    def change(body: "pyvips.Image") -> "pyvips.Image":
        """The picture gives way to the frame in its corners."""
        if fill.share is None:
            return mask.ifthenelse(body, [*values, float(white_level(pixels))][: body.bands], blend=True)
        drawn = body
        for left in (width, whole.width - width - side):
            for top in (width, whole.height - width - side):
                drawn = drawn.insert(_drawn(pixels, fill, left, top, side, side), left, top)
        return mask.ifthenelse(body, drawn, blend=True)

    return premultiplied(whole, change).copy(interpretation=pixels.interpretation)


def _plain(pixels: "pyvips.Image", width: int, values: list[float]) -> "pyvips.Image":
    return pixels.embed(
        width,
        width,
        pixels.width + 2 * width,
        pixels.height + 2 * width,
        extend="background",
        background=values + [float(white_level(pixels))] * pixels.hasalpha(),
    )


def _joined(pixels: "pyvips.Image", width: int, fill: Fill) -> "pyvips.Image":
    right, bottom = pixels.width + width, pixels.height + width
    middle = _drawn(pixels, fill, 0, width, width, pixels.height).join(pixels, "horizontal")
    middle = middle.join(_drawn(pixels, fill, right, width, width, pixels.height), "horizontal")
    upper = _drawn(pixels, fill, 0, 0, right + width, width).join(middle, "vertical")
    return upper.join(_drawn(pixels, fill, 0, bottom, right + width, width), "vertical")


def _drawn(pixels: "pyvips.Image", fill: Fill, left: int, top: int, across: int, down: int) -> "pyvips.Image":
    """A part of the frame, in the bands and depth of the picture."""
    bands, white = color_bands(pixels), white_level(pixels)
    columns = np.arange(left, left + across, dtype=np.float32) + 0.5
    rows = np.arange(top, top + down, dtype=np.float32)[:, None] + 0.5
    share = fill.share(columns, rows) if fill.share else 0
    first, second = (np.array(color[:bands], np.float32) * (white / 255) for color in (fill.first, fill.second))
    mixed = first + (second - first) * np.broadcast_to(share, (down, across))[:, :, None]
    drawn = np.floor(mixed + 0.5).astype(np.uint8 if white == 255 else np.uint16)
    made = pyvips.Image.new_from_memory(drawn.data, across, down, bands, pixels.format)
    made = made.copy(interpretation=pixels.interpretation)
    return made.addalpha() if pixels.hasalpha() else made


def gradient_share(width: int, height: int, angle: float) -> Share:
    """A linear gradient over a canvas; 0 runs upwards, 90 to the right, 180 down, corners included as in CSS."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    length = abs(width * sine) + abs(height * cosine)
    return lambda x, y: np.clip(((x - width / 2) * sine - (y - height / 2) * cosine) / length + 0.5, 0, 1)


def pattern_share(width: int, height: int, unit: int, pattern: Pattern) -> Share:
    """A pattern over a canvas whose period is near `unit` pixels, and divides its sides so that no part is cut."""
    across, down = width / max(1, round(width / unit)), height / max(1, round(height / unit))

    def dots(x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
        far = np.hypot((x % across) - across / 2, (y % down) - down / 2)
        share: np.ndarray = np.clip(min(across, down) / 4 - far + 0.5, 0, 1)
        return share

    def stripes(x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
        return _wave(x / across + y / down, math.hypot(1 / across, 1 / down))

    def checks(x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
        one, other = _wave(x / across, 1 / across), _wave(y / down, 1 / down)
        share: np.ndarray = one + other - 2 * one * other
        return share

    return {"dots": dots, "stripes": stripes, "checks": checks}[pattern]


def _wave(phase: "np.ndarray", slope: float) -> "np.ndarray":
    """0 in the first half of each period and 1 in the second, smooth over one pixel; `slope` is periods a pixel."""
    to_edge = 0.25 - np.abs((phase - 0.25) % 1 - 0.5)
    share: np.ndarray = np.clip(to_edge / slope + 0.5, 0, 1)
    return share


def shadowed(
    pixels: "pyvips.Image", shadow: Shadow, outline: "pyvips.Image | None" = None, corner: int = 0
) -> "pyvips.Image":
    """The picture on a larger transparent canvas, above its shadow.

    Args:
        pixels: One frame; where it has alpha, that is its outline.
        shadow: Its look.
        outline: 8-bit mask of what is seen of an opaque picture; None for all of it.
        corner: Pixels from each corner in which the outline may leave anything out.
    """
    left, top, right, bottom = shadow.margins
    width, height = left + pixels.width + right, top + pixels.height + bottom
    if pixels.hasalpha():
        outline = pixels[color_bands(pixels)].cast("uchar", shift=pixels.format == "ushort").copy_memory()
        boxes = [Box(0, 0, width, height)]
    else:
        upper, lower = top + corner, bottom + corner
        boxes = [Box(0, 0, width, upper), Box(0, height - lower, width, lower)]
        boxes += [Box(x, upper, wide, height - upper - lower) for x, wide in ((0, left), (width - right, right))]
    if outline is None:
        outline = (pyvips.Image.black(pixels.width, pixels.height) + 255).cast("uchar")
    seen = outline.embed(left, top, width, height)
    cast = _cast(seen, shadow)
    alpha, weight = np.full((height, width), 255, np.uint8), np.full((height, width), 255, np.uint8)
    for box in (box for box in boxes if box.width > 0 and box.height > 0):
        part = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        alpha[part], weight[part] = _over(as_array(seen.crop(*box)), as_array(cast.crop(*box)))
    color, values = ink(pixels.extract_band(0, n=color_bands(pixels)), shadow.color)
    placed = color.embed(left, top, width, height, extend="background", background=values)
    mixed = _image(weight).ifthenelse(placed, values, blend=True)
    opacity = (_image(alpha) * 257).cast("ushort") if white_level(pixels) > 255 else _image(alpha)
    return mixed.cast(color.format).bandjoin(opacity).copy(interpretation=color.interpretation)


def _cast(seen: "pyvips.Image", shadow: Shadow) -> "pyvips.Image":
    """The shadow's own alpha on the canvas, blurred at a reduced size."""
    scale = max(min(1.0, WORKING_SIGMA / shadow.blur), 1 / min(seen.width, seen.height))
    moved = seen.embed(shadow.across, shadow.down, seen.width, seen.height)
    small = resized(moved, max(1, round(seen.width * scale)), max(1, round(seen.height * scale)), "linear")
    soft = (small.gaussblur(shadow.blur * scale, min_ampl=0.01, precision="float") * shadow.opacity).copy_memory()
    wide, high = seen.width / soft.width, seen.height / soft.height
    # An enlargement by `resize` would be half a pixel further right and down.
    grown = soft.affine(
        [wide, 0, 0, high],
        interpolate=pyvips.Interpolate.new("bilinear"),
        oarea=[0, 0, seen.width, seen.height],
        odx=(wide - 1) / 2,
        ody=(high - 1) / 2,
        extend="copy",
    )
    return grown.rint().cast("uchar")


def _over(above: "np.ndarray", below: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Alpha of one layer over another, and the share of the upper one in the colour; all 0 to 255."""
    upper, lower = above[:, :, 0].astype(np.float32), below[:, :, 0].astype(np.float32)
    alpha = upper + lower * (1 - upper / 255)
    share = np.divide(upper * 255, alpha, out=np.zeros_like(alpha), where=alpha > 0)
    return np.floor(alpha + 0.5).astype(np.uint8), np.floor(share + 0.5).astype(np.uint8)


def _image(mask: "np.ndarray") -> "pyvips.Image":
    height, width = mask.shape
    return pyvips.Image.new_from_memory(mask.data, width, height, 1, "uchar").copy(interpretation="b-w")
