"""Image Composition."""

from typing import ClassVar

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.blend import Blend, laid, upper_still
from darkroom_tools.kit.opacity import Opacity
from darkroom_tools.kit.stamp import overlap


class Compose(Settings):
    """Where the overlay goes and how it mixes."""

    aliases: ClassVar = {"blendMode": "blend"}

    x: int = 0
    """Its left edge in pixels, may be negative"""

    y: int = 0
    """Its upper edge"""

    opacity: Opacity = 100
    """Percent"""

    blend: Blend = "over"
    """As in CSS"""


@tool(title="Image Composition", sequential=True, example={"x": 20, "y": 20, "blend": "multiply"})
def compose(image: Image, overlay: Image, settings: Compose) -> Image:
    """Lay one picture on another in its own size; what lies beyond is cut off."""
    image, upper = upper_still(image, overlay, "overlay")
    if overlap(upper.width, upper.height, settings.x, settings.y, image) is None:
        return image.warn(
            f"Nothing changed: the overlay of {upper.width}×{upper.height} pixels at x {settings.x}, y {settings.y} "
            f"lies outside the picture of {image.width}×{image.height}."
        )
    return laid(image, upper.pixels, settings.x, settings.y, blend=settings.blend, opacity=settings.opacity / 100)
