"""QR Code Generator."""

import base64
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from darkroom_tools.base import Encoding, File, Image, Run, Settings, Source, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.color import CheckedAlphaColor, CheckedColor, parse_color
from darkroom_tools.kit.pixels import as_array, first_frame
from darkroom_tools.kit.qr import CornerDotStyle, CornerStyle, DotStyle, Level, QrLook, draw_qr, qr_modules
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import LOSSY
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

LOGO_SHARE: Final = 0.22
LOGO_PIXELS: Final = 1024
ENOUGH_CONTRAST: Final = 3.0
"""Ratio of luminances below which cameras often fail, after the contrast rule for graphics of WCAG 2."""

ENOUGH_PIXELS: Final = 3
CHECKED_SIDE: Final = 1500
QUALITY: Final = 90


class QrGenerate(Settings):
    """What the code says and how it looks."""

    aliases: ClassVar = {
        "text": "data",
        "foreground": "colorDark",
        "background": "colorLight",
        "errorCorrection": "errorCorrectionLevel",
    }
    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    data: Annotated[str, Field(min_length=1, max_length=2000)]
    """Text or URL"""

    size: Annotated[int, Field(ge=100, le=10_000)] = 400
    """Side in pixels"""

    margin: Annotated[int, Field(ge=0, le=64)] = 4
    """Modules, at least"""

    color_dark: CheckedColor = "#000000"
    """#RRGGBB"""

    color_light: CheckedAlphaColor = "#FFFFFF"
    """#RRGGBB or #RRGGBBAA"""

    error_correction_level: Level = "M"
    """H with a logo"""

    dot_style: DotStyle = "square"
    """Modules"""

    corner_style: CornerStyle = "square"
    """Frames of finders"""

    corner_dot_style: Unpublished[CornerDotStyle] = "square"
    """Inside of finders"""

    logo_size: Unpublished[Annotated[float, Field(ge=0.05, le=0.4)]] = LOGO_SHARE
    """Share of the code's side"""

    format: Literal["png", "svg", "jpeg", "webp"] = "png"
    """Of the result"""


def _shape(settings: QrGenerate, shapes: Shapes) -> Shape:
    _module_side(len(qr_modules(settings.data, _level(settings, has_logo="logo" in shapes))), settings)
    if settings.format == "svg":
        return Shape(0, 0, format="svg")
    clear = parse_color(settings.color_light).alpha < 255
    return Shape(settings.size, settings.size, format=settings.format, alpha=clear)


@tool(title="QR Code Generator", worker="vector", example={"data": "https://example.com"}, shape=_shape)
def qr_generate(settings: QrGenerate, run: Run, logo: Image | None = None) -> Image | File:
    """Make a QR code of a text or URL, read back before it is handed out."""
    level = _level(settings, has_logo=logo is not None)
    modules = qr_modules(settings.data, level)
    module = _module_side(len(modules), settings)
    share = settings.logo_size
    picture = None if logo is None else _embedded(logo, len(modules) * module * share, settings.format, run)
    svg = draw_qr(modules, _look(settings), settings.size, module, picture, share)
    if not _reads_back(svg, settings):
        raise InvalidSettings(_advice(settings, module, has_logo=logo is not None), field="data")
    facts = {"scans": True, "errorCorrectionLevel": level, "modules": len(modules)}
    warnings = tuple(_doubts(settings, level))
    if settings.format == "svg":
        return File(svg, "image/svg+xml", "svg", facts, warnings)
    pixels = _plain(pyvips.Image.svgload_buffer(svg), settings, has_logo=logo is not None)
    quality = QUALITY if settings.format in LOSSY else None
    made = run.encode(Image(pixels, Source("svg", len(svg), pixels), Encoding(settings.format, quality)))
    return replace(made, facts={**made.facts, **facts}, warnings=(*made.warnings, *warnings))


def _level(settings: QrGenerate, *, has_logo: bool) -> Level:
    return "H" if has_logo else settings.error_correction_level


def _look(settings: QrGenerate) -> QrLook:
    return QrLook(
        settings.dot_style,
        settings.corner_style,
        settings.corner_dot_style,
        settings.color_dark,
        settings.color_light,
    )


