"""A workflow compiles to a Tool, so it is listed, called, documented and checked like any other."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from darkroom.workflows.checks import check_settings, node_settings, setting_path
from darkroom.workflows.document import Component, PipelineStep, WorkflowDocument
from darkroom.workflows.entries import DOCUMENT, PIPELINE, Wording
from darkroom.workflows.graph import Graph, Node, graph_of
from darkroom.workflows.inputs import Inputs, inputs_of
from darkroom.workflows.overrides import final_steps, generation_settings, wanted_overrides
from darkroom.workflows.problems import Problems
from darkroom.workflows.references import Malformed, Reference, places
from darkroom.workflows.setting_input import FORMS
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.plan import Plan, Step, step_ref
from darkroom_tools.settings import Settings

__all__ = [
    "compile_pipeline",
    "compile_workflow",
    "parse_step",
    "pipeline_problems",
    "problems",
    "refuse_references",
    "tool_id",
]

LONGEST_SUMMARY = 200
LONGEST_CHAIN = 90
MOST_TOKENS = 340
CHARACTERS_PER_TOKEN = 3.9


def compile_workflow(document: WorkflowDocument, identifier: str, tools: Mapping[str, Tool]) -> Tool:
    """The tool that a saved workflow is.

    Args:
        document: What was saved.
        identifier: The tool's id, from `tool_id`.
        tools: Built-in tools by id; a workflow never contains another one.

    Raises:
        InvalidSettings: With the path into the document, such as `components[2].settings.width`.
    """
    return _compiled(document, identifier, tools, DOCUMENT)


def compile_pipeline(steps: Sequence[PipelineStep], tools: Mapping[str, Tool]) -> Tool:
    """The tool that an unsaved list of steps is: each works on the result of the one before.

    Raises:
        InvalidSettings: With the path into the steps, such as `steps[1].settings.width`.
    """
    return _compiled(_unsaved(steps), "run-pipeline", tools, PIPELINE)


def problems(document: WorkflowDocument, tools: Mapping[str, Tool]) -> list[InvalidSettings]:
    """Everything that keeps a workflow from compiling, in the order of its components; empty if it compiles."""
    found = Problems()
    _understood(document, tools, DOCUMENT, found)
    return found.all


def pipeline_problems(steps: Sequence[PipelineStep], tools: Mapping[str, Tool]) -> list[InvalidSettings]:
    """Everything that keeps unsaved steps from running."""
    found = Problems()
    _understood(_unsaved(steps), tools, PIPELINE, found)
    return found.all


def refuse_references(steps: Sequence[PipelineStep]) -> None:
    """Refuse `${{ inputs.name }}` in steps that are not saved: there is nothing to refer to."""
    for n, step in enumerate(steps):
        for place in places(step.settings):
            path = f"steps[{n}].settings.{place.keys[0]}"
            said = place.reference.text if isinstance(place.reference, Malformed) else f"input {place.reference.name!r}"
            raise InvalidSettings(f"{path} refers to {said}; give a value here.", field=path)


def parse_step(tool: Tool, given: Mapping[str, Any], number: int) -> Settings:
    """The settings of step `number` of a pipeline, counted from 0.

    Raises:
        InvalidSettings: With the path into the steps, such as `steps[1].settings.width`.
    """
    try:
        return tool.settings.parse(given)
    except InvalidSettings as error:
        field = f"steps[{number}].settings" + (f".{error.details['field']}" if "field" in error.details else "")
        raise InvalidSettings(f"{field}: {error.message}", **{**error.details, "field": field}) from error


def tool_id(name: str, workflow_id: str) -> str:
    """`wf-<slug>-<6>`: the slug for people, the end of the workflow's id against collisions."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")[:24].strip("-")
    return "-".join(part for part in ("wf", slug, workflow_id[-6:]) if part)


def _unsaved(steps: Sequence[PipelineStep]) -> WorkflowDocument:
    components = [Component.model_construct(id=None, type=step.tool, settings=step.settings) for step in steps]
    return WorkflowDocument(name="Pipeline", components=components)


def _understood(
    document: WorkflowDocument, tools: Mapping[str, Tool], wording: Wording, found: Problems
) -> tuple[Graph, Inputs]:
    graph = graph_of(document, tools, found, wording)
    inputs = inputs_of(document, graph, found, wording)
    check_settings(graph, inputs.settings, found)
    return graph, inputs


def _compiled(document: WorkflowDocument, identifier: str, tools: Mapping[str, Tool], wording: Wording) -> Tool:
    found = Problems()
    graph, inputs = _understood(document, tools, wording, found)
    found.raise_first()
    tool = _published(document, identifier, graph.nodes, inputs, 0)
    for form in range(1, FORMS):
        if _tokens(tool) > MOST_TOKENS:
            tool = _published(document, identifier, graph.nodes, inputs, form)
    return tool


