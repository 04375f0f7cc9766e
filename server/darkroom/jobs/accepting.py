"""Taking a call on: its images resolved side by side, then everything recorded in one transaction."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import sqlalchemy as sa

from darkroom.accounts.credits import Credits
from darkroom.errors import Conflict, DarkroomError
from darkroom.intake import Intake, Resolved
from darkroom.jobs.ending import ended
from darkroom.jobs.record import ItemResult, Job, Result
from darkroom.jobs.recording import filed_answer, outcome_of, to_row
from darkroom.jobs.request import Call, Request
from darkroom.jobs.terms import Terms
from darkroom.library.library import pass_again
from darkroom.library.quota import Quota
from darkroom.principal import Principal
from darkroom.store import queue
from darkroom.store.blobs import BlobStore
from darkroom.store.ids import new_id
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import job_items, jobs
from darkroom_tools.base import Tool

__all__ = ["Accepted", "BytesGone", "Images", "Resolver", "record_call", "replay"]

RESOLVED_AT_ONCE = 8

Images = Mapping[str, Sequence[Resolved]]
"""The images of one item by wire name."""


class BytesGone(Exception):
    """Bytes that a call needs are not in the store (any more)."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A validated call, ready to be recorded.

    Attributes:
        principal: Whose call it is.
        called: The tool; of a saved workflow, one version of it.
        request: What is to be done.
        fingerprint: Of the call as it was written.
        terms: How the job is to be treated.
    """

    principal: Principal
    called: Tool
    request: Request
    fingerprint: str
    terms: Terms

    @property
    def owner(self) -> str:
        """Whose job it is."""
        return self.principal.id

    @property
    def tool(self) -> str:
        """The tool's id."""
        return self.called.id


