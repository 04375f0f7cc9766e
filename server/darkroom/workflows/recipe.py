"""From the steps that led to a picture to a workflow that does the same to others."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom.workflows.document import MOST_COMPONENTS
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import nearest

__all__ = ["Edit", "recipe"]

INPUT_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
MARK: Final = "${{"


@dataclass(frozen=True, slots=True)
class Edit:
    """One picture of a history.

    Attributes:
        image: Its handle.
        parent: The picture it was made from, None if there was none.
        root: The first picture of its chain.
        tool: What made it, None for one that came in from outside.
        steps: The plan that led from `parent` to here, in wire form.
        format: Of the file.
    """

    image: str
    parent: str | None
    root: str
    tool: str | None
    steps: Sequence[Mapping[str, Any]]
    format: str


def recipe(
    history: Sequence[Edit], opened: Mapping[str, Any] | Sequence[str], tools: Mapping[str, Tool]
) -> dict[str, Any]:
    """Inputs and components of a workflow that does again what led to the last picture of a history.

    All edits become one graph. The first picture is the input `image`; every further picture that a step took is an
    image input of its own, named after the parameter.

    Args:
        history: From the oldest picture that is known to the one that is wanted.
        opened: Settings that become inputs, with the recipe's value as default: by input name the setting
            (`resize.width`, or `width` where only one step has it), or what the input should say of itself; or just
            the settings in a list.
        tools: Built-in tools by id.

    Raises:
        InvalidSettings: There is no recipe, it cannot be done again, or there is no such setting.
    """
    edits = [edit for edit in history if edit.tool is not None]
    _check_whole(history, edits, tools)
    graph = _Graph(tools)
    for edit in edits:
        graph.add(edit)
    if len(graph.components) > MOST_COMPONENTS:
        raise _no_recipe(history[-1], f"took {len(graph.components)} steps; a workflow has at most {MOST_COMPONENTS}")
    for name, wanted in _openings(opened):
        graph.open(name, wanted)
    return {"inputs": graph.inputs, "components": [component.to_wire() for component in graph.components]}


def _check_whole(history: Sequence[Edit], edits: Sequence[Edit], tools: Mapping[str, Tool]) -> None:
    last, first = history[-1], history[0]
    if last.tool is None:
        raise _no_recipe(last, "came in from outside, so no steps led to it. Save the steps themselves")
    if first.tool is not None and first.parent not in (None, first.root):
        raise _no_recipe(last, f"was made from {first.parent}, which was deleted with its part of the recipe")
    for edit in edits:
        if not edit.steps:
            raise _no_recipe(last, f"was made by {edit.tool}, whose steps were not kept")
        if edit.parent is None and edit.format == "zip" and any(_takes_inputs(step) for step in edit.steps):
            raise _no_recipe(last, "is a ZIP of several results. Name one of them instead")
    for edit in edits[:-1]:
        tool = tools.get(str(edit.steps[-1]["tool"]))
        if tool is not None and tool.output in ("images", "files"):
            raise _no_recipe(last, f"goes back to one of several results of {tool.id}, and which one is not recorded")


def _takes_inputs(step: Mapping[str, Any]) -> bool:
    return any(ref.startswith("input:") for refs in step["images"].values() for ref in refs)


def _no_recipe(edit: Edit, why: str) -> InvalidSettings:
    return InvalidSettings(f"There is no recipe to save: {edit.image} {why}.", field="fromImage", got=edit.image)


@dataclass
class _Component:
    id: str
    tool: Tool
    settings: dict[str, Any]
    written: bool = False

    def to_wire(self) -> dict[str, Any]:
        written = {"written": True} if self.written else {}
        return {"id": self.id, "type": self.tool.id, "settings": self.settings, **written}

    def wire_name(self, setting: str) -> str | None:
        """The published name of a setting that the component's tool has."""
        wanted = self.tool.settings.aliases.get(setting, setting)
        for python_name, info in self.tool.settings.model_fields.items():
            if wanted in (info.alias, python_name):
                return info.alias or python_name
        return None


