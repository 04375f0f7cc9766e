"""Jobs: the one way from a call to its result."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Picture, Progress
from darkroom.errors import DarkroomError, NotFound, Overloaded
from darkroom.intake import Intake
from darkroom.jobs.accepting import Accepted, BytesGone, Images, Resolver, record_call, replay
from darkroom.jobs.dispatch import Dispatcher
from darkroom.jobs.progress import ProgressBus
from darkroom.jobs.record import Job
from darkroom.jobs.recording import keep_finished
from darkroom.jobs.request import Call, Request, fingerprint, make_request
from darkroom.jobs.retention import Pruned, prune
from darkroom.library.library import Library
from darkroom.principal import Principal
from darkroom.store import queue
from darkroom.store.blobs import GRACE_SECONDS, BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import jobs
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import Plan

if TYPE_CHECKING:
    from darkroom.executors.local import LocalExecutor

__all__ = ["Jobs"]

DRAIN_SECONDS = 30.0
CANCEL_SECONDS = 5.0
RENDER_SECONDS = 30.0
LONGEST_KEY = 200
TRIES = 2

_MINE = sa.select(jobs).where(jobs.c.id == sa.bindparam("which"), jobs.c.owner == sa.bindparam("of"))


class Jobs:
    """Accepts calls, runs them, and answers for them. An async context manager: leaving it stops the work.

    Args:
        database: At the newest schema.
        blobs: Where bytes are.
        executor: Runs plans.
        intake: Resolves image arguments.
        library: Reads images and drops bytes.
        slots: Plans that the executor runs at once.
        limits: Seconds that plans may take.
        queue_limits: How much may wait and run.
        models: Digests of the installed models by id, empty where none can run; an answer depends on them.
        alone: True if no other process uses the database: what a dead one left is then taken over at once.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        database: Database,
        blobs: BlobStore,
        executor: "LocalExecutor",
        intake: Intake,
        library: Library,
        *,
        slots: int,
        limits: Limits,
        queue_limits: QueueLimits | None = None,
        models: Callable[[], Mapping[str, str]] = dict,
        alone: bool = False,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._executor = executor
        self._library = library
        self._limits = limits
        self._queue_limits = queue_limits or QueueLimits()
        self._models = models
        self._alone = alone
        self._resolver = Resolver(intake)
        self._bus = ProgressBus()
        self._dispatcher = Dispatcher(
            database, blobs, executor, self._bus, library.discard, slots=slots, limits=self._queue_limits
        )
        self._entering: set[asyncio.Task[Job]] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._blobs.remove_temporary, 0.0 if self._alone else GRACE_SECONDS)
        await self._dispatcher.start(alone=self._alone)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop_claiming()
        await asyncio.gather(*self._entering, return_exceptions=True)
        await self._dispatcher.aclose(DRAIN_SECONDS)

    @property
    def busy(self) -> bool:
        """Whether work runs or waits here."""
        return self._dispatcher.busy or bool(self._entering)

    @property
    def stopping(self) -> bool:
        """Whether nothing more is accepted; what is cut off now is not what its caller cancelled."""
        return self._stopping

    def stop_claiming(self) -> None:
        """Accept and start nothing more; what runs goes on, what waits stays queued."""
        self._stopping = True
        self._dispatcher.stop_claiming()

    async def accept(
        self,
        principal: Principal,
        tool: Tool,
        arguments: Mapping[str, Any],
        *,
        each: str | None = None,
        archive: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Validate a call and take it on: once this returns, it survives a crash.

        A call whose answer the library knows comes back finished, and is not kept as a job.

        Args:
            principal: Whose call it is.
            tool: What to run.
            arguments: Wire input: image parameters and settings.
            each: An image parameter that holds a list here: the tool runs once for each, and one failing image does
                not fail the others.
            archive: Put all results into one ZIP too, an image of its own in the library.
            idempotency_key: The same key with the same call gives the same job, however often it is sent.

        Raises:
            InvalidSettings: An argument is unknown, missing or out of range.
            Overloaded: The queue is full, or the server stops; try again after `details["retryAfter"]` seconds.
            Conflict: The key came with another call before.
            StorageFull: The disk has no room.
            DarkroomError: What `Intake.resolve` says of an image.
        """
        if self._stopping:
            raise Overloaded("The server is stopping. Try again in a few seconds.", code="SHUTTING_DOWN", retryAfter=5)
        call = Call.parse(tool, arguments, each)
        printed = fingerprint(tool, arguments, each, archive=archive)
        if idempotency_key is not None and (known := await self._replay(principal, idempotency_key, printed)):
            return known
        self._blobs.check_space()
        for _ in range(TRIES):
            items, brought = await self._resolver.resolve(principal, call)
            try:
                request = self._request(tool, call, items, batch=each is not None, archive=archive)
                job = await self._enter(Accepted(principal.id, tool.id, request, printed, idempotency_key))
            except BytesGone:
                continue
            except Exception:
                await self._drop(brought)
                raise
            if job.ended:
                await self._drop(brought)
            return job
        raise NotFound("The file of an image is gone. Hand the picture in again.")

    async def get(self, principal: Principal, job_id: str) -> Job:
        """A job as it is now.

        Raises:
            NotFound: No such job of the principal.
        """
        mine = {"which": job_id, "of": principal.id}
        row = await self._database.read(lambda c: c.execute(_MINE, mine).mappings().one_or_none())
        if row is None:
            raise NotFound("There is no such job, or it is no longer kept.")
        return Job.from_row(dict(row))

    async def wait(self, principal: Principal, job_id: str, seconds: float | None) -> Job:
        """The job once it ended, or as it is after so many seconds; None waits as long as it takes.

        Raises:
            NotFound: No such job of the principal.
        """
        async with self._bus.watch(job_id) as states:
            if self._bus.owner(job_id) != principal.id:
                job = await self.get(principal, job_id)
                if job.ended:
                    return job
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    async for _ in states:
                        pass
            return states.final or await self.get(principal, job_id)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[AsyncIterator[Progress]]:
        """The states of a job: the newest first, then each that follows, until it ends.

        A listener that is slow skips states in between, never the newest. Whether somebody may ask, `get` knows.
        """
        async with self._bus.watch(job_id) as states:
            if job_id in self._bus.followed():
                await self._dispatcher.follow([job_id])
            yield states

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        """Cancel a job and return it, in its end state if that is reached within 5 seconds; an ended job stays so.

        What a batch has finished is recorded like any result.

        Raises:
            NotFound: No such job of the principal.
        """
        now = time.time()
        keep = partial(keep_finished, now=now, has_bytes=self._blobs.exists)
        waited = await self._database.write(lambda c: queue.cancel(c, principal.id, job_id, now, keep))
        if self._dispatcher.stop(job_id):
            return await self.wait(principal, job_id, CANCEL_SECONDS)
        if waited:
            request = sa.select(jobs.c.request).where(jobs.c.id == job_id)
            wire = await self._database.read(lambda c: c.execute(request).scalar_one())
            await self._drop(Request.from_wire(wire).temporary())
            self._bus.end(job_id)
        return await self.get(principal, job_id)

    async def render(self, principal: Principal, handle: str, plan: Plan) -> tuple[bytes, Picture]:
        """Run a plan on one image of the library and return the file made; nothing is stored.

        Raises:
            NotFound: No such image of the principal.
            Overloaded: No slot was free for 30 seconds.
        """
        image = await self._library.get(principal, handle)
        slots = self._dispatcher.slots
        try:
            async with asyncio.timeout(RENDER_SECONDS):
                await slots.acquire()
        except TimeoutError as error:
            raise Overloaded("The server is busy. Try again in 5 seconds.", retryAfter=5) from error
        try:
            return await self._executor.render(plan, [image.sha256])
        finally:
            slots.release()

    async def counts(self) -> Mapping[str, int]:
        """How many jobs of all owners are `queued` and `running`."""
        return await self._database.read(queue.count_open)

    async def prune(self, older_than: float) -> Pruned:
        """Forget jobs and reports that ended over `older_than` seconds ago, and bytes that nothing needs."""
        return await prune(self._database, self._blobs, older_than)

    async def _replay(self, principal: Principal, key: str, printed: str) -> Job | None:
        if len(key) > LONGEST_KEY:
            raise InvalidSettings(f"An idempotency key has at most {LONGEST_KEY} characters.", got=len(key))
        return await self._database.read(lambda c: replay(c, principal.id, key, printed))

    def _request(
        self, tool: Tool, call: Call, items: Sequence[Images | DarkroomError], *, batch: bool, archive: bool
    ) -> Request:
        error = next((item for item in items if isinstance(item, DarkroomError)), None)
        if error is not None and not batch:
            raise error
        return make_request(tool, call, items, self._models(), self._limits, archive=archive)

    async def _enter(self, accepted: Accepted) -> Job:
        """Record a call, and start it if there is a slot."""
        # Shielded, because a claim must be followed by its run, whoever still waits for the answer.
        entering = asyncio.create_task(self._record(accepted))
        self._entering.add(entering)
        entering.add_done_callback(self._entered)
        return await asyncio.shield(entering)

    def _entered(self, task: "asyncio.Task[Job]") -> None:
        self._entering.discard(task)
        if not task.cancelled():
            task.exception()  # seen: it is raised in `_enter`, unless the caller went away

    async def _record(self, accepted: Accepted) -> Job:
        held = await self._dispatcher.try_slot()
        claims: list[queue.Claim] = []

        def work(connection: sa.Connection) -> tuple[Job, list[queue.Claim]]:
            job = record_call(connection, accepted, self._blobs, self._queue_limits, time.time())
            return job, self._dispatcher.claim_next(connection) if held and not job.ended else []

        try:
            job, claims = await self._database.write(work)
        except sa.exc.IntegrityError:
            # The same idempotency key came twice at once, and the other call was first.
            key = accepted.key or ""
            same = await self._database.read(lambda c: replay(c, accepted.owner, key, accepted.fingerprint))
            if same is None:
                raise
            job = same
        finally:
            if held and not claims:
                self._dispatcher.slots.release()
        for claim in claims:
            self._dispatcher.serve(claim)
        if not any(claim.id == job.id for claim in claims) and not job.ended:
            self._dispatcher.wake()
        return job

    async def _drop(self, digests: Collection[str]) -> None:
        for digest in digests:
            await self._library.discard(digest)
