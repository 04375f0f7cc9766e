"""Takes jobs from the queue as fast as there are slots, keeps their leases, and ends them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from darkroom.errors import DarkroomError, DatabaseBusy
from darkroom.jobs.progress import ProgressBus
from darkroom.jobs.record import Job, Status
from darkroom.jobs.recording import LeaseLost, cut_off, end_job, keep_finished
from darkroom.jobs.run import Run, Stop
from darkroom.jobs.slots import Slot
from darkroom.store import queue
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.queue import Claim, QueueLimits
from darkroom.store.schema import jobs

if TYPE_CHECKING:
    from darkroom.executors.segments import Executor

__all__ = ["Dispatcher"]

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
POLL_SECONDS = 5.0
FINISH_TRIES = 3


class Dispatcher:
    """Runs claimed jobs in `slots` slots. A job is claimed only when a slot is free: that is the back-pressure.

    Args:
        slots: Plans that the executor can run at once.
        discard: Deletes stored bytes that nothing else needs.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        executor: "Executor",
        bus: ProgressBus,
        discard: Callable[[str], Awaitable[object]],
        *,
        slots: int,
        limits: QueueLimits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.worker = new_id("wrk")
        self.slots = asyncio.Semaphore(slots)
        self._database = database
        self._blobs = blobs
        self._executor = executor
        self._bus = bus
        self._discard = discard
        self._limits = limits
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._servants: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._work = asyncio.Event()
        self._stopping = False
        self._saved: dict[str, Status] = {}
        self._beat_at = self._poll_at = 0.0
        self._deadline: float | None = None

    @property
    def busy(self) -> bool:
        """Whether a job runs here or may be waiting for a slot here."""
        return bool(self._servants) or self._work.is_set()

    async def start(self, *, alone: bool) -> None:
        """Take what dead workers left, then claim whenever there is work and a slot."""
        await self._reap(alone=alone)
        await self._expire()
        self._work.set()
        self._loops = [asyncio.create_task(self._claim_forever()), asyncio.create_task(self._tick_forever())]

    def stop_claiming(self) -> None:
        """Take no further job; those that run go on."""
        self._stopping = True

    async def aclose(self, seconds: float) -> None:
        """Stop claiming, let running jobs go on for so long, then put the rest back into the queue."""
        self.stop_claiming()
        if self._servants:
            await asyncio.wait(self._servants, timeout=seconds)
        for run in self._runs.values():
            run.stop("shutdown")
        if self._servants:
            await asyncio.wait(self._servants)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await self._database.write(lambda connection: queue.release(connection, self.worker))

    async def try_slot(self) -> bool:
        """Take a slot if one is free and nobody waits for it."""
        if self.slots.locked():
            return False
        return await self.slots.acquire()

    def wake(self, deadline: float | None = None) -> None:
        """A job was queued, with this deadline."""
        if deadline is not None:
            self._deadline = min(deadline, self._deadline or deadline)
        self._work.set()

    def claim_next(self, connection: sa.Connection) -> list[Claim]:
        """Claim one job in the caller's transaction, for a slot that the caller holds and then gives to `serve`."""
        if self._stopping:
            return []
        return queue.claim(connection, self.worker, 1, self._clock(), self._limits)

    def serve(self, claim: Claim) -> None:
        """Run a claimed job in the caller's slot, and then whatever waits for one."""
        self._bus.begin(claim.id, claim.owner)
        servant = asyncio.create_task(self._serve(claim))
        self._servants.add(servant)
        servant.add_done_callback(self._servants.discard)

    def stop(self, job_id: str, why: Stop = "cancelled") -> bool:
        """End a job if it runs here; says whether it does."""
        run = self._runs.get(job_id)
        if run is not None:
            run.stop(why)
        return run is not None

    async def follow(self, job_ids: list[str]) -> None:
        """Tell the listeners of jobs that do not run here how they are."""
        names = ("id", "state", "progress", "message", "done", "item_count", "finished_at")
        query = sa.select(*(jobs.c[name] for name in names)).where(jobs.c.id.in_(job_ids))
        rows = {row.id: row for row in await self._database.read(lambda c: c.execute(query).all())}
        for job_id in job_ids:
            if job_id in self._runs:
                continue
            row = rows.get(job_id)
            if row is not None:
                status = Status(row.state, row.progress, row.message, row.done, row.item_count)
                self._bus.publish(job_id, status)
            if row is None or row.finished_at is not None:
                self._bus.end(job_id)

    async def tick(self) -> None:
        """Renew leases, save progress, see to deadlines and to what other processes did; call it every second."""
        now = self._clock()
        for run in self._runs.values():
            if run.claim.deadline_at is not None and run.claim.deadline_at <= now:
                run.stop("deadline")
        if self._deadline is not None and self._deadline <= now:
            await self._expire()
        status = {run.claim.id: run.status for run in self._runs.values() if run.status.fraction > 0}
        if self._runs and (status != self._saved or now - self._beat_at >= self._limits.lease_seconds / 3):
            self._beat_at = now
            self._saved = status
            await self._heartbeat(now)
        if followed := self._bus.followed():
            await self.follow(followed)
        if now - self._poll_at >= POLL_SECONDS:
            self._poll_at = now
            await self._poll(now)

    async def _serve(self, claim: Claim) -> None:
        current: Claim | None = claim
        slot = Slot(self.slots)
        try:
            while current is not None:
                current = await self._run(current, slot)
                if current is not None:
                    self._bus.begin(current.id, current.owner)
        except Exception:
            log.exception("a job could not be ended; its lease runs out and it is tried again")
        finally:
            slot.release()

    async def _run(self, claim: Claim, slot: Slot) -> Claim | None:
        """Run one job to its end; the next one for the same slot, if any."""
        run = Run(claim, self._database, self._blobs, self._executor, self._bus, slot, self._clock)
        self._runs[claim.id] = run
        try:
            await run.ended()
            if run.stopped in ("shutdown", "lost"):
                return None
            return await self._end(run, slot)
        except LeaseLost:
            log.warning("%s was taken over by another worker; the work done here is dropped", claim.id)
            return None
        finally:
            del self._runs[claim.id]
            self._bus.leave(claim.id)

    async def _end(self, run: Run, slot: Slot) -> Claim | None:
        """Record the end of a job and claim the next in one transaction."""

        def work(connection: sa.Connection) -> tuple[Job, list[Claim]]:
            now, exists = self._clock(), self._blobs.exists
            done = (connection, run.claim, run.request, run.entries, now, exists)
            if run.stopped is None:
                job = end_job(*done, run.archive)
            else:
                job = cut_off(*done, queue.TOO_LATE if run.stopped == "deadline" else None)
            return job, self.claim_next(connection) if slot.held else []

        job, claims = await self._insist(work)
        for digest in run.request.temporary():
            await self._discard(digest)
        self._bus.end(job.id, job)
        if not slot.held:
            self.wake()
        return claims[0] if claims else None

    async def _insist(self, work: Callable[[sa.Connection], tuple[Job, list[Claim]]]) -> tuple[Job, list[Claim]]:
        for _ in range(FINISH_TRIES - 1):
            try:
                return await self._database.write(work)
            except DatabaseBusy:
                continue
        return await self._database.write(work)

    async def _claim_forever(self) -> None:
        while not self._stopping:
            await self._work.wait()
            await self.slots.acquire()
            self._work.clear()
            claims: list[Claim] = []
            try:
                claims = await self._database.write(self.claim_next)
            except DarkroomError as error:
                log.warning("no job could be claimed: %s", error.message)
            finally:
                if not claims:
                    self.slots.release()
            if claims:
                self.serve(claims[0])
                self._work.set()

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.tick()
            except DarkroomError as error:
                log.warning("leases could not be renewed: %s", error.message)

    async def _heartbeat(self, now: float) -> None:
        held = [(run.claim, run.status.fraction, run.status.stage) for run in self._runs.values()]
        cancelled, lost = await self._database.write(lambda c: queue.heartbeat(c, held, now, self._limits))
        for job_id in cancelled:
            self.stop(job_id)
        for job_id in lost:
            self.stop(job_id, "lost")

    async def _poll(self, now: float) -> None:
        waiting = sa.select(jobs.c.seq).where(jobs.c.state == "queued").limit(1)
        expired = sa.select(jobs.c.seq).where(jobs.c.state == "running", jobs.c.lease_until < now).limit(1)

        def look(connection: sa.Connection) -> tuple[int | None, int | None, float | None]:
            return connection.scalar(waiting), connection.scalar(expired), queue.next_deadline(connection)

        queued, dead, self._deadline = await self._database.read(look)
        if dead is not None:
            await self._reap(alone=False)
        if queued is not None or dead is not None:
            self.wake()

    async def _expire(self) -> None:
        """End the waiting jobs whose deadline has passed, and learn the next one."""
        now = self._clock()

        def work(connection: sa.Connection) -> tuple[list[str], float | None]:
            return queue.expire(connection, now, self._keep(now)), queue.next_deadline(connection)

        late, self._deadline = await self._database.write(work)
        if late:
            log.info("%d waiting jobs were not done by their deadline", len(late))
            await self.follow(late)

    def _keep(self, now: float) -> queue.Keep:
        return partial(keep_finished, now=now, has_bytes=self._blobs.exists)

    async def _reap(self, *, alone: bool) -> None:
        now = self._clock()
        keep, limits = self._keep(now), self._limits
        reaped = await self._database.write(lambda c: queue.reap(c, now, limits, keep, alone=alone))
        if reaped.queued or reaped.failed:
            again, failed = len(reaped.queued), len(reaped.failed)
            log.warning("dead workers left %d jobs: %d are queued again, %d failed", again + failed, again, failed)
