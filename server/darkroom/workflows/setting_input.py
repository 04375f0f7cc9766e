"""One input that settings refer to: its type, limits, options, default and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import GenericAlias
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from darkroom.workflows.document import InputType, Option, WorkflowInput
from darkroom.workflows.fields import Bounds, Clash, Fed, Kind, both, default_of, field_at, joined, kind_of, named
from darkroom.workflows.graph import Node
from darkroom.workflows.problems import Problems, shown
from darkroom.workflows.references import OMITTED, Keys, path_of
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.color import CheckedColor
from darkroom_tools.settings import nearest

__all__ = ["FORMS", "SettingInput", "Use", "setting_input", "words_of"]

LONGEST_TEXT: Final = 2_000
LONGEST_WORDS: Final = 120
LONGEST_LABELS: Final = 160
PUBLISHED_OPTIONS: Final = 25
FORMS: Final = 3
NUMBERS: Final = frozenset({"integer", "number"})
TYPES: Final[Mapping[str, frozenset[str]]] = {
    "text": frozenset({"string"}),
    "color": frozenset({"string"}),
    "number": NUMBERS,
    "boolean": frozenset({"boolean"}),
    "switch": frozenset({"boolean"}),
}
"""JSON types that a declared type without options stands for; a choice takes what its setting has to choose from."""


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
        annotation: The same as pydantic takes it; with None where it may be left out.
        default: What counts where a call does not give it: `PydanticUndefined` if it must, None if it is left out.
        words: What it is, from the fullest form to the tersest.
        uses: Where it goes.
        values: Of an input with options what each of their ids stands for.
    """

    name: str
    kind: Kind
    annotation: Any
    default: Any
    words: Sequence[str]
    uses: Sequence[Use]
    values: Mapping[str, Any] | None = None

    def field(self, words: str) -> FieldInfo:
        """As pydantic takes it, with those words."""
        field: FieldInfo = Field(
            default=self.default, alias=self.name, description=words or None, validate_default=self.default is not None
        )
        return field

    def value(self, written: Any) -> Any:
        """What a reference stands for, from what the caller wrote."""
        if written is None:
            return OMITTED
        if self.values is None:
            return written
        return [self.values[each] for each in written] if isinstance(written, list) else self.values[written]


def setting_input(name: str, declared: WorkflowInput, uses: Sequence[Use], problems: Problems) -> SettingInput | None:
    """The input as the document declares it and as the settings that it feeds take it; None if they disagree."""
    sources = [(use, field_at(use.node.model, use.keys)) for use in uses if use.whole]
    feeds = [Fed(use.path, kind_of(source), source) for use, source in sources if source is not None]
    path = f"inputs.{name}"
    if declared.options:
        kind = _option_kind(name, declared, feeds, problems)
    else:
        kind = _kind(path, declared, feeds, uses, problems)
    if kind is None:
        return None
    values = {each.option_id: _stands_for(each) for each in declared.options} if declared.options else None
    default = _default(path, declared, kind, feeds, values, problems)
    inherited = feeds[0].source.description or "" if feeds else ""
    labels = _labels(declared.options)
    words = [
        ". ".join(each for each in (said, labels[n]) if each) for n, said in enumerate(words_of(declared, inherited))
    ]
    annotation = kind.annotated() | None if default is None else kind.annotated()
    return SettingInput(name, kind, annotation, default, words, uses, values)


def words_of(declared: WorkflowInput, otherwise: str = "") -> list[str]:
    """What the author says of an input, or `otherwise`: cleaned, from the fullest form to the tersest."""
    title, more = _line(declared.title), _line(declared.description)
    if not title and not more:
        return [_line(otherwise)] * FORMS
    return [_line(": ".join(each for each in (title, more) if each)), *[title or more] * (FORMS - 1)]


def _line(text: str, limit: int = LONGEST_WORDS) -> str:
    return " ".join(clean_text(text, limit).split())


def _labels(options: Sequence[Option]) -> list[str]:
    """The labels that say more than the ids, as far as they fit; the tersest form has none."""
    told = [each for each in options if each.label and each.label.casefold() != each.option_id.casefold()]
    said = ", ".join(f"{each.option_id}: {_line(each.label, 40)}" for each in told[:PUBLISHED_OPTIONS])
    return [*[_line(said, LONGEST_LABELS)] * (FORMS - 1), ""]


def _stands_for(option: Option) -> Any:
    return option.option_id if option.value is None else option.value


def _kind(
    path: str, declared: WorkflowInput, feeds: Sequence[Fed], uses: Sequence[Use], problems: Problems
) -> Kind | None:
    if declared.type in ("choice", "switch") and not _decided(declared.type, feeds):
        problems.add(f"{path}.options", f'a {declared.type} needs options, such as {{"optionId": "soft"}}.')
        return None
    try:
        kind = joined(feeds) if feeds else _free_kind(declared.type)
    except Clash as clash:
        text = f"feeds {clash.first.path} and {clash.second.path}, but {clash.why}. Use two inputs."
        problems.add(path, text, settings=[clash.first.path, clash.second.path])
        return None
    wanted = TYPES.get(declared.type or "", kind.types)
    if not (wanted & kind.types or (wanted == NUMBERS and NUMBERS & kind.types)):
        where = feeds[0].path if feeds else uses[0].path
        taken = named(kind.types)
        problems.add(f"{path}.type", f"is {shown(declared.type)}, but {where} takes {taken}.", got=declared.type)
        return None
    if declared.type in TYPES and not kind.types <= wanted:
        kind = both(_free_kind(declared.type), kind)
    return _narrowed(path, declared, kind, problems)


