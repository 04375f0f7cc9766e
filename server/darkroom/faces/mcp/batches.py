"""Which image of a workflow a call goes over, where it gives a list for one that is single."""

from collections.abc import Mapping
from typing import Any

from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import wire_names

__all__ = ["batch_of"]


def batch_of(tool: Tool, values: Mapping[str, Any], *, archive: bool = False) -> tuple[str | None, dict[str, Any]]:
    """The image that is given as a list though the workflow takes one, and the arguments of the call.

    `images` stands for the first image, unless the workflow has an input of that name. A list of one is no batch,
    unless its results are wanted in an archive.

    Raises:
        InvalidSettings: Two such images are lists.
    """
    names = {alias: image.name for image in tool.inputs for alias in (image.name, image.parameter)}
    arguments = {names.get(key, key): value for key, value in values.items()}
    if "images" in arguments and "images" not in names and "images" not in wire_names(tool.settings) and tool.inputs:
        arguments[tool.inputs[0].name] = arguments.pop("images")
    single = [image.name for image in tool.inputs if not image.many]
    lists = [name for name in single if isinstance(arguments.get(name), list)]
    if len(lists) > 1:
        raise InvalidSettings(
            f"{' and '.join(map(repr, lists))} are lists, but a batch goes over one image. Give the others as one "
            "picture each.",
            field=f"inputs.{lists[1]}",
        )
    if archive and not lists:
        lists = [name for name in single if name in arguments][:1]
        arguments |= {name: [arguments[name]] for name in lists}
    elif lists and len(arguments[lists[0]]) == 1 and not archive:
        [arguments[lists[0]]] = arguments[lists[0]]
        lists = []
    return (lists[0] if lists else None), arguments
