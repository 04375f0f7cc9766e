"""The tone and colour of a picture as a few numbers, and how corrections change them."""

from dataclasses import dataclass
from typing import Final

from darkroom_tools.kit.sharpen import LUMA
from darkroom_tools.kit.tone import PointStep, recombination
from darkroom_tools.native import np

__all__ = ["Levels", "Look", "levels_of", "look_steps", "luma_of"]

ENDS: Final = (0.5, 99.5)
"""Percent of pixels that count as black and as white."""

DOUBLING: Final = 40
"""Contrast that doubles differences."""

ROOT: Final = 60
"""Brightness that takes the square root of the middle."""

STEEPEST: Final = 4.0
BRIGHTEST: Final = 120.0
SHOULDER: Final = 0.95
"""Where whites begin to be bent instead of cut off; the same for blacks, from below."""

WARM: Final = 1.5
GREEN: Final = 1.3
"""Ratio of red to blue, and of green to both, that 30 of temperature and of tint change."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Black, the mean and white of a picture's luma, 0..1."""

    black: float
    middle: float
    white: float


@dataclass(frozen=True, slots=True)
class Look:
    """How tone and colour change; all 0 changes nothing.

    Attributes:
        brightness: 60 takes the square root of the middle, -60 its square.
        contrast: 40 doubles differences.
        temperature: 30 makes red half as strong again against blue.
        tint: 30 makes red and blue 1.3 times as strong against green.
        saturation: Percent.
    """

    brightness: float = 0
    contrast: float = 0
    temperature: float = 0
    tint: float = 0
    saturation: float = 0


def levels_of(colors: "np.ndarray") -> Levels:
    """The levels of colours, one a row, 0..1."""
    luma = luma_of(colors)
    black, white = np.percentile(luma, ENDS)
    return Levels(float(black), float(luma.mean()), float(white))


def look_steps(look: Look, levels: Levels, colors: int) -> list[PointStep]:
    """What makes the look of a picture with those levels; empty where nothing changes.

    White balance and tone are one curve for each channel. The curves rise everywhere and bend towards black and white,
    so that nothing more is cut off than was.
    """
    steps: list[PointStep] = []
    tint = (look.temperature, look.tint) if colors == 3 else (0.0, 0.0)
    if look.brightness or look.contrast or any(tint):
        gains = _gains(*tint)[:colors] if colors == 3 else (1.0,)
        curve = _Curve.of(look, levels, max(gains))
        steps.append(
            PointStep(
                lambda planes, white: [
                    curve(plane * np.float32(gain / white)) * np.float32(white)
                    for plane, gain in zip(planes, gains, strict=True)
                ]
            )
        )
    if look.saturation and colors == 3:
        factor = max(0.0, 1 + look.saturation / 100)
        steps.append(recombination(factor * np.eye(3) + (1 - factor) * np.array([LUMA] * 3)))
    return steps


@dataclass(frozen=True, slots=True)
class _Curve:
    """Stretched about a fixed point, bent at both ends, then a gain and a power.

    Attributes:
        slope: Of the stretch.
        pivot: Its fixed point.
        gain: After it.
        power: After that.
        top: The largest value that goes in.
    """

    slope: float
    pivot: float
    gain: float
    power: float
    top: float

    @classmethod
    def of(cls, look: Look, levels: Levels, top: float) -> "_Curve":
        slope = min(STEEPEST, 2 ** (look.contrast / DOUBLING))
        room = levels.black + 1 - levels.white
        pivot = levels.black / room if room > 0 else 0.5
        stretched = [pivot + slope * (value - pivot) for value in (levels.middle, levels.white)]
        middle, white = (min(0.98, max(0.02, value)) for value in stretched)
        wanted = middle**2 ** (-max(-BRIGHTEST, min(BRIGHTEST, look.brightness)) / ROOT)
        # As far as there is room above white, light was missing; what then is left was a matter of gamma.
        gain = max(1.0, min(wanted / middle, 0.98 / white))
        return cls(slope, pivot, gain, float(np.log(wanted) / np.log(gain * middle)), top)

    def __call__(self, values: "np.ndarray") -> "np.ndarray":
        slope, shift = self.slope * self.gain, self.pivot * (1 - self.slope) * self.gain
        line = values * np.float32(slope) + np.float32(shift)
        line = 1 - _bent(1 - _bent(line, slope * self.top + shift), 1 - shift)
        return np.asarray(np.maximum(line, 0) ** np.float32(self.power))


def _bent(values: "np.ndarray", top: float) -> "np.ndarray":
    """Bend what would go beyond 1, so that `top` becomes 1 and all order stays."""
    if top <= 1:
        return values
    steep = (top - SHOULDER) / (1 - SHOULDER)
    share = np.clip((values - SHOULDER) / (top - SHOULDER), 0, 1)
    return np.where(values > SHOULDER, SHOULDER + (1 - SHOULDER) * (1 - (1 - share) ** steep), values)


def _gains(temperature: float, tint: float) -> tuple[float, float, float]:
    """Gains of red, green and blue that leave the luma of grey as it is."""
    red, blue = WARM ** (temperature / 60), WARM ** (-temperature / 60)
    green = GREEN ** (-tint / 30)
    luma = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2]
    return red / luma, green / luma, blue / luma


def luma_of(colors: "np.ndarray") -> "np.ndarray":
    """The luma of colours, one a row."""
    return np.asarray(colors @ np.array(LUMA, np.float32) if colors.shape[-1] == 3 else colors[..., 0])
