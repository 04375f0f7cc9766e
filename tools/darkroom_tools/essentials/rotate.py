"""Rotate & Flip."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.color import AlphaColor, Rgba, ink, parse_color
from darkroom_tools.kit.geometry import check_output, turned_size
from darkroom_tools.kit.pixels import takes_alpha, turn, white_level, with_alpha
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

FLIPS = {(False, False): "none", (True, False): "horizontal", (False, True): "vertical", (True, True): "both"}


class Rotate(Settings):
    """Turning comes first, then mirroring."""

    angle: Annotated[float, Field(ge=-360, le=360)] = 0
    """Degrees clockwise"""

    flip: Literal["none", "horizontal", "vertical", "both"] = "none"
    """Mirror, after turning"""

    background: AlphaColor | None = None
    """Of new corners; default transparent, else white"""

    @model_validator(mode="before")
    @classmethod
    def _two_switches(cls, data: Any) -> Any:
        """Take `horizontal` and `vertical`, two switches, for `flip`."""
        if not isinstance(data, dict) or not data.keys() & {"horizontal", "vertical"}:
            return data
        rest = dict(data)
        switches = (rest.pop("horizontal", False), rest.pop("vertical", False))
        if not all(isinstance(switch, bool) for switch in switches):
            raise ValueError("'horizontal' and 'vertical' should be true or false.")
        if rest.setdefault("flip", FLIPS[switches]) != FLIPS[switches]:
            raise ValueError("Give 'flip' or 'horizontal' and 'vertical', not both.")
        return rest


def _shape(settings: Rotate, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    size = turned_size(image.width, image.height, settings.angle)
    check_output(*size, image.frames)
    clear = settings.angle % 90 > 0 and _corners(settings, clear=image.takes_alpha).alpha < 255
    return image.sized(*size).with_alpha(image.alpha or clear)


@tool(title="Rotate & Flip", example={"angle": 90}, shape=_shape)
def rotate(image: Image, settings: Rotate) -> Image:
    """Turn a picture by any angle, enlarging the canvas if needed, or mirror it."""
    check_output(*turned_size(image.width, image.height, settings.angle), image.frames)
    color = _corners(settings, clear=takes_alpha(image))

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        if settings.angle % 90:
            frame = with_alpha(frame) if color.alpha < 255 else frame
            frame, fill = ink(frame, color)
            alpha = [color.alpha * white_level(frame) / 255] if frame.hasalpha() else []
            frame = turn(frame, settings.angle, [*fill, *alpha])
        else:
            frame = turn(frame, settings.angle, ())
        frame = frame.fliphor() if settings.flip in ("horizontal", "both") else frame
        return frame.flipver() if settings.flip in ("vertical", "both") else frame

    return image.map_frames(change)


def _corners(settings: Rotate, *, clear: bool) -> Rgba:
    """The colour of new corners; `clear` where they may be transparent."""
    return parse_color(settings.background or ("#00000000" if clear else "#FFFFFF"))
