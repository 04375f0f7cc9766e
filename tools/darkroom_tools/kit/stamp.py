"""Colour laid on a picture through masks, touching no pixel outside them."""

from collections.abc import Sequence
from typing import Final

from darkroom_tools.image import Image
from darkroom_tools.kit.color import Rgba, ink
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.pixels import as_color, paint
from darkroom_tools.native import pyvips

__all__ = ["STREAMED", "inserted", "overlap", "stamp"]

STREAMED: Final = "vips-sequential"
"""The field by which libvips knows that pixels can be read once only, from top to bottom."""


def overlap(width: int, height: int, left: int, top: int, image: Image) -> Box | None:
    """The part of a `width` × `height` rectangle at `left`, `top` that lies in a frame of the picture.

    The answer is in coordinates of the frame; None if nothing of it is there.
    """
    first_x, first_y = max(0, left), max(0, top)
    seen_width = min(image.width, left + width) - first_x
    seen_height = min(image.height, top + height) - first_y
    return Box(first_x, first_y, seen_width, seen_height) if min(seen_width, seen_height) > 0 else None


def stamp(image: Image, coats: "Sequence[tuple[pyvips.Image, Rgba]]", left: int, top: int) -> Image:
    """Paint coats of colour on every frame, one after the other; what lies beyond the picture is cut off.

    Args:
        image: May be streamed: its pixels are read once, in order.
        coats: 8-bit masks, all of one size, with what is painted through each; the colour's alpha counts.
        left: Where the masks' left edge goes, in pixels of a frame; may be negative.
        top: Where their upper edge goes.
    """
    area = overlap(coats[0][0].width, coats[0][0].height, left, top, image)
    if area is None:
        return image
    pixels = image.pixels
    if any(not color.red == color.green == color.blue for _, color in coats):
        pixels = as_color(pixels)
    still = image.frames == 1
    # All frames share one strip, so that the work stays one operation however many there are.
    where = (area.left, area.top if still else 0)
    part = pixels.crop(*where, area.width, area.height if still else pixels.height)
    for mask, color in coats:
        seen = mask.crop(area.left - left, area.top - top, area.width, area.height)
        if color.alpha < 255:
            seen = (seen * (color.alpha / 255)).rint().cast("uchar")
        if not still:
            seen = seen.embed(0, area.top, area.width, image.height).replicate(1, image.frames)
        part = paint(part, seen, ink(part, color)[1])
    return image.with_pixels(inserted(pixels, part, *where))


def inserted(pixels: "pyvips.Image", part: "pyvips.Image", left: int, top: int) -> "pyvips.Image":
    """A picture with a part of it replaced by what was made of that part.

    A thousand lines below the part libvips closes what it was read from, if that streams; but here the rest of the
    picture is read from the same file. So the two do not say that they stream, only the result does.
    """
    if (part.width, part.height) == (pixels.width, pixels.height):
        return part
    streams = bool(pixels.get_typeof(STREAMED) or part.get_typeof(STREAMED))
    pixels, part = pixels.copy(), part.copy()
    pixels.remove(STREAMED)
    part.remove(STREAMED)
    made = pixels.insert(part, left, top)
    if streams:
        made = made.copy()
        made.set_type(pyvips.GValue.gint_type, STREAMED, 1)
    return made
