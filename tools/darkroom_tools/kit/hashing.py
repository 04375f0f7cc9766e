"""A fingerprint of how a picture looks, for finding copies that were scaled, compressed or slightly changed.

Source: the difference hash (dHash) as N. Krawetz described it: one bit for each pair of neighbouring cells, here of 64
pairs along rows and 64 along columns.
"""

from dataclasses import dataclass
from typing import Final

from darkroom_tools.image import Image
from darkroom_tools.kit.pixels import as_array, color_bands, first_frame, premultiplied, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["BITS", "Fingerprint", "distance", "fingerprint"]

BITS: Final = 128
CELLS: Final = 8
SIDE: Final = CELLS * (CELLS + 1)
"""The side of the square that is hashed, so that 8 and 9 cells both have whole pixels."""

FLAT: Final = 6.0
"""Levels of 255 between the darkest and the lightest cell of a picture that has nothing to hash but its tone."""

LUMA: Final = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What two pictures are compared by.

    Attributes:
        bits: 128 booleans.
        flat: Whether the picture has one tone, so that its bits are chance.
        colour: Mean red, green and blue, 0 to 255.
    """

    bits: "np.ndarray"
    flat: bool
    colour: "np.ndarray"


def fingerprint(image: Image) -> Fingerprint:
    """The fingerprint of a picture or of its first frame, seen on white; its pixels are read once."""
    colours = _square(image)
    grey = colours @ np.array(LUMA)
    rows = _cells(grey, CELLS, CELLS + 1)
    columns = _cells(grey, CELLS + 1, CELLS)
    # Rounding, because a smooth picture must not get its bits from the noise of the last digit.
    across = np.diff(np.round(rows, 2), axis=1) > 0
    down = np.diff(np.round(columns, 2), axis=0) > 0
    flat = float(np.ptp(rows)) < FLAT and float(np.ptp(columns)) < FLAT
    return Fingerprint(np.concatenate([across.ravel(), down.ravel()]), flat, colours.mean(axis=(0, 1)))


def distance(one: Fingerprint, other: Fingerprint) -> int:
    """How many of 128 bits differ.

    Pictures of one tone count as equal where their colours are less than 6 levels apart, and as unlike every other.
    """
    if one.flat or other.flat:
        alike = one.flat and other.flat and float(np.abs(one.colour - other.colour).max()) < FLAT
        return 0 if alike else BITS
    return int(np.count_nonzero(one.bits != other.bits))


def _square(image: Image) -> "np.ndarray":
    """The picture squeezed into 72 × 72 pixels of red, green and blue, 0 to 255."""
    scale = min(1.0, max(SIDE / image.width, SIDE / image.height))
    if image.frames > 1:
        pixels = first_frame(image).pixels
    else:
        pixels = image.reduced(scale)
    white = white_level(pixels)
    small = premultiplied(pixels, lambda p: _squeezed(p))
    if small.hasalpha():
        small = small.flatten(background=[white] * color_bands(small), max_alpha=white)
    array = as_array(small).astype(np.float64) * (255 / white)
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def _squeezed(pixels: "pyvips.Image") -> "pyvips.Image":
    across, down = SIDE / pixels.width, SIDE / pixels.height
    scaled = pixels.resize(across, vscale=down, kernel="linear")
    return scaled.gravity("north-west", SIDE, SIDE, extend="copy").copy_memory()


def _cells(grey: "np.ndarray", down: int, across: int) -> "np.ndarray":
    """The mean of each of `down` × `across` cells."""
    means: np.ndarray = grey.reshape(down, SIDE // down, across, SIDE // across).mean(axis=(1, 3))
    return means
