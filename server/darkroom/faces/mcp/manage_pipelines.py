"""The tool that runs steps which nobody saved."""

from collections.abc import Mapping
from typing import Annotated, Any

import mcp_types as types
from pydantic import Field

from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.check_replies import check_reply, refused_reply
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.tasks import Reply
from darkroom.workflows.compile import compile_pipeline, parse_step, pipeline_problems, refuse_references
from darkroom.workflows.document import PipelineStep
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import Settings

__all__ = ["PIPELINE_MANAGERS"]


class RunPipeline(Settings):
    """Arguments of run_pipeline."""

    steps: Annotated[list[PipelineStep], Field(min_length=1, max_length=20)]
    """Image tools in order"""
    images: Annotated[list[str], Field(min_length=1, max_length=200)]
    """Handles, paths or URLs; all steps run on each"""
    zip: bool = False
    """Also one ZIP of all results"""
    dry_run: bool = False


async def run_pipeline(call: Call, wanted: RunPipeline) -> Reply:
    """Run unsaved steps over one or many images, or only tell what they would come to."""
    if wanted.dry_run:
        return await _foretold(call, wanted)
    tool, name, arguments = _single_step(call, wanted) or (
        compile_pipeline(wanted.steps, call.room.catalog.builtin),
        "image",
        {},
    )
    if len(wanted.images) == 1 and not wanted.zip:
        return await call.run_job(tool, {**arguments, name: wanted.images[0]})
    return await call.run_job(tool, {**arguments, name: wanted.images}, each=name, archive=wanted.zip)


async def _foretold(call: Call, wanted: RunPipeline) -> types.CallToolResult:
    """What the steps would come to: nothing is run, and wrong steps are an answer and no error."""
    builtin = call.room.catalog.builtin
    try:
        tool, name, arguments = _single_step(call, wanted) or (compile_pipeline(wanted.steps, builtin), "image", {})
    except InvalidSettings as error:
        return refused_reply(pipeline_problems(wanted.steps, builtin) or [error])
    given = {**arguments, name: wanted.images}
    check = await call.room.jobs.checker.check(call.principal, tool, given, each=name)
    return check_reply(check, _step_path, lambda field: "images" if field == name else f"steps[0].settings.{field}")


def _step_path(step: str) -> str:
    """Where a step stands: `s2` is the second one, and a single one is called as its tool."""
    return f"steps[{int(step[1:]) - 1}]" if step.startswith("s") and step[1:].isdecimal() else "steps[0]"


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


PIPELINE_MANAGERS = (
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
)
