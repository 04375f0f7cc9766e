"""The tool that tells what a workflow would come to, before anything is run."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import mcp_types as types
from pydantic import Field, WithJsonSchema, model_validator

from darkroom.faces.mcp.batches import batch_of
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.check_replies import check_reply, refused_reply
from darkroom.faces.mcp.manage import Manager
from darkroom.workflows.compile import compile_workflow, problems
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.exchange import read_document
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.settings import Settings, wire_names

__all__ = ["CHECK_MANAGERS"]

UNNAMED = {"name": "Unsaved workflow"}


class CheckWorkflow(Settings):
    """Arguments of check_workflow: those of run_workflow for one that is saved, those of save_workflow for another."""

    aliases: ClassVar = {"id": "workflow", "tool": "workflow", "workflowId": "workflow"}

    workflow: Annotated[str, Field(min_length=1, max_length=120), WithJsonSchema({"type": "string"})] | None = None
    steps: Annotated[list[Any], WithJsonSchema({"type": "array", "items": {"type": "object"}})] | None = None
    inputs: dict[str, Any] = Field(default_factory=dict)
    document: Unpublished[dict[str, Any] | None] = None
    """A whole document, instead of its steps."""
    values: Unpublished[dict[str, Any]] = Field(default_factory=dict)
    """Of the inputs, where `inputs` defines them."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """What has no name here is a value of an input, such as `image`; what only documents have is left out."""
        if not isinstance(data, Mapping) or not isinstance(data.get("values", {}), Mapping):
            return data
        if isinstance(data.get("workflow"), Mapping):
            data = {**data, "workflow": None, "document": data["workflow"]}
        own = {**cls.aliases, **{name: name for name in wire_names(cls)}}
        inline = {"steps", "components"} & data.keys()
        fields = {*wire_names(WorkflowDocument), "format", "formatVersion"} - own.keys() if inline else set()
        beside = {key: value for key, value in data.items() if key not in own and key not in fields}
        values = {**beside, **data.get("values", {})}
        if "components" in data:
            return {"document": {key: data[key] for key in ("components", "inputs") if key in data}, "values": values}
        return {**{key: value for key, value in data.items() if key in own}, "values": values}


async def check_workflow(call: Call, wanted: CheckWorkflow) -> types.CallToolResult:
    """Every problem of a workflow, or what it would make and take; nothing is run, and no pixel is read."""
    if [wanted.workflow, wanted.steps, wanted.document].count(None) != 2:
        raise InvalidSettings(
            "Give workflow, the name of one, or the steps of one that is not saved.", field="workflow"
        )
    if wanted.workflow is not None:
        saved = await call.room.catalog.workflow(call.principal, wanted.workflow)
        facts: dict[str, Any] = {"workflow": saved.name}
        if saved.tool is None:
            found = await asyncio.to_thread(problems, saved.document, call.room.catalog.builtin)
            return refused_reply(found, **facts)
        return await _checked(call, saved.tool, saved.document, {**wanted.inputs, **wanted.values}, facts)
    given = wanted.document if wanted.document is not None else {"steps": wanted.steps, "inputs": wanted.inputs}
    written = _as_steps if "steps" in given else str
    try:
        document = read_document({**UNNAMED, **given})
    except InvalidSettings as error:
        return refused_reply([error], written)
    found = await asyncio.to_thread(problems, document, call.room.catalog.builtin)
    if found:
        return refused_reply(found, written)
    tool = await asyncio.to_thread(compile_workflow, document, "unsaved", call.room.catalog.builtin)
    return await _checked(call, tool, document, wanted.values, {}, written)


async def _checked(
    call: Call,
    tool: Tool,
    document: WorkflowDocument,
    values: Mapping[str, Any],
    facts: Mapping[str, Any],
    written: Callable[[str], str] = str,
) -> types.CallToolResult:
    each, arguments = batch_of(tool, values)
    check = await call.room.jobs.checker.check(call.principal, tool, arguments, each=each)
    at = _paths(document)
    return check_reply(check, lambda step: written(at(step)), lambda field: f"inputs.{field}" if field else "", **facts)


def _as_steps(path: str) -> str:
    """A path into the components in the words of a caller who wrote steps."""
    return re.sub(r"^components(\[\d+\])?(\.type$)?", lambda m: f"steps{m[1] or ''}{'.tool' * bool(m[2])}", path)


def _paths(document: WorkflowDocument) -> Callable[[str], str]:
    """Where the steps of a plan stand in the document: `s2` is the second component that runs a tool."""
    running = [number for number, each in enumerate(document.components) if each.type.lower() != "input"]

    def path(step: str) -> str:
        number = step[1:]
        known = step.startswith("s") and number.isdecimal() and 0 < int(number) <= len(running)
        return f"components[{running[int(number) - 1]}]" if known else ""

    return path


CHECK_MANAGERS = (
    Manager(
        "check_workflow",
        "Check workflow",
        "Dry run of a workflow, saved or as steps: problems, sizes, time, credits.",
        CheckWorkflow,
        check_workflow,
        read_only=True,
        category="Workflows",
        example={"workflow": "gallery/web-ready", "inputs": {"image": "img_…"}},
        needs="workflows:read",
    ),
)
