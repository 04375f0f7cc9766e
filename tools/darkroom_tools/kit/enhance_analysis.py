"""What a picture lacks, as scores, and corrections for it.

Everything is read from up to 65,536 of its pixels and 8,000 of its 8 × 8 blocks, so the size hardly matters.
"""

import functools
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from types import MappingProxyType
from typing import Final, Literal

from darkroom_tools.kit.denoise_dct import cosine_basis
from darkroom_tools.kit.denoise_noise import measured_noise, sampled_blocks
from darkroom_tools.kit.enhance_tone import Levels, Look, levels_of, look_steps, luma_of
from darkroom_tools.kit.pixels import as_array, color_bands, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["CORRECTIONS", "Analysis", "Corrections", "Scene", "Scores", "analyzed", "scene_weights"]

Scene = Literal["auto", "portrait", "landscape", "low-light", "food", "document"]

SIDE: Final = 256
"""Pixels that are looked at across and down."""

SURELY_WARM: Final = 0.25
SURELY_GREEN: Final = 0.12
"""Logarithms of ratios from which it is surely a cast; below, some of it may be the subject's colour."""

DARK: Final = 0.3
BRIGHT: Final = 0.56
"""Between these a mean luma is left as it is."""

GROUND: Final = (0.02, 0.97)
"""Luma beyond which a pixel may be a black or white ground, and says nothing of the light."""

TOWARDS: Final = 0.9
"""Share of the way towards them that is gone: a night may be dark."""

FULL: Final = 0.8
"""From black to white, where contrast is enough."""

HIDDEN_COLOR: Final = 0.02
"""Chroma up to which a picture is grey."""


@dataclass(frozen=True, slots=True)
class Scores:
    """How good a picture is, each 0..100.

    Attributes:
        exposure: The mean luma: 50 is the middle, 0 black, 100 white.
        contrast: From the standard deviation of luma and from how far its black and white are apart.
        white_balance: 100 without a colour cast.
        saturation: The mean saturation; 0 is grey.
        sharpness: From the share of fine detail in the edges.
        noise: 100 without noise, 30 at a standard deviation of 10 of 255.
    """

    exposure: float
    contrast: float
    white_balance: float
    saturation: float
    sharpness: float
    noise: float


@dataclass(frozen=True, slots=True)
class Corrections:
    """What would make it better.

    Attributes:
        brightness: -60..60.
        contrast: -40..40.
        temperature: -30..30, positive is warmer.
        tint: -30..30, positive is more magenta.
        saturation: -20..30.
        sharpness: 0..50.
        denoise: 0, 3 or 5.
    """

    brightness: float = 0
    contrast: float = 0
    temperature: float = 0
    tint: float = 0
    saturation: float = 0
    sharpness: float = 0
    denoise: float = 0


