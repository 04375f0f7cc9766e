"""Server-sent events of jobs: counted, pinged, ended with the job; each face gives its frames their form."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from darkroom.errors import Overloaded, RateLimited
from darkroom.jobs.record import Job, Status
from darkroom.jobs.service import Jobs
from darkroom.principal import Principal

__all__ = ["PING_SECONDS", "Frame", "Streams", "frames_of"]

STREAMS = 500
OWNER_STREAMS = 20
PING_SECONDS = 15
INTERVAL = 0.2
"""Least seconds between two events of a stream."""

RETRY_AFTER = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """One event.

    Attributes:
        data: JSON values, or a text that is sent as it is.
        event: Its name; empty for the unnamed kind that `onmessage` gets.
    """

    data: Mapping[str, Any] | str
    event: str = ""

    def to_text(self, number: int) -> str:
        """As it is sent; the number is its id."""
        text = self.data if isinstance(self.data, str) else _written(self.data)
        name = f"event: {self.event}\n" if self.event else ""
        return f"id: {number}\n{name}data: {text}\n\n"


class Streams:
    """The open event streams of a server.

    Args:
        most: How many may be open.
        most_of_owner: How many of one owner may be.
    """

    def __init__(self, most: int = STREAMS, most_of_owner: int = OWNER_STREAMS) -> None:
        self._most = most
        self._most_of_owner = most_of_owner
        self._open: Counter[str] = Counter()

    async def follow(
        self,
        jobs: Jobs,
        principal: Principal,
        job_id: str,
        show: Callable[[Status], Frame | None],
        end: Callable[[Job], Frame],
    ) -> Response:
        """The newest state of a job, then each that follows, then its end.

        States build on one another, so whoever comes back after a break is told the newest one and misses nothing.

        Args:
            jobs: Whose job it is.
            principal: Who asks.
            job_id: Of the principal.
            show: The frame of a state; None for one that is not told.
            end: The last frame.

        Raises:
            NotFound: No such job of the principal.
            RateLimited: The owner has as many streams open as one may have.
            Overloaded: The server has.
        """
        await jobs.get(principal, job_id)
        return self.open(principal, frames_of(jobs, principal, job_id, show, end))

    def open(self, principal: Principal, frames: AsyncIterator[str]) -> Response:
        """A stream of any frames, as they are sent; it counts as the principal's.

        Raises:
            RateLimited: The owner has as many streams open as one may have.
            Overloaded: The server has.
        """
        self._enter(principal.id)
        return _EventStream(frames, lambda: self._leave(principal.id))

    def _enter(self, owner: str) -> None:
        if self._open[owner] >= self._most_of_owner:
            raise RateLimited(
                f"You have {self._most_of_owner} event streams open, and no more may be. Close one, or poll the job.",
                retryAfter=RETRY_AFTER,
            )
        if self._open.total() >= self._most:
            raise Overloaded(
                f"{self._most} event streams are open. Try again in {RETRY_AFTER} seconds.", retryAfter=RETRY_AFTER
            )
        self._open[owner] += 1

    def _leave(self, owner: str) -> None:
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


async def frames_of(
    jobs: Jobs, principal: Principal, job_id: str, show: Callable[[Status], Frame | None], end: Callable[[Job], Frame]
) -> AsyncIterator[str]:
    """The frames of a job as `Streams.follow` sends them."""
    silent = number = 0
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
                yield end(await jobs.get(principal, job_id)).to_text(number + 1)
                return
            silent = 0
            if (frame := show(status)) is not None:
                number += 1
                yield frame.to_text(number)
                await asyncio.sleep(INTERVAL)


def _written(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))
