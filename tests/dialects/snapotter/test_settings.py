"""Settings over dialect 001, and what they do on every face."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from support.people import login, newcomer
from support.web_room import Web

pytestmark = pytest.mark.anyio

DEFAULTS = {
    "disabledTools": [],
    "enableExperimentalTools": "false",
    "loginAttemptLimit": 5,
    "customLogo": "false",
}


@pytest.fixture
async def admin(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.admin) as client:
        yield client
        restored = {key: value for key, value in DEFAULTS.items() if key != "customLogo"}
        assert (await client.put("/api/v1/settings", json=restored)).status_code == 200


@asynccontextmanager
async def mcp_client(web: Web, key: str) -> AsyncIterator[Client]:
    async with (
        web.client(key) as http,
        Client(streamable_http_client(f"{web.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def put(client: httpx2.AsyncClient, key: str, value: object) -> httpx2.Response:
    return await client.put(f"/api/v1/settings/{key}", json={"value": value})


async def test_whoever_is_signed_in_reads_all_settings(web: Web, admin: httpx2.AsyncClient) -> None:
    async with web.client(web.user) as user, web.client() as nobody:
        assert (await user.get("/api/v1/settings")).json() == {"settings": DEFAULTS}
        assert (await nobody.get("/api/v1/settings")).status_code == 401
        one = await user.get("/api/v1/settings/loginAttemptLimit")
        unknown = await user.get("/api/v1/settings/secret")
    assert one.json() == {"key": "loginAttemptLimit", "value": 5, "updatedAt": None}
    assert (unknown.status_code, unknown.json()["code"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("disabledTools", ["ocr", "remove_background", "ocr"], ["ocr", "remove-background"]),
        ("disabledTools", '["ocr"]', ["ocr"]),
        ("disabledTools", ["adjust-colors"], ["color-adjustments"]),
        ("disabledTools", "[]", []),
        ("enableExperimentalTools", "true", "true"),
        ("enableExperimentalTools", True, "true"),
        ("enableExperimentalTools", "false", "false"),
        ("loginAttemptLimit", 10, 10),
        ("loginAttemptLimit", "7", 7),
    ],
)
async def test_an_admin_sets_what_everybody_then_reads(
    web: Web, admin: httpx2.AsyncClient, key: str, value: object, shown: object
) -> None:
    answer = await put(admin, key, value)
    assert answer.status_code == 200
    assert (answer.json()["key"], answer.json()["value"]) == (key, shown)
    assert datetime.fromisoformat(answer.json()["updatedAt"]).tzinfo is not None
    async with web.client(web.user) as user:
        assert (await user.get("/api/v1/settings")).json()["settings"] == {**DEFAULTS, key: shown}
        assert (await user.get(f"/api/v1/settings/{key}")).json() == answer.json()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("disabledTools", ["resise"], "'resize'"),
        ("disabledTools", "resize", "array"),
        ("disabledTools", [1], "array"),
        ("disabledTools", {"resize": True}, "array"),
        ("enableExperimentalTools", "perhaps", "enableExperimentalTools"),
        ("enableExperimentalTools", 1, "enableExperimentalTools"),
        ("loginAttemptLimit", 0, "loginAttemptLimit"),
        ("loginAttemptLimit", 2.5, "loginAttemptLimit"),
        ("loginAttemptLimit", "many", "loginAttemptLimit"),
        ("loginAttemptLimit", "1001", "loginAttemptLimit"),
        ("loginAttemptLimit", True, "loginAttemptLimit"),
        ("loginAttemptLimit", None, "loginAttemptLimit"),
        ("customLogo", "true", "follows the logo"),
        ("tempFileMaxAgeHours", 24, "disabledTools, enableExperimentalTools, loginAttemptLimit"),
        ("disabledTool", ["ocr"], "'disabledTools'"),
    ],
)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    admin: httpx2.AsyncClient, key: str, value: object, said: str
) -> None:
    answer = await put(admin, key, value)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert said in answer.json()["error"]
    assert (await admin.get("/api/v1/settings")).json() == {"settings": DEFAULTS}


async def test_several_settings_are_set_all_or_none(admin: httpx2.AsyncClient) -> None:
    wrong = await admin.put("/api/v1/settings", json={"loginAttemptLimit": 9, "disabledTools": ["nothing-such"]})
    assert wrong.status_code == 400
    assert (await admin.get("/api/v1/settings")).json()["settings"]["loginAttemptLimit"] == 5
    right = await admin.put("/api/v1/settings", json={"loginAttemptLimit": 9, "disabledTools": ["ocr"]})
    assert right.json() == {"ok": True, "updatedCount": 2}
    now = (await admin.get("/api/v1/settings")).json()["settings"]
    assert (now["loginAttemptLimit"], now["disabledTools"]) == (9, ["ocr"])


async def test_a_disabled_tool_is_gone_from_mcp_until_it_is_enabled_again(web: Web, admin: httpx2.AsyncClient) -> None:
    async def names(client: Client) -> set[str]:
        return {tool.name for tool in (await client.list_tools(cache_mode="refresh")).tools}

    async with mcp_client(web, web.user) as client:
        before = await names(client)
        assert "rotate" in before
        await put(admin, "disabledTools", ["rotate"])
        assert await names(client) == before - {"rotate"}
        with pytest.raises(MCPError, match="Unknown tool 'rotate'"):
            await client.call_tool("rotate", {"image": "img_x", "angle": 90})
        steps = [{"tool": "rotate", "settings": {"angle": 90}}]
        refused = await client.call_tool("run_pipeline", {"steps": steps, "images": ["img_x"]})
        assert refused.is_error
        assert "rotate" in refused.content[0].text
        await put(admin, "disabledTools", [])
        assert await names(client) == before


async def test_a_disabled_tool_is_gone_from_rest_too(web: Web, admin: httpx2.AsyncClient) -> None:
    pipeline = [{"toolId": "resize", "settings": {"width": 40}}, {"toolId": "rotate", "settings": {"angle": 90}}]
    async with web.client(web.user) as user:

        async def run(path: str, **fields: str) -> httpx2.Response:
            return await user.post(path, data=fields, files={"file": ("photo.jpg", web.photo)})

        saved = await user.post("/api/v1/pipeline/save", json={"name": "Turned", "steps": pipeline})
        before = await run("/api/v1/pipeline/execute", pipelineId=saved.json()["id"])
        await put(admin, "disabledTools", ["rotate"])
        alone = await run("/api/v1/tools/rotate", settings='{"angle": 90}')
        written = await run("/api/v1/pipeline/execute", pipeline=json.dumps(pipeline))
        by_id = await run("/api/v1/pipeline/execute", pipelineId=saved.json()["id"])
        batch = await user.post(
            "/api/v1/tools/rotate/batch", data={"settings": "{}"}, files={"files": ("photo.jpg", web.photo)}
        )
        step_tools = (await user.get("/api/v1/pipeline/tools")).json()["toolIds"]
        shown = await user.get("/api/v1/tools/rotate")
        await put(admin, "disabledTools", [])
        after = await run("/api/v1/tools/rotate", settings='{"angle": 90}')
    assert before.status_code == after.status_code == 200
    for refused in (alone, batch, shown):
        assert (refused.status_code, refused.json()["code"]) == (404, "NOT_FOUND")
        assert "switched off" in refused.json()["error"]
    assert (written.status_code, by_id.status_code) == (400, 403)
    assert "rotate" in written.json()["error"]
    assert "'rotate', which is switched off" in by_id.json()["error"]
    assert "resize" in step_tools
    assert "rotate" not in step_tools


async def test_a_saved_workflow_with_a_disabled_tool_says_so_when_it_is_run(
    web: Web, admin: httpx2.AsyncClient
) -> None:
    async with web.client(web.user) as http:
        sent = await http.post("/api/v1/upload", files={"file": ("photo.jpg", web.photo)})
        image = sent.json()["files"][0]["id"]
    async with mcp_client(web, web.user) as client:
        steps = [{"tool": "resize", "settings": {"width": 40}}, {"tool": "rotate", "settings": {"angle": 90}}]
        await client.call_tool("save_workflow", {"name": "Small and turned", "steps": steps})
        call = {"workflow": "Small and turned", "inputs": {"image": image}}
        await put(admin, "disabledTools", ["rotate"])
        refused = await client.call_tool("run_workflow", call)
        assert refused.is_error
        assert "'rotate', which is switched off" in refused.content[0].text
        foretold = await client.call_tool("check_workflow", call)
        assert "switched off" in foretold.content[0].text
        await put(admin, "disabledTools", [])
        assert not (await client.call_tool("run_workflow", call)).is_error


async def test_the_limit_of_login_attempts_is_what_the_setting_says(web: Web, admin: httpx2.AsyncClient) -> None:
    person = await newcomer(web)
    await put(admin, "loginAttemptLimit", 2)
    codes = [(await login(web, person.username, "Wrong-password-1")).status_code for _ in range(3)]
    refused = await login(web, person.username)
    assert codes == [401, 401, 429]
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert int(refused.headers["retry-after"]) >= 1
