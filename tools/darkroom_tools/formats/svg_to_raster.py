"""SVG to Raster."""

from typing import Annotated, ClassVar, Final

from pydantic import Field

from darkroom_tools.base import Encoding, Format, Image, Original, Settings, Source, tool
from darkroom_tools.errors import InvalidImage
from darkroom_tools.kit.color import CheckedAlphaColor, parse_color
from darkroom_tools.kit.geometry import MAX_SIDE, check_output, rounded
from darkroom_tools.kit.svg import CleanSvg, clean_svg
from darkroom_tools.kit.text import prepare_fonts
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import LOSSY
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

CSS_DPI: Final = 96


Side = Annotated[int, Field(ge=1, le=65536)]


class SvgToRaster(Settings):
    """How large, in which format and on what."""

    aliases: ClassVar = {"outputFormat": "format", "backgroundColor": "background"}
    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    format: Format = "png"
    """Of the result"""

    width: Side | None = None
    """Pixels; with height: fits inside"""

    height: Side | None = None
    """Pixels"""

    scale: Annotated[float, Field(gt=0, le=64)] = 1
    """Times the size at dpi"""

    dpi: Annotated[float, Field(ge=36, le=2400)] = 300
    """96: a pixel per CSS pixel"""

    background: CheckedAlphaColor = "#00000000"
    """#RRGGBB or #RRGGBBAA"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 90
    """jpeg, webp, avif, heif"""


def _shape(settings: SvgToRaster, shapes: Shapes) -> Shape:
    clear = parse_color(settings.background).alpha < 255
    most = Shape(settings.width or MAX_SIDE, settings.height or MAX_SIDE, format="svg", alpha=clear, exact=False)
    return most.encoded_as(settings.format)


@tool(title="SVG to Raster", reads=("svg",), worker="vector", example={"width": 512}, shape=_shape)
def svg_to_raster(svg: Original, settings: SvgToRaster) -> Image:
    """Draw an SVG as a picture of any size."""
    clean = clean_svg(svg.read())
    width, height = _size(clean, settings)
    check_output(width, height)
    drawing = clean.sized(width, height)
    prepare_fonts(drawing.decode())
    try:
        drawn = pyvips.Image.svgload_buffer(drawing)
    except pyvips.Error as error:
        raise InvalidImage("The SVG cannot be drawn. Open it in an editor and save it again.") from error
    if (drawn.width, drawn.height) != (width, height):
        raise InvalidImage("The SVG asks for a size of its own in its styles. Remove those, or save it again.")
    pixels = _on_background(drawn, settings.background)
    encoding = Encoding(settings.format, settings.quality if settings.format in LOSSY else None)
    source = Source("svg", svg.size, _without_origin(pixels), original=svg)
    image = Image(pixels, source, encoding)
    if clean.removed:
        image = image.warn(f"Removed before drawing: {', '.join(clean.removed)}.")
    if not clean.stated:
        image = image.warn("The SVG states no size, so it was taken as browsers do: 300×150 where nothing is said.")
    return image


def _size(clean: CleanSvg, settings: SvgToRaster) -> tuple[int, int]:
    """Width and height of the picture in pixels."""
    sides = ((settings.width, clean.width), (settings.height, clean.height))
    natural = settings.dpi / CSS_DPI * settings.scale
    factor = min((asked / own for asked, own in sides if asked is not None), default=natural)
    return max(1, rounded(clean.width * factor)), max(1, rounded(clean.height * factor))


def _on_background(drawn: "pyvips.Image", background: str) -> "pyvips.Image":
    color = parse_color(background)
    if color.alpha == 0:
        return drawn
    if color.alpha == 255:
        return drawn.flatten(background=list(color[:3]))
    paper = drawn.new_from_image(list(color)).copy(interpretation="srgb")
    return paper.composite2(drawn, "over").cast("uchar")


def _without_origin(pixels: "pyvips.Image") -> "pyvips.Image":
    """The picture as if it came from nowhere: the bytes of an SVG cannot be opened again to look for damage."""
    header = pixels.copy()
    header.remove("vips-loader")
    return header
