"""Photo Restoration."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.colorizing import COLORIZE_MODELS, best_colorizer, colorized, is_grey
from darkroom_tools.kit.denoise import DENOISE_MODELS, NOTHING, denoised
from darkroom_tools.kit.enhance_analysis import analyzed
from darkroom_tools.kit.enhance_tone import Look, look_steps
from darkroom_tools.kit.face_restore import RESTORE_MODELS, best_restorer, restored
from darkroom_tools.kit.faces import FACE_MODELS, find_faces
from darkroom_tools.kit.inpaint import INPAINT_MODELS, inpainted
from darkroom_tools.kit.percent import PercentOrShare
from darkroom_tools.kit.pixels import color_bands, first_frame
from darkroom_tools.kit.scratches import Care, damage_of, outside_of
from darkroom_tools.kit.tone import apply_point_steps
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.models import missing
from darkroom_tools.native import pyvips
from darkroom_tools.shape import still as still_shape

FACE_STRENGTH: Final = 0.8
"""How much of a restored face is put in."""

USUAL_SENSITIVITY: Final = 0.5

PALE: Final = 60.0
LIFTED: Final = 0.08
"""Percent from black to white below which a photograph has faded, and how light its black then is at least, 0..1."""


class RestorePhoto(Settings):
    """Which damage is repaired, and how thoroughly."""

    mode: Care = "auto"
    """Light: only certain damage"""

    scratch_removal: bool = True
    """Dust too"""

    face_enhancement: bool = True
    """Needs a model"""

    fidelity: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Likeness of faces"""

    denoise: bool = True
    """Remove grain"""

    denoise_strength: Annotated[float, Field(ge=0, le=100)] = 40
    """50: as measured"""

    colorize: bool = False
    """If grey; needs a model"""

    colorize_strength: Unpublished[PercentOrShare] = 85
    """100 is full colour"""


@dataclass
class _Restoration:
    """The picture on its way through the steps, and what is told of them."""

    pixels: "pyvips.Image"
    run: Run
    settings: RestorePhoto
    steps: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def part(self, begin: float, end: float, words: str) -> Callable[[float], None]:
        """What a step reports its share to."""
        return lambda done: self.run.progress(begin + (end - begin) * min(1.0, done), words)

    def did(self, step: str, method: str) -> None:
        self.steps.append({"step": step, "done": True, "method": method})

    def skipped(self, step: str, reason: str, *, warn: bool = False) -> None:
        self.steps.append({"step": step, "done": False, "reason": reason})
        if warn:
            self.warnings.append(reason)


@tool(
    title="Photo Restoration",
    models=(*RESTORE_MODELS, *FACE_MODELS, *INPAINT_MODELS, *DENOISE_MODELS, *COLORIZE_MODELS),
    example={"mode": "light"},
    shape=still_shape,
)
def restore_photo(image: Image, settings: RestorePhoto, run: Run) -> Image:
    """Repair an old photo: scratches, faces, grain, faded tones, colour.

    Steps whose model is missing are skipped.
    """
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is restored.")
    work = _Restoration(still.pixels.copy_memory(), run, settings)
    grey = is_grey(work.pixels)
    _repair(work)
    _faces(work)
    _denoise(work)
    _revive(work)
    _colorize(work, grey)
    result = still.with_pixels(work.pixels) if any(step["done"] for step in work.steps) else still
    for words in work.warnings:
        result = result.warn(words)
    methods = [step["method"] for step in work.steps if step["done"]]
    return result.with_facts(
        method=" + ".join(dict.fromkeys(methods)) or "none", steps=work.steps, isGrayscale=grey, **work.facts
    )


def _repair(work: _Restoration) -> None:
    work.facts["scratchCoverage"] = 0.0
    if not work.settings.scratch_removal:
        return work.skipped("scratches", "Switched off.")
    faces = find_faces(work.pixels, USUAL_SENSITIVITY, work.run).found
    damage = damage_of(work.pixels, work.settings.mode, work.part(0, 0.25, "looking for scratches"))
    mask = outside_of(damage.mask, [(face.left, face.top, face.width, face.height) for face in faces])
    if not mask.any():
        return work.skipped("scratches", "None were found.")
    work.facts["scratchCoverage"] = round(100 * float(mask.mean()), 2)
    work.pixels, method = inpainted(work.pixels, mask, work.run, work.part(0.25, 0.5, "repairing scratches"))
    return work.did("scratches", method)


def _faces(work: _Restoration) -> None:
    work.facts["facesEnhanced"] = 0
    if not work.settings.face_enhancement:
        return work.skipped("faces", "Switched off.")
    model = best_restorer(work.run)
    if model is None:
        return work.skipped("faces", f"Faces were left as they are. {missing(RESTORE_MODELS[0]).message}", warn=True)
    report = work.part(0.5, 0.65, "restoring faces")
    report(0)
    faces = find_faces(work.pixels, USUAL_SENSITIVITY, work.run).found
    if not faces:
        return work.skipped("faces", "None were found.")
    work.facts["facesEnhanced"] = len(faces)
    work.pixels = restored(
        work.pixels,
        faces,
        work.run,
        model=model,
        strength=FACE_STRENGTH,
        fidelity=work.settings.fidelity,
        report=report,
    )
    return work.did("faces", model.id)


def _denoise(work: _Restoration) -> None:
    if not (work.settings.denoise and work.settings.denoise_strength):
        return work.skipped("noise", "Switched off.")
    work.pixels, method = denoised(
        work.pixels,
        work.run,
        work.part(0.65, 0.85, "removing noise"),
        strength=work.settings.denoise_strength / 100,
        warn=work.warnings.append,
    )
    return work.skipped("noise", "There is none.") if method == NOTHING else work.did("noise", method)


def _revive(work: _Restoration) -> None:
    """Bring back tones and colours that have faded; a picture that has not is left alone."""
    work.part(0.85, 0.9, "judging tones")(0)
    found = analyzed(work.pixels, ("temperature", "tint", "contrast", "brightness"))
    if 100 * (found.levels.white - found.levels.black) >= PALE or found.levels.black < LIFTED:
        return work.skipped("fading", "Tones and colours have not faded.")
    made = found.corrections
    look = Look(made.brightness, made.contrast, made.temperature, made.tint)
    steps = look_steps(look, found.levels, color_bands(work.pixels))
    if not steps:
        return work.skipped("fading", "There is nothing to bring back.")
    work.pixels = apply_point_steps(work.pixels, steps)
    return work.did("fading", "tone-curve")


def _colorize(work: _Restoration, grey: bool) -> None:
    work.facts["colorized"] = False
    if not work.settings.colorize:
        return work.skipped("colour", "Not asked for.")
    if not grey:
        return work.skipped("colour", "The photo has colours of its own.")
    model = best_colorizer(work.run)
    if model is None:
        return work.skipped("colour", f"No colour was added. {missing(COLORIZE_MODELS[0]).message}", warn=True)
    work.pixels = colorized(
        work.pixels,
        work.run,
        model=model,
        intensity=work.settings.colorize_strength / 100,
        report=work.part(0.9, 1, "adding colour"),
    )
    work.facts["colorized"] = True
    return work.did("colour", model.id)
