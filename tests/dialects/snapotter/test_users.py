"""The users that an admin looks after, over dialect 001."""

from pathlib import Path

import pytest
from support.people import login, newcomer, told
from support.web_room import PASSWORD, Web, web_room

pytestmark = pytest.mark.anyio

OPERATOR = "token-of-the-operator"


async def test_everybody_is_listed_with_role_and_team(web: Web) -> None:
    async with web.client(web.admin) as client:
        answer = (await client.get("/api/auth/users")).json()
    assert answer["maxUsers"] == web.room.config.max_users
    by_name = {user["username"]: user for user in answer["users"]}
    assert {"admin", "ann", "ben"} <= by_name.keys()
    assert by_name["admin"]["role"] == "admin"
    assert by_name["ann"]["role"] == "user"
    assert by_name["ann"]["team"] == by_name["ann"]["teamName"] == "Default"
    assert "users:manage" in by_name["admin"]["permissions"]
    assert "users:manage" not in by_name["ann"]["permissions"]


async def test_a_registered_user_can_log_in(web: Web) -> None:
    async with web.client(web.admin) as client:
        team = (await client.post("/api/v1/teams", json={"name": "Retouching"})).json()
        body = {"username": "Nina.New", "password": PASSWORD, "role": "admin", "team": "retouching"}
        answer = await client.post("/api/auth/register", json=body)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["username"], made["role"], made["team"], made["teamId"]) == (
        "Nina.New",
        "admin",
        "Retouching",
        team["id"],
    )
    assert PASSWORD not in answer.text
    entered = (await login(web, "nina.new")).json()["user"]
    assert entered == made


@pytest.mark.parametrize(
    "change",
    [
        {"username": "ab"},
        {"username": "with space"},
        {"username": "ünlaut"},
        {"password": "weak"},
        {"role": "editor"},
        {"team": "No such team"},
        {"permissions": ["users:manage"]},
        {"username": None},
    ],
)
async def test_what_a_user_cannot_be_is_refused(web: Web, change: dict[str, object]) -> None:
    body = {"username": "somebody", "password": PASSWORD, **change}
    async with web.client(web.admin) as client:
        answer = await client.post("/api/auth/register", json=body)
        known = {user["username"] for user in (await client.get("/api/auth/users")).json()["users"]}
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "somebody" not in known


