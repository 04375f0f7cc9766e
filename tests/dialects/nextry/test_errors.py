"""Nextry's form for every error, also for those from before any route is looked for."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.gallery_room import PICTURES
from support.web_room import Web, web_room

pytestmark = pytest.mark.anyio

GENERATE = "/generation/generate_image_v2/"
HISTORY = "/user/generation-history"
NOBODY = "00000000-0000-4000-8000-000000000000"


def checked(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """The error in an answer, in FastAPI's form: a text, or a list for values that are not as they should be."""
    assert answer.status_code == status, answer.text
    said = answer.json()
    assert {"detail", "code", "request_id"} <= set(said)
    if isinstance(said["detail"], str):
        assert said["detail"].endswith((".", "?"))
    else:
        assert status == 422
        assert all(set(each) == {"loc", "msg", "type"} for each in said["detail"])
        assert all(each["loc"][0] in ("body", "query") for each in said["detail"])
    return said


async def test_who_is_not_known_is_refused(web: Web) -> None:
    async with web.client() as nobody, web.client("nx-" + "0" * 48) as stranger:
        for client in (nobody, stranger):
            for path in ("/generation/tools", HISTORY):
                answer = await client.get(path)
                checked(answer, 401)
                assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path"), [("POST", GENERATE), ("GET", HISTORY), ("DELETE", f"{HISTORY}/{NOBODY}")])
async def test_a_key_of_narrower_scopes_is_forbidden_the_rest(web: Web, method: str, path: str) -> None:
    key, _ = await web.room.keys.create(web.ann, "narrow", scopes=["workflows:read"])
    async with web.client(key) as client:
        assert (await client.get("/generation/tools")).status_code == 200
        checked(await client.request(method, path), 403)


@pytest.mark.parametrize(
    "path",
    [
        f"{HISTORY}/{NOBODY}",
        f"{HISTORY}/not-an-id",
        "/generation",
        "/generation/nothing",
        "/user/else",
        "/image/generation_result/a/b",
    ],
)
async def test_what_is_not_there_is_not_found(client: httpx2.AsyncClient, path: str) -> None:
    assert isinstance(checked(await client.get(path), 404)["detail"], str)


async def test_another_method_is_not_allowed(client: httpx2.AsyncClient) -> None:
    answer = await client.get(GENERATE)
    checked(answer, 405)
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page=0", "page"),
        ("page=one", "page"),
        ("page=1" + "0" * 30, "page"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("status=done", "status"),
        ("status=complete&status=done", "status"),
        ("generation_type=swap", "generation_type"),
        ("offset=3", "offset"),
    ],
)
async def test_a_wrong_query_is_told_by_field(client: httpx2.AsyncClient, query: str, field: str) -> None:
    [complaint] = checked(await client.get(f"{HISTORY}?{query}"), 422)["detail"]
    assert complaint["loc"][:2] == ["query", field]


async def test_an_unknown_tool_is_told_with_those_there_are(client: httpx2.AsyncClient) -> None:
    [complaint] = checked(await client.get("/generation/generationTypes?tool=lingerie"), 422)["detail"]
    assert complaint["loc"] == ["query", "tool"]
    assert "'lengerie'" in complaint["msg"]


@pytest.mark.parametrize(
    ("fields", "parts", "field"),
    [
        ({}, ["clothes", "person"], "tool"),
        ({"tool": "fashion-swap"}, ["clothes", "person"], "tool"),
        ({"tool": "fashion_swap", "generation_type": NOBODY}, ["clothes", "person"], "generation_type"),
        ({"tool": "fashion_swap"}, ["clothes"], "person"),
        ({"tool": "fashion_swap"}, ["clothes", "person", "person"], "person"),
        ({"tool": "fashion_swap"}, ["clothes", "person", "shoes"], "shoes"),
        ({"tool": "fashion_swap", "whishes": "x"}, ["clothes", "person"], "whishes"),
        ({"tool": "fashion_swap", "quality": "perfect"}, ["clothes", "person"], "quality"),
        ({"tool": "fashion_swap", "person": "no picture"}, ["clothes"], "person"),
    ],
)
async def test_a_wrong_form_is_told_by_field(
    client: httpx2.AsyncClient, fields: dict[str, str], parts: list[str], field: str
) -> None:
    files = [(name, (f"{name}.jpg", PICTURES["photo"]())) for name in parts]
    answer = await client.post(GENERATE, files=files, data=fields)
    if fields.get("person"):  # a path, which cannot be used over HTTP
        assert checked(answer, 403)["code"] == "PATH_NOT_ALLOWED"
        return
    [complaint] = checked(answer, 422)["detail"]
    assert complaint["loc"][:2] == ["body", field]


