"""Teams: their names, and which may go."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from support.accounts_room import Accounts, open_accounts

from darkroom.accounts.teams import Team
from darkroom.errors import Conflict, NotFound
from darkroom.principal import LOCAL
from darkroom.store.ids import is_id
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    async with open_accounts(tmp_path) as room:
        # The default team is as old as the database, by the real clock.
        room.clock.now = 4_000_000_000.0
        yield room


async def test_the_default_team_is_there_with_the_first_admin(accounts: Accounts) -> None:
    (default,) = await accounts.teams.list()
    assert (default.id, default.name, default.members) == ("local", "Default", 1)
    assert [user.username for user in await accounts.teams.members("local")] == ["admin"]


async def test_a_team_counts_its_members(accounts: Accounts) -> None:
    made = await accounts.teams.create("  Studio  Nord ")
    assert made == Team(made.id, "Studio Nord", 0, accounts.clock.now)
    assert is_id(made.id, "team")
    ann = await accounts.add("ann", team=made.id)
    ben = await accounts.add("ben")
    await accounts.users.change(LOCAL, ben.id, team=made.id)
    assert (await accounts.teams.get(made.id)).members == 2
    assert {user.id for user in await accounts.teams.members(made.id)} == {ann.id, ben.id}
    assert [(team.id, team.members) for team in await accounts.teams.list()] == [("local", 1), (made.id, 2)]


@pytest.mark.parametrize("name", ["", "   ", "x" * 51, "\u200b"])
async def test_a_name_that_cannot_be_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidSettings, match="1 to 50 characters"):
        await accounts.teams.create(name)
    with pytest.raises(InvalidSettings, match="1 to 50 characters"):
        await accounts.teams.rename("local", name)


async def test_a_name_is_unique_whatever_its_case(accounts: Accounts) -> None:
    team = await accounts.teams.create("Straße")
    for name in ("STRASSE", "straße", "default"):
        with pytest.raises(Conflict, match="Another team has this name"):
            await accounts.teams.create(name)
    with pytest.raises(Conflict):
        await accounts.teams.rename(team.id, "DEFAULT")
    assert (await accounts.teams.rename(team.id, "STRASSE")).name == "STRASSE"
    assert (await accounts.teams.rename("local", "House")).name == "House"


async def test_of_many_teams_of_one_name_at_once_one_is_made(accounts: Accounts) -> None:
    made, taken = [], []

    async def one() -> None:
        try:
            made.append(await accounts.teams.create("Studio"))
        except Conflict as error:
            taken.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(one)
    assert (len(made), len(taken)) == (1, 9)


async def test_a_team_goes_once_it_is_empty_and_the_default_one_never(accounts: Accounts) -> None:
    team = await accounts.teams.create("Studio")
    ann = await accounts.add("ann", team=team.id)
    with pytest.raises(Conflict, match="has 1 members"):
        await accounts.teams.delete(team.id)
    await accounts.users.change(LOCAL, ann.id, team="local")
    await accounts.teams.delete(team.id)
    for gone in (team.id, "team_none"):
        for work in (accounts.teams.get, accounts.teams.delete, accounts.teams.members):
            with pytest.raises(NotFound, match="no such team"):
                await work(gone)
        with pytest.raises(NotFound):
            await accounts.teams.rename(gone, "Other")
    with pytest.raises(Conflict, match="default team"):
        await accounts.teams.delete("local")


async def test_a_team_that_gets_a_member_while_it_is_deleted_keeps_either_whole(accounts: Accounts) -> None:
    team = await accounts.teams.create("Studio")
    ended = []

    async def delete() -> None:
        try:
            await accounts.teams.delete(team.id)
            ended.append("deleted")
        except Conflict:
            ended.append("kept")

    async def join() -> None:
        try:
            await accounts.add("ann", team=team.id)
            ended.append("joined")
        except InvalidSettings:
            ended.append("refused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(join)
        tasks.start_soon(delete)
    assert set(ended) in ({"deleted", "refused"}, {"kept", "joined"})
