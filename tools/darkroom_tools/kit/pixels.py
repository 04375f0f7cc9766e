"""Work on pixels that is right for alpha, grey and 16 bits alike."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from darkroom_tools.image import Image
from darkroom_tools.kit.format_rules import OPAQUE
from darkroom_tools.kit.geometry import Box, rounded, turned_size
from darkroom_tools.native import np, pyvips

__all__ = [
    "as_array",
    "as_color",
    "color_bands",
    "cut_out",
    "first_frame",
    "frame_at",
    "masked",
    "paint",
    "picture_of",
    "premultiplied",
    "resized",
    "rounded_mask",
    "takes_alpha",
    "turn",
    "white_level",
    "with_alpha",
]

SUBLINES: Final = 8
MASK_ROWS: Final = 64


def takes_alpha(image: Image) -> bool:
    """Whether the format in which the picture will be written can hold alpha."""
    return (image.encoding.format or image.source.format) not in OPAQUE


def white_level(pixels: "pyvips.Image") -> int:
    """The value of white and of opaque: 255, or 65535 for 16 bits a band."""
    return 65535 if pixels.format == "ushort" else 255


def color_bands(pixels: "pyvips.Image") -> int:
    """Number of bands without alpha: 1 for grey, 3 for colour."""
    return int(pixels.bands) - int(pixels.hasalpha())


def with_alpha(pixels: "pyvips.Image") -> "pyvips.Image":
    """The pixels with an alpha band, opaque where there was none."""
    return pixels if pixels.hasalpha() else pixels.addalpha()


def as_color(pixels: "pyvips.Image") -> "pyvips.Image":
    """Grey pixels as sRGB of the same depth; colour stays as it is."""
    if color_bands(pixels) != 1:
        return pixels
    return pixels.colourspace("rgb16" if pixels.format == "ushort" else "srgb")


def first_frame(image: Image) -> Image:
    """The picture as a still: its first frame, without a trace of the animation."""
    return frame_at(image, 0)


def frame_at(image: Image, number: int) -> Image:
    """One frame as a still, counted from 0."""
    if image.frames == 1:
        return image
    still = image.pixels.crop(0, number * image.height, image.width, image.height).copy()
    for name in ("page-height", "n-pages", "delay", "loop", "gif-delay", "gif-loop"):
        still.remove(name)
    return replace(image, pixels=still, reload=None)


def as_array(pixels: "pyvips.Image") -> "np.ndarray":
    """The pixels as an array of height × width × bands, whatever their number."""
    return np.asarray(pixels.numpy()).reshape(pixels.height, pixels.width, pixels.bands)


def picture_of(array: "np.ndarray", like: "pyvips.Image") -> "pyvips.Image":
    """An array as a picture with the fields of another one, such as its profile.

    Args:
        array: Height × width × bands; it is not copied.
        like: As many bands, of the same type.
    """
    height, width, bands = array.shape
    made = pyvips.Image.new_from_memory(np.ascontiguousarray(array).data, width, height, bands, like.format)
    made = made.copy(interpretation=like.interpretation)
    # Only the fields come from here: no pixel of this is left.
    fields = like.crop(0, 0, 1, 1).embed(0, 0, width, height)
    whole: pyvips.Image = fields.insert(made, 0, 0)
    return whole


def resized(pixels: "pyvips.Image", width: int, height: int, kernel: str = "lanczos3") -> "pyvips.Image":
    """The pixels at exactly that size, whatever their ratio; alpha, if any, premultiplied.

    The middle of the picture stays its middle. libvips' own `resize` does not keep it when it enlarges: everything
    moves half a pixel to the right and down.
    """
    across, down = width / pixels.width, height / pixels.height
    if across < 1 or down < 1:
        pixels = pixels.resize(min(across, 1), vscale=min(down, 1), kernel=kernel)
    if across > 1 or down > 1:
        across, down = max(across, 1), max(down, 1)
        pixels = pixels.affine(
            [across, 0, 0, down],
            interpolate=pyvips.Interpolate.new("bilinear" if kernel == "linear" else "bicubic"),
            oarea=[0, 0, width if across > 1 else pixels.width, height if down > 1 else pixels.height],
            odx=(across - 1) / 2,
            ody=(down - 1) / 2,
            extend="copy",
            premultiplied=True,
        )
    return pixels.gravity("north-west", width, height, extend="copy")


def premultiplied(pixels: "pyvips.Image", change: "Callable[[pyvips.Image], pyvips.Image]") -> "pyvips.Image":
    """Apply a change that mixes neighbouring pixels so that hidden colour never bleeds into visible edges."""
    if not pixels.hasalpha():
        return change(pixels)
    white = white_level(pixels)
    changed = change(pixels.premultiply(max_alpha=white)).unpremultiply(max_alpha=white)
    return changed.rint().cast(pixels.format).copy(interpretation=pixels.interpretation)


def turn(pixels: "pyvips.Image", degrees: float, background: Sequence[float]) -> "pyvips.Image":
    """Turn clockwise; multiples of 90 degrees move pixels exactly, others enlarge the canvas.

    Args:
        pixels: One frame.
        degrees: Any angle.
        background: Fill of the corners, one value a band, alpha not premultiplied.
    """
    quarter, rest = divmod(degrees % 360, 90)
    if rest == 0:
        return (pixels, pixels.rot90(), pixels.rot180(), pixels.rot270())[int(quarter) % 4]
    fill = list(background)
    if not pixels.hasalpha():
        return _turn_about_middle(pixels, degrees, fill)
    # The operation premultiplies by itself, but takes its background as premultiplied, and would cut off fractions.
    opacity = fill[-1] / white_level(pixels)
    fill = [value * opacity for value in fill[:-1]] + fill[-1:]
    return _turn_about_middle(pixels.cast("float"), degrees, fill).rint().cast(pixels.format)


def _turn_about_middle(pixels: "pyvips.Image", degrees: float, background: list[float]) -> "pyvips.Image":
    """Turn so that the middle of the picture is the middle of the canvas, which holds every corner."""
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    width, height = turned_size(pixels.width, pixels.height, degrees)
    return pixels.affine(
        [cosine, -sine, sine, cosine],
        interpolate=pyvips.Interpolate.new("bicubic"),
        oarea=[0, 0, width, height],
        idx=(1 - pixels.width) / 2,
        idy=(1 - pixels.height) / 2,
        odx=(width - 1) / 2,
        ody=(height - 1) / 2,
        background=background,
    )


def cut_out(image: Image, box: Box, width: int, height: int) -> Image:
    """A box of every frame, scaled to exactly that size; decoded no larger than needed."""
    scale = max(width / box.width, height / box.height)
    source = replace(image, pixels=image.reduced(scale)) if scale < 1 else image
    across, down = source.width / image.width, source.height / image.height
    wide = max(1, min(source.width, rounded(box.width * across)))
    high = max(1, min(source.height, rounded(box.height * down)))
    left = min(rounded(box.left * across), source.width - wide)
    top = min(rounded(box.top * down), source.height - high)

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        cut = frame.crop(left, top, wide, high)
        return cut if (wide, high) == (width, height) else premultiplied(cut, lambda p: resized(p, width, height))

    return source.map_frames(change)


def masked(pixels: "pyvips.Image", mask: "pyvips.Image") -> "pyvips.Image":
    """Multiply alpha by an 8-bit mask of the same size; colour that becomes invisible is erased."""
    white = white_level(pixels)
    depth = pixels.format
    bands = color_bands(pixels)
    if pixels.hasalpha():
        alpha = (pixels[bands] * mask / 255).rint().cast(depth)
    else:
        alpha = mask if white == 255 else (mask * (white / 255)).cast(depth)
    color = pixels.extract_band(0, n=bands)
    return (alpha > 0).ifthenelse(color, 0).cast(depth).bandjoin(alpha).copy(interpretation=pixels.interpretation)


def paint(pixels: "pyvips.Image", mask: "pyvips.Image", color: Sequence[float]) -> "pyvips.Image":
    """Paint one colour through an 8-bit mask of the same size, as if laid over the picture.

    Args:
        pixels: The picture, with or without alpha.
        mask: 0 leaves a pixel, 255 covers it.
        color: One value a band without alpha, at the depth of the picture (see `color.ink`).
    """
    if not pixels.hasalpha():
        return mask.ifthenelse(list(color), pixels, blend=True).copy(interpretation=pixels.interpretation)
    white = white_level(pixels)
    over = mask / 255
    cover = pixels.premultiply(max_alpha=white) * (1 - over) + over * [*color, white]
    flat = cover.copy(interpretation=pixels.interpretation).unpremultiply(max_alpha=white)
    return flat.rint().cast(pixels.format).copy(interpretation=pixels.interpretation)


def rounded_mask(width: int, height: int, radius_x: float, radius_y: float) -> "pyvips.Image":
    """An 8-bit mask of a rectangle with elliptic corners; half the sides as radii make an ellipse.

    Each pixel holds the share of it that lies inside, exact across and from 8 lines down.
    """
    mask = np.full((height, width), 255, np.uint8)
    rows, columns = min(height, -int(-radius_y // 1)), min(width, -int(-radius_x // 1))
    left = np.arange(columns, dtype=np.float32)
    for start in range(0, rows, MASK_ROWS):
        count = min(MASK_ROWS, rows - start)
        cover = np.zeros((count, columns), np.float32)
        for line in range(SUBLINES):
            down = start + np.arange(count, dtype=np.float64)[:, None] + (line + 0.5) / SUBLINES
            outside = np.clip((radius_y - np.minimum(down, height - down)) / radius_y, 0, 1)
            edge = (radius_x * (1 - np.sqrt(1 - outside**2))).astype(np.float32)
            cover += np.clip(np.minimum(left + 1, width - edge) - np.maximum(left, edge), 0, 1)
        corner = np.floor(cover * (255 / SUBLINES) + 0.5).astype(np.uint8)
        top, bottom = slice(start, start + count), slice(height - start - count, height - start)
        mask[top, :columns] = corner
        mask[top, width - columns :] = corner[:, ::-1]
        mask[bottom, :columns] = corner[::-1]
        mask[bottom, width - columns :] = corner[::-1, ::-1]
    return pyvips.Image.new_from_memory(mask.tobytes(), width, height, 1, "uchar")
