"""Image Upscaling."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.denoise import denoised
from darkroom_tools.kit.enlarge import lanczos, uncovered
from darkroom_tools.kit.face_restore import best_restorer, restored
from darkroom_tools.kit.faces import Face, find_faces
from darkroom_tools.kit.geometry import check_output
from darkroom_tools.kit.named_model import known_model
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, picture_of
from darkroom_tools.kit.sharpen import unsharp
from darkroom_tools.kit.tiles import run_tiled
from darkroom_tools.kit.wanted_format import written_as
from darkroom_tools.models import Card, card, cards_for, missing
from darkroom_tools.native import np, pyvips
from darkroom_tools.shape import Shape, Shapes

UPSCALERS = tuple(card.id for card in cards_for("upscale"))
HELPERS = tuple(card.id for task in ("denoise", "faces", "face-restore") for card in cards_for(task))

LANCZOS = "lanczos"
FAMILY = {2: ("realesrgan-x2plus", "realesrgan-x4plus"), 4: ("realesrgan-x4plus", "realesrgan-x2plus")}
"""What `realesrgan` means for each scale, the best first."""

SHARPER, SOFTNESS = 0.6, 0.5
"""Lanczos is a little soft, so this share of the difference from a copy blurred by so many pixels is added before it.
Afterwards it would take four times as long for the same result within 0.06 dB."""

Report = Callable[[float, str], None]


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 3 else value


class Upscale(Settings):
    """How much larger, and by what."""

    value_aliases: ClassVar = {"format": {"jpg": "jpeg"}}

    scale: Annotated[Literal[2, 4], BeforeValidator(_number)] = 2
    """Factor"""

    model: Annotated[str, AfterValidator(known_model(["auto", LANCZOS, "realesrgan", *UPSCALERS]))] = "auto"
    """lanczos, or a model id"""

    face_enhance: bool = False
    """Restore faces"""

    denoise: Annotated[float, Field(ge=0, le=1)] = 0
    """Noise removal"""

    format: Literal["auto", "png", "jpeg", "webp", "avif"] = "auto"
    """auto keeps it"""

    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """If lossy"""


@dataclass
class _Work:
    """One call: what is wanted, and what there is to say of it afterwards."""

    settings: Upscale
    run: Run
    model: Card | None
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def _shape(settings: Upscale, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    size = image.width * settings.scale, image.height * settings.scale
    check_output(*size, image.frames)
    return image.sized(*size).encoded_as(settings.format)


@tool(title="Image Upscaling", models=(*UPSCALERS, *HELPERS), example={"scale": 2}, shape=_shape)
def upscale(image: Image, settings: Upscale, run: Run) -> Image:
    """Enlarge 2 or 4 times with more detail than resize.

    Without a model by an embedded network.
    """
    width, height = image.width * settings.scale, image.height * settings.scale
    check_output(width, height, image.frames)
    work = _Work(settings, run, _model(settings, run))
    if work.model is None and settings.model == "auto":
        work.warn(
            "Enlarged without a network: ONNX Runtime is not installed. Install it with: "
            'uv tool install "darkroom-mcp[ai]" (in a checkout: uv sync --extra ai).'
        )
    frames = iter(range(image.frames))

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        number = next(frames)
        return _enlarged(frame, work, lambda done, said: run.progress((number + done) / image.frames, said))

    result = image.map_frames(change)
    result = result.with_facts(width=width, height=height, method=work.model.id if work.model else LANCZOS)
    for text in work.warnings:
        result = result.warn(text)
    return written_as(result, settings.format, settings.quality)


def _model(settings: Upscale, run: Run) -> Card | None:
    """What enlarges; None for Lanczos. A model that was named is tried, so that the engine says what it lacks."""
    if settings.model == LANCZOS:
        return None
    if settings.model != "auto":
        wanted = FAMILY[settings.scale] if settings.model == "realesrgan" else (settings.model,)
        known = [name for model in wanted for name in (model, card(model).half) if name]
        return card(next(filter(run.installed, known), known[0]))
    found = [each for each in cards_for("upscale") if each.commercial and run.installed(each.id)]
    # Pulled models before the packaged one, and among them those that make just this size.
    found.sort(key=lambda each: (each.packaged is not None, each.scale != settings.scale))
    return found[0] if found else None


def _part(report: Report, low: float, high: float) -> Report:
    """Reports of a part of the work."""
    return lambda done, said: report(low + (high - low) * done, said)


def _enlarged(frame: "pyvips.Image", work: _Work, report: Report) -> "pyvips.Image":
    """One frame with all that is to be done to it."""
    settings = work.settings
    low, high = 0.2 if settings.denoise else 0.0, 0.8 if settings.face_enhance else 0.98
    report(0.0, "")
    frame = frame.copy_memory()
    restorer, faces = _faces(frame, work) if settings.face_enhance else (None, [])
    if settings.denoise:
        before = _part(report, 0, low)
        frame, _ = denoised(frame, work.run, lambda done: before(done, "removing noise"), strength=settings.denoise)
    colours = uncovered(frame).copy_memory()
    large = _larger(colours, work, _part(report, low, high))
    if restorer and faces:
        told = _part(report, high, 0.98)
        better = restored(
            large, faces, work.run, model=restorer, strength=1.0, report=lambda done: told(done, "restoring faces")
        )
        large = picture_of(as_array(better), large)
    if not frame.hasalpha():
        return large
    alpha = lanczos(frame[color_bands(frame)], large.width, large.height)
    return (alpha > 0).ifthenelse(large, 0).bandjoin(alpha).copy(interpretation=large.interpretation)


def _larger(colours: "pyvips.Image", work: _Work, report: Report) -> "pyvips.Image":
    """The colours enlarged; grey stays grey, and 16 bits stay."""
    scale, model = work.settings.scale, work.model
    if model is None:
        report(0.1, "enlarging")
        return lanczos(unsharp(colours, SHARPER, SOFTNESS), colours.width * scale, colours.height * scale)
    array = as_array(as_color(colours))
    depth, passes = array.dtype, _passes(model, scale)
    costs = [model.scale ** (2 * number) for number in range(len(passes))]
    for number, shrink in enumerate(passes):
        part = _part(report, sum(costs[:number]) / sum(costs), sum(costs[: number + 1]) / sum(costs))
        # Between two passes nothing is rounded to 8 bits.
        kind = depth if number == len(passes) - 1 else np.uint16
        made = run_tiled(array, model, work.run, part, depth=kind, shrink=shrink)
        if made.halved:
            work.warn(f"Memory was short, so the picture went through in tiles of {made.tile} pixels.")
        array = made.array
    if colours.bands == 1:
        array = array.mean(axis=2, keepdims=True, dtype=np.float32).round().astype(depth)
    return picture_of(array, colours)


def _passes(model: Card, scale: int) -> list[int]:
    """How often the model runs: for each time how many pixels a side of its result become one."""
    passes, reached = [1], model.scale
    while reached < scale:
        passes.append(1)
        reached *= model.scale
    passes[-1] = reached // scale
    return passes


def _faces(frame: "pyvips.Image", work: _Work) -> tuple[Card | None, list[Face]]:
    """What restores faces, and where they will be in the enlargement; warnings where there is nothing to do."""
    model = best_restorer(work.run)
    if model is None:
        wanted = next(each for each in cards_for("face-restore") if each.commercial)
        work.warn(f"Faces were not restored. {missing(wanted.id).message}")
        return None, []
    found = find_faces(frame, 0.5, work.run).found
    if not found:
        work.warn("No face was found to restore.")
    return model, [_scaled(face, work.settings.scale) for face in found]


def _scaled(face: Face, by: int) -> Face:
    points = tuple((x * by, y * by) for x, y in face.landmarks)
    return Face(face.left * by, face.top * by, face.width * by, face.height * by, face.score, points)
