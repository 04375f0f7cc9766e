"""Starts pixel workers fast and clean: a small process of ours with the tools imported forks one per request.

Why not `multiprocessing`: its children run the caller's main module again and inherit its whole environment, tokens
and database addresses included. This process has an environment of its own, loads no native library and never starts a
thread, so forking it is safe; it alone reaps and kills its children, so no signal can hit a reused process id.

Messages to it: `{"start": id, "spec"}` with the worker's socket, and `{"kill": id}`. From it: `{"child": id, "pid"}` once
it has started and `{"child": id, "status"}` once it has ended. When its connection ends it kills all workers and exits.
"""

import asyncio
import contextlib
import ctypes
import gc
import importlib
import itertools
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from darkroom.engine.channel import AsyncChannel, Channel, ChannelClosed
from darkroom.engine.messages import MAX_ANSWER

__all__ = ["Child", "ForkServer"]

log = logging.getLogger(__name__)

PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH")
SETTINGS = {
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VIPS_BLOCK_UNTRUSTED": "1",
    "VIPS_CONCURRENCY": "1",
    "VIPS_DISC_THRESHOLD": "512m",
    "VIPS_WARNING": "1",  # any value hides its warnings
}
PR_SET_PDEATHSIG = 1


class Child:
    """A worker process.

    Attributes:
        pid: Its process id.
        channel: The connection to it.
        ended: Its exit status, as `os.waitstatus_to_exitcode` gives it, once it has ended.
    """

    def __init__(self, channel: AsyncChannel, kill: Callable[[], Awaitable[None]]) -> None:
        self.pid = 0
        self.channel = channel
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._kill = kill

    async def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self.channel.close()
        await self._kill()
        await asyncio.wait([self.ended])


class ForkServer:
    """The server's side.

    Args:
        folder: A private directory, the first TMPDIR of the workers.
        tools: Names of modules with extra tools, imported once for all workers.
    """

    def __init__(self, folder: Path, tools: Sequence[str] = ()) -> None:
        self._folder = folder
        self._tools = tools
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: AsyncChannel | None = None
        self._listener: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._children: dict[int, tuple[Child, asyncio.Future[int]]] = {}

    async def start(self, spec: Mapping[str, Any]) -> Child:
        """Fork a worker with `spec`; it answers on the child's channel when it is ready.

        Raises:
            ChannelClosed: The process that forks has died; the next call starts a new one.
        """
        control = await self._running()
        number = next(self._numbers)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            child = Child(AsyncChannel(ours, MAX_ANSWER), lambda: self._kill(number))
            started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self._children[number] = child, started
            try:
                await control.send({"start": number, "spec": dict(spec)}, [theirs.fileno()])
                child.pid = await started
            except BaseException:
                self._children.pop(number, None)
                child.channel.close()  # should it have started, it ends by that
                raise
        return child

    async def _kill(self, number: int) -> None:
        if self._channel is not None:
            with contextlib.suppress(ChannelClosed):
                await self._channel.send({"kill": number})

    async def _running(self) -> AsyncChannel:
        async with self._starting:
            if self._channel is None:
                await self._reap()
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                with theirs:
                    launching = asyncio.create_task(asyncio.to_thread(self._launch, theirs.fileno()))
                    try:
                        self._process = await asyncio.shield(launching)
                    except BaseException:
                        ours.close()  # should it have started, it ends by that, and is reaped like any other
                        self._process = await launching
                        raise
                self._channel = AsyncChannel(ours, MAX_ANSWER)
                self._listener = asyncio.create_task(self._listen(self._channel))
            return self._channel

    def _launch(self, fd: int) -> "subprocess.Popen[bytes]":
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= SETTINGS
        environment["PYTHONPATH"] = os.pathsep.join(entry for entry in sys.path if entry)
        environment["TMPDIR"] = environment["HOME"] = str(self._folder)
        # -P: the folder we were started in may hold a package of any name.
        return subprocess.Popen(  # noqa: S603 (our own interpreter and module)
            [sys.executable, "-P", "-m", __name__, str(fd), *self._tools],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=(fd,),
            env=environment,
            start_new_session=True,
        )

    async def _listen(self, channel: AsyncChannel) -> None:
        with contextlib.suppress(ChannelClosed):
            while True:
                message, _ = await channel.receive()
                child, started = self._children.get(message["child"], (None, None))
                if child is None or started is None:
                    continue
                if "pid" in message:
                    started.set_result(message["pid"])
                else:
                    del self._children[message["child"]]
                    child.ended.set_result(message["status"])
        if self._channel is channel:
            self._channel = None
        for child, started in self._children.values():
            child.channel.close()
            child.ended.set_result(-signal.SIGKILL)
            if not started.done():
                started.set_exception(ChannelClosed("the fork server is gone"))
        self._children.clear()

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    async def close(self) -> None:
        """End all workers and the process itself."""
        if self._channel is not None:
            self._channel.close()
        if self._listener is not None:
            await asyncio.wait([self._listener])
        await self._reap()


def serve(control: socket.socket, tools: Sequence[str]) -> None:
    """The process itself: fork on request, report ends, and kill everything when the server is gone."""
    worker = importlib.import_module("darkroom.engine.worker")
    importlib.import_module("darkroom.engine.toolset").known_tools(tools)
    with contextlib.suppress(ImportError, RuntimeError, OSError):
        importlib.import_module("pyseccomp")  # finding its library runs a program, which a worker may not
    gc.collect()
    gc.freeze()
    channel = Channel(control)
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    children: dict[int, int] = {}
    with selectors.DefaultSelector() as selector, contextlib.suppress(ChannelClosed):
        selector.register(control, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            ready = {key.fd for key, _ in selector.select()}
            if wake in ready:
                os.read(wake, 4096)
                _report_ended(channel, children)
            if control.fileno() in ready:
                message, fds = channel.receive()
                if "start" in message:
                    keep = (control.fileno(), wake, waker, selector)
                    children[message["start"]] = pid = _fork(worker, fds[0], message["spec"], keep)
                    channel.send({"child": message["start"], "pid": pid})
                elif message["kill"] in children:
                    os.kill(children[message["kill"]], signal.SIGKILL)
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
    for pid in children.values():
        os.waitpid(pid, 0)


def _report_ended(channel: Channel, children: dict[int, int]) -> None:
    for number, pid in list(children.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del children[number]
            channel.send({"child": number, "status": os.waitstatus_to_exitcode(status)})


def _fork(worker: Any, fd: int, spec: Mapping[str, Any], not_its: Sequence[Any]) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(fd)
        return pid
    status = 1
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in not_its:
            each.close() if hasattr(each, "close") else os.close(each)
        worker.main(socket.socket(fileno=fd), spec)
        status = 0
    except ChannelClosed:
        status = 0
    except BaseException:  # noqa: BLE001 (a forked child must never run its parent's code)
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
