"""The credits ledger: double-entry books as plain functions over a connection, for the caller's transaction.

A movement is one row of `transfers`: an amount that leaves the account `debit` and enters the account `credit`. Rows
are never changed or deleted. Balances are kept beside them in the same transaction, so all balances together are
always 0, and `verify` can compute them again. Every customer has closed books of their own:

    issued ──grant──▶ free, purchased, refund ──reserve──▶ reserved ──settle──▶ spent ──refund──▶ refund
                                    ▲──────────release─────────┘

`issued` (below 0 by what was granted) and `spent` are the house's side. Free credits are spent first, then
purchased, then refunded ones; a release gives back to the very buckets that a reservation took from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from darkroom.errors import DarkroomError, InsufficientCredits
from darkroom.store.schema import jobs, ledger_accounts, transfers
from darkroom_tools.errors import InvalidSettings

__all__ = ["BUCKETS", "Balance", "Bucket", "Movement", "balance_of", "grant", "movements_of", "open_account"]
__all__ += ["refund", "reserve", "settle", "verify"]

Bucket = Literal["free", "purchased", "refund"]

BUCKETS: Final[tuple[Bucket, ...]] = ("free", "purchased", "refund")
"""What a customer can spend, in the order in which it is spent."""

RESERVED: Final = "reserved"
CUSTOMER: Final = (*BUCKETS, RESERVED)
HOUSE: Final = ("issued", "spent")
MOST: Final = 10**12
"""Credits of one movement; far from what a column holds."""


@dataclass(frozen=True, slots=True)
class Balance:
    """Credits of one account, by bucket; `reserved` belong to jobs that have not ended."""

    free: int = 0
    purchased: int = 0
    refund: int = 0
    reserved: int = 0

    @property
    def total(self) -> int:
        """What can be spent now."""
        return self.free + self.purchased + self.refund


@dataclass(frozen=True, slots=True)
class Movement:
    """One row of the ledger.

    Attributes:
        id: Unique, so that a repeat is the same movement.
        debit: Account that gives.
        credit: Account that gets.
        amount: Credits, at least 1.
        kind: `grant`, `reserve`, `settle`, `release` or `refund`.
        job: The job that it is about.
        note: For people.
    """

    id: str
    debit: str
    credit: str
    amount: int
    kind: str
    created_at: float
    job: str | None = None
    note: str = ""
    seq: int = 0

    @property
    def bucket(self) -> str:
        """The bucket that the credits came from or went to; of spent ones, where they had been."""
        ends = (bucket_of(self.credit), bucket_of(self.debit), self.id.rpartition(":")[2])
        return next(bucket for bucket in ends if bucket in BUCKETS)


def account_id(owner: str, bucket: str) -> str:
    """The id of an owner's account."""
    return f"{bucket}:{owner}"


def bucket_of(account: str) -> str:
    """The bucket of an account id."""
    return account.partition(":")[0]


def open_account(connection: sa.Connection, owner: str, free: int, now: float) -> None:
    """Open an owner's accounts, once, with so many free credits; later calls change nothing."""
    if _locked(connection, [owner]):
        return
    for bucket in (*CUSTOMER, *HOUSE):
        whose = owner if bucket in CUSTOMER else None
        row = {"id": account_id(owner, bucket), "owner": whose, "bucket": bucket}
        connection.execute(_once(connection, ledger_accounts), row)
    if free:
        grant(connection, owner, "free", free, now, key=f"welcome:{owner}", note="Free credits of a new account")


def grant(
    connection: sa.Connection, owner: str, bucket: Bucket, amount: int, now: float, *, key: str, note: str = ""
) -> bool:
    """Give credits to an account that is open.

    Args:
        key: The same key is the same grant, however often it is made.
        note: For people, at most 200 characters.

    Returns:
        Whether it was made now.

    Raises:
        InvalidSettings: `amount` is not 1..10^12.
    """
    if not 0 < amount <= MOST:
        raise InvalidSettings(f"A grant is 1 to {MOST:,} credits, but got {amount}.", field="amount", got=amount)
    _locked(connection, [owner])
    source, target = account_id(owner, "issued"), account_id(owner, bucket)
    return bool(_post(connection, [Movement(f"grant:{key}", source, target, amount, "grant", now, note=note)]))


def reserve(connection: sa.Connection, account: str, job_id: str, amount: int, now: float) -> None:
    """Set credits aside for a job; a repeat changes nothing. `settle` says what becomes of them.

    Raises:
        InsufficientCredits: The account has fewer; nothing was changed.
    """
    if amount <= 0:
        return
    have = {row.bucket: row.balance for row in _locked(connection, [account])}
    if connection.scalar(_OF_JOBS, {"jobs": [job_id]}) is not None:
        return
    total = sum(have.get(bucket, 0) for bucket in BUCKETS)
    if total < amount:
        raise _insufficient(total, amount)
    parts: list[Movement] = []
    target, left = account_id(account, RESERVED), amount
    for bucket in BUCKETS:
        part = min(have[bucket], left)
        if part:
            name = f"{job_id}:reserve:{bucket}"
            parts.append(Movement(name, account_id(account, bucket), target, part, "reserve", now, job_id))
        left -= part
    _post(connection, parts)


