"""Projects: names under which an owner collects files."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from darkroom.errors import NotFound
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import projects
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = ["LONGEST_DESCRIPTION", "LONGEST_NAME", "Project", "Projects", "load_project"]

LONGEST_NAME: Final = 100
LONGEST_DESCRIPTION: Final = 500
MOST_LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class Project:
    """One project.

    Attributes:
        id: `proj_…`.
        owner: Whose it is.
        name: For people; several may have the same.
        description: For people, empty for none.
        created_at: Seconds since the epoch; so is `updated_at`.
    """

    id: str
    owner: str
    name: str
    description: str
    created_at: float
    updated_at: float


def load_project(connection: sa.Connection, owner: str, project_id: str) -> Project:
    """The project of that id.

    Raises:
        NotFound: There is none, or it belongs to somebody else: the answer is the same.
    """
    wanted = sa.select(projects).where(projects.c.id == project_id, projects.c.owner == owner)
    row = connection.execute(wanted).mappings().one_or_none()
    if row is None:
        got = clean_text(project_id, 60)
        raise NotFound(f"There is no project {got!r}. The list of projects shows the ids of all.", got=got)
    return Project(**row)


class Projects:
    """The projects of all owners."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(self, principal: Principal, name: str, description: str = "") -> Project:
        """A new, empty project.

        Args:
            name: 1 to 100 characters.
            description: At most 500 characters.

        Raises:
            InvalidSettings: One of them is too long, or the name is empty.
        """
        now = self._clock()
        row: dict[str, Any] = {
            "id": new_id("proj"),
            "owner": principal.id,
            "name": _clean(" ".join(name.split()), "name", LONGEST_NAME),
            "description": _clean(description, "description", LONGEST_DESCRIPTION, least=0),
            "created_at": now,
            "updated_at": now,
        }
        await self._database.write(lambda connection: connection.execute(projects.insert().values(row)))
        return Project(**row)

    async def get(self, principal: Principal, project_id: str) -> Project:
        """The project of that id.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        return await self._database.read(lambda connection: load_project(connection, principal.id, project_id))

    async def page(self, principal: Principal, limit: int = 50, offset: int = 0) -> tuple[Sequence[Project], int]:
        """Some of the principal's projects, newest first, and how many there are.

        Args:
            limit: At most so many, 1 to 200.
            offset: How many to skip.
        """
        mine = projects.c.owner == principal.id
        newest = sa.select(projects).where(mine).order_by(projects.c.created_at.desc(), projects.c.id.desc())
        newest = newest.limit(max(1, min(limit, MOST_LISTED))).offset(max(0, offset))

        def work(connection: sa.Connection) -> tuple[list[Project], int]:
            found = [Project(**row) for row in connection.execute(newest).mappings()]
            return found, int(connection.scalar(sa.select(sa.func.count()).where(mine)) or 0)

        return await self._database.read(work)


def _clean(text: str, field: str, longest: int, least: int = 1) -> str:
    cleaned = clean_text(text, longest + 1).strip()
    if not least <= len(cleaned) <= longest:
        raise InvalidSettings(
            f"The {field} of a project has {least} to {longest} characters.", field=field, limit=longest
        )
    return cleaned
