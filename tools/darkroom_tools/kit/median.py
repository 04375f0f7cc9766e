"""The median of a neighbourhood: removes specks and grain, and keeps edges."""

import itertools
from collections.abc import Iterator

from darkroom_tools.kit.pixels import color_bands
from darkroom_tools.kit.strips import by_strips
from darkroom_tools.native import np, pyvips

__all__ = ["median"]


def median(frame: "pyvips.Image", size: int) -> "pyvips.Image":
    """Each channel's median over `size` × `size` pixels, an odd number; alpha stays as it is.

    The pixels of the edge repeat outside. Where a neighbour is wholly transparent, the pixel itself counts instead.
    """
    margin, colors = size // 2, color_bands(frame)

    def change(strip: "np.ndarray", result: "np.ndarray") -> None:
        wide = np.pad(strip, ((0, 0), (margin, margin), (0, 0)), mode="edge")
        result[..., :colors] = _middle(_neighbours(wide, colors, size), size**2)
        result[..., colors:] = strip[margin : margin + len(result), :, colors:]

    return by_strips(frame, change, margin=margin)


def _neighbours(strip: "np.ndarray", colors: int, size: int) -> "Iterator[np.ndarray]":
    """The pixels at each place of the neighbourhood, as copies; `strip` holds the inner pixels and a margin."""
    margin = size // 2
    rows, columns = len(strip) - 2 * margin, strip.shape[1] - 2 * margin
    center = strip[margin : margin + rows, margin : margin + columns, :colors]
    seen = strip[..., colors:] > 0
    some_hidden = not seen.all()
    for down in range(size):
        for across in range(size):
            place = slice(down, down + rows), slice(across, across + columns)
            neighbour = strip[place][..., :colors]
            yield np.where(seen[place], neighbour, center) if some_hidden else neighbour.copy()


def _middle(values: "Iterator[np.ndarray]", count: int) -> "np.ndarray":
    """The median of an odd number of arrays, which are used up.

    Forgetful selection: of one more than half of the values, neither the least nor the greatest is the median of all.
    """
    held = list(itertools.islice(values, count // 2 + 2))
    minimum, maximum = np.minimum, np.maximum

    def exchange(low: int, high: int) -> None:
        less = minimum(held[low], held[high])
        maximum(held[low], held[high], out=held[high])
        held[low] = less

    while (last := len(held) - 1) > 1:
        for low in range(len(held) // 2):
            exchange(low, last - low)
        # What lost to its partner may be the least, what won the greatest; one in the middle had no partner.
        for low in range(1, last // 2 + 1):
            exchange(0, low)
        for high in range(len(held) // 2, last):
            exchange(high, last)
        held = held[1:-1] + list(itertools.islice(values, 1))
    return held[0]
