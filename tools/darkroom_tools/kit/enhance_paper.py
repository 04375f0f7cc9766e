"""Even light on paper: a photographed or scanned page as if lit from all sides."""

from typing import Final

from darkroom_tools.kit.pixels import as_array, color_bands, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["evened"]

SIDE: Final = 192
"""Pixels of the longer side of the small picture in which the paper is looked for."""

REACH: Final = 10
"""Of those, how far from any ink there must be paper."""

LEAST: Final = 0.3
"""Paper is never taken for darker than that share of its lightest place: what is, is a picture on the page."""

CLEAN: Final = 0.97
"""Share of the paper's brightness that becomes white."""


def evened(pixels: "pyvips.Image", share: float) -> "pyvips.Image":
    """Divide a frame by the light on its paper.

    The light is what remains of a small copy when everything narrower than a few lines of text is closed (the least of
    the largest values around), smoothed.

    Args:
        pixels: Grey or colour, 8 or 16 bits.
        share: 0 changes nothing, 1 makes all paper white.
    """
    colors, white = color_bands(pixels), white_level(pixels)
    seen = pixels.extract_band(0, n=colors)
    scale = min(1.0, SIDE / max(pixels.width, pixels.height))
    small = resized(seen, max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)), "linear")
    paper = as_array(small).astype(np.float32)
    for axis in (0, 1):
        paper = _extreme(paper, axis, np.maximum)
    for axis in (0, 1):
        paper = _extreme(paper, axis, np.minimum)
    paper = np.maximum(paper, LEAST * np.percentile(paper, 95, axis=(0, 1))) * np.float32(CLEAN)
    light = pyvips.Image.new_from_memory(paper.tobytes(), small.width, small.height, colors, "float")
    full = resized(light.gaussblur(REACH / 3), pixels.width, pixels.height, "linear")
    even = seen * (1 - share) + (seen / full) * (white * share)
    even = even.rint().cast(pixels.format)
    return (even.bandjoin(pixels[colors]) if pixels.hasalpha() else even).copy(interpretation=pixels.interpretation)


def _extreme(values: "np.ndarray", axis: int, choose: "np.ufunc") -> "np.ndarray":
    """The largest or the least value within `REACH` along an axis."""
    widths = [(REACH, REACH) if a == axis else (0, 0) for a in range(3)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, widths, mode="edge"), 2 * REACH + 1, axis=axis)
    return np.asarray(choose.reduce(windows, axis=-1))
