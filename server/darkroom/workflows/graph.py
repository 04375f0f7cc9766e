"""The graph of a document: which component takes which picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.entries import EXPORT, INPUT, Entry, Wording, entries_of, folded
from darkroom.workflows.export import Export, converted
from darkroom.workflows.problems import Problems, shown
from darkroom.workflows.references import Malformed, Reference, path_of, places
from darkroom_tools.base import ImageInput, Tool
from darkroom_tools.settings import Settings

__all__ = ["Graph", "ImageUse", "Node", "graph_of"]

MADE: Final = {"file": "a file that is no picture", "files": "several files", "images": "several pictures"}


@dataclass(frozen=True, slots=True)
class Node:
    """A component that runs a tool.

    Attributes:
        number: Its place in the document, from 0.
        id: What references call it.
        path: Its path in the document, such as `components[2]`.
        tool: What runs.
        model: What its settings must satisfy; of an `export` those of that component, else those of the tool.
        images: What goes into each image parameter.
        settings: Everything else, with references.
        written: Whether its result is written and read again before it goes on.
    """

    number: int
    id: str
    path: str
    tool: Tool
    model: type[Settings]
    images: Mapping[str, tuple[Reference, ...]]
    settings: Mapping[str, Any]
    written: bool = False

    @property
    def exports(self) -> bool:
        """Whether it only says how the result is written."""
        return self.model is Export

    def wire(self, settings: Settings) -> dict[str, Any]:
        """The settings of the tool."""
        return converted(settings) if isinstance(settings, Export) else settings.to_wire()


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image parameter that an image input feeds.

    Attributes:
        path: Where in the document.
        parameter: The parameter.
        sources: All that goes into it.
        whole: Whether the input stands for all of them, not as one of a list.
    """

    path: str
    parameter: ImageInput
    sources: tuple[Reference, ...]
    whole: bool = True


@dataclass(slots=True)
class Graph:
    """Components in order, every reference pointing backwards.

    Attributes:
        nodes: Those that run a tool.
        images: By image input, in the order in which calls give them, what it feeds.
    """

    nodes: list[Node] = field(default_factory=list)
    images: dict[str, list[ImageUse]] = field(default_factory=dict)


def graph_of(document: WorkflowDocument, tools: Mapping[str, Tool], problems: Problems, wording: Wording) -> Graph:
    """The graph of a document; what cannot be understood is left out and noted."""
    return _Builder(document, tools, problems, wording).build()


