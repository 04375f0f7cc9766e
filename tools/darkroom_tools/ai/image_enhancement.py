"""Image Enhancement."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.denoise import denoised
from darkroom_tools.kit.enhance_analysis import CORRECTIONS, Analysis, Corrections, Scene, analyzed, scene_weights
from darkroom_tools.kit.enhance_paper import evened
from darkroom_tools.kit.enhance_tone import Look, look_steps
from darkroom_tools.kit.pixels import color_bands, first_frame
from darkroom_tools.kit.sharpen import unsharp
from darkroom_tools.kit.tone import apply_point_steps
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips

SINGLE: Mapping[str, tuple[str, ...]] = {
    "exposure": ("brightness",),
    "contrast": ("contrast",),
    "color": ("temperature", "tint", "saturation"),
    "sharpness": ("sharpness",),
}
"""Modes that make one kind of correction."""

SWITCHES: Mapping[str, tuple[str, ...]] = {
    "exposure": ("brightness",),
    "contrast": ("contrast",),
    "white_balance": ("temperature", "tint"),
    "saturation": ("saturation",),
    "sharpness": ("sharpness",),
    "denoise": ("denoise",),
}

Mode = Literal[
    "auto",
    "exposure",
    "contrast",
    "color",
    "sharpness",
    "portrait",
    "landscape",
    "low-light",
    "food",
    "document",
]


class Switches(BaseModel):
    """Which corrections are made."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True)

    exposure: bool = True
    contrast: bool = True
    white_balance: bool = True
    saturation: bool = True
    sharpness: bool = True
    denoise: bool = True


class ImageEnhancement(Settings):
    """What is corrected, and how strongly."""

    aliases: ClassVar = {"intensity": "strength"}

    mode: Mode = "auto"
    """One correction, or a scene"""

    strength: Annotated[float, Field(ge=0, le=100)] = 50
    """50 as computed, 100 twice"""

    corrections: Unpublished[Switches] = Field(default_factory=Switches)
    """Which may be made"""


@tool(title="Image Enhancement", example={"mode": "auto"})
def image_enhancement(image: Image, settings: ImageEnhancement, run: Run) -> Image:
    """Correct light, contrast, colour cast, softness and noise by analysis; good photos stay.

    The reply has scores (0 to 100), the corrections that were made, issues and the scene it looks like. No model is
    needed. Mode document also makes unevenly lit paper white.
    """
    still, allowed = first_frame(image).pixels, _allowed(settings)
    found = analyzed(still, allowed)
    paper = min(1.0, settings.strength / 50) if settings.mode == "document" else 0.0
    basis = analyzed(evened(still, paper), allowed) if paper else found
    made = _weighed(basis.corrections, settings)
    steps = look_steps(_look(made), basis.levels, color_bands(still))
    finished = 0

    def enhance(frame: "pyvips.Image") -> "pyvips.Image":
        nonlocal finished
        begun, finished = finished, finished + 1

        def report(share: float) -> None:
            run.progress((begun + share) / image.frames, "correcting")

        if made.denoise:
            frame, _ = denoised(frame, run, lambda share: report(0.9 * share), strength=min(1.0, made.denoise / 10))
        if paper:
            frame = evened(frame, paper)
        if steps:
            frame = apply_point_steps(frame, steps)
        report(0.9)
        return unsharp(frame, min(2.0, made.sharpness / 100), 1) if made.sharpness else frame

    changed = bool(steps or paper or made.denoise or made.sharpness)
    return _told(image.map_frames(enhance) if changed else image, found, made)


def _look(made: Corrections) -> Look:
    return Look(made.brightness, made.contrast, made.temperature, made.tint, made.saturation)


def _allowed(settings: ImageEnhancement) -> set[str]:
    """The corrections that mode and switches leave."""
    switches = settings.corrections.model_dump()
    allowed = {name for switch, names in SWITCHES.items() if switches[switch] for name in names}
    return allowed & set(SINGLE.get(settings.mode, CORRECTIONS))


def _weighed(computed: Corrections, settings: ImageEnhancement) -> Corrections:
    """The corrections as strong as the settings ask."""
    if settings.mode == "document":
        # Paper is bright: darkening it to the middle is no correction.
        computed = replace(computed, brightness=max(0.0, computed.brightness))
    scene = "auto" if settings.mode in SINGLE else cast(Scene, settings.mode)
    weights, factor = scene_weights(scene), settings.strength / 50
    return Corrections(**{name: round(value * factor * weights[name], 1) for name, value in asdict(computed).items()})


def _told(image: Image, found: Analysis, made: Corrections) -> Image:
    return image.with_facts(
        scores=_wire(asdict(found.scores)),
        corrections=_wire(asdict(made)),
        issues=list(found.issues),
        suggestedMode=found.suggested_mode,
    )


def _wire(values: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(name): value for name, value in values.items()}
