"""Steps of our own around an image engine: what leaves for it, and what came from it. No caller can name them."""

from typing import Annotated, cast

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.image import Format
from darkroom_tools.kit.metadata.changes import EVERYTHING, Strip
from darkroom_tools.kit.pixels import color_bands, first_frame, premultiplied, resized, white_level
from darkroom_tools.native import pyvips

__all__ = ["MODULE", "attach_mask", "attach_picture", "take_picture"]

MODULE = __name__

Side = Annotated[int, Field(ge=1, le=16_384)]

PHOTOS = frozenset({"jpeg", "webp", "avif", "heif", "heic"})
"""What was compressed with loss before loses nothing more that an engine would see."""


class Attach(Settings):
    """How large a picture may leave."""

    longest: Side = 2048
    """Pixels of the longer side; smaller ones stay"""


class Mask(Settings):
    """The size that a mask has to have."""

    width: Side
    """Pixels"""

    height: Side
    """Pixels"""


@tool(title="Attach Picture")
def attach_picture(image: Image, settings: Attach) -> Image:
    """A still picture for an engine: upright, sRGB of 8 bits, without any metadata; PNG, or JPEG for photos."""
    still = first_frame(image)
    scale = settings.longest / max(still.width, still.height)
    pixels = still.pixels
    if scale < 1:
        width, height = max(1, round(still.width * scale)), max(1, round(still.height * scale))
        smaller = still.reduced(scale) if image.frames == 1 else pixels
        pixels = premultiplied(smaller, lambda p: resized(p, width, height))
    plain = _plain(pixels).copy_memory()
    if plain.hasalpha() and plain[plain.bands - 1].min() == 255:
        plain = plain.extract_band(0, n=plain.bands - 1)
    format: Format = "jpeg" if still.source.format in PHOTOS and not plain.hasalpha() else "png"
    return _bare(still.with_pixels(plain), format)


@tool(title="Attach Mask")
def attach_mask(image: Image, settings: Mask) -> Image:
    """A mask that all engines understand: white and transparent where the picture may change, black and opaque where
    it stays. Some read the colours, some the transparency. A mask without white is read by its own transparency.
    """
    still = first_frame(image)
    pixels = _plain(still.pixels)
    grey = pixels[:3].colourspace("b-w") if pixels.bands >= 3 else pixels[0]
    if pixels.hasalpha():
        alpha = pixels[pixels.bands - 1]
        covered = grey * alpha / 255
        grey = covered if cast(float, covered.max()) >= 1 else alpha.linear([-1.0], [255.0])
    if (pixels.width, pixels.height) != (settings.width, settings.height):
        grey = resized(grey.cast("uchar"), settings.width, settings.height, "linear")
    grey = grey.cast("uchar").copy(interpretation="b-w")
    kept = grey.linear([-1.0], [255.0]).cast("uchar")
    made = grey.bandjoin(grey).bandjoin(grey).bandjoin(kept).copy(interpretation="srgb")
    return _bare(still.with_pixels(made), "png")


@tool(title="Take Picture")
def take_picture(image: Image) -> Image:
    """A picture that came from an engine: decoded whole, so that a damaged one is found here, and without metadata."""
    image.pixels.avg()
    return image.change_metadata(Strip(EVERYTHING))


def _plain(pixels: "pyvips.Image") -> "pyvips.Image":
    """Eight bits a band."""
    if white_level(pixels) == 255:
        return pixels.copy()
    return pixels.cast("uchar", shift=True).copy(interpretation="b-w" if color_bands(pixels) == 1 else "srgb")


def _bare(image: Image, format: Format) -> Image:
    return image.encode_as(format=format, quality=95 if format == "jpeg" else None).change_metadata(
        Strip(EVERYTHING | {"icc"})
    )
