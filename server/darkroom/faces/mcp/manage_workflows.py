"""Tools that look after saved workflows, and the one that runs any of them."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import mcp_types as types
from pydantic import ConfigDict, Field, WithJsonSchema, model_validator

from darkroom.faces.mcp.batches import batch_of
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.corrections import corrected_arguments
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.manage_images import handle_of
from darkroom.faces.mcp.replies import error_reply
from darkroom.faces.mcp.tasks import Reply
from darkroom.faces.mcp.workflow_replies import everything_reply, list_reply, saved_reply
from darkroom.library.record import ImageRecord
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.exchange import read_document
from darkroom.workflows.recipe import Edit, recipe
from darkroom.workflows.service import Saved
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.settings import Settings, wire_names

__all__ = ["WORKFLOW_MANAGERS"]

COMPONENT = re.compile(r"components\[(\d+)\](\.type\b)?")

ONE = {"id": "workflow", "tool": "workflow", "name": "workflow", "workflowId": "workflow"}

STEP_SCHEMA = {
    "type": "object",
    "properties": {"tool": {"type": "string"}, "id": {"type": "string"}, "settings": {"type": "object"}},
    "required": ["tool"],
}


class SaveWorkflow(Settings):
    """Arguments of save_workflow: the fields of the document, or the picture whose recipe it is to be."""

    # The other fields of a document are taken too, and checked with it as a whole.
    model_config = ConfigDict(extra="allow", json_schema_extra={"additionalProperties": False})
    aliases: ClassVar = {"components": "steps", "from_image": "fromImage", "image": "fromImage"}

    name: str
    steps: Annotated[list[Any], WithJsonSchema({"type": "array", "items": STEP_SCHEMA})] | None = None
    """A setting may be ${{ inputs.name }}, an image ${{ steps.id.image }}"""
    from_image: str | None = None
    """Handle: save the steps that made it"""
    inputs: Annotated[Any, WithJsonSchema({"type": "object"})] = None
    """By name {default, …}; with fromImage the setting to open, such as resize.width"""
    description: str = ""
    published: bool | None = None
    """Whether it is a tool of its own"""


class ListWorkflows(Settings):
    """Arguments of list_workflows."""

    aliases: ClassVar = {**ONE, "search": "query", "tag": "query"}

    workflow: Annotated[str, Field(min_length=1, max_length=120)] | None = None
    """Tell all about this one"""
    query: Unpublished[Annotated[str, Field(max_length=80)]] = ""
    """Part of the name, the description or a tag."""


class RunWorkflow(Settings):
    """Arguments of run_workflow."""

    aliases: ClassVar = ONE

    workflow: Annotated[str, Field(min_length=1, max_length=120)]
    """Name or id, of a version name@2"""
    inputs: dict[str, Any] = Field(default_factory=dict)
    """By name; one image as a list runs on each. Also aspectRatio, imageSize 2K"""
    zip: Unpublished[bool] = False
    """Also one ZIP of all results."""

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """What stands beside `inputs` is meant to stand in it."""
        if not isinstance(data, Mapping) or not isinstance(data.get("inputs", {}), Mapping):
            return data
        own = {**cls.aliases, **{name: name for name in wire_names(cls)}}
        inputs = {**{key: value for key, value in data.items() if key not in own}, **data.get("inputs", {})}
        return {**{key: value for key, value in data.items() if key in own}, "inputs": inputs}


class DeleteWorkflow(Settings):
    """Arguments of delete_workflow."""

    aliases: ClassVar = ONE

    workflow: Annotated[str, Field(min_length=1, max_length=120)]
    """Its name or tool name"""


async def save_workflow(call: Call, wanted: SaveWorkflow) -> types.CallToolResult:
    """Save a document as the next version of the workflow of that name."""
    given = {key: value for key, value in wanted.to_wire().items() if value is not None}
    handle = given.pop("fromImage", None)
    if handle is not None and "steps" in given:
        raise InvalidSettings("Give steps or fromImage, not both.", field="fromImage")
    if handle is None and "steps" not in given and "published" in given:
        saved = await call.room.workflows.publish(call.principal, wanted.name, published=bool(wanted.published))
        return saved_reply(saved)
    if handle is not None:
        given |= await _recipe(call, handle_of(handle), given.pop("inputs", {}))
    try:
        return saved_reply(await call.room.workflows.save(call.principal, read_document(given)))
    except InvalidSettings as error:
        if handle is not None:
            raise
        models = {tool.id: tool.settings for tool in call.room.catalog.builtin.values()}
        fixed = corrected_arguments(error, given, WorkflowDocument, step_models=models)
        corrected = {"name": "save_workflow", "arguments": fixed} if fixed is not None else None
        return error_reply(_as_written(error), corrected=corrected)


def _as_written(error: InvalidSettings) -> InvalidSettings:
    """The error in the words of this tool, whose components are steps."""

    def steps(text: str) -> str:
        return COMPONENT.sub(lambda match: f"steps[{match[1]}]{'.tool' if match[2] else ''}", text)

    details = {**error.details, "field": steps(str(error.details["field"]))} if "field" in error.details else {}
    return InvalidSettings(steps(error.message), **details)


async def _recipe(call: Call, handle: str, opened: Any) -> dict[str, Any]:
    if not isinstance(opened, Mapping | list):
        raise InvalidSettings("With fromImage, inputs is an object: by name the setting that it opens.", field="inputs")
    history = await call.room.library.history(call.principal, handle)
    return recipe([_edit(record) for record in history], opened, call.room.catalog.builtin)


def _edit(record: ImageRecord) -> Edit:
    return Edit(record.id, record.parent, record.root, record.tool, record.steps, record.format)


async def list_workflows(call: Call, wanted: ListWorkflows) -> types.CallToolResult:
    """What is saved and what comes with Darkroom, by name; or everything about one."""
    if wanted.workflow is not None:
        saved = await call.room.catalog.workflow(call.principal, wanted.workflow)
        versions = await call.room.workflows.versions(call.principal, saved) if saved.owner else []
        return everything_reply(saved, versions, price=call.room.credits.price_of(saved))
    await call.room.workflows.refresh(call.principal, now=True)
    mine, common = call.room.workflows.list(call.principal), await call.room.catalog.gallery()
    mine, common = _holding(wanted.query, mine), _holding(wanted.query, common)
    return list_reply(mine, common, asked=bool(wanted.query), price=call.room.credits.price_of)


def _holding(query: str, among: Sequence[Saved]) -> list[Saved]:
    wanted = query.casefold()
    return [
        saved
        for saved in among
        if wanted in "\n".join([saved.name, saved.document.description, *saved.document.tags]).casefold()
    ]


async def run_workflow(call: Call, wanted: RunWorkflow) -> Reply:
    """Run a workflow on pictures; over each of several where one of its images is given as a list."""
    saved = await call.room.catalog.workflow(call.principal, wanted.workflow)
    tool = saved.runnable()
    each, arguments = batch_of(tool, wanted.inputs, archive=wanted.zip)
    try:
        return await call.run_job(tool, arguments, each=each, archive=wanted.zip)
    except DarkroomError as error:
        images = {image.name: arguments[image.name] for image in tool.inputs if image.name in arguments}
        if any(image.required and image.name not in images for image in tool.inputs):
            return error_reply(error)
        fixed = corrected_arguments(error, arguments, tool.settings, others=images, example=tool.example)
        again = {"workflow": wanted.workflow, "inputs": fixed, **({"zip": True} if wanted.zip else {})}
        corrected = {"name": "run_workflow", "arguments": again} if fixed is not None else None
        return error_reply(error, corrected=corrected)


async def delete_workflow(call: Call, wanted: DeleteWorkflow) -> types.CallToolResult:
    """Delete one saved workflow with its versions; pictures and jobs made with it stay."""
    saved = await call.room.workflows.delete(call.principal, wanted.workflow)
    return saved_reply(saved, deleted=True)


WORKFLOW_MANAGERS = (
    Manager(
        "save_workflow",
        "Save workflow",
        "Save steps, or what led to a picture, as a new tool. The same name adds a version.",
        SaveWorkflow,
        save_workflow,
        idempotent=True,
        category="Workflows",
        example={
            "name": "Web photo",
            "steps": [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}],
            "inputs": {"width": {"default": 1200}},
        },
        needs="workflows:write",
    ),
    Manager(
        "list_workflows",
        "List workflows",
        "Saved workflows, their tools, and the gallery; all of one with its document to copy.",
        ListWorkflows,
        list_workflows,
        read_only=True,
        category="Workflows",
        needs="workflows:read",
    ),
    Manager(
        "run_workflow",
        "Run workflow",
        "Run a saved or gallery workflow. list_workflows tells its inputs.",
        RunWorkflow,
        run_workflow,
        idempotent=True,
        open_world=True,
        category="Workflows",
        example={"workflow": "gallery/web-ready", "inputs": {"image": "img_…"}},
    ),
    Manager(
        "delete_workflow",
        "Delete workflow",
        "Delete a saved workflow and its tool.",
        DeleteWorkflow,
        delete_workflow,
        destructive=True,
        idempotent=True,
        category="Workflows",
        example={"workflow": "Web photo"},
        needs="workflows:write",
    ),
)
