"""What a form of Nextry asks for: a workflow by tool and generation type, and the arguments of its call."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from darkroom.faces.rest.common import facts_of, workflow_uuid
from darkroom.forms import Form
from darkroom.workflows.described import Picture, argument_of, fields_of, pictures_of
from darkroom.workflows.service import Saved
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import nearest

__all__ = ["arguments_of", "by_tool", "chosen_from", "types_of"]

DEFAULT: Final = "default"
"""The tool of all workflows that stand for no feature."""

ORDER: Final = (
    *("lego_clothes", "mamasfit", "lengerie", "fashion_card", "fashion_swap", "fashion_swap_half"),
    *("furniture", "fabric", DEFAULT),
)
"""How tools are listed; `lengerie` is how the original spells it."""

SPELLED: Final = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
PLAIN_NAMES: Final = ("image", "images", "file")
"""Fields that mean the picture of a workflow that takes only one."""


def by_tool(every: Sequence[Saved]) -> dict[str, list[Saved]]:
    """Workflows by tool, in order; first of each what stands for it, so that it is what a generation takes."""
    found: dict[str, list[Saved]] = {tool: [] for tool in ORDER}
    for saved in sorted(every, key=lambda saved: "feature" not in facts_of(saved)):
        found.setdefault(facts_of(saved).get("feature", DEFAULT), []).append(saved)
    return {tool: types for tool, types in found.items() if types}


def types_of(found: Mapping[str, Sequence[Saved]], tool: str) -> Sequence[Saved]:
    """The workflows of a tool.

    Raises:
        InvalidSettings: There is no such tool; with the nearest one.
    """
    if tool in found:
        return found[tool]
    near = nearest(tool[:60], list(found))
    hint = f" Did you mean {near!r}?" if near else ""
    raise InvalidSettings(
        f"There is no tool {tool[:60]!r}.{hint} There are {', '.join(found)}.", field="tool", nearest=near
    )


def chosen_from(found: Mapping[str, Sequence[Saved]], tool: str, wanted: str) -> Saved:
    """The workflow that a generation runs: of that generation type, the tool's first one without it.

    Raises:
        InvalidSettings: There is no such tool, or it has no such type.
    """
    if not tool:
        raise InvalidSettings(f"The form needs the field 'tool'. There are {', '.join(found)}.", field="tool")
    types = types_of(found, tool)
    if not wanted:
        return types[0]
    for saved in types:
        if workflow_uuid(saved) == wanted.lower():
            return saved
    raise InvalidSettings(
        f"{tool} has no generation type {wanted[:60]!r}. GET /generation/generationTypes?tool={tool} lists all.",
        field="generation_type",
    )


def arguments_of(saved: Saved, form: Form) -> dict[str, Any]:
    """The arguments of a call: pictures by what they are called or show, and all else as settings.

    Raises:
        InvalidSettings: A picture has no place; what the settings are, the call judges.
    """
    pictures, fields = pictures_of(saved), {field.id: field for field in fields_of(saved)}
    given: dict[str, list[Any]] = {}
    for part in form.files:
        given.setdefault(_picture_for(pictures, part.field, given), []).append(part.came)
    arguments: dict[str, Any] = {}
    for name, texts in form.fields.items():
        if name in fields:
            several = fields[name].multiple or len(texts) > 1
            arguments[name] = argument_of(fields[name], list(texts) if several else texts[0])
        elif _fitting(pictures, name):
            for text in texts:
                given.setdefault(_picture_for(pictures, name, given), []).append(text)
        elif name not in ("tool", "generation_type"):
            arguments[SPELLED.get(name, name)] = texts[-1]
    many = {picture.id: picture.many for picture in pictures}
    return arguments | {name: values if many[name] else values[0] for name, values in given.items()}


def _fitting(pictures: Sequence[Picture], name: str) -> list[Picture]:
    """The pictures that a field may mean, the one of that very name first."""
    wanted = name.removesuffix("[]")
    named = [each for each in pictures if each.id == wanted]
    shown = [each for each in pictures if each.role == wanted and each not in named]
    return [*named, *shown] or (list(pictures) if len(pictures) == 1 and wanted in PLAIN_NAMES else [])


def _picture_for(pictures: Sequence[Picture], name: str, given: Mapping[str, Sequence[Any]]) -> str:
    """Where the next picture of a field goes: the first place for it that has room."""
    fitting = _fitting(pictures, name)
    free = next((each.id for each in fitting if each.many or each.id not in given), None)
    if free is not None:
        return free
    known = ", ".join(dict.fromkeys(each.role or each.id for each in pictures)) or "none"
    said = f"takes {len(fitting)}, but more came" if fitting else "is no picture of this generation type"
    raise InvalidSettings(f"{name[:60]!r} {said}. Its pictures: {known}.", field=name[:60])
