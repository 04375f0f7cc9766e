"""Image Splitting."""

import math
from functools import partial
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from darkroom_tools.base import Archive, Entry, Format, Image, Run, Settings, tool
from darkroom_tools.errors import OutputTooLarge
from darkroom_tools.kit.format_rules import written_as
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import LOSSY
from darkroom_tools.shape import Shape, Shapes

MOST_TILES = 500

Count = Annotated[int, Field(ge=1, le=100)]
Side = Annotated[int, Field(ge=10)]
Cut = tuple[int, tuple[int, int]]
"""Number from 1, start and length of a part of one side."""


class Split(Settings):
    """Where the picture is cut."""

    aliases: ClassVar = {"columns": "cols"}
    value_aliases: ClassVar = {"outputFormat": {"jpg": "jpeg"}}

    mode: Literal["grid", "rows", "cols"] = "grid"
    """rows or cols cuts one way only"""

    rows: Count = 3
    """How many"""

    cols: Count = 3
    """How many"""

    tile_width: Side | None = None
    """Pixels; wins over cols"""

    tile_height: Side | None = None
    """Pixels; wins over rows"""

    output_format: Literal["original", "png", "jpeg", "webp", "avif"] = "original"
    """Of the tiles"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 90
    """For lossy formats"""


def _shape(settings: Split, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    rows, columns = _all_cuts(image, settings)
    return Shape(0, 0, format="zip", files=len(rows) * len(columns))


@tool(title="Image Splitting", sequential=True, named=True, example={"rows": 2, "cols": 2}, shape=_shape)
def split(image: Image, settings: Split, run: Run) -> Archive:
    """Cut a picture into tiles, rows or columns, in one ZIP."""
    rows, columns = _all_cuts(image, settings)
    many = len(columns) * len(rows)
    # Decoded once, whatever comes before; each tile then is a part of it.
    whole = _to_encode(image.with_pixels(image.pixels.copy_memory()), settings)
    format = whole.encoding.format or "png"
    name = image.source.original.name if image.source.original else ""
    stem = name.rpartition(".")[0] or name or "image"

    def tile(number: int, box: Box) -> bytes:
        run.progress(number / many, f"Tile {number + 1} of {many}")
        return run.encode(whole.map_frames(lambda frame: frame.crop(*box))).data

    boxes = [(r, c, Box(left, top, wide, high)) for r, (top, high) in rows for c, (left, wide) in columns]
    extension = "jpg" if format == "jpeg" else format
    entries = [
        Entry(f"{stem}_r{r}_c{c}.{extension}", partial(tile, number, box)) for number, (r, c, box) in enumerate(boxes)
    ]
    facts = {"rows": len(rows), "cols": len(columns), "tileWidth": boxes[0][2].width, "tileHeight": boxes[0][2].height}
    return Archive(entries, facts, _warnings(image, settings, len(rows), len(columns)))


def _is_cut(settings: Split, way: Literal["rows", "cols"]) -> bool:
    """Whether there is more than one row or column: by the mode, or because a size of tiles was given."""
    size = settings.tile_width if way == "cols" else settings.tile_height
    return size is not None or settings.mode in ("grid", way)


def _all_cuts(image: Image | Shape, settings: Split) -> tuple[list[Cut], list[Cut]]:
    """The parts of both sides, rows first.

    Raises:
        OutputTooLarge: Together they are too many tiles.
    """
    columns = _cuts(image.width, settings.tile_width, settings.cols, cut=_is_cut(settings, "cols"))
    rows = _cuts(image.height, settings.tile_height, settings.rows, cut=_is_cut(settings, "rows"))
    many = len(columns) * len(rows)
    if many > MOST_TILES:
        raise OutputTooLarge(
            f"{len(rows)} rows × {len(columns)} columns are {many} tiles; at most {MOST_TILES} files are made. "
            "Ask for fewer or larger tiles.",
            code="TOO_MANY_OUTPUTS",
            got=many,
            limit=MOST_TILES,
        )
    return rows, columns


def _cuts(length: int, tile: int | None, count: int, *, cut: bool) -> list[Cut]:
    """Number from 1, start and length of each part of one side; the last takes what remains."""
    if not cut:
        return [(1, (0, length))]
    step = tile or max(1, length // count)
    parts = math.ceil(length / tile) if tile else min(count, length)
    starts = [n * step for n in range(parts)]
    return [(n + 1, (s, (length if n + 1 == parts else s + step) - s)) for n, s in enumerate(starts)]


def _to_encode(image: Image, settings: Split) -> Image:
    """The picture as its tiles are to be written: in the format of the picture unless another is asked for."""
    before = image.encoding.format or image.source.format
    asked = before if settings.output_format == "original" else settings.output_format
    formats: dict[str, Format] = {name: name for name in get_args(Format)}
    format = formats[written_as(asked)]
    given = "quality" in settings.model_fields_set or image.encoding.quality is None
    quality = settings.quality if given else image.encoding.quality
    return image.encode_as(format=format, quality=quality if format in LOSSY else None, target_bytes=None)


def _warnings(image: Image, settings: Split, rows: int, cols: int) -> tuple[str, ...]:
    small = [
        f"The picture has only {made} pixel {word}, so {made} were cut instead of {asked}."
        for made, asked, tile, word, cut in (
            (rows, settings.rows, settings.tile_height, "rows", _is_cut(settings, "rows")),
            (cols, settings.cols, settings.tile_width, "columns", _is_cut(settings, "cols")),
        )
        if cut and tile is None and made < asked
    ]
    return (*image.warnings, *small)
