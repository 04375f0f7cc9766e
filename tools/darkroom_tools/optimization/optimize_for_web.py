"""Optimize for Web."""

from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from darkroom_tools.base import Format, Image, Settings, tool
from darkroom_tools.kit.geometry import proportional
from darkroom_tools.kit.metadata.changes import Strip
from darkroom_tools.kit.metadata.rewrite import CONTAINERS
from darkroom_tools.kit.pixels import color_bands, premultiplied
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.shape import Shape, Shapes

Side = Annotated[int, Field(ge=1)]

# WebP first: of files of one size it is the one that every browser reads and that holds alpha and frames.
CANDIDATES: Final[tuple[Format, ...]] = ("webp", "jpeg", "png")


class OptimizeForWeb(Settings):
    """How large and good the picture shall be."""

    aliases: ClassVar = {"maxWidth": "maxWidthPx", "maxHeight": "maxHeightPx"}
    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    format: Literal["auto", "webp", "jpeg", "avif", "png"] = "auto"
    """auto tries webp, jpeg, png"""

    quality: Annotated[int, Field(ge=1, le=100)] = 80
    """avif 50 and png lossless unless given"""

    max_width_px: Side | None = None
    """Scaled down to fit"""

    max_height_px: Side | None = None
    """Scaled down to fit"""

    progressive: Unpublished[bool] = True
    """JPEG shows early, coarse first"""

    strip_metadata: bool = True
    """False keeps EXIF, XMP"""


def _shape(settings: OptimizeForWeb, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    fitted = image.sized(*_fitting_size(image.width, image.height, settings))
    if settings.format != "auto":
        return fitted.encoded_as(settings.format)
    # Where nothing else changes, the file that came may stay the smallest.
    own = (image.format,) if fitted == image and image.format in CONTAINERS else ()
    return replace(fitted, wanted=None, formats=tuple(dict.fromkeys((*CANDIDATES, *own))))


@tool(title="Optimize for Web", sequential=True, example={"maxWidthPx": 1600}, shape=_shape)
def optimize_for_web(image: Image, settings: OptimizeForWeb) -> Image:
    """Make a picture small for a web page: scaled to fit, smallest format, never larger than before.

    Where nothing but the encoding would change and the file would grow, the original is the answer, stripped. A
    format that was asked for is kept all the same, with a warning.
    """
    image = _in_8_bits(_fitted(image, *_fitting_size(image.width, image.height, settings)))
    own_default = settings.format in ("png", "avif") and "quality" not in settings.model_fields_set
    image = image.encode_as(
        format=None if settings.format == "auto" else settings.format,
        formats=CANDIDATES if settings.format == "auto" else (),
        quality=None if own_default else settings.quality,
        target_bytes=None,
        effort="small",
        progressive=settings.progressive,
        never_larger=True,
        carry_metadata=not settings.strip_metadata,
    )
    return image.change_metadata(Strip()) if settings.strip_metadata else image


def _in_8_bits(image: Image) -> Image:
    """What screens show, for formats that could hold 16 bits."""
    if image.pixels.format != "ushort":
        return image
    narrow = image.pixels.cast("uchar", shift=True)
    return image.with_pixels(narrow.copy(interpretation="b-w" if color_bands(narrow) == 1 else "srgb"))


def _fitting_size(width: int, height: int, settings: OptimizeForWeb) -> tuple[int, int]:
    """The size that fits; never larger."""
    wide, high = settings.max_width_px, settings.max_height_px
    sizes = [(width, height)]
    if wide is not None and wide < width:
        sizes.append((wide, proportional(height, wide, width)))
    if high is not None and high < height:
        sizes.append((proportional(width, high, height), high))
    return min(sizes)


def _fitted(image: Image, wide: int, high: int) -> Image:
    """The picture scaled down to that size."""
    if (wide, high) == (image.width, image.height):
        return image
    smaller = replace(image, pixels=image.reduced(max(wide / image.width, high / image.height)))
    return smaller.map_frames(
        lambda frame: premultiplied(frame, lambda p: p.resize(wide / frame.width, vscale=high / frame.height))
    )
