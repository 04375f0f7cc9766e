"""Remove Background."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit import backdrop, cutout_models, matting, segment
from darkroom_tools.kit.color import Color
from darkroom_tools.kit.cutout_models import CUTOUT_MODELS, ModelId
from darkroom_tools.kit.pixels import (
    as_array,
    as_color,
    color_bands,
    first_frame,
    masked,
    resized,
    takes_alpha,
    white_level,
)
from darkroom_tools.native import np, pyvips

WORKING_SIDE = 320
DOUBTFUL = 0.4
"""Confidence of the method without a model below which the reply says so."""

NOTHING = 0.02
"""Confidence below which nothing is cut at all."""
ADVICE = "A model does better: darkroom models import u2net FILE."

Percent = Annotated[float, Field(ge=0, le=100)]


class RemoveBackground(Settings):
    """How to cut out the subject, and what to put behind it."""

    model: Literal["auto", ModelId] = "auto"
    """auto takes the best installed, else color-cut"""

    return_mask: bool = False
    """Answer with the grey mask"""

    background_type: Literal["transparent", "color", "gradient", "blur", "image"] | None = None
    """Inferred from the other settings"""

    background_color: Annotated[str, Field(pattern="^(#[0-9a-fA-F]{6}|transparent)$")] | None = None
    """#RRGGBB or transparent"""

    gradient_color1: Color | None = None
    """Start, #RRGGBB"""

    gradient_color2: Color | None = None
    """End, #RRGGBB"""

    gradient_angle: Annotated[float, Field(ge=0, le=360)] = 180
    """Degrees; 180 runs down"""

    blur_enabled: bool = False
    """Blur what is behind"""

    blur_intensity: Percent = 50
    """Percent"""

    shadow_enabled: bool = False
    """Add a drop shadow"""

    shadow_opacity: Percent = 50
    """Percent"""

    alpha_matting: bool | None = None
    """Finer edges for hair; on if a threshold is given"""

    alpha_matting_foreground: Annotated[int, Field(ge=1, le=255)] = 240
    """Mask value that is surely subject"""

    alpha_matting_background: Annotated[int, Field(ge=0, le=255)] = 10
    """Mask value that is surely background"""

    subject: Literal["people", "products", "general"] | None = None
    """Helps auto choose"""

    quality: Literal["fast", "balanced", "best", "ultra"] | None = None
    """Helps auto choose"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.alpha_matting_background >= self.alpha_matting_foreground:
            raise ValueError("'alphaMattingBackground' must be below 'alphaMattingForeground'.")
        if self.background_type == "color" and self.background_color is None:
            raise ValueError("'backgroundType' color needs 'backgroundColor', such as #FFFFFF.")
        if self.background_type == "gradient" and not (self.gradient_color1 and self.gradient_color2):
            raise ValueError("'backgroundType' gradient needs 'gradientColor1' and 'gradientColor2'.")
        return self

    @property
    def matting(self) -> bool:
        """Whether edges are worked out anew: asked for, or a threshold was given."""
        given = {"alpha_matting_foreground", "alpha_matting_background"} & self.model_fields_set
        return bool(given) if self.alpha_matting is None else self.alpha_matting


@tool(title="Remove Background", models=tuple(CUTOUT_MODELS))
def remove_background(
    image: Image, settings: RemoveBackground, run: Run, background_image: Image | None = None
) -> Image:
    """Cut out the subject: transparent, or on a colour, gradient, blur or backgroundImage.

    Without an installed model it works by colour (color-cut): good on plain, graded or blurred backgrounds.
    """
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is cut out.")
    pixels = still.pixels.copy_memory()
    mask, still = _mask(still, pixels, settings, run)
    if settings.matting:
        mask = matting.refine_unknown(
            pixels, mask, settings.alpha_matting_foreground, settings.alpha_matting_background
        )
        still = still.with_facts(matting="guided-filter")
    if pixels.hasalpha():
        mask = (mask * (pixels[color_bands(pixels)] / white_level(pixels))).rint().cast("uchar")
    mask = mask.copy_memory()
    run.progress(0.9, "putting it together")
    if settings.return_mask:
        return still.with_pixels(mask.copy(interpretation="b-w")).encode_as(format="png")
    subject = matting.decontaminated(pixels, mask)
    return _finished(still.with_pixels(_placed(subject, mask, settings, background_image)))


def _mask(image: Image, pixels: "pyvips.Image", settings: RemoveBackground, run: Run) -> "tuple[pyvips.Image, Image]":
    """The 8-bit mask at full size, and the picture with what the reply says of the method."""
    wanted = settings.model
    model = cutout_models.choose(run.installed, settings.subject, settings.quality) if wanted == "auto" else wanted
    if model is not None:
        run.progress(0.1, f"running {model}")
        mask, device = cutout_models.predict(pixels, model, run)
        return resized(mask, pixels.width, pixels.height), image.with_facts(method=model, device=device)
    lab = _small_lab(pixels)
    cut = segment.color_cut(lab, lambda done: run.progress(0.7 * done, "separating colours"))
    values = np.floor(cut.mask * 255 + 0.5).astype(np.uint8)
    coarse = pyvips.Image.new_from_memory(values.tobytes(), values.shape[1], values.shape[0], 1, "uchar")
    run.progress(0.75, "refining edges")
    image = image.with_facts(method="color-cut", device="cpu", confidence=cut.confidence)
    if cut.confidence < NOTHING:
        everything = pyvips.Image.black(pixels.width, pixels.height) + 255
        return everything.cast("uchar"), image.warn(f"No subject stands out by colour, so nothing was cut. {ADVICE}")
    if cut.confidence < DOUBTFUL:
        image = image.warn(f"Subject and background have much the same colours: look at it with view_image. {ADVICE}")
    return matting.refine(pixels, coarse), image


def _small_lab(pixels: "pyvips.Image") -> "np.ndarray":
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    scale = min(1.0, WORKING_SIDE / max(pixels.width, pixels.height))
    small = resized(colour, max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)), "linear")
    return as_array(small.colourspace("lab")).astype(np.float32)


def _placed(
    pixels: "pyvips.Image", mask: "pyvips.Image", settings: RemoveBackground, other: Image | None
) -> "pyvips.Image":
    """The subject before its backdrop; with alpha where there is none."""
    kind = settings.background_type or _inferred(settings, other)
    behind: pyvips.Image | None = None
    if kind == "color" and settings.background_color not in (None, "transparent"):
        behind = backdrop.plain(pixels, str(settings.background_color))
    elif kind == "gradient":
        start, end = settings.gradient_color1 or "#FFFFFF", settings.gradient_color2 or "#FFFFFF"
        behind = backdrop.gradient(pixels, start, end, settings.gradient_angle)
    elif kind == "blur":
        behind = backdrop.blurred(pixels, mask, 1 + 49 * settings.blur_intensity / 100)
    elif kind == "image" and other is not None:
        behind = backdrop.covering(pixels, first_frame(other).pixels)
    if settings.blur_enabled and kind in ("image", "gradient") and behind is not None:
        behind = backdrop.blurred(behind, mask * 0, 1 + 49 * settings.blur_intensity / 100)
    if behind is None and not settings.shadow_enabled:
        return masked(pixels, mask)
    if behind is None:
        behind = backdrop.clear(pixels)
    if settings.shadow_enabled:
        behind = backdrop.with_shadow(behind, mask, settings.shadow_opacity / 100)
    return backdrop.composed(pixels, mask, behind)


def _inferred(settings: RemoveBackground, other: Image | None) -> str:
    if other is not None:
        return "image"
    if settings.gradient_color1 and settings.gradient_color2:
        return "gradient"
    if settings.background_color is not None:
        return "color"
    return "blur" if settings.blur_enabled else "transparent"


def _finished(image: Image) -> Image:
    """To be written in a format that keeps the alpha."""
    if image.has_alpha and not takes_alpha(image) or image.source.format == "gif":
        return image.encode_as(format="png")
    return image