def settle(connection: sa.Connection, job_ids: Sequence[str], now: float) -> dict[str, int]:
    """Charge jobs that have just ended for the items that succeeded, and give the rest back to where it came from.

    What the library knew is free. Jobs without a reservation are left alone, and so are those settled before.

    Args:
        job_ids: Jobs whose rows hold their end state and result, written in this transaction.

    Returns:
        The credits charged, by job.
    """
    rows = connection.execute(_OF_JOBS, {"jobs": list(job_ids)}).all()
    if not rows:
        return {}
    _locked(connection, {row.debit.partition(":")[2] for row in rows if row.kind == "reserve"})
    rows = connection.execute(_OF_JOBS, {"jobs": list({row.job for row in rows})}).all()
    closed = {row.job for row in rows if row.kind != "reserve"}
    held: dict[str, list[Any]] = {}
    for row in rows:
        if row.job not in closed:
            held.setdefault(row.job, []).append(row)
    charged = _charges(connection, held)
    _post(connection, [part for job_id, parts in held.items() for part in _ends(parts, charged[job_id], now)])
    for job_id, amount in charged.items():
        connection.execute(_CHARGED, {"which": job_id, "amount": amount})
    return charged


def refund(connection: sa.Connection, account: str, job_id: str, now: float, note: str = "") -> int:
    """Give all that a job was charged back, into the bucket `refund`; a repeat changes nothing.

    Returns:
        The credits given back now; 0 if the account was charged nothing for it, or has it back already.
    """
    _locked(connection, [account])
    source = account_id(account, "spent")
    rows = connection.execute(_OF_JOBS, {"jobs": [job_id]}).all()
    amount = sum(row.amount for row in rows if row.kind == "settle" and row.credit == source)
    if not amount:
        return 0
    target = account_id(account, "refund")
    back = Movement(f"{job_id}:refund", source, target, amount, "refund", now, job_id, note)
    return amount if _post(connection, [back]) else 0


def verify(connection: sa.Connection) -> list[str]:
    """Compute everything again from the movements; a sentence for each thing that does not add up."""
    problems = [
        f"{row.id} shows {row.balance}, and its movements make {row.moved}."
        for row in connection.execute(_RECOMPUTED)
        if row.balance != row.moved
    ]
    if total := connection.scalar(sa.select(sa.func.sum(ledger_accounts.c.balance))):
        problems.append(f"All balances together are {total}, and should be 0.")
    unknown = connection.execute(_UNKNOWN).scalars()
    problems += [f"Movements name {account}, which is no account." for account in unknown]
    problems += [
        f"{row.job} reserved {row.reserved}, and {row.ended} of it were charged or given back."
        for row in connection.execute(_UNEVEN)
    ]
    left = connection.execute(_LEFT).scalars()
    return [*problems, *(f"{job} has ended, and its credits are still reserved." for job in left)]


def balance_of(connection: sa.Connection, account: str) -> Balance:
    """What an account has; nothing for one that was never used."""
    mine = sa.select(ledger_accounts).where(ledger_accounts.c.owner == account)
    return Balance(**{row.bucket: row.balance for row in connection.execute(mine)})


def movements_of(connection: sa.Connection, account: str, limit: int, before: int | None = None) -> Sequence[Movement]:
    """The newest movements of an account, the newest first.

    Args:
        before: Only those older than the movement of this `seq`.
    """
    mine = [account_id(account, bucket) for bucket in CUSTOMER]
    query = sa.select(transfers).where(transfers.c.debit.in_(mine) | transfers.c.credit.in_(mine))
    if before is not None:
        query = query.where(transfers.c.seq < before)
    rows = connection.execute(query.order_by(transfers.c.seq.desc()).limit(limit)).mappings()
    return [Movement(**row) for row in rows]


def _charges(connection: sa.Connection, held: Mapping[str, Sequence[Any]]) -> dict[str, int]:
    """What each job has to pay: its price an item for every item that succeeded, never more than is reserved."""
    query = sa.select(jobs.c.id, jobs.c.result, jobs.c.request["credits"].as_integer().label("each"))
    found = {row.id: row for row in connection.execute(query.where(jobs.c.id.in_(list(held))))}
    charged = {}
    for job_id, parts in held.items():
        row = found.get(job_id)
        items = row.result["items"] if row is not None and row.result else []
        paid = sum(item["error"] is None and not item["cached"] for item in items)
        each = row.each or 0 if row is not None else 0
        charged[job_id] = min(paid * each, sum(part.amount for part in parts))
    return charged


def _ends(parts: Sequence[Any], charge: int, now: float) -> Iterable[Movement]:
    """The end of one reservation: the first parts are spent, the others go back to where they came from."""
    for part in parts:
        paid = min(part.amount, charge)
        charge -= paid
        bucket, owner = part.debit.split(":", 1)
        if paid:
            spent = account_id(owner, "spent")
            yield Movement(f"{part.job}:settle:{bucket}", part.credit, spent, paid, "settle", now, part.job)
        if rest := part.amount - paid:
            yield Movement(f"{part.job}:release:{bucket}", part.credit, part.debit, rest, "release", now, part.job)


