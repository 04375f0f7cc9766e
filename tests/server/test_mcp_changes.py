"""Saved workflows become tools in sessions that are already open, in every era."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client
from support.mcp_room import Bench, open_bench, png, serving_http, socket_transport

from darkroom.faces.mcp.changes import Changes
from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL
from darkroom.workflows.document import WorkflowDocument

pytestmark = pytest.mark.anyio

WORKFLOW = {"name": "Small", "steps": [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}]}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


class Heard:
    """Notifications that a client got."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self._more = anyio.Event()

    async def __call__(self, message: Any) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self.methods.append(message.method)
            self._more.set()

    async def once_more(self) -> None:
        with anyio.fail_after(20):
            await self._more.wait()
        self._more = anyio.Event()


@pytest.mark.parametrize("wire", ["stream", "http"])
async def test_a_legacy_client_is_told_when_a_workflow_is_saved_changed_and_deleted(bench: Bench, wire: str) -> None:
    server, heard = build_server(bench.room), Heard()
    async with AsyncExitStack() as stack:
        target: Any = socket_transport(server, LOCAL, bench.folder)
        if wire == "http":
            target = await stack.enter_async_context(serving_http(server))
        client = await stack.enter_async_context(Client(target, mode="legacy", message_handler=heard))
        assert client.server_capabilities.tools
        assert client.server_capabilities.tools.list_changed is True
        await until(lambda: server.changes.connections == 1)
        changes: list[Callable[[], Awaitable[Any]]] = [
            lambda: client.call_tool("save_workflow", WORKFLOW),
            lambda: bench.room.workflows.save(LOCAL, WorkflowDocument.parse({**WORKFLOW, "description": "Web."})),
            lambda: client.call_tool("delete_workflow", {"name": "Small"}),
        ]
        for change in changes:
            await change()
            await heard.once_more()
    await until(lambda: server.changes.connections == 0)
    assert len(heard.methods) == len(changes)


@pytest.mark.parametrize("wire", ["stream", "http"])
async def test_a_modern_client_hears_it_on_its_subscription(bench: Bench, wire: str) -> None:
    server = build_server(bench.room)
    async with AsyncExitStack() as stack:
        target: Any = socket_transport(server, LOCAL, bench.folder)
        if wire == "http":
            target = await stack.enter_async_context(serving_http(server))
        client = await stack.enter_async_context(Client(target))
        subscription = await stack.enter_async_context(client.listen(tools_list_changed=True))
        await client.call_tool("save_workflow", WORKFLOW)
        with anyio.fail_after(20):
            event = await anext(aiter(subscription))
    assert type(event).__name__ == "ToolsListChanged"


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_workflow_saved_in_a_session_is_listed_and_called_in_the_same_session(bench: Bench, era: str) -> None:
    source = await bench.store.add(png(40, 30))
    async with Client(socket_transport(build_server(bench.room), LOCAL, bench.folder), mode=era) as client:
        before = {tool.name for tool in (await client.list_tools()).tools}
        saved = (await client.call_tool("save_workflow", WORKFLOW)).structured_content
        (new,) = [tool for tool in (await client.list_tools()).tools if tool.name not in before]
        assert new.name == saved["tool"]
        assert set(new.input_schema["properties"]) == {"image", "width"}
        result = await client.call_tool(saved["tool"], {"image": source, "width": 20})
        assert result.structured_content["source"] == source
        gone = await client.call_tool("delete_workflow", {"workflow": "Small"})
        assert gone.structured_content == {"deleted": "Small"}
        assert {tool.name for tool in (await client.list_tools()).tools} == before


async def test_without_the_sdks_private_connection_nothing_breaks() -> None:
    class Context:
        method = "notifications/initialized"
        session = object()

    async def pass_on(_ctx: Any) -> None:
        return None

    changes = Changes()
    await changes.track(Context(), pass_on)  # type: ignore[arg-type]
    changes.tools_changed()
    await anyio.lowlevel.checkpoint()
    assert changes.connections == 0


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not true():
            await anyio.lowlevel.checkpoint()
