"""The library: images with their versions, each seen by its owner only.

The functions over a connection run inside the transaction of whoever records images; the class is for callers.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import anyio.to_thread
import sqlalchemy as sa

from darkroom.engine.outcome import Picture
from darkroom.errors import NotFound
from darkroom.intake import Resolved
from darkroom.library.record import Cursor, ImageRecord, Page
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.schema import images, job_blobs, results
from darkroom_tools.kit.clean import clean_name, clean_text

__all__ = ["Library", "find_images", "find_source", "insert_result", "insert_source", "load_image"]

MOST_LISTED = 200

# Every call runs these; built once, they cost a third.
_owned = images.c.owner == sa.bindparam("owner")
_handle = images.c.id == sa.bindparam("handle")
_LOAD = sa.select(images).where(_handle, _owned)
_FOUND = sa.select(images).where(_owned, images.c.id.in_(sa.bindparam("handles", expanding=True)))
_kin = images.alias()
_NEWEST = sa.select(sa.func.max(_kin.c.version)).where(_kin.c.root == images.c.root, _kin.c.owner == images.c.owner)
_CHAIN = sa.select(images.c.root, _NEWEST.scalar_subquery()).where(_handle, _owned)
_SOURCE = (
    sa.select(images.c.id)
    .where(_owned, images.c.sha256 == sa.bindparam("sha256"), images.c.tool.is_(None))
    .order_by(images.c.created_at)
    .limit(1)
)
_INSERT = images.insert()


def load_image(connection: sa.Connection, owner: str, handle: str) -> ImageRecord:
    """The image of that handle.

    Raises:
        NotFound: There is none, or it belongs to somebody else: the answer is the same.
    """
    row = connection.execute(_LOAD, {"handle": handle, "owner": owner}).mappings().one_or_none()
    if row is None:
        got = clean_text(handle, 60)
        raise NotFound(f"There is no image {got!r}. list_images shows the handles of all images.", got=got)
    return ImageRecord(**row)


def find_images(connection: sa.Connection, owner: str, handles: Sequence[str]) -> dict[str, ImageRecord]:
    """Those of the images that exist and are the owner's, by handle."""
    rows = connection.execute(_FOUND, {"owner": owner, "handles": handles}).mappings()
    return {row["id"]: ImageRecord(**row) for row in rows}


def find_source(connection: sa.Connection, owner: str, sha256: str) -> str | None:
    """The handle under which the owner already handed in these bytes, None if never."""
    found: str | None = connection.scalar(_SOURCE, {"owner": owner, "sha256": sha256})
    return found


def insert_source(
    connection: sa.Connection, owner: str, handle: str, sha256: str, picture: Picture, name: str
) -> ImageRecord:
    """Record an image that came in from outside: version 1 of a chain of its own."""
    return _insert(connection, owner, handle, sha256, picture, name, {"root": handle, "version": 1})


def insert_result(  # noqa: PLR0913 - one argument a column
    connection: sa.Connection,
    owner: str,
    handle: str,
    parent_handle: str | None,
    sha256: str,
    picture: Picture,
    tool: str,
    steps: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
    name: str,
) -> ImageRecord:
    """Record what `tool` made of the parent: the next version of its chain.

    Without a parent, or if it was deleted while the tool ran, the image starts a chain.
    """
    chain = connection.execute(_CHAIN, {"handle": parent_handle, "owner": owner}).one_or_none()
    root, newest = chain or (handle, 0)
    origin = {"parent": parent_handle, "root": root, "version": newest + 1, "tool": tool}
    return _insert(
        connection, owner, handle, sha256, picture, name, {**origin, "steps": list(steps), "facts": dict(facts)}
    )


def _insert(
    connection: sa.Connection,
    owner: str,
    handle: str,
    sha256: str,
    picture: Picture,
    name: str,
    origin: Mapping[str, Any],
) -> ImageRecord:
    row: dict[str, Any] = {
        "id": handle,
        "owner": owner,
        "sha256": sha256,
        "format": picture.format,
        "media_type": picture.media_type,
        "width": picture.width,
        "height": picture.height,
        "frames": picture.frames,
        "bytes": picture.bytes,
        "name": clean_name(name),
        "created_at": time.time(),
    }
    row = {"parent": None, "tool": None, "steps": [], "facts": {}, **row, **origin}
    connection.execute(_INSERT, row)
    return ImageRecord(**row)


