"""Ids that clients choose for their jobs, so that progress can be watched before there is an answer."""

import asyncio
from contextlib import suppress
from uuid import UUID

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.jobs.history import Filter
from darkroom.principal import Principal
from darkroom.store.ids import is_id
from darkroom_tools.errors import DarkroomError

__all__ = ["CLIENT_ID", "ClientNames", "chosen_id", "no_job"]

CLIENT_ID = "clientJobId"
"""The label under which a job keeps the id that its client chose."""


class _Expected:
    """A job that somebody waits for."""

    def __init__(self) -> None:
        self.waiting = 0
        self.here = asyncio.Event()
        self.came: str | DarkroomError | None = None


class ClientNames:
    """Finds jobs by their own ids and by those that clients chose; whoever comes before the job is told when it comes."""

    def __init__(self) -> None:
        self._expected: dict[tuple[str, str], _Expected] = {}

    def announce(self, owner: str, chosen: str, came: str | DarkroomError) -> None:
        """Tell those who wait for it that the job was accepted, or why it was not."""
        expected = self._expected.get((owner, chosen))
        if expected is not None:
            expected.came = came
            expected.here.set()

    async def wait(self, room: Darkroom, principal: Principal, chosen: str, seconds: float) -> str | None:
        """The id of the newest job under a chosen id, as soon as there is one; None if none comes in so many seconds.

        Raises:
            DarkroomError: The call came and was refused; this says why.
        """
        key = (principal.id, chosen)
        expected = self._expected.setdefault(key, _Expected())
        expected.waiting += 1
        try:
            found = await room.jobs.history.list(principal, Filter(labels={CLIENT_ID: chosen}), limit=1)
            if found.jobs:
                return found.jobs[0].id
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await expected.here.wait()
        finally:
            expected.waiting -= 1
            if not expected.waiting and self._expected.get(key) is expected:
                del self._expected[key]
        if isinstance(expected.came, DarkroomError):
            raise expected.came
        return expected.came

    async def find(self, room: Darkroom, principal: Principal, text: str) -> str:
        """The id of a job, from that or from the one that its client chose.

        Raises:
            NotFound: There is none of the principal.
        """
        if is_id(text, "job"):
            return text
        chosen = chosen_id(text)
        found = await self.wait(room, principal, chosen, 0.0) if chosen else None
        if found is None:
            raise no_job()
        return found


def chosen_id(text: str) -> str:
    """An id that a client may have chosen, in its usual form; empty for what is no UUID."""
    try:
        return str(UUID(text))
    except ValueError:
        return ""


def no_job() -> NotFound:
    """What is said of a job that is not there, and of somebody else's."""
    return NotFound("There is no such job, or it is no longer kept.")
