"""Settings that all generative tools share."""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from darkroom_tools.generation import AspectRatio, ImageSize
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.settings import Settings

__all__ = ["LONGEST_PROMPT", "Generating"]

LONGEST_PROMPT = 4_000


def _cleaned(text: str) -> str:
    """The prompt without what cannot be seen: it goes to a model."""
    cleaned = clean_text(text, LONGEST_PROMPT).strip()
    if not cleaned:
        raise ValueError("'prompt' is empty. Say in words what the picture should show.")
    return cleaned


class Generating(Settings):
    """What is wanted of an engine."""

    value_aliases: ClassVar = {"imageSize": {"1k": "1K", "2k": "2K"}}

    prompt: Annotated[str, Field(max_length=LONGEST_PROMPT), AfterValidator(_cleaned)]
    """In words"""

    aspect_ratio: AspectRatio = "auto"
    """The nearest there is"""

    image_size: Unpublished[ImageSize] = "1K"
    """1024 or 2048 pixels on the longer side"""

    quality: Unpublished[Literal["auto", "low", "medium", "high"]] = "auto"
    """More takes longer and costs more"""

    background: Unpublished[Literal["auto", "opaque", "transparent"]] = "auto"
    """Not every model can make it transparent"""

    variant: Annotated[int, Field(ge=0)] = 0
    """Another number, another picture"""
