"""What a caller of a workflow hands in: its images, and a settings model with types, limits and words."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ConfigDict, Field, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from darkroom.workflows.document import WorkflowDocument, WorkflowInput
from darkroom.workflows.fields import Bounds, Clash, Fed, Kind, default_of, field_at, joined, kind_of
from darkroom.workflows.graph import Graph, ImageUse, Node, Wording
from darkroom.workflows.options import listed, option_kind
from darkroom.workflows.overrides import override_fields
from darkroom.workflows.problems import Problems, shown
from darkroom.workflows.references import OMITTED, Keys, Malformed, path_of, places
from darkroom_tools.base import ImageInput
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.color import CheckedColor
from darkroom_tools.settings import Settings, nearest

__all__ = ["Inputs", "SettingInput", "Use", "inputs_of", "words_of"]

RESERVED: Final = frozenset({"image", "images"})
LONGEST_TEXT: Final = 2_000
LONGEST_WORDS: Final = 120
ANSWERING: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"string"}),
    "color": frozenset({"string"}),
    "number": frozenset({"integer", "number"}),
    "boolean": frozenset({"boolean"}),
}
"""JSON types that a declared type stands for."""


class _WorkflowSettings(Settings):
    """Base of the settings of workflows: inputs answer to their own names only."""

    model_config = ConfigDict(validate_by_name=False)


@dataclass(frozen=True, slots=True)
class Use:
    """A setting that refers to an input.

    Attributes:
        node: The component.
        keys: Where in its settings.
        whole: Whether the input is the whole value.
    """

    node: Node
    keys: Keys
    whole: bool

    @property
    def path(self) -> str:
        """Where in the document."""
        return path_of(f"{self.node.path}.settings", self.keys)


@dataclass(frozen=True, slots=True)
class SettingInput:
    """An input that settings refer to.

    Attributes:
        name: Its id.
        kind: What it takes.
        field: As pydantic takes it.
        uses: Where it goes.
        values: Of an input with options what each of their ids stands for.
    """

    name: str
    kind: Kind
    field: FieldInfo
    uses: Sequence[Use]
    values: Mapping[str, Any] | None = None

    def value(self, written: Any) -> Any:
        """What a reference stands for, from what the caller wrote."""
        if written is None:
            return OMITTED
        if self.values is None:
            return written
        return [self.values[each] for each in written] if isinstance(written, list) else self.values[written]


@dataclass(frozen=True, slots=True)
class Inputs:
    """All inputs of a workflow.

    Attributes:
        images: Its image parameters.
        settings: By id those that settings refer to.
        model: What a call's settings must satisfy.
    """

    images: tuple[ImageInput, ...]
    settings: Mapping[str, SettingInput]
    model: type[Settings] = field(default=_WorkflowSettings)

    def values(self, settings: Settings) -> dict[str, Any]:
        """What each reference stands for in a call; `OMITTED` for what was not given."""
        written = settings.model_dump(mode="json", by_alias=True)
        return {name: each.value(written[name]) for name, each in self.settings.items()}


def inputs_of(document: WorkflowDocument, graph: Graph, problems: Problems, wording: Wording) -> Inputs:
    """The inputs that the components refer to, declared or not."""
    uses = _uses(graph, problems, wording)
    _check_kinds(document, graph, uses, problems)
    _check_declared(document, graph, uses, problems)
    images = tuple(_image(name, document, graph.images[name], problems) for name in graph.images)
    order = [name for name in document.inputs if name in uses] + [name for name in uses if name not in document.inputs]
    found = [_setting(name, document.inputs.get(name), uses[name], problems) for name in order]
    settings = {each.name: each for each in found if each is not None}
    return Inputs(images, settings, _model(settings, saved=wording.saved))


def _model(settings: Mapping[str, SettingInput], *, saved: bool) -> type[Settings]:
    # Field names of Python's own, so that an input may be called `schema` or `copy`.
    fields: dict[str, Any] = {
        f"input_{n}": (each.field.annotation, each.field) for n, each in enumerate(settings.values())
    }
    if saved:
        fields |= {name: made for name, made in override_fields().items() if made[1].alias not in settings}
    return create_model("WorkflowInputs", __base__=_WorkflowSettings, **fields)


def _uses(graph: Graph, problems: Problems, wording: Wording) -> dict[str, list[Use]]:
    """By input name the settings that refer to it."""
    uses: dict[str, list[Use]] = {}
    for node in graph.nodes:
        for place in places(node.settings):
            path = path_of(f"{node.path}.settings", place.keys)
            if isinstance(place.reference, Malformed):
                said = "Write ${{ inputs.name }}; ${{ steps.id.image }} goes where a picture does."
                problems.add(path, f"{shown(place.reference.text)} is no reference. {said}", got=place.reference.text)
            elif place.reference.kind == "inputs" and not wording.saved:
                problems.add(path, f"refers to input {place.reference.name!r}; give a value here.")
            elif place.reference.kind == "inputs":
                uses.setdefault(place.reference.name, []).append(Use(node, place.keys, place.whole))
    return uses


def _check_kinds(
    document: WorkflowDocument, graph: Graph, uses: dict[str, list[Use]], problems: Problems
) -> None:
    """A picture feeds image parameters only, and nothing else does."""
    for name in [*uses]:
        declared = document.inputs.get(name)
        if name in graph.images or (declared is not None and declared.type == "image"):
            for use in uses.pop(name):
                problems.add(use.path, f"input {name!r} is an image, and this is no image parameter.", got=name)
        elif name in RESERVED:
            problems.add(uses.pop(name)[0].path, f"an input of a setting cannot be named {name!r}; it is for images.")
    for name in [*graph.images]:
        declared = document.inputs.get(name)
        if declared is not None and declared.type not in (None, "image"):
            for use in graph.images.pop(name):
                text = f"a picture goes here, but input {name!r} is a {declared.type}."
                problems.add(use.path, f"{text} Declare it with type 'image'.", got=declared.type, allowed=["image"])


def _check_declared(
    document: WorkflowDocument, graph: Graph, uses: Mapping[str, list[Use]], problems: Problems
) -> None:
    known = [*graph.images, *uses]
    for name, declared in document.inputs.items():
        if name in known or _refused(name, problems):
            continue
        undeclared = [other for other in known if other not in document.inputs]
        near = nearest(name, undeclared)
        where = "as an image" if declared.type == "image" else "in a setting"
        hint = f"Did you mean {near!r}?" if near else f"Use ${{{{ inputs.{name} }}}} {where}, or remove it."
        problems.add(f"inputs.{name}", f"feeds nothing. {hint}", nearest=near)


def _refused(name: str, problems: Problems) -> bool:
    return any(f"input {name!r}" in error.message for error in problems.all)


def _image(name: str, document: WorkflowDocument, uses: Sequence[ImageUse], problems: Problems) -> ImageInput:
    declared = document.inputs.get(name) or WorkflowInput(type="image")
    path = f"inputs.{name}"
    required = declared.required is not False
    many = declared.many or (name not in document.inputs and all(use.parameter.many for use in uses) and _alone(uses))
    if declared.default is not None or declared.options:
        problems.add(path, "an image has no default and no options; 'required': false lets a call leave it out.")
    least, most = 1, None
    for use in uses:
        others = [source for source in use.sources if source.name != name]
        if not many and use.parameter.many:
            continue
        if many and not use.parameter.many:
            text = f"{use.parameter.name!r} takes one picture, but input {name!r} is a list."
            problems.add(use.path, f"{text} Leave out 'many', or use it in a list.")
        least = max(least, use.parameter.least - len(others))
    for use in uses:
        if not required and use.parameter.required and len(use.sources) <= max(1, use.parameter.least):
            text = f"{use.parameter.name!r} is required, but input {name!r} may be left out."
            problems.add(use.path, f"{text} Make the input required.")
    return ImageInput(
        name,
        name,
        many=many,
        required=required,
        as_file=all(use.parameter.as_file for use in uses),
        least=least if many else 1,
        most=most,
        description=words_of(declared, role=True),
    )


def _alone(uses: Sequence[ImageUse]) -> bool:
    return all(len(use.sources) == 1 for use in uses)


def words_of(declared: WorkflowInput, *, role: bool = False) -> str:
    """What the author says of an input, cleaned and short; empty if nothing."""
    said = [declared.title or (declared.role if role else ""), declared.description]
    return ": ".join(_line(each, LONGEST_WORDS) for each in said if each.strip())[:LONGEST_WORDS]


def _line(text: str, limit: int) -> str:
    return " ".join(clean_text(text, limit).split())


def _setting(
    name: str, declared: WorkflowInput | None, uses: Sequence[Use], problems: Problems
) -> SettingInput | None:
    declared = declared or WorkflowInput()
    sources = [(use, field_at(use.node.model, use.keys)) for use in uses if use.whole]
    feeds = [Fed(use.path, kind_of(source), source) for use, source in sources if source is not None]
    kind, values = _kind(name, declared, feeds, uses, problems)
    if kind is None:
        return None
    default = _default(name, declared, kind, feeds, values, problems)
    words = words_of(declared) or (_line(feeds[0].source.description or "", LONGEST_WORDS) if feeds else "")
    if declared.options:
        words = "; ".join(each for each in (words, listed(declared.options)) if each)
    optional = default is None
    annotation = kind.annotated() | None if optional else kind.annotated()
    made = Field(default=default, alias=name, description=words or None, validate_default=not optional)
    made = copy(made)
    made.annotation = annotation
    return SettingInput(name, kind, made, uses, values)


def _kind(
    name: str, declared: WorkflowInput, feeds: Sequence[Fed], uses: Sequence[Use], problems: Problems
) -> tuple[Kind | None, Mapping[str, Any] | None]:
    """What the input takes; with options, what each of them stands for."""
    path = f"inputs.{name}"
    if declared.options:
        return option_kind(name, declared, feeds, problems)
    if declared.type in ("switch", "choice") and not any(feed.kind.values for feed in feeds):
        if declared.type == "choice" or not any("boolean" in feed.kind.types for feed in feeds):
            problems.add(f"{path}.options", f"a {declared.type} needs options: [{{\"optionId\": …, \"label\": …}}].")
            return None, None
    try:
        kind = joined(feeds) if feeds else _declared_kind(declared)
    except Clash as clash:
        text = f"feeds {clash.first.path} and {clash.second.path}, but {clash.why}. Use two inputs."
        problems.add(path, text, settings=[clash.first.path, clash.second.path])
        return None, None
    answering = ANSWERING.get(declared.type or "", kind.types)
    numbers = {"integer", "number"}
    if not (answering & kind.types or (answering <= numbers and numbers & kind.types)):
        where = feeds[0].path if feeds else uses[0].path
        text = f"is a {declared.type}, but {where} takes {' or '.join(sorted(kind.types))}."
        problems.add(f"{path}.type", text, got=declared.type, allowed=sorted(kind.types))
        return None, None
    return _narrowed(path, declared, kind, problems), None


def _declared_kind(declared: WorkflowInput) -> Kind:
    if declared.type == "number":
        return Kind(float, types=frozenset({"number"}))
    if declared.type in ("boolean", "switch"):
        return Kind(bool, types=frozenset({"boolean"}))
    if declared.type == "color":
        return kind_of(FieldInfo.from_annotation(CheckedColor))
    return Kind(str, Bounds(longest=LONGEST_TEXT), types=frozenset({"string"}))


def _narrowed(path: str, declared: WorkflowInput, kind: Kind, problems: Problems) -> Kind | None:
    """The kind within the declared limits."""
    own = Bounds(
        low=None if declared.minimum is None else (declared.minimum, False),
        high=None if declared.maximum is None else (declared.maximum, False),
        longest=declared.max_length,
    )
    if own == Bounds():
        return kind
    if "string" not in kind.types and own.longest is not None:
        problems.add(f"{path}.maxLength", f"only a text has a length; this takes {' or '.join(sorted(kind.types))}.")
        return None
    if not kind.types & {"integer", "number"} and (own.low or own.high):
        problems.add(path, f"only a number has a minimum and a maximum; this takes {' or '.join(sorted(kind.types))}.")
        return None
    if kind.values:
        left = tuple(value for value in kind.values if Kind(float, own).takes(value))
        return joined([]) if False else kind if left == kind.values else _chosen(path, kind, left, problems)
    bounds = kind.bounds.narrowed(own)
    if bounds.empty:
        problems.add(path, "no value is left between its limits and those of the setting that it feeds.")
        return None
    return Kind(kind.annotation, bounds, kind.rest, kind.types)