def _locked(connection: sa.Connection, owners: Iterable[str]) -> Sequence[Any]:
    """The customers' accounts of these owners; nobody else moves their credits until the transaction ends."""
    return connection.execute(_LOCK, {"owners": sorted(owners)}).all()


def _post(connection: sa.Connection, movements: Sequence[Movement]) -> list[Movement]:
    """Record movements and change the balances; those recorded before are left out. The new ones."""
    made = []
    for move in movements:
        values = {column: getattr(move, column) for column in _COLUMNS}
        if connection.execute(_once(connection, transfers).returning(transfers.c.id), values).first() is None:
            continue
        moved = {"giver": move.debit, "taker": move.credit, "amount": move.amount}
        if connection.execute(_GIVE, moved).rowcount != 1 or connection.execute(_TAKE, moved).rowcount != 1:
            raise DarkroomError(
                "The credits ledger does not add up. `darkroom credits verify` says where.", code="LEDGER_DAMAGED"
            )
        made.append(move)
    return made


def _once(connection: sa.Connection, table: sa.Table) -> Any:
    """An INSERT that leaves a row alone whose id is there; both databases know it, each under its own name."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=["id"])


def _insufficient(total: int, amount: int) -> InsufficientCredits:
    return InsufficientCredits(
        f"This costs {amount:,} credits, and the account has {total:,}. Run fewer images or cheaper steps, or ask who "
        "runs this server for credits. Nothing was queued.",
        balance=total,
        price=amount,
    )


_COLUMNS = ("id", "debit", "credit", "amount", "kind", "job", "note", "created_at")
# SQLite has one writer at a time and leaves FOR UPDATE out; the fixed order keeps others from locking crosswise.
_LOCK = (
    sa.select(ledger_accounts)
    .where(ledger_accounts.c.owner.in_(sa.bindparam("owners", expanding=True)))
    .order_by(ledger_accounts.c.id)
    .with_for_update()
)
_OF_JOBS = (
    sa.select(transfers).where(transfers.c.job.in_(sa.bindparam("jobs", expanding=True))).order_by(transfers.c.seq)
)
_GIVE = (
    ledger_accounts.update()
    .where(
        ledger_accounts.c.id == sa.bindparam("giver"),
        ledger_accounts.c.owner.is_(None) | (ledger_accounts.c.balance >= sa.bindparam("amount")),
    )
    .values(balance=ledger_accounts.c.balance - sa.bindparam("amount"))
)
_TAKE = (
    ledger_accounts.update()
    .where(ledger_accounts.c.id == sa.bindparam("taker"))
    .values(balance=ledger_accounts.c.balance + sa.bindparam("amount"))
)
_INTO, _OUT_OF = (
    sa.select(side.label("account"), sa.func.sum(sign * transfers.c.amount).label("moved")).group_by(side)
    for side, sign in ((transfers.c.credit, 1), (transfers.c.debit, -1))
)
_SIDES = sa.union_all(_INTO, _OUT_OF).subquery()
_RECOMPUTED = (
    sa.select(
        ledger_accounts.c.id,
        ledger_accounts.c.balance,
        sa.func.coalesce(sa.func.sum(_SIDES.c.moved), 0).label("moved"),
    )
    .outerjoin(_SIDES, _SIDES.c.account == ledger_accounts.c.id)
    .group_by(ledger_accounts.c.id, ledger_accounts.c.balance)
    .order_by(ledger_accounts.c.id)
)
_UNKNOWN = (
    sa.select(_SIDES.c.account)
    .distinct()
    .where(_SIDES.c.account.not_in(sa.select(ledger_accounts.c.id)))
    .order_by(_SIDES.c.account)
)
_RESERVED_SUM = sa.func.sum(sa.case((transfers.c.kind == "reserve", transfers.c.amount), else_=0))
_ENDED_SUM = sa.func.sum(sa.case((transfers.c.kind.in_(("settle", "release")), transfers.c.amount), else_=0))
_OF_EACH_JOB = (
    sa.select(transfers.c.job, _RESERVED_SUM.label("reserved"), _ENDED_SUM.label("ended"))
    .where(transfers.c.job.is_not(None))
    .group_by(transfers.c.job)
    .order_by(transfers.c.job)
)
_UNEVEN = _OF_EACH_JOB.having(_ENDED_SUM != 0, _ENDED_SUM != _RESERVED_SUM)
_OPEN = sa.exists().where(jobs.c.id == transfers.c.job, jobs.c.finished_at.is_(None))
_LEFT = _OF_EACH_JOB.with_only_columns(transfers.c.job).where(~_OPEN).having(_ENDED_SUM == 0)
_CHARGED = jobs.update().where(jobs.c.id == sa.bindparam("which")).values(credits=sa.bindparam("amount"))
