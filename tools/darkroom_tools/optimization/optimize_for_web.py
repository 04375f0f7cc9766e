"""Optimize for Web."""

from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from darkroom_tools.base import Format, Image, Settings, tool
from darkroom_tools.kit.geometry import proportional
from darkroom_tools.kit.metadata.changes import Strip
from darkroom_tools.kit.pixels import color_bands, premultiplied
from darkroom_tools.kit.unpublished import Unpublished

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


@tool(title="Optimize for Web", sequential=True, example={"maxWidthPx": 1600})
def optimize_for_web(image: Image, settings: OptimizeForWeb) -> Image:
    """Make a picture small for a web page: scaled to fit, smallest format, never larger than before.

    Where nothing but the encoding would change and the file would grow, the original is the answer, stripped. A
    format that was asked for is kept all the same, with a warning.
    """
    image = _in_8_bits(_fitted(image, settings.max_width_px, settings.max_height_px))
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


def _fitted(image: Image, width: int | None, height: int | None) -> Image:
    """The picture scaled down to fit; never enlarged."""
    sizes = [(image.width, image.height)]
    if width is not None and width < image.width:
        sizes.append((width, proportional(image.height, width, image.width)))
    if height is not None and height < image.height:
        sizes.append((proportional(image.width, height, image.height), height))
    wide, high = min(sizes)
    if (wide, high) == sizes[0]:
        return image
    smaller = replace(image, pixels=image.reduced(max(wide / image.width, high / image.height)))
    return smaller.map_frames(
        lambda frame: premultiplied(frame, lambda p: p.resize(wide / frame.width, vscale=high / frame.height))
    )
