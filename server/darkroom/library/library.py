"""The library: images with their versions, each seen by its owner only.

The functions over a connection run inside the transaction of whoever records images; the class is for callers.
"""

import time
from collections.abc import Callable, Mapping, Sequence
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

__all__ = [
    "Library",
    "enlist",
    "find_images",
    "find_source",
    "forget",
    "insert_result",
    "insert_source",
    "load_image",
    "missing",
    "next_version",
    "pass_again",
]

MOST_LISTED = 200
LONGEST_SEARCH = 200

# Every call runs these; built once, they cost a third.
_owned = images.c.owner == sa.bindparam("owner")
_handle = images.c.id == sa.bindparam("handle")
_LOAD = sa.select(images).where(_handle, _owned)
_FOUND = sa.select(images).where(_owned, images.c.id.in_(sa.bindparam("handles", expanding=True)))
_kin = images.alias()
_NEWEST = sa.select(sa.func.max(_kin.c.version)).where(
    _kin.c.root == images.c.root, _kin.c.owner == images.c.owner, _kin.c.listed
)
_CHAIN = sa.select(images.c.root, images.c.project, _NEWEST.scalar_subquery().label("newest")).where(_handle, _owned)
_UNLISTED = sa.select(images.c.id, images.c.root).where(
    _owned, images.c.id.in_(sa.bindparam("handles", expanding=True)), images.c.listed.is_(sa.false())
)
_SOURCE = (
    sa.select(images.c.id)
    .where(_owned, images.c.sha256 == sa.bindparam("sha256"), images.c.tool.is_(None))
    .order_by(images.c.listed.desc(), images.c.created_at)
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
        raise missing(handle)
    return ImageRecord(**row)


def missing(handle: str) -> NotFound:
    """The error for a handle that is nobody's or somebody else's."""
    got = clean_text(handle, 60)
    return NotFound(f"There is no image {got!r}. list_images shows the handles of all images.", got=got)


def find_images(connection: sa.Connection, owner: str, handles: Sequence[str]) -> dict[str, ImageRecord]:
    """Those of the images that exist and are the owner's, by handle."""
    rows = connection.execute(_FOUND, {"owner": owner, "handles": handles}).mappings()
    return {row["id"]: ImageRecord(**row) for row in rows}


def find_source(connection: sa.Connection, owner: str, sha256: str) -> str | None:
    """The handle under which the owner already handed in these bytes, None if never."""
    found: str | None = connection.scalar(_SOURCE, {"owner": owner, "sha256": sha256})
    return found


def insert_source(
    connection: sa.Connection,
    owner: str,
    handle: str,
    sha256: str,
    picture: Picture,
    name: str,
    *,
    listed: bool = True,
    project: str | None = None,
) -> ImageRecord:
    """Record an image that came in from outside: version 1 of a chain of its own."""
    origin = {"root": handle, "version": 1, "listed": listed, "project": project}
    return _insert(connection, owner, handle, sha256, picture, name, origin)


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
    *,
    listed: bool = True,
) -> ImageRecord:
    """Record what `tool` made of the parent: the next version of its chain, in the project that the parent is in.

    Without a parent, or if it was deleted while the tool ran, the image starts a chain. One that is not listed takes no
    number from those that are: its version is what it would be.
    """
    chain = connection.execute(_CHAIN, {"handle": parent_handle, "owner": owner}).one_or_none()
    origin = {
        "parent": parent_handle,
        "root": chain.root if chain else handle,
        "version": max(chain.newest or 0, 1) + 1 if chain else 1,
        "project": chain.project if chain else None,
        "listed": listed,
        "tool": tool,
        "steps": list(steps),
        "facts": dict(facts),
    }
    return _insert(connection, owner, handle, sha256, picture, name, origin)


def next_version(connection: sa.Connection, owner: str, handle: str) -> int:
    """What number the next listed image of this one's chain gets."""
    chain = connection.execute(_CHAIN, {"handle": handle, "owner": owner}).one()
    return max(chain.newest or 0, 1) + 1


def enlist(connection: sa.Connection, owner: str, handles: Sequence[str], now: float) -> None:
    """Take those of the owner's images into the file library that are not in it, as the newest of their chains."""
    for row in connection.execute(_UNLISTED, {"owner": owner, "handles": handles}).all():
        version = 1 if row.id == row.root else next_version(connection, owner, row.id)
        changes = {"listed": True, "version": version, "created_at": now}
        connection.execute(images.update().where(images.c.id == row.id, images.c.owner == owner).values(changes))


def pass_again(connection: sa.Connection, owner: str, handles: Sequence[str], now: float, *, listed: bool) -> None:
    """Note that images are used by a call: by one for the file library they enter it, else those not in it stay anew."""
    if not handles:
        return
    if listed:
        enlist(connection, owner, handles, now)
        return
    unlisted = [row.id for row in connection.execute(_UNLISTED, {"owner": owner, "handles": handles})]
    if unlisted:
        connection.execute(images.update().where(images.c.id.in_(unlisted)).values(created_at=now))


def forget(connection: sa.Connection, owner: str, handle: str) -> None:
    """Remove the row of an image, and the answers that name it."""
    connection.execute(images.delete().where(images.c.id == handle, images.c.owner == owner))
    mentions = sa.cast(results.c.result, sa.Text).contains(handle, autoescape=True)
    connection.execute(results.delete().where(results.c.owner == owner, mentions))


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
    row = {"parent": None, "tool": None, "steps": [], "facts": {}, "project": None, **row, **origin}
    connection.execute(_INSERT, row)
    return ImageRecord(**row)


class Library:
    """The stored images of all owners.

    Args:
        database: At the newest schema.
        blobs: Where their bytes are.
        on_gone: Told the digest of bytes that were deleted; called in a thread.
    """

    def __init__(self, database: Database, blobs: BlobStore, on_gone: Callable[[str], object] = lambda _: None) -> None:
        self._database = database
        self._blobs = blobs
        self._on_gone = on_gone

    async def get(self, principal: Principal, handle: str) -> ImageRecord:
        """The image of that handle.

        Raises:
            NotFound: There is none, or it belongs to somebody else.
        """
        return await self._database.read(lambda connection: load_image(connection, principal.id, handle))

    async def opened(self, handle: str) -> ImageRecord:
        """The image of that handle, whosever it is: for who showed a signed link to it.

        Raises:
            NotFound: There is none.
        """
        wanted = sa.select(images).where(images.c.id == handle)
        row = await self._database.read(lambda connection: connection.execute(wanted).mappings().one_or_none())
        if row is None:
            raise missing(handle)
        return ImageRecord(**row)

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
        """The principal's images in the file library, newest first.

        Args:
            limit: At most so many, 1 to 200.
            before: The `next` of the page before.
            query: Only names that contain this text; upper and lower case are the same.

        Raises:
            InvalidSettings: `before` is no cursor of this list.
        """
        limit = max(1, min(limit, MOST_LISTED))
        wanted = sa.select(images).where(images.c.owner == principal.id, images.c.listed)
        if query and (text := clean_text(query, LONGEST_SEARCH)):
            wanted = wanted.where(images.c.name.icontains(text, autoescape=True))
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
            forget(connection, principal.id, handle)
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

        gone = await self._database.write(work)
        if gone:
            await anyio.to_thread.run_sync(self._on_gone, sha256)
        return gone
