"""Collage / Grid."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.color import ClearableColor
from darkroom_tools.kit.geometry import Box, rounded
from darkroom_tools.kit.sheet import Part, Sheet, offset, rounded_corners, sheet_image, shown
from darkroom_tools.kit.templates import Template, canvas_size, collage_templates, find_template
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.shape import Shape, Shapes, still

Pan = Annotated[float, Field(ge=-100, le=100)]
MOST_CELLS = 50


class Cell(Settings):
    """What one area of the layout shows."""

    image_index: Annotated[int, Field(ge=0)]
    """Which picture, from 0"""

    pan_x: Pan = 0
    """-100 shows its left edge, 100 its right edge"""

    pan_y: Pan = 0
    """-100 shows its top, 100 its bottom"""

    zoom: Annotated[float, Field(ge=1, le=10)] = 1
    """Enlargement beyond what fits"""

    object_fit: Literal["cover", "contain"] = "cover"
    """cover fills the area and crops, contain shows all"""


class Collage(Settings):
    """The layout and its look."""

    aliases: ClassVar = {"templateId": "template", "cornerRadius": "borderRadius"}
    value_aliases: ClassVar = {"outputFormat": {"jpg": "jpeg"}}

    template: str | None = None
    """Like 4-grid, 3-left-large, 7-mosaic; default crops least"""

    gap: Annotated[int, Field(ge=0, le=500)] = 8
    """Pixels, also at the edge"""

    background_color: ClearableColor = "#FFFFFF"
    """#RRGGBB or transparent"""

    border_radius: Annotated[int, Field(ge=0, le=500)] = 0
    """Pixels, of each picture"""

    cells: Unpublished[Annotated[list[Cell], Field(max_length=MOST_CELLS)] | None] = None
    """What each area shows, in order"""

    aspect_ratio: Literal["free", "1:1", "4:3", "3:2", "16:9", "9:16", "4:5"] = "free"
    """free is 4:3; 2400 px long"""

    output_format: Literal["png", "jpeg", "webp", "avif"] = "png"
    """Of the result"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 90
    """Not for png"""

    @field_validator("template")
    @classmethod
    def _known_template(cls, value: str | None) -> str | None:
        return None if value in (None, "auto") else find_template(value).id


def _shape(settings: Collage, shapes: Shapes) -> Shape:
    images = shapes["images"]
    canvas = canvas_size(settings.aspect_ratio)
    _filled(images, settings, *canvas)
    clear = settings.background_color == "transparent"
    return still(settings, shapes).sized(*canvas).with_alpha(clear).encoded_as(settings.output_format)


@tool(
    title="Collage / Grid",
    sequential=True,
    least=2,
    example={"gap": 12, "outputFormat": "jpeg"},
    shape=_shape,
)
def collage(images: list[Image], settings: Collage, run: Run) -> Image:
    """Arrange 2 to 9 pictures in a layout; stitch takes any number."""
    width, height = canvas_size(settings.aspect_ratio)
    template, filled = _filled(images, settings, width, height)
    uses = Counter(cell.image_index for cell, _ in filled)
    used = {number: _repeatable(images[number]) if uses[number] > 1 else images[number] for number in uses}
    sheet = Sheet(
        width, height, settings.background_color, deep=all(i.pixels.format == "ushort" for i in used.values())
    )
    for done, (cell, box) in enumerate(filled):
        run.progress(done / len(filled), f"Picture {done + 1} of {len(filled)}")
        part = _fill(used[cell.image_index], cell, box)
        sheet.lay(rounded_corners(part.pixels, settings.border_radius), box.left + part.left, box.top + part.top)
    made = sheet_image(
        sheet.pixels(), images, settings.output_format, settings.quality, settings.background_color
    ).with_facts(template=template.id)
    ignored = [str(number + 1) for number in range(len(images)) if number not in used]
    if ignored:
        made = made.warn(f"Not in the collage, which has {len(template.areas)} areas: picture {', '.join(ignored)}.")
    return made


def _filled(
    images: Sequence[Image | Shape], settings: Collage, width: int, height: int
) -> tuple[Template, list[tuple[Cell, Box]]]:
    """The layout, and what of it shows which picture.

    Raises:
        InvalidSettings: The gaps leave no room, or the cells do not fit the layout or the pictures.
    """
    template = _template(images, settings, width, height)
    boxes = template.boxes(width, height, settings.gap)
    if boxes is None:
        raise InvalidSettings(
            f"A gap of {settings.gap} leaves no room for the pictures of {template.id} on {width}×{height} pixels. "
            "Use a smaller 'gap'.",
            field="gap",
            got=settings.gap,
        )
    return template, list(zip(_cells(len(images), settings, template), boxes, strict=False))


def _template(images: Sequence[Image | Shape], settings: Collage, width: int, height: int) -> Template:
    """The layout asked for, or the one for that many pictures of which the least is cropped away."""
    if settings.template is not None:
        return find_template(settings.template)
    most = max(len(template.areas) for template in collage_templates().values())
    count = min(len(settings.cells or images), most)

    def seen(template: Template) -> float:
        boxes = template.boxes(width, height, 0) or []
        ratios = [i.width * box.height / (i.height * box.width) for i, box in zip(images, boxes, strict=False)]
        return sum(min(ratio, 1 / ratio) for ratio in ratios)

    return max((t for t in collage_templates().values() if len(t.areas) == max(2, count)), key=seen)


def _cells(count: int, settings: Collage, template: Template) -> list[Cell]:
    """What each area shows, in order; areas without a picture are left out at the end.

    Raises:
        InvalidSettings: A cell names a picture that was not given, or there are more cells than areas.
    """
    if not settings.cells:
        return [Cell(image_index=number) for number in range(count)]
    if len(settings.cells) > len(template.areas):
        raise InvalidSettings(
            f"{len(settings.cells)} cells were given, but {template.id} has {len(template.areas)} areas.", field="cells"
        )
    for cell in settings.cells:
        if cell.image_index >= count:
            raise InvalidSettings(
                f"A cell has imageIndex {cell.image_index}, but the {count} pictures are counted from 0.",
                field="cells",
            )
    return settings.cells


def _repeatable(image: Image) -> Image:
    """The same picture in memory, so that its pixels may be read more than once."""
    return image.with_pixels(image.pixels.copy_memory())


def _fill(image: Image, cell: Cell, box: Box) -> Part:
    """The part of the picture that its area shows."""
    choose = max if cell.object_fit == "cover" else min
    scale = choose(box.width / image.width, box.height / image.height) * cell.zoom
    least = (box.width, box.height) if cell.object_fit == "cover" else (1, 1)
    width = max(least[0], rounded(image.width * scale))
    height = max(least[1], rounded(image.height * scale))
    left = offset(box.width, width, 0.5 + cell.pan_x / 200)
    top = offset(box.height, height, 0.5 + cell.pan_y / 200)
    return shown(image, (width, height), (left, top), (box.width, box.height))