def _published(document: WorkflowDocument, identifier: str, nodes: Sequence[Node], inputs: Inputs, form: int) -> Tool:
    """The tool with its words in a form, from 0 for the fullest."""
    used = [node.tool for node in nodes]
    images, settings = inputs.published(form)
    summary = _summary(document, nodes)
    return Tool(
        id=identifier,
        title=clean_text(document.name, 80),
        category="Workflows",
        summary=summary,
        description=summary,
        settings=settings,
        inputs=images,
        output=used[-1].output,
        report=used[-1].report,
        models=tuple(dict.fromkeys(model for tool in used for model in tool.models)),
        named=any(tool.named for tool in used),
        reads=tuple(dict.fromkeys(format for tool in used for format in tool.reads)),
        worker="vector" if any(tool.worker == "vector" for tool in used) else "pixels",
        generative=any(tool.generative for tool in used),
        expand=_Expansion(nodes, inputs),
        price=document.price.execution if document.price is not None else None,
    )


def _tokens(tool: Tool) -> float:
    """What its listing costs in every conversation."""
    listed = [tool.name, tool.description, tool.input_schema()]
    return len(json.dumps(listed, ensure_ascii=False, separators=(",", ":"))) / CHARACTERS_PER_TOKEN


def _summary(document: WorkflowDocument, nodes: Sequence[Node]) -> str:
    """Our sentence, and what the author says as a quotation: whoever reads it must know whose words they are."""
    linear = all(
        source == Reference("steps", before.id)
        for before, node in pairwise(nodes)
        for sources in node.images.values()
        for source in sources
    )
    used = [node.tool.id for node in nodes if not node.exports] or [node.tool.id for node in nodes]
    chain = clean_text(" → ".join(used) if linear else ", ".join(dict.fromkeys(used)), LONGEST_CHAIN)
    ours = f"Saved workflow: {chain}."
    author = _quotable(document.author, 40)
    opening = f' Its author{f" {author}" if author else ""} says: "'
    words = _quotable(document.description, LONGEST_SUMMARY - len(ours) - len(opening) - 1)
    return f'{ours}{opening}{words}"' if words else ours


def _quotable(text: str, limit: int) -> str:
    return clean_text(" ".join(clean_text(text, 4 * limit).split()).replace('"', "'"), limit)


@dataclass(frozen=True, slots=True)
class _Expansion:
    """From the settings and the image references of a call to the steps."""

    nodes: Sequence[Node]
    inputs: Inputs

    def __call__(self, settings: Settings, images: Mapping[str, Sequence[str]]) -> Plan:
        """The steps.

        Raises:
            InvalidSettings: What the caller handed in does not fit where it goes.
        """
        values, overrides = self.inputs.values(settings), wanted_overrides(settings)
        made = {node.id: step_ref(f"s{n + 1}") for n, node in enumerate(self.nodes)}
        steps: list[Step] = []
        for n, node in enumerate(self.nodes):
            held = {name: self._refs(sources, images, made) for name, sources in node.images.items()}
            wired = {name: refs for name, refs in held.items() if refs}
            if node is self.nodes[-1] and node.exports:
                steps += (last := final_steps(node, overrides, wired["image"]))
                wired = {"image": (step_ref(last[-1].id),)} if last else wired
            wire = self._wire(node, values, overrides)
            steps.append(Step(f"s{n + 1}", node.tool.id, wire, wired, node.written))
        if not self.nodes[-1].exports:
            steps += final_steps(self.nodes[-1], overrides, (step_ref(steps[-1].id),))
        return Plan(tuple(steps))

    def _refs(
        self, sources: Sequence[Reference], images: Mapping[str, Sequence[str]], made: Mapping[str, str]
    ) -> tuple[str, ...]:
        """The plan's references of what goes into an image parameter; what was not given is left out."""
        return tuple(
            ref
            for source in sources
            for ref in ([made[source.name]] if source.kind == "steps" else images.get(source.name, ()))
        )

    def _wire(self, node: Node, values: Mapping[str, Any], overrides: Mapping[str, str]) -> dict[str, Any]:
        given = node_settings(node, values)
        try:
            settings = node.model.parse({**generation_settings(node, overrides), **given})
        except DarkroomError as error:
            raise self._at_call(node, error) from error
        return node.wire(settings)

    def _at_call(self, node: Node, error: DarkroomError) -> InvalidSettings:
        """The error in the words of the caller, who knows the inputs and not the components."""
        key = str(error.details.get("field") or "").partition(".")[0]
        feeding = [
            place.reference.name
            for place in places(node.settings)
            if place.keys[0] == key and isinstance(place.reference, Reference)
        ]
        field = feeding[0] if feeding else setting_path(node, error)
        return InvalidSettings(f"{field}: {error.message}", **{**error.details, "field": field})
