"""A pool of workers: fair, killable, replaced when they die, are worn or break their word."""

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from darkroom.engine.channel import ChannelClosed
from darkroom.engine.forkserver import ForkServer
from darkroom.engine.limits import Limits
from darkroom.engine.messages import Ready
from darkroom.engine.models import ModelService
from darkroom.engine.outcome import Outcome, Picture, Progress
from darkroom.engine.sandbox import Level
from darkroom.engine.slot import Slot, fresh_folder, remove_folder, to_its_end
from darkroom.engine.toolset import known_tools, needs_vector, wall_seconds_of
from darkroom.errors import Overloaded
from darkroom_tools.base import Worker
from darkroom_tools.errors import (
    DarkroomError,
    ProcessingCrashed,
    ProcessingFailed,
    ProcessingTimeout,
    RuntimeNotInstalled,
)
from darkroom_tools.plan import Plan

__all__ = ["Pool", "WorkerDied"]

log = logging.getLogger(__name__)

T = TypeVar("T")

STARTS_BEFORE_GIVING_UP = 3
LONGEST_PAUSE = 30.0
IDLE_SECONDS = 1800.0
VECTOR_IDLE_SECONDS = 300.0


class WorkerDied(ProcessingCrashed):
    """The process that ran the plan died, or broke its protocol and was killed."""


