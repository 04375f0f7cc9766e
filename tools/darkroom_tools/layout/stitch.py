"""Stitch / Combine."""

import statistics
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.color import ClearableColor
from darkroom_tools.kit.geometry import check_output, proportional, rounded
from darkroom_tools.kit.sheet import Sheet, offset, rounded_corners, sheet_image, shown
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.shape import Shape, Shapes, still

SHARES = {"start": 0.0, "center": 0.5, "end": 1.0}


class Stitch(Settings):
    """How the pictures are joined."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    direction: Literal["horizontal", "vertical", "grid"] = "horizontal"
    """grid fills rows"""

    gap: Annotated[int, Field(ge=0, le=1000)] = 0
    """Pixels"""

    background_color: ClearableColor = "#FFFFFF"
    """#RRGGBB or transparent"""

    alignment: Literal["start", "center", "end"] = "center"
    """Of pictures of unequal size"""

    grid_columns: Annotated[int, Field(ge=2, le=100)] = 2
    """For grid"""

    resize_mode: Literal["fit", "original", "stretch", "crop"] = "fit"
    """Only original leaves sizes unequal"""

    border: Unpublished[Annotated[int, Field(ge=0, le=500)]] = 0
    """Pixels around all"""

    corner_radius: Unpublished[Annotated[int, Field(ge=0, le=500)]] = 0
    """Pixels, of the result"""

    format: Literal["png", "jpeg", "webp", "avif"] = "png"
    """Of the result"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 90
    """Not for png"""


class _Place(NamedTuple):
    """Where a picture goes: its scaled size, and the box that it is aligned in and clipped to."""

    width: int
    height: int
    left: int
    top: int
    box_width: int
    box_height: int


def _shape(settings: Stitch, shapes: Shapes) -> Shape:
    _, width, height = _layout([(image.width, image.height) for image in shapes["images"]], settings)
    check_output(width, height)
    clear = settings.background_color == "transparent" or settings.corner_radius > 0
    return still(settings, shapes).sized(width, height).with_alpha(clear).encoded_as(settings.format)


@tool(
    title="Stitch / Combine",
    sequential=True,
    least=2,
    example={"direction": "vertical", "gap": 4, "format": "jpeg"},
    shape=_shape,
)
def stitch(images: list[Image], settings: Stitch, run: Run) -> Image:
    """Join pictures in a row, a column or a grid, such as a contact sheet."""
    places, width, height = _layout([(image.width, image.height) for image in images], settings)
    check_output(width, height)
    sheet = Sheet(
        width, height, settings.background_color, deep=all(image.pixels.format == "ushort" for image in images)
    )
    share = SHARES[settings.alignment]
    for done, (image, place) in enumerate(zip(images, places, strict=True)):
        run.progress(done / len(images), f"Picture {done + 1} of {len(images)}")
        room = (place.box_width, place.box_height)
        corner = (offset(room[0], place.width, share), offset(room[1], place.height, share))
        part = shown(image, (place.width, place.height), corner, room)
        sheet.lay(part.pixels, place.left + part.left, place.top + part.top)
    made = rounded_corners(sheet.pixels(), settings.corner_radius)
    return sheet_image(made, images, settings.format, settings.quality, settings.background_color)


def _layout(sizes: Sequence[tuple[int, int]], settings: Stitch) -> tuple[list[_Place], int, int]:
    """The places of all pictures, and width and height of the result."""
    boxes, drawn = _grid(sizes, settings) if settings.direction == "grid" else _line(sizes, settings)
    columns = {"horizontal": len(sizes), "vertical": 1, "grid": min(settings.grid_columns, len(sizes))}
    across = columns[settings.direction]
    rows = [boxes[start : start + across] for start in range(0, len(boxes), across)]
    places: list[_Place] = []
    top, right = settings.border, 0
    for row in rows:
        left = settings.border
        for box_width, box_height in row:
            places.append(_Place(*drawn[len(places)], left, top, box_width, box_height))
            left += box_width + settings.gap
        right = max(right, left - settings.gap)
        top += max(box_height for _, box_height in row) + settings.gap
    return places, right + settings.border, top - settings.gap + settings.border


def _line(sizes: Sequence[tuple[int, int]], settings: Stitch) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Boxes and scaled sizes in a row or a column; nothing is enlarged, all become as narrow as the narrowest."""
    horizontal, mode = settings.direction == "horizontal", settings.resize_mode
    least_width, least_height = (min(size[axis] for size in sizes) for axis in (0, 1))
    if mode == "crop":
        drawn = [_covering(size, least_width, least_height) for size in sizes]
        return [(least_width, least_height)] * len(sizes), drawn
    if mode == "original":
        drawn = list(sizes)
    elif mode == "stretch":
        drawn = [(width, least_height) if horizontal else (least_width, height) for width, height in sizes]
    elif horizontal:
        drawn = [(proportional(width, least_height, height), least_height) for width, height in sizes]
    else:
        drawn = [(least_width, proportional(height, least_width, width)) for width, height in sizes]
    widest, highest = (max(size[axis] for size in drawn) for axis in (0, 1))
    boxes = [(width, highest) if horizontal else (widest, height) for width, height in drawn]
    return boxes, drawn


def _grid(sizes: Sequence[tuple[int, int]], settings: Stitch) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Boxes, all equal, and scaled sizes; the middle size counts, so that one tiny picture makes not all tiny."""
    width, height = (rounded(statistics.median(size[axis] for size in sizes)) for axis in (0, 1))
    if settings.resize_mode == "original":
        drawn = list(sizes)
    elif settings.resize_mode == "stretch":
        drawn = [(width, height)] * len(sizes)
    elif settings.resize_mode == "crop":
        drawn = [_covering(size, width, height) for size in sizes]
        return [(width, height)] * len(sizes), drawn
    else:
        drawn = [_inside(size, width, height) for size in sizes]
    return [(max(w for w, _ in drawn), max(h for _, h in drawn))] * len(sizes), drawn


def _covering(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """The size in the same ratio that just covers a box."""
    if size[0] * height > width * size[1]:
        return max(width, proportional(size[0], height, size[1])), height
    return width, max(height, proportional(size[1], width, size[0]))


def _inside(size: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """The size in the same ratio that just fits into a box; never enlarged."""
    if size[0] <= width and size[1] <= height:
        return size
    if size[0] * height > width * size[1]:
        return width, proportional(size[1], width, size[0])
    return proportional(size[0], height, size[1]), height
