"""Trying a call again that came to nothing: a new job with the request of the old one, tied to the first of them.

A job of its own, because what ended stays as it was: its books are closed, and whoever wanted to know was told.
"""

from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa

from darkroom.accounts.credits import Credits
from darkroom.errors import Conflict, NotFound
from darkroom.jobs.history import load_job, newest_tries
from darkroom.jobs.record import ItemResult, Job
from darkroom.jobs.recording import filed_answer, to_row
from darkroom.jobs.request import Request
from darkroom.principal import Principal
from darkroom.store import queue
from darkroom.store.ids import new_id
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import job_items, jobs

__all__ = ["try_again"]

STAYS = (
    "owner",
    "tool",
    "request",
    "fingerprint",
    "item_count",
    "workflow",
    "version",
    "labels",
    "priority",
    "webhooks",
)
"""What a retry has in common with the job before it."""


def try_again(
    connection: sa.Connection,
    principal: Principal,
    job_id: str,
    limits: QueueLimits,
    credits: Credits,
    has_bytes: Callable[[str], bool],
    now: float,
) -> Job:
    """Queue the call of a job once more.

    What its last try had finished is taken over and costs nothing; a deadline is as far away as it was at first.

    Args:
        job_id: Of the principal; the first job, or one that tried it again.
        has_bytes: Whether bytes are in the store.

    Raises:
        NotFound: No such job of the principal, or the file of an input is gone.
        Conflict: The last try is under way or succeeded, or none of its images can be run.
        Overloaded: The queue is full.
        InsufficientCredits: The organisation cannot pay for it.
    """
    first = load_job(connection, principal.id, job_id)
    first_id = first.retry_of or first.id
    # Locked, so that two who ask at once do not both start one.
    locked = sa.select(jobs.c.id).where(jobs.c.id == first_id, jobs.c.owner == principal.id).with_for_update()
    connection.execute(locked)
    last = newest_tries(connection, principal.id, [first_id]).get(first_id) or load_job(
        connection, principal.id, first_id
    )
    if not last.ended:
        raise Conflict(f"It is {last.state}. Wait for its end, then try it again.", state=last.state)
    if last.state == "succeeded":
        raise Conflict("It succeeded, so there is nothing to try again. Run it as a new one.", state=last.state)
    before = connection.execute(sa.select(jobs).where(jobs.c.id == last.id)).mappings().one()
    return _queue(connection, principal, first_id, before, limits, credits, has_bytes, now)


def _queue(
    connection: sa.Connection,
    principal: Principal,
    first_id: str,
    before: Mapping[Any, Any],
    limits: QueueLimits,
    credits: Credits,
    has_bytes: Callable[[str], bool],
    now: float,
) -> Job:
    request = Request.from_wire(before["request"])
    known = _known(connection, principal.id, request)
    left = len(request.items) - len(known)
    if left == 0:
        raise Conflict("None of its images can be run. Send them again in a new one.", state=before["state"])
    digests = sorted(request.digests())
    if not all(has_bytes(digest) for digest in digests):
        raise NotFound("The file of an image is gone. Hand the picture in again.")
    deadline = before["deadline_at"]
    row = {
        **{name: before[name] for name in STAYS},
        "id": new_id("job"),
        "retry_of": first_id,
        "organisation": principal.organisation,
        "done": len(known),
        "deadline_at": now + (deadline - before["created_at"]) if deadline is not None else None,
        "credits": request.credits * left if request.credits else None,
        "created_at": now,
    }
    queue.enqueue(connection, row, digests, now, limits)
    credits.reserve(connection, row["organisation"], row["id"], row["credits"] or 0, now)
    for number, entry in known.items():
        result, error = to_row(entry)
        connection.execute(job_items.insert().values(job=row["id"], item=number, result=result, error=error))
    return load_job(connection, principal.id, row["id"])


def _known(connection: sa.Connection, owner: str, request: Request) -> dict[int, ItemResult]:
    """The items that never came in, and those that are answered by now as long as others are left to run."""
    refused = {n: ItemResult(error=item.error) for n, item in enumerate(request.items) if item.error is not None}
    answers = {
        n: answer
        for n, item in enumerate(request.items)
        if n not in refused and (answer := filed_answer(connection, owner, item)) is not None
    }
    return refused | answers if len(refused) + len(answers) < len(request.items) else refused
