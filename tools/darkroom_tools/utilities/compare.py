"""Image Compare."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.geometry import check_output
from darkroom_tools.kit.pixels import first_frame, premultiplied, resized, with_alpha
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes
from darkroom_tools.shape import still as still_shape


class Compare(Settings):
    """How the difference is shown."""

    mode: Literal["side-by-side", "overlay", "diff"] = "diff"
    """diff marks changed pixels red"""

    diff_threshold: Annotated[int, Field(ge=0, le=255)] = 10
    """Larger channel differences count"""

    opacity: Annotated[float, Field(ge=0, le=100)] = 50
    """Percent of target in overlay"""


def _shape(settings: Compare, shapes: Shapes) -> Shape:
    (image,), (target,) = shapes["image"], shapes["target"]
    clear = settings.mode != "diff" and (image.alpha or target.alpha)
    return still_shape(settings, shapes).sized(*_size(image, settings)).with_alpha(clear).encoded_as("png")


@tool(title="Image Compare", example={"mode": "diff"}, shape=_shape)
def compare(image: Image, target: Image, settings: Compare) -> Image:
    """Compare two pictures: percent of equal pixels, and a PNG that shows it.

    The target is stretched to the image's size.
    """
    _size(image, settings)
    width, height = image.width, image.height
    alpha = image.has_alpha or target.has_alpha
    first, second = _comparable(image, alpha), _comparable(target, alpha)
    if (second.width, second.height) != (width, height):
        second = premultiplied(second, lambda p: resized(p, width, height))
    changed = _changed(first, second, settings.diff_threshold).copy_memory()
    count = round(changed.avg() * width * height / 255)
    if settings.mode == "diff":
        shown = _marked(first, changed)
    elif settings.mode == "overlay":
        shown = _overlaid(first, second, settings.opacity / 100)
    else:
        shown = pyvips.Image.arrayjoin([first, second], across=2)
    result = replace(first_frame(image), pixels=shown, reload=None)
    if (target.width, target.height) != (width, height):
        result = result.warn(f"The target was stretched from {target.width}×{target.height} to {width}×{height}.")
    if image.frames > 1 or target.frames > 1:
        result = result.warn("Only the first frames were compared.")
    return result.encode_as(format="png", quality=None, target_bytes=None).with_facts(
        # Rounded down, so that 100 means that no pixel differs.
        similarity=10_000 * (width * height - count) // (width * height) / 100,
        dimensions={"width": width, "height": height},
        diffPixels=count,
    )


def _size(image: Image | Shape, settings: Compare) -> tuple[int, int]:
    """Width and height of the result.

    Raises:
        OutputTooLarge: It would be over the limits.
    """
    size = image.width * (2 if settings.mode == "side-by-side" else 1), image.height
    check_output(*size)
    return size


def _comparable(image: Image, alpha: bool) -> "pyvips.Image":
    """The first frame in 8 bits sRGB, with alpha where one of the two has it."""
    pixels = first_frame(image).pixels.colourspace("srgb")
    return with_alpha(pixels) if alpha else pixels


def _changed(first: "pyvips.Image", second: "pyvips.Image", threshold: int) -> "pyvips.Image":
    """White where any channel differs by more than the threshold; colour that is invisible does not count."""
    if first.hasalpha():
        first, second = first.premultiply().rint(), second.premultiply().rint()
    return ((first - second).abs() > threshold).bandor()


def _marked(first: "pyvips.Image", changed: "pyvips.Image") -> "pyvips.Image":
    """Changed pixels red on the first picture in faint grey."""
    opaque = first.flatten(background=[255]) if first.hasalpha() else first
    faint = opaque.colourspace("b-w").linear([0.3], [178.0], uchar=True)
    return changed.ifthenelse([255, 0, 0], faint.bandjoin(faint).bandjoin(faint)).copy(interpretation="srgb")


def _overlaid(first: "pyvips.Image", second: "pyvips.Image", opacity: float) -> "pyvips.Image":
    """The second picture laid over the first."""
    second = second.premultiply() if second.hasalpha() else second
    mixed = premultiplied(first, lambda p: p * (1 - opacity) + second * opacity)
    return mixed.rint().cast("uchar").copy(interpretation="srgb")
