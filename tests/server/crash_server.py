"""A small server for the crash tests, run as `python crash_server.py FOLDER MODE NAME`; it says what it did.

Modes: `singles` accepts and runs calls until it is killed, `batch` accepts one batch of 40 images and runs it, `zip`
wants its results as a ZIP too, `mixed` accepts a batch and then calls, `drain` accepts nothing and ends once every job
has ended.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from darkroom.accounts.credits import Credits
from darkroom.accounts.prices import Prices
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Output, Picture, Progress
from darkroom.errors import Overloaded
from darkroom.intake import Intake
from darkroom.jobs.service import Jobs
from darkroom.library.library import Library
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.schema import jobs as table
from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.plan import Plan

ANN = Principal("ann", (Path(sys.argv[1]),))


@tool(title="Tint")
def tint(image: Image, settings: Settings) -> Image:
    """Colour an image."""
    raise NotImplementedError


class Executor:
    """Makes a file of each input, slowly enough to be killed in between."""

    def __init__(self, blobs: BlobStore) -> None:
        self.blobs = blobs

    async def run(
        self,
        plan: Plan,
        digests: Sequence[str],
        emit: Callable[[Progress], None],
        wall: float | None = None,
        names: Sequence[str] = (),
        *,
        away: Any = None,
        job: str = "",
    ) -> Any:
        emit(Progress(0.5))
        await asyncio.sleep(0.01)
        made = b"\x89PNG\r\n\x1a\n" + "".join(digests).encode() * 1000
        digest = await asyncio.to_thread(self.blobs.put, made)
        say("ran", digests[0])
        picture = Picture("png", "image/png", len(made), 4, 3)
        return SimpleNamespace(outcome=Outcome([picture], [Output(Path("o.png"), picture)]), digests=[digest])


def say(*words: str) -> None:
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def picture(folder: Path, name: str) -> str:
    path = folder / f"{name}.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode() * 500)
    return str(path)


async def accept_singles(jobs: Jobs, folder: Path, name: str, numbers: "itertools.count[int]") -> None:
    while True:
        value = picture(folder, f"{name}-{next(numbers)}")
        try:
            job = await jobs.accept(ANN, tint, {"image": value})
        except Overloaded:
            await asyncio.sleep(0.01)
        else:
            say("accepted", job.id)


async def main(folder: Path, mode: str, name: str) -> None:
    async with Database(f"sqlite:///{folder / 'darkroom.db'}") as database:
        blobs = BlobStore(folder / "blobs")
        library = Library(database, blobs)
        intake = Intake(blobs, 1_000_000, library.resolve)
        executor: Any = Executor(blobs)
        credits = Credits(database, on=True, free=100_000, prices=Prices({}, {"tint": 1}, {}))
        async with Jobs(
            database, blobs, executor, intake, library, slots=3, limits=Limits(), credits=credits, alone=True
        ) as jobs:
            say("open")
            if mode in ("batch", "zip", "mixed"):
                values = [picture(folder, f"{name}-{n}") for n in range(40)]
                job = await jobs.accept(ANN, tint, {"image": values}, each="image", archive=mode == "zip")
                say("accepted", job.id)
            if mode in ("singles", "mixed"):
                numbers = itertools.count(100)
                await asyncio.gather(*(accept_singles(jobs, folder, name, numbers) for _ in range(4)))
            waiting = sa.select(sa.func.count()).where(table.c.finished_at.is_(None))
            while await database.read(lambda c: c.execute(waiting).scalar_one()):
                await asyncio.sleep(0.02)
    say("closed")


asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