async def test_a_name_is_given_once_whatever_its_case(web: Web) -> None:
    async with web.client(web.admin) as client:
        answer = await client.post("/api/auth/register", json={"username": "ANN", "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")


async def test_role_and_team_change_from_the_next_request_on(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(web.admin) as admin, web.client(person.token) as client:
        team = (await admin.post("/api/v1/teams", json={"name": "Studio"})).json()
        assert (await client.get("/api/auth/users")).status_code == 403
        changed = await admin.put(f"/api/auth/users/{person.id}", json={"role": "admin", "team": team["id"]})
        assert changed.json() == {"ok": True}
        assert (await client.get("/api/auth/users")).status_code == 200
        user = (await client.get("/api/auth/session")).json()["user"]
        assert (user["role"], user["team"]) == ("admin", "Studio")
        await admin.put(f"/api/auth/users/{person.id}", json={"role": "user", "team": "default"})
        assert (await client.get("/api/auth/users")).status_code == 403


async def test_a_change_of_nothing_or_to_an_unknown_team_is_refused(web: Web) -> None:
    async with web.client(web.admin) as client:
        nothing = await client.put(f"/api/auth/users/{web.ann.id}", json={})
        nowhere = await client.put(f"/api/auth/users/{web.ann.id}", json={"team": "Defalt"})
    assert (nothing.status_code, nothing.json()["code"]) == (400, "VALIDATION_ERROR")
    assert (nowhere.status_code, nowhere.json()["code"]) == (400, "VALIDATION_ERROR")
    assert "'Default'" in nowhere.json()["error"]


async def test_a_deleted_user_is_out_at_once(web: Web) -> None:
    person = await newcomer(web)
    async with web.client(person.token) as client:
        key = (await client.post("/api/v1/api-keys", json={"name": "left behind"})).json()["key"]
    async with web.client(web.admin) as client:
        assert (await client.delete(f"/api/auth/users/{person.id}")).json() == {"ok": True}
        again = await client.delete(f"/api/auth/users/{person.id}")
    assert (again.status_code, again.json()["code"]) == (404, "NOT_FOUND")
    for ended in (person.token, key):
        async with web.client(ended) as client:
            assert (await client.get("/api/auth/session")).status_code == 401
    assert (await login(web, person.username)).status_code == 401


async def test_who_is_no_admin_may_do_none_of_it(web: Web) -> None:
    calls = [
        ("GET", "/api/auth/users"),
        ("POST", "/api/auth/register"),
        ("PUT", f"/api/auth/users/{web.ben.id}"),
        ("DELETE", f"/api/auth/users/{web.ben.id}"),
        ("POST", f"/api/auth/users/{web.ben.id}/reset-password"),
        ("POST", "/api/v1/teams"),
        ("PUT", "/api/v1/teams/local"),
        ("DELETE", "/api/v1/teams/local"),
        ("PUT", "/api/v1/settings/loginAttemptLimit"),
        ("PUT", "/api/v1/settings"),
        ("POST", "/api/v1/branding/logo"),
        ("DELETE", "/api/v1/branding/logo"),
    ]
    async with web.client() as nobody, web.client(web.user) as user:
        for method, path in calls:
            refused = await user.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN"), path
            refused = await nobody.request(method, path)
            assert (refused.status_code, refused.json()["code"]) == (401, "AUTH_REQUIRED"), path


async def test_an_admin_neither_demotes_nor_deletes_themselves(web: Web) -> None:
    async with web.client(web.admin) as client:
        demoted = await client.put("/api/auth/users/local", json={"role": "user"})
        deleted = await client.delete("/api/auth/users/local")
    assert (demoted.status_code, demoted.json()["code"]) == (403, "SELF_DEMOTE")
    assert (deleted.status_code, deleted.json()["code"]) == (403, "SELF_DELETE")


async def test_nobody_grants_more_than_they_have(web: Web) -> None:
    async with web.client(web.admin) as client:
        narrow = {"name": "people only", "permissions": ["users:manage", "apikeys:own"]}
        key = (await client.post("/api/v1/api-keys", json=narrow)).json()["key"]
    async with web.client(key) as client:
        body = {"username": "risen", "password": PASSWORD, "role": "admin"}
        made = await client.post("/api/auth/register", json=body)
        raised = await client.put(f"/api/auth/users/{web.ann.id}", json={"role": "admin"})
        taken = await client.post("/api/auth/users/local/reset-password", json={"newPassword": PASSWORD})
        widened = await client.post("/api/v1/api-keys", json={"name": "wide", "permissions": ["files:all"]})
    for answer in (made, raised, taken, widened):
        assert (answer.status_code, answer.json()["code"]) == (403, "ESCALATION_DENIED")


async def test_an_unknown_user_is_not_found(web: Web) -> None:
    async with web.client(web.admin) as client:
        answers = [
            await client.put("/api/auth/users/usr_nobody", json={"role": "user"}),
            await client.post("/api/auth/users/usr_nobody/reset-password", json={"newPassword": PASSWORD}),
            await client.delete("/api/auth/users/usr_nobody"),
        ]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert told(answers[0]) == told(answers[1]) == told(answers[2])


async def test_there_are_only_so_many_users_and_always_an_admin(tmp_path: Path) -> None:
    async with web_room(tmp_path, max_users=4, token=OPERATOR) as web:
        second = await newcomer(web, role="admin")
        async with web.client(web.admin) as client:
            full = await client.post("/api/auth/register", json={"username": "fifth", "password": PASSWORD})
        assert (full.status_code, full.json()["code"]) == (409, "USER_LIMIT_REACHED")
        async with web.client(second.token) as client:
            assert (await client.put("/api/auth/users/local", json={"role": "user"})).status_code == 200
        async with web.client(OPERATOR) as client:
            demoted = await client.put(f"/api/auth/users/{second.id}", json={"role": "user"})
            deleted = await client.delete(f"/api/auth/users/{second.id}")
        for answer in (demoted, deleted):
            assert (answer.status_code, answer.json()["code"]) == (403, "LAST_ADMIN")
