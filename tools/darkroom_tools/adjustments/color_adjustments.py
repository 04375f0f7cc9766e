"""Adjust Colors."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.pixels import color_bands, white_level
from darkroom_tools.kit.sharpen import LUMA, unsharp
from darkroom_tools.kit.tone import Planes, PointStep, apply_point_steps, mixed, recombination, rgb
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import np, pyvips

Gains = tuple[float, float, float]
Stage = PointStep | Callable[[Image], Image]

NEUTRAL: Gains = (1, 1, 1)
EFFECTS = ("none", "grayscale", "sepia", "invert", "vignette")
SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))
"""Of the W3C's filter effects."""

CORNER = 0.4
"""Brightness that a vignette leaves in the corners."""


def _several(value: Any) -> Any:
    """Take one effect, several with commas between, or a list."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    return [part for part in parts if part != "none"] if isinstance(parts, list | tuple) else parts


Percent = Annotated[float, Field(ge=-100, le=100)]
Gain = Annotated[float, Field(ge=0, le=200)]
Effects = Annotated[
    tuple[Literal["grayscale", "sepia", "invert", "vignette"], ...],
    BeforeValidator(_several),
    WithJsonSchema({"type": "string", "enum": list(EFFECTS), "default": "none"}),
]


class ColorAdjustments(Settings):
    """What changes; everything else stays."""

    aliases: ClassVar = {"effect": "effects"}

    brightness: Percent = 0
    """Percent"""

    contrast: Percent = 0
    """Percent, about middle grey"""

    exposure: Percent = 0
    """Gamma"""

    saturation: Percent = 0
    """-100 is grey"""

    temperature: Percent = 0
    """Positive is warmer"""

    tint: Unpublished[Percent] = 0
    """Positive is more magenta"""

    hue: Annotated[float, Field(ge=-180, le=180)] = 0
    """Degrees"""

    vibrance: Percent = 0
    """Saturation of muted colours"""

    sharpness: Annotated[float, Field(ge=0, le=100)] = 0
    """Percent"""

    red: Unpublished[Gain] = 100
    """Percent"""

    green: Unpublished[Gain] = 100
    """Percent"""

    blue: Unpublished[Gain] = 100
    """Percent"""

    effects: Effects = Field(default_factory=tuple)
    """Or a list, in order"""


@tool(
    title="Adjust Colors",
    sequential=True,
    aliases=("adjust-colors", "brightness-contrast", "saturation", "color-channels", "color-effects"),
    example={"brightness": 10, "contrast": 15, "saturation": 20},
)
def color_adjustments(image: Image, settings: ColorAdjustments) -> Image:
    """Change brightness, contrast, exposure, colours and sharpness, or apply an effect.

    Always in this order, and each group is cut off at black and white:

    1. brightness: times 1 + v/100; contrast: slope 1 + v/100 about 128; exposure: gamma of 1 to 3, above 0 brighter
    2. saturation: difference from luma (Rec. 709) times 1 + v/100; hue: rotation at equal luma; temperature t: red
       times 1 + 0.15t, green 1 + 0.05t, blue 1 - 0.15t; tint n: red and blue times 1 + 0.1n, green 1 - 0.15n
    3. vibrance: like saturation, times 1 minus the pixel's own saturation
    4. sharpness: unsharp mask of radius 1 with that amount
    5. red, green, blue: percent of each channel
    6. effects: grayscale (luma), sepia, invert, vignette (to 40 % in the corners), as listed

    Settings that change nothing leave the file untouched.
    """
    waiting: list[PointStep] = []
    for stage in _stages(settings, grey=color_bands(image.pixels) == 1):
        if isinstance(stage, PointStep):
            waiting.append(stage)
        else:
            image, waiting = stage(_applied(image, waiting)), []
    return _applied(image, waiting)


def _applied(image: Image, steps: list[PointStep]) -> Image:
    return image.with_pixels(apply_point_steps(image.pixels, steps)) if steps else image


def _stages(asked: ColorAdjustments, *, grey: bool) -> Iterator[Stage]:
    """What is to be done; nothing that a grey picture would not show."""
    if asked.brightness or asked.contrast or asked.exposure:
        yield PointStep(partial(_toned, asked))
    gains = _balance(asked.temperature / 100, asked.tint / 100)
    if (asked.saturation or asked.hue) and not grey:
        matrix = np.diag(gains) @ _turned_hue(asked.hue) @ _saturated(1 + asked.saturation / 100)
        yield recombination(matrix)
    elif gains != NEUTRAL:
        yield PointStep(partial(_scaled, gains))
    grey = grey and gains == NEUTRAL
    if asked.vibrance and not grey:
        yield PointStep(partial(_vibrant, asked.vibrance / 100), mixes=True)
    if asked.sharpness:
        yield lambda image: image.map_frames(lambda frame: unsharp(frame, asked.sharpness / 100, 1))
    channels = (asked.red / 100, asked.green / 100, asked.blue / 100)
    if channels != NEUTRAL:
        yield PointStep(partial(_scaled, channels))
    yield from _effects(asked.effects, grey=grey and len(set(channels)) == 1)


def _effects(names: tuple[str, ...], *, grey: bool) -> Iterator[Stage]:
    for name in names:
        if name == "vignette":
            yield _vignetted
        elif name == "invert":
            yield PointStep(lambda planes, white: [white - plane for plane in planes])
        elif name == "sepia":
            yield recombination(np.array(SEPIA))
            grey = False
        elif not grey:
            yield PointStep(lambda planes, white: [mixed(planes, LUMA)], mixes=True)
            grey = True


def _balance(warmth: float, tint: float) -> Gains:
    """Gains of red, green and blue for a temperature and a tint, -1..1."""
    return (
        (1 + 0.15 * warmth) * (1 + 0.1 * tint),
        (1 + 0.05 * warmth) * (1 - 0.15 * tint),
        (1 - 0.15 * warmth) * (1 + 0.1 * tint),
    )


def _toned(asked: ColorAdjustments, planes: Planes, white: float) -> Planes:
    """Brightness, contrast and exposure."""
    slope, middle = 1 + asked.contrast / 100, 128 / 255 * white
    gain, offset = slope * (1 + asked.brightness / 100), middle * (1 - slope)
    linear = [plane * gain + offset for plane in planes]
    if not asked.exposure:
        return linear
    gamma = 1 + abs(asked.exposure) / 50
    power = 1 / gamma if asked.exposure > 0 else gamma
    return [white * (np.maximum(plane, 0) / white) ** power for plane in linear]


def _saturated(factor: float) -> "np.ndarray":
    """The matrix that multiplies the difference from luma."""
    return np.asarray(factor * np.eye(3) + (1 - factor) * np.array([LUMA] * 3))


def _turned_hue(degrees: float) -> "np.ndarray":
    """The matrix that turns hue and keeps luma, as `hue-rotate` of the W3C's filter effects does."""
    red, green, blue = LUMA
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    keep = np.array([LUMA] * 3)
    turn = np.array([[-red, -green, 1 - blue], [0.143, 0.140, -0.283], [red - 1, green, blue]])
    return np.asarray(keep + cosine * (np.eye(3) - keep) + sine * turn)


