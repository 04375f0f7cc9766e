"""Rotate & Flip."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.color import AlphaColor, ink, parse_color
from darkroom_tools.kit.geometry import check_output, turned_size
from darkroom_tools.kit.pixels import takes_alpha, turn, white_level, with_alpha
from darkroom_tools.native import pyvips

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


@tool(title="Rotate & Flip", example={"angle": 90})
def rotate(image: Image, settings: Rotate) -> Image:
    """Turn a picture by any angle, enlarging the canvas if needed, or mirror it."""
    check_output(*turned_size(image.width, image.height, settings.angle), image.frames)
    transparent = settings.background is None and takes_alpha(image)
    color = parse_color(settings.background or ("#00000000" if transparent else "#FFFFFF"))

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
