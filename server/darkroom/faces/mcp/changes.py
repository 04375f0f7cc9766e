"""Tells clients of both eras that the list of tools changed."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio
from mcp.server.connection import Connection
from mcp.server.context import CallNext, HandlerResult
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, ToolsListChanged

from darkroom.faces.mcp.room import Context

__all__ = ["Changes"]

PATIENCE = 5.0
"""Seconds for one client to take a notification."""


class Changes:
    """Clients of 2026-07-28 listen on a subscription; earlier ones are written to on their connection."""

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._legacy: dict[int, Connection] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self.listen = ListenHandler(self.bus)

    async def track(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Middleware: remember a handshake connection for as long as it lives."""
        result = await call_next(ctx)
        if ctx.method == "notifications/initialized" and (connection := _connection_of(ctx)) is not None:
            self._legacy[id(connection)] = connection
            connection.exit_stack.callback(self._legacy.pop, id(connection), None)
        return result

    @property
    def connections(self) -> int:
        """Handshake connections that would be told."""
        return len(self._legacy)

    def tools_changed(self) -> None:
        """Tell everybody, without waiting for anybody; call it on the event loop."""
        self._start(self.bus.publish(ToolsListChanged()))
        for connection in self._legacy.values():
            self._start(_tell(connection))

    def _start(self, telling: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(telling)
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def _tell(connection: Connection) -> None:
    # A client that stopped reading would hold the notification, and this task, for ever.
    with anyio.move_on_after(PATIENCE):
        await connection.send_tool_list_changed()


def _connection_of(ctx: Context) -> Connection | None:
    """The connection behind a request. The SDK has no public way to it; without one, only listeners are told."""
    found: Any = getattr(ctx.session, "_connection", None)
    return found if isinstance(found, Connection) else None
