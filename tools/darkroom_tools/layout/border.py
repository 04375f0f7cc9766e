"""Border & Frame."""

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.color import CheckedColor, parse_color
from darkroom_tools.kit.format_rules import OPAQUE
from darkroom_tools.kit.framing import Fill, Pattern, Shadow, framed, gradient_share, pattern_share, shadowed
from darkroom_tools.kit.geometry import check_output, rounded
from darkroom_tools.kit.pixels import masked, rounded_mask
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

Length = Annotated[float, Field(ge=0, le=2000)]
Shift = Annotated[float, Field(ge=-50, le=50)]


class Border(Settings):
    """The frame and what is around it."""

    aliases: ClassVar = {"borderWidth": "width", "borderColor": "color", "cornerRadius": "borderRadius"}

    width: Length = 10
    """Pixels"""

    color: CheckedColor = "#000000"
    """#RRGGBB"""

    style: Literal["solid", "gradient", "pattern"] = "solid"
    """The last two mix in color2"""

    color2: CheckedColor = "#FFFFFF"
    """#RRGGBB"""

    angle: float = 180
    """Of the gradient: 90 runs right, 180 down"""

    pattern: Pattern = "stripes"
    """For style pattern"""

    border_radius: Length = 0
    """Pixels; transparent corners"""

    padding: Annotated[float, Field(ge=0, le=200)] = 0
    """Pixels inside the border"""

    padding_color: Unpublished[CheckedColor] = "#FFFFFF"
    """#RRGGBB"""

    shadow: bool = False
    """On transparent ground"""

    shadow_blur: Unpublished[Annotated[float, Field(ge=1, le=200)]] = 15
    """Pixels"""

    shadow_offset_x: Unpublished[Shift] = 0
    """Pixels"""

    shadow_offset_y: Unpublished[Shift] = 5
    """Pixels"""

    shadow_color: Unpublished[CheckedColor] = "#000000"
    """#RRGGBB"""

    shadow_opacity: Unpublished[Annotated[float, Field(ge=0, le=100)]] = 40
    """Percent"""

    @property
    def cast_shadow(self) -> Shadow | None:
        """The shadow if it is asked for, by its switch or by how it shall look."""
        look = {"shadow_blur", "shadow_offset_x", "shadow_offset_y", "shadow_color", "shadow_opacity"}
        implied = "shadow" not in self.model_fields_set and bool(look & self.model_fields_set)
        if not (self.shadow or implied):
            return None
        return Shadow(
            self.shadow_blur,
            rounded(self.shadow_offset_x),
            rounded(self.shadow_offset_y),
            parse_color(self.shadow_color),
            self.shadow_opacity / 100,
        )


def _shape(settings: Border, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    made = image.sized(*_canvas(image, settings))
    shadow = settings.cast_shadow is not None
    if not (shadow or settings.border_radius > 0):
        return made
    better = None if made.formats else _better_format(made.written, made.frames, soft=shadow)
    return made.with_alpha() if better is None else made.with_alpha().encoded_as(better)


@tool(
    title="Border & Frame",
    sequential=True,
    example={"width": 24, "padding": 12, "color": "#222222"},
    shape=_shape,
)
def border(image: Image, settings: Border) -> Image:
    """Frame a picture: border, padding, round corners, drop shadow."""
    width, padding, shadow = rounded(settings.width), rounded(settings.padding), settings.cast_shadow
    wide, high = (side + 2 * (width + padding) for side in (image.width, image.height))
    _canvas(image, settings)
    radius = min(settings.border_radius, wide / 2, high / 2)
    mask = rounded_mask(wide, high, radius, radius) if radius > 0 else None
    if shadow and image.has_alpha:
        # The shadow has the outline of what is visible, so the picture is read twice.
        image = image.with_pixels(image.pixels.copy_memory())

    mat = parse_color(settings.padding_color)
    fill = _fill(settings, wide, high, width)

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        made = framed(framed(frame, padding, Fill(mat, mat)), width, fill, radius)
        if mask is not None and (made.hasalpha() or not shadow):
            made = masked(made, mask)
        return shadowed(made, shadow, mask, math.ceil(radius)) if shadow else made

    made = image.map_frames(change)
    return _with_room_for_alpha(made, shadow is not None) if mask is not None or shadow else made


def _canvas(image: Image | Shape, settings: Border) -> tuple[int, int]:
    """Width and height of the result, with its shadow.

    Raises:
        OutputTooLarge: It would be over the limits.
    """
    frame = 2 * (rounded(settings.width) + rounded(settings.padding))
    left, top, right, bottom = settings.cast_shadow.margins if settings.cast_shadow else (0, 0, 0, 0)
    size = image.width + frame + left + right, image.height + frame + top + bottom
    check_output(*size, image.frames)
    return size


def _fill(settings: Border, wide: int, high: int, width: int) -> Fill:
    """What the border is filled with, on a canvas of that size."""
    first, second = parse_color(settings.color), parse_color(settings.color2)
    if settings.style == "solid":
        return Fill(first, second)
    if settings.style == "gradient":
        return Fill(first, second, gradient_share(wide, high, settings.angle))
    return Fill(first, second, pattern_share(wide, high, max(2, width), settings.pattern))


def _with_room_for_alpha(image: Image, soft: bool) -> Image:
    """The picture in a format that holds its transparency; GIF knows no half-transparent shadow."""
    format = image.encoding.format or image.source.format
    better = None if image.encoding.formats else _better_format(format, image.frames, soft=soft)
    if better is None:
        return image
    what = "a soft shadow" if format == "gif" else "transparency"
    return image.encode_as(format=better, quality=None).warn(
        f"Written as {better.upper()}: {format.upper()} cannot hold {what}."
    )


def _better_format(format: str, frames: int, *, soft: bool) -> Literal["webp", "png"] | None:
    """The format to take instead of one that cannot hold the transparency; None if it can."""
    if format not in OPAQUE and not (soft and format == "gif"):
        return None
    return "webp" if frames > 1 else "png"
