"""The file library: what its owner keeps, as chains of versions that can be searched and paged through."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import anyio
import sqlalchemy as sa

from darkroom.engine.outcome import Picture
from darkroom.errors import NotFound
from darkroom.intake import Resolved
from darkroom.library.arriving import Arrivals
from darkroom.library.library import (
    Library,
    enlist,
    find_source,
    forget,
    load_image,
    missing,
    next_version,
    pass_again,
)
from darkroom.library.projects import load_project
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import images
from darkroom_tools.kit.clean import clean_name, clean_text

__all__ = ["Files"]

MOST_LISTED: Final = 200
LONGEST_SEARCH: Final = 200
LONGEST_TOOL: Final = 80

_kin = images.alias()
_NEWER = (_kin.c.root == images.c.root) & (_kin.c.owner == images.c.owner) & _kin.c.listed
_NEWER &= _kin.c.version > images.c.version


_NAMED = sa.select(images).where(images.c.id == sa.bindparam("handle"))


class Files:
    """The files of all owners.

    Args:
        database: At the newest schema.
        library: Forgets images with their bytes.
        arrivals: Reads and records what came in.
    """

    def __init__(self, database: Database, library: Library, arrivals: Arrivals) -> None:
        self._database = database
        self._library = library
        self._arrivals = arrivals

    async def receive(
        self,
        principal: Principal,
        file: Resolved,
        project: str | None = None,
        name: str | None = None,
        listed: bool = True,
    ) -> ImageRecord:
        """Record bytes that came in, after a worker has read their header.

        The same file handed in twice is one file: the same bytes under the same name in the same project give the image
        that is there, as long as nothing was made of it. Under another name, in another project, or once it has further
        versions, they become a file of their own, because that is what its owner will look for. What only passed through
        before enters the library under the name and in the project given now. Where it is not to be listed, any image of
        these bytes that the owner handed in does.

        Args:
            project: Put it there; one of the principal's.
            name: Its name; that of the file if None.
            listed: Whether it enters the library. What is in it already stays.

        Raises:
            NotFound: No such project of the principal.
            LimitExceeded: A limit of its header; nothing is recorded, and the bytes go unless something needs them.
            InvalidImage: The file is damaged.
            QuotaExceeded: The owner has no room for it.
        """
        stored = replace(file, name=clean_name(name, file.name) if name else file.name)
        try:
            await self._database.read(lambda connection: self._check(connection, principal, stored, project))
            picture = await self._arrivals.read_header(stored)
            return await self._database.write(
                lambda connection: self._record(connection, principal, stored, picture, project, listed=listed)
            )
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._library.discard(stored.sha256)
            raise

    async def page(
        self,
        principal: Principal,
        search: str | None = None,
        limit: int = 50,
        offset: int = 0,
        project: str | None = None,
        tips: bool = True,
        *,
        everyone: bool = False,
    ) -> tuple[Sequence[ImageRecord], int]:
        """Some of the principal's files, newest first, and how many there are in all.

        Args:
            search: Only names that contain this text; upper and lower case are the same.
            limit: At most so many, 1 to 200.
            offset: How many to skip.
            project: Only what is in it.
            tips: Only the newest version of each chain.
            everyone: Those of all owners, for who may see them; else the principal's own.
        """
        wanted: sa.ColumnElement[bool] = images.c.listed
        if not (everyone and principal.may("files:all")):
            wanted &= images.c.owner == principal.id
        if search and (text := clean_text(search, LONGEST_SEARCH)):
            wanted &= images.c.name.icontains(text, autoescape=True)
        if project is not None:
            wanted &= images.c.project == project
        if tips:
            wanted &= ~sa.exists().where(_NEWER)
        newest = sa.select(images).where(wanted).order_by(images.c.created_at.desc(), images.c.id.desc())
        newest = newest.limit(max(1, min(limit, MOST_LISTED))).offset(max(0, offset))

        def work(connection: sa.Connection) -> tuple[list[ImageRecord], int]:
            found = [ImageRecord(**row) for row in connection.execute(newest).mappings()]
            return found, int(connection.scalar(sa.select(sa.func.count()).select_from(images).where(wanted)) or 0)

        return await self._database.read(work)

    async def chain(self, principal: Principal, handle: str) -> Sequence[ImageRecord]:
        """All versions of a file, the first one first; of an image that is not in the library it comes last.

        Raises:
            NotFound: There is no such image of the principal.
        """

        def work(connection: sa.Connection) -> list[ImageRecord]:
            record = load_image(connection, principal.id, handle)
            versions = _versions(connection, record)
            return versions if record.listed else [*versions, record]

        return await self._database.read(work)

    async def tool_chains(self, records: Sequence[ImageRecord]) -> Mapping[str, Sequence[str]]:
        """The tools that led from the first version to each of these images, by handle.

        Where a version in between was deleted, the tools after it.
        """
        kin: sa.ColumnElement[bool] = images.c.root.in_({record.root for record in records})
        kin &= images.c.owner.in_({record.owner for record in records})
        wanted = sa.select(images.c.id, images.c.parent, images.c.tool).where(kin)

        def work(connection: sa.Connection) -> Mapping[str, tuple[str | None, str | None]]:
            return {handle: (parent, tool) for handle, parent, tool in connection.execute(wanted)}

        known = await self._database.read(work)
        return {record.id: _tools_to(record.id, known) for record in records}

    async def delete_chain(self, principal: Principal, handle: str) -> int:
        """Delete a file with all its versions, and the bytes that nothing else needs; how many versions it had.

        Of an image that is not in the library only itself goes.

        Raises:
            NotFound: There is no such image of the principal.
        """

        def work(connection: sa.Connection) -> list[ImageRecord]:
            record = load_image(connection, principal.id, handle)
            doomed = _versions(connection, record) if record.listed else [record]
            for each in doomed:
                forget(connection, principal.id, each.id)
            return doomed

        gone = await self._database.write(work)
        for digest in {record.sha256 for record in gone}:
            await self._library.discard(digest)
        return len(gone)

    async def keep_version(self, principal: Principal, made: str, parent: str, tool: str) -> ImageRecord:
        """Keep a result as the next version of a file.

        An image that is in the chain already is returned as it is, listed. Any other stays, and the version is an image
        of its own with the same bytes, facts and steps.

        Args:
            made: Handle of the result.
            parent: Handle of the version that it follows.
            tool: What made it.

        Raises:
            NotFound: One of them is no image of the principal.
        """

        def work(connection: sa.Connection) -> ImageRecord:
            result = load_image(connection, principal.id, made)
            before = load_image(connection, principal.id, parent)
            now = time.time()
            enlist(connection, principal.id, [before.id], now)
            if result.root == before.root:
                enlist(connection, principal.id, [result.id], now)
                return load_image(connection, principal.id, result.id)
            changes: dict[str, Any] = {
                "id": new_id("img"),
                "parent": before.id,
                "root": before.root,
                "version": next_version(connection, principal.id, before.id),
                "tool": clean_text(tool, LONGEST_TOOL) or result.tool,
                "project": before.project,
                "created_at": now,
                "pinned": False,
                "listed": True,
            }
            copied = {column.name: getattr(result, column.name) for column in images.c}
            connection.execute(images.insert().values({**copied, **changes}))
            return ImageRecord(**{**copied, **changes})

        return await self._database.write(work)

    async def get(self, principal: Principal, handle: str) -> ImageRecord:
        """One's own image, or anybody's for who may use everybody's files.

        Raises:
            NotFound: There is no such image that the principal may use.
        """
        named = {"handle": handle}
        row = await self._database.read(lambda connection: connection.execute(_NAMED, named).mappings().one_or_none())
        if row is None or (row["owner"] != principal.id and not principal.may("files:all")):
            raise missing(handle)
        return ImageRecord(**row)

    async def acting_for(self, principal: Principal, handle: str) -> Principal:
        """Whom to act for with an image: oneself with one's own, its owner for who may use everybody's files.

        What is run stays paid for by the principal's organisation.

        Raises:
            NotFound: There is no such image that the principal may use.
        """
        owner = (await self.get(principal, handle)).owner
        if owner == principal.id:
            return principal
        return replace(principal, id=owner, roots=(), member_of=principal.organisation)

    async def by_digest(self, principal: Principal, sha256: str) -> ImageRecord:
        """The principal's newest image of these bytes, listed or not.

        Raises:
            NotFound: There is none.
        """
        mine = (images.c.owner == principal.id) & (images.c.sha256 == sha256)
        newest = sa.select(images).where(mine).order_by(images.c.created_at.desc()).limit(1)
        row = await self._database.read(lambda connection: connection.execute(newest).mappings().one_or_none())
        if row is None:
            raise NotFound("There is no image of these bytes. Hand the picture in first.", got=sha256[:64])
        return ImageRecord(**row)

    async def check_room(self, principal: Principal, more_bytes: int = 0) -> None:
        """Refuse what the principal has no room for, before it is taken in.

        Raises:
            QuotaExceeded: With what is used and allowed.
        """
        quota = self._arrivals.quota
        await self._database.read(lambda connection: quota.check(connection, principal.id, more_bytes))

    def _record(
        self,
        connection: sa.Connection,
        principal: Principal,
        stored: Resolved,
        picture: Picture,
        project: str | None,
        *,
        listed: bool,
    ) -> ImageRecord:
        self._check(connection, principal, stored, project)
        twin = _twin(connection, principal.id, stored, project, listed=listed)
        if twin is None:
            handle = new_id("img")
            return self._arrivals.record(
                connection, principal.id, handle, stored, picture, listed=listed, project=project
            )
        self._arrivals.check_bytes(stored)
        pass_again(connection, principal.id, [twin.id], time.time(), listed=listed)
        if listed and not twin.listed:
            given = {"name": stored.name, "project": project}
            connection.execute(images.update().where(images.c.id == twin.id).values(given))
        return load_image(connection, principal.id, twin.id)

    def _check(self, connection: sa.Connection, principal: Principal, file: Resolved, project: str | None) -> None:
        """Whether a file may go where it is to go."""
        if project is not None:
            load_project(connection, principal.id, project)
        self._arrivals.quota.check(connection, principal.id, file.bytes, file.sha256)


def _twin(
    connection: sa.Connection, owner: str, stored: Resolved, project: str | None, *, listed: bool
) -> ImageRecord | None:
    """The image that the same bytes are already, None if they become one of their own."""
    if not listed:
        handle = find_source(connection, owner, stored.sha256) if project is None else None
        return load_image(connection, owner, handle) if handle is not None else None
    same = (images.c.owner == owner) & (images.c.sha256 == stored.sha256) & images.c.tool.is_(None)
    same_place = (images.c.name == stored.name) & images.c.project.is_not_distinct_from(project)
    alone = sa.or_(images.c.listed.is_(sa.false()), same_place & ~sa.exists().where(_NEWER))
    wanted = sa.select(images).where(same, alone).order_by(images.c.listed.desc(), images.c.created_at).limit(1)
    row = connection.execute(wanted).mappings().one_or_none()
    return ImageRecord(**row) if row is not None else None


def _tools_to(handle: str, known: Mapping[str, tuple[str | None, str | None]]) -> Sequence[str]:
    """The tools from the first version of a chain to this one."""
    tools: list[str] = []
    current: str | None = handle
    while current is not None and current in known:
        current, tool = known[current]
        tools += [tool] if tool is not None else []
    return tools[::-1]


def _versions(connection: sa.Connection, record: ImageRecord) -> list[ImageRecord]:
    """What the library has of an image's chain."""
    chain = (images.c.root == record.root) & (images.c.owner == record.owner) & images.c.listed
    rows = connection.execute(sa.select(images).where(chain).order_by(images.c.version, images.c.created_at))
    return [ImageRecord(**row) for row in rows.mappings()]
