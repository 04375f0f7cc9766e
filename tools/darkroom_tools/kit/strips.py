"""NumPy arithmetic on pictures of any size: strip by strip, each read once, from top to bottom."""

from collections.abc import Callable, Iterator
from typing import Final

from darkroom_tools.native import np, pyvips

__all__ = ["by_strips"]

STRIP_PIXELS: Final = 16_384
"""A plane of that many floats stays in the processor's cache."""

ROWS_PER_MARGIN: Final = 4
"""Rows of a strip for each row of its margin, so that little is computed twice."""

GREY: Final = {"uchar": "b-w", "ushort": "grey16"}


def by_strips(
    pixels: "pyvips.Image",
    change: "Callable[[np.ndarray, np.ndarray], None]",
    *,
    bands: int | None = None,
    margin: int = 0,
) -> "pyvips.Image":
    """Compute a picture of the same size and depth; it is held in memory.

    Args:
        pixels: 8 or 16 bits a band; may be a stream.
        change: Gets a strip, rows × columns × bands, with `margin` more rows above and below (the edge rows repeat
            outside the picture), and an array without them to write its result into.
        bands: Of the result, default those of `pixels`; one or two make a grey picture.
        margin: Rows that `change` needs around a strip.
    """
    bands = bands or pixels.bands
    depth = np.uint16 if pixels.format == "ushort" else np.uint8
    result = np.empty((pixels.height, pixels.width, bands), depth)
    rows = max(1, STRIP_PIXELS // pixels.width, ROWS_PER_MARGIN * margin)
    for top, strip in _strips(pixels, rows, margin, depth):
        change(strip, result[top : top + rows])
    made = pyvips.Image.new_from_memory(result.data, pixels.width, pixels.height, bands, pixels.format)
    base = pixels if bands == pixels.bands else _grey(pixels, bands)
    # Nothing of the base is computed again: only its fields, such as delays and profile, pass on.
    whole: pyvips.Image = base.insert(made.copy(interpretation=base.interpretation), 0, 0)
    return whole


def _grey(pixels: "pyvips.Image", bands: int) -> "pyvips.Image":
    """A grey picture with the fields of a colour picture, less its profile, which is for three channels."""
    grey = pixels.extract_band(0, n=bands).copy(interpretation=GREY[str(pixels.format)])
    grey.remove("icc-profile-data")
    return grey


def _strips(
    pixels: "pyvips.Image", rows: int, margin: int, depth: "type[np.generic]"
) -> "Iterator[tuple[int, np.ndarray]]":
    """First row and pixels of each strip; a row is fetched only once, since a stream does not go back."""
    region = pyvips.Region.new(pixels)
    width, height, bands = pixels.width, pixels.height, pixels.bands
    held = np.empty((0, width, bands), depth)
    first = fetched = 0
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        start, end = max(0, top - margin), min(height, bottom + margin)
        new = held[:0]
        if end > fetched:
            data = region.fetch(0, fetched, width, end - fetched)
            new = np.frombuffer(data, depth).reshape(-1, width, bands)
        held = np.concatenate([held[start - first :], new]) if margin else new
        first, fetched = start, end
        if margin:
            yield top, held[np.clip(np.arange(top - margin, bottom + margin), 0, height - 1) - first]
        else:
            yield top, held
