"""Signing in and out, and passwords, over dialect 001."""

import re
import time
from datetime import datetime

import pytest
from support.people import login, newcomer, told
from support.web_room import PASSWORD, Web

pytestmark = pytest.mark.anyio

OTHER = "Battery-staple-2"
DAY = 24 * 3600


async def test_logging_in_answers_with_a_token_that_works_for_a_day(web: Web) -> None:
    person = await newcomer(web)
    answer = await login(web, person.username)
    assert answer.status_code == 200
    body = answer.json()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", body["token"])
    assert abs(datetime.fromisoformat(body["expiresAt"]).timestamp() - time.time() - DAY) < 3600
    assert body["user"]["username"] == person.username
    assert body["user"]["role"] == "user"
    assert body["user"]["permissions"] == ["tools:use", "files:own", "apikeys:own", "pipelines:own", "settings:read"]
    async with web.client(body["token"]) as client:
        session = (await client.get("/api/auth/session")).json()
    assert session == {"user": body["user"], "expiresAt": body["expiresAt"]}


async def test_a_name_is_known_whatever_its_case(web: Web) -> None:
    person = await newcomer(web)
    assert (await login(web, person.username.upper())).status_code == 200


async def test_an_unknown_name_and_a_wrong_password_get_the_same_answer(web: Web) -> None:
    person = await newcomer(web)
    wrong, unknown = await login(web, person.username, OTHER), await login(web, "nobody-here", OTHER)
    assert wrong.status_code == unknown.status_code == 401
    assert told(wrong) == told(unknown)
    assert wrong.json()["code"] == "AUTH_REQUIRED"
    assert wrong.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "body",
    [{}, {"username": "ann"}, {"username": "", "password": PASSWORD}, {"username": "ann", "password": 8}, [], "text"],
)
async def test_a_login_without_name_or_password_is_refused(web: Web, body: object) -> None:
    async with web.client() as client:
        answer = await client.post("/api/auth/login", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_what_no_field_is_for_is_refused(web: Web) -> None:
    async with web.client() as client:
        body = {"username": "ann", "password": PASSWORD, "role": "admin"}
        answer = await client.post("/api/auth/login", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "'role'" in answer.json()["error"]


async def test_nobody_gets_in_without_a_token(web: Web) -> None:
    async with web.client() as client:
        refused = [
            await client.get("/api/auth/session"),
            await client.post("/api/auth/logout"),
            await client.post("/api/auth/change-password", json={}),
            await client.get("/api/auth/session", headers={"authorization": "Bearer si_" + "0" * 96}),
        ]
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(401, "AUTH_REQUIRED")}


async def test_logging_out_ends_the_session_it_comes_with_and_no_other(web: Web) -> None:
    person = await newcomer(web)
    second = (await login(web, person.username)).json()["token"]
    async with web.client(person.token) as client:
        assert (await client.post("/api/auth/logout")).json() == {"ok": True}
        assert (await client.get("/api/auth/session")).status_code == 401
    async with web.client(second) as client:
        assert (await client.get("/api/auth/session")).status_code == 200


async def test_a_session_that_a_key_comes_with_has_no_end(web: Web) -> None:
    async with web.client(web.user) as client:
        session = (await client.get("/api/auth/session")).json()
    assert session["user"]["username"] == "ann"
    assert session["expiresAt"] is None


async def test_a_new_password_ends_all_other_sessions_and_all_keys(web: Web) -> None:
    person = await newcomer(web)
    other = (await login(web, person.username)).json()["token"]
    async with web.client(person.token) as client:
        key = (await client.post("/api/v1/api-keys", json={"name": "script"})).json()["key"]
        change = {"currentPassword": PASSWORD, "newPassword": OTHER}
        assert (await client.post("/api/auth/change-password", json=change)).json() == {"ok": True}
        assert (await client.get("/api/auth/session")).status_code == 200
        assert (await client.get("/api/v1/api-keys")).json() == {"apiKeys": []}
    for ended in (other, key):
        async with web.client(ended) as client:
            assert (await client.get("/api/v1/files")).status_code == 401
    assert (await login(web, person.username)).status_code == 401
    assert (await login(web, person.username, OTHER)).status_code == 200


async def test_the_current_password_is_asked_for(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        answer = await client.post(
            "/api/auth/change-password", json={"currentPassword": OTHER, "newPassword": "Third-password-3"}
        )
    assert (answer.status_code, answer.json()["code"]) == (403, "INVALID_PASSWORD")
    assert (await login(web, person.username)).status_code == 200


@pytest.mark.parametrize("weak", ["Short1", "no-upper-1", "NO-LOWER-1", "No-digit-here"])
async def test_a_weak_password_is_refused(web: Web, weak: str) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        answer = await client.post("/api/auth/change-password", json={"currentPassword": PASSWORD, "newPassword": weak})
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert weak not in answer.text


async def test_who_was_given_a_password_changes_it_before_anything_else(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(web.admin) as client:
        answer = await client.post(f"/api/auth/users/{person.id}/reset-password", json={"newPassword": OTHER})
    assert answer.json() == {"ok": True}
    async with web.client(person.token) as client:
        assert (await client.get("/api/auth/session")).status_code == 401
    entered = (await login(web, person.username, OTHER)).json()
    assert entered["user"]["mustChangePassword"] is True
    async with web.client(entered["token"]) as client:
        for method, path in [
            ("GET", "/api/v1/files"),
            ("GET", "/api/v1/teams"),
            ("GET", "/api/v1/settings"),
            ("POST", "/api/v1/api-keys"),
            ("POST", "/api/v1/upload"),
        ]:
            refused = await client.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (403, "MUST_CHANGE_PASSWORD"), path
        assert (await client.get("/api/auth/session")).json()["user"]["mustChangePassword"] is True
        change = {"currentPassword": OTHER, "newPassword": "Third-password-3"}
        assert (await client.post("/api/auth/change-password", json=change)).status_code == 200
        assert (await client.get("/api/v1/files")).status_code == 200


async def test_anybody_may_ask_whether_the_server_lives_and_wants_a_login(web: Web) -> None:
    async with web.client() as client:
        health, config = await client.get("/api/v1/health"), await client.get("/api/v1/config/auth")
    assert (health.status_code, health.json()["status"]) == (200, "healthy")
    assert config.json() == {"authEnabled": True}