@pytest.mark.parametrize(
    ("body", "field"), [(b"{}", "like"), (b'{"like": 1}', "like"), (b'{"like": true, "x": 1}', "x")]
)
async def test_wrong_feedback_is_told_by_field(client: httpx2.AsyncClient, body: bytes, field: str) -> None:
    [complaint] = checked(await client.patch(f"{HISTORY}/feedback/{NOBODY}", content=body), 422)["detail"]
    assert complaint["loc"] == ["body", field]


async def test_what_is_no_form_or_no_json_is_told(client: httpx2.AsyncClient) -> None:
    checked(await client.post(GENERATE, json={"tool": "fashion_swap"}), 422)
    checked(await client.patch(f"{HISTORY}/feedback/{NOBODY}", content=b"{"), 422)


async def test_what_is_no_picture_or_too_large_is_refused(client: httpx2.AsyncClient) -> None:
    photo = PICTURES["photo"]()
    for data, status, code in (
        (b"<html></html>", 415, "UNSUPPORTED_FORMAT"),
        (photo + bytes(2 * 1024 * 1024), 413, "FILE_TOO_LARGE"),
    ):
        answer = await client.post(
            GENERATE, files={"clothes": ("clothes.jpg", data)}, data={"tool": "fashion_card", "title": "x"}
        )
        assert checked(answer, status)["code"] == code
    checked(await client.patch(f"{HISTORY}/feedback/{NOBODY}", content=b" " * 5_000_000), 413)


async def test_a_damaged_picture_is_a_bad_request(client: httpx2.AsyncClient) -> None:
    photo = PICTURES["photo"]()
    half = ("clothes.jpg", photo[: len(photo) // 2])
    answer = await client.post(GENERATE, files={"clothes": half}, data={"tool": "fashion_card", "title": "x"})
    said = checked(answer, 400)
    item = (await client.get(f"{HISTORY}/{said['history_item_id']}")).json()
    assert (item["status"], item["error"]) == ("error", said["detail"])


async def test_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with web_room(tmp_path, rate_limit=2) as web, web.client(web.user) as client:
        answers = [await client.get("/generation/tools") for _ in range(30)]
        said = checked(answers[-1], 429)
        assert answers[-1].headers["retry-after"] == str(said["retry_after"])


async def test_a_generative_tool_without_an_engine_says_what_to_set(tmp_path: Path) -> None:
    files = [(name, (f"{name}.jpg", PICTURES["portrait"]())) for name in ("clothes", "person")]
    async with web_room(tmp_path) as web, web.client(web.user) as client:
        said = checked(await client.post(GENERATE, files=files, data={"tool": "fashion_swap"}), 501)
        assert "DARKROOM_IMAGES_URL" in said["detail"]
        assert (await client.get(HISTORY)).json()["total_count"] == 0


async def test_who_cannot_pay_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    file = {"clothes": ("clothes.jpg", PICTURES["product"]())}
    async with web_room(tmp_path, credits=True, free_credits=0) as web, web.client(web.user) as client:
        answer = await client.post(GENERATE, files=file, data={"tool": "fashion_card", "title": "Flask"})
        assert checked(answer, 402)["code"] == "INSUFFICIENT_CREDITS"
        assert (await client.get(HISTORY)).json()["total_count"] == 0
        assert not [path for path in web.room.where.blobs.rglob("*") if path.is_file()]