def _scaled(gains: Gains, planes: Planes, white: float) -> Planes:
    """Each channel times its gain; grey stays grey where all gains are equal."""
    if len(set(gains)) > 1:
        planes = rgb(planes)
    return [plane * gain for plane, gain in zip(planes, gains, strict=False)]


def _vibrant(amount: float, planes: Planes, white: float) -> Planes:
    """Saturation by less, the more saturated a pixel is: its least channel is 1 - saturation of its greatest."""
    low = np.minimum(np.minimum(planes[0], planes[1]), planes[2])
    high = np.maximum(np.maximum(planes[0], planes[1]), planes[2])
    factor = 1 + amount * low / np.maximum(high, 1e-6)
    luma = mixed(planes, LUMA)
    return [luma + (plane - luma) * factor for plane in planes]


def _vignetted(image: Image) -> Image:
    """Darker towards the corners, as light falls off in a lens: by the fourth power of the cosine."""
    pixels, white = image.pixels, white_level(image.pixels)
    across = (2 * np.arange(image.width, dtype=np.float32) + 1) / image.width - 1
    down = (2 * np.arange(image.height, dtype=np.float32) + 1) / image.height - 1
    strength = (CORNER**-0.5 - 1) / 2
    left = np.empty((image.height, image.width), np.uint16 if white > 255 else np.uint8)
    for row, depth in enumerate(down):
        left[row] = white / (1 + strength * (across**2 + depth**2)) ** 2 + 0.5
    mask = pyvips.Image.new_from_memory(left.data, image.width, image.height, 1, pixels.format).replicate(
        1, image.frames
    )
    color = pixels.extract_band(0, n=color_bands(pixels))
    if white == 255:
        dark = mask.ifthenelse(color, 0, blend=True)
    else:
        dark = (color * mask / white).rint().cast(pixels.format)
    dark = dark.bandjoin(pixels[-1]) if pixels.hasalpha() else dark
    return image.with_pixels(dark.copy(interpretation=pixels.interpretation))
