"""Progress of a job as MCP notifications: rising, coalesced, and never silent for long."""

from collections.abc import Callable

import anyio
from mcp.server.session import ServerSession

from darkroom.engine.outcome import Progress
from darkroom.faces.mcp.room import Pace

__all__ = ["Reporter"]

LONGEST_MESSAGE = 120

TINY = 1e-3
"""Share of what is left by which a notification rises when the work did not."""

ETA_FROM = 0.05
"""Fraction from which the time left can be guessed."""


class Reporter:
    """Sends the newest progress, at most every `pace.interval` and at least every `pace.heartbeat` seconds.

    The total is the number of `items`, so a client shows a batch as 12.3 of 200. A batch says itself how long it
    still takes: it knows which items took no time.
    """

    def __init__(
        self, session: ServerSession, pace: Pace, clock: Callable[[], float] = anyio.current_time, *, items: int = 1
    ) -> None:
        self._session = session
        self._pace = pace
        self._items = items
        self._clock = clock
        self._started: float | None = None
        self._newest = Progress(0.0, "Queued")
        self._fresh = anyio.Event()
        self._sent = -1.0

    def offer(self, progress: Progress) -> None:
        """Take the newest state; what was not sent yet is replaced."""
        if self._started is None and progress.fraction > 0:
            self._started = self._clock()
        self._newest = progress
        self._fresh.set()

    async def run(self) -> None:
        """Send until cancelled; the first notification goes out at once."""
        while True:
            await self._send()
            await anyio.sleep(self._pace.interval)
            with anyio.move_on_after(self._pace.heartbeat - self._pace.interval):
                await self._fresh.wait()
            self._fresh = anyio.Event()

    async def close(self, last: Progress) -> None:
        """Send how it ended; a batch may be done before a first count was told."""
        self._newest = last
        await self._send()

    async def _send(self) -> None:
        done = max(0.0, min(self._newest.fraction, 1.0))
        if done <= self._sent:
            done = self._sent + (1.0 - self._sent) * TINY
        if done > self._sent:
            self._sent = done
            await self._session.report_progress(done * self._items, float(self._items), self._message())

    def _message(self) -> str:
        stage = self._newest.message or "Working"
        left = self._seconds_left()
        eta = "" if left is None else f", about {left} s left"
        return stage[: LONGEST_MESSAGE - len(eta)] + eta

    def _seconds_left(self) -> int | None:
        fraction = self._newest.fraction
        if self._items > 1 or self._started is None or not ETA_FROM <= fraction < 1.0:
            return None
        left = (self._clock() - self._started) * (1.0 - fraction) / fraction
        return round(left) or None
