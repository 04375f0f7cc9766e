"""One job being run: its items side by side, each finished one kept, and how far the whole is."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Literal

from darkroom.engine.outcome import Progress
from darkroom.jobs.bundle import list_contents, pack
from darkroom.jobs.progress import Countdown, ProgressBus
from darkroom.jobs.record import ItemResult, Status
from darkroom.jobs.recording import Entry, Made, keep_item, load_entries, public_error
from darkroom.jobs.request import Request
from darkroom.jobs.slots import Slot
from darkroom.library.library import find_images
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import Claim

if TYPE_CHECKING:
    from darkroom.executors.segments import Executor

__all__ = ["Run", "Stop"]

log = logging.getLogger(__name__)

Stop = Literal["cancelled", "deadline", "shutdown", "lost"]
"""Why a run was ended from outside: by its owner, by its deadline, by this server's end, or because another worker has
the job."""

PACKING = 0.03
"""Share of the progress that is left for the ZIP."""


class Run:
    """Runs the items of a claimed job in one slot of its own and in slots that nobody else wants.

    Attributes:
        claim: The job.
        request: What it is to do.
        entries: What the items came to so far, by number.
        archive: The ZIP of all results, once it is made.
        status: How far the whole is; its fraction never falls.
        stopped: Set once it was ended from outside.
    """

    def __init__(
        self,
        claim: Claim,
        database: Database,
        blobs: BlobStore,
        executor: "Executor",
        bus: ProgressBus,
        slot: Slot,
        clock: Callable[[], float],
    ) -> None:
        self.claim = claim
        self.request = Request.from_wire(claim.request)
        self.entries: dict[int, Entry] = {}
        self.archive: Entry | None = None
        self.status = Status("running", total=len(self.request.items))
        self.stopped: Stop | None = None
        self._database = database
        self._blobs = blobs
        self._executor = executor
        self._bus = bus
        self._slot = slot
        self._clock = clock
        self._helpers: asyncio.TaskGroup | None = None
        self._helping: set[asyncio.Task[None]] = set()
        self._fractions: dict[int, float] = {}
        self._todo: deque[int] = deque()
        self._countdown = Countdown()
        self._task = asyncio.create_task(self._run_all())

    def stop(self, why: Stop) -> None:
        """End it; the first reason counts."""
        if self.stopped is None and self._task.cancel():
            self.stopped = why

    async def ended(self) -> None:
        """Wait until nothing of it runs any more.

        Raises:
            Exception: What went wrong here; errors of items are in `entries`.
        """
        await asyncio.wait({self._task})
        if not self._task.cancelled() and (error := self._task.exception()) is not None:
            raise error

    async def _run_all(self) -> None:
        self._countdown.begin()
        self._publish(0.0, "")
        if len(self.request.items) == 1 and self.claim.attempt == 1 and not self.request.archive:
            return await self._run_item(0, self._slot)
        await self._run_items()
        if self.request.archive:
            self.archive = await self._pack()

    async def _run_items(self) -> None:
        self.entries = await self._database.read(lambda connection: load_entries(connection, self.claim.id))
        self._todo.extend(n for n in range(len(self.request.items)) if n not in self.entries)
        self._countdown.begin()
        async with asyncio.TaskGroup() as self._helpers:
            while self._todo:
                await self._share(self._helpers)
                if self._todo:
                    await self._run_item(self._todo.popleft(), self._slot)
            if self._helping:
                # They may wait for a slot themselves, and to end the job takes none.
                self._slot.release()

    async def _share(self, helpers: asyncio.TaskGroup, keep: int = 1) -> None:
        """Give further items to the slots that are free now, all but `keep`; who waits for a slot comes first."""
        while len(self._todo) > keep and (slot := await self._slot.another()) is not None:
            task = helpers.create_task(self._help(helpers, self._todo.popleft(), slot))
            self._helping.add(task)
            # Not in the task: one that is cancelled before it began would keep its slot.
            task.add_done_callback(partial(self._helped, slot=slot))

    def _helped(self, task: asyncio.Task[None], slot: Slot) -> None:
        self._helping.discard(task)
        slot.release()

    async def _help(self, helpers: asyncio.TaskGroup, item: int, slot: Slot) -> None:
        await self._run_item(item, slot)
        slot.release()
        await self._share(helpers)

    @asynccontextmanager
    async def _away(self, slot: Slot) -> AsyncIterator[None]:
        """While an item waits for another machine its slot is free for other work, such as the next item."""
        async with slot.lent():
            if self._helpers is not None:
                await self._share(self._helpers, keep=0)
            yield

    async def _run_item(self, number: int, slot: Slot) -> None:
        item = self.request.items[number]
        entry: Entry
        try:
            finished = await self._executor.run(
                self.request.plan,
                item.inputs,
                lambda progress: self._advance(number, progress),
                self.request.wall,
                item.names,
                away=partial(self._away, slot),
                job=f"{self.claim.id}/{number}",
            )
            entry = Made.of(finished.outcome, finished.digests)
        except Exception as error:
            entry = public_error(error)
            if entry.error and entry.error["code"] == "INTERNAL":
                log.exception("item %d of %s failed", number, self.claim.id)
        self.entries[number] = entry
        self._fractions.pop(number, None)
        self._countdown.item_done()
        if len(self.entries) < len(self.request.items) or self.request.archive:
            await self._checkpoint(number, entry)
            self._advance()

    async def _checkpoint(self, number: int, entry: Entry) -> None:
        """Put what the item came to into the library at once, so that it is there whatever becomes of the others."""
        keep = partial(keep_item, claim=self.claim, request=self.request, number=number, entry=entry)
        has_bytes = self._blobs.exists
        kept = await self._database.write(lambda c: keep(c, now=self._clock(), has_bytes=has_bytes))
        if kept is None:
            self.stop("lost")
        else:
            self.entries[number] = kept

    async def _pack(self) -> Entry | None:
        """The ZIP of all results in the store, or why it cannot be; None where nothing was made."""
        handles = [
            handle for entry in self.entries.values() if isinstance(entry, ItemResult) for handle in entry.images
        ]
        known = await self._database.read(lambda c: find_images(c, self.claim.owner, handles))
        contents = list_contents(self._blobs, self.request, self.entries, known)
        if not contents.files:
            return None
        self._publish(self.status.fraction, "Packing the ZIP")
        given_up = threading.Event()
        try:
            return await asyncio.to_thread(pack, self._blobs, contents, given_up)
        except asyncio.CancelledError:
            given_up.set()
            raise
        except Exception as error:
            entry = public_error(error)
            if entry.error and entry.error["code"] == "INTERNAL":
                log.exception("the ZIP of %s failed", self.claim.id)
            return entry

    def _advance(self, number: int | None = None, progress: Progress | None = None) -> None:
        if number is not None and progress is not None:
            self._fractions[number] = progress.fraction
        count, done = len(self.request.items), len(self.entries)
        fraction = (done + sum(self._fractions.values())) / count
        stage = progress.message if progress is not None else ""
        self._publish(fraction * (1.0 - PACKING) if self.request.archive else fraction, stage)

    def _publish(self, fraction: float, stage: str) -> None:
        count, done = len(self.request.items), len(self.entries)
        fraction = max(self.status.fraction, min(fraction, 1.0))
        left = self._countdown.of_items(count - done) if count > 1 else self._countdown.of_rest(fraction)
        self.status = Status("running", fraction, stage or self.status.stage, done, count, left)
        self._bus.publish(self.claim.id, self.status)
