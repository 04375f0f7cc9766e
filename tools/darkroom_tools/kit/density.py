"""How many pixels an inch a file says its picture has."""

import math
import struct
from typing import Final

from darkroom_tools.native import pyvips

__all__ = ["JFIF_BYTES", "pixels_of", "pixels_per_inch", "stating_density", "with_density"]

MILLIMETRES_PER_INCH: Final = 25.4
# What libvips fills in, in pixels a millimetre, where a JPEG, a PNG or another file states no density.
ASSUMED: Final = (72 / MILLIMETRES_PER_INCH, 2.834, 1.0)

JFIF_BYTES: Final = 18
"""Size of the segment in which a JPEG states its density."""


def pixels_per_inch(header: "pyvips.Image") -> float | None:
    """The density that the header of a file states; None where it says nothing."""
    stated = bool(header.get_typeof("resolution-unit"))
    assumed = any(math.isclose(header.xres, default, abs_tol=1e-4) for default in ASSUMED)
    return float(header.xres) * MILLIMETRES_PER_INCH if stated or not assumed else None


def pixels_of(millimetres: float, density: float) -> int:
    """The whole pixels of a length on paper, at least one."""
    return max(1, math.floor(millimetres / MILLIMETRES_PER_INCH * density + 0.5))


def with_density(pixels: "pyvips.Image", density: float) -> "pyvips.Image":
    """The same pixels, which savers of PNG and TIFF write as so many an inch."""
    per_millimetre = density / MILLIMETRES_PER_INCH
    stated = pixels.copy(xres=per_millimetre, yres=per_millimetre)
    stated.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    return stated


def stating_density(jpeg: bytes, density: float) -> bytes:
    """A JPEG with a JFIF header (ITU-T T.871) that states its density, which libvips writes only beside all metadata.

    Args:
        jpeg: A whole file; a JFIF header that it has is replaced.
        density: Pixels an inch, 1 to 65535.
    """
    rest = jpeg[2:]
    if rest[:2] == b"\xff\xe0" and rest[4:9] == b"JFIF\0":
        rest = rest[2 + int.from_bytes(rest[2:4]) :]
    whole = max(1, min(65535, round(density)))
    return jpeg[:2] + struct.pack(">HH5sHBHHBB", 0xFFE0, 16, b"JFIF\0", 0x0102, 1, whole, whole, 0, 0) + rest