class Pool:
    """Runs plans in `workers` processes, one plan at a time each, first come first served.

    Use it as an async context manager. Pixel workers start in the background, vector workers when a plan needs one; a
    plan waits for the first free one.

    Args:
        workers: How many; one per core is right.
        run_dir: A directory of its own for the workers' folders; what a dead server left there is removed.
        limits: Of inputs, results and work.
        models: Runs models for tools; None if there are none.
        require_sandbox: Refuse to start where a worker cannot confine itself fully.
        extra_tools: Names of importable modules whose tools plans may name besides the built-in ones.
        kind: `vector` for workers that may parse SVG and PDF; only they run plans with a tool of that kind.
        forks: Starts the processes and outlives this pool; None for one of its own.

    Attributes:
        workers: How many there are.
        forks: What starts the processes.
        sandbox: How far the workers could confine themselves; `starting` until the first is ready.
        lacking: What keeps the sandbox from being full, for people.
    """

    def __init__(
        self,
        *,
        workers: int,
        run_dir: Path,
        limits: Limits,
        models: ModelService | None = None,
        require_sandbox: bool = False,
        extra_tools: Sequence[str] = (),
        kind: Worker = "pixels",
        forks: ForkServer | None = None,
    ) -> None:
        self.workers = workers
        self.forks = forks or ForkServer(run_dir, extra_tools)
        self.sandbox: Level | Literal["starting"] = "starting"
        self.lacking: Sequence[str] = ()
        self._run_dir = run_dir
        self._limits = limits
        self._models = models
        self._require_sandbox = require_sandbox
        self._tools = known_tools(extra_tools)
        self._kind = kind
        self._owns_forks = forks is None
        self._slots = [
            Slot(run_dir / f"worker-{n}", limits, self.forks, extra_tools, self._ended, kind=kind)
            for n in range(workers)
        ]
        self._asleep = list(self._slots) if kind == "vector" else []
        self._idle: deque[Slot] = deque()
        self._waiting: deque[asyncio.Future[Slot]] = deque()
        self._resting: dict[Slot, asyncio.TimerHandle] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._refusal: str | None = "The image workers are not running."
        self._closing = False
        self._failed_starts = 0
        self._first_ready: asyncio.Future[Ready] | None = None
        self._counts = dict.fromkeys(("runs", "failed", "deaths", "timeouts", "cancelled", "killed", "replaced"), 0)

    @property
    def idle(self) -> int:
        """Workers that are free now."""
        return len(self._idle)

    def stats(self) -> dict[str, Any]:
        """Counts since the start, and what the workers do now."""
        now = {"workers": self.workers, "idle": self.idle, "waiting": len(self._waiting), "asleep": len(self._asleep)}
        return {**now, "sandbox": self.sandbox, **self._counts}

    def takes(self, plan: Plan) -> bool:
        """Whether workers of this kind may run the plan."""
        return self._kind == "vector" or not needs_vector(plan, self._tools)

    async def __aenter__(self) -> Self:
        await to_its_end(partial(fresh_folder, self._run_dir))
        self._refusal = None
        if self._require_sandbox and not self._asleep:
            self._first_ready = asyncio.get_running_loop().create_future()
        for slot in self._slots:
            if slot not in self._asleep:
                self._spawn(self._bring_up(slot))
        if self._first_ready is not None:
            try:
                await self._first_ready
            except BaseException:
                await self._close()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def run(
        self,
        plan: Plan,
        inputs: Sequence[Path],
        collect: Callable[[Outcome], T],
        *,
        emit: Callable[[Progress], None] = lambda _: None,
        names: Sequence[str] = (),
        wall_seconds: float | None = None,
        fresh: bool = False,
    ) -> T:
        """Run a plan as soon as a worker is free.

        Args:
            plan: The steps; none only describes the inputs.
            inputs: Files of ours; a worker gets links to them, never their names.
            collect: Takes the outcome while the result files exist; they are gone afterwards. Called in a thread.
            emit: Takes progress, never falling, at most twenty times a second.
            names: What the callers call the inputs; only a tool that is `named` hears of it.
            wall_seconds: Clock limit from the moment a worker takes the plan; None for that of the plan's kind.
            fresh: Have a worker that ran nothing before.

        Raises:
            ProcessingTimeout: The clock ran out; the worker was killed.
            WorkerDied: The worker died of it; a fresh one may have more luck.
            Overloaded: No worker can be started, or the pool is closing.
            DarkroomError: What the plan itself met.
            OSError: An input is not there, or the run directory cannot be used.
        """
        own_limit = wall_seconds_of(plan, self._tools, self._limits)
        if not self.takes(plan):
            raise ProcessingFailed("SVG and PDF files are not processed on this server.")
        seconds = own_limit if wall_seconds is None else wall_seconds
        slot = await self._acquire()
        named = any(self._tools[step.tool].named for step in plan.steps)
        return await self._perform(slot, plan, inputs, names if named else (), collect, emit, seconds, fresh=fresh)

    async def inspect(self, path: Path) -> Picture:
        """The facts of an image file, by its header."""
        return await self.run(Plan(), [path], lambda outcome: outcome.inputs[0])

    async def _perform(
        self,
        slot: Slot,
        plan: Plan,
        inputs: Sequence[Path],
        names: Sequence[str],
        collect: Callable[[Outcome], T],
        emit: Callable[[Progress], None],
        seconds: float,
        *,
        fresh: bool,
    ) -> T:
        """The whole of a plan on a worker; the worker is then freed or replaced in the background."""
        self._counts["runs"] += 1
        infer = partial(self._infer, f"run-{self._counts['runs']}")
        try:
            if fresh and slot.jobs:
                await slot.stop()
                await slot.start()
            async with asyncio.timeout(seconds):
                order = {
                    "plan": plan.to_wire(),
                    "inputs": await slot.load(inputs),
                    "names": list(names),
                    "models": self._runnable_models(plan),
                    "seconds": seconds,
                }
                done = await slot.perform(order, emit, infer)
            collected = await slot.collect(done, collect)
        except asyncio.CancelledError:
            self._counts["cancelled"] += 1
            self._spawn(self._cancel(slot))
            raise
        except TimeoutError as error:
            self._counts["timeouts"] += 1
            self._spawn(self._replace(slot))
            raise ProcessingTimeout(
                f"The operation took longer than its limit of {seconds:g} seconds and was stopped. "
                "Use a smaller image or cheaper settings.",
                seconds=seconds,
            ) from error
        except ChannelClosed as error:
            self._counts["deaths"] += 1
            log.warning("a worker died: %s", error)
            self._spawn(self._replace(slot))
            raise WorkerDied(
                "The worker that processed this image died. The image may be damaged; send it in another format."
            ) from error
        except (DarkroomError, OSError):
            self._counts["failed"] += 1
            self._spawn(self._release(slot))
            raise
        except BaseException:
            self._spawn(self._replace(slot))
            raise
        self._spawn(self._release(slot))
        return collected

    def _runnable_models(self, plan: Plan) -> list[str]:
        wanted = any(self._tools[step.tool].models for step in plan.steps)
        if not wanted or self._models is None or not self._models.runtime_installed():
            return []
        return sorted(self._models.installed())

    async def _infer(self, job: str, request: dict[str, Any], fds: list[int]) -> tuple[dict[str, Any], list[int]]:
        if self._models is None:
            raise RuntimeNotInstalled(
                "Models need ONNX Runtime, which is not installed. Install it with: "
                'uv tool install "darkroom-mcp[ai]" (in a checkout: uv sync --extra ai).'
            )
        return await self._models.infer(request, fds, job)

    # Slots: every one is idle, asleep, lent to a run, or in the hands of one background task.

    async def _acquire(self) -> Slot:
        if self._refusal is not None:
            raise Overloaded(self._refusal, retryAfter=5)
        if self._idle and not self._waiting:
            slot = self._idle[-1]  # the one whose caches are warm
            self._withdraw(slot)
            return slot
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._wake()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._give(future.result())
            raise

    def _give(self, slot: Slot) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(slot)
                return
        self._idle.append(slot)
        loop = asyncio.get_running_loop()
        seconds = VECTOR_IDLE_SECONDS if self._kind == "vector" else IDLE_SECONDS
        self._resting[slot] = loop.call_later(seconds, self._refresh, slot)

    def _wake(self) -> None:
        if self._waiting and self._asleep:
            self._spawn(self._bring_up(self._asleep.pop()))

    def _refresh(self, slot: Slot) -> None:
        """End a worker that has been idle for long, or replace it: it gives back what its jobs left in memory."""
        if self._kind == "vector":
            self._withdraw(slot)
            self._spawn(self._lay_down(slot))
        elif slot.jobs:
            self._counts["replaced"] += 1
            self._withdraw(slot)
            self._spawn(self._replace(slot))

    def _ended(self, slot: Slot) -> None:
        """A worker's process has ended; if it was idle, nobody else will notice."""
        if slot in self._resting:
            self._counts["deaths"] += 1
            self._withdraw(slot)
            self._spawn(self._replace(slot))

    def _withdraw(self, slot: Slot) -> None:
        self._idle.remove(slot)
        self._resting.pop(slot).cancel()

    async def _release(self, slot: Slot) -> None:
        if slot.worn():
            self._counts["replaced"] += 1
            await self._replace(slot)
            return
        try:
            await slot.clear()
        except OSError as error:
            log.error("a worker's folder could not be cleared: %s", error)
            await self._replace(slot)
        else:
            self._give(slot)

    async def _cancel(self, slot: Slot) -> None:
        if await slot.cancel():
            await self._release(slot)
        else:
            self._counts["killed"] += 1
            await self._replace(slot)

    async def _lay_down(self, slot: Slot) -> None:
        await slot.stop()
        self._asleep.append(slot)
        self._wake()

    async def _replace(self, slot: Slot) -> None:
        status = await slot.stop()
        if status not in (None, 0, -signal.SIGKILL):
            log.warning("a worker ended with status %s", status)
        await self._bring_up(slot)

    async def _bring_up(self, slot: Slot) -> None:
        """Start the slot's process, again and again if need be, and offer it."""
        while True:
            try:
                ready = await slot.start()
                break
            except (ChannelClosed, TimeoutError, OSError) as error:
                self._failed_starts += 1
                log.error("an image worker did not start: %s", error)
                if self._failed_starts >= STARTS_BEFORE_GIVING_UP:
                    self._refuse("The image workers do not start on this machine. Run: darkroom doctor")
                await asyncio.sleep(min(LONGEST_PAUSE, 0.25 * 2**self._failed_starts))
        self._failed_starts = 0
        self._note(ready)
        if self._require_sandbox and ready.sandbox != "full":
            await slot.stop()
            self._refuse(f"A full sandbox is required, but here it is {ready.sandbox}: {'; '.join(ready.missing)}.")
            return
        if self._first_ready is not None and not self._first_ready.done():
            self._first_ready.set_result(ready)
        self._refusal = None
        self._give(slot)

    def _note(self, ready: Ready) -> None:
        if self.sandbox == "starting" and ready.sandbox != "full":
            log.warning("image workers run with a sandbox that is %s: %s", ready.sandbox, "; ".join(ready.missing))
        self.sandbox, self.lacking = ready.sandbox, ready.missing

    def _refuse(self, text: str) -> None:
        self._refusal = text
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Overloaded(text, retryAfter=5))
        if self._first_ready is not None and not self._first_ready.done():
            self._first_ready.set_exception(Overloaded(text, retryAfter=5))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closing:
            work.close()
            return
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _close(self) -> None:
        self._closing = True
        self._refuse("The server is shutting down.")
        for slot in list(self._idle):
            self._withdraw(slot)
        for task in list(self._background):
            task.cancel()
        if self._background:
            await asyncio.wait(list(self._background))
        if self._owns_forks:
            await self.forks.close()
        for slot in self._slots:
            await slot.stop()
        await to_its_end(partial(remove_folder, self._run_dir))
