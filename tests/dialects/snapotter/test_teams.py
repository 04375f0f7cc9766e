"""Teams over dialect 001."""

import pytest
from support.people import newcomer, told
from support.web_room import Web

pytestmark = pytest.mark.anyio


async def test_everybody_sees_the_teams_and_how_many_belong_to_each(web: Web) -> None:
    async with web.client(web.admin) as client:
        made = await client.post("/api/v1/teams", json={"name": "  Night   shift "})
    assert made.status_code == 201
    assert (made.json()["name"], made.json()["memberCount"]) == ("Night shift", 0)
    await newcomer(web, team="Night shift")
    async with web.client(web.user) as client:
        teams = {team["name"]: team for team in (await client.get("/api/v1/teams")).json()["teams"]}
    assert teams["Night shift"] == {**made.json(), "memberCount": 1}
    assert teams["Default"]["memberCount"] >= 3
    async with web.client() as client:
        assert (await client.get("/api/v1/teams")).status_code == 401


async def test_a_team_is_renamed(web: Web) -> None:
    async with web.client(web.admin) as client:
        team = (await client.post("/api/v1/teams", json={"name": "Before"})).json()
        assert (await client.put(f"/api/v1/teams/{team['id']}", json={"name": "After"})).json() == {"ok": True}
        names = {each["id"]: each["name"] for each in (await client.get("/api/v1/teams")).json()["teams"]}
    assert names[team["id"]] == "After"


async def test_a_name_is_given_once_whatever_its_case(web: Web) -> None:
    async with web.client(web.admin) as client:
        await client.post("/api/v1/teams", json={"name": "Taken"})
        team = (await client.post("/api/v1/teams", json={"name": "Free"})).json()
        answers = [
            await client.post("/api/v1/teams", json={"name": "tAKEN"}),
            await client.put(f"/api/v1/teams/{team['id']}", json={"name": "TAKEN"}),
        ]
        same = await client.put(f"/api/v1/teams/{team['id']}", json={"name": "FREE"})
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(409, "CONFLICT")}
    assert same.status_code == 200


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "   "}, {"name": "n" * 51}, {"name": 7}])
async def test_a_name_that_cannot_be_is_refused(web: Web, body: dict[str, object]) -> None:
    async with web.client(web.admin) as client:
        answer = await client.post("/api/v1/teams", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_ERROR")


async def test_the_default_team_and_teams_with_members_stay(web: Web) -> None:
    async with web.client(web.admin) as client:
        team = (await client.post("/api/v1/teams", json={"name": "Busy"})).json()
        person = await newcomer(web, team="Busy")
        full = await client.delete(f"/api/v1/teams/{team['id']}")
        default = await client.delete("/api/v1/teams/local")
        assert {(answer.status_code, answer.json()["code"]) for answer in (full, default)} == {(409, "CONFLICT")}
        await client.put(f"/api/auth/users/{person.id}", json={"team": "Default"})
        assert (await client.delete(f"/api/v1/teams/{team['id']}")).json() == {"ok": True}
        gone = await client.delete(f"/api/v1/teams/{team['id']}")
        never = await client.put("/api/v1/teams/team_nothing", json={"name": "Other"})
    assert gone.status_code == never.status_code == 404
    assert told(gone) == told(never)
