"""Jobs: the one way from a call to its result."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy as sa

from darkroom.accounts.credits import Credits
from darkroom.engine.build import build
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Picture
from darkroom.errors import DarkroomError, NotFound, Overloaded
from darkroom.intake import Intake
from darkroom.jobs.accepting import Accepted, BytesGone, Images, Resolver, record_call, replay
from darkroom.jobs.checking import Checker
from darkroom.jobs.dispatch import Dispatcher
from darkroom.jobs.history import History, load_job
from darkroom.jobs.looking import Looker
from darkroom.jobs.progress import ProgressBus
from darkroom.jobs.record import ItemResult, Job, Status
from darkroom.jobs.recording import keep_finished, load_entries
from darkroom.jobs.request import Call, Request, fingerprint, make_request
from darkroom.jobs.retention import Pruned, clear_unlisted, prune, shrink
from darkroom.jobs.retrying import try_again
from darkroom.jobs.terms import Terms, checked
from darkroom.library.library import Library
from darkroom.library.quota import Quota
from darkroom.principal import Principal
from darkroom.store import queue
from darkroom.store.blobs import GRACE_SECONDS, BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import jobs
from darkroom_tools.base import Tool
from darkroom_tools.plan import Plan

if TYPE_CHECKING:
    from darkroom.executors.segments import Executor

__all__ = ["Jobs"]

DRAIN_SECONDS = 30.0
CANCEL_SECONDS = 5.0
RENDER_SECONDS = 30.0
TRIES = 2


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
        credits: Who pays; nothing has a price if None.
        quota: How much the pictures of one owner may take: who is at it can run nothing that makes more.
        engine: Refuses a plan that needs an image engine where there is none, or tells which makes its pictures.
        inside: Which hosts webhooks may reach inside the network.
        alone: True if no other process uses the database: what a dead one left is then taken over at once.

    Attributes:
        history: What was run.
        checker: Tells what calls would come to.
    """

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        database: Database,
        blobs: BlobStore,
        executor: "Executor",
        intake: Intake,
        library: Library,
        *,
        slots: int,
        limits: Limits,
        queue_limits: QueueLimits | None = None,
        models: Callable[[], Mapping[str, str]] = dict,
        credits: Credits | None = None,
        quota: Quota = Quota(),  # noqa: B008 - immutable
        engine: Callable[[Plan], str] = lambda _: "",
        inside: Callable[[str], bool] = lambda _: False,
        alone: bool = False,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._executor = executor
        self._library = library
        self._limits = limits
        self._queue_limits = queue_limits or QueueLimits()
        self._models = models
        self._credits = credits or Credits(database)
        self._quota = quota
        self._engine = engine
        self._inside = inside
        self._alone = alone
        self.history = History(database, library)
        looker = Looker(database, library, intake, executor)
        self.checker = Checker(
            database, looker, self._credits, slots=slots, limits=limits, models=models, engine=engine
        )
        self._resolver = Resolver(intake)
        self._bus = ProgressBus()
        self._dispatcher = Dispatcher(
            database, blobs, executor, self._bus, library.discard, slots=slots, limits=self._queue_limits
        )
        self._entering: set[asyncio.Task[Job]] = set()
        self._stopping = False

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._blobs.remove_temporary, 0.0 if self._alone else GRACE_SECONDS)
        await asyncio.to_thread(build)
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
        terms: Terms = Terms(),  # noqa: B008 - immutable
    ) -> Job:
        """Validate a call and take it on: once this returns, it survives a crash.

        A call whose answer the library knows comes back finished, and is not kept as a job unless its terms want it.

        Args:
            principal: Whose call it is.
            tool: What to run.
            arguments: Wire input: image parameters and settings.
            each: An image parameter that holds a list here: the tool runs once for each, and one failing image does
                not fail the others.
            archive: Put all results into one ZIP too, an image of its own in the library.
            terms: How it is to be treated.

        Raises:
            InvalidSettings: An argument is unknown, missing or out of range.
            Overloaded: The queue is full, or the server stops; try again after `details["retryAfter"]` seconds.
            Conflict: The key came with another call before.
            InsufficientCredits: The organisation cannot pay for it; nothing was queued.
            QuotaExceeded: The caller's pictures take what they may.
            StorageFull: The disk has no room.
            DarkroomError: What `Intake.resolve` says of an image.
        """
        self._check_open()
        terms = checked(terms, self._inside)
        call = Call.parse(tool, arguments, each)
        printed = fingerprint(tool, call, arguments, each, archive=archive)
        key = terms.idempotency_key
        if key is not None:
            known = await self._database.read(lambda c: replay(c, principal.id, key, printed))
            if known is not None:
                return known
        self._blobs.check_space()
        for _ in range(TRIES):
            items, brought = await self._resolver.resolve(principal, call)
            try:
                request = self._request(tool, call, items, batch=each is not None, archive=archive)
                request = replace(request, listed=terms.listed)
                job = await self._enter(Accepted(principal, tool, request, printed, terms))
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
        """A job as it is now; of a batch under way also the items that are done.

        Raises:
            NotFound: No such job of the principal.
        """

        def look(connection: sa.Connection) -> tuple[Job, Mapping[int, ItemResult]]:
            job = load_job(connection, principal.id, job_id)
            entries = load_entries(connection, job_id) if job.items > 1 and not job.ended else {}
            return job, {number: entry for number, entry in entries.items() if isinstance(entry, ItemResult)}

        job, parts = await self._database.read(look)
        now = self._bus.newest(job_id)
        return job if job.ended else replace(job, parts=dict(sorted(parts.items())), now=now)

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
    async def watch(self, job_id: str) -> AsyncIterator[AsyncIterator[Status]]:
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
        job = await self.get(principal, job_id)
        if waited:
            self._bus.end(job_id, job)
        return job

    async def retry(self, principal: Principal, job_id: str) -> Job:
        """Try the call of a job that failed or was cancelled once more; the new job, whose `retry_of` is the first one.

        Raises:
            NotFound: No such job of the principal, or the file of an input is gone.
            Conflict: Its last try is under way, or succeeded.
            Overloaded: The queue is full, or the server stops.
            InsufficientCredits: The organisation cannot pay for it.
            StorageFull: The disk has no room.
        """
        self._check_open()
        self._blobs.check_space()
        exists, now = self._blobs.exists, time.time()
        limits, credits = self._queue_limits, self._credits
        job = await self._database.write(lambda c: try_again(c, principal, job_id, limits, credits, exists, now))
        self._dispatcher.wake(job.deadline_at)
        return job

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

    async def prune(self, older_than: float, most_bytes: int | None = None) -> Pruned:
        """Forget jobs and reports that ended over `older_than` seconds ago, and bytes that nothing needs.

        Args:
            older_than: Also the age below which no upload is removed.
            most_bytes: Then the oldest results go until all images together have no more; None sets no limit.
        """
        if most_bytes is not None:
            await shrink(self._database, self._library.discard, most_bytes, older_than)
        return await prune(self._database, self._blobs, older_than)

    def _check_open(self) -> None:
        if self._stopping:
            raise Overloaded("The server is stopping. Try again in a few seconds.", code="SHUTTING_DOWN", retryAfter=5)

    async def clear_unlisted(self, older_than: float) -> int:
        """Remove images that are not in the file library and were last used over `older_than` seconds ago; how many."""
        return await clear_unlisted(self._database, self._library.discard, older_than)

    def _request(
        self, tool: Tool, call: Call, items: Sequence[Images | DarkroomError], *, batch: bool, archive: bool
    ) -> Request:
        error = next((item for item in items if isinstance(item, DarkroomError)), None)
        if error is not None and not batch:
            raise error
        request = make_request(tool, call, items, self._models(), self._limits, archive=archive, engine=self._engine)
        return replace(request, credits=self._credits.quote(tool, request.plan).each)

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
            limits, credits, quota = self._queue_limits, self._credits, self._quota
            job = record_call(connection, accepted, self._blobs, limits, credits, quota, time.time())
            return job, self._dispatcher.claim_next(connection) if held and not job.ended else []

        try:
            job, claims = await self._database.write(work)
        except sa.exc.IntegrityError:
            # The same idempotency key came twice at once, and the other call was first.
            key = accepted.terms.idempotency_key or ""
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
            self._dispatcher.wake(job.deadline_at)
        return job

    async def _drop(self, digests: Collection[str]) -> None:
        for digest in digests:
            await self._library.discard(digest)
