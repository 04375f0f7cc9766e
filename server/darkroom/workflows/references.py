"""References inside settings: `${{ inputs.width }}` and `${{ steps.cutout.image }}`."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["OMITTED", "Keys", "Malformed", "Place", "Reference", "path_of", "places", "substituted"]

MARKED: Final = re.compile(r"\$\{\{(.*?)(\}\}|$)", re.DOTALL)
WRITTEN: Final = re.compile(r"inputs\.([A-Za-z][A-Za-z0-9_]{0,39})|steps\.([A-Za-z][A-Za-z0-9_-]{0,59})\.image")
SHOWN: Final = 40

Keys = tuple[str | int, ...]
"""Where a value stands in settings: names and numbers from the outside in."""

OMITTED: Final = object()
"""The value of an input that was not given: what consists of it alone is left out."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What a value stands for.

    Attributes:
        kind: `inputs` for what the caller hands in, `steps` for the picture that a component makes.
        name: Id of the input or of the component.
    """

    kind: Literal["inputs", "steps"]
    name: str

    def __str__(self) -> str:
        return f"${{{{ inputs.{self.name} }}}}" if self.kind == "inputs" else f"${{{{ steps.{self.name}.image }}}}"


@dataclass(frozen=True, slots=True)
class Malformed:
    """What begins like a reference and is none."""

    text: str


@dataclass(frozen=True, slots=True)
class Place:
    """A reference and where it stands.

    Attributes:
        keys: The way to it.
        reference: What it refers to.
        whole: Whether it is the whole value; else it stands inside a longer text.
    """

    keys: Keys
    reference: Reference | Malformed
    whole: bool


def places(value: Any, keys: Keys = ()) -> Iterator[Place]:
    """Every reference in JSON values, in the order in which they stand."""
    if isinstance(value, str):
        for match in MARKED.finditer(value):
            yield Place(keys, _read(match), match[0] == value.strip())
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from places(inner, (*keys, str(name)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from places(inner, (*keys, number))


def _read(match: re.Match[str]) -> Reference | Malformed:
    written = WRITTEN.fullmatch(match[1].strip()) if match[2] else None
    if written is None:
        return Malformed(match[0][:SHOWN])
    return Reference("inputs", written[1]) if written[1] else Reference("steps", written[2])


def substituted(value: Any, lookup: Callable[[Reference], Any]) -> Any:
    """JSON values with the references replaced in one pass: what a value brings in is never read as a reference.

    Args:
        value: Settings, or a part of them.
        lookup: What a reference stands for, `OMITTED` if it was not given. As the whole value it keeps its type, or
            takes its name or its place in a list away with it; inside a text it is written as text.
    """
    if isinstance(value, str):
        return _in_text(value, lookup)
    if isinstance(value, Mapping):
        replaced = {name: substituted(inner, lookup) for name, inner in value.items()}
        return {name: inner for name, inner in replaced.items() if inner is not OMITTED}
    if isinstance(value, list | tuple):
        return [inner for inner in (substituted(each, lookup) for each in value) if inner is not OMITTED]
    return value


def _in_text(value: str, lookup: Callable[[Reference], Any]) -> Any:
    def found(match: re.Match[str]) -> Any:
        read = _read(match)
        return lookup(read) if isinstance(read, Reference) else match[0]

    stripped = value.strip()
    first = MARKED.match(stripped)
    if first is not None and first.end() == len(stripped):
        return found(first)
    return MARKED.sub(lambda match: _as_text(found(match)), value)


def _as_text(value: Any) -> str:
    if value is OMITTED or value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list | tuple):
        return ", ".join(_as_text(each) for each in value)
    return str(value)


def path_of(root: str, keys: Keys) -> str:
    """The way to a value as people write it, such as `components[2].settings.cells[0].zoom`."""
    return root + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
