"""Teams: who belongs together, and pays together."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from darkroom.accounts.users import User, user_of
from darkroom.errors import Conflict, NotFound
from darkroom.principal import LOCAL
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import teams, users
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = ["Team", "Teams"]

LONGEST: Final = 50


@dataclass(frozen=True, slots=True)
class Team:
    """Users that belong together.

    Attributes:
        id: `team_…`, or `local` for the default team, whose members have an account each.
        name: Unique, whatever the case.
        members: How many users it has.
        created_at: Seconds since the epoch.
    """

    id: str
    name: str
    members: int
    created_at: float


class Teams:
    """All teams.

    Args:
        database: Where they are kept.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def list(self) -> Sequence[Team]:
        """All teams, oldest first, so that the default one leads."""
        return await self._database.read(lambda connection: _select(connection, sa.true()))

    async def get(self, identifier: str) -> Team:
        """One team.

        Raises:
            NotFound: There is none of this id.
        """
        return await self._database.read(lambda connection: _one(connection, identifier))

    async def members(self, identifier: str) -> Sequence[User]:
        """The users of a team, oldest first.

        Raises:
            NotFound: There is no such team.
        """

        def work(connection: sa.Connection) -> Sequence[User]:
            team = _one(connection, identifier)
            chosen = sa.select(users).where(users.c.team == team.id).order_by(users.c.created_at, users.c.id)
            return [user_of(row) for row in connection.execute(chosen)]

        return await self._database.read(work)

    async def create(self, name: str) -> Team:
        """Make a team without members.

        Args:
            name: 1 to 50 characters.

        Raises:
            InvalidSettings: The name is empty or too long.
            Conflict: It is taken.
        """
        title, now = _title(name), self._clock()
        identifier = new_id("team")

        def work(connection: sa.Connection) -> Team:
            values = {"id": identifier, "name": title, "name_key": _key(title), "created_at": now, "updated_at": now}
            _execute_named(connection, teams.insert().values(values), title, identifier)
            return _one(connection, identifier)

        return await self._database.write(work)

    async def rename(self, identifier: str, name: str) -> Team:
        """Give a team another name.

        Raises:
            InvalidSettings: The name is empty or too long.
            Conflict: It is taken.
            NotFound: There is no such team.
        """
        title = _title(name)

        def work(connection: sa.Connection) -> Team:
            team = _one(connection, identifier)
            values = {"name": title, "name_key": _key(title), "updated_at": self._clock()}
            _execute_named(connection, teams.update().where(teams.c.id == team.id).values(values), title, team.id)
            return _one(connection, identifier)

        return await self._database.write(work)

    async def delete(self, identifier: str) -> None:
        """Delete a team that has no members.

        Raises:
            Conflict: It has some, or is the default team.
            NotFound: There is no such team.
        """

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.select(teams.c.id).where(teams.c.id == identifier).with_for_update())
            team = _one(connection, identifier)
            if team.id == LOCAL.id:
                raise Conflict("This is the default team, which always stays.")
            if team.members:
                raise Conflict(f"The team has {team.members} members. Give them another team first.", got=team.members)
            connection.execute(teams.delete().where(teams.c.id == team.id))

        await self._database.write(work)


def _title(name: str) -> str:
    title = " ".join(clean_text(name, LONGEST + 1).split())
    if not 0 < len(title) <= LONGEST:
        raise InvalidSettings(f"The name of a team has 1 to {LONGEST} characters.", field="name")
    return title


def _key(title: str) -> str:
    # Folding can make a name three times as long (ﬃ), and the column has room for what most need.
    return title.casefold()[:LONGEST]


def _execute_named(connection: sa.Connection, change: sa.Executable, title: str, identifier: str) -> None:
    taken = Conflict("Another team has this name, in some upper or lower case.")
    others = sa.select(teams.c.id).where((teams.c.name_key == _key(title)) & (teams.c.id != identifier))
    if connection.execute(others).first() is not None:
        raise taken
    try:
        connection.execute(change)
    except sa.exc.IntegrityError as error:
        raise taken from error


def _select(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[Team]:
    members = sa.select(sa.func.count()).where(users.c.team == teams.c.id).scalar_subquery()
    chosen = sa.select(teams, members.label("members")).where(which).order_by(teams.c.created_at, teams.c.id)
    return [_team_of(row) for row in connection.execute(chosen)]


def _team_of(row: Any) -> Team:
    return Team(row.id, row.name, row.members, row.created_at)


def _one(connection: sa.Connection, identifier: str) -> Team:
    found = _select(connection, teams.c.id == identifier)
    if not found:
        raise NotFound("There is no such team.")
    return found[0]
