"""Enlarging without a model, and what colour and alpha need around any enlargement."""

from typing import Final, cast

from darkroom_tools.kit.pixels import as_array, color_bands, picture_of, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["lanczos", "uncovered"]

REACHES: Final = (2, 8, 32)
"""Sides in pixels of the neighbourhoods that lend hidden pixels a colour, nearest first."""


def lanczos(pixels: "pyvips.Image", width: int, height: int) -> "pyvips.Image":
    """The pixels in another size by Lanczos' kernel of three lobes, band by band; held in memory.

    The middle of the picture stays its middle, and 16 bits stay. libvips has this kernel for reductions only.

    Args:
        pixels: 8 or 16 bits a band, alpha not premultiplied.
        width: Of the result.
        height: Of the result.
    """
    from PIL import Image

    array = as_array(pixels)
    result = np.empty((height, width, pixels.bands), array.dtype)
    for band in range(pixels.bands):
        plane = np.ascontiguousarray(array[..., band])
        deep = plane.dtype != np.uint8
        large = Image.fromarray(plane.astype(np.float32) if deep else plane).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        values = np.asarray(large)
        result[..., band] = np.clip(values + 0.5, 0, white_level(pixels)) if deep else values
    return picture_of(result, pixels)


def uncovered(pixels: "pyvips.Image") -> "pyvips.Image":
    """The colours without alpha; where nothing was visible, those of the nearest visible pixels.

    What enlarges or filters them then finds no hidden colour that would bleed into a visible edge.
    """
    if not pixels.hasalpha():
        return pixels
    bands = color_bands(pixels)
    colour, alpha = pixels.extract_band(0, n=bands), pixels[bands]
    if cast(float, alpha.min()) > 0:
        return colour
    weighted = pixels.premultiply(max_alpha=white_level(pixels)).copy_memory()
    lent = colour * 0
    for reach in reversed(REACHES):
        small = weighted.shrink(min(reach, pixels.width), min(reach, pixels.height), ceil=True)
        # Nothing is divided by an alpha that is nearly nothing, nor by none at all.
        near = resized(small, pixels.width, pixels.height, "linear")
        share = near[bands] / white_level(pixels)
        lent = (share > 1e-4).ifthenelse(near.extract_band(0, n=bands) / (share > 1e-4).ifthenelse(share, 1), lent)
    filled = (alpha > 0).ifthenelse(colour, lent.rint().cast(pixels.format))
    return filled.copy(interpretation=pixels.interpretation)
