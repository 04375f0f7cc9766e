"""What an input takes: the type and the limits of the settings that it feeds, joined into one field."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import AfterValidator, BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticUndefined

from darkroom_tools.errors import DarkroomError

__all__ = ["Bounds", "Clash", "Fed", "Kind", "both", "default_of", "field_at", "joined", "kind_of", "named"]


class Clash(Exception):
    """Two settings that one value can never satisfy."""

    def __init__(self, first: "Fed", second: "Fed", why: str) -> None:
        super().__init__(why)
        self.first = first
        self.second = second
        self.why = why


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of a number or of a length; `None` is no limit, `True` beside it excludes the limit itself."""

    low: tuple[float, bool] | None = None
    high: tuple[float, bool] | None = None
    shortest: int | None = None
    longest: int | None = None

    def narrowed(self, other: "Bounds") -> "Bounds":
        """What satisfies both."""
        lows = [limit for limit in (self.low, other.low) if limit]
        highs = [limit for limit in (self.high, other.high) if limit]
        shortest = [limit for limit in (self.shortest, other.shortest) if limit is not None]
        longest = [limit for limit in (self.longest, other.longest) if limit is not None]
        return Bounds(
            max(lows, default=None),
            min(highs, key=lambda limit: (limit[0], not limit[1]), default=None),
            max(shortest, default=None),
            min(longest, default=None),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing can be inside."""
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            return True
        if self.low is None or self.high is None:
            return False
        return self.low[0] > self.high[0] or (self.low[0] == self.high[0] and (self.low[1] or self.high[1]))

    def constraints(self, *, whole: bool) -> list[Any]:
        """As pydantic takes them; `whole` for numbers without a fraction."""
        found: list[Any] = []
        if self.low is not None:
            low = math.ceil(self.low[0]) if whole else self.low[0]
            found.append(Gt(low) if self.low[1] else Ge(low))
        if self.high is not None:
            high = math.floor(self.high[0]) if whole else self.high[0]
            found.append(Lt(high) if self.high[1] else Le(high))
        if self.shortest is not None:
            found.append(MinLen(self.shortest))
        if self.longest is not None:
            found.append(MaxLen(self.longest))
        return found


@dataclass(frozen=True, slots=True)
class Kind:
    """A type with its limits.

    Attributes:
        annotation: The type, without None.
        bounds: Limits of a number or a length.
        rest: Everything else that pydantic knows of it, such as a pattern.
        types: JSON types that it takes, such as `integer`.
        values: The values there are, where they can be counted.
    """

    annotation: Any
    bounds: Bounds = field(default_factory=Bounds)
    rest: tuple[Any, ...] = ()
    types: frozenset[str] = frozenset()
    values: tuple[Any, ...] = ()

    def annotated(self) -> Any:
        """As an annotation."""
        metadata = [*self.bounds.constraints(whole=self.types == {"integer"}), *self.rest]
        return Annotated[(self.annotation, *metadata)] if metadata else self.annotation

    def takes(self, value: Any) -> bool:
        """Whether a JSON value satisfies it."""
        return self.refusal(value) is None

    def refusal(self, value: Any) -> str | None:
        """Why a JSON value does not satisfy it."""
        try:
            TypeAdapter(self.annotated()).validate_python(value)
        except ValidationError as error:
            return str(error.errors(include_url=False)[0]["msg"]).removeprefix("Value error, ")
        except DarkroomError as error:
            return error.message
        return None


@dataclass(frozen=True, slots=True)
class Fed:
    """A setting that an input feeds.

    Attributes:
        path: Where it stands in the document.
        kind: What it takes.
        source: The setting itself.
    """

    path: str
    kind: Kind
    source: FieldInfo


def kind_of(source: FieldInfo) -> Kind:
    """What a setting takes."""
    annotation: Any = source.annotation
    metadata = list(source.metadata)
    while True:
        inner = [each for each in get_args(annotation) if each is not NoneType]
        if get_origin(annotation) in (Union, UnionType) and NoneType in get_args(annotation):
            annotation = reduce(or_, inner)
        elif get_origin(annotation) is Annotated:
            info = FieldInfo.from_annotation(annotation)
            annotation, metadata = info.annotation, [*info.metadata, *metadata]
        else:
            break
    metadata = [each for each in metadata if not isinstance(each, UNPUBLISHED)]
    bounds, rest = _split(metadata)
    schema = TypeAdapter(Annotated[(annotation, *metadata)] if metadata else annotation).json_schema()
    return Kind(annotation, bounds, tuple(rest), frozenset(_types(schema)), tuple(schema.get("enum", ())))


UNPUBLISHED: Final = type(SkipJsonSchema())  # type: ignore[type-arg]
LIMITS: Final[Mapping[type, tuple[str, str, bool]]] = MappingProxyType(
    {Ge: ("low", "ge", False), Gt: ("low", "gt", True), Le: ("high", "le", False), Lt: ("high", "lt", True)}
)
LENGTHS: Final[Mapping[type, tuple[str, str]]] = MappingProxyType(
    {MinLen: ("shortest", "min_length"), MaxLen: ("longest", "max_length")}
)


def _split(metadata: Sequence[Any]) -> tuple[Bounds, list[Any]]:
    """Limits, and everything else but the wish not to be published."""
    bounds = Bounds()
    for each in metadata:
        limit: dict[str, Any] = {}
        if type(each) in LIMITS:
            side, name, strict = LIMITS[type(each)]
            limit[side] = (getattr(each, name), strict)
        elif type(each) in LENGTHS:
            side, name = LENGTHS[type(each)]
            limit[side] = getattr(each, name)
        bounds = bounds.narrowed(Bounds(**limit))
    known = (*LIMITS, *LENGTHS, UNPUBLISHED)
    return bounds, [each for each in metadata if not isinstance(each, known)]


def _types(schema: Mapping[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return {kind for option in schema["anyOf"] for kind in _types(option)}
    return {schema.get("type", "object")}


def field_at(model: Any, keys: Sequence[str | int]) -> FieldInfo | None:
    """The setting at a place inside a settings model, None where the model does not say what stands there."""
    if not keys or not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    name = getattr(model, "aliases", {}).get(keys[0], keys[0])
    for python_name, source in model.model_fields.items():
        if name in (source.alias, python_name):
            return _inside(source, keys[1:])
    return None


def _inside(source: FieldInfo, keys: Sequence[str | int]) -> FieldInfo | None:
    if not keys:
        return source
    annotation = kind_of(source).annotation
    if isinstance(keys[0], int) and get_origin(annotation) in (list, tuple) and get_args(annotation):
        return _inside(FieldInfo.from_annotation(get_args(annotation)[0]), keys[1:])
    return field_at(annotation, keys)


def joined(feeds: Sequence[Fed]) -> Kind:
    """What all fed settings take: the narrower limits win.

    Raises:
        Clash: No value satisfies two of them.
    """
    kind = feeds[0].kind
    for other in feeds[1:]:
        try:
            kind = both(kind, other.kind)
        except ValueError as error:
            raise Clash(feeds[0], other, str(error)) from error
    return kind


def both(one: Kind, other: Kind) -> Kind:
    """What satisfies both.

    Raises:
        ValueError: Nothing does; the text says why.
    """
    if not _common(one.types, other.types):
        raise ValueError(f"one takes {named(one.types)}, the other {named(other.types)}")
    narrow, wide = (one, other) if _rank(one) <= _rank(other) else (other, one)
    if narrow.values:
        left = tuple(value for value in narrow.values if wide.takes(value))
        if not left:
            raise ValueError("they have no value in common")
        if left == narrow.values:
            return narrow
        return replace(narrow, annotation=Literal[left], values=left, rest=())
    bounds = narrow.bounds.narrowed(wide.bounds)
    if bounds.empty:
        raise ValueError("their limits exclude each other")
    rest = narrow.rest if wide.rest == narrow.rest else (*narrow.rest, *_checks(wide))
    return replace(narrow, bounds=bounds, rest=rest)


def _checks(kind: Kind) -> list[Any]:
    """What a second setting demands beside its limits, as a check."""
    if not kind.rest and kind.annotation in (int, float, str, bool):
        return []

    def check(value: Any) -> Any:
        refusal = kind.refusal(value)
        if refusal is not None:
            raise ValueError(refusal)
        return value

    return [AfterValidator(check)]


def _rank(kind: Kind) -> tuple[bool, int, bool]:
    """Smaller for what takes fewer values."""
    return (not kind.values, len(kind.types), kind.types != {"integer"})


def _common(one: frozenset[str], other: frozenset[str]) -> bool:
    numbers = {"integer", "number"}
    return bool(one & other) or (bool(one & numbers) and bool(other & numbers))


def named(types: Collection[str]) -> str:
    """JSON types in words."""
    return " or ".join(sorted(types))


def default_of(feeds: Sequence[Fed]) -> Any:
    """The default that all fed settings share.

    `PydanticUndefined` where a setting has none and what refers to it wants a value, `None` where each keeps its own.
    """
    sources = [feed.source for feed in feeds]
    if any(source.default_factory is None and source.default in (None, PydanticUndefined) for source in sources):
        return PydanticUndefined
    first = sources[0].default
    same = all(source.default_factory is None and source.default == first for source in sources)
    return first if same else None
