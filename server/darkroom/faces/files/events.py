"""A job as server-sent events: the same stream that MCP notifications and the command line are made of."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from darkroom.errors import Overloaded, RateLimited
from darkroom.jobs.record import Job
from darkroom.jobs.service import Jobs
from darkroom.principal import LOCAL, Principal

__all__ = ["event_routes"]

STREAMS = 500
OWNER_STREAMS = 20
PING_SECONDS = 15
INTERVAL = 0.2
"""Least seconds between two events of a stream."""

RETRY_AFTER = 10


class Streams:
    """How many streams are open, in all and of each owner."""

    def __init__(self, most: int, most_of_owner: int) -> None:
        self._most = most
        self._most_of_owner = most_of_owner
        self._open: Counter[str] = Counter()

    def enter(self, owner: str) -> None:
        """Count one more.

        Raises:
            RateLimited: The owner has as many as one may have.
            Overloaded: The server has.
        """
        if self._open[owner] >= self._most_of_owner:
            raise RateLimited(
                f"You have {self._most_of_owner} event streams open, and no more may be. Close one, or ask get_job.",
                retryAfter=RETRY_AFTER,
            )
        if self._open.total() >= self._most:
            raise Overloaded(
                f"{self._most} event streams are open. Try again in {RETRY_AFTER} seconds.", retryAfter=RETRY_AFTER
            )
        self._open[owner] += 1

    def leave(self, owner: str) -> None:
        """Count one less."""
        self._open[owner] -= 1
        if not self._open[owner]:
            del self._open[owner]


class _EventStream(StreamingResponse):
    """Frames that are counted as long as somebody may read them."""

    def __init__(self, frames: AsyncIterator[str], leave: Callable[[], None]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(frames, media_type="text/event-stream", headers=headers)
        self._leave = leave

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the job ends or the reader is gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()


def event_routes(
    jobs: Jobs,
    principal_of: Callable[[Request], Principal] = lambda _: LOCAL,
    *,
    streams: int = STREAMS,
    owner_streams: int = OWNER_STREAMS,
) -> Sequence[BaseRoute]:
    """`GET /jobs/{id}/events`: the newest state first, each that follows, and one `end`.

    Args:
        jobs: Whose events are told.
        principal_of: Who asks; others' jobs are not there.
        streams: How many may be open.
        owner_streams: How many of one owner may be.
    """
    counted = Streams(streams, owner_streams)

    async def events(request: Request) -> Response:
        principal, job_id = principal_of(request), request.path_params["job"]
        await jobs.get(principal, job_id)
        counted.enter(principal.id)
        return _EventStream(_frames(jobs, principal, job_id), lambda: counted.leave(principal.id))

    return [Route("/jobs/{job}/events", events, methods=["GET"])]


async def _frames(jobs: Jobs, principal: Principal, job_id: str) -> AsyncIterator[str]:
    silent = 0
    async with jobs.watch(job_id) as states:
        while not jobs.stopping:
            try:
                async with asyncio.timeout(1.0):
                    status = await anext(states)
            except TimeoutError:
                silent += 1
                if silent % PING_SECONDS == 0:
                    yield ": ping\n\n"
                continue
            except StopAsyncIteration:
                yield _frame("end", _end(await jobs.get(principal, job_id)))
                return
            silent = 0
            yield _frame("progress", {"job": job_id, **status.to_wire()})
            await asyncio.sleep(INTERVAL)


def _end(job: Job) -> dict[str, Any]:
    images = job.result.images() if job.result is not None else []
    return {"job": job.id, **job.status.to_wire(), "images": images, **({"error": job.error} if job.error else {})}


def _frame(event: str, data: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
