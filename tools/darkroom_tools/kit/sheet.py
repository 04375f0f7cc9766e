"""Several pictures laid side by side on one sheet."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from darkroom_tools.image import Format, Image
from darkroom_tools.kit.color import parse_color
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.pixels import (
    as_array,
    as_color,
    first_frame,
    masked,
    premultiplied,
    resized,
    rounded_mask,
    white_level,
    with_alpha,
)
from darkroom_tools.kit.wanted_format import LOSSY
from darkroom_tools.native import np, pyvips

__all__ = ["Part", "Sheet", "offset", "rounded_corners", "sheet_image", "shown"]

# Beyond this a picture is cut before it is scaled. Only a line a few pixels wide gets there when it covers a box.
MOST_ON_THE_WAY: Final = 1_000_000


class Part(NamedTuple):
    """What is seen of a picture in its box, and where in the box it starts."""

    pixels: "pyvips.Image"
    left: int
    top: int


class Sheet:
    """A canvas in sRGB that pictures are laid on, one after the other and never over one another.

    Each is computed when it is laid, so that no two sources need to be in memory at once.

    Args:
        width: Pixels across.
        height: Pixels down.
        background: `#RRGGBB`, seen also through pictures with alpha, or `transparent`.
        deep: 16 bits a band instead of 8.
    """

    def __init__(self, width: int, height: int, background: str, *, deep: bool) -> None:
        scale = 257 if deep else 1
        clear = background == "transparent"
        self._ink = [0.0] * 4 if clear else [float(value * scale) for value in parse_color(background)[:3]]
        self._clear = clear
        self._space = "rgb16" if deep else "srgb"
        row = np.empty((width, len(self._ink)), np.uint16 if deep else np.uint8)
        row[:] = self._ink
        self._canvas = np.empty((height, *row.shape), row.dtype)
        # Row by row is many times faster than pixel by pixel.
        self._canvas[:] = row

    def lay(self, pixels: "pyvips.Image", left: int, top: int) -> None:
        """Put a picture, which must lie wholly inside, with its top left corner there."""
        if pixels.format != ("ushort" if self._space == "rgb16" else "uchar"):
            pixels = pixels.colourspace(self._space)
        pixels = as_color(pixels)
        if self._clear:
            pixels = with_alpha(pixels)
        elif pixels.hasalpha():
            pixels = pixels.flatten(background=self._ink, max_alpha=white_level(pixels))
        self._canvas[top : top + pixels.height, left : left + pixels.width] = as_array(pixels)

    def pixels(self) -> "pyvips.Image":
        """The sheet as a picture; nothing may be laid on it any more."""
        height, width, bands = self._canvas.shape
        depth = "ushort" if self._space == "rgb16" else "uchar"
        made = pyvips.Image.new_from_memory(self._canvas.data, width, height, bands, depth)
        return made.copy(interpretation=self._space)


def sheet_image(
    pixels: "pyvips.Image", images: Sequence[Image], format: Format, quality: int, background: str
) -> Image:
    """The finished sheet as the result of a tool: with the warnings and the metadata of all its pictures.

    `quality` holds for lossy formats; a PNG keeps all its colours.
    """
    first = images[0]
    metadata = frozenset[str]().union(*(image.source.metadata for image in images))
    warnings = dict.fromkeys(text for image in images for text in image.warnings)
    if any(image.frames > 1 for image in images):
        warnings["Only the first frame of an animation was used."] = None
    made = replace(
        first_frame(first),
        pixels=pixels,
        source=replace(first.source, metadata=metadata),
        warnings=tuple(warnings),
        reload=None,
    )
    made = made.encode_as(format=format, quality=quality if format in LOSSY else None, target_bytes=None)
    return made if background == "transparent" else made.encode_as(background=background)


def shown(image: Image, size: tuple[int, int], corner: tuple[int, int], box: tuple[int, int]) -> Part:
    """The first frame scaled to exactly `size`, as far as it is inside a box; decoded no larger than needed.

    Args:
        image: The picture.
        size: Width and height of the whole picture, before it is cut at the box.
        corner: Left and top of the whole picture in the box; negative where it starts before it.
        box: Width and height.
    """
    still = first_frame(image)
    if max(size) > MOST_ON_THE_WAY:
        across = _seen(still.width, size[0], corner[0], box[0])
        down = _seen(still.height, size[1], corner[1], box[1])
        still = still.with_pixels(still.pixels.crop(across.start, down.start, across.length, down.length))
        size, corner = (across.size, down.size), (across.corner, down.corner)
    scale = max(size[0] / still.width, size[1] / still.height)
    pixels = still.reduced(scale) if scale < 1 else still.pixels
    if (pixels.width, pixels.height) != size:
        pixels = premultiplied(pixels, lambda p: resized(p, *size))
    left, top = max(0, corner[0]), max(0, corner[1])
    right, bottom = min(box[0], corner[0] + size[0]), min(box[1], corner[1] + size[1])
    if (right - left, bottom - top) != size:
        pixels = pixels.crop(left - corner[0], top - corner[1], right - left, bottom - top)
    return Part(pixels, left, top)


class _Seen(NamedTuple):
    """Of one side of a picture: what to cut from the source, and length and place of that when it is scaled."""

    start: int
    length: int
    size: int
    corner: int


def _seen(length: int, size: int, corner: int, box: int) -> _Seen:
    """The pixels of one side that reach into the box, and one more at each end for the resampling."""
    scale = size / length
    start = max(0, math.floor(-corner / scale) - 1)
    end = min(length, math.ceil((box - corner) / scale) + 1)
    return _Seen(start, end - start, max(1, rounded((end - start) * scale)), corner + rounded(start * scale))


def offset(room: int, length: int, share: float) -> int:
    """Where something of `length` starts in `room`: at the start for 0, in the middle for 0.5, at the end for 1.

    What is longer than its room starts before it, so that the same share of it is seen.
    """
    return rounded((room - length) * share)


def rounded_corners(pixels: "pyvips.Image", radius: float) -> "pyvips.Image":
    """The picture with transparent corners of `radius` pixels, at most half of its shorter side."""
    if radius <= 0:
        return pixels
    most = min(radius, pixels.width / 2, pixels.height / 2)
    return masked(pixels, rounded_mask(pixels.width, pixels.height, most, most))
