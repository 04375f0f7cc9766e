"""Passport Photo."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, model_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.color import CheckedColor
from darkroom_tools.kit.passports import CUSTOM, PassportSpec, custom_spec, find_spec, print_sizes
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.kit.portrait import Landmarks, Placement, placed
from darkroom_tools.kit.portrait_backdrop import Studio, studio
from darkroom_tools.kit.portrait_search import Portrait, find_portrait
from darkroom_tools.kit.print_sheet import DENSITY, QUALITY, Grid, best_grid, printed
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.models import cards_for
from darkroom_tools.shape import Shape, Shapes
from darkroom_tools.shape import still as still_shape

KILOBYTE = 1024
LEVEL = 4.0
"""Degrees that a head may lean before the reply mentions it."""
ENLARGED = 1.1
"""Pixels of the photo for one of the picture before the reply mentions it."""

MODELS = tuple(card.id for task in ("faces", "cutout") for card in cards_for(task))

Millimetres = Annotated[float, Field(ge=10, le=200)]
Shift = Annotated[float, Field(ge=-1, le=1)]


def _known(value: str) -> str:
    return CUSTOM if value.strip().upper() == CUSTOM else find_spec(value).code


class PassportPhoto(Settings):
    """Whose rules, and what for."""

    aliases: ClassVar = {"countryCode": "country", "bgColor": "backgroundColor"}
    value_aliases: ClassVar = {"printLayout": {"a4": "A4"}}

    country: Annotated[str, AfterValidator(_known)] = "US"
    """Two letters, EU or custom"""

    document_type: Unpublished[Literal["passport"]] = "passport"
    """Only passports are known"""

    print_layout: Literal["none", "4x6", "A4"] = "none"
    """Paper for copies"""

    background_color: CheckedColor | None = None
    """#RRGGBB, else the country's"""

    max_file_size_kb: Annotated[float, Field(ge=0)] = 0
    """0 for no limit"""

    dpi: Unpublished[Annotated[int, Field(ge=72, le=1200)]] = 300
    """Pixels an inch"""

    custom_width_mm: Unpublished[Millimetres | None] = None
    """Width of a custom photo"""

    custom_height_mm: Unpublished[Millimetres | None] = None
    """Height of a custom photo"""

    zoom: Unpublished[Annotated[float, Field(ge=0.5, le=3)]] = 1
    """Above 1, a larger head"""

    adjust_x: Unpublished[Shift] = 0
    """Moves the head right, in widths of the photo"""

    adjust_y: Unpublished[Shift] = 0
    """Moves the head down, in heights of the photo"""

    landmarks: dict[str, Any] | None = None
    """leftEye, rightEye, chin, crown: [x,y] 0..1; else found"""

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        sized = self.custom_width_mm is not None and self.custom_height_mm is not None
        if self.country == CUSTOM and not sized:
            raise ValueError("Country 'custom' needs 'customWidthMm' and 'customHeightMm'.")
        return self

    @property
    def spec(self) -> PassportSpec:
        """The rules that hold."""
        if self.country == CUSTOM and self.custom_width_mm and self.custom_height_mm:
            return custom_spec(self.custom_width_mm, self.custom_height_mm)
        return find_spec(self.country)


class _Job(NamedTuple):
    """A face and where it is to go."""

    portrait: Portrait
    spec: PassportSpec
    settings: PassportPhoto

    def placement(self, dpi: int) -> Placement:
        """Where the photo is in the picture, at a number of pixels an inch."""
        spec, wanted = self.spec, self.settings
        size = spec.pixels(dpi)
        head = spec.head_ratio * wanted.zoom
        shift = wanted.adjust_x, wanted.adjust_y
        return placed(self.portrait.landmarks, *size, head, spec.eye_from_bottom, shift)


def _shape(settings: PassportPhoto, shapes: Shapes) -> Shape | list[Shape]:
    photo = still_shape(settings, shapes)
    if settings.landmarks is not None:
        Landmarks.from_wire(settings.landmarks, photo.width, photo.height)
    grid = _grid(settings.spec, settings)
    photo = photo.sized(*settings.spec.pixels(settings.dpi)).with_alpha(False)
    if photo.wanted is None and not photo.formats:
        photo = photo.encoded_as("jpeg")
    return photo if grid is None else [photo, photo.sized(grid.width, grid.height).encoded_as("jpeg")]


