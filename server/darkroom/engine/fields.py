"""Header fields of libvips images: profile, metadata, frames."""

from typing import Any

import pyvips

__all__ = ["ANIMATION", "ICC", "field", "without"]

ICC = "icc-profile-data"
ANIMATION = ("page-height", "n-pages", "delay", "loop")


def field(image: pyvips.Image, name: str, default: Any = None) -> Any:
    """The value of a header field, `default` where the image has none."""
    return image.get(name) if image.get_typeof(name) else default


def without(image: pyvips.Image, *names: str) -> pyvips.Image:
    """The image without some header fields."""
    present = [name for name in names if image.get_typeof(name)]
    if present:
        image = image.copy()
        for name in present:
            image.remove(name)
    return image
