"""Image files made by Pillow, and what the codec makes of them."""

import functools
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import skimage.data
from PIL import Image as Pillow
from PIL import ImageCms

from darkroom.engine.codec import Encoded, encode_image, open_image
from darkroom.engine.limits import Limits
from darkroom_tools.image import Image

pyvips.cache_set_max(0)  # as in a worker: progress signals and the operation cache do not go together

LIMITS = Limits()
SAVED = {
    "jpeg": {"quality": 95, "subsampling": 0},
    "png": {},
    "webp": {"lossless": True},
    "tiff": {},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
}
"""Pillow's settings for a nearly lossless file, by format."""


@functools.cache
def photo(width: int = 96, height: int = 64) -> Pillow.Image:
    """A photograph in which all four quarters look different."""
    return Pillow.fromarray(skimage.data.astronaut()[:384]).resize((width, height))


def stored(folder: Path, image: Pillow.Image, format: str = "png", **options: Any) -> Path:
    """A file of an image."""
    path = folder / "input.bin"
    image.save(path, format, **SAVED.get(format, {}) | options)
    return path


def written(folder: Path, data: bytes) -> Path:
    """A file of some bytes."""
    path = folder / "input.bin"
    path.write_bytes(data)
    return path


def bytes_of(image: Pillow.Image, format: str = "png", **options: Any) -> bytes:
    """The bytes of a file of an image."""
    buffer = io.BytesIO()
    image.save(buffer, format, **SAVED.get(format, {}) | options)
    return buffer.getvalue()


def opened(path: Path, *, sequential: bool = False, limits: Limits = LIMITS) -> Image:
    return open_image(path, limits, sequential=sequential)


def encoded(image: Image, folder: Path, *, limits: Limits = LIMITS, **encoding: Any) -> Encoded:
    """The picture written into `folder`, with changes to how it is to be written."""
    return encode_image(image.encode_as(**encoding), folder, "result", limits, lambda pixels: None)


def pixels_of(image: Image) -> np.ndarray:
    """The pixels as whole numbers, height × width × bands."""
    array = image.pixels.numpy().astype(int)
    return array[:, :, None] if array.ndim == 2 else array


def read_back(path: Path) -> Pillow.Image:
    """A file as Pillow itself reads it, whole: a plugin for HEIC that some library registers has no AV1."""
    Pillow.init()
    with Pillow.open(path, formats=[name for name in Pillow.ID if name != "HEIF"]) as image:
        image.load()
    return image


def seen(path: Path) -> np.ndarray:
    """The pixels that Pillow reads from a file as whole numbers, height × width × bands."""
    array = np.asarray(read_back(path)).astype(int)
    return array[:, :, None] if array.ndim == 2 else array


def difference(one: Any, other: Any) -> float:
    """The mean distance of two pictures of one shape, in levels."""
    first, second = np.asarray(one).astype(int), np.asarray(other).astype(int)
    assert first.shape == second.shape
    return float(np.abs(first - second).mean())


def srgb_profile() -> bytes:
    """Little CMS's own sRGB profile."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def builtin_profile(name: str) -> bytes:
    """A profile that libvips brings along: `p3` or `cmyk`."""
    grey = pyvips.Image.black(4, 4, bands=3).copy(interpretation="srgb")
    return bytes(grey.icc_transform(name, input_profile="srgb").get("icc-profile-data"))
