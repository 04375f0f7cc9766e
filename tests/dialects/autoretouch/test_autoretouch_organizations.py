"""Teams as organizations: their own for members, all for who manages teams."""

from uuid import UUID

import httpx2
import pytest
from support.web_room import Web

from darkroom.principal import LOCAL
from darkroom.store.ids import as_uuid

pytestmark = pytest.mark.anyio


async def test_the_caller_s_organization_has_an_id_a_version_and_members(web: Web, ann: httpx2.AsyncClient) -> None:
    listed = (await ann.get("/v1/organization", params={"limit": 50, "offset": 0})).json()
    assert listed["total"] == 1
    mine = listed["entries"][0]
    assert set(mine) == {"id", "name", "version", "members"}
    UUID(mine["id"])
    UUID(mine["version"])
    assert [member["id"] for member in mine["members"]] == [web.ann.id]
    assert mine["members"][0] == {
        "id": web.ann.id,
        "givenName": "ann",
        "familyName": None,
        "email": None,
        "picture": None,
        "roles": ["operator"],
    }
    assert (await ann.get(f"/v1/organization/{mine['id']}")).json() == mine
    assert (await ann.get("/v1/organization/local")).json() == mine
    for organization in (mine["id"], mine["id"].upper(), "local"):
        assert (await ann.get("/v1/workflow", params={"organization": organization})).status_code == 200


async def test_members_of_a_team_see_one_another_and_nobody_else_sees_them(web: Web) -> None:
    team = await web.room.teams.create("Retouchers")
    people = [await web.room.users.create(LOCAL, name, "Correct-horse-1", team=team.id) for name in ("cleo", "dan")]
    login = await web.room.sessions.login("cleo", "Correct-horse-1", "")
    async with web.client(login.token) as cleo, web.client(web.user) as ann, web.client(web.admin) as admin:
        shown = (await cleo.get(f"/v1/organization/{as_uuid(team.id)}")).json()
        assert {member["id"] for member in shown["members"]} == {person.id for person in people}
        assert shown["name"] == "Retouchers"
        assert (await cleo.get("/v1/organization/local")).status_code == 404
        assert (await cleo.get("/v1/workflow", params={"organization": team.id})).status_code == 200
        for identifier in (team.id, as_uuid(team.id)):
            assert (await ann.get(f"/v1/organization/{identifier}")).status_code == 404
            refused = await ann.get("/v1/organization/balance", params={"organization": identifier})
            assert refused.status_code == 404
            assert (await admin.get(f"/v1/organization/{identifier}")).json() == shown
        every = (await admin.get("/v1/organization")).json()
        assert {entry["name"] for entry in every["entries"]} >= {"Default", "Retouchers"}
        assert every["total"] == len(every["entries"])
        default = next(entry for entry in every["entries"] if entry["name"] == "Default")
        assert {web.ann.id, web.ben.id} <= {member["id"] for member in default["members"]}


async def test_another_name_is_another_version(web: Web) -> None:
    team = await web.room.teams.create("Before")
    async with web.client(web.admin) as admin:
        before = (await admin.get(f"/v1/organization/{team.id}")).json()
        await web.room.teams.rename(team.id, "After")
        after = (await admin.get(f"/v1/organization/{team.id}")).json()
    assert (before["id"], before["version"] != after["version"]) == (after["id"], True)


async def test_the_balance_is_a_bare_number_of_the_right_account(web: Web, ann: httpx2.AsyncClient) -> None:
    await web.room.credits.grant(web.ann.organisation, 70)
    before = (await ann.get("/v1/organization/balance")).text
    assert before == str((await web.room.credits.balance(web.ann.organisation)).total)
    assert int(before) >= 70
    assert (await ann.get("/v1/company/balance", params={"organization": "local"})).text == before
    team = await web.room.teams.create("Payers")
    await web.room.credits.grant(team.id, 1_000)
    async with web.client(web.admin) as admin:
        seen = await admin.get("/v1/organization/balance", params={"organization": as_uuid(team.id)})
        assert seen.json() == (await web.room.credits.balance(team.id)).total >= 1_000
