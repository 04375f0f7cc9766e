"""JSON messages with file descriptors between the server and its workers, over a Unix stream socket.

A message on the wire is its length (4 bytes, big-endian), then a JSON object in UTF-8. Descriptors travel beside it
(SCM_RIGHTS) and the object says how many under `fds`. Pickle is never used: a worker that decodes hostile files is
itself not trusted, so the receiver checks size, shape and count of everything.
"""

import array
import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any

__all__ = ["MAX_FDS", "MAX_MESSAGE", "AsyncChannel", "BadMessage", "Channel", "ChannelClosed", "close_all"]

MAX_MESSAGE = 16 * 1024 * 1024
MAX_FDS = 64
HEADER = struct.Struct(">I")
ANCILLARY = socket.CMSG_SPACE(MAX_FDS * array.array("i").itemsize)
RECEIVE_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ChannelClosed(ConnectionError):
    """The other side is gone, or this side was closed; nothing more can be sent or received."""


class BadMessage(ChannelClosed):
    """The other side broke the protocol: too large, no JSON object, or other descriptors than announced."""


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors that nobody will use."""
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _pack(message: dict[str, Any], fds: Sequence[int]) -> bytes:
    if "fds" in message or len(fds) > MAX_FDS:
        raise ValueError(f"'fds' is a reserved name, and a message carries at most {MAX_FDS} descriptors")
    whole = {**message, "fds": len(fds)} if fds else message
    body = json.dumps(whole, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    if len(body) > MAX_MESSAGE:
        raise ValueError(f"a message of {len(body)} bytes is over {MAX_MESSAGE}")
    return HEADER.pack(len(body)) + body


def _ancillary(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


class _Assembler:
    """Puts one message together from what the socket gives; it never reads past the end of a message."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._start()

    def _start(self) -> None:
        self._data = bytearray()
        self._size = HEADER.size
        self._in_body = False
        self._fds: list[int] = []

    def read(self, sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
        """Receive once; the message if it is now whole.

        Raises:
            BlockingIOError: Nothing there yet on a non-blocking socket.
            ChannelClosed: End of stream, a broken connection or a bad message.
        """
        try:
            data, ancillary, flags, _ = sock.recvmsg(self._size - len(self._data), ANCILLARY, RECEIVE_FLAGS)
        except BlockingIOError:
            raise
        except OSError as error:
            raise ChannelClosed("the connection broke") from error
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
                self._fds.extend(fds)
        if not data:
            raise ChannelClosed("the other side is gone")
        if flags & socket.MSG_CTRUNC or len(self._fds) > MAX_FDS:
            raise BadMessage("too many descriptors")
        self._data += data
        return self._advance() if len(self._data) == self._size else None

    def _advance(self) -> tuple[dict[str, Any], list[int]] | None:
        if not self._in_body:
            self._size, self._in_body = HEADER.unpack(self._data)[0], True
            if not 2 <= self._size <= self._max_bytes:
                raise BadMessage(f"a message of {self._size} bytes; allowed are 2 to {self._max_bytes}")
            self._data = bytearray()
            return None
        try:
            message = json.loads(self._data)
        except (ValueError, RecursionError) as error:
            raise BadMessage("no JSON") from error
        if not isinstance(message, dict) or message.pop("fds", 0) != len(self._fds):
            raise BadMessage("no JSON object, or other descriptors than announced")
        fds = self._fds
        self._start()
        return message, fds

    def discard(self) -> None:
        """Close the descriptors of a message that never became whole."""
        close_all(self._fds)
        self._start()


class Channel:
    """The blocking side, for worker processes. Any thread may send; one thread receives.

    Args:
        sock: A connected Unix stream socket; the channel owns it from now on.
        max_bytes: Largest message accepted.
    """

    def __init__(self, sock: socket.socket, max_bytes: int = MAX_MESSAGE) -> None:
        sock.setblocking(True)
        self._socket = sock
        self._sending = threading.Lock()
        self._assembler = _Assembler(max_bytes)

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; the descriptors stay the caller's to close.

        Raises:
            ChannelClosed: The other side is gone.
            ValueError: The message is over `MAX_MESSAGE` bytes, uses the name `fds`, or has too many descriptors.
        """
        data = _pack(message, fds)
        try:
            with self._sending:
                sent = self._socket.sendmsg([data], _ancillary(fds))
                self._socket.sendall(memoryview(data)[sent:])
        except OSError as error:
            raise ChannelClosed("the other side is gone") from error

    def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for the next message and its descriptors, which are now the caller's to close.

        Raises:
            ChannelClosed: The other side is gone.
            BadMessage: It broke the protocol; the channel is closed.
        """
        try:
            while True:
                if (whole := self._assembler.read(self._socket)) is not None:
                    return whole
        except ChannelClosed:
            self.close()
            raise

    def close(self) -> None:
        """Close the socket; the other side sees the end. Harmless when repeated."""
        self._assembler.discard()
        self._socket.close()


class AsyncChannel:
    """The server's side, on the running event loop and without threads.

    Any task may send; one task at a time receives. A cancelled `receive` loses nothing: the next one goes on where it
    stopped. A cancelled `send` that was half out closes the channel, because the stream is broken then.

    Args:
        sock: A connected Unix stream socket; the channel owns it from now on.
        max_bytes: Largest message accepted.
    """

    def __init__(self, sock: socket.socket, max_bytes: int = MAX_MESSAGE) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._sending = asyncio.Lock()
        self._assembler = _Assembler(max_bytes)
        self._waiting: set[asyncio.Future[None]] = set()

    async def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a message; the descriptors stay the caller's to close.

        Raises:
            ChannelClosed: The other side is gone, or this side was closed.
            ValueError: The message is over `MAX_MESSAGE` bytes, uses the name `fds`, or has too many descriptors.
        """
        data = memoryview(_pack(message, fds))
        async with self._sending:
            rest, ancillary = data, _ancillary(fds)
            try:
                while rest:
                    try:
                        rest = rest[self._socket.sendmsg([rest], ancillary) :]
                        ancillary = []
                    except BlockingIOError:
                        await self._ready(writing=True)
            except BaseException as error:
                if len(rest) < len(data):
                    self.close()
                if isinstance(error, OSError) and not isinstance(error, ChannelClosed):
                    raise ChannelClosed("the other side is gone") from error
                raise

    async def receive(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for the next message and its descriptors, which are now the caller's to close.

        Raises:
            ChannelClosed: The other side is gone, or this side was closed.
            BadMessage: It broke the protocol; the channel is closed.
        """
        await asyncio.sleep(0)  # a peer that floods must not starve the loop
        try:
            while True:
                try:
                    whole = self._assembler.read(self._socket)
                except BlockingIOError:
                    await self._ready(writing=False)
                else:
                    if whole is not None:
                        return whole
        except ChannelClosed:
            self.close()
            raise

    async def _ready(self, *, writing: bool) -> None:
        if self._socket.fileno() < 0:
            raise ChannelClosed("the channel was closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
        fd = self._socket.fileno()
        add(fd, lambda: None if future.done() else future.set_result(None))
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)
            if self._socket.fileno() >= 0:
                remove(fd)

    def close(self) -> None:
        """Close the socket and wake whoever waits on it with `ChannelClosed`. Harmless when repeated."""
        fd = self._socket.fileno()
        if fd < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(fd)
        loop.remove_writer(fd)
        for future in self._waiting:
            if not future.done():
                future.set_exception(ChannelClosed("the channel was closed"))
        self._assembler.discard()
        self._socket.close()
