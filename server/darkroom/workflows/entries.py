"""The components of a document, each with the id that references call it and the tool that it runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from darkroom.workflows.document import Component
from darkroom_tools.base import Tool

__all__ = ["DOCUMENT", "EXPORT", "INPUT", "PIPELINE", "Entry", "Wording", "entries_of", "folded"]

INPUT, EXPORT = "input", "export"


@dataclass(frozen=True, slots=True)
class Wording:
    """How the parts of what came are called in errors.

    Attributes:
        components: The list.
        type: The name of a tool in it.
        saved: Whether there is a document, which has inputs and references.
    """

    components: str
    type: str
    saved: bool


DOCUMENT: Final = Wording("components", "type", saved=True)
PIPELINE: Final = Wording("steps", "tool", saved=False)


@dataclass(slots=True)
class Entry:
    """A component, before it is known what goes into it.

    Attributes:
        number: Its place in the document, from 0.
        id: What references call it.
        path: Its path in the document, such as `components[2]`.
        component: What was written.
        kind: What it is.
        tool: What it runs; of an `export` that is `convert`.
        used: Whether its result goes anywhere.
        refers: Numbers of the components whose results it takes.
    """

    number: int
    id: str
    path: str
    component: Component
    kind: Literal["tool", "input", "export", "unknown"] = "unknown"
    tool: Tool | None = None
    used: bool = False
    refers: set[int] = field(default_factory=set)


def entries_of(components: Sequence[Component], tools: Mapping[str, Tool], wording: Wording) -> Iterator[Entry]:
    """The components with their ids, given or chosen."""
    taken = {folded(component.id) for component in components if component.id is not None}
    for number, component in enumerate(components):
        kind, tool = _kind(component.type, tools, wording)
        identifier = component.id or _free(tool.id if kind == "tool" and tool else component.type, taken)
        taken.add(folded(identifier))
        yield Entry(number, identifier, f"{wording.components}[{number}]", component, kind, tool)


def _free(wanted: str, taken: set[str]) -> str:
    first = folded(wanted)
    names = (first if n == 1 else f"{first}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _kind(
    type: str, tools: Mapping[str, Tool], wording: Wording
) -> tuple[Literal["tool", "input", "export", "unknown"], Tool | None]:
    wanted = folded(type)
    if wording.saved and wanted == INPUT:
        return "input", None
    if wording.saved and wanted == EXPORT:
        return "export", tools["convert"]
    tool = tools.get(wanted) or next((tool for tool in tools.values() if wanted in tool.aliases), None)
    if tool is None or tool.expand is not None:
        return "unknown", None
    return "tool", tool


def folded(name: str) -> str:
    """A name as it is compared: `remove_background` is `remove-background`."""
    return name.replace("_", "-").lower()
