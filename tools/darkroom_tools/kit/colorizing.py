"""Colour from a network, lightness from the picture: what is known of a grey picture stays as it is."""

from collections.abc import Callable
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, resized, white_level
from darkroom_tools.models import Card, best_installed, cards_for
from darkroom_tools.native import np, pyvips

__all__ = ["COLORIZE_MODELS", "best_colorizer", "colorized", "is_grey"]

COLORIZE_MODELS: Final = tuple(card.id for card in cards_for("colorize"))
"""What a tool that adds colour may use."""

STRIP_PIXELS: Final = 262_144
"""Pixels whose floats are held at once."""

LOOKED_AT: Final = 256
"""Side to which a picture is reduced to see whether it is grey."""

LEAST_CHROMA: Final = 4.0
"""Chroma of CIE Lab up to which a pixel is grey: JPEG leaves about 2."""

SAME_TONE: Final = 3.0
"""Deviation of a and b, from what they are at that lightness, up to which there is but one tone, as in sepia."""

TO_XYZ: Final = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to XYZ (IEC 61966-2-1)."""


def best_colorizer(run: Run) -> Card | None:
    """The best network that is installed and may be used commercially, None if there is none."""
    return best_installed("colorize", run.installed)


def is_grey(pixels: "pyvips.Image") -> bool:
    """Whether a frame has no colours of its own: it is grey, or toned in one hue as a sepia print is."""
    if color_bands(pixels) == 1:
        return True
    small = resized(pixels, min(LOOKED_AT, pixels.width), min(LOOKED_AT, pixels.height), "linear")
    values = as_array(small).reshape(-1, pixels.bands)
    if pixels.hasalpha():
        seen = values[values[:, -1] > 0]
        values = seen if len(seen) else values
    lab = _lab(values[:, :3] / np.float32(white_level(pixels)))
    if float(np.percentile(np.hypot(lab[:, 1], lab[:, 2]), 99)) <= LEAST_CHROMA:
        return True
    light = lab[:, :1] / 50 - 1
    basis = np.concatenate([np.ones_like(light), light, light**2], 1)
    rest = lab[:, 1:] - basis @ np.linalg.lstsq(basis, lab[:, 1:], rcond=None)[0]
    return bool(np.sqrt((rest**2).mean(0)).max() <= SAME_TONE)


def colorized(
    pixels: "pyvips.Image", run: Run, *, model: Card, intensity: float, report: Callable[[float], None]
) -> "pyvips.Image":
    """A frame with the colours that a network thinks of; lightness and alpha stay.

    Args:
        pixels: Grey or colour, 8 or 16 bits; of colours only the lightness counts.
        run: Runs the network.
        model: The network.
        intensity: 0 makes grey, 1 as the network gives it.
        report: Told how much is done, 0..1. It may raise `Cancelled`.
    """
    report(0)
    chroma = _chroma(pixels, model, run) * np.float32(intensity)
    report(0.5)
    planes = pyvips.Image.new_from_memory(chroma.data, chroma.shape[1], chroma.shape[0], 2, "float")
    spread = as_array(resized(planes, pixels.width, pixels.height, "linear"))
    base = as_color(pixels)
    array, white = as_array(base), white_level(pixels)
    made = np.empty_like(array)
    rows = max(1, STRIP_PIXELS // pixels.width)
    for top in range(0, pixels.height, rows):
        part = slice(top, top + rows)
        colors = _tinted(_luminance(array[part, :, :3] / np.float32(white)), spread[part])
        made[part, :, :3] = np.floor(colors * np.float32(white) + np.float32(0.5))
        made[part, :, 3:] = array[part, :, 3:]
        report(0.5 + 0.5 * min(1, (top + rows) / pixels.height))
    result = pyvips.Image.new_from_memory(made.data, base.width, base.height, base.bands, base.format)
    # Nothing of the base is computed again: only its fields pass on.
    whole: pyvips.Image = base.insert(result.copy(interpretation=base.interpretation), 0, 0)
    return whole


def _chroma(pixels: "pyvips.Image", model: Card, run: Run) -> "np.ndarray":
    """What the network thinks of: a and b of CIE Lab, height × width × 2, at its own size."""
    _, bands, height, width = (int(side) for side in model.inputs[0].shape)
    colors = as_color(pixels).extract_band(0, n=3)
    small = as_array(resized(colors, width, height, "linear")) / np.float32(white_level(pixels))
    luminance = _luminance(small)
    if bands == 1:
        plane, largest = (116 * _root(luminance) - 16)[..., None], 1.0
    else:
        plane, largest = np.repeat(_encoded(luminance)[..., None], 3, -1), 255.0
    divide = model.divide / largest
    array = (plane / divide - np.array(model.mean)) / np.array(model.deviation)
    answer = run.infer(model.id, [np.ascontiguousarray(array.astype(np.float32).transpose(2, 0, 1)[None])]).outputs[0]
    given = np.asarray(answer[0], np.float32).transpose(1, 2, 0)
    if given.shape[2] == 2:
        return np.ascontiguousarray(given)
    values = given * np.array(model.deviation, np.float32) + np.array(model.mean, np.float32)
    return np.ascontiguousarray(_lab(np.clip(values * np.float32(divide), 0, 1))[..., 1:])


def _tinted(luminance: "np.ndarray", chroma: "np.ndarray") -> "np.ndarray":
    """sRGB, 0..1, of that luminance and of a and b as near as the gamut has them.

    What lies outside is mixed with the grey of the same luminance: light adds up, so the sum has it too.
    """
    middle = _root(luminance)
    x = _cubed(middle + chroma[..., 0] * np.float32(1 / 500))
    z = _cubed(middle - chroma[..., 1] * np.float32(1 / 200))
    matrix = np.array(TO_XYZ)
    from_xyz = (np.linalg.inv(matrix) * matrix.sum(1)).astype(np.float32)
    difference = np.stack([x, luminance, z], -1) @ from_xyz.T - luminance[..., None]
    room = np.where(difference > 0, 1 - luminance[..., None], luminance[..., None])
    share = (room / np.maximum(np.abs(difference), np.float32(1e-6))).min(-1, keepdims=True)
    return _encoded(luminance[..., None] + difference * np.minimum(share, 1))


def _luminance(colors: "np.ndarray") -> "np.ndarray":
    """Y of sRGB colours, 0..1."""
    return np.asarray(_decoded(colors) @ np.array(TO_XYZ[1], np.float32))


def _lab(colors: "np.ndarray") -> "np.ndarray":
    """CIE Lab of sRGB colours, 0..1, to the white of sRGB."""
    matrix = np.array(TO_XYZ)
    roots = _root(_decoded(colors) @ (matrix / matrix.sum(1, keepdims=True)).T.astype(np.float32))
    x, y, z = roots[..., 0], roots[..., 1], roots[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def _decoded(values: "np.ndarray") -> "np.ndarray":
    """Linear light of sRGB values (IEC 61966-2-1)."""
    values = values.astype(np.float32, copy=False)
    low, high = np.float32(1 / 12.92), ((values + np.float32(0.055)) * np.float32(1 / 1.055)) ** np.float32(2.4)
    return np.where(values <= 0.04045, values * low, high)


def _encoded(light: "np.ndarray") -> "np.ndarray":
    """sRGB values of linear light."""
    light = np.clip(light, 0, 1)
    curve = np.float32(1.055) * light ** np.float32(1 / 2.4) - np.float32(0.055)
    return np.where(light <= 0.0031308, light * np.float32(12.92), curve)


def _root(values: "np.ndarray") -> "np.ndarray":
    """The f of CIE Lab (CIE 15)."""
    return np.where(values > (6 / 29) ** 3, np.cbrt(values), values * np.float32(841 / 108) + np.float32(4 / 29))


def _cubed(values: "np.ndarray") -> "np.ndarray":
    """What `_root` undoes."""
    return np.where(values > 6 / 29, values**3, (values - np.float32(4 / 29)) * np.float32(108 / 841))