@tool(
    title="Passport Photo",
    models=MODELS,
    shape=_shape,
    example={
        "country": "DE",
        "landmarks": {"leftEye": [0.42, 0.4], "rightEye": [0.58, 0.4], "chin": [0.5, 0.62], "crown": [0.5, 0.2]},
    },
)
def passport_photo(image: Image, settings: PassportPhoto, run: Run) -> Image | list[Image]:
    """Make a passport photo by the rules of a country, and a sheet to print.

    Without models face and background are approximate.
    """
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is used.")
    spec = settings.spec
    grid = _grid(spec, settings)
    pixels = still.pixels.copy_memory()
    given = settings.landmarks
    if given is None:
        portrait = find_portrait(pixels, run)
    else:
        portrait = Portrait(Landmarks.from_wire(given, still.width, still.height), "given")
    job = _Job(portrait, spec, settings)
    placement = job.placement(settings.dpi)
    color = settings.background_color or spec.backgrounds[0]
    room = studio(
        pixels, portrait.landmarks, placement, color, run, lambda done, said: run.progress(0.3 + 0.5 * done, said)
    )
    run.progress(0.85, "putting it together")
    photo = _photo(still, room, job, placement)
    if grid is None:
        return photo
    copy = photo.pixels if settings.dpi == DENSITY else room.take(job.placement(DENSITY))
    if copy.format == "ushort":
        copy = copy.cast("uchar", shift=True).copy(interpretation="srgb")
    sheet = replace(still.with_pixels(printed(copy, grid)), warnings=(), facts={})
    sheet = sheet.encode_as(format="jpeg", quality=QUALITY, target_bytes=None, density=DENSITY)
    return [photo.with_facts(sheet=_sheet_facts(settings, grid)), sheet]


def _grid(spec: PassportSpec, settings: PassportPhoto) -> Grid | None:
    """Where the copies go, None where no sheet is wanted.

    Raises:
        InvalidSettings: The photo is larger than the paper.
    """
    if settings.print_layout == "none":
        return None
    paper = print_sizes()[settings.print_layout]
    grid = best_grid(paper, *spec.pixels(DENSITY))
    if not grid.copies:
        raise InvalidSettings(
            f"A photo of {spec.width_mm:g}×{spec.height_mm:g} mm is larger than the paper of {paper[0]:g}×{paper[1]:g} "
            "mm. Use printLayout 'A4' or 'none'.",
            field="printLayout",
        )
    return grid


def _photo(still: Image, room: Studio, job: _Job, placement: Placement) -> Image:
    """The photo with all that is known of it."""
    settings = job.settings
    made = replace(still.with_pixels(room.take(placement)), facts={**still.facts, **_facts(still, room, job)})
    for text in (*job.portrait.warnings, *_warnings(room, job, placement)):
        made = made.warn(text)
    encoding = made.encoding
    if encoding.format is None and not encoding.formats:
        made = made.encode_as(format="jpeg")
    limit = int(settings.max_file_size_kb * KILOBYTE) or None
    quality = None if limit else encoding.quality or QUALITY
    return made.encode_as(quality=quality, target_bytes=limit, density=settings.dpi, background=room.color)


def _facts(still: Image, room: Studio, job: _Job) -> dict[str, Any]:
    settings, spec, subject = job.settings, job.spec, room.subject
    background: dict[str, Any] = {"color": room.color, "replaced": subject is not None}
    if subject is not None:
        background["method"] = subject.method
        background |= {"confidence": subject.confidence} if subject.confidence is not None else {}
    return {
        "method": job.portrait.method,
        "dimensions": {
            "widthPx": spec.pixels(settings.dpi)[0],
            "heightPx": spec.pixels(settings.dpi)[1],
            "widthMm": spec.width_mm,
            "heightMm": spec.height_mm,
            "dpi": settings.dpi,
        },
        "spec": spec.to_wire(),
        "headRatio": round(spec.head_ratio * settings.zoom, 4),
        "background": background,
        "landmarks": job.portrait.landmarks.to_wire(still.width, still.height),
    }


def _sheet_facts(settings: PassportPhoto, grid: Grid) -> dict[str, Any]:
    return {"layout": settings.print_layout, "copies": grid.copies, "columns": len(grid.lefts), "rows": len(grid.tops)}


def _warnings(room: Studio, job: _Job, placement: Placement) -> Iterator[str]:
    """What may keep an authority from taking the photo."""
    lean = abs(math.degrees(placement.roll))
    if lean > LEVEL:
        yield f"The head leans by {lean:.0f} degrees and was turned upright."
    if room.missing:
        edges = ", ".join(f"{edge} {100 * share:.0f} %" for edge, share in room.missing.items())
        yield f"The picture is too small around the head: some of the photo was filled in ({edges})."
    if room.cuts_hair(placement):
        yield "The hair reaches the upper edge: a smaller 'zoom', such as 0.9, leaves room."
    if placement.scale > ENLARGED:
        yield f"The face was enlarged {placement.scale:.1f} times: take a photo with more pixels."
    low, high = job.spec.head
    if not low <= job.spec.head_ratio * job.settings.zoom <= high:
        yield f"With this zoom the head is outside the {100 * low:.0f} to {100 * high:.0f} % that are asked for."
    if room.subject is not None:
        yield from room.subject.warnings