CORRECTIONS: Final = tuple(field.name for field in fields(Corrections))
LOOKS: Final = tuple(field.name for field in fields(Look))


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was found.

    Attributes:
        scores: How good it is.
        corrections: What would make it better.
        issues: Words for what is bad.
        suggested_mode: The scene it looks like.
        levels: Its black, middle and white.
    """

    scores: Scores
    corrections: Corrections
    issues: tuple[str, ...]
    suggested_mode: Scene
    levels: Levels


@functools.cache
def scene_weights(scene: Scene) -> Mapping[str, float]:
    """What each correction is multiplied by in a kind of scene."""
    text = files("darkroom_tools").joinpath("data", "enhancement.json").read_text(encoding="utf-8")
    weights: dict[str, float] = json.loads(text)["modes"][scene]
    return MappingProxyType({**weights, "tint": weights["temperature"]})


def analyzed(pixels: "pyvips.Image", allowed: Collection[str] = CORRECTIONS) -> Analysis:
    """Judge one frame; what is transparent does not count.

    Args:
        pixels: Grey or colour, 8 or 16 bits.
        allowed: The corrections that may be made; each takes into account what the others do.
    """
    array, colors, white = as_array(pixels), color_bands(pixels), white_level(pixels)
    values = array[..., :colors]
    seen = _seen(array, colors, white)
    noises = [plane.level for plane in measured_noise(array, white)]
    noise = math.sqrt(float(np.mean(np.square(noises))))
    levels, contrast = levels_of(seen), _contrast(seen)
    cast = _cast(seen)
    scores = Scores(
        exposure=100 * levels.middle,
        contrast=contrast,
        white_balance=100 * max(0.0, 1 - math.hypot(*cast) / 0.5),
        saturation=100 * _saturation(seen),
        sharpness=_sharpness(values, white, noises[0]),
        noise=100 * math.exp(-noise / 8.3),
    )
    return Analysis(
        Scores(**{name: round(value, 1) for name, value in asdict(scores).items()}),
        _corrections(seen, levels, cast, scores, allowed),
        _issues(scores, grey=_is_grey(seen)),
        _scene(seen, scores),
        levels,
    )


def _seen(array: "np.ndarray", colors: int, white: int) -> "np.ndarray":
    """Visible pixels, one a row, 0..1."""
    down, across = (max(1, -(-length // SIDE)) for length in array.shape[:2])
    points = array[::down, ::across].reshape(-1, array.shape[2])
    if points.shape[1] > colors:
        visible = points[points[:, colors] > 0]
        points = visible if len(visible) else points
    return np.asarray(points[:, :colors] / np.float32(white))


def _contrast(seen: "np.ndarray") -> float:
    levels = levels_of(seen)
    luma = luma_of(seen)
    return 100 * (levels.white - levels.black) * math.sqrt(min(1.0, float(luma.std()) / 0.2))


def _is_grey(seen: "np.ndarray") -> bool:
    return seen.shape[1] == 1 or float(np.ptp(seen, axis=1).mean()) < HIDDEN_COLOR


def _saturation(seen: "np.ndarray") -> float:
    """Mean of chroma over the lightest channel, of pixels that are not almost black."""
    top = seen.max(1)
    lit = top > 0.06
    return float((np.ptp(seen, axis=1)[lit] / top[lit]).mean()) if lit.any() else 0.0


def _cast(seen: "np.ndarray") -> tuple[float, float]:
    """How much too warm and how much too green the light is, as logarithms of ratios.

    Two witnesses: the brightest pixels, which mostly are white things, and the mean of all, which mostly is grey. Only
    what both say is believed, so that a brown table or a blue sky is no cast.
    """
    if _is_grey(seen):
        return 0.0, 0.0
    luma = luma_of(seen)
    open_pixels = seen[(seen.max(1) < 0.99) & (luma > 0.03)]
    if len(open_pixels) < 16 or float((seen.min(1) > 0.97).mean()) > 0.01:
        return 0.0, 0.0
    brightness = open_pixels.sum(1)
    light = open_pixels[brightness >= np.percentile(brightness, 97)].mean(0)
    mean = (open_pixels.astype(np.float64) ** 6).mean(0) ** (1 / 6)
    found = [_leanings(color) for color in (light, mean, open_pixels.mean(0))]
    warm, green = (_agreed([pair[axis] for pair in found]) for axis in (0, 1))
    belief = min(1.0, max(abs(warm) / SURELY_WARM, abs(green) / SURELY_GREEN))
    return warm * belief, green * belief


def _leanings(color: "np.ndarray") -> tuple[float, float]:
    red, green, blue = (max(1e-3, float(value)) for value in color)
    return math.log(red / blue), math.log(green / math.sqrt(red * blue))


def _agreed(said: list[float]) -> float:
    """The smallest of what all say, 0 where they contradict each other."""
    least = min(said, key=abs)
    return least if all(value * least > 0 for value in said) else 0.0


def _sharpness(values: "np.ndarray", white: int, noise: float) -> float:
    """The share of high frequencies in the blocks with most structure: 100 is crisp, 0 a blur of 1.2 pixels."""
    if min(values.shape[:2]) < 8:
        return 100.0
    basis = cosine_basis(8)
    blocks = sampled_blocks(values).astype(np.float32).mean(1) * np.float32(255 / white)
    squares = (blocks @ np.kron(basis, basis).T) ** 2
    down, across = np.divmod(np.arange(64), 8)
    middle, high = (down + across >= 1) & (down + across <= 3), (down + across >= 6) & (down + across <= 10)
    of_noise = noise**2 / values.shape[2] * high.sum()
    energy = squares[:, middle].sum(1)
    edges = squares[energy >= np.percentile(energy, 95)]
    fine = max(0.0, float((edges[:, high].sum(1) - of_noise).sum()))
    ratio = fine / max(1e-3, float(edges[:, middle].sum()))
    return 100 * min(1.0, max(0.0, (math.log10(ratio + 1e-6) + 3.2) / 2))


def _corrections(
    seen: "np.ndarray", levels: Levels, cast: tuple[float, float], scores: Scores, allowed: Collection[str]
) -> Corrections:
    """What makes the scores better, each judged after those before it."""
    made = dict.fromkeys(CORRECTIONS, 0.0)

    def correct(name: str, value: float, least: float, most: float) -> None:
        if name in allowed:
            made[name] = float(round(max(least, min(most, value))))

    def corrected() -> "np.ndarray":
        return _applied(seen, Look(**{name: made[name] for name in LOOKS}), levels)

    correct("temperature", -cast[0] * 74, -30, 30)
    correct("tint", cast[1] * 114, -30, 30)
    span = max(0.02, levels.white - levels.black)
    correct("contrast", 40 * math.log2(FULL / span) if span < FULL else 0, -40, 40)
    correct("brightness", _brightness(_middle(corrected())), -60, 60)
    correct("saturation", 0 if _is_grey(seen) else _saturation_change(_saturation(corrected())), -20, 30)
    correct("denoise", 5 if scores.noise < 30 else 3 if scores.noise < 55 else 0, 0, 5)
    correct("sharpness", 0 if scores.noise < 55 else 1.2 * (50 - scores.sharpness), 0, 50)
    return Corrections(**made)


def _middle(seen: "np.ndarray") -> float:
    """The mean luma of what is neither black nor white ground."""
    luma = luma_of(seen)
    within = luma[(luma > GROUND[0]) & (luma < GROUND[1])]
    return float((within if len(within) > len(luma) / 20 else luma).mean())


def _brightness(middle: float) -> float:
    """What brings the middle towards where it is left alone."""
    wanted = min(BRIGHT, max(DARK, middle))
    middle = min(0.95, max(0.03, middle))
    return -60 * TOWARDS * math.log2(math.log(wanted) / math.log(middle)) if wanted != middle else 0.0


def _saturation_change(saturation: float) -> float:
    if saturation < 0.3:
        return min(30.0, 200 * (0.3 - saturation), 300 * max(0.0, saturation - 0.04))
    return max(-20.0, -100 * (saturation - 0.85)) if saturation > 0.85 else 0.0


def _applied(seen: "np.ndarray", look: Look, levels: Levels) -> "np.ndarray":
    planes = [np.ascontiguousarray(seen[:, band]) for band in range(seen.shape[1])]
    for step in look_steps(look, levels, len(planes)):
        planes = step.change(planes, 1.0)
    return np.asarray(np.clip(np.stack(planes, 1), 0, 1))


def _issues(scores: Scores, *, grey: bool) -> tuple[str, ...]:
    found = {
        "underexposed": scores.exposure < 35,
        "overexposed": scores.exposure > 70,
        "low contrast": scores.contrast < 35,
        "color cast": scores.white_balance < 35,
        "low saturation": scores.saturation < 30 and not grey,
        "soft": scores.sharpness < 35,
        "noisy": scores.noise < 30,
    }
    return tuple(words for words, is_so in found.items() if is_so)


def _scene(seen: "np.ndarray", scores: Scores) -> Scene:
    """A guess from colours alone."""
    luma = luma_of(seen)
    bright = float((luma > 0.7 * np.percentile(luma, 95)).mean())
    pale = seen.shape[1] == 1 or float(np.median(np.ptp(seen, axis=1))) < 0.08
    if pale and bright > 0.7 and float((luma < 0.5 * np.percentile(luma, 95)).mean()) > 0.01:
        return "document"
    if scores.exposure < 22:
        return "low-light"
    if seen.shape[1] == 1:
        return "auto"
    red, green, blue = seen.T
    skin = (
        (red > 0.35)
        & (red > green)
        & (green > blue)
        & (red - blue > 0.06)
        & (red - green < 0.25)
        & (red / (blue + 0.01) < 2.2)
    )
    outdoors = ((blue > red + 0.05) & (blue > 0.3)) | ((green > red + 0.03) & (green > blue + 0.03))
    warm = (red > green + 0.1) & (green > blue) & (red - blue > 0.3)
    shares: dict[Scene, float] = {
        "landscape": float(outdoors.mean()) / 0.4,
        "food": float(warm.mean()) / 0.5,
        "portrait": float(skin.mean()) / 0.4,
    }
    best = max(shares, key=lambda scene: shares[scene])
    return best if shares[best] >= 1 else "auto"
