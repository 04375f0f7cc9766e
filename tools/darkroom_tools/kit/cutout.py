"""Where the subject of a picture is: by an installed model, or by colour where there is none."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.kit import cutout_models, matting, segment
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, resized
from darkroom_tools.models import best_installed
from darkroom_tools.native import np, pyvips

__all__ = ["DOUBTFUL", "Subject", "subject_mask"]

WORKING_SIDE: Final = 320
DOUBTFUL: Final = 0.4
"""Confidence of the method without a model below which the reply says so."""

NOTHING: Final = 0.02
"""Confidence below which nothing is cut at all."""

ADVICE: Final = "A model does better: darkroom models pull birefnet-general-lite."

Report = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject.

    Attributes:
        mask: One 8-bit band at the picture's full size, 255 where the subject is; in memory.
        method: Id of the model, or `color-cut`.
        confidence: 0 to 1, how far subject and background differ in colour; None where a model said it.
        warnings: Sentences for the caller.
    """

    mask: "pyvips.Image"
    method: str
    confidence: float | None = None
    warnings: tuple[str, ...] = ()


def subject_mask(
    pixels: "pyvips.Image",
    run: Run,
    model: str = "auto",
    report: Report | None = None,
    likely: "np.ndarray | None" = None,
) -> Subject:
    """Find the subject.

    Args:
        pixels: One frame, grey or sRGB, 8 or 16 bits; alpha is ignored. It is read several times.
        run: Runs the model.
        model: Id of a cut-out model, or `auto` for the best one that is installed, else by colour.
        report: Takes the share that is done, 0..1, and a message; `run.progress` by default.
        likely: Height × width of any size, float32 in 0..1: where the subject is expected, for the method without a
            model; None for the middle.

    Raises:
        ModelNotInstalled: The model that was named is not here.
    """
    report = report or run.progress
    if model == "auto":
        best = best_installed("cutout", run.installed)
        model = best.id if best else ""
    if model:
        report(0.1, f"running {model}")
        return Subject(cutout_models.predict(pixels, model, run), model)
    return _by_color(pixels, report, likely)


def _by_color(pixels: "pyvips.Image", report: Report, likely: "np.ndarray | None") -> Subject:
    lab = _small_lab(pixels)
    places = None if likely is None else _fitted(likely, lab.shape[1], lab.shape[0])
    cut = segment.color_cut(lab, lambda done: report(0.8 * done, "separating colours"), places)
    if cut.confidence < NOTHING:
        everything = (pyvips.Image.black(pixels.width, pixels.height) + 255).cast("uchar")
        said = f"No subject stands out by colour, so nothing was cut. {ADVICE}"
        return Subject(everything.copy_memory(), "color-cut", cut.confidence, (said,))
    values = np.floor(cut.mask * 255 + 0.5).astype(np.uint8)
    coarse = pyvips.Image.new_from_memory(values.tobytes(), values.shape[1], values.shape[0], 1, "uchar")
    report(0.85, "refining edges")
    said = f"Subject and background have much the same colours: look at it with view_image. {ADVICE}"
    warnings = (said,) if cut.confidence < DOUBTFUL else ()
    return Subject(matting.refine(pixels, coarse).copy_memory(), "color-cut", cut.confidence, warnings)


def _fitted(plane: "np.ndarray", width: int, height: int) -> "np.ndarray":
    image = pyvips.Image.new_from_memory(
        np.ascontiguousarray(plane, np.float32).data, plane.shape[1], plane.shape[0], 1, "float"
    )
    return as_array(resized(image, width, height, "linear"))[..., 0]


def _small_lab(pixels: "pyvips.Image") -> "np.ndarray":
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    scale = min(1.0, WORKING_SIDE / max(pixels.width, pixels.height))
    small = resized(colour, max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)), "linear")
    return as_array(small.colourspace("lab")).astype(np.float32)
