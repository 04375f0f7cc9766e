"""Remove Background."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit import backdrop, matting
from darkroom_tools.kit.cutout import Subject, subject_mask
from darkroom_tools.kit.named_model import known_model
from darkroom_tools.kit.pixels import color_bands, first_frame, masked, takes_alpha, white_level
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.models import cards_for
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes
from darkroom_tools.shape import still as still_shape

USUAL = 50.0
"""Percent of blur or shadow where only its switch is given."""

CUTOUT_MODELS = tuple(card.id for card in cards_for("cutout"))

Percent = Annotated[float, Field(ge=0, le=100)]


def _color(value: str) -> str:
    if not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError(f"A colour is written #RRGGBB, such as #FFFFFF, but got {value[:20]!r}.")
    return value


def _color_or_transparent(value: str) -> str:
    return value if value == "transparent" else _color(value)


# Checked in code instead of by enum and pattern: in the schema those would cost more than all other words together.
Model = Annotated[str, AfterValidator(known_model(["auto", *CUTOUT_MODELS]))]
Color = Annotated[str, AfterValidator(_color)]
Backdrop = Annotated[str, AfterValidator(_color_or_transparent)]


class RemoveBackground(Settings):
    """How to cut out the subject, and what to put behind it."""

    model: Model = "auto"
    """auto, or an id like u2net"""

    return_mask: bool = False
    """Answer with the mask"""

    background_type: Unpublished[Literal["transparent", "color", "gradient", "blur", "image"] | None] = None
    """Inferred from the settings that are given"""

    background_color: Backdrop | None = None
    """#RRGGBB or transparent"""

    gradient_color1: Color | None = None
    """#RRGGBB"""

    gradient_color2: Color | None = None
    """#RRGGBB"""

    gradient_angle: float = 180
    """Degrees"""

    blur_enabled: Unpublished[bool | None] = None
    """On if an intensity is given"""

    blur_intensity: Percent | None = None
    """Percent; blurs background"""

    shadow_enabled: Unpublished[bool | None] = None
    """On if an opacity is given"""

    shadow_opacity: Percent | None = None
    """Percent; adds a shadow"""

    alpha_matting_foreground: Annotated[int, Field(ge=1, le=255)] = 240
    """Surely subject; mattes edges"""

    alpha_matting_background: Annotated[int, Field(ge=0, le=255)] = 10
    """Surely background"""

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
    def blur(self) -> float | None:
        """Sigma of the blur behind the subject, None for none."""
        wanted = self.blur_intensity is not None if self.blur_enabled is None else self.blur_enabled
        intensity = USUAL if self.blur_intensity is None else self.blur_intensity
        return 1 + 49 * intensity / 100 if wanted or self.background_type == "blur" else None

    @property
    def shadow(self) -> float | None:
        """Opacity of the shadow in 0..1, None for none."""
        wanted = self.shadow_opacity is not None if self.shadow_enabled is None else self.shadow_enabled
        return (USUAL if self.shadow_opacity is None else self.shadow_opacity) / 100 if wanted else None

    @property
    def matting(self) -> bool:
        """Whether edges are worked out anew: one of the thresholds was given."""
        return bool({"alpha_matting_foreground", "alpha_matting_background"} & self.model_fields_set)


def _shape(settings: RemoveBackground, shapes: Shapes) -> Shape:
    cut = still_shape(settings, shapes)
    if settings.return_mask:
        return cut.with_alpha(False).encoded_as("png")
    cut = cut.with_alpha(_backdrop(settings, given="backgroundImage" in shapes) is None)
    return cut.encoded_as("png") if _needs_png(cut.alpha, cut.takes_alpha, cut.format) else cut


@tool(title="Remove Background", models=CUTOUT_MODELS, shape=_shape)
def remove_background(
    image: Image, settings: RemoveBackground, run: Run, background_image: Image | None = None
) -> Image:
    """Cut out the subject: transparent, or on a colour, gradient, blur or backgroundImage.

    Without a model it cuts by colour (color-cut): for plain, graded or blurred backgrounds.
    """
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is cut out.")
    pixels = still.pixels.copy_memory()
    subject = subject_mask(pixels, run, settings.model, lambda done, said: run.progress(0.85 * done, said))
    still, mask = _told(still, subject), subject.mask
    if settings.matting:
        low, high = settings.alpha_matting_background, settings.alpha_matting_foreground
        mask = matting.refine_unknown(pixels, mask, high, low).copy_memory()
        still = still.with_facts(matting="guided-filter")
    if pixels.hasalpha():
        mask = (mask * (pixels[color_bands(pixels)] / white_level(pixels))).rint().cast("uchar").copy_memory()
    run.progress(0.9, "putting it together")
    if settings.return_mask:
        return still.with_pixels(mask.copy(interpretation="b-w")).encode_as(format="png")
    own = matting.decontaminated(pixels, mask)
    return _finished(still.with_pixels(_placed(own, mask, settings, background_image)))


def _told(image: Image, subject: Subject) -> Image:
    """The picture with what the reply says of the method."""
    image = image.with_facts(method=subject.method)
    if subject.confidence is not None:
        image = image.with_facts(confidence=subject.confidence)
    for warning in subject.warnings:
        image = image.warn(warning)
    return image


def _placed(
    pixels: "pyvips.Image", mask: "pyvips.Image", settings: RemoveBackground, other: Image | None
) -> "pyvips.Image":
    """The subject before its backdrop; with alpha where there is none."""
    kind = _backdrop(settings, given=other is not None)
    behind: pyvips.Image | None = None
    if kind == "color":
        behind = backdrop.plain(pixels, str(settings.background_color))
    elif kind == "gradient" and settings.gradient_color1 and settings.gradient_color2:
        behind = backdrop.gradient(pixels, settings.gradient_color1, settings.gradient_color2, settings.gradient_angle)
    elif kind == "image" and other is not None:
        behind = backdrop.covering(pixels, first_frame(other).pixels)
        behind = behind if settings.blur is None else backdrop.blurred(behind, mask * 0, settings.blur)
    elif kind == "blur" and settings.blur is not None:
        behind = backdrop.blurred(pixels, mask, settings.blur)
    if settings.shadow is not None:
        ground = backdrop.clear(pixels) if behind is None else behind
        behind = backdrop.with_shadow(ground, mask, settings.shadow)
    return masked(pixels, mask) if behind is None else backdrop.composed(pixels, mask, behind)


def _backdrop(settings: RemoveBackground, *, given: bool) -> str | None:
    """What stands behind the subject, None for nothing; `given` if there is another picture for it."""
    possible = {
        "image": given,
        "gradient": bool(settings.gradient_color1 and settings.gradient_color2),
        "color": settings.background_color is not None,
        "blur": settings.blur is not None,
    }
    kind: str | None = settings.background_type
    if kind is None:
        kind = next((name for name, has in possible.items() if has), None)
    clear = kind == "color" and settings.background_color == "transparent"
    return kind if kind is not None and possible.get(kind) and not clear else None


def _finished(image: Image) -> Image:
    """To be written in a format that keeps the alpha."""
    needed = _needs_png(image.has_alpha, takes_alpha(image), image.source.format)
    return image.encode_as(format="png") if needed else image


def _needs_png(alpha: bool, takes_alpha: bool, format: str) -> bool:
    """Whether the alpha is lost in the format of the result, or edges in the two levels of a GIF's."""
    return (alpha and not takes_alpha) or format == "gif"
