"""What a caller of a workflow hands in: its images, and a settings model with types, limits and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ConfigDict, create_model

from darkroom.workflows.document import WorkflowDocument, WorkflowInput
from darkroom.workflows.entries import Wording
from darkroom.workflows.graph import Graph, ImageUse
from darkroom.workflows.overrides import override_fields
from darkroom.workflows.problems import Problems, shown
from darkroom.workflows.references import Malformed, path_of, places
from darkroom.workflows.setting_input import SettingInput, Use, setting_input, words_of
from darkroom_tools.base import ImageInput
from darkroom_tools.settings import Settings, nearest

__all__ = ["Inputs", "inputs_of"]

RESERVED: Final = frozenset({"image", "images"})


class _WorkflowSettings(Settings):
    """Base of the settings of workflows: inputs answer to their own names only."""

    # Words are given with each field; looking for them in source text takes most of the time of making a model.
    model_config = ConfigDict(validate_by_name=False, use_attribute_docstrings=False)


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs of a workflow.

    Attributes:
        images: Its image parameters.
        settings: By id those that settings refer to.
        words: Of each image parameter what it shows, from the fullest form to the tersest.
        saved: Whether calls may also ask for shape and size of the result.
    """

    images: tuple[ImageInput, ...]
    settings: Mapping[str, SettingInput]
    words: Mapping[str, Sequence[str]]
    saved: bool

    def published(self, form: int) -> tuple[tuple[ImageInput, ...], type[Settings]]:
        """Image parameters and settings with their words: 0 for the fullest form, up to `FORMS`."""
        images = tuple(replace(each, description=self.words[each.name][form]) for each in self.images)
        # Field names of our own in Python, so that an input may be called `schema` or `copy`.
        fields: dict[str, Any] = {
            f"input_{n}": (each.annotation, each.field(each.words[form]))
            for n, each in enumerate(self.settings.values())
        }
        if self.saved:
            fields |= override_fields(besides=self.settings)
        return images, create_model("WorkflowInputs", __base__=_WorkflowSettings, **fields)

    def values(self, settings: Settings) -> dict[str, Any]:
        """What each reference stands for in a call; `OMITTED` for what was not given."""
        written = settings.model_dump(mode="json", by_alias=True)
        return {name: each.value(written[name]) for name, each in self.settings.items()}


def inputs_of(document: WorkflowDocument, graph: Graph, problems: Problems, wording: Wording) -> Inputs:
    """The inputs that the components refer to, declared or not."""
    uses = _uses(graph, problems, wording)
    refused = _refused(document, graph, uses, problems)
    _check_declared(document, [*graph.images, *uses, *refused], problems)
    images = tuple(_image(name, document, held, problems) for name, held in graph.images.items() if name not in refused)
    order = [
        *(name for name in document.inputs if name in uses),
        *(name for name in uses if name not in document.inputs),
    ]
    settings: dict[str, SettingInput] = {}
    for name in order:
        made = None if name in refused else setting_input(name, _declared(document, name), uses[name], problems)
        if made is not None:
            settings[name] = made
    words = {each.name: _image_words(_declared(document, each.name)) for each in images}
    return Inputs(images, settings, words, wording.saved)


def _declared(document: WorkflowDocument, name: str) -> WorkflowInput:
    return document.inputs.get(name) or WorkflowInput()


def _image_words(declared: WorkflowInput) -> list[str]:
    return words_of(declared, otherwise=declared.role)


def _uses(graph: Graph, problems: Problems, wording: Wording) -> dict[str, list[Use]]:
    """By input the settings that refer to it."""
    uses: dict[str, list[Use]] = {}
    for node in graph.nodes:
        for place in places(node.settings):
            path = path_of(f"{node.path}.settings", place.keys)
            if isinstance(place.reference, Malformed):
                text = f"{shown(place.reference.text)} is no reference."
                problems.add(path, f"{text} Write ${{{{ inputs.name }}}}.", got=place.reference.text)
            elif place.reference.kind == "inputs" and not wording.saved:
                problems.add(path, f"refers to input {place.reference.name!r}; give a value here.")
            elif place.reference.kind == "inputs":
                uses.setdefault(place.reference.name, []).append(Use(node, place.keys, place.whole))
    return uses


def _refused(
    document: WorkflowDocument, graph: Graph, uses: Mapping[str, Sequence[Use]], problems: Problems
) -> set[str]:
    """Inputs that stand where their kind has no place: a picture in a setting, or anything else for a picture."""
    refused = set()
    for name, held in uses.items():
        declared = _declared(document, name)
        if name in graph.images or declared.type == "image":
            refused.add(name)
            for use in held:
                problems.add(use.path, f"input {name!r} is an image, and this is no image parameter.", got=name)
        elif name in RESERVED:
            refused.add(name)
            problems.add(held[0].path, f"an input of a setting cannot be named {name!r}; those are images.", got=name)
    for name, fed in graph.images.items():
        declared = _declared(document, name)
        if declared.type not in (None, "image"):
            refused.add(name)
            for place in fed:
                text = f"a picture goes here, but input {name!r} is declared as {declared.type}."
                problems.add(place.path, text, got=declared.type, allowed=["image"])
    return refused


def _check_declared(document: WorkflowDocument, known: Sequence[str], problems: Problems) -> None:
    for name, declared in document.inputs.items():
        if name in known:
            continue
        near = nearest(name, [other for other in known if other not in document.inputs])
        where = "for a picture" if declared.type == "image" else "in a setting"
        hint = f"Did you mean {near!r}?" if near else f"Use ${{{{ inputs.{name} }}}} {where}, or remove it."
        problems.add(f"inputs.{name}", f"it feeds nothing. {hint}", nearest=near)


def _image(name: str, document: WorkflowDocument, uses: Sequence[ImageUse], problems: Problems) -> ImageInput:
    declared = _declared(document, name)
    if declared.default is not None or declared.options:
        text = "an image has no default and no options. With 'required': false a call may leave it out."
        problems.add(f"inputs.{name}", text)
    many = _many(name, document, uses)
    for use in uses:
        _check_image_use(name, declared, use, problems, many=many)
    counts = [use.parameter.least - sum(each.name != name for each in use.sources) for use in uses]
    mosts = [use.parameter.most - len(use.sources) + 1 for use in uses if use.parameter.most is not None]
    return ImageInput(
        name,
        name,
        many=many,
        required=declared.required is not False,
        as_file=all(use.parameter.as_file for use in uses),
        least=max(1, *counts) if many else 1,
        most=max(1, min(mosts)) if many and mosts else None,
    )


def _many(name: str, document: WorkflowDocument, uses: Sequence[ImageUse]) -> bool:
    """Whether it is a list: as declared, else where a whole list parameter is what it feeds."""
    declared = document.inputs.get(name)
    if declared is not None:
        return declared.many
    return all(use.parameter.many and len(use.sources) == 1 and use.whole for use in uses)


def _check_image_use(name: str, declared: WorkflowInput, use: ImageUse, problems: Problems, *, many: bool) -> None:
    wanted = use.parameter
    if many and not wanted.many:
        text = f"{wanted.name!r} takes one picture, but input {name!r} is a list of pictures."
        problems.add(use.path, text)
    if declared.required is False and wanted.required:
        text = f"{wanted.name!r} is required, but input {name!r} may be left out. Make the input required."
        if not wanted.many or len(use.sources) <= wanted.least:
            problems.add(use.path, text)
