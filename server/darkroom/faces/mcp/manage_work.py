"""Tools that look after work: pipelines, saved workflows, jobs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import mcp_types as types
from pydantic import Field

from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.replies import facts_reply
from darkroom.workflows.compile import compile_pipeline, parse_step, refuse_references
from darkroom.workflows.document import PipelineStep, WorkflowDocument
from darkroom.workflows.service import Saved
from darkroom_tools.base import Tool
from darkroom_tools.settings import Settings

__all__ = ["WORK_MANAGERS"]

JOB_NAMES = {"id": "job", "jobId": "job", "job_id": "job"}


class RunPipeline(Settings):
    """Arguments of run_pipeline."""

    steps: Annotated[list[PipelineStep], Field(min_length=1, max_length=20)]
    """Image tools in order"""
    images: Annotated[list[str], Field(min_length=1, max_length=200)]
    """Handles, paths or URLs; all steps run on each"""
    zip: bool = False
    """Also one ZIP of all results"""


class ListWorkflows(Settings):
    """Arguments of list_workflows: none."""


class DeleteWorkflow(Settings):
    """Arguments of delete_workflow."""

    aliases: ClassVar = {"id": "workflow", "tool": "workflow", "name": "workflow"}

    workflow: Annotated[str, Field(min_length=1, max_length=80)]
    """Its name or tool name"""


class GetJob(Settings):
    """Arguments of get_job."""

    aliases: ClassVar = JOB_NAMES

    job: str
    wait: Annotated[float, Field(ge=0, le=45)] = 30
    """Seconds to wait for the end"""
    offset: Annotated[int, Field(ge=0)] = 0
    """First item of a batch to show"""


class CancelJob(Settings):
    """Arguments of cancel_job."""

    aliases: ClassVar = JOB_NAMES

    job: str


async def run_pipeline(call: Call, wanted: RunPipeline) -> types.CallToolResult:
    """Run unsaved steps over one or many images."""
    tool, name, arguments = _single_step(call, wanted) or (
        compile_pipeline(wanted.steps, call.room.catalog.builtin),
        "image",
        {},
    )
    if len(wanted.images) == 1 and not wanted.zip:
        return await call.run_job(tool, {**arguments, name: wanted.images[0]})
    return await call.run_job(tool, {**arguments, name: wanted.images}, each=name, archive=wanted.zip)


def _single_step(call: Call, wanted: RunPipeline) -> tuple[Tool, str, Mapping[str, Any]] | None:
    """Of a single step the tool itself, the image it lacks, and its other arguments.

    So a batch can be of any tool, also of one that only reports, takes further images or is a saved workflow; and
    it shares its answers with single calls. None for what lacks more than one image, or a list.
    """
    if len(wanted.steps) > 1:
        return None
    refuse_references(wanted.steps)
    [step] = wanted.steps
    try:
        tool = call.room.catalog.find(call.principal, step.tool)
    except NotFound:
        return None
    lacks = [image for image in tool.inputs if image.required and image.name not in step.settings]
    if len(lacks) != 1 or lacks[0].many:
        return None
    images = {image.name for image in tool.inputs}
    parse_step(tool, {name: value for name, value in step.settings.items() if name not in images}, 0)
    return tool, lacks[0].name, step.settings


async def save_workflow(call: Call, document: WorkflowDocument) -> types.CallToolResult:
    """Save steps under a name; from then on they are a tool."""
    return facts_reply(_facts_of(await call.room.workflows.save(call.principal, document)))


async def list_workflows(call: Call, _wanted: ListWorkflows) -> types.CallToolResult:
    """What is saved, by name."""
    return facts_reply({"items": [_facts_of(saved) for saved in call.room.workflows.list(call.principal)]})


async def delete_workflow(call: Call, wanted: DeleteWorkflow) -> types.CallToolResult:
    """Delete one saved workflow; pictures made with it stay."""
    saved = await call.room.workflows.delete(call.principal, wanted.workflow)
    return facts_reply({"deleted": saved.name})


async def get_job(call: Call, wanted: GetJob) -> types.CallToolResult:
    """The result of a job, or how far it is."""
    job = await call.wait_for(wanted.job, wanted.wait)
    return await call.answer(job, offset=wanted.offset)


async def cancel_job(call: Call, wanted: CancelJob) -> types.CallToolResult:
    """Stop a job; what it finished stays."""
    job = await call.room.jobs.cancel(call.principal, wanted.job)
    facts: dict[str, Any] = {"job": job.id, "state": job.state}
    if job.items > 1:
        facts |= {"done": job.done, "total": job.items}
    return facts_reply(facts)


def _facts_of(saved: Saved) -> dict[str, Any]:
    document = saved.document
    facts = {
        "name": saved.name,
        "tool": saved.tool.name if saved.tool is not None else None,
        "steps": [step.tool for step in document.steps],
        "inputs": list(saved.tool.input_schema()["properties"]) if saved.tool is not None else None,
        "problem": saved.problem,
    }
    return {key: value for key, value in facts.items() if value is not None}


WORK_MANAGERS = (
    Manager(
        "run_pipeline",
        "Run pipeline",
        "Run one or several image tools in one go over up to 200 images: decoded once, encoded once, faster and "
        "cleaner than single calls.",
        RunPipeline,
        run_pipeline,
        idempotent=True,
        open_world=True,
        category="Workflows",
        example={
            "steps": [
                {"tool": "resize", "settings": {"width": 800}},
                {"tool": "convert", "settings": {"format": "webp"}},
            ],
            "images": ["img_…"],
        },
    ),
    Manager(
        "save_workflow",
        "Save workflow",
        "Save steps as a new tool. A setting may be ${{ inputs.name }}: the tool then takes that input. The same "
        "name replaces.",
        WorkflowDocument,
        save_workflow,
        destructive=True,
        idempotent=True,
        category="Workflows",
        example={
            "name": "Web photo",
            "steps": [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}],
            "inputs": {"width": {"default": 1200}},
        },
    ),
    Manager(
        "list_workflows",
        "List workflows",
        "Saved workflows and the tools they are.",
        ListWorkflows,
        list_workflows,
        read_only=True,
        category="Workflows",
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
    ),
    Manager(
        "get_job",
        "Get job",
        "Result of a job that outlasted its call, or its progress.",
        GetJob,
        get_job,
        read_only=True,
        example={"job": "job_…"},
    ),
    Manager(
        "cancel_job",
        "Cancel job",
        "Stop a running or queued job.",
        CancelJob,
        cancel_job,
        destructive=True,
        idempotent=True,
        example={"job": "job_…"},
    ),
)
