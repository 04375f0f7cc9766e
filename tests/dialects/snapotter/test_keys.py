"""API keys over dialect 001."""

import re

import pytest
from support.people import newcomer, told
from support.web_room import Web

pytestmark = pytest.mark.anyio


async def test_a_key_is_shown_once_and_then_listed_without_itself(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        answer = await client.post("/api/v1/api-keys", json={"name": "my-script"})
        listed = await client.get("/api/v1/api-keys")
    assert answer.status_code == 201
    made = answer.json()
    assert re.fullmatch(r"si_[0-9a-f]{96}", made["key"])
    assert made["name"] == "my-script"
    assert (made["permissions"], made["expiresAt"], made["lastUsedAt"]) == (None, None, None)
    key = made.pop("key")
    assert listed.json() == {"apiKeys": [made]}
    assert key not in listed.text


async def test_a_key_works_until_it_is_deleted_and_its_use_is_seen(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        made = (await client.post("/api/v1/api-keys", json={})).json()
        async with web.client(made["key"]) as by_key:
            assert (await by_key.get("/api/v1/files")).status_code == 200
            [listed] = (await client.get("/api/v1/api-keys")).json()["apiKeys"]
            assert listed["lastUsedAt"] is not None
            assert (await client.delete(f"/api/v1/api-keys/{made['id']}")).json() == {"ok": True}
            assert (await by_key.get("/api/v1/files")).status_code == 401
        gone = await client.delete(f"/api/v1/api-keys/{made['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "NOT_FOUND")


async def test_a_narrow_key_does_what_it_is_for_and_nothing_else(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        body = {"name": "reader", "permissions": ["settings:read"], "expiresAt": "2100-01-01T00:00:00Z"}
        made = (await client.post("/api/v1/api-keys", json=body)).json()
    assert (made["permissions"], made["expiresAt"]) == (["settings:read"], "2100-01-01T00:00:00Z")
    async with web.client(made["key"]) as client:
        assert (await client.get("/api/v1/settings")).status_code == 200
        refused = await client.get("/api/v1/files")
        assert (await client.get("/api/auth/session")).json()["user"]["permissions"] == ["settings:read"]
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    "body",
    [
        {"name": ""},
        {"name": "n" * 101},
        {"name": "x", "permissions": []},
        {"name": "x", "permissions": ["everything"]},
        {"name": "x", "expiresAt": "2001-01-01T00:00:00Z"},
        {"name": "x", "expiresAt": "2100-01-01T00:00:00"},
        {"name": "x", "expiresAt": "soon"},
        {"name": "x", "user": "local"},
    ],
)
async def test_a_key_that_cannot_be_is_refused(web: Web, body: dict[str, object]) -> None:
    async with web.client(web.user) as client:
        answer = await client.post("/api/v1/api-keys", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_keys_of_others_are_not_there(web: Web) -> None:
    person = await newcomer(web)
    other = await newcomer(web)
    async with web.client(person.token) as client:
        made = (await client.post("/api/v1/api-keys", json={"name": "mine"})).json()
    async with web.client(other.token) as client:
        assert (await client.get("/api/v1/api-keys")).json() == {"apiKeys": []}
        foreign = await client.delete(f"/api/v1/api-keys/{made['id']}")
        missing = await client.delete("/api/v1/api-keys/key_nothing")
    assert foreign.status_code == missing.status_code == 404
    assert told(foreign) == told(missing)
    async with web.client(made["key"]) as client:
        assert (await client.get("/api/v1/files")).status_code == 200


async def test_an_admin_sees_and_ends_keys_of_everybody(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        made = (await client.post("/api/v1/api-keys", json={"name": "seen"})).json()
    async with web.client(web.admin) as client:
        listed = {key["id"]: key for key in (await client.get("/api/v1/api-keys")).json()["apiKeys"]}
        assert listed[made["id"]]["userId"] == person.id
        assert (await client.delete(f"/api/v1/api-keys/{made['id']}")).status_code == 200
    async with web.client(made["key"]) as client:
        assert (await client.get("/api/v1/files")).status_code == 401
