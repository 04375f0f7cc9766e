"""A tools/call, from arguments to reply."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.shared.exceptions import MCPError

from darkroom.errors import DarkroomError, Forbidden, NotFound
from darkroom.faces.mcp.corrections import corrected_arguments, with_known_names
from darkroom.faces.mcp.progress import Reporter
from darkroom.faces.mcp.replies import error_reply, finished_reply, pending_reply, shown_items
from darkroom.faces.mcp.room import Context, Room
from darkroom.faces.mcp.stream import connection
from darkroom.faces.mcp.tasks import Reply, declared, task_created
from darkroom.faces.mcp.terms import JOB_KEY, terms_of, wait_of
from darkroom.principal import Permission, Principal
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
    ) -> Reply:
        """Accept the job, wait for it as long as the client can, and answer; a client that knows tasks gets one soon.

        A client that cancels the request cancels the job; one that merely vanishes from a stream does not, nor
        does a server that stops. Over HTTP, closing the response is how a client cancels.
        """
        terms, patience = terms_of(self._meta), self.patience()
        job = await self.room.jobs.accept(self.principal, tool, arguments, each=each, archive=archive, terms=terms)
        try:
            if not declared(self.ctx):
                return await self.answer(await self._follow(job, patience))
            if not job.ended:
                job = await self.room.jobs.wait(self.principal, job.id, self.room.pace.moment)
            return await self.answer(job) if job.ended else task_created(job, time.time())
        except anyio.get_cancelled_exc_class():
            if self._cancelled_by_client():
                with anyio.CancelScope(shield=True):
                    await self.room.jobs.cancel(self.principal, job.id)
            raise

    async def wait_for(self, job_id: str, seconds: float) -> "Job":
        """The job, once it ended or the time is up; giving up the wait leaves it alone."""
        limit = self._limit()
        seconds = seconds if limit is None else min(seconds, limit)
        return await self._follow(await self.room.jobs.get(self.principal, job_id), seconds)

    async def answer(self, job: "Job", *, offset: int = 0) -> types.CallToolResult:
        """The reply for a job in whatever state it is; its `_meta` names the job, for programs."""
        items = shown_items(job, offset)
        handles = [handle for item in items for handle in item.images]
        gallery = await self.room.library.find(self.principal, handles) if handles else {}
        reply = finished_reply if job.ended else pending_reply
        answer = reply(job, gallery, self.room.links, offset=offset)
        return answer.model_copy(update={"meta": {JOB_KEY: job.id}}) if job.stored else answer

    def _cancelled_by_client(self) -> bool:
        here = connection()
        if here is not None:
            return here.cancelled_by_peer(self.ctx.request_id)
        return not self.room.jobs.stopping

    def patience(self) -> float | None:
        """Seconds that this client can be kept waiting; None if it waits as long as it is told of progress."""
        limit = self._limit()
        if limit is None and self._wants_progress() and self._client_name() in self.room.pace.patient_clients:
            return None
        return self.room.pace.wait if limit is None else limit

    def _limit(self) -> float | None:
        """Seconds after which this client is known to give up: it said so, or its kind does."""
        said = wait_of(self._meta)
        return said if said is not None else self.room.pace.client_waits.get(self._client_name())

    def _client_name(self) -> str:
        client = self.ctx.session.client_params
        return client.client_info.name if client is not None else ""

    @property
    def _meta(self) -> Mapping[str, Any] | None:
        return self.ctx.meta

    def _wants_progress(self) -> bool:
        return self.ctx.meta is not None and self.ctx.meta.get("progress_token") is not None

    async def _follow(self, job: "Job", seconds: float | None) -> "Job":
        if job.ended or seconds == 0:
            return job
        if not self._wants_progress():
            return await self.room.jobs.wait(self.principal, job.id, seconds)
        reporter = Reporter(self.ctx.session, self.room.pace, job.status)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reporter.run)
            tasks.start_soon(self._watch, job.id, reporter)
            job = await self.room.jobs.wait(self.principal, job.id, seconds)
            tasks.cancel_scope.cancel()
        if job.ended and job.items > 1:
            await reporter.close(replace(job.status, fraction=job.done / job.items))
        return job

    async def _watch(self, job_id: str, reporter: Reporter) -> None:
        async with self.room.jobs.watch(job_id) as events:
            async for status in events:
                reporter.offer(status)


class Caller:
    """Dispatches tools/call to management tools and to the catalog."""

    def __init__(self, room: Room, managers: "Mapping[str, Manager]") -> None:
        self._room = room
        self._managers = managers

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> Reply:
        """Handle tools/call. Every failure that an agent can act on is a reply; only an unknown name is not."""
        call = Call(self._room, ctx, self._room.principal(ctx))
        arguments = params.arguments or {}
        try:
            await self._room.workflows.refresh(call.principal)
            manager = self._managers.get(params.name)
            _check_allowed(call.principal, manager)
            if manager is not None:
                return await manager(call, arguments)
            return await self._run_tool(call, params.name, arguments)
        except MCPError:
            raise
        except DarkroomError as error:
            return error_reply(error)
        except Exception:  # noqa: BLE001 - logged by internal_error; a trace must never reach the caller
            return error_reply(internal_error(params.name))

    async def _run_tool(self, call: Call, name: str, arguments: Mapping[str, Any]) -> Reply:
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


def _check_allowed(principal: Principal, manager: "Manager | None") -> None:
    needs: Permission = manager.needs if manager is not None else "tools:run"
    if not principal.may(needs):
        raise Forbidden(f"This needs the permission {needs}, which your key lacks.", needs=needs)


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
