"""Copies of a small photo on a sheet of photo paper, with marks to cut along."""

from typing import Final, NamedTuple

from darkroom_tools.kit.density import pixels_of
from darkroom_tools.kit.pixels import as_array
from darkroom_tools.native import np, pyvips

__all__ = ["DENSITY", "QUALITY", "Grid", "best_grid", "printed"]

DENSITY: Final = 300
"""Pixels an inch of every sheet."""
QUALITY: Final = 95
GUTTER_MM: Final = 2
MARK_MM: Final = 3
INK: Final = 150
"""Grey of the marks: seen when looked for, and no black line where a cut is a little off."""


class Grid(NamedTuple):
    """A sheet and the places of the photos on it, in pixels.

    Attributes:
        width: Of the sheet.
        height: Of the sheet.
        lefts: Left edge of each column.
        tops: Upper edge of each row.
    """

    width: int
    height: int
    lefts: tuple[int, ...]
    tops: tuple[int, ...]

    @property
    def copies(self) -> int:
        """How many photos it holds."""
        return len(self.lefts) * len(self.tops)


def best_grid(paper_mm: tuple[float, float], width: int, height: int) -> Grid:
    """The grid with the most photos of `width` × `height` pixels, on the paper upright or, if that holds more, lying.

    The photos are `GUTTER_MM` apart and in the middle of the sheet; a photo larger than the paper gives none.
    """
    gap = pixels_of(GUTTER_MM, DENSITY)
    short, long = (pixels_of(side, DENSITY) for side in paper_mm)
    grids = [
        Grid(*sheet, _starts(sheet[0], width, gap), _starts(sheet[1], height, gap))
        for sheet in ((short, long), (long, short))
    ]
    return max(grids, key=lambda grid: grid.copies)


def printed(photo: "pyvips.Image", grid: Grid) -> "pyvips.Image":
    """The sheet: white, with the photo at each place and the marks around.

    `photo` has 8 bits, grey or colour, without alpha.
    """
    copy = as_array(photo)
    high, wide, bands = copy.shape
    sheet = np.full((grid.height, grid.width, bands), 255, np.uint8)
    _mark(sheet, grid, wide, high)
    for top in grid.tops:
        for left in grid.lefts:
            sheet[top : top + high, left : left + wide] = copy
    made = pyvips.Image.new_from_memory(sheet.data, grid.width, grid.height, bands, "uchar")
    return made.copy(interpretation=photo.interpretation)


def _starts(room: int, length: int, gap: int) -> tuple[int, ...]:
    count = (room + gap) // (length + gap)
    first = (room - count * (length + gap) + gap) // 2
    return tuple(first + number * (length + gap) for number in range(count))


def _mark(sheet: "np.ndarray", grid: Grid, wide: int, high: int) -> None:
    """Draw the lines to cut along, a little beyond the photos; these cover them later."""
    reach, middle = pixels_of(MARK_MM, DENSITY), pixels_of(GUTTER_MM, DENSITY) // 2
    top, bottom = max(0, grid.tops[0] - reach), grid.tops[-1] + high + reach
    left, right = max(0, grid.lefts[0] - reach), grid.lefts[-1] + wide + reach
    for start in grid.lefts:
        for column in (start - 1, start + wide):
            if 0 <= column < grid.width:
                sheet[top:bottom, column] = INK
    for start in grid.tops:
        for row in (start - 1, start + high):
            if 0 <= row < grid.height:
                sheet[row, left:right] = INK
    # Between photos only the crossings keep their lines: a frame around each would look like part of it.
    for start in grid.tops:
        sheet[start + middle : start + high - middle, max(0, grid.lefts[0] - reach) : right] = 255
    for start in grid.lefts:
        sheet[max(0, grid.tops[0] - reach) : bottom, start + middle : start + wide - middle] = 255
