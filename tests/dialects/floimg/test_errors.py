"""FloImg's form for every error, also for those from before any route is looked for."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.web_room import Web, web_room

pytestmark = pytest.mark.anyio


def checked(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The error in an answer, which has the form of the public text."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert {"code", "message", "details"} <= set(error) <= {"code", "message", "details", "retryAfter"}
    assert error["code"] == code
    assert isinstance(error["details"]["requestId"], str)
    assert error["message"].endswith((".", "?"))
    return error


async def test_who_is_not_known_is_unauthorized(web: Web) -> None:
    async with web.client() as nobody, web.client("fsk_live_" + "0" * 48) as stranger:
        for client in (nobody, stranger):
            answer = await client.get("/v1/workflows")
            checked(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    ("scopes", "method", "path"),
    [
        (["storage:read"], "POST", "/v1/workflows/execute"),
        (["workflows:read"], "POST", "/v1/workflows/execute"),
        (["storage:read"], "GET", "/v1/workflows"),
        (["workflows:execute"], "GET", "/v1/storage/images"),
        (["storage:read"], "POST", "/v1/storage/upload"),
        (["storage:read"], "DELETE", "/v1/storage/images/img_x"),
        (["storage:read"], "POST", "/v1/projects"),
        (["storage:write"], "GET", "/v1/projects"),
    ],
)
async def test_a_key_of_narrower_scopes_is_forbidden_the_rest(
    web: Web, scopes: list[str], method: str, path: str
) -> None:
    key, _ = await web.room.keys.create(web.ann, "narrow", prefix="fsk_live_", scopes=scopes)
    async with web.client(key) as client:
        checked(await client.request(method, path), 403, "forbidden")


async def test_a_key_for_running_finds_runs_and_asks(web: Web, social: dict[str, Any]) -> None:
    key, _ = await web.room.keys.create(web.ann, "runner", prefix="fsk_test_", scopes=["workflows:execute"])
    async with web.client(key) as client:
        assert (await client.get("/v1/workflows")).status_code == 200
        body = {"workflowId": social["id"], "parameters": {"prompt": "By a runner"}}
        ran = await client.post("/v1/workflows/execute", json=body)
        assert ran.status_code == 200
        assert (await client.get(f"/v1/workflows/executions/{ran.json()['executionId']}")).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/workflows/wf_abc123",
        "/v1/workflows/executions/exec_xyz789",
        "/v1/workflows/executions/not-an-id",
        "/v1/workflows/execute",
        "/v1/workflows/a/b/c",
        "/v1/storage",
        "/v1/storage/images/img_abc123",
        "/v1/projects/proj_def456",
    ],
)
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    checked(await client.get(path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/workflows", {"GET", "HEAD"}),
        ("GET", "/v1/storage/upload", {"POST"}),
        ("PUT", "/v1/storage/images/img_abc123", {"GET", "HEAD", "DELETE"}),
    ],
)
async def test_another_method_is_an_invalid_request(
    client: httpx2.AsyncClient, method: str, path: str, allowed: set[str]
) -> None:
    answer = await client.request(method, path)
    checked(answer, 405, "invalid_request")
    assert set(answer.headers["allow"].split(", ")) <= allowed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "body"),
        (b"[]", "body"),
        (b"{}", "workflowId"),
        (b'{"workflowId": 7}', "workflowId"),
        (b'{"workflowId": "wf_x", "parameters": []}', "parameters"),
        (b'{"workflowId": "wf_x", "async": "yes"}', "async"),
        (b'{"workflowId": "wf_x", "asnyc": true}', "asnyc"),
        (b'{"workflowId": "wf_x", "parameters": {"width": NaN}}', "body"),
    ],
)
async def test_a_wrong_body_is_an_invalid_request(client: httpx2.AsyncClient, body: bytes, field: str) -> None:
    error = checked(await client.post("/v1/workflows/execute", content=body), 400, "invalid_request")
    assert error["details"]["field"] == field


@pytest.mark.parametrize("path", ["/v1/workflows", "/v1/storage/images", "/v1/projects"])
@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=ten", "offset=-1", "offset=1" + "0" * 30, "page=2"])
async def test_a_wrong_page_is_an_invalid_request(client: httpx2.AsyncClient, path: str, query: str) -> None:
    error = checked(await client.get(f"{path}?{query}"), 400, "invalid_request")
    assert error["details"]["field"] == query.partition("=")[0]


async def test_an_upload_without_its_file_is_an_invalid_request(web: Web, client: httpx2.AsyncClient) -> None:
    photo = ("photo.jpg", web.photo)
    for files, data in (
        ({"picture": photo}, {}),
        ({"file": photo}, {"nmae": "hero"}),
        ({"file": photo, "other": photo}, {}),
    ):
        answer = await client.post("/v1/storage/upload", files=files, data=data)
        checked(answer, 400, "invalid_request")
    checked(await client.post("/v1/storage/upload", json={}), 400, "invalid_request")


async def test_what_is_no_picture_is_an_invalid_request(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v1/storage/upload", files={"file": ("photo.jpg", b"<html></html>")})
    error = checked(answer, 415, "invalid_request")
    assert error["details"]["code"] == "UNSUPPORTED_FORMAT"


async def test_what_is_too_large_is_an_invalid_request(web: Web, client: httpx2.AsyncClient) -> None:
    large = web.photo + bytes(2 * 1024 * 1024)
    answer = await client.post("/v1/storage/upload", files={"file": ("photo.jpg", large)})
    assert checked(answer, 413, "invalid_request")["details"]["code"] == "FILE_TOO_LARGE"
    answer = await client.post("/v1/workflows/execute", content=b"{" + b" " * 5_000_000 + b"}")
    checked(answer, 413, "invalid_request")


async def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with web_room(tmp_path, rate_limit=2) as web, web.client(web.user) as client:
        answers = [await client.get("/v1/workflows") for _ in range(30)]
        first, last = answers[0], answers[-1]
        assert first.status_code == 200
        assert first.headers["x-ratelimit-limit"] == "2"
        assert {"x-ratelimit-remaining", "x-ratelimit-reset"} <= set(first.headers)
        error = checked(last, 429, "rate_limited")
        assert str(error["retryAfter"]) == str(error["details"]["retryAfter"]) == last.headers["retry-after"]


async def test_a_generative_workflow_without_an_engine_says_what_to_set(tmp_path: Path) -> None:
    async with web_room(tmp_path) as web, web.client(web.user) as client:
        rows = (await client.get("/v1/workflows", params={"limit": 100})).json()["workflows"]
        pattern = next(row["id"] for row in rows if row["name"] == "Fabric, new pattern")
        body = {"workflowId": pattern, "parameters": {"motif": "flowers"}}
        error = checked(await client.post("/v1/workflows/execute", json=body), 501, "unavailable")
        assert "DARKROOM_IMAGES_URL" in error["message"]


async def test_who_cannot_pay_is_told_and_nothing_runs(tmp_path: Path) -> None:
    async with web_room(tmp_path, credits=True, free_credits=0) as web, web.client(web.user) as client:
        stored = (await client.post("/v1/storage/upload", files={"file": ("photo.jpg", web.photo)})).json()
        rows = (await client.get("/v1/workflows", params={"limit": 100})).json()["workflows"]
        ready = next(row["id"] for row in rows if row["name"] == "Web-ready picture")
        body = {"workflowId": ready, "parameters": {"image": stored["id"]}}
        error = checked(await client.post("/v1/workflows/execute", json=body), 402, "payment_required")
        assert error["details"].items() >= {"code": "INSUFFICIENT_CREDITS", "balance": 0, "price": 1}.items()
        assert (await client.get("/v1/storage/images")).json()["total"] == 1
