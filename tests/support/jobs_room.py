"""One server's jobs on a data directory, with workers that a test holds back and lets go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from darkroom.accounts.credits import Credits
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Output, Picture, Progress
from darkroom.intake import Intake
from darkroom.jobs.record import Job
from darkroom.jobs.service import Jobs
from darkroom.library.library import Library
from darkroom.library.quota import Quota
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.queue import QueueLimits
from darkroom_tools.base import Image, Report, Settings, tool
from darkroom_tools.plan import Plan

PATIENCE = 30.0


class Shade(Settings):
    """Settings of the tools here."""

    shade: int = 0


class Size(Report):
    """What `measure` says."""

    width: int


@tool(title="Tint")
def tint(image: Image, settings: Shade) -> Image:
    """Colour an image."""
    raise NotImplementedError


@tool(title="Blend")
def blend(image: Image, watermark: Image, settings: Shade) -> Image:
    """Put one image over another."""
    raise NotImplementedError


@tool(title="Measure")
def measure(image: Image, settings: Shade) -> Size:
    """Say how large an image is."""
    raise NotImplementedError


@tool(title="Cut out", models=("cutter",))
def cut_out(image: Image, settings: Shade) -> Image:
    """Remove the background."""
    raise NotImplementedError


def png(name: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + name.encode()


@dataclass
class FakeExecutor:
    """Stands in for the workers: answers from the plan and the bytes, when the gate is open."""

    blobs: BlobStore
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    runs: list[tuple[str, ...]] = field(default_factory=list)
    running: int = 0
    most: int = 0
    stopped: int = 0
    started: asyncio.Condition = field(default_factory=asyncio.Condition)
    emits: list[Callable[[Progress], None]] = field(default_factory=list)
    fail: Callable[[bytes], Exception | None] = lambda data: None
    walls: list[float | None] = field(default_factory=list)

    async def run(
        self,
        plan: Plan,
        digests: Sequence[str],
        emit: Callable[[Progress], None] = lambda _: None,
        wall_seconds: float | None = None,
        names: Sequence[str] = (),
        *,
        away: Any = None,
        job: str = "",
    ) -> Any:
        data = [self.blobs.path(digest).read_bytes() for digest in digests]
        self.walls.append(wall_seconds)
        self.emits.append(emit)
        async with self.started:
            self.runs.append(tuple(digests))
            self.running += 1
            self.most = max(self.most, self.running)
            self.started.notify_all()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.stopped += 1
            raise
        finally:
            self.running -= 1
        if error := self.fail(data[0]):
            raise error
        inputs = [Picture("png", "image/png", len(each), 8, 6) for each in data]
        if not plan.steps or plan.steps[-1].tool == "measure":
            return SimpleNamespace(outcome=Outcome(inputs, report={"width": 8}), digests=())
        made = png(f"{plan.to_wire()}{data}")
        output = Output(Path("out.png"), Picture("png", "image/png", len(made), 4, 3))
        outcome = Outcome(inputs, [output], facts={"method": "fake"}, kept=["icc"], removed=["gps"], warnings=["Slow."])
        return SimpleNamespace(outcome=outcome, digests=(await asyncio.to_thread(self.blobs.put, made),))

    async def render(self, plan: Plan, digests: Sequence[str]) -> tuple[bytes, Picture]:
        return b"shown", Picture("webp", "image/webp", 5, 4, 3)

    async def has_run(self, count: int) -> None:
        """Wait until so many runs have started."""
        async with asyncio.timeout(PATIENCE), self.started:
            await self.started.wait_for(lambda: len(self.runs) >= count)


@dataclass
class Room:
    """One server's parts on a data directory."""

    folder: Path
    database: Database
    blobs: BlobStore
    library: Library
    executor: FakeExecutor
    jobs: Jobs
    ann: Principal
    ben: Principal

    def picture(self, name: str) -> str:
        path = self.folder / "pictures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(name))
        return str(path)

    async def rows(self, table: sa.Table) -> list[Any]:
        return await self.database.read(lambda c: list(c.execute(sa.select(table)).all()))

    async def done(self, job: Job) -> Job:
        return await self.jobs.wait(self.ann, job.id, PATIENCE)

    async def tint(self, name: str = "photo", **arguments: Any) -> Job:
        return await self.jobs.accept(self.ann, tint, {"image": self.picture(name), **arguments})

    def stored(self) -> set[str]:
        return {path.name for path in (self.folder / "blobs").glob("??/??/*")}


@asynccontextmanager
async def open_room(
    folder: Path,
    *,
    slots: int = 2,
    gate: bool = True,
    queue_limits: QueueLimits | None = None,
    models: Callable[[], dict[str, str]] = dict,
    credits: Callable[[Database], Credits] = Credits,
    quota: int = 0,
    alone: bool = False,
) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(f"sqlite:///{folder / 'darkroom.db'}"))
        blobs = BlobStore(folder / "blobs")
        library = Library(database, blobs)
        executor = FakeExecutor(blobs)
        if gate:
            executor.gate.set()
        roots = (folder / "pictures",)
        jobs_service = await stack.enter_async_context(
            Jobs(
                database,
                blobs,
                executor,  # type: ignore[arg-type]
                Intake(blobs, 10_000, library.resolve),
                library,
                slots=slots,
                limits=Limits(),
                queue_limits=queue_limits,
                models=models,
                credits=credits(database),
                quota=Quota(quota),
                alone=alone,
            )
        )
        yield Room(
            folder, database, blobs, library, executor, jobs_service, Principal("ann", roots), Principal("ben", roots)
        )
        executor.gate.set()