def _decided(type: Literal["choice", "switch"], feeds: Sequence[Fed]) -> bool:
    """Whether the settings that it feeds say what there is to choose."""
    if type == "choice":
        return any(feed.kind.values for feed in feeds)
    return bool(feeds) and all("boolean" in feed.kind.types for feed in feeds)


def _free_kind(type: InputType | None) -> Kind:
    """What an input of a type takes by itself, such as one that stands inside texts only."""
    if type == "number":
        return Kind(float, types=frozenset({"number"}))
    if type in ("boolean", "switch"):
        return Kind(bool, types=frozenset({"boolean"}))
    if type == "color":
        return kind_of(FieldInfo.from_annotation(CheckedColor))
    return Kind(str, Bounds(longest=LONGEST_TEXT), types=frozenset({"string"}))


def _narrowed(path: str, declared: WorkflowInput, kind: Kind, problems: Problems) -> Kind | None:
    """The kind within the declared limits; those of the settings hold too."""
    numeric = Bounds(
        low=None if declared.minimum is None else (declared.minimum, False),
        high=None if declared.maximum is None else (declared.maximum, False),
    )
    if numeric != Bounds() and not NUMBERS & kind.types:
        problems.add(path, f"only a number has a minimum and a maximum, but it takes {named(kind.types)}.")
        return None
    if declared.max_length is not None and "string" not in kind.types:
        problems.add(f"{path}.maxLength", f"only a text has a length, but it takes {named(kind.types)}.")
        return None
    if kind.values:
        left = tuple(value for value in kind.values if numeric == Bounds() or Kind(float, numeric).takes(value))
        narrowed = kind if left == kind.values else replace(kind, annotation=Literal[left], values=left, rest=())
    else:
        narrowed = replace(kind, bounds=kind.bounds.narrowed(replace(numeric, longest=declared.max_length)))
    if narrowed.bounds.empty or (kind.values and not narrowed.values):
        problems.add(path, "no value is left between its own limits and those of the setting that it feeds.")
        return None
    return narrowed


def _option_kind(name: str, declared: WorkflowInput, feeds: Sequence[Fed], problems: Problems) -> Kind | None:
    """What an input with options takes: their ids."""
    path = f"inputs.{name}"
    if declared.multiple and declared.type not in (None, "switch"):
        problems.add(f"{path}.multiple", "only a switch may have several options on.", got=declared.type)
    seen: set[str] = set()
    for n, option in enumerate(declared.options):
        if option.option_id in seen:
            problems.add(f"{path}.options[{n}].optionId", f"{shown(option.option_id)} is there twice.")
        seen.add(option.option_id)
        value = _stands_for(option)
        for feed in feeds:
            refusal = feed.kind.refusal([value] if declared.multiple else value)
            if refusal is not None:
                what = f"{shown(value)} does not fit {feed.path}: {refusal}"
                problems.add(f"{path}.options[{n}].value", f"{what.rstrip('.')}.", got=shown(value))
    one = _one_of(name, declared.options)
    if declared.multiple:
        return Kind(GenericAlias(list, (one,)), types=frozenset({"array"}))
    return Kind(one, types=frozenset({"string"}))


def _one_of(name: str, options: Sequence[Option]) -> Any:
    """A string that must be one of the ids, with all of them in the error."""
    ids = [option.option_id for option in options]
    schema = {"type": "string", **({"enum": ids} if len(ids) <= PUBLISHED_OPTIONS else {})}

    def check(value: str) -> str:
        if value in ids:
            return value
        by_label = {option.label.casefold(): option.option_id for option in options if option.label}
        near = by_label.get(value.casefold()) or nearest(value, ids)
        hint = f" Did you mean {near!r}?" if near else ""
        known = ", ".join(
            _line(f"{each.option_id} ({each.label})" if each.label else each.option_id) for each in options
        )
        raise InvalidSettings(
            f"{name!r} should be an optionId, but got {shown(value)}.{hint} There are: {known}.",
            field=name,
            got=clean_text(value, 60),
            allowed=ids,
            nearest=near,
        )

    return Annotated[str, AfterValidator(check), WithJsonSchema(schema)]


def _default(
    path: str,
    declared: WorkflowInput,
    kind: Kind,
    feeds: Sequence[Fed],
    values: Mapping[str, Any] | None,
    problems: Problems,
) -> Any:
    """The default of the document, else that of the settings, where it is within the limits."""
    if declared.default is not None:
        refusal = kind.refusal(declared.default)
        if refusal is not None:
            problems.add(f"{path}.default", f"{refusal.rstrip('.')}.", got=shown(declared.default))
            return PydanticUndefined
        return declared.default
    inherited = default_of(feeds) if feeds and declared.required is not True else PydanticUndefined
    if values is not None and inherited not in (None, PydanticUndefined):
        inherited = next((option for option, value in values.items() if value == inherited), PydanticUndefined)
    elif inherited is not None and inherited is not PydanticUndefined and not kind.takes(inherited):
        inherited = PydanticUndefined
    return None if inherited is PydanticUndefined and declared.required is False else inherited
