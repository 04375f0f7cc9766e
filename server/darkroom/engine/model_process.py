"""One model process as the server sees it: many requests under way at once, answers in any order."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom.engine.channel import AsyncChannel, ChannelClosed, close_all
from darkroom.errors import DarkroomError  # with the server's own errors, which the process may answer
from darkroom_tools.errors import Cancelled, ProcessingCrashed, ProcessingFailed, RuntimeNotInstalled

__all__ = ["ModelProcess", "Reply"]

logger = logging.getLogger(__name__)

Reply = tuple[dict[str, Any], list[int]]

CANCEL_GRACE: Final = 1.0
"""Seconds that native code may go on after nobody waits for it any more."""

PASSED_ON: Final = ("PATH", "LANG", "LC_", "TZ", "LD_LIBRARY_PATH", "DYLD_", "CUDA", "NVIDIA_", "OPENVINO_")
"""Environment that the process gets, by prefix: no token and no database address is among it."""


@dataclass(eq=False, slots=True)
class _Call:
    job: str
    future: "asyncio.Future[Reply]"
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    abandoned: bool = False


class ModelProcess:
    """Make it with `start`.

    Attributes:
        ended: It takes no more requests.
        told_to_end: The end was wanted, by `end` or because only abandoned work was left in it.
        stats: Its counters as of its last answer.
    """

    def __init__(
        self, process: "subprocess.Popen[bytes]", channel: AsyncChannel, gone: Callable[["ModelProcess"], None]
    ) -> None:
        self.ended = False
        self.told_to_end = False
        self.stats: Mapping[str, Any] = {}
        self._process = process
        self._channel = channel
        self._gone = gone
        self._broken = False
        self._numbers = itertools.count(1)
        self._calls: dict[int, _Call] = {}
        self._cancelling: set[asyncio.Task[None]] = set()
        self._reader = asyncio.create_task(self._read())

    @staticmethod
    async def start(settings: Mapping[str, Any], gone: Callable[["ModelProcess"], None]) -> "ModelProcess":
        """Start a process; requests may be sent at once.

        Args:
            settings: `models`, `memory`, `providers` and `keep` of `model_worker`.
            gone: Called once when the process has ended, whatever the reason.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            popen = await asyncio.to_thread(_launch, theirs.fileno())
        process = ModelProcess(popen, AsyncChannel(ours), gone)
        with contextlib.suppress(ChannelClosed):
            await process._channel.send(dict(settings))
        return process

    async def call(self, request: Mapping[str, Any], fds: Sequence[int]) -> Reply:
        """Send a request with the job it counts for, and wait for its answer.

        The descriptors stay the caller's to close, those of the answer become so. Cancelling the task gives the
        request up.

        Raises:
            DarkroomError: What the process answered, or that it died.
        """
        if self.ended:
            raise self._death()
        number = next(self._numbers)
        call = self._calls[number] = _Call(str(request["job"]), asyncio.get_running_loop().create_future())
        sending = asyncio.ensure_future(self._channel.send({**request, "id": number}, fds))
        try:
            try:
                await asyncio.shield(sending)
            except ChannelClosed:
                pass  # the reader saw the same end and fails the future
            except ValueError as error:
                del self._calls[number]
                raise ProcessingFailed("The model takes fewer or smaller inputs than these.") from error
            return await call.future
        except asyncio.CancelledError:
            # The caller closes the descriptors next, so they must be on their way before.
            # A process that does not even read is ended for it, so this is over soon.
            self._abandon(number, call)
            await asyncio.wait([sending])
            sending.exception()  # nobody else asks for it
            raise

    def cancel(self, job: str) -> None:
        """Fail the requests of a job with `Cancelled` and give them up."""
        for number, call in list(self._calls.items()):
            if call.job == job and not call.future.done():
                call.future.set_exception(Cancelled("The work was cancelled."))
                self._abandon(number, call)

    def end(self) -> None:
        """End the process; requests in flight fail."""
        self.told_to_end = True
        self._channel.close()

    async def stop(self) -> None:
        """End the process and wait until it is gone."""
        self.end()
        await asyncio.wait([self._reader])

    def _abandon(self, number: int, call: _Call) -> None:
        if not call.future.cancel() and not call.future.cancelled() and call.future.exception() is None:
            close_all(call.future.result()[1])
        if number in self._calls and not call.abandoned:
            call.abandoned = True
            task = asyncio.create_task(self._cancel(number, call))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, number: int, call: _Call) -> None:
        with contextlib.suppress(ChannelClosed, TimeoutError):
            async with asyncio.timeout(CANCEL_GRACE):
                await self._channel.send({"cancel": number})
        while not call.answered.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(call.answered.wait(), CANCEL_GRACE)
                return
            if all(other.abandoned for other in self._calls.values()):
                logger.warning("the model process did not stop its work in time and is ended")
                self.end()

    async def _read(self) -> None:
        try:
            while True:
                self._take(*await self._channel.receive())
        except ChannelClosed:
            pass
        except Exception:
            logger.exception("the model process answered something unexpected")
        finally:
            self.ended = True
            for call in self._calls.values():
                call.answered.set()
                if not call.future.done():
                    call.future.set_exception(self._death())
            self._calls.clear()
            self._channel.close()
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
            self._gone(self)

    def _take(self, message: Mapping[str, Any], fds: list[int]) -> None:
        self._broken = "broken" in message
        self.stats = message.get("stats", self.stats)
        call = self._calls.pop(message["id"], None) if "id" in message else None
        if call is None or call.future.done():
            close_all(fds)
        elif "error" in message:
            call.future.set_exception(DarkroomError.from_wire(message["error"]))
        else:
            reply = {name: message[name] for name in ("outputs", "device", "notes")}
            call.future.set_result((reply, fds))
        if call is not None:
            call.answered.set()

    def _death(self) -> DarkroomError:
        if self._broken:
            return RuntimeNotInstalled(
                "ONNX Runtime is installed but does not load here. See the log, and install it anew."
            )
        return ProcessingCrashed("The process that runs the models ended in the middle of the work. Try again.")


def _launch(fd: int) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
    environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
    # -P: the folder we were started in may hold a package of any name. Stdout belongs to the protocol of stdio clients.
    return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
        [sys.executable, "-P", "-m", "darkroom.engine.model_worker", str(fd)],
        stdin=subprocess.DEVNULL,
        stdout=2,
        pass_fds=(fd,),
        env=environment,
        start_new_session=True,
    )
