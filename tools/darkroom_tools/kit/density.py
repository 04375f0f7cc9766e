"""How many pixels an inch a file says its picture has."""

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pyvips

__all__ = ["pixels_per_inch"]

MILLIMETRES_PER_INCH: Final = 25.4
# What libvips fills in, in pixels a millimetre, where a JPEG, a PNG or another file states no density.
ASSUMED: Final = (72 / MILLIMETRES_PER_INCH, 2.834, 1.0)


def pixels_per_inch(header: "pyvips.Image") -> float | None:
    """The density that the header of a file states; None where it says nothing."""
    stated = bool(header.get_typeof("resolution-unit"))
    assumed = any(math.isclose(header.xres, default, abs_tol=1e-4) for default in ASSUMED)
    return float(header.xres) * MILLIMETRES_PER_INCH if stated or not assumed else None