class Library:
    """The stored images of all owners."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs

    async def get(self, principal: Principal, handle: str) -> ImageRecord:
        """The image of that handle.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        return await self._database.read(lambda connection: load_image(connection, principal.id, handle))

    async def find(self, principal: Principal, handles: Sequence[str]) -> Mapping[str, ImageRecord]:
        """Those of the images that exist and are the principal's, by handle."""
        return await self._database.read(lambda connection: find_images(connection, principal.id, handles))

    async def resolve(self, principal: Principal, handle: str) -> Resolved:
        """The bytes behind a handle, for `Intake`.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        record = await self.get(principal, handle)
        return Resolved(record.sha256, record.format, record.bytes, record.name, record.id)

    async def list(
        self, principal: Principal, *, limit: int = 50, before: str | None = None, query: str | None = None
    ) -> Page:
        """The principal's images, newest first.

        Args:
            limit: At most so many, 1 to 200.
            before: The `next` of the page before.
            query: Only names that contain this text; upper and lower case are the same.

        Raises:
            InvalidSettings: `before` is no cursor of this list.
        """
        limit = max(1, min(limit, MOST_LISTED))
        wanted = sa.select(images).where(images.c.owner == principal.id)
        if query:
            wanted = wanted.where(images.c.name.icontains(query, autoescape=True))
        if before is not None:
            after = Cursor.from_text(before)
            wanted = wanted.where(sa.tuple_(images.c.created_at, images.c.id) < sa.tuple_(after.created_at, after.id))
        wanted = wanted.order_by(images.c.created_at.desc(), images.c.id.desc()).limit(limit + 1)
        rows = await self._database.read(lambda connection: connection.execute(wanted).mappings().all())
        found = [ImageRecord(**row) for row in rows]
        last = found[limit - 1] if len(found) > limit else None
        return Page(found[:limit], Cursor(last.created_at, last.id).to_text() if last else None)

    async def history(self, principal: Principal, handle: str) -> Sequence[ImageRecord]:
        """How the image came to be: from the first image to this one, each with its tool and steps.

        Where an image of the chain was deleted, the answer starts after it; its first record then names a parent.

        Raises:
            NotFound: There is no such image of the principal.
        """
        mine = (images.c.id == handle) & (images.c.owner == principal.id)
        chain = sa.select(images, sa.literal(0).label("age")).where(mine).cte("chain", recursive=True)
        parents = sa.select(images, chain.c.age + 1).where(
            images.c.id == chain.c.parent, images.c.owner == principal.id
        )
        chain = chain.union_all(parents)
        columns = [chain.c[column.name] for column in images.c]
        oldest_first = sa.select(*columns).order_by(chain.c.age.desc())

        def work(connection: sa.Connection) -> list[ImageRecord]:
            load_image(connection, principal.id, handle)
            return [ImageRecord(**row) for row in connection.execute(oldest_first).mappings()]

        return await self._database.read(work)

    async def parent_of(self, principal: Principal, handle: str) -> ImageRecord:
        """The version before this one: what to go on with to undo the last step.

        Raises:
            NotFound: No such image of the principal, it is a first version, or the one before was deleted.
        """
        record = await self.get(principal, handle)
        if record.parent is None:
            raise NotFound(f"Image {record.id!r} is a first version: there is nothing to undo.", got=record.id)
        found = await self.find(principal, [record.parent])
        if record.parent not in found:
            raise NotFound(f"The version before {record.id!r} was deleted.", got=record.id)
        return found[record.parent]

    async def read(self, principal: Principal, handle: str) -> bytes:
        """The bytes of an image.

        Raises:
            NotFound: There is no such image of the principal, or its file is gone.
        """
        record = await self.get(principal, handle)
        try:
            return await anyio.to_thread.run_sync(self._blobs.path(record.sha256).read_bytes)
        except FileNotFoundError as error:
            raise NotFound(f"The file of image {record.id!r} is gone. Hand the picture in again.") from error

    async def delete(self, principal: Principal, handle: str) -> ImageRecord:
        """Forget one image, and its bytes unless something else needs them. What was made from it stays.

        Raises:
            NotFound: There is no such image of the principal.
        """

        def work(connection: sa.Connection) -> ImageRecord:
            record = load_image(connection, principal.id, handle)
            connection.execute(images.delete().where(images.c.id == handle))
            mentions = sa.cast(results.c.result, sa.Text).contains(handle, autoescape=True)
            connection.execute(results.delete().where(results.c.owner == principal.id, mentions))
            return record

        record = await self._database.write(work)
        await self.discard(record.sha256)
        return record

    async def discard(self, sha256: str) -> bool:
        """Delete bytes that no image and no unfinished job needs; says whether they are gone.

        The file goes while the write lock is held: whoever records an image of these bytes does so before, and they
        stay, or after, and finds them missing.
        """

        def work(connection: sa.Connection) -> bool:
            for table in (images, job_blobs):
                if connection.scalar(sa.select(table.c.sha256).where(table.c.sha256 == sha256).limit(1)):
                    return False
            self._blobs.delete(sha256)
            return True

        return await self._database.write(work)
