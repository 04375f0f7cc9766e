"""One place for a worker: its folders, its process and the conversation with it, as the server sees it."""

import asyncio
import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from darkroom.engine.answering import Answering, Infer
from darkroom.engine.channel import AsyncChannel, BadMessage, ChannelClosed, close_all
from darkroom.engine.forkserver import Child, ForkServer
from darkroom.engine.limits import Limits
from darkroom.engine.messages import Answer, Asked, Done, Dropped, Failed, Moved, Ready, Written, check
from darkroom.engine.outcome import Outcome, Output, Progress
from darkroom.errors import StorageFull
from darkroom_tools.base import Worker

__all__ = ["Slot", "fresh_folder", "remove_folder", "to_its_end"]

T = TypeVar("T")

SECONDS_TO_START = 60.0
SECONDS_OF_GRACE = 0.5
SECONDS_BETWEEN_PROGRESS = 0.05
PAGE = os.sysconf("SC_PAGE_SIZE")
FOLDERS = ("in", "out", "tmp", "taken")


async def to_its_end(work: Callable[[], T]) -> T:
    """Run file work in a thread; a cancellation waits until it is over, so nothing goes on behind our back."""
    working = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def fresh_folder(folder: Path) -> None:
    """An empty private folder in the place of whatever was there."""
    remove_folder(folder)
    folder.mkdir(mode=0o700, parents=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder, if it is there, with all that it holds."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


class Slot:
    """A worker with its folders `in` (our links to the inputs), `out` and `tmp`, and `taken`, which is out of its reach.

    Args:
        folder: Its own directory.
        limits: What the worker enforces.
        forks: Starts its process.
        tools: Names of modules with extra tools.
        on_end: Called whenever its process has ended, for whatever reason.
        kind: Whether its worker may parse SVG and PDF.

    Attributes:
        jobs: Plans that this process has run.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        forks: ForkServer,
        tools: Sequence[str] = (),
        on_end: Callable[["Slot"], None] = lambda _: None,
        *,
        kind: Worker = "pixels",
    ) -> None:
        self.jobs = 0
        self._on_end = on_end
        self._folder = folder
        self._limits = limits
        self._forks = forks
        self._tools = list(tools)
        self._kind = kind
        self._child: Child | None = None
        self._resident = 0
        self._asked = False
        self._filled = False

    async def start(self) -> Ready:
        """Start the process and wait until it is ready.

        Raises:
            ChannelClosed: It died on the way.
            TimeoutError: It did not get ready.
        """
        await to_its_end(self._make_folders)
        spec = {
            "folder": str(self._folder),
            "limits": asdict(self._limits),
            "tools": self._tools,
            "kind": self._kind,
        }
        try:
            async with asyncio.timeout(SECONDS_TO_START):
                self._child = await self._forks.start(spec)
                self._child.ended.add_done_callback(lambda _: self._on_end(self))
                answer = check((await self._child.channel.receive())[0])
        except BaseException:
            await self.stop()
            raise
        if not isinstance(answer, Ready):
            raise BadMessage("the worker did not say that it is ready")
        self.jobs = 0
        self._resident = self._resident_bytes()
        return answer

    async def load(self, inputs: Sequence[Path]) -> list[str]:
        """Put the inputs where the worker can read them, under names of ours."""
        names = [str(number) for number in range(len(inputs))]
        self._filled = True
        await to_its_end(lambda: self._link(inputs, names))
        return names

    async def perform(self, order: Mapping[str, Any], emit: Callable[[Progress], None], infer: Infer) -> Done:
        """Have the worker run a plan.

        Raises:
            DarkroomError: The plan failed; the worker is well.
            ChannelClosed: The worker died or broke the protocol.
        """
        channel = self._process().channel
        self._asked = True
        self.jobs += 1
        await channel.send({"type": "plan", **order})
        answering = Answering(channel, infer)
        try:
            answer = await self._listen(channel, answering, emit)
        finally:
            await answering.close()
        self._asked = False
        if isinstance(answer, Done):
            return answer
        raise answer.exception()

    async def _listen(
        self, channel: AsyncChannel, answering: Answering, emit: Callable[[Progress], None]
    ) -> Done | Failed:
        """Take what the worker says until it is done."""
        loop = asyncio.get_running_loop()
        reached, emitted_at = 0.0, float("-inf")
        while True:
            answer = await _asked_or_said(channel, answering)
            if isinstance(answer, Moved):
                reached = max(reached, answer.fraction)
                if loop.time() - emitted_at >= SECONDS_BETWEEN_PROGRESS:
                    emitted_at = loop.time()
                    emit(Progress(reached, answer.message))
            elif isinstance(answer, Dropped):
                answering.drop(answer.id)
            elif isinstance(answer, Done | Failed):
                return answer
            elif isinstance(answer, Ready):
                raise BadMessage("the worker said twice that it is ready")

    async def collect(self, done: Done, use: Callable[[Outcome], T]) -> T:
        """Move the results out of the worker's reach, check what they are, have them used, and clear the folders.

        Args:
            done: The worker's answer.
            use: Called in a thread; the result files are gone once it returns.

        Raises:
            BadMessage: The worker named something that is no plain file of its own.
        """
        return await to_its_end(lambda: self._collect(done, use))

    async def cancel(self) -> bool:
        """Ask the worker to give up its plan; False if it does not within the grace and must be stopped."""
        if not self._asked:
            return self._child is not None
        channel = self._process().channel
        try:
            async with asyncio.timeout(SECONDS_OF_GRACE):
                await channel.send({"type": "cancel"})
                while self._asked:
                    raw, fds = await channel.receive()
                    close_all(fds)
                    self._asked = not isinstance(check(raw), Done | Failed)
        except (TimeoutError, ChannelClosed):
            return False
        return True

    async def clear(self) -> None:
        """Remove what the last plan left in the folders, if anything."""
        if self._filled:
            await to_its_end(self._empty_folders)

    def worn(self) -> bool:
        """Whether the process has run enough plans, or holds too much memory, to be replaced."""
        grown = self._resident_bytes() - self._resident
        return self.jobs >= self._limits.jobs_per_worker or grown > self._limits.grown_bytes

    async def stop(self) -> int | None:
        """End the process with SIGKILL and wait for it; its exit status, None if there was none."""
        child, self._child, self._asked = self._child, None, False
        if child is None:
            return None
        await child.kill()
        return child.ended.result()

    def _process(self) -> Child:
        if self._child is None:
            raise ChannelClosed("the worker does not run")
        return self._child

    def _resident_bytes(self) -> int:
        try:
            return int(Path(f"/proc/{self._process().pid}/statm").read_bytes().split()[1]) * PAGE
        except (OSError, IndexError, ValueError, ChannelClosed):  # no /proc outside Linux
            return 0

    def _empty_folders(self) -> None:
        for name in FOLDERS:
            _empty(self._folder / name)
        self._filled = False

    def _make_folders(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        for name in FOLDERS:
            (self._folder / name).mkdir(mode=0o700, parents=True)
        self._filled = False

    def _link(self, inputs: Sequence[Path], names: Sequence[str]) -> None:
        try:
            for path, name in zip(inputs, names, strict=True):
                target = self._folder / "in" / name
                try:
                    target.hardlink_to(path)
                except OSError as error:
                    if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
                        raise
                    shutil.copyfile(path, target)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull("The disk is full. Free some space and try again.") from error
            raise

    def _collect(self, done: Done, use: Callable[[Outcome], T]) -> T:
        outcome = Outcome(
            inputs=[facts.picture() for facts in done.inputs],
            outputs=[self._take_out(written) for written in done.outputs],
            report=done.report,
            facts=done.facts,
            kept=done.kept,
            removed=done.removed,
            warnings=done.warnings,
        )
        used = use(outcome)
        self._empty_folders()
        return used

    def _take_out(self, written: Written) -> Output:
        target = self._folder / "taken" / written.name
        try:
            (self._folder / "out" / written.name).rename(target)
            status = target.lstat()
        except OSError as error:
            raise BadMessage("the worker named a result that is not there") from error
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > self._limits.written_bytes:
            raise BadMessage("the worker named a result that is no plain file of its own")
        return Output(target, written.picture.picture(status.st_size))


async def _asked_or_said(channel: AsyncChannel, answering: Answering) -> Answer:
    """The worker's next message; if it asks for a model, the answer is under way."""
    raw, fds = await channel.receive()
    try:
        answer = check(raw)
        if isinstance(answer, Asked):
            answering.take(answer, fds)
            fds = []
    finally:
        close_all(fds)
    return answer


def _empty(folder: Path) -> None:
    """Remove everything inside a folder that its owner may have filled with anything."""
    for entry in folder.iterdir():
        if stat.S_ISDIR(entry.lstat().st_mode):
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
