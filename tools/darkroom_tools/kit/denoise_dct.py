"""Noise removal by shrinking the cosine transforms of overlapping blocks.

A block of a photograph has few large coefficients; noise is in all of them alike. Each block is transformed, what does
not rise above the noise is dropped, and every pixel is the weighted mean of all blocks that hold it: the fewer
coefficients a block needed, the more it counts. A second stage takes the first one's result as its model of the
picture and weighs each coefficient by signal / (signal + noise).

Sources: Yu and Sapiro, "DCT image denoising", IPOL 2011; Pierazzo, Rais, Morel and Facciolo, "DA3D", and "Multi-scale
DCT denoising", IPOL 2017, for weights and the second stage.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from darkroom_tools.native import np

__all__ = ["SIDE", "TIERS", "Noise", "Shrinkage", "Stage", "cosine_basis", "shrunk"]

THRESHOLD: Final = 2.7
"""Standard deviations of the noise below which a coefficient is dropped."""


FLAT: Final = 0.75
"""Mean weight of a pixel's blocks up to which there is structure: noise alone leaves fewer than one in a hundred."""


SIDE: Final = 8
"""Side of the blocks for which a spectrum is given."""


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of one plane.

    Attributes:
        spectrum: Standard deviation of each coefficient of blocks of 8 × 8 pixels.
        curve: What that is multiplied by where the brightness is 0 to 255.
    """

    spectrum: "np.ndarray"
    curve: "np.ndarray"

    @classmethod
    def white(cls, deviation: float) -> "Noise":
        """Noise that is the same everywhere, in all frequencies."""
        return cls(np.full((SIDE, SIDE), deviation, np.float32), np.ones(256, np.float32))

    @property
    def level(self) -> float:
        """The standard deviation of a pixel at the middle of the curve."""
        return float(np.sqrt(np.mean(np.square(self.spectrum.reshape(-1)[1:]))))

    def times(self, factor: float) -> "Noise":
        """So many times as strong."""
        return Noise(self.spectrum * np.float32(factor), self.curve)

    def of_blocks(self, size: int) -> "np.ndarray":
        """Standard deviation of the coefficients of larger blocks: the same frequencies."""
        places = np.minimum(np.arange(size) * SIDE / size, SIDE - 1)
        along = np.stack([np.interp(places, np.arange(SIDE), row) for row in self.spectrum])
        both = np.stack([np.interp(places, np.arange(SIDE), column) for column in along.T], 1)
        return np.asarray(both, np.float32)


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass of overlapping blocks.

    Attributes:
        size: Side of a block in pixels.
        shifts: Where the grids of blocks begin, down and across, each below `size`.
    """

    size: int
    shifts: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Shrinkage:
    """How thoroughly noise is sought.

    Attributes:
        first: The pass that drops coefficients.
        second: The pass that weighs them, None for none.
    """

    first: Stage
    second: Stage | None = None

    @property
    def reach(self) -> int:
        """Pixels around a place that its result depends on."""
        return self.first.size - 1 + (self.second.size - 1 if self.second else 0)


def _lattice(size: int, step: int) -> tuple[tuple[int, int], ...]:
    """One shift a row of a block, spread evenly: half as many as a square grid needs for the same quality."""
    return tuple((row, step * row % size) for row in range(size))


TIERS: Final[Mapping[str, Shrinkage]] = MappingProxyType(
    {
        "fast": Shrinkage(Stage(8, ((0, 0), (2, 4), (4, 2), (6, 6)))),
        "balanced": Shrinkage(Stage(8, _lattice(8, 3))),
        "best": Shrinkage(Stage(16, _lattice(16, 5)[::2]), Stage(8, _lattice(8, 3))),
        "maximum": Shrinkage(Stage(16, _lattice(16, 5)), Stage(12, _lattice(12, 5))),
    }
)
"""By tier, each about twice to three times the work of the one before."""


