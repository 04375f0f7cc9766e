"""What is forgotten after a while: ended jobs, reports, bytes that nothing refers to, and results that take too much room.

Images that only passed through go sooner. Nothing that is pinned goes, no image of a pinned job, and nothing that an
unfinished job needs.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final

import sqlalchemy as sa

from darkroom.jobs.record import ItemResult, Result
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.schema import images, job_blobs, job_items, jobs, results, uploads, webhook_deliveries

__all__ = ["Pruned", "Shrunk", "clear_unlisted", "prune", "shrink"]

log = logging.getLogger(__name__)

PAGE = 500
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many of each were forgotten."""

    jobs: int
    answers: int
    blobs: int


@dataclass(frozen=True, slots=True)
class Shrunk:
    """How many images went because all together were too large, and how many bytes are left."""

    images: int
    bytes: int


async def prune(database: Database, blobs: BlobStore, older_than: float) -> Pruned:
    """Forget jobs and reports that are over `older_than` seconds old, answers whose images are gone, and stray bytes.

    Images stay: only their owner deletes them, or `shrink`. The space goes back to the file system.
    """
    before = time.time() - older_than
    ended = await database.write(lambda c: _prune_jobs(c, before))
    answers = await _prune_answers(database, before)
    keep = await database.read(_needed)
    swept = await asyncio.to_thread(blobs.sweep, keep)
    await database.compact()
    if ended or answers or swept:
        log.info("forgot %d old jobs, %d answers and %d stray files", ended, answers, swept)
    return Pruned(ended, answers, swept)


async def shrink(
    database: Database, discard: Callable[[str], Awaitable[object]], most_bytes: int, older_than: float
) -> Shrunk:
    """Remove the oldest results until all images together have at most `most_bytes`; then uploads, the oldest first.

    Args:
        discard: Deletes stored bytes that nothing else needs.
        most_bytes: Equal bytes count once.
        older_than: Uploads younger than so many seconds stay in any case.
    """
    before = time.time() - older_than
    removed = 0
    while True:
        used, doomed = await database.write(partial(_shrink_page, most_bytes=most_bytes, before=before))
        for digest in doomed:
            await discard(digest)
        removed += len(doomed)
        if not doomed:
            break
    if removed:
        log.warning(
            "%d images were removed to keep within %d MB; %d MB are left", removed, most_bytes // MB, used // MB
        )
    elif used > most_bytes:
        log.warning("the images have %d MB, over the %d MB allowed, and none may go", used // MB, most_bytes // MB)
    return Shrunk(removed, used)


async def clear_unlisted(database: Database, discard: Callable[[str], Awaitable[object]], older_than: float) -> int:
    """Remove images that are not in the file library and were last used over `older_than` seconds ago; how many.

    Args:
        discard: Deletes stored bytes that nothing else needs.
    """
    before = time.time() - older_than
    removed = 0
    while True:
        doomed = await database.write(partial(_clear_page, before=before))
        for digest in doomed:
            await discard(digest)
        removed += len(doomed)
        if not doomed:
            break
    if removed:
        log.info("removed %d images that nobody kept", removed)
    return removed


def _clear_page(connection: sa.Connection, before: float) -> list[str]:
    """Remove so many of the images that passed through before that time; the digests of the images removed."""
    passed = (images.c.listed.is_(sa.false()), images.c.pinned.is_(sa.false()), images.c.created_at < before)
    needed = sa.select(job_blobs.c.sha256)
    rows = connection.execute(sa.select(images.c.id, images.c.sha256).where(*passed, images.c.sha256.not_in(needed)))
    spared = _spared(connection)
    doomed = dict(islice(((row.id, row.sha256) for row in rows if row.id not in spared), PAGE))
    connection.execute(images.delete().where(images.c.id.in_(doomed)))
    return list(doomed.values())


def _shrink_page(connection: sa.Connection, most_bytes: int, before: float) -> tuple[int, list[str]]:
    """Remove so many of the images that may go; bytes used before, and the digests of the images removed."""
    each = sa.select(sa.func.max(images.c.bytes).label("bytes")).group_by(images.c.sha256).subquery()
    used = int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(each.c.bytes), 0))) or 0)
    excess = used - most_bytes
    doomed: dict[str, str] = {}
    if excess > 0:
        spared = _spared(connection)
        for row in connection.execute(_removable(before)):
            if row.id not in spared:
                doomed[row.id] = row.sha256
                excess -= row.bytes
            if excess <= 0 or len(doomed) >= PAGE:
                break
        connection.execute(images.delete().where(images.c.id.in_(doomed)))
    return used, list(doomed.values())


