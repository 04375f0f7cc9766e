"""How far each job is, for any number of listeners in this process: one stream for MCP, SSE and the command line."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from darkroom.jobs.record import Job, Status

__all__ = ["Countdown", "ProgressBus", "Watch"]

EVIDENCE = 2
"""Items of a batch that must be done before its end can be guessed."""

ENOUGH = 0.05
"""Share of a single item that must be done before its end can be guessed."""


class Countdown:
    """Guesses how long a job still takes by what was done since `begin`; known answers do not count.

    Args:
        clock: Seconds, never falling.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._newest = 0.0
        self._done = 0

    def begin(self) -> None:
        """The first item is about to run."""
        self._began = self._clock()

    def item_done(self) -> None:
        """One more item has run."""
        self._done += 1
        self._newest = self._clock()

    def of_items(self, left: int) -> float | None:
        """Seconds that so many items still take, None while that is not known."""
        if self._done < EVIDENCE or not left:
            return None
        each = (self._newest - self._began) / self._done
        return max(0.0, each * left - (self._clock() - self._newest))

    def of_rest(self, fraction: float) -> float | None:
        """Seconds that a single item still takes of which this share is done, None while that is not known."""
        if not ENOUGH <= fraction < 1.0:
            return None
        return (self._clock() - self._began) * (1.0 - fraction) / fraction


class _Topic:
    """One job: its newest state, and who wants to hear of the next."""

    def __init__(self) -> None:
        self.owner: str | None = None
        self.newest: Status | None = None
        self.ended = False
        self.final: Job | None = None
        self.listeners: set[asyncio.Event] = set()

    def tell(self) -> None:
        for listener in self.listeners:
            listener.set()


class Watch(AsyncIterator[Status]):
    """The states of a job: the newest one first, then each that follows, until it ends.

    A listener that is slow skips states in between, never the newest.
    """

    def __init__(self, topic: _Topic) -> None:
        self._topic = topic
        self._seen: Status | None = None
        self.fresh = asyncio.Event()

    @property
    def final(self) -> Job | None:
        """The ended job, if it ended in this process while somebody watched."""
        return self._topic.final

    async def __anext__(self) -> Status:
        """The next state; stops when the job ended."""
        while True:
            newest = self._topic.newest
            if newest is not None and newest != self._seen:
                self._seen = newest
                return newest
            if self._topic.ended:
                raise StopAsyncIteration
            self.fresh.clear()
            await self.fresh.wait()


class ProgressBus:
    """Fans progress out. Only the newest state is kept, so a slow listener holds nobody up."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def begin(self, job_id: str, owner: str) -> None:
        """This process runs the job and will publish its progress."""
        self._topics.setdefault(job_id, _Topic()).owner = owner

    def publish(self, job_id: str, status: Status) -> None:
        """Tell all listeners of a job, and those that come later; what is done never becomes less."""
        topic = self._topics.get(job_id)
        if topic is None:
            return
        if topic.newest is not None and status.fraction < topic.newest.fraction:
            status = replace(status, fraction=topic.newest.fraction)
        if status != topic.newest:
            topic.newest = status
            topic.tell()

    def newest(self, job_id: str) -> Status | None:
        """How a job stands that runs in this process; None of any other."""
        topic = self._topics.get(job_id)
        return topic.newest if topic is not None and topic.owner is not None else None

    def end(self, job_id: str, final: Job | None = None) -> None:
        """The job ended: so do its listeners, once they have seen the end state."""
        if final is not None:
            self.publish(job_id, final.status)
        topic = self._topics.pop(job_id, None)
        if topic is not None:
            topic.ended = True
            topic.final = final
            topic.tell()

    def leave(self, job_id: str) -> None:
        """The job goes on, but no longer in this process."""
        topic = self._topics.get(job_id)
        if topic is not None:
            topic.owner = None
            self._forget_if_unheard(job_id, topic)

    def owner(self, job_id: str) -> str | None:
        """Whose job it is, None if it does not run in this process."""
        topic = self._topics.get(job_id)
        return topic.owner if topic is not None else None

    def followed(self) -> list[str]:
        """Jobs that somebody listens to and that this process does not run."""
        return [job_id for job_id, topic in self._topics.items() if topic.owner is None]

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[Watch]:
        """Listen to a job."""
        topic = self._topics.setdefault(job_id, _Topic())
        watch = Watch(topic)
        topic.listeners.add(watch.fresh)
        try:
            yield watch
        finally:
            topic.listeners.discard(watch.fresh)
            self._forget_if_unheard(job_id, topic)

    def _forget_if_unheard(self, job_id: str, topic: _Topic) -> None:
        if not topic.listeners and topic.owner is None and self._topics.get(job_id) is topic:
            del self._topics[job_id]
