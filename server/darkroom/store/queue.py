"""The lease queue over the table `jobs`: plain functions over a connection, for the caller's transaction.

A job is queued, then running under a lease, then in an end state. A claim is one statement, so two workers never
get the same job. A running job belongs to (worker, attempt): whatever is written for it names both, so a worker
that lost its lease cannot finish a job that somebody else runs by now.

Order is fair among owners: each has a clock that moves on by one turn for every item, and whoever's turn is lowest
comes next. Priority is a head start of `HEAD_START` turns a step, not a class of its own: urgent jobs overtake what
waits, and yet an owner who asks for nothing but urgent jobs moves the own clock past everybody's, so that nobody
waits forever.
"""

import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from darkroom.errors import DeadlineExceeded, JobInterrupted, NotFound, Overloaded, RateLimited
from darkroom.store.schema import job_blobs, job_items, jobs

__all__ = [
    "ENDED",
    "HEAD_START",
    "TOO_LATE",
    "Claim",
    "End",
    "ItemRow",
    "Keep",
    "QueueLimits",
    "Reaped",
    "cancel",
    "checkpoint",
    "claim",
    "count_open",
    "enqueue",
    "expire",
    "finish",
    "heartbeat",
    "next_deadline",
    "reap",
    "release",
]

ENDED: Final = ("succeeded", "failed", "canceled")
RETRY_AFTER: Final = 5
LONGEST_MESSAGE: Final = 200

HEAD_START: Final = 10
"""Turns that one step of priority is worth: a job of priority 10 overtakes a hundred images of priority 0."""

TOO_LATE: Final = DeadlineExceeded(
    "The job was not done by its deadline. What a batch finished until then is kept. Give it more time, or less to do."
).to_wire()

Keep = Callable[[sa.Connection, Sequence[str]], object]
"""Told which jobs end before they are done, while their finished items still stand."""

ItemRow = tuple[Mapping[str, Any] | None, Mapping[str, Any] | None]
"""Result and error of a finished item, as its row holds them."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How much may wait and run.

    Attributes:
        queued: Jobs of all owners that may wait.
        owner_queued: Jobs of one owner that may wait.
        owner_running: Jobs of one owner that may run at once.
        attempts: A job whose worker died so often is failed instead of tried again.
        lease_seconds: A worker that was not heard of for so long counts as dead.
    """

    queued: int = 100
    owner_queued: int = 200
    owner_running: int = 10
    attempts: int = 3
    lease_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that `worker` runs; `attempt` counts from 1, times are seconds since the epoch."""

    id: str
    owner: str
    tool: str
    request: Mapping[str, Any]
    worker: str
    attempt: int
    created_at: float
    started_at: float
    deadline_at: float | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: state, items that are done, how far it was, and what it came to."""

    state: str
    done: int = 0
    progress: float = 0.0
    message: str = ""
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Reaped:
    """Ids of the jobs taken from dead workers, by what became of them."""

    queued: Sequence[str]
    failed: Sequence[str]
    canceled: Sequence[str]


def enqueue(
    connection: sa.Connection, row: Mapping[str, Any], needs: Sequence[str], now: float, limits: QueueLimits
) -> None:
    """Add a job.

    Args:
        row: `id`, `owner`, `tool`, `request`, `fingerprint`, `item_count`, and any other column.
        needs: Digests of the bytes that the job reads; they stay until it ends.

    Raises:
        Overloaded: The queue, or the owner's share of it, is full.
    """
    waiting, mine, served, first, last = connection.execute(_STANDING, {"of": row["owner"]}).one()
    if waiting >= limits.queued:
        raise Overloaded(
            f"The queue is full: {waiting} jobs wait. Try again in {RETRY_AFTER} seconds.", retryAfter=RETRY_AFTER
        )
    if mine >= limits.owner_queued:
        raise RateLimited(
            f"You have {mine} jobs waiting, and {limits.owner_queued} may. Try again in {RETRY_AFTER} seconds.",
            retryAfter=RETRY_AFTER,
        )
    # Fair order (self-clocked fair queueing): the clock is the turn now being served, or the first one to be; a job's
    # turn is one per item after it, or after its owner's last. So nobody waits for all that others piled up.
    clock = served if served is not None else first or 0.0
    turn = max(clock, last or 0.0) + row["item_count"]
    connection.execute(_INSERT, {**row, "state": "queued", "turn": turn, "created_at": now})
    _insert_needs(connection, row["id"], needs)


def claim(connection: sa.Connection, worker: str, count: int, now: float, limits: QueueLimits) -> list[Claim]:
    """Take up to `count` jobs in their order, no owner over its limit of running jobs, none past its deadline."""
    given = {"worker": worker, "share": limits.owner_running, "now": now, "until": now + limits.lease_seconds}
    statement = _claim_statement(connection.dialect.name)
    claims: list[Claim] = []
    while len(claims) < count and (row := connection.execute(statement, given).first()) is not None:
        times = (row.created_at, row.started_at, row.deadline_at)
        claims.append(Claim(row.id, row.owner, row.tool, row.request, worker, row.attempt, *times))
    return claims


