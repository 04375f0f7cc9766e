"""Sizes and boxes: exact rounding, fitting, and the limit of what a tool may be asked to make."""

import math
from typing import Final, NamedTuple

from darkroom_tools.errors import OutputTooLarge

__all__ = ["MAX_SIDE", "Box", "check_output", "largest_box", "proportional", "rounded", "turned_size"]

MAX_SIDE: Final = 16_384
MAX_PIXELS: Final = 100_000_000


class Box(NamedTuple):
    """A rectangle in whole pixels."""

    left: int
    top: int
    width: int
    height: int


def rounded(value: float) -> int:
    """The nearest whole number, halves upwards: floor(value + 0.5); at most 10⁹, more than any picture has."""
    return math.floor(min(value, 1e9) + 0.5)


def proportional(length: int, numerator: int, denominator: int) -> int:
    """`length` × `numerator` / `denominator` in exact arithmetic, halves upwards, never 0."""
    return max(1, (2 * length * numerator + denominator) // (2 * denominator))


def largest_box(width: int, height: int, ratio_width: float, ratio_height: float) -> tuple[int, int]:
    """Width and height of the largest rectangle of the ratio inside `width` × `height`."""
    if width * ratio_height > height * ratio_width:
        return min(width, max(1, rounded(height * ratio_width / ratio_height))), height
    return width, min(height, max(1, rounded(width * ratio_height / ratio_width)))


def turned_size(width: int, height: int, degrees: float) -> tuple[int, int]:
    """Width and height of the upright box around a rectangle turned by `degrees`, rounded up."""
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    # Right angles must not gain a pixel from the last bit of a sine.
    return (
        max(1, math.ceil(width * cosine + height * sine - 1e-6)),
        max(1, math.ceil(width * sine + height * cosine - 1e-6)),
    )


def check_output(width: int, height: int, frames: int = 1) -> None:
    """Refuse a result that would be over the output limits, before any pixel is computed.

    These are the limits of a default server; the encoder enforces the configured ones.

    Raises:
        OutputTooLarge: A side is over 16384 pixels, or all frames together are over 100 megapixels.
    """
    if max(width, height) > MAX_SIDE or width * height * frames > MAX_PIXELS:
        many = f" in {frames} frames" if frames > 1 else ""
        raise OutputTooLarge(
            f"The result would be {width}×{height} pixels{many}; at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS // 1_000_000} megapixels in all are made. Ask for a smaller size.",
            width=width,
            height=height,
            limit={"side": MAX_SIDE, "pixels": MAX_PIXELS},
        )