def _removable(before: float) -> sa.Select[tuple[str, str, int]]:
    """Images in the order in which they may go: first those not in the file library; of these, and of the others, results
    and then uploads from before that time; the oldest first.
    """
    needed = sa.select(job_blobs.c.sha256)
    is_upload = sa.case((images.c.tool.is_(None), 1), else_=0)
    return (
        sa.select(images.c.id, images.c.sha256, images.c.bytes)
        .where(images.c.pinned.is_(sa.false()), images.c.sha256.not_in(needed))
        .where(sa.or_(images.c.tool.is_not(None), images.c.created_at < before))
        .order_by(images.c.listed, is_upload, images.c.created_at, images.c.id)
    )


def _spared(connection: sa.Connection) -> set[str]:
    """The images of pinned jobs, and what unfinished ones have made so far."""
    pinned = connection.execute(sa.select(jobs.c.result).where(jobs.c.pinned, jobs.c.result.is_not(None))).scalars()
    spared = {handle for wire in pinned if wire for handle in Result.from_wire(wire).images()}
    for wire in connection.execute(sa.select(job_items.c.result)).scalars():
        if wire and "known" in wire:
            spared.update(wire["known"]["images"])
    return spared


def _prune_jobs(connection: sa.Connection, before: float) -> int:
    connection.execute(uploads.delete().where(uploads.c.expires_at < before))
    connection.execute(webhook_deliveries.delete().where(webhook_deliveries.c.finished_at < before))
    old = (jobs.c.finished_at < before) & jobs.c.pinned.is_(sa.false())
    return connection.execute(jobs.delete().where(old)).rowcount


async def _prune_answers(database: Database, before: float) -> int:
    """Go over all filed answers in pages, each in a short transaction of its own."""
    removed = 0
    last = ("", "")
    while True:
        found, last, count = await database.write(partial(_prune_page, before=before, after=last))
        removed += count
        if found < PAGE:
            return removed


def _prune_page(connection: sa.Connection, before: float, after: tuple[str, str]) -> tuple[int, tuple[str, str], int]:
    key = sa.tuple_(results.c.owner, results.c.digest)
    page = sa.select(results).where(key > sa.tuple_(*after)).order_by(results.c.owner, results.c.digest).limit(PAGE)
    rows = connection.execute(page).all()
    answers = [(row, ItemResult(**row.result)) for row in rows]
    named = {handle for _, answer in answers for handle in (*answer.images, *answer.sources)}
    alive = set(connection.execute(sa.select(images.c.id).where(images.c.id.in_(named))).scalars())
    stale = [
        (row.owner, row.digest)
        for row, answer in answers
        if not alive.issuperset([*answer.images, *answer.sources]) or (not answer.images and row.created_at < before)
    ]
    connection.execute(results.delete().where(key.in_(stale)))
    return len(rows), (rows[-1].owner, rows[-1].digest) if rows else after, len(stale)


def _needed(connection: sa.Connection) -> set[str]:
    """The bytes of all images and unfinished jobs."""
    both = sa.union(sa.select(images.c.sha256), sa.select(job_blobs.c.sha256))
    return set(connection.execute(both).scalars())