@dataclass
class _Graph:
    tools: Mapping[str, Tool]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    components: list[_Component] = field(default_factory=list)
    _ids: Counter[str] = field(default_factory=Counter)

    def add(self, edit: Edit) -> None:
        """Put the steps of one call behind those of the calls before, which left a file that this one read."""
        known: dict[str, str] = {}
        if self.components and edit.parent is not None:
            self.components[-1].written = True
            known["input:0"] = f"{MARK} steps.{self.components[-1].id}.image }}}}"
        elif not self.components and self._takes_one(edit):
            known["input:0"] = self._input("image", {"type": "image"})
        for step in edit.steps:
            tool = self.tools.get(str(step["tool"]))
            if tool is None:
                raise _no_recipe(edit, f"was made by {clean_text(str(step['tool']), 60)!r}, which is no tool any more")
            settings = dict(step["settings"])
            if MARK in str(settings):
                raise _no_recipe(edit, f"has a setting of {tool.id} that holds {MARK!r}, which would be a reference")
            images = {name: refs for name, refs in step["images"].items() if refs}
            if not self._follows(tool, images, known):
                for image in tool.inputs:
                    if image.name in images:
                        settings |= {image.name: self._given(image.name, image.many, images[image.name], known)}
            component = _Component(self._unique(tool.name), tool, settings, bool(step.get("written")))
            self.components.append(component)
            known[f"step:{step['id']}"] = f"{MARK} steps.{component.id}.image }}}}"

    def _follows(self, tool: Tool, images: Mapping[str, Sequence[str]], known: Mapping[str, str]) -> bool:
        """Whether a step takes nothing but the picture that a component is given anyway."""
        if not images:
            return True
        required = [(image.name, image.many) for image in tool.inputs if image.required]
        if len(images) != 1 or required != [(name, False) for name in images]:
            return False
        ((ref,),) = images.values()
        if not self.components:
            return ref == "input:0"
        return known.get(ref) == f"{MARK} steps.{self.components[-1].id}.image }}}}"

    def _takes_one(self, edit: Edit) -> bool:
        """Whether the first picture of a call went in by itself, not as one of a list."""
        return any(
            "input:0" in step["images"].get(image.name, ())
            for step in edit.steps
            for image in (self.tools[step["tool"]].inputs if step["tool"] in self.tools else ())
            if not image.many
        )

    def _given(self, name: str, many: bool, refs: Sequence[str], known: dict[str, str]) -> Any:
        if many and not any(ref in known for ref in refs):
            return self._input(name, {"type": "image", "many": True})
        for ref in refs:
            if ref not in known:
                known[ref] = self._input(name, {"type": "image"})
        return [known[ref] for ref in refs] if many else known[refs[0]]

    def _input(self, name: str, says: dict[str, Any]) -> str:
        # `image` without a number is the picture that all began with.
        taken = {*self.inputs, *(["image"] if self.components else [])}
        free = (name if n == 1 else f"{name}{n}" for n in range(1, len(taken) + 2))
        chosen = next(each for each in free if each not in taken)
        self.inputs[chosen] = says
        return f"{MARK} inputs.{chosen} }}}}"

    def _unique(self, name: str) -> str:
        self._ids[name] += 1
        return name if self._ids[name] == 1 else f"{name}_{self._ids[name]}"

    def open(self, name: str, wanted: Any) -> None:
        """Make an input of a setting; `wanted` says which, or what the input should say of itself."""
        path = f"inputs.{name}"
        if not INPUT_NAME.fullmatch(name):
            raise InvalidSettings(f"{path}: an input's name is letters, digits and _, at most 40.", field=path)
        if name in self.inputs:
            raise InvalidSettings(f"{path}: there is an image input of that name. Choose another one.", field=path)
        setting = wanted if isinstance(wanted, str) else name
        component, wire_name = self._find(setting, path)
        value = component.settings.get(wire_name, self._default(component, wire_name))
        says = dict(wanted) if isinstance(wanted, Mapping) else {}
        if value is not None:
            says.setdefault("default", value)
        self.inputs[name] = says
        component.settings[wire_name] = f"{MARK} inputs.{name} }}}}"

    def _find(self, setting: str, path: str) -> tuple[_Component, str]:
        where, _, wanted = setting.rpartition(".")
        found = [
            (component, name)
            for component in self.components
            if (not where or where.replace("-", "_") in (component.id, component.tool.name))
            and (name := component.wire_name(wanted)) is not None
        ]
        given = [(component, name) for component, name in found if name in component.settings]
        found = given if len(given) == 1 else found
        if len(found) == 1:
            return found[0]
        names = [f"{component.id}.{name}" for component in self.components for name in component.settings]
        if found:
            names = [f"{component.id}.{name}" for component, name in found]
        said = f"{clean_text(setting, 80)!r} is {'a setting of several steps' if found else 'no setting of the recipe'}"
        near = nearest(setting, names) if not found else None
        hint = f" Did you mean {near!r}?" if near else ""
        raise InvalidSettings(
            f"{path}: {said}.{hint} Choose from {', '.join(names)}.", field=path, allowed=names, nearest=near
        )

    def _default(self, component: _Component, wire_name: str) -> Any:
        fields = component.tool.settings.model_fields.items()
        info = next(info for name, info in fields if wire_name in (info.alias, name))
        return None if info.is_required() else info.get_default(call_default_factory=True)


def _openings(opened: Mapping[str, Any] | Sequence[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(opened, Mapping):
        yield from opened.items()
    else:
        yield from ((setting.rpartition(".")[2], setting) for setting in opened)
