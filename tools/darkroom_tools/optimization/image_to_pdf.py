"""Image to PDF."""

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from darkroom_tools.base import File, Image, Run, Settings, tool
from darkroom_tools.kit.density import pixels_per_inch
from darkroom_tools.kit.inputs import frames_warning, warnings_of
from darkroom_tools.kit.pdf import MOST_POINTS, PdfPicture, PdfWriter, Rectangle
from darkroom_tools.kit.pdf_pictures import pdf_picture
from darkroom_tools.shape import Shape, Shapes

POINTS_PER_INCH = 72


class ImageToPdf(Settings):
    """The pages and where pictures stand on them."""

    page_size: Literal["A4", "Letter", "A3", "A5", "Legal", "original"] = "A4"
    """original: as large as each picture"""

    orientation: Literal["portrait", "landscape"] = "portrait"
    """Of sized pages"""

    margin: Annotated[float, Field(ge=0, le=500)] = 20
    """Points; original has none unless given"""

    fit_mode: Literal["contain", "cover", "actual"] = "contain"
    """contain never enlarges, cover crops, actual keeps the DPI"""

    @model_validator(mode="after")
    def _leaves_room(self) -> Self:
        if self.page_size != "original":
            least = min(page_sizes()[self.page_size])
            if 2 * self.margin >= least:
                raise ValueError(
                    f"'margin' {self.margin:g} leaves no room on {self.page_size}: give less than {least / 2:g} points."
                )
        return self


class _Layout(NamedTuple):
    """A page in points, where the picture goes, and what of the page it may cover."""

    width: float
    height: float
    place: Rectangle
    box: Rectangle


@functools.cache
def page_sizes() -> Mapping[str, tuple[float, float]]:
    """Width and height of upright pages in points by name."""
    text = files("darkroom_tools").joinpath("data", "pages.json").read_text(encoding="utf-8")
    sizes: dict[str, list[float]] = json.loads(text)["portrait"]
    return {name: (width, height) for name, (width, height) in sizes.items()}


def _shape(_: ImageToPdf, __: Shapes) -> Shape:
    return Shape(0, 0, format="pdf")


@tool(title="Image to PDF", sequential=True, example={"pageSize": "A4"}, shape=_shape)
def image_to_pdf(images: list[Image], settings: ImageToPdf, run: Run) -> File:
    """Put pictures into one PDF, a page each, in their order."""
    writer = PdfWriter()
    kept: set[str] = set()
    removed: set[str] = set()
    exact, cut = 0, []
    for number, image in enumerate(images, 1):
        run.progress((number - 1) / len(images), f"Page {number} of {len(images)}")
        picture = pdf_picture(image, run.encode)
        layout = _lay_out(picture, pixels_per_inch(image.source.header), settings)
        writer.add_page(*layout[:2], picture, layout.place, layout.box)
        held = {"icc"} if picture.profile is not None else set()
        kept |= image.source.metadata & held
        removed |= image.source.metadata - held
        exact += picture.exact
        if settings.fit_mode == "actual" and not _inside(layout.place, layout.box):
            cut.append(str(number))
    warnings = (*warnings_of(images), *frames_warning(images))
    if cut:
        shown = ", ".join(cut[:10]) + (", …" if len(cut) > 10 else "")
        warnings += (f"On page {shown} the picture is larger than the page and is cut off. Use fitMode 'contain'.",)
    facts = {"pages": len(images), "unchangedPixels": exact}
    return File(
        writer.finish(),
        "application/pdf",
        "pdf",
        facts,
        warnings,
        kept=tuple(sorted(kept)),
        removed=tuple(sorted(removed)),
    )


def _lay_out(picture: PdfPicture, density: float | None, settings: ImageToPdf) -> _Layout:
    """A picture on its page; the margins bound it on all sides."""
    across, down = picture.upright
    natural = POINTS_PER_INCH / (density or POINTS_PER_INCH)
    if settings.page_size == "original":
        margin = settings.margin if "margin" in settings.model_fields_set else 0.0
        scale = min(natural, (MOST_POINTS - 2 * margin) / max(across, down))
        box = Rectangle(margin, margin, across * scale, down * scale)
        return _Layout(box.width + 2 * margin, box.height + 2 * margin, box, box)
    width, height = page_sizes()[settings.page_size]
    if settings.orientation == "landscape":
        width, height = height, width
    margin = settings.margin
    box = Rectangle(margin, margin, width - 2 * margin, height - 2 * margin)
    if settings.fit_mode == "contain":
        scale = min(box.width / across, box.height / down, 1.0)
    elif settings.fit_mode == "cover":
        scale = max(box.width / across, box.height / down)
    else:
        scale = natural
    wide, high = across * scale, down * scale
    place = Rectangle((width - wide) / 2, (height - high) / 2, wide, high)
    return _Layout(width, height, place, box)


def _inside(place: Rectangle, box: Rectangle) -> bool:
    """Whether all of the picture is seen, to within a thousandth of a point."""
    return place.left >= box.left - 1e-3 and place.bottom >= box.bottom - 1e-3