class Resolver:
    """Resolves the images of calls, at most 8 at once in the whole server."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._room = asyncio.Semaphore(RESOLVED_AT_ONCE)

    async def resolve(self, principal: Principal, call: Call) -> tuple[list[Images | DarkroomError], set[str]]:
        """Store the images of every item. An image that several items name is resolved once.

        Returns:
            For each item its images, or why it has none; and the digests of all bytes that just came in.
        """
        tasks: dict[str, asyncio.Task[Resolved]] = {}

        def task(value: Any, field: str) -> asyncio.Task[Resolved]:
            name = json.dumps(value, sort_keys=True, default=str)
            if name not in tasks:
                tasks[name] = asyncio.create_task(self._one(principal, value, field))
            return tasks[name]

        items = [
            {name: [task(value, name) for value in values] for name, values in item.items()} for item in call.items
        ]
        try:
            came = await asyncio.gather(*tasks.values(), return_exceptions=True)
        finally:
            for unfinished in tasks.values():
                unfinished.cancel()
        brought = {image.sha256 for image in came if isinstance(image, Resolved) and image.handle is None}
        return [_images_or_error(item) for item in items], brought

    async def _one(self, principal: Principal, value: Any, field: str) -> Resolved:
        async with self._room:
            return await self._intake.resolve(principal, value, field)


def _images_or_error(item: Mapping[str, Sequence[asyncio.Task[Resolved]]]) -> Images | DarkroomError:
    try:
        return {name: [task.result() for task in tasks] for name, tasks in item.items()}
    except DarkroomError as error:
        return error


def record_call(
    connection: sa.Connection,
    accepted: Accepted,
    blobs: BlobStore,
    limits: QueueLimits,
    credits: Credits,
    quota: Quota,
    now: float,
) -> Job:
    """Put a call into the queue; if every item is answered already, it is a finished job.

    A finished one leaves a row only where its terms want one.

    Raises:
        Overloaded: The queue is full.
        InsufficientCredits: The organisation cannot pay for it.
        QuotaExceeded: The owner has no room for what it would make.
        BytesGone: Bytes that it needs were deleted since they were resolved.
    """
    request = accepted.request
    known = _known_entries(connection, accepted)
    _use(connection, accepted, known.values(), now)
    row = _row(accepted, len(known), now)
    if len(known) == len(request.items):
        items = [known[n] for n in range(len(known))]
        archive = filed_answer(connection, accepted.owner, request.archive_item()) if request.archive else None
        if not request.archive or archive is not None or not any(item.images or item.report for item in items):
            _use(connection, accepted, [archive] if archive is not None else [], now)
            return _finish(connection, accepted, row, Result(tuple(items), archive), now)
    if not request.read_only:
        quota.check(connection, accepted.owner, 0)
    digests = sorted(request.digests())
    if not all(blobs.exists(digest) for digest in digests):
        raise BytesGone
    queue.enqueue(connection, row, digests, now, limits)
    credits.reserve(connection, row["organisation"], row["id"], row["credits"] or 0, now)
    for number, entry in known.items():
        result, error = to_row(entry)
        connection.execute(job_items.insert().values(job=row["id"], item=number, result=result, error=error))
    return Job.from_row({**_WAITING, **row})


_WAITING: Final[Mapping[str, Any]] = {
    "state": "queued",
    "progress": 0.0,
    "message": "",
    "result": None,
    "error": None,
    "started_at": None,
    "finished_at": None,
    "credits": None,
    "liked": None,
    "feedback": None,
    "pinned": False,
}


def _row(accepted: Accepted, done: int, now: float) -> dict[str, Any]:
    """What the row of a job says from the beginning."""
    terms, called, price = accepted.terms, accepted.called, accepted.request.credits
    return {
        "id": new_id("job"),
        "owner": accepted.owner,
        "tool": accepted.tool,
        "request": accepted.request.to_wire(),
        "fingerprint": accepted.fingerprint,
        "idempotency_key": terms.idempotency_key,
        "item_count": len(accepted.request.items),
        "done": done,
        "workflow": called.workflow or None,
        "version": called.version or None,
        "organisation": accepted.principal.organisation,
        "labels": dict(terms.labels),
        "priority": terms.priority,
        "deadline_at": now + terms.deadline_seconds if terms.deadline_seconds is not None else None,
        "webhooks": [{"url": hook.url, "secret": hook.secret} for hook in terms.webhooks],
        "credits": price * (len(accepted.request.items) - done) if price else None,
        "created_at": now,
    }


def _known_entries(connection: sa.Connection, accepted: Accepted) -> dict[int, ItemResult]:
    """The items that need no work: failed already, or answered before."""
    known: dict[int, ItemResult] = {}
    for number, item in enumerate(accepted.request.items):
        if item.error is not None:
            known[number] = ItemResult(error=item.error)
        elif (answer := filed_answer(connection, accepted.owner, item)) is not None:
            known[number] = answer
    return known


def _use(connection: sa.Connection, accepted: Accepted, entries: Iterable[ItemResult], now: float) -> None:
    """Treat what answers name as if it had been made just now."""
    handles = [handle for entry in entries for handle in (*entry.sources, *entry.images)]
    pass_again(connection, accepted.owner, handles, now, listed=accepted.request.listed)


def _finish(connection: sa.Connection, accepted: Accepted, row: Mapping[str, Any], result: Result, now: float) -> Job:
    """A job that ends as it begins."""
    state, error = outcome_of(result.items)
    times = {"started_at": now, "finished_at": now}
    told = {"state": state, "error": error, "result": result.to_wire(), "progress": float(state == "succeeded")}
    row = {**_WAITING, **row, **times, **told}
    if not accepted.terms.leaves_a_job:
        return replace(Job.from_row(row), stored=False)
    connection.execute(jobs.insert().values(**row))
    ended(connection, [row["id"]], now)
    return Job.from_row(row)


def replay(connection: sa.Connection, owner: str, key: str, fingerprint: str) -> Job | None:
    """The job that was accepted under this idempotency key, None if there is none.

    Raises:
        Conflict: It came with another call.
    """
    same = (jobs.c.owner == owner) & (jobs.c.idempotency_key == key)
    row = connection.execute(sa.select(jobs).where(same)).mappings().one_or_none()
    if row is None:
        return None
    if row["fingerprint"] != fingerprint:
        raise Conflict("This idempotency key came with another call before. Use a new key for a new call.")
    return Job.from_row(dict(row))
