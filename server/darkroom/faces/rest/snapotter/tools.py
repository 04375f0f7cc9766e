"""Tools: what there is, and running one."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.app import Darkroom
from darkroom.faces.rest.snapotter.answers import Accepted, Made
from darkroom.faces.rest.snapotter.orders import RUN_FIELDS, place_files, read_order
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.faces.rest.snapotter.steps import can_be_step
from darkroom.routing import Door, Says, principal_of
from darkroom_tools.base import Tool
from darkroom_tools.schema import compact_schema

__all__ = ["HEADERS", "tool_routes"]

HEADERS = {
    "X-Job-Id": "Id of the job, for its progress and to download the result again.",
    "X-Original-Size": "Bytes of the files that came in.",
    "X-Processed-Size": "Bytes of the result.",
    "X-Saved-File-Id": "With `fileId`: the version that the result was kept as.",
    "Content-Disposition": "Name of the result.",
}
SEVERAL = frozenset({"files", "images"})
"""Outputs of which there may be more than one, which then go into a ZIP."""


class ToolFile(TypedDict):
    """A file that a tool takes."""

    field: str
    required: bool
    multiple: bool


class ToolRow(TypedDict):
    """A tool in the list."""

    id: str
    name: str
    description: str
    category: str
    aliases: list[str]
    batch: bool
    pipeline: bool


class ToolAnswer(ToolRow):
    """A tool with all that a call needs."""

    files: list[ToolFile]
    settings: dict[str, Any]
    example: dict[str, Any]
    output: str


class ToolsAnswer(TypedDict):
    """All tools that the caller may run."""

    tools: list[ToolRow]
    total: int


def tool_routes(runs: Runs) -> Sequence[Door]:
    """`/api/v1/tools` and one address for each tool."""
    room = runs.room

    async def show_all(request: Request) -> Response:
        principal = principal_of(request)
        await room.workflows.refresh(principal)
        rows = [_row(tool) for tool in room.catalog.tools_for(principal)]
        answer: ToolsAnswer = {"tools": rows, "total": len(rows)}
        return JSONResponse(answer)

    async def show(request: Request) -> Response:
        return JSONResponse(_whole(await find_tool(room, request)))

    async def run(request: Request) -> Response:
        tool = await find_tool(room, request)
        async with read_order(request, room) as order:
            owner = await runs.owner_of(principal_of(request), order)
            arguments = place_files(tool, order)
            job = await runs.accept(request, owner, tool, arguments, order, archive=tool.output in SEVERAL)
        return await runs.answer(request, owner, job, order)

    proposed = "the public description has no list of tools."
    return [
        Door(
            "/api/v1/tools",
            show_all,
            needs="tools:run",
            methods=["GET"],
            says=Says("List the tools.", answer=ToolsAnswer, inferred=proposed),
        ),
        Door(
            "/api/v1/tools/{toolId}",
            show,
            needs="tools:run",
            methods=["GET"],
            says=Says("Show a tool with its settings as JSON Schema.", answer=ToolAnswer, inferred=proposed),
        ),
        Door(
            "/api/v1/tools/{toolId}",
            run,
            needs="tools:run",
            methods=["POST"],
            says=Says(
                "Run a tool on a file.",
                form=RUN_FIELDS,
                answer=["application/octet-stream", "image/*", "application/pdf", "application/zip", Made],
                more={202: Accepted},
                headers=HEADERS,
                tools=True,
                inferred="JSON on `Accept: application/json`, 202 on `Prefer: respond-async`, fields by name for second "
                "files; the public description says that the file itself comes back.",
            ),
        ),
    ]


async def find_tool(room: Darkroom, request: Request) -> Tool:
    """The tool that an address names: a built-in one, or a workflow of the caller that is published as one.

    Raises:
        NotFound: There is none, or it is switched off.
    """
    principal = principal_of(request)
    await room.workflows.refresh(principal)
    return room.catalog.find(principal, request.path_params["toolId"])


def _row(tool: Tool) -> ToolRow:
    first = next((image for image in tool.inputs if image.required), None)
    return {
        "id": tool.id,
        "name": tool.title,
        "description": tool.summary,
        "category": tool.category,
        "aliases": list(tool.aliases),
        "batch": first is not None and not first.many,
        "pipeline": can_be_step(tool.id),
    }


def _whole(tool: Tool) -> ToolAnswer:
    files: list[ToolFile] = [
        {"field": image.name if number else "file", "required": image.required, "multiple": image.many}
        for number, image in enumerate(tool.inputs)
    ]
    return {
        **_row(tool),
        "files": files,
        "settings": compact_schema(tool.settings),
        "example": dict(tool.example),
        "output": tool.output,
    }
