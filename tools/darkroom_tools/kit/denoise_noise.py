"""How much noise a picture has, from the picture alone: at which brightness, and in which frequencies.

Blocks of 8 × 8 pixels are transformed by cosines. In the flattest of them, of each brightness, what is left is noise.
Which blocks are flat is judged by one half of the coefficients (as on a chessboard) and noise is read from the other
half, so that the choice does not bias the measure.

Source: the principle of Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", 2007, and of
Colom and Buades, "Analysis and extension of the Ponomarenko et al. method", IPOL 2013.
"""

import math
from typing import Final

from darkroom_tools.kit.denoise_dct import SIDE, Noise, cosine_basis
from darkroom_tools.native import np

__all__ = ["measured_noise", "sampled_blocks"]

SAMPLES: Final = 8_000
"""Blocks that are looked at, spread evenly."""

FLATTEST: Final = 0.04
"""Share of them that is taken for flat."""

LEAST: Final = 24
CLIPPED: Final = 12
"""Values of a block at black or white above which noise may be cut off in it."""

BLOCKS_PER_BIN: Final = 1_600
MOST_BINS: Final = 6
UNLIKELY: Final = 1.5
"""Times the median above which the level of one brightness is rather structure."""

LOWEST: Final = 2
"""Sum of the two frequencies up to which even flat blocks hold shading."""

HIGH: Final = 5
"""Sum of the two frequencies from which there is hardly any structure in flat blocks."""

SILENT: Final = 0.35
"""Deviation up to which there is no noise: rounding alone makes 0.29."""

OF_MEDIAN: Final = 0.4549
"""The median of the square of a normal variable of deviation 1."""

TRIMMED: Final = 0.95
OF_TRIMMED: Final = 0.7588
"""The mean of the smallest 95 % of the squares of a normal variable of deviation 1."""


def measured_noise(pixels: "np.ndarray", white: int) -> list[Noise]:
    """The noise in each plane of the opponent colours, in steps of 255.

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
        return [Noise.white(0)] * colors
    values = blocks.astype(np.float32) * np.float32(255 / white)
    means = values.mean((1, 2))
    basis = cosine_basis(SIDE)
    planes = np.einsum("kc,ncp->knp", cosine_basis(colors), values) @ np.kron(basis, basis).T
    # JPEG drops the high frequencies of colour first: where lightness has noise, colour is taken to have some too.
    squares = planes * planes
    loud = [_plain_level(plane) > SILENT for plane in squares]
    return [
        _noise(plane, means) if own or loud[0] else Noise.white(0) for own, plane in zip(loud, squares, strict=True)
    ]


def sampled_blocks(pixels: "np.ndarray") -> "np.ndarray":
    """Blocks × bands × 64; their distance is odd, so they stand on no grid that the picture was stored in."""
    rows, columns, bands = pixels.shape
    step = max(3, math.isqrt(rows * columns // SAMPLES) | 1)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (SIDE, SIDE), axis=(0, 1))
    return windows[::step, ::step].reshape(-1, bands, SIDE * SIDE)


def _noise(squares: "np.ndarray", means: "np.ndarray") -> Noise:
    """Of one plane: the levels of each brightness, then the spectrum of all when their levels are made equal."""
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    light, low = (down + across) % 2 == 0, down + across <= LOWEST
    order = np.argsort(means, kind="stable")
    bins = np.array_split(order, min(MOST_BINS, max(1, len(order) // BLOCKS_PER_BIN)))
    halves = [(light, ~light), (~light, light)]
    flat = [[_flattest(squares, members, judged & (down + across > 0)) for members in bins] for judged, _ in halves]
    levels = np.array(
        [
            sum(float(np.median(squares[flat[n][b]][:, read & ~low].mean(1))) for n, (_, read) in enumerate(halves)) / 2
            for b in range(len(bins))
        ]
    )
    levels = np.minimum(levels, UNLIKELY**2 * np.median(levels))
    spectrum = np.zeros(SIDE * SIDE)
    for n, (_, read) in enumerate(halves):
        same = [squares[chosen][:, read] / max(level, 1e-6) for chosen, level in zip(flat[n], levels, strict=True)]
        spectrum[read] = _trimmed_mean(np.concatenate(same))
    spectrum[low] = np.minimum(spectrum[low], 1.5 * spectrum[down + across == LOWEST + 1].max())
    mean_level = levels.mean()
    curve = np.interp(
        np.arange(256), [float(means[members].mean()) for members in bins], np.sqrt(levels / max(mean_level, 1e-9))
    )
    deviations = np.sqrt(spectrum * mean_level).reshape(SIDE, SIDE)
    return Noise(deviations.astype(np.float32), curve.astype(np.float32))


def _plain_level(squares: "np.ndarray") -> float:
    """The deviation in high frequencies, by the median, which a few edges do not move."""
    down, across = np.divmod(np.arange(SIDE * SIDE), SIDE)
    light, high, found = (down + across) % 2 == 0, down + across >= HIGH, 0.0
    for judged in (light, ~light):
        chosen = _flattest(squares, np.arange(len(squares)), judged & (down + across > 0))
        found += float(np.median(squares[chosen][:, ~judged & high]))
    return math.sqrt(found / 2 / OF_MEDIAN)


def _flattest(squares: "np.ndarray", members: "np.ndarray", judged: "np.ndarray") -> "np.ndarray":
    energy = squares[members][:, judged].sum(1)
    count = min(len(members), max(LEAST, int(len(members) * FLATTEST)))
    return np.asarray(members[np.argpartition(energy, count - 1)[:count]])


def _trimmed_mean(values: "np.ndarray") -> "np.ndarray":
    """The mean of each column without its largest values, as if it were normal noise."""
    kept = max(1, int(len(values) * TRIMMED))
    return np.asarray(np.partition(values, kept - 1, axis=0)[:kept].mean(0) / OF_TRIMMED)
