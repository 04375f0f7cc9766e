"""Object Eraser."""

import base64
import binascii
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.inpaint import INPAINT_MODELS, inpainted
from darkroom_tools.kit.pixels import as_array, color_bands, first_frame, resized, white_level
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.kit.wanted_format import written_as
from darkroom_tools.models import missing
from darkroom_tools.native import np, pyvips
from darkroom_tools.shape import Shape, Shapes
from darkroom_tools.shape import still as still_shape

MOST_CHARACTERS: Final = 2_000_000
MOST_PIXELS: Final = 100_000_000
"""Limits of a mask that comes inside the settings; a larger one is handed in as a picture."""

PNG: Final = b"\x89PNG\r\n\x1a\n"
LEADING_BYTES: Final = (PNG, b"\xff\xd8\xff", b"RIFF")
"""PNG, JPEG and WebP."""

LARGE: Final = 0.12
"""Share of the picture from which on pieces of the surroundings seldom convince."""

DISC: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAABgAAAAYAQAAAADIDABVAAAAJUlEQVR42mNgIARsGJgYnBgYGP4zMDEwwDEzw/+DzA"
    "x/HxHSDQDWnQUrv2HhaQAAAABJRU5ErkJggg=="
)
"""A white disc on black, 24 × 24."""


class EraseObject(Settings):
    """What is erased."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    mask_data: Annotated[str, Field(max_length=MOST_CHARACTERS)] | None = None
    """Small mask as base64 PNG instead of mask; white is erased"""

    mask_threshold: Annotated[int, Field(ge=0, le=255)] = 128
    """From this level on"""

    model: Unpublished[Literal["auto", "lama", "exemplar"]] = "auto"
    """A network, or pieces of the surroundings"""

    format: Unpublished[Literal["auto", "png", "jpeg", "webp", "avif"]] = "auto"
    """Of the result"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 95
    """Of the file"""


def _shape(settings: EraseObject, shapes: Shapes) -> Shape:
    if "mask" not in shapes and settings.mask_data is None:
        raise _without_mask()
    return still_shape(settings, shapes).encoded_as(settings.format)


@tool(title="Object Eraser", models=INPAINT_MODELS, example={"maskData": DISC}, shape=_shape)
def erase_object(image: Image, settings: EraseObject, run: Run, mask: Image | None = None) -> Image:
    """Erase what a mask covers (white) and fill the gap from its surroundings.

    Without a model, small things on texture or plain ground vanish best.
    """
    if settings.model not in ("auto", "exemplar") and not run.installed(settings.model):
        raise missing(settings.model)
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is changed.")
    pixels = still.pixels.copy_memory()
    hole = _hole(_mask(settings, mask), pixels.width, pixels.height, settings.mask_threshold)
    share = float(hole.mean())
    result = written_as(still, settings.format, settings.quality).with_facts(
        erasedPixels=int(hole.sum()), erasedPercent=round(100 * share, 2)
    )
    if not hole.any():
        return result.with_facts(method="none").warn("The mask has no white, so nothing was erased.")
    if hole.all():
        said = "The mask covers the whole picture, so nothing is left to fill it from and nothing was erased."
        return result.with_facts(method="none").warn(said)

    def report(done: float) -> None:
        run.progress(0.05 + 0.9 * done, "filling")

    model = None if settings.model == "auto" else settings.model
    filled, method = inpainted(pixels, hole, run, report, model=model)
    if share > LARGE and "exemplar" in method:
        result = result.warn(f"The hole is large: look at the result. A network does better: {_command()}")
    return result.with_pixels(filled).with_facts(method=method)


def _command() -> str:
    return str(missing(INPAINT_MODELS[0]).details["command"])


def _without_mask() -> InvalidSettings:
    return InvalidSettings(
        "Say what to erase: hand in 'mask', a picture that is white there, or 'maskData', such a PNG in base64.",
        field="mask",
    )


def _mask(settings: EraseObject, given: Image | None) -> "pyvips.Image":
    """The mask as a picture of any kind and size."""
    if given is not None:
        return first_frame(given).pixels
    if settings.mask_data is None:
        raise _without_mask()
    try:
        data = base64.b64decode(settings.mask_data.rpartition(",")[2], validate=True)
        if not data.startswith(LEADING_BYTES):
            raise ValueError("neither PNG nor JPEG nor WebP")
        header = pyvips.Image.new_from_buffer(_bare(data), "", fail_on="warning")
        if header.width * header.height > MOST_PIXELS:
            raise ValueError("too many pixels")
        decoded: pyvips.Image = header.copy_memory()
    except (binascii.Error, ValueError, pyvips.Error) as error:
        raise InvalidSettings(
            "'maskData' is no readable PNG, JPEG or WebP in base64 or as a data URI. Hand in 'mask' instead.",
            field="maskData",
        ) from error
    return decoded


def _bare(data: bytes) -> bytes:
    """A PNG with nothing but its pixels: text and profiles may inflate to gigabytes. Others stay as they are."""
    if not data.startswith(PNG):
        return data
    kept, at = [PNG], len(PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind.isupper() or kind == b"tRNS":  # critical chunks begin with a capital; all known ones are in capitals
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _hole(mask: "pyvips.Image", width: int, height: int, threshold: int) -> "np.ndarray":
    """Height × width, True where the mask is white enough; where it is transparent it counts as black."""
    colors, white = color_bands(mask), white_level(mask)
    fitting = resized(mask, width, height, "nearest") if (mask.width, mask.height) != (width, height) else mask
    array = as_array(fitting).astype(np.float32) * (255 / white)
    levels = array[..., :colors] @ np.array((0.299, 0.587, 0.114) if colors == 3 else (1.0,), np.float32)
    if mask.hasalpha():
        alpha = array[..., colors]
        # Strokes of any colour on a clear ground are a mask too.
        levels = levels * alpha / 255 if (levels * alpha).any() else alpha * (np.ptp(alpha) > 0)
    hole: np.ndarray = np.floor(levels + 0.5) >= max(threshold, 1)
    return hole