def heartbeat(
    connection: sa.Connection, held: Sequence[tuple[Claim, float, str]], now: float, limits: QueueLimits
) -> tuple[set[str], set[str]]:
    """Renew the leases of claims and save how far each is: fraction and message.

    Returns:
        The ids that somebody wants cancelled, and the ids that are ours no longer.
    """
    cancelled, lost = set(), set()
    for job, fraction, message in held:
        told = {"until": now + limits.lease_seconds, "fraction": fraction, "words": message[:LONGEST_MESSAGE]}
        asked = connection.execute(_HEARTBEAT, {**_fence(job), **told}).scalar_one_or_none()
        if asked is None:
            lost.add(job.id)
        elif asked:
            cancelled.add(job.id)
    return cancelled, lost


def checkpoint(connection: sa.Connection, job: Claim, item: int, record: Callable[[], ItemRow]) -> bool:
    """Keep what one item of a job came to; False, and nothing recorded, if the job is ours no longer."""
    held = connection.execute(_CHECKPOINT, _fence(job)).first()
    if held is not None:
        result, error = record()
        connection.execute(job_items.insert(), {"job": job.id, "item": item, "result": result, "error": error})
    return held is not None


def finish(connection: sa.Connection, job: Claim, end: End, now: float) -> Mapping[str, Any] | None:
    """End a running job; its row as it is then. None, and nothing changed, if it is ours no longer."""
    told = {
        "end": end.state,
        "answer": end.result,
        "reason": end.error,
        "count": end.done,
        "fraction": end.progress,
        "words": end.message[:LONGEST_MESSAGE],
        "now": now,
    }
    held = connection.execute(_FINISH, {**_fence(job), **told}).mappings().first()
    if held is not None:
        _forget(connection, [job.id])
    return dict(held) if held is not None else None


def release(connection: sa.Connection, worker: str) -> None:
    """Put all that a stopping worker still runs back for others, without counting the attempt."""
    back = {"state": "queued", "lease_owner": None, "lease_until": None, "attempt": jobs.c.attempt - 1}
    connection.execute(jobs.update().where(jobs.c.state == "running", jobs.c.lease_owner == worker).values(back))


def reap(
    connection: sa.Connection, now: float, limits: QueueLimits, keep: Keep | None = None, *, alone: bool = False
) -> Reaped:
    """Take the running jobs of dead workers: queue them again, or end those cancelled, too late or tried too often.

    Args:
        keep: Keeps what the jobs that end now have finished.
        alone: True if no other worker can be alive, so every lease is a dead one's.
    """
    dead = jobs.update().where(jobs.c.state == "running")
    if not alone:
        dead = dead.where(jobs.c.lease_until < now)
    canceled = _end(connection, dead.where(jobs.c.cancel_requested), {"state": "canceled"}, now, keep)
    late = _end(connection, dead.where(jobs.c.deadline_at <= now), {"state": "failed", "error": TOO_LATE}, now, keep)
    error = JobInterrupted(
        f"The server stopped {limits.attempts} times in the middle of this job. "
        "Try a smaller image or other settings; the server's log says more."
    ).to_wire()
    spent = dead.where(jobs.c.attempt >= limits.attempts)
    failed = _end(connection, spent, {"state": "failed", "error": error}, now, keep)
    again = dead.values(state="queued", lease_owner=None, lease_until=None).returning(jobs.c.id)
    return Reaped(connection.execute(again).scalars().all(), [*late, *failed], canceled)


def expire(connection: sa.Connection, now: float, keep: Keep | None = None) -> list[str]:
    """Fail the waiting jobs that were not done by their deadline; their ids."""
    late = jobs.update().where(jobs.c.state == "queued", jobs.c.deadline_at <= now)
    return _end(connection, late, {"state": "failed", "error": TOO_LATE}, now, keep)


def next_deadline(connection: sa.Connection) -> float | None:
    """The earliest deadline of a waiting job, None if none has one."""
    earliest: float | None = connection.scalar(_NEXT_DEADLINE)
    return earliest


def cancel(connection: sa.Connection, owner: str, job_id: str, now: float, keep: Keep | None = None) -> bool:
    """Cancel a waiting job at once and ask for the end of a running one; an ended one stays as it is.

    Args:
        keep: Keeps what a waiting job finished before it was put back into the queue.

    Returns:
        Whether it was waiting, so that it will never run.

    Raises:
        NotFound: The owner has no such job.
    """
    mine = jobs.update().where(jobs.c.id == job_id, jobs.c.owner == owner)
    if _end(connection, mine.where(jobs.c.state == "queued"), {"state": "canceled"}, now, keep):
        return True
    asked = mine.values(cancel_requested=sa.or_(jobs.c.cancel_requested, jobs.c.state == "running"))
    if connection.execute(asked.returning(jobs.c.id)).first() is None:
        raise NotFound("There is no such job, or it is no longer kept.")
    return False


