"""Sharpening."""

import functools
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.kit.median import median
from darkroom_tools.kit.sharpen import Adaptive, adaptive, highpass, unsharp
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips

Mode = Literal["adaptive", "unsharp", "highpass"]
OWN: Mapping[Mode, frozenset[str]] = {
    "adaptive": frozenset({"preset", "sigma", "m1", "m2", "x1", "y2", "y3"}),
    "unsharp": frozenset({"amount", "radius", "threshold"}),
    "highpass": frozenset({"strength", "kernel_size"}),
}
"""Settings that belong to one mode."""

Preset = Literal["light", "medium", "strong", "portrait", "landscape", "detail", "print"]
WINDOWS = {"light": 3, "medium": 5, "strong": 7}


@functools.cache
def _presets() -> Mapping[str, Mapping[str, float]]:
    """Values of the adaptive mode by name of the preset."""
    text = files("darkroom_tools").joinpath("data", "sharpening.json").read_text(encoding="utf-8")
    presets: dict[str, dict[str, float]] = json.loads(text)["presets"]
    return presets


class Sharpening(Settings):
    """Which way, and how much."""

    aliases: ClassVar = {"method": "mode"}
    value_aliases: ClassVar = {"mode": {"unsharp-mask": "unsharp", "high-pass": "highpass"}}

    mode: Mode = "adaptive"
    """adaptive spares flat areas"""

    preset: Preset | None = None
    """For adaptive"""

    amount: Annotated[float, Field(ge=0, le=1000)] = 100
    """Unsharp percent"""

    radius: Annotated[float, Field(ge=0.1, le=5)] = 1
    """Unsharp pixels"""

    threshold: Annotated[float, Field(ge=0, le=255)] = 0
    """Unsharp: smaller differences stay"""

    strength: Annotated[float, Field(ge=0, le=100)] = 50
    """Highpass percent"""

    kernel_size: Unpublished[Literal[3, 5]] = 3
    """Of highpass, in pixels"""

    denoise: Literal["off", "light", "medium", "strong"] = "off"
    """Median first"""

    sigma: Unpublished[Annotated[float, Field(ge=0.5, le=10)]] = 1
    """Radius of adaptive in pixels"""

    m1: Unpublished[Annotated[float, Field(ge=0, le=10)]] = 1
    """Gain of flat areas"""

    m2: Unpublished[Annotated[float, Field(ge=0, le=20)]] = 3
    """Gain of edges"""

    x1: Unpublished[Annotated[float, Field(ge=0, le=10)]] = 2
    """Difference at which edges begin"""

    y2: Unpublished[Annotated[float, Field(ge=0, le=50)]] = 12
    """Most brightening"""

    y3: Unpublished[Annotated[float, Field(ge=0, le=50)]] = 20
    """Most darkening"""

    @model_validator(mode="after")
    def _preset_is_adaptive(self) -> Self:
        if self.preset is not None and self.way != "adaptive":
            raise ValueError(f"'preset' is for mode 'adaptive', but the other settings are for {self.way!r}.")
        return self

    @property
    def way(self) -> Mode:
        """The mode; where none was given, the one that the other settings belong to."""
        if "mode" in self.model_fields_set:
            return self.mode
        given = [mode for mode in OWN if OWN[mode] & self.model_fields_set]
        return given[0] if len(given) == 1 else self.mode

    @property
    def unused(self) -> list[str]:
        """Wire names of settings that were given, but belong to another mode."""
        others = set().union(*(names for mode, names in OWN.items() if mode != self.way)) & self.model_fields_set
        return sorted(str(type(self).model_fields[name].alias) for name in others)


@tool(title="Sharpening", sequential=True, example={"mode": "adaptive"})
def sharpening(image: Image, settings: Sharpening) -> Image:
    """Make a picture crisper, if wanted after removing noise.

    - adaptive sharpens lightness only: `m1` times differences up to `x1`, `m2` times what is beyond, limited to `y2`
      brighter and `y3` darker, all in lightness 0..100. A single value overrides that of the preset.
    - unsharp adds `amount` percent of each channel's difference from its blurred copy, where it exceeds `threshold`.
    - highpass adds `strength`/50 times each channel's difference from the mean of its neighbourhood.
    - denoise is the median of 3 × 3, 5 × 5 or 7 × 7 pixels.
    """

    if settings.unused:
        names = ", ".join(repr(name) for name in settings.unused)
        image = image.warn(f"Mode {settings.way!r} does not use {names}.")
    window = WINDOWS.get(settings.denoise)
    sharpen = _way(settings)
    if window is not None:
        image = image.map_frames(lambda frame: median(frame, window))
    return image.map_frames(sharpen) if sharpen is not None else image


def _way(settings: Sharpening) -> "Callable[[pyvips.Image], pyvips.Image] | None":
    """What sharpens a frame; None where the settings say by nothing."""
    if settings.way == "unsharp":
        amount, radius, threshold = settings.amount / 100, settings.radius, settings.threshold
        return (lambda frame: unsharp(frame, amount, radius, threshold)) if amount else None
    if settings.way == "highpass":
        amount, size = settings.strength / 50, settings.kernel_size
        return (lambda frame: highpass(frame, amount, size)) if amount else None
    return lambda frame: adaptive(frame, _adaptive(settings))


def _adaptive(settings: Sharpening) -> Adaptive:
    """The values that were given, then those of the preset, then the defaults."""
    names = ("sigma", "m1", "m2", "x1", "y2", "y3")
    preset = _presets()[settings.preset] if settings.preset else {}
    given = {name: getattr(settings, name) for name in names if name in settings.model_fields_set}
    return Adaptive(**{**preset, **given})
