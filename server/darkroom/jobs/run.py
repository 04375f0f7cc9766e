"""One job being run: its items side by side, each finished one kept, and how far the whole is."""

import asyncio
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Literal

from darkroom.engine.outcome import Progress
from darkroom.jobs.bundle import list_contents, pack
from darkroom.jobs.progress import Countdown, ProgressBus
from darkroom.jobs.record import ItemResult
from darkroom.jobs.recording import Entry, Made, load_entries, public_error, to_row
from darkroom.jobs.request import Request
from darkroom.library.library import find_images
from darkroom.store import queue
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import Claim

if TYPE_CHECKING:
    from darkroom.executors.local import LocalExecutor

__all__ = ["Run", "Stop"]

log = logging.getLogger(__name__)

Stop = Literal["cancelled", "shutdown", "lost"]
"""Why a run was ended from outside: by its owner, by this server's end, or because another worker has the job."""

PACKING = 0.03
"""Share of the progress that is left for the ZIP."""


class Run:
    """Runs the items of a claimed job in one slot of its own and in slots that nobody else wants.

    Attributes:
        claim: The job.
        request: What it is to do.
        entries: What the items came to so far, by number.
        archive: The ZIP of all results, once it is made.
        progress: How far the whole is; never falls.
        stopped: Set once it was ended from outside.
    """

    def __init__(
        self,
        claim: Claim,
        database: Database,
        blobs: BlobStore,
        executor: "LocalExecutor",
        bus: ProgressBus,
        slots: asyncio.Semaphore,
    ) -> None:
        self.claim = claim
        self.request = Request.from_wire(claim.request)
        self.entries: dict[int, Entry] = {}
        self.archive: Entry | None = None
        self.progress = Progress(0.0)
        self.stopped: Stop | None = None
        self._database = database
        self._blobs = blobs
        self._executor = executor
        self._bus = bus
        self._slots = slots
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
        if len(self.request.items) == 1 and self.claim.attempt == 1 and not self.request.archive:
            return await self._run_item(0)
        await self._run_items()
        if self.request.archive:
            self.archive = await self._pack()

    async def _run_items(self) -> None:
        self.entries = await self._database.read(lambda connection: load_entries(connection, self.claim.id))
        self._todo.extend(n for n in range(len(self.request.items)) if n not in self.entries)
        self._countdown.begin()
        async with asyncio.TaskGroup() as helpers:
            while self._todo:
                await self._share(helpers)
                if self._todo:
                    await self._run_item(self._todo.popleft())

    async def _share(self, helpers: asyncio.TaskGroup) -> None:
        """Give further items to the slots that are free now; whoever waits for a slot comes first."""
        while len(self._todo) > 1 and not self._slots.locked():
            await self._slots.acquire()
            helpers.create_task(self._help(helpers, self._todo.popleft()))

    async def _help(self, helpers: asyncio.TaskGroup, item: int) -> None:
        try:
            await self._run_item(item)
        finally:
            self._slots.release()
        await self._share(helpers)

    async def _run_item(self, number: int) -> None:
        item = self.request.items[number]
        entry: Entry
        try:
            finished = await self._executor.run(
                self.request.plan,
                item.inputs,
                lambda progress: self._advance(number, progress),
                self.request.wall,
                item.names,
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
        result, error = to_row(entry)
        needs = entry.digests() if isinstance(entry, Made) else []
        held = await self._database.write(lambda c: queue.checkpoint(c, self.claim, number, result, error, needs))
        if not held:
            self.stop("lost")

    async def _pack(self) -> Entry | None:
        """The ZIP of all results in the store, or why it cannot be; None where nothing was made."""
        handles = [
            handle for entry in self.entries.values() if isinstance(entry, ItemResult) for handle in entry.images
        ]
        known = await self._database.read(lambda c: find_images(c, self.claim.owner, handles))
        contents = list_contents(self._blobs, self.request, self.entries, known)
        if not contents.files:
            return None
        self._publish(self.progress.fraction, "Packing the ZIP")
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
        message = progress.message if progress is not None else self.progress.message
        if count > 1:
            message = f"{done} of {count} done{self._countdown.words(count - done)}"
        self._publish(fraction * (1.0 - PACKING) if self.request.archive else fraction, message)

    def _publish(self, fraction: float, message: str) -> None:
        self.progress = Progress(max(self.progress.fraction, min(fraction, 1.0)), message)
        self._bus.publish(self.claim.id, self.progress)
