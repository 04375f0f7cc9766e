"""The examples of the public description about signing in and keys, as they stand there."""

import re

import httpx2
import pytest
from support.web_room import PASSWORD, Web

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


async def logged_in(client: httpx2.AsyncClient) -> str:
    body = f'{{"username":"admin","password":"{PASSWORD}"}}'
    answer = await client.post("/api/auth/login", headers=JSON, content=body)
    assert answer.status_code == 200
    return answer.json()["token"]


async def test_login_and_use_of_the_token(web: Web) -> None:
    async with web.client() as client:
        token = await logged_in(client)
        answer = await client.get("/api/v1/tools/resize", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_a_key_is_created_returned_once_and_used(web: Web) -> None:
    async with web.client() as client:
        bearer = {"Authorization": f"Bearer {await logged_in(client)}"}
        answer = await client.post("/api/v1/api-keys", headers=bearer | JSON, content='{"name":"my-script"}')
        made = answer.json()
        assert re.fullmatch(r"si_[0-9a-f]{96}", made["key"])
        assert made["id"]
        assert made["name"] == "my-script"
        listed = await client.get("/api/v1/api-keys", headers=bearer)
        [mine] = [key for key in listed.json()["apiKeys"] if key["id"] == made["id"]]
        assert {"name", "id", "lastUsedAt"} <= mine.keys()
        assert made["key"] not in listed.text
        used = await client.get("/api/v1/tools/resize", headers={"Authorization": f"Bearer {made['key']}"})
        assert used.status_code == 200
        assert (await client.delete(f"/api/v1/api-keys/{made['id']}", headers=bearer)).status_code == 200
        ended = await client.get("/api/v1/tools/resize", headers={"Authorization": f"Bearer {made['key']}"})
        assert (ended.status_code, ended.json()["code"]) == (401, "AUTH_REQUIRED")


async def test_all_endpoints_require_authentication(web: Web) -> None:
    async with web.client() as client:
        for path in ("/api/v1/tools/resize", "/api/v1/files", "/api/v1/api-keys", "/api/v1/teams", "/api/v1/settings"):
            answer = await client.get(path)
            assert answer.status_code == 401, path
            assert {"error", "code"} <= answer.json().keys()


async def test_every_error_is_json_with_a_text_and_a_code(web: Web) -> None:
    async with web.client(web.admin) as client:
        answers = {
            400: await client.post("/api/v1/teams", json={}),
            404: await client.get("/api/v1/files/img_nothing"),
            413: await client.post("/api/v1/branding/logo", files={"file": ("logo.png", bytes(600_000))}),
        }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert isinstance(answer.json()["error"], str)
        assert re.fullmatch(r"[A-Z_]+", answer.json()["code"])
