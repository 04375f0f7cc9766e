"""tasks/get, tasks/update and tasks/cancel of the Tasks extension (SEP-2663), over the durable jobs."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.room import Context, Room
from darkroom.faces.mcp.tasks import TASKS, declared, task_facts

if TYPE_CHECKING:
    from mcp.server import Server

    from darkroom.jobs.record import Job

__all__ = ["TaskMethods", "require_tasks"]


class TaskParams(types.RequestParams):
    """Which task is meant."""

    task_id: str


class UpdateParams(TaskParams):
    """What the client answers; no tool here ever asks."""

    input_responses: Mapping[str, Any]


def require_tasks(ctx: Context) -> None:
    """Refuse a client that did not declare tasks with this request.

    Raises:
        MCPError: MISSING_REQUIRED_CLIENT_CAPABILITY.
    """
    if not declared(ctx):
        required: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        said = f"{ctx.method} needs the client capability extensions[{TASKS!r}]."
        raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, said, required)


class TaskMethods:
    """Answers for tasks. A task of somebody else is as unknown as one that never was."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: "Server[Any]") -> None:
        """Serve the methods and say so to clients."""
        server.extensions[TASKS] = {}
        server.add_request_handler("tasks/get", TaskParams, self.get)
        server.add_request_handler("tasks/update", UpdateParams, self.update)
        server.add_request_handler("tasks/cancel", TaskParams, self.cancel)

    async def get(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        """Handle tasks/get: how it stands, and once it is completed what its call would have been answered with."""
        job = await self._job(ctx, params)
        facts = task_facts(job, time.time())
        if facts["status"] == "completed":
            answer = await Call(self._room, ctx, self._room.principal(ctx)).answer(job)
            facts["result"] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
        return facts

    async def update(self, ctx: Context, params: UpdateParams) -> dict[str, Any]:
        """Handle tasks/update: nothing was asked, so nothing is answered by it."""
        await self._job(ctx, params)
        return {}

    async def cancel(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        """Handle tasks/cancel; a task that ended stays as it is."""
        job = await self._job(ctx, params)
        await self._room.jobs.cancel(self._room.principal(ctx), job.id)
        return {}

    async def _job(self, ctx: Context, params: TaskParams) -> "Job":
        """The job behind a request that may ask for it.

        Raises:
            MCPError: The protocol version has no tasks, the client did not declare them, the header names another
                task, or the caller has no such task.
        """
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(types.METHOD_NOT_FOUND, f"{ctx.method} needs protocol version 2026-07-28.")
        require_tasks(ctx)
        headers = getattr(ctx.request, "headers", None)
        if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != params.task_id:
            raise MCPError(types.HEADER_MISMATCH, f"The header {MCP_NAME_HEADER} does not match params.taskId.")
        try:
            return await self._room.jobs.get(self._room.principal(ctx), params.task_id)
        except NotFound as error:
            raise MCPError(types.INVALID_PARAMS, "There is no such task, or it is no longer kept.") from error
