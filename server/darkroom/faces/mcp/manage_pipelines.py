"""The tool that runs steps which nobody saved."""

from collections.abc import Mapping
from typing import Annotated, Any

import mcp_types as types
from pydantic import Field

from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.workflows.compile import compile_pipeline, parse_step, refuse_references
from darkroom.workflows.document import PipelineStep
from darkroom_tools.base import Tool
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
