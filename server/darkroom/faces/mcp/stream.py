"""MCP over a byte stream: one JSON-RPC message a line, in the era that the client opens with."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.shared.message import SessionMessage
from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCNotification, RequestId
from mcp_types.jsonrpc import jsonrpc_message_adapter
from pydantic import ValidationError

from darkroom.principal import Principal

__all__ = ["MAX_LINE", "Connection", "connection", "serve_stream"]

log = logging.getLogger(__name__)

MAX_LINE = 4 * 1024 * 1024
"""Longest message in bytes, as over HTTP; larger pictures have better doors."""

CHUNK = 64 * 1024


@dataclass(slots=True)
class Connection:
    """One client on a stream.

    Attributes:
        principal: Who it is, with the folders it may name.
        cancelled: The requests that it last asked to cancel, as text.
    """

    principal: Principal
    cancelled: deque[str] = field(default_factory=lambda: deque(maxlen=256))

    def cancelled_by_peer(self, request: RequestId | None) -> bool:
        """Whether the client itself gave up, in contrast to a connection that was lost."""
        return str(request) in self.cancelled


_connection: ContextVar[Connection | None] = ContextVar("mcp_connection", default=None)


def connection() -> Connection | None:
    """The stream connection whose request is being handled; None over HTTP."""
    return _connection.get()


async def serve_stream(
    server: Server[Any],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    principal: Principal,
    *,
    max_line: int = MAX_LINE,
) -> None:
    """Serve one client until it closes its side; the writer is closed at the end.

    Jobs of a client that vanishes go on: only what it cancels by name is cancelled.
    """
    here = Connection(principal)
    token = _connection.set(here)
    inward, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
    outgoing, outward = anyio.create_memory_object_stream[SessionMessage]()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_receive, reader, inward, outgoing.clone(), here, max_line)
            tasks.start_soon(_send, outward, writer, tasks.cancel_scope)
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        _connection.reset(token)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _receive(
    reader: asyncio.StreamReader,
    inward: MemoryObjectSendStream[SessionMessage | Exception],
    refusals: MemoryObjectSendStream[SessionMessage],
    here: Connection,
    max_line: int,
) -> None:
    async with inward, refusals:
        async for line in _lines(reader, max_line):
            if line is None:
                text = f"The message is longer than {max_line} bytes. Send pictures by create_upload or by path."
                await refusals.send(_refusal(INVALID_REQUEST, text))
                continue
            if not line.strip():
                continue
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValidationError:
                await refusals.send(_refusal(PARSE_ERROR, "The line is no JSON-RPC message."))
                continue
            if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
                here.cancelled.append(str((message.params or {}).get("requestId")))
            await inward.send(SessionMessage(message))


async def _lines(reader: asyncio.StreamReader, longest: int) -> AsyncIterator[bytes | None]:
    """The lines that arrive; None stands for one that was too long and is dropped without being kept."""
    kept = bytearray()
    dropping = False
    with suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            *ended, rest = chunk.split(b"\n")
            for part in ended:
                kept += part
                yield None if dropping or len(kept) > longest else bytes(kept)
                kept.clear()
                dropping = False
            kept += rest
            if len(kept) > longest:
                dropping = True
                kept.clear()


async def _send(
    outward: MemoryObjectReceiveStream[SessionMessage], writer: asyncio.StreamWriter, scope: anyio.CancelScope
) -> None:
    try:
        async with outward:
            async for message in outward:
                writer.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await writer.drain()
    except ConnectionError:
        log.debug("the client stopped reading")
        scope.cancel()


def _refusal(code: int, text: str) -> SessionMessage:
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=None, error=ErrorData(code=code, message=text)))
