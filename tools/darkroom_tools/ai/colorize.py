"""AI Colorization."""

from typing import Annotated, Final

from pydantic import AfterValidator, Field, WithJsonSchema

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.colorizing import COLORIZE_MODELS, colorized, is_grey
from darkroom_tools.kit.named_model import known_model, wanted_model
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.shape import still as still_shape

OF_A_KIND: Final = {"ddcolor": ("ddcolor", "ddcolor-artistic"), "opencv": ("colorization-eccv16",)}
"""Names that stand for the first installed of several."""

NAMES: Final = tuple(dict.fromkeys(("auto", *OF_A_KIND, *COLORIZE_MODELS)))


Model = Annotated[
    str, AfterValidator(known_model(NAMES)), WithJsonSchema({"type": "string", "enum": ["auto", "ddcolor", "opencv"]})
]
"""All ids are accepted; only the usual names are published."""


class Colorize(Settings):
    """Which network, and how colourful."""

    intensity: Annotated[float, Field(ge=0, le=1)] = 1.0
    """0 grey, 1 full colour"""

    model: Model = "auto"
    """opencv: Zhang et al. 2016"""


@tool(title="AI Colorization", models=COLORIZE_MODELS, shape=still_shape)
def colorize(image: Image, settings: Colorize, run: Run) -> Image:
    """Add plausible colours to a grey photo by a network; lightness stays.

    Without a model the error says which command installs one.
    """
    model = wanted_model(settings.model, "colorize", run, OF_A_KIND)
    still = first_frame(image)
    if image.frames > 1:
        still = still.warn(f"Only the first of {image.frames} frames is colourised.")
    pixels = still.pixels.copy_memory()
    grey = is_grey(pixels)
    if not grey:
        still = still.warn("The picture had colours; they were replaced by new ones made from its lightness.")
    made = colorized(
        pixels,
        run,
        model=model,
        intensity=settings.intensity,
        report=lambda done: run.progress(done, "adding colour"),
    )
    return still.with_pixels(made).with_facts(method=model.id, isGrayscale=grey)
