"""Ways of sharpening. Colour that is hidden by transparency never bleeds into what is seen; alpha stays as it is."""

import functools
import math
from dataclasses import dataclass
from typing import Final

from darkroom_tools.kit.pixels import color_bands, white_level
from darkroom_tools.kit.strips import by_strips
from darkroom_tools.native import np, pyvips

__all__ = ["LUMA", "Adaptive", "adaptive", "highpass", "unsharp"]

LUMA: Final = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in the brightness of sRGB values (Rec. 709)."""

Kernel = tuple[float, ...]
"""Weights along one axis: symmetric, an odd number, 1 in sum."""

REACH: Final = 3
"""Standard deviations at which the bell curve is cut off."""

BLOCK: Final = 32
"""Columns that are convolved at once."""


@dataclass(frozen=True, slots=True)
class Adaptive:
    """How strongly differences from the neighbourhood are amplified; in lightness 0..100.

    Attributes:
        sigma: Radius of the neighbourhood in pixels, a standard deviation.
        m1: Gain of differences up to `x1`, which are mostly noise.
        m2: Gain of what exceeds `x1`.
        x1: Where edges begin.
        y2: Most that a pixel becomes lighter.
        y3: Most that a pixel becomes darker.
    """

    sigma: float = 1
    m1: float = 1
    m2: float = 3
    x1: float = 2
    y2: float = 12
    y3: float = 20

    def curve(self, difference: "np.ndarray", unit: float) -> "np.ndarray":
        """What is added for each difference; `unit` is one step of lightness in the values of the picture."""
        low = np.clip(difference, -self.x1 * unit, self.x1 * unit)
        added = self.m1 * low + self.m2 * (difference - low)
        return np.asarray(np.clip(added, -self.y3 * unit, self.y2 * unit))


def adaptive(frame: "pyvips.Image", how: Adaptive) -> "pyvips.Image":
    """Sharpen lightness by a curve that spares flat areas and limits halos.

    The scheme is that of libvips' `sharpen`, on luma (Rec. 709) instead of CIELAB: the same amount is added to red,
    green and blue, so that hue and the colour differences stay. That is five times as fast.
    """
    kernel = _bell(how.sigma)
    margin, colors, white = len(kernel) // 2, color_bands(frame), white_level(frame)

    def change(strip: "np.ndarray", result: "np.ndarray") -> None:
        inner = strip[margin : margin + len(result)]
        difference = _difference(_luma(strip[..., :colors]), kernel, _weights(strip[..., colors:]))
        added = how.curve(difference, white / 100)
        for band in range(colors):
            _store(inner[..., band] + added, result[..., band], white)
        result[..., colors:] = inner[..., colors:]

    return by_strips(frame, change, margin=margin)


def unsharp(frame: "pyvips.Image", amount: float, radius: float, threshold: float = 0) -> "pyvips.Image":
    """Add the difference between each channel and its blurred copy.

    Args:
        frame: One frame.
        amount: Share of the difference that is added; 1 doubles it.
        radius: Standard deviation of the blur in pixels.
        threshold: Differences up to this, of 255, stay as they are.
    """
    return _emphasised(frame, _bell(radius), amount, threshold)


def highpass(frame: "pyvips.Image", amount: float, size: int) -> "pyvips.Image":
    """Add the difference between each channel and its mean over `size` × `size` pixels, times `amount`."""
    return _emphasised(frame, (1 / size,) * size, amount, 0)


def _emphasised(frame: "pyvips.Image", kernel: Kernel, amount: float, threshold: float) -> "pyvips.Image":
    margin, colors, white = len(kernel) // 2, color_bands(frame), white_level(frame)
    least = threshold * white / 255

    def change(strip: "np.ndarray", result: "np.ndarray") -> None:
        inner = strip[margin : margin + len(result)]
        weights = _weights(strip[..., colors:])
        for band in range(colors):
            added = _difference(strip[..., band].astype(np.float32), kernel, weights)
            if least:
                added *= np.abs(added) > least
            added *= np.float32(amount)
            added += inner[..., band]
            _store(added, result[..., band], white)
        result[..., colors:] = inner[..., colors:]

    return by_strips(frame, change, margin=margin)


def _bell(sigma: float) -> Kernel:
    """The weights of a Gaussian blur along one axis."""
    reach = max(1, math.ceil(REACH * sigma))
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return tuple((weights / weights.sum()).tolist())


def _luma(color: "np.ndarray") -> "np.ndarray":
    if color.shape[-1] == 1:
        return np.asarray(color[..., 0], np.float32)
    luma = color[..., 0] * np.float32(LUMA[0])
    luma += color[..., 1] * np.float32(LUMA[1])
    luma += color[..., 2] * np.float32(LUMA[2])
    return np.asarray(luma)


def _difference(plane: "np.ndarray", kernel: Kernel, weights: "np.ndarray | None") -> "np.ndarray":
    """How far each value is from the mean around it, in which a pixel counts as much as it is opaque."""
    reach = len(kernel) // 2
    inner = plane[reach : len(plane) - reach]
    if weights is None:
        return np.asarray(inner - _blurred(plane, kernel))
    cover = _blurred(weights, kernel)
    mean = _blurred(plane * weights, kernel) / np.maximum(cover, 1)
    return np.asarray((inner - mean) * (cover >= 1))


def _weights(alpha: "np.ndarray") -> "np.ndarray | None":
    """Alpha as weights; None where all pixels weigh the same."""
    return alpha[..., 0].astype(np.float32) if alpha.shape[-1] and alpha.min() < alpha.max() else None


def _blurred(plane: "np.ndarray", kernel: Kernel) -> "np.ndarray":
    """Convolve along both axes; the rows of the margin are gone, columns repeat at the edge.

    Both passes are products with a matrix that holds the kernel in each row, which BLAS does far faster than sums of
    shifted copies. Across, the matrix would be mostly zeros, so it is a small one for a block of columns.
    """
    reach = len(kernel) // 2
    rows, columns = len(plane) - 2 * reach, plane.shape[1]
    blocks = -(-columns // BLOCK)
    padding = (reach, reach + blocks * BLOCK - columns)
    wide = np.pad(_down(kernel, rows) @ plane, ((0, 0), padding), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wide, BLOCK + 2 * reach, axis=1)[:, ::BLOCK]
    across = np.empty((rows, blocks, BLOCK), np.float32)
    np.matmul(windows.transpose(1, 0, 2), _across(kernel), out=across.transpose(1, 0, 2))
    return across.reshape(rows, -1)[:, :columns]


@functools.lru_cache(maxsize=8)
def _down(kernel: Kernel, rows: int) -> "np.ndarray":
    """The matrix that convolves columns of `rows` values and what stands around them, from the left."""
    matrix = np.zeros((rows, rows + len(kernel) - 1), np.float32)
    for row in range(rows):
        matrix[row, row : row + len(kernel)] = kernel
    return matrix


@functools.lru_cache(maxsize=8)
def _across(kernel: Kernel) -> "np.ndarray":
    """The matrix that convolves rows of `BLOCK` values and what stands around them, from the right."""
    return np.ascontiguousarray(_down(kernel, BLOCK).T)


def _store(values: "np.ndarray", result: "np.ndarray", white: int) -> None:
    """Round and limit, in place."""
    values += np.float32(0.5)
    np.clip(values, 0, white, out=values)
    result[...] = values
