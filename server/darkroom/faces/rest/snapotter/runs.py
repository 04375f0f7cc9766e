"""Running what a request asks for: taken on as a job, waited for, kept as a version where wanted, and answered."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from darkroom.app import Darkroom
from darkroom.errors import Forbidden
from darkroom.faces.rest.common import finished, run_terms
from darkroom.faces.rest.snapotter.answers import Outcome, accepted, made_of, send, wants_later
from darkroom.faces.rest.snapotter.names import CLIENT_ID, ClientNames
from darkroom.faces.rest.snapotter.orders import Order
from darkroom.jobs.record import Job
from darkroom.principal import Principal
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError

__all__ = ["Runs"]

log = logging.getLogger(__name__)


class Runs:
    """What the routes that run something share.

    Args:
        room: Need not run before the first call.

    Attributes:
        names: Ids that clients chose.
    """

    def __init__(self, room: Darkroom) -> None:
        self.room = room
        self.names = ClientNames()
        self._keeping: set[asyncio.Task[str]] = set()

    async def owner_of(self, principal: Principal, order: Order) -> Principal:
        """Whose job it becomes: of who owns the file that it gives a new version.

        Raises:
            Forbidden: It is somebody whose key is for no files.
            NotFound: There is no such file that the principal may use.
        """
        if not order.file_id:
            return principal
        if not principal.may("files:write"):
            raise Forbidden("'fileId' needs the permission files:write, which your key lacks.", needs="files:write")
        return await self.room.files.acting_for(principal, order.file_id)

    async def accept(
        self,
        request: Request,
        owner: Principal,
        tool: Tool,
        arguments: Mapping[str, Any],
        order: Order,
        *,
        each: str | None = None,
        archive: bool = False,
    ) -> Job:
        """Take a call on; what it makes stays out of the file library, unless a file of it goes in.

        Raises:
            DarkroomError: What `Jobs.accept` says.
        """
        labels = {CLIENT_ID: order.client_id} if order.client_id else {}
        terms = run_terms(request, labels=labels, listed=bool(order.file_id) and not order.files)
        try:
            job = await self.room.jobs.accept(owner, tool, arguments, each=each, archive=archive, terms=terms)
        except DarkroomError as error:
            self.names.announce(owner.id, order.client_id, error)
            raise
        self.names.announce(owner.id, order.client_id, job.id)
        return job

    async def answer(
        self,
        request: Request,
        owner: Principal,
        job: Job,
        order: Order,
        *,
        more: Mapping[str, Any] | None = None,
    ) -> Response:
        """The result as soon as it is there, or 202 where that takes too long or the client would not wait.

        Raises:
            DarkroomError: The work failed.
        """
        made = await self.wait(request, owner, job, order)
        if made is None:
            return accepted(request, job)
        saved = await self._keep(owner, made, order.file_id) if order.file_id else ""
        told = {**(more or {})}
        if made.main is None and (source := order.name or await self._name_of(owner, order)):
            told["filename"] = source
        original = order.bytes if order.files else None
        return await send(request, self.room, made, original=original, saved=saved, more=told)

    async def wait(self, request: Request, owner: Principal, job: Job, order: Order) -> Outcome | None:
        """What the job made; None where it goes on without its client.

        Raises:
            DarkroomError: The work failed.
        """
        later = wants_later(request)
        if not later:
            job = await finished(self.room, owner, job)
        if later or not job.ended:
            if order.file_id:
                self._keep_later(owner, job, order.file_id)
            return None
        return await made_of(self.room, owner, job)

    async def _name_of(self, owner: Principal, order: Order) -> str:
        if not order.file_id:
            return ""
        return (await self.room.library.get(owner, order.file_id)).name

    def _keep_later(self, owner: Principal, job: Job, parent: str) -> None:
        task = asyncio.create_task(self._keep_when_done(owner, job, parent))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _keep_when_done(self, owner: Principal, job: Job, parent: str) -> str:
        try:
            ended = await self.room.jobs.wait(owner, job.id, None)
            return await self._keep(owner, await made_of(self.room, owner, ended), parent)
        except DarkroomError as error:
            log.info("nothing of %s was kept as a version: %s", job.id, error.message)
            return ""

    async def _keep(self, owner: Principal, made: Outcome, parent: str) -> str:
        """Keep what was made as the next version of a file; its handle, empty for what only reports.

        A call that is repeated under one key, or that the library answers, gives the version that there is already.
        """
        kept = ""
        for record in made.records:
            chain = await self.room.files.chain(owner, parent)
            same = (each for each in chain if each.parent == parent and each.sha256 == record.sha256)
            known = next((each for each in same if each.tool == made.job.tool), None)
            if known is None or not known.listed:
                known = await self.room.files.keep_version(owner, record.id, parent, made.job.tool)
            kept = kept or known.id
        return kept
