"""A tools/call, from arguments to reply."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError

from darkroom.engine.outcome import Progress
from darkroom.errors import DarkroomError, NotFound
from darkroom.faces.mcp.corrections import corrected_arguments, with_known_names
from darkroom.faces.mcp.progress import Reporter
from darkroom.faces.mcp.replies import error_reply, finished_reply, pending_reply, shown_items
from darkroom.faces.mcp.room import Context, Room
from darkroom.faces.mcp.stream import connection
from darkroom.principal import Principal
from darkroom.store.ids import new_id
from darkroom_tools.base import Tool
from darkroom_tools.settings import nearest, wire_names

if TYPE_CHECKING:
    from darkroom.faces.mcp.manage import Manager
    from darkroom.jobs.record import Job

__all__ = ["Call", "Caller", "internal_error", "unknown_tool"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One request for a tool: who asks, over which session, in which room."""

    room: Room
    ctx: Context
    principal: Principal

    async def run_job(
        self, tool: Tool, arguments: Mapping[str, Any], *, each: str | None = None, archive: bool = False
    ) -> types.CallToolResult:
        """Accept the job, wait for it as long as the client can, and answer.

        A client that cancels the request cancels the job; one that merely vanishes from a stream does not, nor
        does a server that stops. Over HTTP, closing the response is how a client cancels.
        """
        job = await self.room.jobs.accept(self.principal, tool, arguments, each=each, archive=archive)
        try:
            return await self.answer(await self._follow(job, self._patience()))
        except anyio.get_cancelled_exc_class():
            if self._cancelled_by_client():
                with anyio.CancelScope(shield=True):
                    await self.room.jobs.cancel(self.principal, job.id)
            raise

    async def wait_for(self, job_id: str, seconds: float) -> "Job":
        """The job, once it ended or the time is up; giving up the wait leaves it alone."""
        return await self._follow(await self.room.jobs.get(self.principal, job_id), seconds)

    async def answer(self, job: "Job", *, offset: int = 0) -> types.CallToolResult:
        """The reply for a job in whatever state it is."""
        if not job.ended:
            return pending_reply(job)
        items = shown_items(job, offset)
        handles = [handle for item in items for handle in item.images]
        gallery = await self.room.library.find(self.principal, handles) if handles else {}
        return finished_reply(job, gallery, self.room.links, offset=offset)

    def _cancelled_by_client(self) -> bool:
        here = connection()
        if here is not None:
            return here.cancelled_by_peer(self.ctx.request_id)
        return not self.room.jobs.stopping

    def _patience(self) -> float | None:
        pace = self.room.pace
        client = self.ctx.session.client_params
        name = client.client_info.name if client is not None else ""
        if name in pace.client_waits:
            return pace.client_waits[name]
        return None if self._wants_progress() else pace.wait

    def _wants_progress(self) -> bool:
        return self.ctx.meta is not None and self.ctx.meta.get("progress_token") is not None

    async def _follow(self, job: "Job", seconds: float | None) -> "Job":
        if job.ended or seconds == 0:
            return job
        if not self._wants_progress():
            return await self.room.jobs.wait(self.principal, job.id, seconds)
        reporter = Reporter(self.ctx.session, self.room.pace, items=job.items)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.run)
            tasks.start_soon(self._watch, job.id, reporter)
            job = await self.room.jobs.wait(self.principal, job.id, seconds)
            tasks.cancel_scope.cancel()
        if job.ended and job.items > 1:
            await reporter.close(Progress(job.done / job.items, f"{job.done} of {job.items} done"))
        return job

    async def _watch(self, job_id: str, reporter: Reporter) -> None:
        async with self.room.jobs.watch(job_id) as events:
            async for progress in events:
                reporter.offer(progress)


class Caller:
    """Dispatches tools/call to management tools and to the catalog."""

    def __init__(self, room: Room, managers: "Mapping[str, Manager]") -> None:
        self._room = room
        self._managers = managers

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> types.CallToolResult:
        """Handle tools/call. Every failure that an agent can act on is a reply; only an unknown name is not."""
        call = Call(self._room, ctx, self._room.principal(ctx))
        arguments = params.arguments or {}
        try:
            await self._room.workflows.refresh(call.principal)
            manager = self._managers.get(params.name)
            if manager is not None:
                return await manager(call, arguments)
            return await self._run_tool(call, params.name, arguments)
        except MCPError:
            raise
        except DarkroomError as error:
            return error_reply(error)
        except Exception:  # noqa: BLE001 - logged by internal_error; a trace must never reach the caller
            return error_reply(internal_error(params.name))

    async def _run_tool(self, call: Call, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        try:
            tool = self._room.catalog.find(call.principal, name)
        except NotFound as error:
            raise unknown_tool(name, self._known(call.principal)) from error
        images = [image.name for image in tool.inputs]
        repaired = with_known_names(arguments, [*images, *wire_names(tool.settings), *tool.settings.aliases])
        try:
            return await call.run_job(tool, repaired)
        except DarkroomError as error:
            return error_reply(error, corrected=_corrected_call(error, tool, repaired))

    def _known(self, principal: Principal) -> dict[str, str]:
        return {name: name for name in self._managers} | self._room.catalog.names(principal)


def _corrected_call(error: DarkroomError, tool: Tool, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    images = {image.name: arguments[image.name] for image in tool.inputs if image.name in arguments}
    singles = [image.name for image in tool.inputs if not image.many and isinstance(images.get(image.name), list)]
    if len(singles) == 1 and not any(image.required and image.name not in images for image in tool.inputs):
        settings = {name: value for name, value in arguments.items() if name != singles[0]}
        steps = [{"tool": tool.name, **({"settings": settings} if settings else {})}]
        return {"name": "run_pipeline", "arguments": {"steps": steps, "images": images[singles[0]]}}
    if any(image.required and image.name not in images for image in tool.inputs):
        return None
    fixed = corrected_arguments(error, arguments, tool.settings, others=images, example=tool.example)
    return {"name": tool.name, "arguments": fixed} if fixed is not None else None


def unknown_tool(name: str, known: Mapping[str, str]) -> MCPError:
    """The protocol error for a name that nobody lists; `known` gives the listed name of each that is understood."""
    near = known.get(nearest(name, list(known)) or "")
    hint = f" Did you mean {near!r}?" if near else " tools/list has all names."
    return MCPError(types.INVALID_PARAMS, f"Unknown tool {name[:60]!r}.{hint}", {"nearest": near} if near else None)


def internal_error(what: str) -> DarkroomError:
    """Log the exception being handled; the caller gets a reference to it and nothing else."""
    reference = new_id("req")
    log.exception("%s failed, request %s", what, reference)
    return DarkroomError(f"Something went wrong here. The server's log has it as {reference}.", requestId=reference)
