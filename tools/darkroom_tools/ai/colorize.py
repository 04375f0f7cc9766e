"""AI Colorization."""

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit.colorizing import COLORIZE_MODELS, best_colorizer, colorized, is_grey
from darkroom_tools.kit.pixels import first_frame
from darkroom_tools.models import Card, card, missing

NEWEST: Final = "ddcolor"
OF_A_KIND: Final = {"ddcolor": ("ddcolor", "ddcolor-artistic"), "opencv": ("colorization-eccv16",)}
"""Names that stand for the first installed of several."""

NAMES: Final = tuple(dict.fromkeys(("auto", *OF_A_KIND, *COLORIZE_MODELS)))


def _known(value: Any) -> Any:
    if isinstance(value, str) and value not in NAMES:
        raise ValueError(f"'model' should be one of {', '.join(NAMES)}, but got {value[:40]!r}.")
    return value


Model = Annotated[
    str, BeforeValidator(_known), WithJsonSchema({"type": "string", "enum": ["auto", "ddcolor", "opencv"]})
]
"""All ids are accepted; only the usual names are published."""


class Colorize(Settings):
    """Which network, and how colourful."""

    intensity: Annotated[float, Field(ge=0, le=1)] = 1.0
    """0 grey, 1 full colour"""

    model: Model = "auto"
    """opencv: Zhang et al. 2016"""


@tool(title="AI Colorization", models=COLORIZE_MODELS)
def colorize(image: Image, settings: Colorize, run: Run) -> Image:
    """Add plausible colours to a grey photo by a network; lightness stays.

    Without a model the error says which command installs one.
    """
    model = _chosen(settings.model, run)
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


def _chosen(name: str, run: Run) -> Card:
    """The card of the wanted model.

    Raises:
        ModelNotInstalled: It is not here, or with `auto` none is.
    """
    if name == "auto":
        best = best_colorizer(run)
        if best is None:
            raise missing(NEWEST)
        return best
    ids = OF_A_KIND.get(name, (name,))
    for model in ids:
        if run.installed(model):
            return card(model)
    raise missing(ids[0])
