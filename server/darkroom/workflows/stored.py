"""Workflows and their versions in the database: plain functions over a connection, for the caller's transaction."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa

from darkroom.errors import LimitReached
from darkroom.store.ids import new_id
from darkroom.store.schema import workflow_versions as versions
from darkroom.store.schema import workflows as heads

__all__ = [
    "MOST_VERSIONS",
    "MOST_WORKFLOWS",
    "Head",
    "NewVersion",
    "Version",
    "list_heads",
    "list_versions",
    "load_version",
    "load_versions",
    "remove",
    "set_published",
    "store",
]

MOST_WORKFLOWS = 200
"""Workflows of one owner."""

MOST_VERSIONS = 1_000
"""Versions of one workflow."""


@dataclass(frozen=True, slots=True)
class Head:
    """A workflow without what its versions hold.

    Attributes:
        id: `wf_…`.
        tool: MCP name `wf_<slug>_<6>`, the same for all versions.
        name: For people, unique with its owner.
        version: Id of the newest version.
        published: Whether it is a tool in the list.
        created_at: Seconds since the epoch; so is `updated_at`.
    """

    id: str
    owner: str
    tool: str
    name: str
    version: str
    published: bool
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a workflow; it never changes.

    Attributes:
        id: `wfv_…`.
        workflow: Id of the workflow.
        number: Counts from 1 within the workflow.
        document: What was saved, as JSON values.
        author: Who saved it.
        created_at: Seconds since the epoch.
    """

    id: str
    workflow: str
    number: int
    document: Mapping[str, Any]
    author: str
    created_at: float


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What is to be stored.

    Attributes:
        document: As JSON values.
        published: Whether it is to be a tool in the list; None leaves that as it is.
        tool: From a workflow's id to its MCP name, for one that is new.
        same: Whether a stored document says the same, so that no new version is needed.
    """

    owner: str
    name: str
    document: Mapping[str, Any]
    author: str
    published: bool | None
    tool: Callable[[str], str]
    same: Callable[[Mapping[str, Any]], bool]


_VERSION = (versions.c.id, versions.c.workflow, versions.c.number, versions.c.document, versions.c.author)
_VERSION_COLUMNS = (*_VERSION, versions.c.created_at)


def list_heads(connection: sa.Connection, owner: str) -> dict[str, Head]:
    """All workflows of an owner by id."""
    rows = connection.execute(sa.select(heads).where(heads.c.owner == owner)).mappings()
    return {row["id"]: Head(**row) for row in rows}


def list_owners(connection: sa.Connection) -> Sequence[str]:
    """Everybody who has a workflow."""
    return list(connection.scalars(sa.select(heads.c.owner).distinct().order_by(heads.c.owner)))


def load_versions(connection: sa.Connection, owner: str, ids: Collection[str]) -> dict[str, Version]:
    """Those of the versions that exist and are the owner's, by id."""
    wanted = sa.select(*_VERSION_COLUMNS).where(versions.c.owner == owner, versions.c.id.in_(ids))
    return {row["id"]: Version(**row) for row in connection.execute(wanted).mappings()}


def load_version(connection: sa.Connection, owner: str, workflow: str, number: int) -> Version | None:
    """The version of that number, None if there is none."""
    wanted = sa.select(*_VERSION_COLUMNS).where(
        versions.c.owner == owner, versions.c.workflow == workflow, versions.c.number == number
    )
    row = connection.execute(wanted).mappings().one_or_none()
    return Version(**row) if row is not None else None


def list_versions(connection: sa.Connection, owner: str, workflow: str) -> Sequence[sa.RowMapping]:
    """Id, number, author and time of all versions of a workflow, oldest first."""
    columns = (versions.c.id, versions.c.number, versions.c.author, versions.c.created_at)
    wanted = sa.select(*columns).where(versions.c.owner == owner, versions.c.workflow == workflow)
    return connection.execute(wanted.order_by(versions.c.number)).mappings().all()


def store(connection: sa.Connection, new: NewVersion, now: float) -> tuple[Head, Version, bool]:
    """Store a document under its name: as a new workflow, as the next version of the one that has the name, or not at
    all where its newest version says the same.

    Returns:
        The workflow, its newest version, and whether anything changed.

    Raises:
        LimitReached: The owner has too many workflows, or the workflow too many versions.
        sqlalchemy.exc.IntegrityError: Somebody else stored the same name or number just now; try again.
    """
    # Who saves the same workflow at the same time waits here, where the database locks rows.
    same_name = sa.select(heads).where(heads.c.owner == new.owner, heads.c.name == new.name).with_for_update()
    row = connection.execute(same_name).mappings().one_or_none()
    if row is None:
        return (*_insert(connection, new, now), True)
    head = Head(**row)
    newest = load_versions(connection, new.owner, [head.version])[head.version]
    published = head.published if new.published is None else new.published
    if new.same(newest.document):
        if published == head.published:
            return head, newest, False
        return set_published(connection, head, now, published=published), newest, True
    if newest.number >= MOST_VERSIONS:
        raise LimitReached(
            f"The workflow has {newest.number} versions, and {MOST_VERSIONS} is the most. Save it under another name.",
            limit=MOST_VERSIONS,
        )
    version = _insert_version(connection, new, head.id, newest.number + 1, now)
    return _update(connection, replace(head, version=version.id, published=published, updated_at=now)), version, True


def set_published(connection: sa.Connection, head: Head, now: float, *, published: bool) -> Head:
    """Make a workflow a tool in the list, or none; it stays runnable."""
    return _update(connection, replace(head, published=published, updated_at=now))


def remove(connection: sa.Connection, owner: str, workflow: str) -> bool:
    """Delete a workflow with all its versions; whether it was there. What was made with it stays."""
    connection.execute(versions.delete().where(versions.c.owner == owner, versions.c.workflow == workflow))
    deleted = connection.execute(heads.delete().where(heads.c.owner == owner, heads.c.id == workflow))
    return deleted.rowcount > 0


def _insert(connection: sa.Connection, new: NewVersion, now: float) -> tuple[Head, Version]:
    count = connection.execute(sa.select(sa.func.count()).where(heads.c.owner == new.owner)).scalar_one()
    if count >= MOST_WORKFLOWS:
        raise LimitReached(
            f"There are {count} saved workflows, and {MOST_WORKFLOWS} is the most. Delete some with delete_workflow.",
            limit=MOST_WORKFLOWS,
        )
    identifier = new_id("wf")
    version = _insert_version(connection, new, identifier, 1, now)
    published = True if new.published is None else new.published
    head = Head(identifier, new.owner, new.tool(identifier), new.name, version.id, published, now, now)
    connection.execute(heads.insert().values(**asdict(head)))
    return head, version


def _update(connection: sa.Connection, head: Head) -> Head:
    mine = (heads.c.id == head.id) & (heads.c.owner == head.owner)
    changed = {"version": head.version, "published": head.published, "updated_at": head.updated_at}
    connection.execute(heads.update().where(mine).values(**changed))
    return head


def _insert_version(connection: sa.Connection, new: NewVersion, workflow: str, number: int, now: float) -> Version:
    version = Version(new_id("wfv"), workflow, number, new.document, new.author, now)
    connection.execute(
        versions.insert().values(
            id=version.id,
            owner=new.owner,
            workflow=workflow,
            number=number,
            document=dict(new.document),
            author=version.author,
            created_at=now,
        )
    )
    return version
