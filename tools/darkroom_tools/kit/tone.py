"""Point operations: what becomes of a pixel depends on nothing but its own colour.

A chain of them costs one pass. Operations that treat each channel on its own become one lookup table; from the first
that mixes channels on, the rest is computed with floats, strip by strip, without rounding in between.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_tools.kit.pixels import as_color, color_bands, white_level
from darkroom_tools.kit.strips import by_strips
from darkroom_tools.native import np, pyvips

__all__ = ["Planes", "PointStep", "apply_point_steps", "mixed", "recombination", "rgb"]

BLOCK: Final = 4
"""Pixels that are multiplied by a matrix at once."""

Planes = list["np.ndarray"]
"""One plane of grey, or those of red, green and blue."""


@dataclass(frozen=True, slots=True)
class PointStep:
    """One operation.

    Attributes:
        change: Gets the planes and the value of white and answers with new planes, and leaves those that it got as they are.
            Grey may become colour, and colour grey. What is below black or above white is cut off afterwards.
        mixes: Whether a plane of the result depends on more than one.
        matrix: What colour is multiplied by, where that is all that the step does.
    """

    change: Callable[[Planes, float], Planes]
    mixes: bool = False
    matrix: "np.ndarray | None" = None


def recombination(matrix: "np.ndarray") -> PointStep:
    """Multiply red, green and blue by a 3 × 3 matrix; grey becomes colour."""
    rows: list[list[float]] = matrix.tolist()
    return PointStep(lambda planes, white: [mixed(rgb(planes), row) for row in rows], mixes=True, matrix=matrix)


def apply_point_steps(pixels: "pyvips.Image", steps: Sequence[PointStep]) -> "pyvips.Image":
    """Apply the steps to all colour bands; alpha stays as it is."""
    colors, white = color_bands(pixels), white_level(pixels)
    made = len(_run([np.zeros(1, np.float32)] * colors, steps, white))
    if made > colors:
        pixels, colors = as_color(pixels), made
    first = next((number for number, step in enumerate(steps) if step.mixes), len(steps))
    ramp = np.arange(white + 1, dtype=np.float32)
    tables = _run([ramp] * colors, steps[:first], white)
    if first == len(steps):
        return _looked_up(pixels, tables)
    if len(steps) == 1 and steps[0].matrix is not None:
        return _multiplied(pixels, steps[0].matrix)
    rest, half = steps[first:], np.float32(0.5)

    def change(strip: "np.ndarray", result: "np.ndarray") -> None:
        planes = [_plane(strip[..., band], tables[band] if first else None) for band in range(colors)]
        for band, plane in enumerate(_run(planes, rest, white)):
            plane += half
            result[..., band] = plane
        result[..., made:] = strip[..., colors:]

    return by_strips(pixels, change, bands=made + pixels.bands - colors)


def rgb(planes: Planes) -> Planes:
    """Three planes, also of grey."""
    return planes * 3 if len(planes) == 1 else planes


def mixed(planes: Planes, weights: Sequence[float]) -> "np.ndarray":
    """The weighted sum of red, green and blue, as one plane."""
    red, green, blue = planes
    total: np.ndarray = red * weights[0]
    total += green * weights[1]
    total += blue * weights[2]
    return total


def _run(planes: Planes, steps: Sequence[PointStep], white: int) -> Planes:
    for step in steps:
        planes = [plane.clip(0, white, out=plane) for plane in step.change(planes, white)]
    return planes


def _plane(band: "np.ndarray", table: "np.ndarray | None") -> "np.ndarray":
    return np.asarray(band.astype(np.float32) if table is None else table[band])


def _multiplied(pixels: "pyvips.Image", matrix: "np.ndarray") -> "pyvips.Image":
    """Each pixel times the matrix: twice as fast without taking the channels apart and together again."""
    white, length = white_level(pixels), BLOCK * pixels.bands
    whole = np.eye(pixels.bands)
    whole[:3, :3] = matrix
    block = np.kron(np.eye(BLOCK), whole.T).astype(np.float32)

    def change(strip: "np.ndarray", result: "np.ndarray") -> None:
        values = np.zeros((-(-strip.size // length), length), np.float32)
        values.reshape(-1)[: strip.size] = strip.reshape(-1)
        values = values @ block
        values += np.float32(0.5)
        values.clip(0, white, out=values)
        result.reshape(-1)[:] = values.reshape(-1)[: strip.size]

    return by_strips(pixels, change)


def _looked_up(pixels: "pyvips.Image", tables: Planes) -> "pyvips.Image":
    """Each colour band through its table."""
    alpha = np.arange(len(tables[0]), dtype=np.float32)
    table = np.stack([*tables, *[alpha] * pixels.hasalpha()], axis=-1) + np.float32(0.5)
    table = table.astype(np.uint16 if len(table) > 256 else np.uint8)
    lookup = pyvips.Image.new_from_memory(table.data, len(table), 1, table.shape[1], pixels.format)
    return pixels.maplut(lookup).copy(interpretation=pixels.interpretation)
