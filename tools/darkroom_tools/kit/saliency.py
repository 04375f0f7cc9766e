"""Where people look first: colour that stands out, detail, skin, and the middle of the picture.

After Achanta et al., Frequency-tuned Salient Region Detection (2009): what differs from the picture's mean colour. To
it come edges and skin, as in libvips' own `smartcrop`, and a light preference for the middle.
"""

from typing import Final

from darkroom_tools.kit.pixels import as_array, as_color, color_bands, premultiplied, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["attention", "best_start", "busiest_start", "small"]

SIDE: Final = 160
"""Longest side of the picture that is judged."""
SKIN: Final = (0.78, 0.57, 0.44)
"""Direction of skin in RGB, as in libvips."""
BINS: Final = 64


def small(pixels: "pyvips.Image") -> "np.ndarray":
    """The picture reduced to at most `SIDE` pixels a side: height × width × 3, uint8 sRGB, on mid-grey."""
    scale = min(1.0, SIDE / max(pixels.width, pixels.height))
    width, height = max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale))
    reduced = premultiplied(pixels, lambda p: resized(p, width, height, "linear"))
    if reduced.hasalpha():
        white = white_level(reduced)
        reduced = reduced.flatten(background=[white / 2] * color_bands(reduced), max_alpha=white)
    if reduced.format == "ushort":
        reduced = reduced.cast("uchar", shift=True).copy(interpretation="b-w" if reduced.bands == 1 else "srgb")
    return as_array(as_color(reduced))


def attention(rgb: "np.ndarray") -> "np.ndarray":
    """How much each pixel draws the eye: height × width, float32, mean 1.

    Args:
        rgb: From `small`.
    """
    height, width = rgb.shape[:2]
    image = pyvips.Image.new_from_memory(np.ascontiguousarray(rgb).data, width, height, 3, "uchar")
    image = image.copy(interpretation="srgb")
    lab = as_array(image.colourspace("lab")).astype(np.float32)
    soft = as_array(image.gaussblur(max(0.8, 0.008 * max(width, height))).colourspace("lab")).astype(np.float32)
    distinct = np.sqrt(((soft - _surroundings(soft)) ** 2).sum(-1))
    down, across = np.gradient(lab[..., 0]) if min(height, width) > 1 else (lab[..., 0] * 0, lab[..., 0] * 0)
    parts = (_scaled(distinct) * 1.2, _scaled(np.hypot(down, across)) * 0.6, _skin(rgb) * 0.6)
    return _evened(sum(parts) * _middle(height, width))


def best_start(weights: "np.ndarray", length: float) -> float:
    """Where a window along one axis starts so that it holds the most weight, the heaviest part in its middle.

    Args:
        weights: Sums along the axis.
        length: Of the window, in the same units, at most as long as the axis.

    Returns:
        The start, 0 to `len(weights) - length`.
    """
    room = len(weights) - length
    if room <= 0:
        return 0.0
    starts = np.linspace(0, room, max(2, min(400, int(4 * room) + 2)))
    places = np.arange(len(weights)) + 0.5
    offsets = (places[None, :] - starts[:, None]) / length
    # A raised cosine on a pedestal: the middle counts more, but what is just inside still counts.
    inside = np.where((offsets > 0) & (offsets < 1), 0.55 - 0.45 * np.cos(2 * np.pi * offsets), 0)
    return float(starts[int(np.argmax(inside @ weights))])


def busiest_start(rgb: "np.ndarray", length: float, axis: int) -> float:
    """Where a window along an axis (0 down, 1 across) starts so that its grey levels have the highest entropy."""
    room = rgb.shape[axis] - length
    if room <= 0:
        return 0.0
    grey = (rgb @ np.array([0.299, 0.587, 0.114])) * (BINS / 256)
    lines = np.moveaxis(grey.astype(np.intp), axis, 0)
    counts = np.stack([np.bincount(line.ravel(), minlength=BINS) for line in lines])
    sums = np.concatenate([np.zeros((1, BINS), np.intp), counts.cumsum(0)])
    size = max(1, round(length))
    windows = sums[size:] - sums[:-size]
    share = windows / windows.sum(1, keepdims=True)
    entropy = -(share * np.log2(np.maximum(share, 1e-12))).sum(1)
    best = np.flatnonzero(entropy >= entropy.max() - 1e-9)
    return float(min(room, best[len(best) // 2]))


def _surroundings(lab: "np.ndarray") -> "np.ndarray":
    """The colour that a picture mostly has: its mean, where the rim counts most."""
    height, width = lab.shape[:2]
    thick = max(1, round(0.08 * min(height, width)))
    weight = np.full((height, width), 0.5, np.float32)
    weight[:thick] = weight[-thick:] = weight[:, :thick] = weight[:, -thick:] = 2.0
    mean: np.ndarray = (lab * weight[..., None]).sum((0, 1)) / weight.sum()
    return mean


def _skin(rgb: "np.ndarray") -> "np.ndarray":
    """1 for the colour of skin, whatever its lightness, down to 0 a little beside it."""
    values = rgb.astype(np.float32)
    length = np.sqrt((values**2).sum(-1))
    direction = np.asarray(SKIN, np.float32) / np.sqrt(np.sum(np.square(SKIN)))
    beside = np.sqrt(((values / np.maximum(length, 1)[..., None] - direction) ** 2).sum(-1))
    lit = np.clip((values.max(-1) - 50) / 40, 0, 1) * (1 - np.clip((values.min(-1) - 215) / 25, 0, 1))
    return np.asarray(np.clip(1 - beside / 0.14, 0, 1) * lit)


def _middle(height: int, width: int) -> "np.ndarray":
    down = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height - 0.48
    across = (np.arange(width, dtype=np.float32)[None, :] + 0.5) / width - 0.5
    return 0.45 + 0.55 * np.exp(-((down / 0.38) ** 2) - (across / 0.38) ** 2)


def _scaled(plane: "np.ndarray") -> "np.ndarray":
    """0 to 1, where few very high values do not push all others down."""
    high = float(np.percentile(plane, 98))
    return np.asarray(np.clip(plane / high, 0, 1) if high > 1e-3 else plane * 0)


def _evened(plane: "np.ndarray") -> "np.ndarray":
    """Contrasts raised, so that much of little does not outweigh the subject; mean 1."""
    raised = plane.astype(np.float32) ** 2 + 1e-4
    return np.asarray(raised / raised.mean())
