"""MCP over HTTP with accounts: keys, scopes per tool, and nobody sees what is another's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from support.web_room import Web, web_room

from darkroom.principal import LOCAL, Principal

pytestmark = pytest.mark.anyio

BOTH_ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@asynccontextmanager
async def agent(web: Web, key: str, era: str = "auto") -> AsyncIterator[Client]:
    async with (
        web.client(key) as http,
        Client(streamable_http_client(f"{web.url}/mcp", http_client=http), mode=era) as it,
    ):
        yield it


async def narrow(web: Web, *scopes: str) -> str:
    owner = Principal(web.ann.id, permissions=LOCAL.permissions)
    return (await web.room.keys.create(owner, "narrow", scopes=list(scopes)))[0]


async def uploaded(web: Web, client: Client) -> str:
    slot = (await client.call_tool("create_upload", {})).structured_content
    url = next(value for value in slot.values() if isinstance(value, str) and value.startswith("http"))
    async with web.client() as http:
        return str((await http.put(url, content=web.photo)).json()["image"])


async def test_without_a_key_a_client_is_told_where_to_learn_how_to_get_one(web: Web) -> None:
    async with web.client() as http:
        refused = await http.post("/mcp", json={})
        assert refused.status_code == 401
        where = f"{web.url}/.well-known/oauth-protected-resource"
        assert f'resource_metadata="{where}"' in refused.headers["www-authenticate"]
        for address in (where, f"{where}/mcp"):
            told = (await http.get(address)).json()
            assert told["resource"] == f"{web.url}/mcp"
            assert "tools:run" in told["scopes_supported"]
            assert "authorization_servers" not in told


@BOTH_ERAS
async def test_a_key_lists_what_its_scopes_allow(web: Web, era: str) -> None:
    async with agent(web, web.user, era) as client:
        everything = {tool.name for tool in (await client.list_tools()).tools}
    assert {"resize", "list_images", "save_workflow"} <= everything
    async with agent(web, await narrow(web, "files:read"), era) as client:
        some = {tool.name for tool in (await client.list_tools()).tools}
    assert some == {"view_image", "list_images", "export_image"}
    async with agent(web, await narrow(web, "workflows:execute"), era) as client:
        some = {tool.name for tool in (await client.list_tools()).tools}
    assert {"resize", "run_workflow", "list_workflows"} <= some
    assert not {"list_images", "save_workflow", "delete_image"} & some


async def test_a_call_beyond_the_scopes_is_refused_before_anything_happens(web: Web) -> None:
    key = await narrow(web, "storage:read")
    async with agent(web, key, "legacy") as client:
        for name, arguments in (("resize", {"image": "img_x", "width": 5}), ("create_upload", {})):
            refused = await client.call_tool(name, arguments)
            assert refused.is_error
            assert refused.content[0].text.startswith("FORBIDDEN")
    call: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "resize"}}
    headers = {"mcp-method": "tools/call", "mcp-name": "resize", "mcp-protocol-version": "2026-07-28"}
    async with web.client(key) as http:
        answer = await http.post(
            "/mcp", json=call, headers={**headers, "accept": "application/json, text/event-stream"}
        )
    assert answer.status_code == 403
    assert 'error="insufficient_scope", scope="tools:run"' in answer.headers["www-authenticate"]


@BOTH_ERAS
async def test_nobody_sees_the_pictures_jobs_and_workflows_of_others(web: Web, era: str) -> None:
    async with agent(web, web.user, era) as ann, agent(web, web.other, era) as ben:
        handle = await uploaded(web, ann)
        made = await ann.call_tool("resize", {"image": handle, "width": 30}, meta={"io.darkroom/keep": True})
        result, job = made.structured_content["image"], made.meta["io.darkroom/job"]
        steps = [{"tool": "rotate", "settings": {"angle": 90}}]
        saved = await ann.call_tool("save_workflow", {"name": f"Mine {era}", "steps": steps})
        tool = saved.structured_content["tool"]
        assert tool in {each.name for each in (await ann.list_tools()).tools}
        assert tool not in {each.name for each in (await ben.list_tools()).tools}
        for name, arguments in (
            ("view_image", {"image": result}),
            ("resize", {"image": handle, "width": 5}),
            ("delete_image", {"image": handle}),
            ("get_job", {"job": job}),
            ("cancel_job", {"job": job}),
            ("run_workflow", {"workflow": f"Mine {era}", "image": handle}),
        ):
            refused = await ben.call_tool(name, arguments)
            assert refused.is_error, name
            assert refused.content[0].text.startswith("NOT_FOUND"), name
        assert "img_" not in (await ben.call_tool("list_images", {})).content[0].text
        assert "img_" in (await ann.call_tool("list_images", {})).content[0].text
        assert (await ann.call_tool("view_image", {"image": result})).is_error is not True


async def test_a_session_is_used_by_whoever_opened_it_only(web: Web) -> None:
    info = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    first = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": info}
    accept = {"accept": "application/json, text/event-stream"}
    async with web.client(web.user) as ann, web.client(web.other) as ben:
        opened = await ann.post("/mcp", json=first, headers=accept)
        session = {**accept, "mcp-session-id": opened.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        again = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
        assert (await ben.post("/mcp", json=again, headers=session)).status_code == 404
        assert (await ben.delete("/mcp", headers=session)).status_code == 404
        assert (await ann.post("/mcp", json=again, headers=session)).status_code == 200


async def test_a_key_that_was_deleted_opens_nothing_more(web: Web) -> None:
    owner = Principal(web.ann.id, permissions=LOCAL.permissions)
    key, row = await web.room.keys.create(owner, "short-lived")
    async with web.client(key) as http:
        assert (await http.post("/mcp", json={})).status_code != 401
        await web.room.keys.delete(owner, row.id)
        refused: httpx2.Response = await http.post("/mcp", json={})
        assert refused.status_code == 401
