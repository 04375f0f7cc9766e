"""The server process: one per data directory, on an owner-only socket and, over HTTP, on loopback."""

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from darkroom import __version__
from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.docs import llms_txt
from darkroom.faces.mcp.http import http_caller
from darkroom.faces.mcp.room import Pace, Room
from darkroom.faces.mcp.server import McpServer, build_server
from darkroom.faces.mcp.stream import MAX_LINE, serve_stream
from darkroom.principal import LOCAL, Principal
from darkroom.relay import copy_stdio
from darkroom.web import all_pages, api_document, web_app

__all__ = ["CannotListen", "mcp_room", "serve", "serve_standalone"]

log = logging.getLogger(__name__)

HELLO_BYTES = 64 * 1024
HELLO_SECONDS = 10.0
GRACE_SECONDS = 5
"""For requests that are being answered when the server ends."""

HEAD_SECONDS = 15.0
CONNECTIONS = 2000
FILES = 8192
"""Open files that this process asks for: every connection is one."""


class CannotListen(Exception):
    """The address is taken or not of this machine; the text says which."""


@dataclass(slots=True)
class Activity:
    """Who is connected, and when somebody last was."""

    connections: int = 0
    last: float = 0.0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count a connection while it lasts."""
        self.connections += 1
        try:
            yield
        finally:
            self.connections -= 1
            self.last = time.monotonic()


async def serve(config: Config, *, background: bool, idle_seconds: float | None) -> None:
    """Serve until a signal, or until nobody needs this server any more; the caller holds the lock.

    Args:
        config: The configuration.
        background: Started by a relay: HTTP carries uploads and downloads only, on any free port.
        idle_seconds: End after so long without a connection or a job; None never ends.

    Raises:
        CannotListen: The address is taken or not of this machine.
    """
    with _listen(config, background=background) as listener:
        _allow_many_files()
        async with open_darkroom(config) as room:
            server = build_server(mcp_room(room))
            room.links.base = (config.public_url or _address(listener)).rstrip("/")
            activity = Activity(last=time.monotonic())
            welcome = "" if background else await _welcome(room)
            async with _unix_socket(room, server, activity) as door, anyio.create_task_group() as tasks:
                web = _HttpServer(_web_config(room, server, with_mcp=not background))
                tasks.start_soon(_serve_http, web, listener)
                if not background:
                    sys.stderr.write(f"Darkroom serves {_address(listener)} (MCP at {_address(listener)}/mcp)\n")
                    sys.stderr.write(welcome)
                await _until_done(room, activity, idle_seconds)
                door.close()  # who comes now shall start the next server
                room.jobs.stop_claiming()
                server.changes.listen.close()
                web.should_exit = True


async def _welcome(room: Darkroom) -> str:
    """At the first start, make the first admin; what to say of a password that nobody chose, once."""
    if room.config.auth == "off":
        return ""
    chosen = room.config.admin_password
    made = await room.users.ensure_admin(chosen.get_secret_value() if chosen else None)
    if made is None:
        return ""
    return f"User admin, password {made} (shown this once). Keys: darkroom keys create NAME\n"


async def serve_standalone(config: Config, roots: Sequence[Path]) -> None:
    """Serve one client over standard input and output, with everything in this process tree."""
    wire_in, wire_out = os.dup(0), os.dup(1)
    # What native code or a child prints must not end up between the protocol's lines.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    near, far = socket.socketpair()
    async with open_darkroom(config) as room:
        server = build_server(mcp_room(room))
        copy_stdio(near, wire_in, wire_out)
        reader, writer = await asyncio.open_unix_connection(sock=far, limit=MAX_LINE)
        await serve_stream(server, reader, writer, replace(LOCAL, roots=tuple(roots)))


def mcp_room(room: Darkroom) -> Room:
    """What the MCP face needs of a running Darkroom."""
    return Room(
        version=__version__,
        catalog=room.catalog,
        workflows=room.workflows,
        jobs=room.jobs,
        library=room.library,
        uploads=room.uploads,
        exporter=room.exporter,
        links=room.links,
        models=room.models,
        models_dir=room.where.models,
        credits=room.credits,
        http_principal=http_caller,
        fetch=room.config.fetch,
        docs=lambda: llms_txt(all_pages(), api_document()),
        pace=Pace(wait=room.config.soft_wait),
    )


class _HttpServer(uvicorn.Server):
    """uvicorn without its signal handlers: this process has its own."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()


class _Http(H11Protocol):
    """HTTP/1.1 whose clients must send the head of a request within 15 seconds."""

    _too_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._relax()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._relax()
        elif self._too_late is None:
            self._too_late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _relax(self) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
            self._too_late = None


async def _serve_http(web: uvicorn.Server, listener: socket.socket) -> None:
    await web.serve(sockets=[listener])


def _web_config(room: Darkroom, server: McpServer, *, with_mcp: bool) -> uvicorn.Config:
    # h11 refuses header values that httptools lets through; see the conformance suite's header checks.
    return uvicorn.Config(
        web_app(room, server, with_mcp=with_mcp),
        http=_Http,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(room.config.proxies),
        forwarded_allow_ips=list(room.config.proxies),
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def _listen(config: Config, *, background: bool) -> socket.socket:
    host, port = ("127.0.0.1", 0) if background else (config.host.strip("[]"), config.port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, because asyncio switches Nagle's delay off only for sockets that say they are TCP.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(CONNECTIONS)
    except OSError as error:
        listener.close()
        raise CannotListen(f"{host}:{port} cannot be listened on: {error.strerror}.") from error
    return listener


def _allow_many_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(FILES, most)
    with contextlib.suppress(OSError, ValueError):  # macOS names a limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def _unix_socket(room: Darkroom, server: McpServer, activity: Activity) -> AsyncIterator[asyncio.Server]:
    path = room.where.socket
    path.unlink(missing_ok=True)  # we hold the lock, so it is a dead server's

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with activity.one(), contextlib.suppress(ConnectionError, TimeoutError, ValueError):
            try:
                principal = await _greet(reader, writer)
                await serve_stream(server, reader, writer, principal)
            finally:
                writer.close()

    before = os.umask(0o177)
    try:
        listener = await asyncio.start_unix_server(connected, path, limit=MAX_LINE)
    finally:
        os.umask(before)
    try:
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Principal:
    """Read the relay's first line; only processes of the same user are heard."""
    link: socket.socket = writer.get_extra_info("socket")
    if hasattr(socket, "SO_PEERCRED"):
        _pid, uid, _gid = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            raise ConnectionError("a process of another user")
    line = await asyncio.wait_for(reader.readline(), HELLO_SECONDS)
    if len(line) > HELLO_BYTES:
        raise ConnectionError("a first line that is too long")
    said: dict[str, Any] = json.loads(line)
    return replace(LOCAL, roots=tuple(Path(root) for root in said["roots"]))


async def _until_done(room: Darkroom, activity: Activity, idle_seconds: float | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0 if idle_seconds is not None else None)
        if room.jobs.busy or activity.connections:
            activity.last = time.monotonic()
        if idle_seconds is not None and time.monotonic() - activity.last > idle_seconds:
            return
