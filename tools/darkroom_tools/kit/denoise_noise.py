"""How much noise a picture has, from the picture alone.

Blocks of 8 × 8 pixels are transformed by cosines. In the flattest of them what is left is noise, and its median gives
the standard deviation. Which blocks are flat is judged by one half of the coefficients (as on a chessboard) and noise
is read from the other half, so that the choice does not bias the measure.

Source: the principle of Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", 2007, as
reviewed by Colom and Buades, IPOL 2013.
"""

import math
from typing import Final

from darkroom_tools.kit.denoise_dct import cosine_basis
from darkroom_tools.native import np

__all__ = ["opponent_noise", "sampled_blocks"]

SIDE: Final = 8
SAMPLES: Final = 8_000
"""Blocks that are looked at, spread evenly."""

FLATTEST: Final = 0.05
LEAST: Final = 32
HIGH: Final = 5
"""Sum of the two frequencies from which a coefficient is read."""

CLIPPED: Final = 12
"""Values of a block at black or white above which noise may be cut off in it."""

MEDIAN_OF_SQUARE: Final = 0.45494
"""The median of the square of a normal variable of deviation 1."""


def opponent_noise(pixels: "np.ndarray", white: int) -> tuple[float, ...]:
    """The standard deviation of noise in each plane of the opponent colours, in steps of 255.

    Those are the cosine transform of red, green and blue: their sum, red against blue, and green against both, so
    scaled that white noise is as strong in each. Grey has one. What is clipped or transparent does not count.

    Args:
        pixels: Rows × columns × bands, unsigned; of two or four bands the last is alpha.
        white: The value of white.
    """
    bands = pixels.shape[2]
    colors = bands - (bands in (2, 4))
    blocks = sampled_blocks(pixels) if min(pixels.shape[:2]) >= SIDE else pixels[:0, :0].reshape(0, bands, 1)
    if bands > colors:
        blocks = blocks[(blocks[:, colors] > 0).all(1), :colors]
    clear = ((blocks == 0) | (blocks == white)).sum((1, 2)) <= CLIPPED
    if clear.sum() >= LEAST:
        blocks = blocks[clear]
    if not len(blocks):
        return tuple([0.0] * colors)
    basis = cosine_basis(SIDE)
    values = blocks.astype(np.float32) * np.float32(255 / white)
    planes = np.einsum("kc,ncp->knp", cosine_basis(colors), values) @ np.kron(basis, basis).T
    return tuple(_deviation(plane) for plane in planes)


def sampled_blocks(pixels: "np.ndarray") -> "np.ndarray":
    """Blocks × bands × 64; their distance is odd, so they stand on no grid that the picture was stored in."""
    rows, columns, bands = pixels.shape
    step = max(3, math.isqrt(rows * columns // SAMPLES) | 1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE), axis=(0, 1))
    return windows[::step, ::step].reshape(-1, bands, SIDE * SIDE)


def _deviation(coefficients: "np.ndarray") -> float:
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    white_squares, high = (down + across) % 2 == 0, down + across >= HIGH
    squares = coefficients * coefficients
    count = min(len(squares), max(LEAST, int(len(squares) * FLATTEST)))
    found = []
    for judged in (white_squares, ~white_squares):
        energy = squares[:, judged & (down + across > 0)].sum(1)
        flattest = np.argpartition(energy, count - 1)[:count]
        found.append(float(np.median(squares[flattest][:, ~judged & high])) / MEDIAN_OF_SQUARE)
    return math.sqrt(sum(found) / 2)
