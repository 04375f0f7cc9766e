"""Progress of a job as MCP notifications: rising, coalesced, and never silent for long."""

import anyio
from mcp.server.session import ServerSession

from darkroom.faces.mcp.room import Pace
from darkroom.jobs.record import Status

__all__ = ["Reporter"]

LONGEST_MESSAGE = 120

TINY = 1e-3
"""Share of what is left by which a notification rises when the work did not."""


class Reporter:
    """Sends the newest progress, at most every `pace.interval` and at least every `pace.heartbeat` seconds.

    The total is the number of items, so a client shows a batch as 12.3 of 200.
    """

    def __init__(self, session: ServerSession, pace: Pace, first: Status) -> None:
        self._session = session
        self._pace = pace
        self._newest = first
        self._fresh = anyio.Event()
        self._sent = -1.0

    def offer(self, status: Status) -> None:
        """Take the newest state; what was not sent yet is replaced."""
        self._newest = status
        self._fresh.set()

    async def run(self) -> None:
        """Send until cancelled; the first notification goes out at once."""
        while True:
            await self._send()
            await anyio.sleep(self._pace.interval)
            with anyio.move_on_after(self._pace.heartbeat - self._pace.interval):
                await self._fresh.wait()
            self._fresh = anyio.Event()

    async def close(self, last: Status) -> None:
        """Send how it ended; a batch may be done before a first count was told."""
        self._newest = last
        await self._send()

    async def _send(self) -> None:
        done = max(0.0, min(self._newest.fraction, 1.0))
        if done <= self._sent:
            done = self._sent + (1.0 - self._sent) * TINY
        if done > self._sent:
            self._sent = done
            total = self._newest.total
            await self._session.report_progress(done * total, float(total), self._newest.words[:LONGEST_MESSAGE])
