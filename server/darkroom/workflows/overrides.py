"""Shape and size of the result, which a call of any workflow may ask for."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic.alias_generators import to_camel

from darkroom.workflows.graph import Node
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.generation import LONGER_SIDE, AspectRatio, ImageSize
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.plan import Step, step_ref
from darkroom_tools.settings import Settings

__all__ = ["ASPECT_RATIO", "IMAGE_SIZE", "final_steps", "generation_settings", "override_fields", "wanted_overrides"]

ASPECT_RATIO, IMAGE_SIZE = "aspectRatio", "imageSize"


class Overrides(Settings):
    """What a call may ask of the result beside the inputs."""

    aspect_ratio: Unpublished[AspectRatio | None] = None
    """Width to height, such as 4:5"""

    image_size: Unpublished[ImageSize | None] = None
    """1K or 2K: 1024 or 2048 pixels on the longer side"""


def override_fields(besides: Collection[str]) -> dict[str, Any]:
    """The settings as `create_model` takes them; an input of the same name stands for itself."""
    return {
        name: (field.annotation, field) for name, field in Overrides.model_fields.items() if field.alias not in besides
    }


def wanted_overrides(settings: Settings) -> dict[str, str]:
    """What a call asks for; `auto` asks for nothing."""
    asked = {str(field.alias): getattr(settings, name, None) for name, field in Overrides.model_fields.items()}
    return {name: value for name, value in asked.items() if value not in (None, "auto")}


def generation_settings(node: Node, wanted: Mapping[str, str]) -> dict[str, str]:
    """What a generative step that does not say it itself is to make."""
    said = {to_camel(name) for name in node.settings}
    return {name: value for name, value in wanted.items() if node.tool.generative and name not in said}


def final_steps(last: Node, wanted: Mapping[str, str], refs: tuple[str, ...]) -> list[Step]:
    """Steps after which the picture has the shape and the size; none where nothing is wanted.

    Raises:
        InvalidSettings: The workflow makes no picture that could be cut or scaled.
    """
    if wanted and last.tool.output != "image":
        name = next(iter(wanted))
        raise InvalidSettings(f"{name!r} is for workflows that make a picture; {last.tool.id} makes none.", field=name)
    steps: list[Step] = []
    if ASPECT_RATIO in wanted:
        steps.append(Step("ratio", "crop", {"aspectRatio": wanted[ASPECT_RATIO]}, {"image": refs}))
        refs = (step_ref("ratio"),)
    if IMAGE_SIZE in wanted:
        side = LONGER_SIDE[wanted[IMAGE_SIZE]]
        steps.append(Step("size", "resize", {"width": side, "height": side, "fit": "inside"}, {"image": refs}))
    return steps
