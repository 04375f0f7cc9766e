"""From a coarse mask to an alpha that follows the picture's edges: the guided filter.

He, Sun, Tang: Guided Image Filtering (2013), with a colour guide; evaluated at a reduced size and applied at full
size as in the Fast Guided Filter (2015), so the cost at 12 megapixels is that of three multiplications.
"""

from typing import Final

from darkroom_tools.kit.pixels import as_array, as_color, color_bands, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["decontaminated", "refine", "refine_unknown"]

WORKING_SIDE: Final = 560
SMOOTHNESS: Final = 2e-4


def refine(pixels: "pyvips.Image", mask: "pyvips.Image", radius: float = 0.006) -> "pyvips.Image":
    """An 8-bit alpha at full size whose edges are those of the picture.

    Args:
        pixels: One frame, grey or sRGB, 8 or 16 bits, alpha ignored.
        mask: Any size, one band, 0..255.
        radius: Of the filter's window, as a share of the longer side.
    """
    guide = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    scale = min(1.0, WORKING_SIDE / max(guide.width, guide.height))
    small = resized(guide, max(1, round(guide.width * scale)), max(1, round(guide.height * scale)))
    array = as_array(small).astype(np.float32) / white_level(guide)
    target = as_array(resized(mask, small.width, small.height))[..., 0].astype(np.float32) / 255
    window = max(1, round(radius * max(small.width, small.height)))
    factors = _guided_factors(array, target, window)
    planes = pyvips.Image.new_from_memory(factors.tobytes(), small.width, small.height, 4, "float")
    full = resized(planes, pixels.width, pixels.height, kernel="linear")
    alpha = full[3]
    for band in range(3):
        alpha = alpha + full[band] * (guide[band] / white_level(guide))
    # The filter leaves a haze of a few percent on both sides; a soft step takes it away.
    return ((alpha * 1.16 - 0.08) * 255).rint().cast("uchar").copy(interpretation="b-w")


def refine_unknown(pixels: "pyvips.Image", mask: "pyvips.Image", foreground: int, background: int) -> "pyvips.Image":
    """Alpha matting: what the mask is sure of stays, the band between is worked out from the picture.

    Args:
        pixels: One frame.
        mask: Full size, one band, 0..255.
        foreground: Mask values from here on are surely subject.
        background: Mask values up to here are surely not.
    """
    refined = refine(pixels, mask, radius=0.012)
    reach = max(1, round(0.004 * max(pixels.width, pixels.height))) * 2 + 1
    reach = min(reach, mask.width, mask.height)
    inside = (mask >= foreground).rank(reach, reach, 0) if reach > 1 else mask >= foreground
    outside = (mask <= background).rank(reach, reach, 0) if reach > 1 else mask <= background
    return (inside > 0).ifthenelse(255, (outside > 0).ifthenelse(0, refined)).cast("uchar").copy(interpretation="b-w")


def decontaminated(pixels: "pyvips.Image", mask: "pyvips.Image") -> "pyvips.Image":
    """The subject's own colours where the mask is partial, without what shines through from behind.

    Both sides are estimated from their neighbourhood, then the subject once more from the pixel itself (Forte:
    Approximate Fast Foreground Colour Estimation, 2021). What is wholly subject or not stays untouched.
    """
    colour = pixels.extract_band(0, n=color_bands(pixels))
    scale = min(1.0, WORKING_SIDE / max(colour.width, colour.height))
    width, height = max(1, round(colour.width * scale)), max(1, round(colour.height * scale))
    small, cover = resized(colour, width, height), resized(mask, width, height) / 255
    spread = max(1.0, 0.01 * max(width, height))
    front, behind = (
        resized(
            (small * side).gaussblur(spread) / (side.gaussblur(spread) + 1e-3), colour.width, colour.height, "linear"
        )
        for side in (cover, 1 - cover)
    )
    share = mask / 255
    own = front + (colour - front * share - behind * (1 - share)) * share
    partial = (mask > 0) & (mask < 255)
    return partial.ifthenelse(own.rint().cast(colour.format), colour).copy(interpretation=colour.interpretation)


def _guided_factors(guide: "np.ndarray", target: "np.ndarray", window: int) -> "np.ndarray":
    """Height × width × 4: the linear model (three factors, one offset) of the target in each neighbourhood."""
    count = _box(np.ones(target.shape, np.float32), window)
    mean_guide = np.stack([_box(guide[..., band], window) for band in range(3)], -1) / count[..., None]
    mean_target = _box(target, window) / count
    covariance = np.empty((*target.shape, 3), np.float32)
    matrix = np.empty((*target.shape, 3, 3), np.float32)
    for row in range(3):
        both = _box(guide[..., row] * target, window) / count
        covariance[..., row] = both - mean_guide[..., row] * mean_target
        for column in range(row, 3):
            both = _box(guide[..., row] * guide[..., column], window) / count
            matrix[..., row, column] = both - mean_guide[..., row] * mean_guide[..., column]
            matrix[..., column, row] = matrix[..., row, column]
    matrix += np.eye(3, dtype=np.float32) * SMOOTHNESS
    factors = np.linalg.solve(matrix, covariance[..., None])[..., 0]
    offset = mean_target - (factors * mean_guide).sum(-1)
    everything = np.concatenate([factors, offset[..., None]], -1)
    averaged = [_box(everything[..., band], window) / count for band in range(4)]
    return np.ascontiguousarray(np.stack(averaged, -1), np.float32)


def _box(plane: "np.ndarray", window: int) -> "np.ndarray":
    """Sums over (2·window + 1)² neighbourhoods, cut at the borders."""
    for axis in (0, 1):
        size = plane.shape[axis]
        padded = np.concatenate([np.zeros_like(plane.take([0], axis)), plane.cumsum(axis, dtype=np.float64)], axis)
        upper = np.minimum(np.arange(size) + window + 1, size)
        lower = np.maximum(np.arange(size) - window, 0)
        plane = padded.take(upper, axis) - padded.take(lower, axis)
    return plane
