"""A workflow compiles to a Tool, so it is listed, called, documented and checked like any other."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

from pydantic import create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from darkroom.workflows.document import Component, PipelineStep, WorkflowDocument, referenced_input
from darkroom_tools.base import ImageInput, Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.plan import Plan, Step, step_ref
from darkroom_tools.settings import Settings, nearest

__all__ = ["compile_pipeline", "compile_workflow", "parse_step", "refuse_references", "tool_id"]

RESERVED_INPUTS = frozenset({"image", "images"})


def compile_workflow(document: WorkflowDocument, identifier: str, tools: Mapping[str, Tool]) -> Tool:
    """The tool that a saved workflow is.

    Args:
        document: What was saved.
        identifier: The tool's id, from `tool_id`.
        tools: Built-in tools by id; a workflow never contains another one.

    Raises:
        InvalidSettings: With the path into the document, such as `steps[1].settings.width`.
    """
    chosen = [_step_tool(step, tools, f"steps[{n}].tool") for n, step in enumerate(document.components)]
    _check_order(chosen)
    settings = _inputs_model(document, chosen)
    _check_with_samples(document, chosen, settings)
    chain = " → ".join(tool.id for tool in chosen)
    words = clean_text(document.description, 80).replace('"', "'")
    summary = clean_text(f"Saved workflow: {chain}." + (f' Its author says: "{words}"' if words else ""), 200)

    def expand(values: Settings, images: Mapping[str, Sequence[str]]) -> Plan:
        return _expand(document, chosen, values.model_dump(mode="json", by_alias=True), images["image"])

    return Tool(
        id=identifier,
        title=clean_text(document.name, 80),
        category="Workflows",
        summary=summary,
        description=summary,
        settings=settings,
        inputs=(ImageInput("image", "image"),),
        output=chosen[-1].output,
        named=any(tool.named for tool in chosen),
        models=tuple(dict.fromkeys(model for tool in chosen for model in tool.models)),
        expand=expand,
    )


def compile_pipeline(steps: Sequence[PipelineStep], tools: Mapping[str, Tool]) -> Tool:
    """The tool that an unsaved list of steps is."""
    refuse_references(steps)
    document = WorkflowDocument(
        name="Pipeline", components=[Component(type=step.tool, settings=step.settings) for step in steps]
    )
    return compile_workflow(document, "run-pipeline", tools)


def refuse_references(steps: Sequence[PipelineStep]) -> None:
    """Refuse `${{ inputs.name }}` in steps that are not saved: there is nothing to refer to."""
    for n, step in enumerate(steps):
        for name, value in step.settings.items():
            if (missing := referenced_input(value)) is not None:
                path = f"steps[{n}].settings.{name}"
                raise InvalidSettings(f"{path} refers to input {missing!r}; give a value here.", field=path)


def parse_step(tool: Tool, given: Mapping[str, Any], number: int) -> Settings:
    """The settings of step `number`, counted from 0.

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


def _step_tool(step: Component, tools: Mapping[str, Tool], path: str) -> Tool:
    wanted = step.type.replace("_", "-")
    tool = tools.get(wanted) or next((tool for tool in tools.values() if wanted in tool.aliases), None)
    if tool is None or not tool.pipeline_step:
        allowed = sorted(tool.id for tool in tools.values() if tool.pipeline_step)
        near = nearest(step.type, allowed) if tool is None else None
        said = "is no tool" if tool is None else "does not turn one image into one image"
        hint = f" Did you mean {near!r}?" if near else ""
        shown = clean_text(step.type, 60)
        raise InvalidSettings(
            f"{path}: {shown!r} {said}.{hint} Steps can be: {', '.join(allowed)}.",
            field=path,
            got=shown,
            allowed=allowed,
            nearest=near,
        )
    return tool


def _check_order(chosen: Sequence[Tool]) -> None:
    """What makes a file that is no picture can only come last."""
    for n, tool in enumerate(chosen[:-1]):
        if tool.output == "file":
            path = f"steps[{n}].tool"
            raise InvalidSettings(f"{path}: {tool.id} makes a file that is no picture; it must be last.", field=path)


def _field_of(tool: Tool, name: str) -> FieldInfo | None:
    wanted = tool.settings.aliases.get(name, name)
    for python_name, field in tool.settings.model_fields.items():
        if wanted in (field.alias, python_name):
            return field
    return None


def _inputs_model(document: WorkflowDocument, chosen: Sequence[Tool]) -> type[Settings]:
    fields: dict[str, Any] = {}
    for n, (step, tool) in enumerate(zip(document.components, chosen, strict=True)):
        for name, value in step.settings.items():
            wanted = referenced_input(value)
            source = _field_of(tool, name)
            if wanted is None or source is None or wanted in fields:
                continue
            if wanted in RESERVED_INPUTS:
                path = f"steps[{n}].settings.{name}"
                raise InvalidSettings(f"{path}: an input cannot be named {wanted!r}.", field=path)
            fields[wanted] = (source.annotation, _input_field(document, wanted, source))
    for name in document.inputs:
        if name not in fields:
            near = nearest(name, list(fields))
            hint = f" Did you mean {near!r}?" if near else f" Use ${{{{ inputs.{name} }}}} in a setting."
            raise InvalidSettings(f"inputs.{name} feeds no setting.{hint}", field=f"inputs.{name}", nearest=near)
    return create_model("WorkflowInputs", __base__=Settings, **fields)


def _input_field(document: WorkflowDocument, name: str, source: FieldInfo) -> FieldInfo:
    override = document.inputs.get(name)
    field = copy(source)
    field.alias = field.validation_alias = field.serialization_alias = name
    if override is not None and override.default is not None:
        field.default, field.default_factory = override.default, None
        field.validate_default = True
    elif field.default is None:
        # The setting may be left out, but a step that refers to an input needs a value.
        field.default = PydanticUndefined
    if override is not None and override.description:
        field.description = clean_text(override.description, 120)
    return field


def _check_with_samples(document: WorkflowDocument, chosen: Sequence[Tool], settings: type[Settings]) -> None:
    """Validate every step as a caller would meet it, with a sample where an input has no default."""
    values = {
        name: field.get_default(call_default_factory=True) if field.default is not PydanticUndefined else _sample(field)
        for name, field in settings.model_fields.items()
    }
    _expand(document, chosen, values, ["input:0"])


def _sample(field: FieldInfo) -> Any:
    """Some value that the field takes: what it lacks is a default, not a limit."""
    annotation: Any = field.annotation
    model = create_model("Sample", __base__=Settings, value=(annotation, copy(field)))
    alias = model.model_fields["value"].alias or "value"
    for candidate in (1, 8, 50, "text", "#000000", True, "png", 0.5):
        try:
            return getattr(model.model_validate({alias: candidate}), "value", candidate)
        except ValueError:
            continue
    return None


def _expand(
    document: WorkflowDocument, chosen: Sequence[Tool], values: Mapping[str, Any], image: Sequence[str]
) -> Plan:
    steps: list[Step] = []
    refs: tuple[str, ...] = tuple(image)
    for n, (step, tool) in enumerate(zip(document.components, chosen, strict=True)):
        given = {
            name: values.get(wanted) if (wanted := referenced_input(value)) else value
            for name, value in step.settings.items()
        }
        settings = parse_step(tool, {name: value for name, value in given.items() if value is not None}, n)
        identifier = f"s{n + 1}"
        steps.append(Step(identifier, tool.id, settings.to_wire(), {tool.inputs[0].name: refs}))
        refs = (step_ref(identifier),)
    return Plan(tuple(steps))
