"""A thousand queued jobs: how long taking one on needs, how fair the order is, and what a latecomer waits.

Real database (with full syncs) and blob store; the pictures' work is left out, so these are the figures of the queue.
"""

import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Output, Picture
from darkroom.intake import Intake
from darkroom.jobs.service import Jobs
from darkroom.jobs.terms import Terms
from darkroom.library.library import Library
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import QueueLimits
from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.plan import Plan

OWNERS = 10
JOBS = 1_000
CALLERS = 8
SLOTS = 2


@tool(title="Tint")
def tint(image: Image, settings: Settings) -> Image:
    """Colour an image; the executor here never calls it."""
    return image


class Executor:
    """Answers at once, when the gate is open."""

    def __init__(self, blobs: BlobStore) -> None:
        self.gate = asyncio.Event()
        self.ran: list[str] = []
        self._blobs = blobs

    async def run(self, plan: Plan, digests: Sequence[str], *_: Any, **__: Any) -> Any:
        await self.gate.wait()
        data = self._blobs.path(digests[0]).read_bytes()
        self.ran.append(data.decode(errors="replace")[8:].split("-")[0])
        picture = Picture("png", "image/png", len(data), 4, 3)
        outcome = Outcome([picture], [Output(Path("out.png"), picture)])
        return SimpleNamespace(outcome=outcome, digests=(self._blobs.put(data + b"tinted"),))


def picture(folder: Path, name: str) -> str:
    """A file of its own for each job, so that none is answered from the library."""
    path = folder / f"{name}.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    return str(path)


async def accept_all(jobs: Jobs, folder: Path, numbers: range, callers: int) -> list[float]:
    """Take on jobs, one owner's after the other's, by so many callers at once; milliseconds each."""
    times: list[float] = []
    names = [(f"owner{n // (JOBS // OWNERS)}", n) for n in numbers]

    async def caller() -> None:
        while names:
            owner, n = names.pop(0)
            arguments = {"image": picture(folder, f"{owner}-{n}")}
            start = time.perf_counter()
            await jobs.accept(Principal(owner, (folder,)), tint, arguments)
            times.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return times


def show(callers: str, times: Sequence[float]) -> None:
    """Print the quantiles of accept."""
    cuts = statistics.quantiles(times, n=100)
    print(f"  accept, {callers}: p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms, max {max(times):.1f} ms")


def fairness(ran: Sequence[str]) -> float:
    """Jain's index of what each owner had done: 1 if all had the same, 1/10 if one of ten had it all."""
    counts = [Counter(ran)[f"owner{n}"] for n in range(OWNERS)]
    return sum(counts) ** 2 / (OWNERS * sum(count**2 for count in counts))


async def measure(folder: Path) -> None:
    """Fill the queue, time it, let it run, print."""
    async with Database(f"sqlite:///{folder / 'darkroom.db'}") as database:
        blobs = BlobStore(folder / "blobs")
        library = Library(database, blobs)
        executor: Any = Executor(blobs)
        intake = Intake(blobs, 1_000_000, library.resolve)
        limits = QueueLimits(queued=JOBS + 100, owner_queued=JOBS, owner_running=100)
        async with Jobs(
            database, blobs, executor, intake, library, slots=SLOTS, limits=Limits(), queue_limits=limits, alone=True
        ) as jobs:
            half = JOBS // 2
            together = await accept_all(jobs, folder, range(half), CALLERS)
            alone = await accept_all(jobs, folder, range(half, JOBS), 1)
            waiting = (await jobs.counts())["queued"]
            late, urgent = Principal("late", (folder,)), Principal("urgent", (folder,))
            await jobs.accept(late, tint, {"image": picture(folder, "late-0")})
            await jobs.accept(urgent, tint, {"image": picture(folder, "urgent-0")}, terms=Terms(priority=10))
            start = time.perf_counter()
            executor.gate.set()
            while any((await jobs.counts()).values()):
                await asyncio.sleep(0.05)
            took = time.perf_counter() - start
    ran = [owner for owner in executor.ran if owner.startswith("owner")]
    print(f"{JOBS} jobs of {OWNERS} owners, one owner's after the other's; {waiting} wait at the end")
    show(f"{CALLERS} callers at once, 0 to {half} waiting", together)
    show(f"one caller, {half} to {JOBS} waiting", alone)
    shares = ", ".join(f"{part} % {fairness(ran[: JOBS * part // 100]):.3f}" for part in (5, 10, 50, 90))
    print(f"  fairness (Jain's index) after {shares} of the jobs")
    print(f"  a latecomer's only job was number {executor.ran.index('late') + 1} to run")
    print(f"  an urgent one of priority 10 was number {executor.ran.index('urgent') + 1}")
    print(f"  {len(executor.ran) / took:.0f} jobs a second run and recorded")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name)))


if __name__ == "__main__":
    main()
