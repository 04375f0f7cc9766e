"""What a workflow asks of its caller, in a form that every catalogue is rendered from."""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from darkroom.workflows.document import WorkflowInput
from darkroom.workflows.fields import Bounds, Kind, kind_of
from darkroom.workflows.overrides import override_fields
from darkroom.workflows.service import Saved
from darkroom_tools.settings import Settings

__all__ = ["Choice", "Field", "FieldKind", "Picture", "argument_of", "fields_of", "pictures_of"]

FieldKind = Literal["text", "number", "boolean", "color", "choice", "switch"]

YES_NO: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "on", "yes", "1"), True),
    **dict.fromkeys(("false", "off", "no", "0"), False),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a caller hands in.

    Attributes:
        id: Its wire name.
        title: For people; from the id if the document has none.
        description: What it should show.
        role: Such as person or clothes.
        required: Whether a call must have it.
        many: Whether it is a list.
    """

    id: str
    title: str
    description: str
    role: str
    required: bool
    many: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the values that a field may have.

    Attributes:
        id: What a caller sends.
        label: What a person reads.
        value: What a call has in its place: the id, but a number where the setting takes numbers.
    """

    id: str
    label: str
    value: str | float


@dataclass(frozen=True, slots=True)
class Field:
    """Anything else that a caller hands in.

    Attributes:
        id: Its wire name.
        title: For people; from the id if the document has none.
        description: What it is for.
        kind: What it holds; with `choices`, a caller sends one of their ids. A switch has choices, one that is only on
            or off is a boolean.
        required: Whether a call must have it.
        default: What it is otherwise, as a caller would send it; None for nothing.
        minimum: Least number.
        maximum: Greatest number.
        max_length: Most characters of a text.
        choices: The values there are; empty where it is free.
        multiple: Whether several choices may be sent, as a list.
        structured: Whether it is a text that holds a JSON array or object.
    """

    id: str
    title: str
    description: str
    kind: FieldKind
    required: bool
    default: Any
    minimum: float | None
    maximum: float | None
    max_length: int | None
    choices: Sequence[Choice] = ()
    multiple: bool = False
    structured: bool = False


def pictures_of(saved: Saved) -> Sequence[Picture]:
    """The pictures that a workflow takes, in order; none of one that no longer compiles."""
    if saved.tool is None:
        return []
    pictures = []
    for image in saved.tool.inputs:
        declared = saved.document.inputs.get(image.name) or WorkflowInput()
        says = declared.description or ("" if declared.title else image.description)
        title = declared.title or _title(image.name)
        pictures.append(Picture(image.name, title, says, declared.role, image.required, image.many))
    return pictures


def fields_of(saved: Saved) -> Sequence[Field]:
    """All else that it takes, in order, declared or taken from the settings that it feeds; without the overrides of
    shape and size. Nothing of one that no longer compiles."""
    if saved.tool is None:
        return []
    declared, taken = saved.document.inputs, _taken(saved.tool.settings)
    return [_field(name, declared.get(name) or WorkflowInput(), *each) for name, each in taken.items()]


def argument_of(field: Field, sent: Any) -> Any:
    """What a call has for a field, where its caller could only send texts: `"800"` is 800 for a number.

    What fits nothing stays as it came, for the call to refuse in words of its own.
    """
    if isinstance(sent, list):
        return [argument_of(field, each) for each in sent]
    if not isinstance(sent, str):
        return sent
    if field.choices:
        return next((choice.value for choice in field.choices if choice.id == sent), sent)
    if field.kind == "boolean":
        return YES_NO.get(sent.strip().lower(), sent)
    if field.kind == "number" or field.structured:
        return _parsed(sent, (list, dict) if field.structured else (int, float))
    return sent


@functools.lru_cache(maxsize=256)
def _taken(settings: type[Settings]) -> Mapping[str, tuple[FieldInfo, Kind]]:
    """By wire name the settings of a workflow that are its inputs, with what each takes."""
    overrides = override_fields(besides=())
    inputs = [source for name, source in settings.model_fields.items() if name not in overrides]
    return {str(source.alias): (source, _offered(kind_of(source))) for source in inputs}


def _offered(kind: Kind) -> Kind:
    """The kind without values that it only knows to refuse them in better words, such as `heic`."""
    return replace(kind, values=tuple(value for value in kind.values if kind.takes(value)))


def _field(name: str, declared: WorkflowInput, source: FieldInfo, kind: Kind) -> Field:
    choices = _choices(declared, kind)
    what = _kind(declared, kind)
    numeric = what == "number" and not choices
    default = None if source.default is PydanticUndefined else to_jsonable_python(source.default)
    if choices and default is not None and not isinstance(default, list):
        default = next((choice.id for choice in choices if choice.value == default), default)
    return Field(
        id=name,
        title=declared.title or _title(name),
        description=declared.description or _inherited(declared, source),
        kind=what,
        required=source.is_required(),
        default=default,
        minimum=_minimum(kind.bounds, whole="number" not in kind.types) if numeric else None,
        maximum=_maximum(kind.bounds, whole="number" not in kind.types) if numeric else None,
        max_length=kind.bounds.longest if what == "text" and "string" in kind.types and not choices else None,
        choices=choices,
        multiple=bool(declared.options) and "array" in kind.types,
        structured=what == "text" and not choices and "string" not in kind.types,
    )


def _inherited(declared: WorkflowInput, source: FieldInfo) -> str:
    """What the setting says of itself, where the author says nothing; with options it would only repeat their labels."""
    return "" if declared.title or declared.options else source.description or ""


def _choices(declared: WorkflowInput, kind: Kind) -> list[Choice]:
    if declared.options:
        return [Choice(each.option_id, each.label or each.option_id, each.option_id) for each in declared.options]
    return [Choice(str(value), str(value), value) for value in kind.values]


def _kind(declared: WorkflowInput, kind: Kind) -> FieldKind:
    if declared.options or kind.values:
        return "choice" if declared.type is None or declared.type == "image" else declared.type
    if "string" in kind.types:
        return "color" if kind.takes("#0A0B0C") and not kind.takes("colour") else "text"
    if kind.types & {"number", "integer"}:
        return "number"
    return "boolean" if kind.types == {"boolean"} else "text"


def _minimum(bounds: Bounds, *, whole: bool) -> float | None:
    """The least number; nothing is said where it only has to be more than one that has a fraction."""
    if bounds.low is None or (bounds.low[1] and not whole):
        return None
    low, excluded = bounds.low
    return math.floor(low) + 1 if excluded else math.ceil(low) if whole else _short(low)


def _maximum(bounds: Bounds, *, whole: bool) -> float | None:
    if bounds.high is None or (bounds.high[1] and not whole):
        return None
    high, excluded = bounds.high
    return math.ceil(high) - 1 if excluded else math.floor(high) if whole else _short(high)


def _short(number: float) -> float:
    return int(number) if number == int(number) else number


def _parsed(text: str, wanted: tuple[type, ...]) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, wanted) and not isinstance(value, bool) else text


def _title(name: str) -> str:
    """`afterLabel` as people write it: After label."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()
    said = " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)
    return said[:1].upper() + said[1:]