def count_open(connection: sa.Connection) -> dict[str, int]:
    """How many jobs of all owners are in each state that is not an end."""
    states = ("queued", "running")
    rows = connection.execute(
        sa.select(jobs.c.state, sa.func.count()).where(jobs.c.state.in_(states)).group_by(jobs.c.state)
    )
    return dict.fromkeys(states, 0) | {state: count for state, count in rows}


def _fence(job: Claim) -> dict[str, Any]:
    return {"which": job.id, "worker": job.worker, "try": job.attempt}


def _end(
    connection: sa.Connection, which: sa.Update, values: Mapping[str, Any], now: float, keep: Keep | None
) -> list[str]:
    """Bring jobs to an end state; their ids."""
    ended = which.values(**values, lease_owner=None, lease_until=None, finished_at=now).returning(jobs.c.id)
    ids = list(connection.execute(ended).scalars())
    if ids:
        if keep is not None:
            keep(connection, ids)
        _forget(connection, ids)
    return ids


def _forget(connection: sa.Connection, ids: Sequence[str]) -> None:
    """Drop what only unfinished jobs have."""
    for statement in _FORGET:
        connection.execute(statement, {"which": ids})


def _insert_needs(connection: sa.Connection, job_id: str, digests: Collection[str]) -> None:
    if digests:
        connection.execute(job_blobs.insert(), [{"job": job_id, "sha256": digest} for digest in sorted(set(digests))])


# The statements of every call are built once: building them costs more than running them.


def _one(what: sa.ColumnElement[Any], *conditions: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    return sa.select(what).select_from(jobs).where(*conditions).scalar_subquery()


_QUEUED, _RUNNING = jobs.c.state == "queued", jobs.c.state == "running"
_MINE = jobs.c.owner == sa.bindparam("of")
_STANDING = sa.select(
    _one(sa.func.count(), _QUEUED),
    _one(sa.func.count(), _QUEUED, _MINE),
    _one(sa.func.max(jobs.c.turn), _RUNNING),
    _one(sa.func.min(jobs.c.turn - jobs.c.item_count), _QUEUED),
    _one(sa.func.max(jobs.c.turn), _QUEUED | _RUNNING, _MINE),
)
_INSERT = jobs.insert()
_NEXT_DEADLINE = sa.select(sa.func.min(jobs.c.deadline_at)).where(_QUEUED)
_HELD = jobs.update().where(
    jobs.c.id == sa.bindparam("which"),
    _RUNNING,
    jobs.c.lease_owner == sa.bindparam("worker"),
    jobs.c.attempt == sa.bindparam("try"),
)
_HEARTBEAT = _HELD.values(
    lease_until=sa.bindparam("until"), progress=sa.bindparam("fraction"), message=sa.bindparam("words")
).returning(jobs.c.cancel_requested)
_CHECKPOINT = _HELD.values(done=jobs.c.done + 1).returning(jobs.c.id)
_FINISH = _HELD.values(
    state=sa.bindparam("end"),
    progress=sa.bindparam("fraction"),
    message=sa.bindparam("words"),
    done=sa.bindparam("count"),
    result=sa.bindparam("answer", type_=sa.JSON(none_as_null=True)),
    error=sa.bindparam("reason", type_=sa.JSON(none_as_null=True)),
    lease_owner=None,
    lease_until=None,
    finished_at=sa.bindparam("now"),
).returning(*(column for column in jobs.c if column.name != "request"))
_FORGET = [
    table.delete().where(table.c.job.in_(sa.bindparam("which", expanding=True))) for table in (job_items, job_blobs)
]


@functools.cache
def _claim_statement(dialect: str) -> sa.UpdateBase:
    in_time = sa.or_(jobs.c.deadline_at.is_(None), jobs.c.deadline_at > sa.bindparam("now"))
    other = jobs.alias()
    of_owner = sa.select(other.c.owner).where(other.c.state == "running").group_by(other.c.owner)
    busy = of_owner.having(sa.func.count() >= sa.bindparam("share"))
    chosen = (
        sa.select(jobs.c.seq)
        .where(_QUEUED, in_time, jobs.c.owner.not_in(busy))
        .order_by(jobs.c.turn - HEAD_START * jobs.c.priority, jobs.c.seq)
        .limit(1)
    )
    if dialect == "postgresql":
        chosen = chosen.with_for_update(of=jobs, skip_locked=True)
    return (
        jobs.update()
        .where(jobs.c.seq.in_(chosen))
        .values(
            state="running",
            lease_owner=sa.bindparam("worker"),
            lease_until=sa.bindparam("until"),
            attempt=jobs.c.attempt + 1,
            started_at=sa.func.coalesce(jobs.c.started_at, sa.bindparam("now")),
        )
        .returning(jobs.c.id, jobs.c.owner, jobs.c.tool, jobs.c.request, jobs.c.attempt, *_TIMES)
    )


_TIMES = (jobs.c.created_at, jobs.c.started_at, jobs.c.deadline_at)