def shrunk(
    plane: "np.ndarray", noise: Noise, how: Shrinkage, light: "np.ndarray | None" = None
) -> "tuple[np.ndarray, np.ndarray]":
    """Remove noise from one plane that is at least a block wide and high.

    Args:
        plane: Rows × columns, float32; its outermost `how.reach` pixels are for context only.
        noise: What it has, in the same unit.
        how: How thoroughly.
        light: What the curve of the noise says of each pixel (see `lightness`), None where it is 1.

    Returns:
        The plane, and where there is structure: 0 where all blocks were flat, towards 1 the more they hold.
    """
    made, structure = _pass(plane, noise, how.first, None, light)
    if how.second is not None:
        made, structure = _pass(plane, noise, how.second, made, light)
    return made, structure


def _pass(
    plane: "np.ndarray", noise: Noise, stage: Stage, model: "np.ndarray | None", light: "np.ndarray | None"
) -> "tuple[np.ndarray, np.ndarray]":
    size = stage.size
    total, weight = np.zeros_like(plane), np.full_like(plane, 1e-6)
    spectrum = np.tile(noise.of_blocks(size), (1, plane.shape[1] // size))
    for down, across in stage.shifts:
        place = _grid(plane.shape, size, down, across)
        values = _transformed(plane[place], size)
        deviations = spectrum[None, :, : values.shape[2]]
        if light is not None:
            centers = light[down + size // 2 :: size, across + size // 2 :: size]
            centers = centers[: len(values), : values.shape[2] // size]
            deviations = deviations * np.repeat(centers, size, axis=1)[:, None]
        if model is None:
            share = _dropped(values, deviations)
        else:
            share = _weighed(values, _transformed(model[place], size), deviations)
        back = _restored(values)
        back *= share
        part = total[place]
        part += back.reshape(part.shape)
        # Splitting rows makes a view, so that adding goes into `weight` itself.
        part = weight[place].reshape(back.shape)
        part += share
    alone = weight / np.float32(len(stage.shifts))
    return total / weight, np.clip(1 - alone / np.float32(FLAT), 0, 1)


def _grid(shape: Sequence[int], size: int, down: int, across: int) -> tuple[slice, slice]:
    """The part of a plane that whole blocks cover."""
    rows, columns = (shape[0] - down) // size * size, (shape[1] - across) // size * size
    return slice(down, down + rows), slice(across, across + columns)


def _transformed(part: "np.ndarray", size: int) -> "np.ndarray":
    """The coefficients: rows of blocks × `size` × columns, block beside block."""
    rows, columns = part.shape
    high = np.matmul(cosine_basis(size), part.reshape(rows // size, size, columns))
    return np.asarray((high.reshape(-1, size) @ _turned(size)).reshape(high.shape))


def _restored(values: "np.ndarray") -> "np.ndarray":
    size = values.shape[1]
    wide = (values.reshape(-1, size) @ cosine_basis(size)).reshape(values.shape)
    return np.asarray(np.matmul(_turned(size), wide))


def _dropped(values: "np.ndarray", deviations: "np.ndarray") -> "np.ndarray":
    """Drop small coefficients in place; a block's weight is one over the number of the others."""
    size = values.shape[1]
    kept = (np.abs(values) > deviations * np.float32(THRESHOLD)).astype(np.float32)
    kept[:, 0, ::size] = 1
    values *= kept
    return 1 / _sums(kept)


def _weighed(values: "np.ndarray", model: "np.ndarray", deviations: "np.ndarray") -> "np.ndarray":
    """Weigh coefficients in place by what the model says of them."""
    size = values.shape[1]
    model *= model
    gain = model / (model + (deviations * deviations + np.float32(1e-6)))
    gain[:, 0, ::size] = 1
    values *= gain
    gain *= gain
    return 1 / _sums(gain)


def _sums(values: "np.ndarray") -> "np.ndarray":
    """The sum of each block, for each of its columns."""
    down, size, _ = values.shape
    lines = values.reshape(-1, size) @ np.ones(size, np.float32)
    return np.repeat(lines.reshape(down, size, -1).sum(1), size, axis=1)[:, None, :]


@functools.cache
def cosine_basis(size: int) -> "np.ndarray":
    """The orthonormal cosine transform (DCT-II) as a matrix."""
    step = np.arange(size)
    basis = np.sqrt(2 / size) * np.cos(np.pi * (2 * step[None] + 1) * step[:, None] / (2 * size))
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


@functools.cache
def _turned(size: int) -> "np.ndarray":
    return np.ascontiguousarray(cosine_basis(size).T)