def _module_side(count: int, settings: QrGenerate) -> int:
    """The largest whole number of pixels a module may take."""
    side = count + 2 * settings.margin
    if settings.size < side:
        raise InvalidSettings(
            f"This text makes a code of {count} modules a side; with its margin it needs a 'size' of at least {side}, "
            f"better {3 * side}.",
            field="size",
            got=settings.size,
            limit=side,
        )
    return settings.size // side


def _embedded(logo: Image, side: float, format: str, run: Run) -> str:
    """The logo as data URI, no larger than it will be seen; a vector drawing may be enlarged later."""
    most = LOGO_PIXELS if format == "svg" else min(LOGO_PIXELS, math.ceil(side))
    pixels = first_frame(logo).pixels.thumbnail_image(most, height=most, size="down")
    png = run.encode(Image(pixels, Source("png", 0, pixels), Encoding("png")))
    return f"data:image/png;base64,{base64.b64encode(png.data).decode()}"


def _plain(drawn: "pyvips.Image", settings: QrGenerate, *, has_logo: bool) -> "pyvips.Image":
    """The drawing without an alpha that is opaque everywhere, and grey if nothing in it has a colour."""
    light, dark = parse_color(settings.color_light), parse_color(settings.color_dark)
    if light.alpha < 255:
        return drawn
    opaque = drawn.extract_band(0, n=3).copy(interpretation="srgb")
    grey = not has_logo and all(color.red == color.green == color.blue for color in (light, dark))
    return opaque[0].copy(interpretation="b-w") if grey else opaque


def _reads_back(svg: bytes, settings: QrGenerate) -> bool:
    """Whether a reader of another maker finds exactly this text in the drawing, on white paper."""
    import zxingcpp

    drawn = pyvips.Image.svgload_buffer(svg, scale=min(1.0, CHECKED_SIDE / settings.size))
    grey = drawn.flatten(background=[255]).colourspace("b-w")
    found = zxingcpp.read_barcodes(as_array(grey)[:, :, 0], formats=zxingcpp.barcode_formats_from_str("QRCode"))
    return any(code.bytes == settings.data.encode() for code in found)


def _advice(settings: QrGenerate, module: int, *, has_logo: bool) -> str:
    """Why the code was not read back, as far as can be told, and what to change."""
    ways = []
    if _contrast(settings) < ENOUGH_CONTRAST:
        ways.append("colours further apart")
    if has_logo:
        ways.append(f"a smaller 'logoSize' than {settings.logo_size:g}")
    if module < ENOUGH_PIXELS:
        ways.append("a larger 'size'")
    if settings.margin < 4:
        ways.append("a 'margin' of 4")
    if settings.dot_style != "square":
        ways.append("the 'dotStyle' square")
    advice = " or ".join(ways) or "shorter 'data'"
    return f"The code drawn with these settings cannot be read, so it was not made. Try {advice}."


def _doubts(settings: QrGenerate, level: Level) -> Iterator[str]:
    """What a camera may find hard though the check did not."""
    if level != settings.error_correction_level and "error_correction_level" in settings.model_fields_set:
        yield "With a logo the error correction level is always H."
    if _contrast(settings) < ENOUGH_CONTRAST:
        yield "The colours are close to each other; some cameras will not read this. Take colours further apart."
    if _luminance(settings.color_dark) > _luminance(settings.color_light):
        yield "Light modules on a dark ground: some readers expect the opposite."
    if parse_color(settings.color_light).alpha < 255:
        yield "The ground is transparent; put the code on a light one."
    if settings.margin < 4:
        yield "The quiet zone is narrower than the 4 modules of the standard; keep the surroundings plain."


def _contrast(settings: QrGenerate) -> float:
    """Ratio of the luminances of both colours, 1 to 21, on white."""
    low, high = sorted((_luminance(settings.color_dark), _luminance(settings.color_light)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    """Relative luminance of a colour on white, 0 to 1, as WCAG 2 defines it."""
    red, green, blue, alpha = parse_color(color)
    seen = (255 + (channel - 255) * alpha / 255 for channel in (red, green, blue))
    linear = (c / 3294.6 if c <= 10.3148 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in seen)
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
