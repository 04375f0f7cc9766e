"""PDF to Image."""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field, field_validator

from darkroom_tools.base import Encoding, File, Image, Original, Run, Settings, Source, tool
from darkroom_tools.errors import InvalidImage, InvalidSettings, LimitExceeded, OutputTooLarge, PdfEncrypted
from darkroom_tools.kit.geometry import MAX_SIDE, check_output
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import LOSSY, WantedFormat
from darkroom_tools.native import np, pyvips
from darkroom_tools.shape import Shape, Shapes

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

POINTS_PER_INCH: Final = 72
MOST_PAGES: Final = 100
MOST_PIXELS: Final = 250_000_000
"""Of all pages together: 100 of A4 at 150 dpi, and what half a minute draws."""

_PART: Final = re.compile(r"\s*(\d{1,7})\s*(?:-\s*(\d{1,7})\s*)?")
_NEEDS_PASSWORD: Final = frozenset({4, 5})


class PdfToImage(Settings):
    """Which pages, how large, in which format."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}, "colorMode": {"colour": "color", "greyscale": "grayscale"}}

    pages: Annotated[str, Field(max_length=500)] = "all"
    """all, or like 1-3,5"""

    format: WantedFormat = "png"
    """Of the results; heic is refused"""

    dpi: Annotated[float, Field(ge=36, le=2400)] = 150
    """Pixels per inch"""

    quality: Annotated[int, Field(ge=1, le=100)] = 85
    """jpeg, webp, avif, heif"""

    color_mode: Literal["color", "grayscale", "bw"] = "color"
    """bw has no greys"""

    longest_side: Unpublished[Annotated[int, Field(ge=16, le=MAX_SIDE)] | None] = None
    """Pixels at most, with less than dpi where the page is larger; for previews"""

    @field_validator("pages")
    @classmethod
    def _grammar(cls, value: str) -> str:
        if value.strip().casefold() != "all":
            list(_ranges(value))
        return value


def _shape(settings: PdfToImage, _: Shapes) -> list[Shape] | None:
    if settings.pages.strip().casefold() == "all":
        return None
    side = settings.longest_side or MAX_SIDE
    page = Shape(side, side, format="pdf", exact=False).encoded_as(settings.format)
    return [page] * len(_chosen(_ranges(settings.pages)))


@tool(title="PDF to Image", reads=("pdf",), worker="vector", example={"pages": "1"}, shape=_shape)
def pdf_to_image(pdf: Original, settings: PdfToImage, run: Run) -> list[File]:
    """Render the pages of a PDF as pictures, one each."""
    with _opened(pdf) as document:
        pages = _selected(settings.pages, len(document))
        sizes = [_size(document, page, settings) for page in pages]
        _check_total(sizes)
        made = []
        for done, (page, (width, height)) in enumerate(zip(pages, sizes, strict=True)):
            run.progress(done / len(pages), f"Page {page}")
            made.append(run.encode(_picture(_drawn(document, page, width, height), pdf, settings)))
        facts = {"pageCount": len(document), "selectedPages": pages}
    return [File(file.data, file.media_type, file.extension, {**file.facts, **facts}, file.warnings) for file in made]


@contextmanager
def _opened(pdf: Original) -> "Iterator[PdfDocument]":
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(pdf.read())
    except pypdfium2.PdfiumError as error:
        if error.err_code in _NEEDS_PASSWORD:
            raise PdfEncrypted("The PDF opens with a password only. Save it without one first.") from error
        raise _damaged() from error
    try:
        if not len(document):
            raise InvalidImage("The PDF has no pages.")
        document.init_forms()
        yield document
    finally:
        document.close()


def _damaged() -> InvalidImage:
    return InvalidImage("The file starts like PDF but is damaged or incomplete. Send the original file again.")


def _ranges(pages: str) -> Iterator[tuple[int, int]]:
    """First and last page of each part of `1-3,5`.

    Raises:
        ValueError: It is no such list.
    """
    for part in pages.split(","):
        match = _PART.fullmatch(part)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if not 0 < first <= last:
            raise ValueError(f"'pages' is 'all' or a list such as '1-3,5', counted from 1, but got {pages[:80]!r}.")
        yield first, last


def _selected(pages: str, count: int) -> list[int]:
    """The page numbers asked for, each once, in the order given."""
    if pages.strip().casefold() == "all":
        ranges = [(1, count)]
    else:
        ranges = list(_ranges(pages))
        beyond = max(last for _, last in ranges)
        if beyond > count:
            has = "has 1 page" if count == 1 else f"has {count} pages"
            raise InvalidSettings(f"The PDF {has}, but page {beyond} was asked for.", field="pages", limit=count)
    return _chosen(ranges, count)


def _chosen(ranges: Iterable[tuple[int, int]], count: int | None = None) -> list[int]:
    """The page numbers of all ranges, each once; `count` is how many pages there are, where that is known.

    Raises:
        LimitExceeded: They are too many.
    """
    chosen: dict[int, None] = {}
    for first, last in ranges:
        chosen.update(dict.fromkeys(range(first, min(last, first + MOST_PAGES) + 1)))
        if len(chosen) > MOST_PAGES:
            has = "Too many pages were asked for" if count is None else f"The PDF has {count} pages"
            raise LimitExceeded(
                f"{has}; at most {MOST_PAGES} are rendered in one call. Ask for some, such as pages '1-{MOST_PAGES}'.",
                code="TOO_MANY_PAGES",
                got=count,
                limit=MOST_PAGES,
            )
    return list(chosen)


def _size(document: "PdfDocument", number: int, settings: PdfToImage) -> tuple[int, int]:
    """Width and height of a page in pixels, rounded up, by its crop box."""
    page = _page(document, number)
    width, height = page.get_size()
    page.close()
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise _damaged()
    scale = settings.dpi / POINTS_PER_INCH
    if settings.longest_side is not None:
        scale = min(scale, settings.longest_side / max(width, height))
    # Sizes are stored in single precision: what is whole but for its last digits must not gain a pixel.
    across, down = (max(1, math.ceil(side * scale - 1e-3)) for side in (width, height))
    try:
        check_output(across, down)
    except OutputTooLarge as error:
        raise OutputTooLarge(
            f"Page {number} would be {across}×{down} pixels at this dpi; at most {MAX_SIDE} a side and 100 megapixels "
            "are made. Ask for a lower dpi.",
            **error.details,
        ) from error
    return across, down


def _page(document: "PdfDocument", number: int) -> "PdfPage":
    import pypdfium2

    try:
        return document[number - 1]
    except pypdfium2.PdfiumError as error:
        raise _damaged() from error


def _check_total(sizes: list[tuple[int, int]]) -> None:
    total = sum(width * height for width, height in sizes)
    if total > MOST_PIXELS:
        raise OutputTooLarge(
            f"The {len(sizes)} pages would have {total / 1e6:.0f} megapixels; at most {MOST_PIXELS // 1_000_000} are "
            "made in one call. Ask for fewer pages or a lower dpi.",
            got=total,
            limit=MOST_PIXELS,
        )


def _drawn(document: "PdfDocument", number: int, width: int, height: int) -> "pyvips.Image":
    """A page on white with its annotations and forms, filling exactly that size."""
    from pypdfium2 import PdfBitmap
    from pypdfium2 import raw as pdfium

    page = _page(document, number)
    bitmap = PdfBitmap.new_native(width, height, pdfium.FPDFBitmap_BGR, rev_byteorder=True)
    bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
    where = (bitmap, page, 0, 0, width, height, 0, pdfium.FPDF_ANNOT | pdfium.FPDF_REVERSE_BYTE_ORDER)
    pdfium.FPDF_RenderPageBitmap(*where)
    if document.formenv:
        pdfium.FPDF_FFLDraw(document.formenv, *where)
    rows = np.ascontiguousarray(bitmap.to_numpy())
    bitmap.close()
    page.close()
    return pyvips.Image.new_from_memory(rows.data, width, height, 3, "uchar").copy(interpretation="srgb")


def _picture(pixels: "pyvips.Image", pdf: Original, settings: PdfToImage) -> Image:
    if settings.color_mode != "color":
        pixels = pixels.colourspace("b-w")
    if settings.color_mode == "bw":
        pixels = (pixels > 127).copy(interpretation="b-w")
    quality = settings.quality if settings.format in LOSSY else None
    format = settings.format if settings.format != "heic" else None
    return Image(pixels, Source("pdf", pdf.size, pixels), Encoding(format, quality))