class _Builder:
    def __init__(
        self, document: WorkflowDocument, tools: Mapping[str, Tool], problems: Problems, wording: Wording
    ) -> None:
        self._document = document
        self._tools = tools
        self._problems = problems
        self._wording = wording
        self._graph = Graph()
        self._entries = list(entries_of(document.components, tools, wording))
        self._by_id: dict[str, Entry] = {}
        self._forward: list[tuple[str, Entry, Entry]] = []
        declared = {name for name, wanted in document.inputs.items() if wanted.type == "image"}
        known = declared | {name for name in self._image_names() if name in document.inputs}
        self._declared_images = [name for name in document.inputs if name in known]

    def build(self) -> Graph:
        for entry in self._entries:
            self._name(entry)
            self._check_type(entry)
        wired = {entry.number: self._wired(entry) for entry in self._entries if entry.tool is not None}
        for path, entry, target in self._forward:
            self._refuse_forward(path, entry, target)
        self._check_used()
        self._graph.nodes = [
            Node(
                *(entry.number, entry.id, entry.path, entry.tool, _model(entry)),
                *wired[entry.number],
                written=entry.component.written,
            )
            for entry in self._entries
            if entry.tool is not None
        ]
        order = {name: n for n, name in enumerate(self._declared_images)}
        by_order = sorted(self._graph.images.items(), key=lambda held: order.get(held[0], len(order)))
        self._graph.images = dict(by_order)
        return self._graph

    def _image_names(self) -> Iterator[str]:
        """Inputs that stand where an image goes."""
        for entry in self._entries:
            if entry.kind == INPUT:
                yield str(entry.component.settings.get("field", ""))
            for parameter in entry.tool.inputs if entry.tool is not None else ():
                for name in (parameter.name, parameter.parameter):
                    held = places(entry.component.settings.get(name))
                    yield from (each.reference.name for each in held if isinstance(each.reference, Reference))

    def _name(self, entry: Entry) -> None:
        taken = self._by_id.setdefault(folded(entry.id), entry)
        if taken is not entry:
            text = f"the id {shown(entry.id)} is that of {taken.path} too. Give each component an id of its own."
            self._problems.add(f"{entry.path}.id", text, got=entry.id)

    def _check_type(self, entry: Entry) -> None:
        last = entry is self._entries[-1]
        path = f"{entry.path}.{self._wording.type}"
        if entry.kind == "unknown":
            self._refuse_type(entry, path)
        elif entry.kind == EXPORT and not last:
            self._problems.add(path, "export says how the result is written; it must be last.")
        elif entry.kind == INPUT:
            self._check_input(entry, last=last)
        elif not last and entry.tool is not None and entry.tool.output != "image":
            entry.used = True
            self._problems.add(path, f"{entry.tool.id} makes {_made(entry.tool)}; it must be last.")

    def _refuse_type(self, entry: Entry, path: str) -> None:
        entry.used = True
        if entry.number > 0:  # what takes its picture will be known once the name is right
            self._entries[entry.number - 1].used = True
        wanted = entry.component.type
        allowed = sorted(self._tools) + ([INPUT, EXPORT] if self._wording.saved else [])
        if folded(wanted).startswith("wf-"):
            text = f"{shown(wanted)} is a workflow, and a workflow cannot hold another one. Use its steps instead."
            self._problems.add(path, text, got=wanted)
        else:
            self._problems.unknown(path, f"{shown(wanted)} is no tool.", wanted, allowed, what="Steps can be")

    def _check_input(self, entry: Entry, *, last: bool) -> None:
        for name in entry.component.settings:
            if name != "field":
                path = f"{entry.path}.settings.{name}"
                self._problems.unknown(path, "an input has no such setting.", name, ["field"], what="Allowed")
        if last:
            entry.used = True
            text = "nothing is done with the picture. Add a tool after it."
            self._problems.add(f"{entry.path}.{self._wording.type}", text)

    def _wired(self, entry: Entry) -> tuple[dict[str, tuple[Reference, ...]], dict[str, Any]]:
        """What goes into the image parameters of a component, and its other settings."""
        settings = dict(entry.component.settings)
        images: dict[str, tuple[Reference, ...]] = {}
        missing: list[ImageInput] = []
        for parameter in entry.tool.inputs if entry.tool is not None else ():
            given = [settings.pop(name) for name in {parameter.name, parameter.parameter} if name in settings]
            if given and given[0] is not None:
                images[parameter.name] = self._sources(entry, parameter, given[0])
            elif parameter.required:
                missing.append(parameter)
        for n, parameter in enumerate(missing):
            path = f"{entry.path}.settings.{parameter.name}"
            if n == 0:
                images[parameter.name] = self._filled(entry, parameter, path)
            else:
                self._refuse_missing(entry, parameter, path)
        for place in places(settings):
            if isinstance(place.reference, Reference) and place.reference.kind == "steps":
                path = path_of(f"{entry.path}.settings", place.keys)
                names = ", ".join(each.name for each in entry.tool.inputs) if entry.tool is not None else ""
                text = f"{place.reference} is a picture, and this is no image parameter."
                self._problems.add(path, f"{text} Those are: {names or 'none'}.", got=str(place.reference))
        return images, settings

    def _refuse_missing(self, entry: Entry, parameter: ImageInput, path: str) -> None:
        if self._wording.saved:
            text = "Give ${{ inputs.name }} or ${{ steps.id.image }}."
            self._problems.add(path, f"{parameter.name!r} is required: a picture beside the first one. {text}")
            return
        allowed = sorted(tool.id for tool in self._tools.values() if tool.pipeline_step)
        path, shown_type = f"{entry.path}.{self._wording.type}", shown(entry.component.type)
        text = f"{shown_type} does not turn one image into one image; it also needs {parameter.name!r}."
        self._problems.add(path, f"{text} Save a workflow for that, or call it alone.", allowed=allowed)

    def _filled(self, entry: Entry, parameter: ImageInput, path: str) -> tuple[Reference, ...]:
        """What goes where nothing is given: the result of the component before, else the first image input."""
        found = self._current(entry, parameter, path)
        if found is not None and parameter.many and parameter.least > 1 and not self._many(found, whole=True):
            text = f"{parameter.name!r} takes at least {parameter.least} pictures."
            hint = (
                ' Give a list such as ["${{ inputs.first }}", "${{ steps.id.image }}"].' if self._wording.saved else ""
            )
            self._problems.add(path, f"{text}{hint}")
        elif found is not None and found.kind == "inputs":
            self._graph.images.setdefault(found.name, []).append(ImageUse(path, parameter, (found,)))
        return (found,) if found is not None else ()

    def _many(self, source: Reference, *, whole: bool) -> bool:
        """Whether what goes into a list parameter is a list itself: an input declared so, or all that stands there."""
        if source.kind == "steps":
            return False
        declared = self._document.inputs.get(source.name)
        return declared.many if declared is not None else whole and self._wording.saved

    def _current(self, entry: Entry, parameter: ImageInput, path: str) -> Reference | None:
        if entry.number == 0:
            if self._declared_images:
                return Reference("inputs", self._declared_images[0])
            return Reference("inputs", "images" if parameter.many and self._wording.saved else "image")
        before = self._entries[entry.number - 1]
        return self._result_of(entry, before, parameter, path)

    def _result_of(self, entry: Entry, target: Entry, parameter: ImageInput, path: str) -> Reference | None:
        """The picture of a component; None where there is none, which then is noted already."""
        entry.refers.add(target.number)
        target.used = True
        if target.kind == INPUT:
            return Reference("inputs", self._field_of(target))
        if target.tool is None or target.tool.output != "image":
            return None
        if parameter.as_file:
            text = f"{parameter.name!r} takes a file as it came in, not the result of a step. Refer to an input."
            self._problems.add(path, text)
            return None
        return Reference("steps", target.id)

    def _field_of(self, entry: Entry) -> str:
        field = entry.component.settings.get("field")
        if field is None:
            return self._declared_images[0] if self._declared_images else "image"
        return str(field)

    def _sources(self, entry: Entry, parameter: ImageInput, value: Any) -> tuple[Reference, ...]:
        path = f"{entry.path}.settings.{parameter.name}"
        if isinstance(value, list) and not parameter.many:
            self._problems.add(path, f"{parameter.name!r} takes one picture, but got a list.")
            return ()
        listed = value if isinstance(value, list) else [value]
        numbered = [f"{path}[{n}]" if isinstance(value, list) else path for n in range(len(listed))]
        found = [self._source(entry, parameter, *each) for each in zip(listed, numbered, strict=True)]
        sources = tuple(each for each in found if each is not None)
        for source, where in zip(found, numbered, strict=True):
            if source is not None and source.kind == "inputs":
                use = ImageUse(where, parameter, sources, whole=not isinstance(value, list))
                self._graph.images.setdefault(source.name, []).append(use)
        if parameter.many and not any(self._many(each, whole=not isinstance(value, list)) for each in sources):
            self._check_count(parameter, len(listed), path)
        return sources

    def _check_count(self, parameter: ImageInput, count: int, path: str) -> None:
        most = parameter.most if parameter.most is not None else count
        if not parameter.least <= count <= most:
            wanted = f"at least {parameter.least}" if count < parameter.least else f"at most {most}"
            hint = " An input that is declared with 'many': true is a list." if count < parameter.least else ""
            text = f"{parameter.name!r} takes {wanted} pictures, but got {count}.{hint}"
            self._problems.add(path, text, got=count)

    def _source(self, entry: Entry, parameter: ImageInput, value: Any, path: str) -> Reference | None:
        found = list(places(value))
        if len(found) != 1 or not found[0].whole or isinstance(found[0].reference, Malformed):
            text = "a picture goes here: ${{ inputs.name }} or ${{ steps.id.image }}"
            if not self._wording.saved:
                text = "a step takes the result of the step before; leave it out"
            self._problems.add(path, f"{text}, but got {shown(value)}.", got=shown(value))
            return None
        reference = found[0].reference
        if reference.kind == "inputs":
            return reference
        target = self._by_id.get(folded(reference.name))
        if target is None:
            ids = [each.id for each in self._entries]
            text = f"there is no component {shown(reference.name)}."
            self._problems.unknown(path, text, reference.name, ids, what="Components")
            return None
        if target.number >= entry.number:
            entry.refers.add(target.number)
            target.used = True
            self._forward.append((path, entry, target))
            return None
        return self._result_of(entry, target, parameter, path)

    def _refuse_forward(self, path: str, entry: Entry, target: Entry) -> None:
        if target is entry:
            self._problems.add(path, f"{shown(entry.id)} refers to itself. Refer to a component before it.")
            return
        circle = self._way(target, entry)
        if circle:
            way = " → ".join(each.id for each in [entry, *circle])
            self._problems.add(path, f"the components refer to one another in a circle: {way}. Break it.", circle=way)
        else:
            text = f"{shown(target.id)} comes later. Move {target.path} before {entry.path}."
            self._problems.add(path, text, got=target.id)

    def _way(self, start: Entry, end: Entry, seen: frozenset[int] = frozenset()) -> list[Entry]:
        """The components from `start` to `end` by what they refer to; empty if none leads there."""
        if start is end:
            return [end]
        for number in sorted(start.refers - seen):
            rest = self._way(self._entries[number], end, seen | {start.number})
            if rest:
                return [start, *rest]
        return []

    def _check_used(self) -> None:
        for entry in self._entries[:-1]:
            if entry.kind == INPUT and self._field_of(entry) in self._graph.images:
                continue
            if not entry.used:
                hint = f"Refer to it with ${{{{ steps.{entry.id}.image }}}}, or remove it."
                self._problems.add(entry.path, f"nobody uses the result of {shown(entry.id)}. {hint}")


def _model(entry: Entry) -> type[Settings]:
    if entry.kind == EXPORT or entry.tool is None:
        return Export
    return entry.tool.settings


def _made(tool: Tool) -> str:
    return MADE.get(tool.output, "a report and no picture")
