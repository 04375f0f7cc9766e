"""Image Watermark."""

from typing import Annotated, Literal

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.blend import laid, upper_still
from darkroom_tools.kit.geometry import proportional, rounded
from darkroom_tools.kit.opacity import Opacity
from darkroom_tools.kit.pixels import premultiplied, resized


class WatermarkImage(Settings):
    """How large the watermark is, and where."""

    opacity: Opacity = 50
    """Percent"""

    position: Literal["center", "top-left", "top-right", "bottom-left", "bottom-right"] = "bottom-right"
    """Where it stands"""

    scale: Annotated[float, Field(ge=1, le=100)] = 25
    """Its width in percent of the picture's"""

    padding: Annotated[float, Field(ge=0, le=1000)] = 20
    """Pixels from the corner's edges"""


@tool(title="Image Watermark", sequential=True, example={"position": "bottom-right", "scale": 20, "opacity": 60})
def watermark_image(image: Image, watermark: Image, settings: WatermarkImage) -> Image:
    """Lay a logo over a picture, scaled to it."""
    image, logo = upper_still(image, watermark, "watermark")
    width = max(1, rounded(image.width * settings.scale / 100))
    height = proportional(logo.height, width, logo.width)
    if height > image.height:
        width, height = min(width, proportional(logo.width, image.height, logo.height)), image.height
        image = image.warn(f"The watermark was made {width}×{height} pixels, as more does not fit into the picture.")
    left, top = _corner(image, width, height, settings)
    scale = max(width / logo.width, height / logo.height)
    pixels = logo.reduced(scale) if scale < 1 else logo.pixels
    # In memory, for it is read out of order when it grows, and once for each frame.
    scaled = premultiplied(pixels, lambda p: resized(p, width, height)).copy_memory()
    marked = laid(image, scaled, left, top, opacity=settings.opacity / 100)
    wanted = rounded(settings.padding)
    if settings.position != "center" and wanted > min(image.width - width, image.height - height):
        marked = marked.warn(f"There was no room for a padding of {wanted} pixels beside the watermark.")
    return marked


def _corner(image: Image, width: int, height: int, settings: WatermarkImage) -> tuple[int, int]:
    """Where the watermark's top left corner goes; padding gives way where it would push it out of the picture."""
    room_x, room_y = image.width - width, image.height - height
    if settings.position == "center":
        return room_x // 2, room_y // 2
    padding = rounded(settings.padding)
    near_x, near_y = min(padding, room_x), min(padding, room_y)
    left = near_x if settings.position.endswith("left") else room_x - near_x
    top = near_y if settings.position.startswith("top") else room_y - near_y
    return left, top
