"""Runs plans on this machine's pool, from stored bytes to stored bytes."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from darkroom.engine.outcome import Outcome, Picture, Progress
from darkroom.engine.pool import Pool, WorkerDied
from darkroom_tools.errors import ProcessingCrashed
from darkroom_tools.plan import Plan

__all__ = ["Finished", "LocalExecutor"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Emit = Callable[[Progress], None]
Away = Callable[[], AbstractAsyncContextManager[None]]
"""Entered while a plan waits for another machine: its slot is somebody else's meanwhile."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A plan that is done and whose results are stored.

    Attributes:
        outcome: Facts of everything; the paths of its outputs are gone.
        digests: SHA-256 of each output, in order.
    """

    outcome: Outcome
    digests: tuple[str, ...]


async def _nobody(_: str) -> None:
    pass


async def _nothing(_: str) -> bool:
    return False


class LocalExecutor:
    """Runs plans in the pools of this process.

    Args:
        pool: Runs them.
        path_of: The file of a stored SHA-256.
        adopt: Moves a file into the store and answers with its SHA-256; called in a thread.
        on_death: Told the SHA-256 of each input of a plan on which two workers died, so that it can be quarantined.
        is_quarantined: Whether these bytes may not be tried again.
        vector: Runs the plans that `pool` does not take, those that parse SVG or PDF.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        path_of: Callable[[str], Path],
        adopt: Callable[[Path], str],
        on_death: Callable[[str], Awaitable[None]] = _nobody,
        is_quarantined: Callable[[str], Awaitable[bool]] = _nothing,
        vector: Pool | None = None,
    ) -> None:
        self._pool = pool
        self._vector = vector or pool
        self._path_of = path_of
        self._adopt = adopt
        self._on_death = on_death
        self._is_quarantined = is_quarantined

    async def run(
        self,
        plan: Plan,
        digests: Sequence[str],
        emit: Emit = lambda _: None,
        wall_seconds: float | None = None,
        names: Sequence[str] = (),
        *,
        away: Away = nullcontext,
        job: str = "",
    ) -> Finished:
        """Run a plan on stored inputs and store its outputs; `names` are those of the inputs' files.

        Cancelling the awaiting task stops the work, and then nothing is stored. Nothing here waits for another machine,
        so nothing is done with `away` and `job`.

        Raises:
            ProcessingCrashed: Two workers died on it, or an input is quarantined because that happened before.
            DarkroomError: What the plan met.
        """

        return await self._run(plan, digests, self._store, emit, wall_seconds, names)

    async def admit(self, plan: Plan, path: Path) -> Finished:
        """Run a plan on one file that is not stored, such as an answer from outside, and store its outputs.

        Raises:
            DarkroomError: As `run`.
        """

        return await self._twice(plan, [path], self._store, lambda _: None, None)

    async def render(self, plan: Plan, digests: Sequence[str]) -> tuple[bytes, Picture]:
        """The bytes of a plan's first output; nothing is stored.

        Raises:
            DarkroomError: As `run`.
        """

        def read(outcome: Outcome) -> tuple[bytes, Picture]:
            first = outcome.outputs[0]
            return first.path.read_bytes(), first.picture

        return await self._run(plan, digests, read, lambda _: None, None)

    def _store(self, outcome: Outcome) -> Finished:
        return Finished(outcome, tuple(self._adopt(output.path) for output in outcome.outputs))

    async def _run(
        self,
        plan: Plan,
        digests: Sequence[str],
        collect: Callable[[Outcome], T],
        emit: Emit,
        wall_seconds: float | None,
        names: Sequence[str] = (),
    ) -> T:
        for digest in digests:
            if await self._is_quarantined(digest):
                raise ProcessingCrashed(
                    "This image has crashed its worker twice before and is not tried again. "
                    "Convert it to another format and send that.",
                    quarantined=True,
                )
        paths = [self._path_of(digest) for digest in digests]
        try:
            return await self._twice(plan, paths, collect, emit, wall_seconds, names)
        except WorkerDied:
            for digest in dict.fromkeys(digests):
                await self._on_death(digest)
            raise

    async def _twice(
        self,
        plan: Plan,
        paths: Sequence[Path],
        collect: Callable[[Outcome], T],
        emit: Emit,
        wall_seconds: float | None,
        names: Sequence[str] = (),
    ) -> T:
        """Run a plan, and once more in a fresh worker if it crashed."""
        pool = self._pool if self._pool.takes(plan) else self._vector
        run = partial(pool.run, plan, paths, collect, emit=_rising(emit), names=names, wall_seconds=wall_seconds)
        try:
            return await run()
        except ProcessingCrashed as error:
            log.warning("a plan crashed and is tried once more: %s", error)
        return await run(fresh=True)


def _rising(emit: Emit) -> Emit:
    """Progress that stays where it was while a second attempt catches up."""
    reached = 0.0

    def report(progress: Progress) -> None:
        nonlocal reached
        reached = max(reached, progress.fraction)
        emit(Progress(reached, progress.message))

    return report
