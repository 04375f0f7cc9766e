"""What is forgotten after a while: ended jobs, reports, and bytes that nothing refers to."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from darkroom.jobs.record import ItemResult
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.schema import images, job_blobs, jobs, results, uploads

__all__ = ["Pruned", "prune"]

PAGE = 500


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many of each were forgotten."""

    jobs: int
    answers: int
    blobs: int


async def prune(database: Database, blobs: BlobStore, older_than: float) -> Pruned:
    """Forget jobs and reports that are over `older_than` seconds old, answers whose images are gone, and stray bytes.

    Images stay: only their owner deletes them. The space goes back to the file system.
    """
    before = time.time() - older_than
    ended = await database.write(lambda c: _prune_jobs(c, before))
    answers = await _prune_answers(database, before)
    keep = await database.read(_needed)
    swept = await asyncio.to_thread(blobs.sweep, keep)
    await database.compact()
    return Pruned(ended, answers, swept)


def _prune_jobs(connection: sa.Connection, before: float) -> int:
    connection.execute(uploads.delete().where(uploads.c.expires_at < before))
    return connection.execute(jobs.delete().where(jobs.c.finished_at < before)).rowcount


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
