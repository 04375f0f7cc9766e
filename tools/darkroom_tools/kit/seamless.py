"""Joining copied pieces without seams: their slopes are kept, their levels give way.

Perez, Gangnet, Blake: Poisson Image Editing, 2003. Every filled pixel came from somewhere; the differences between
neighbours there are the differences wanted here, and the known pixels around the hole stay as they are.
"""

from typing import Final

from darkroom_tools.native import np

__all__ = ["corrections"]

STEPS: Final = ((0, 1), (0, -1), (1, 0), (-1, 0))
ITERATIONS: Final = 400
CLOSE: Final = 1e-3
"""Residual, relative to that of the copied pieces, at which the levels are good enough."""


def corrections(picture: "np.ndarray", unknown: "np.ndarray", places: "np.ndarray") -> "np.ndarray":
    """What must be added to the pixels of copied pieces so that they join.

    Args:
        picture: Height × width × bands, float32; only known pixels are looked at.
        unknown: Height × width, True where pixels were filled.
        places: Row and column of the source of each pixel, height × width × 2; sources are known.

    Returns:
        Height × width × bands; 0 at known pixels.
    """
    filled = picture[places[..., 0], places[..., 1]]
    inner = unknown[..., None].astype(np.float32)
    wanted = np.zeros_like(filled)
    for step in STEPS:
        wanted += _wanted_difference(picture, unknown, places, step)
    rest = (wanted - _laplacian(filled)) * inner
    change: np.ndarray = np.zeros_like(filled)
    direction = rest.copy()
    power = (rest * rest).sum((0, 1))
    enough = CLOSE**2 * power
    for _ in range(ITERATIONS):
        if (power <= enough).all():
            break
        bent = _laplacian(direction) * inner
        length = power / np.maximum((direction * bent).sum((0, 1)), 1e-20)
        change += length * direction
        rest -= length * bent
        before, power = power, (rest * rest).sum((0, 1))
        direction = rest + power / np.maximum(before, 1e-20) * direction
    return change


def _laplacian(values: "np.ndarray") -> "np.ndarray":
    """The sum of the differences to the neighbours; beyond the border there are none."""
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    bent: np.ndarray = 4 * values - around
    return bent


def _wanted_difference(
    picture: "np.ndarray", unknown: "np.ndarray", places: "np.ndarray", step: tuple[int, int]
) -> "np.ndarray":
    """For each pixel its difference to one neighbour: as at its own source, as at the neighbour's, or the mean."""
    height, width = unknown.shape
    size = (height, width)
    here = np.indices(size).transpose(1, 2, 0)
    beside = np.clip(here + step, 0, (height - 1, width - 1))
    exists = (beside != here).any(-1)
    offset = places - here
    beside_offset = offset[beside[..., 0], beside[..., 1]]
    total = np.zeros_like(picture)
    count = np.zeros((*size, 1), np.float32)
    for moved in (offset, beside_offset):
        one, other = here + moved, beside + moved
        usable = exists & _known(one, unknown) & _known(other, unknown)
        one, other = np.clip(one, 0, (height - 1, width - 1)), np.clip(other, 0, (height - 1, width - 1))
        difference = picture[one[..., 0], one[..., 1]] - picture[other[..., 0], other[..., 1]]
        total += usable[..., None] * difference
        count += usable[..., None]
    mean: np.ndarray = total / np.maximum(count, 1)
    return mean


def _known(places: "np.ndarray", unknown: "np.ndarray") -> "np.ndarray":
    height, width = unknown.shape
    inside = ((places >= 0) & (places < (height, width))).all(-1)
    y, x = np.clip(places[..., 0], 0, height - 1), np.clip(places[..., 1], 0, width - 1)
    known: np.ndarray = inside & ~unknown[y, x]
    return known
