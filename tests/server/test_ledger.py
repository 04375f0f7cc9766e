"""The credits ledger over a connection: double entry, buckets, and what becomes of a reservation."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy.pool import StaticPool

from darkroom.accounts import ledger
from darkroom.accounts.ledger import Balance
from darkroom.errors import InsufficientCredits
from darkroom.store.schema import jobs, ledger_accounts, metadata, transfers
from darkroom_tools.errors import InvalidSettings

NOW = 1000.0
ENTERED: dict[str, Any] = {"owner": "ann", "tool": "resize", "fingerprint": "f", "created_at": NOW}


def memory() -> sa.Engine:
    engine = sa.create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    return engine


@pytest.fixture
def connection() -> Iterator[sa.Connection]:
    engine = memory()
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def have(connection: sa.Connection, owner: str = "ann", **buckets: int) -> None:
    ledger.open_account(connection, owner, 0, NOW)
    for bucket, amount in buckets.items():
        ledger.grant(connection, owner, bucket, amount, NOW, key=f"{owner}-{bucket}")  # type: ignore[arg-type]


def start(connection: sa.Connection, job_id: str, amount: int, *, each: int = 1, owner: str = "ann") -> None:
    """A job as it is accepted: its row and its reservation."""
    row = {"id": job_id, "state": "queued", "request": {"credits": each}, "credits": amount}
    connection.execute(jobs.insert().values(**ENTERED, **row))
    ledger.reserve(connection, owner, job_id, amount, NOW)


def items(done: int, failed: int = 0, known: int = 0) -> list[dict[str, Any]]:
    one = {"error": None, "cached": False}
    return [one] * done + [{"error": {"code": "NO_FACE"}, "cached": False}] * failed + [{**one, "cached": True}] * known


def end(connection: sa.Connection, job_id: str, result: Sequence[dict[str, Any]] | None) -> int | None:
    """The end of a job in one transaction; what it was charged now, None if nothing was to do."""
    values = {"state": "succeeded", "finished_at": NOW, "result": {"items": result} if result is not None else None}
    connection.execute(jobs.update().where(jobs.c.id == job_id).values(**values))
    return ledger.settle(connection, [job_id], NOW).get(job_id)


def rows(connection: sa.Connection) -> list[Any]:
    return list(connection.execute(sa.select(transfers).order_by(transfers.c.seq)))


def test_an_account_gets_its_free_credits_once(connection: sa.Connection) -> None:
    ledger.open_account(connection, "ann", 20, NOW)
    ledger.open_account(connection, "ann", 500, NOW)
    assert ledger.balance_of(connection, "ann") == Balance(free=20)
    assert ledger.balance_of(connection, "ben") == Balance()


def test_free_credits_are_spent_first_then_purchased_then_refunded_ones(connection: sa.Connection) -> None:
    have(connection, free=2, purchased=3, refund=4)
    start(connection, "job_a", 6)
    assert ledger.balance_of(connection, "ann") == Balance(free=0, purchased=0, refund=3, reserved=6)


def test_a_release_gives_back_to_the_very_buckets_that_a_reservation_took_from(connection: sa.Connection) -> None:
    have(connection, free=2, purchased=3, refund=4)
    start(connection, "job_a", 6)
    assert end(connection, "job_a", None) == 0
    assert ledger.balance_of(connection, "ann") == Balance(free=2, purchased=3, refund=4)


def test_a_partial_batch_pays_for_what_it_got(connection: sa.Connection) -> None:
    have(connection, free=4, purchased=10)
    start(connection, "job_a", 8, each=2)
    assert end(connection, "job_a", items(done=3, failed=1)) == 6
    assert ledger.balance_of(connection, "ann") == Balance(free=0, purchased=8)
    assert connection.scalar(sa.select(jobs.c.credits)) == 6


def test_what_the_library_knew_is_free(connection: sa.Connection) -> None:
    have(connection, free=4)
    start(connection, "job_a", 2, each=2)
    assert end(connection, "job_a", items(done=0, failed=1, known=7)) == 0
    assert ledger.balance_of(connection, "ann").free == 4


def test_a_job_is_never_charged_more_than_was_reserved(connection: sa.Connection) -> None:
    have(connection, free=10)
    start(connection, "job_a", 2, each=2)
    assert end(connection, "job_a", items(done=3)) == 2


def test_one_transaction_ends_the_jobs_of_several_owners(connection: sa.Connection) -> None:
    have(connection, "ann", free=3)
    have(connection, "ben", purchased=3)
    start(connection, "job_a", 1)
    start(connection, "job_b", 2, owner="ben")
    done = jobs.update().values(finished_at=NOW, result={"items": items(done=1)})
    connection.execute(done)
    assert ledger.settle(connection, ["job_a", "job_b", "job_c"], NOW) == {"job_a": 1, "job_b": 1}
    assert ledger.balance_of(connection, "ann") == Balance(free=2)
    assert ledger.balance_of(connection, "ben") == Balance(purchased=2)


def test_who_cannot_pay_hears_price_and_balance_and_loses_nothing(connection: sa.Connection) -> None:
    have(connection, free=1, purchased=1)
    with pytest.raises(InsufficientCredits, match="costs 3 credits, and the account has 2") as caught:
        ledger.reserve(connection, "ann", "job_a", 3, NOW)
    assert (caught.value.code, caught.value.status) == ("INSUFFICIENT_CREDITS", 402)
    assert caught.value.details == {"balance": 2, "price": 3}
    assert ledger.balance_of(connection, "ann") == Balance(free=1, purchased=1)
    with pytest.raises(InsufficientCredits):
        ledger.reserve(connection, "nobody", "job_a", 1, NOW)


def test_every_repeat_is_harmless(connection: sa.Connection) -> None:
    have(connection, free=5)
    assert not ledger.grant(connection, "ann", "free", 5, NOW, key="ann-free")
    start(connection, "job_a", 2)
    ledger.reserve(connection, "ann", "job_a", 2, NOW)
    assert end(connection, "job_a", items(done=1, failed=1)) == 1
    before = rows(connection)
    assert end(connection, "job_a", items(done=2)) is None
    ledger.reserve(connection, "ann", "job_a", 2, NOW)
    assert rows(connection) == before
    assert [ledger.refund(connection, "ann", "job_a", NOW) for _ in range(3)] == [1, 0, 0]
    assert ledger.balance_of(connection, "ann") == Balance(free=4, refund=1)


def test_a_refund_is_a_new_movement_into_the_bucket_of_refunds(connection: sa.Connection) -> None:
    have(connection, free=2, purchased=4)
    start(connection, "job_a", 5, each=5)
    end(connection, "job_a", items(done=1))
    before = rows(connection)
    assert ledger.refund(connection, "ann", "job_a", NOW, "The colours were wrong") == 5
    assert rows(connection)[:-1] == before
    assert ledger.balance_of(connection, "ann") == Balance(purchased=1, refund=5)
    last = ledger.movements_of(connection, "ann", 1)[0]
    assert (last.kind, last.amount, last.job, last.note) == ("refund", 5, "job_a", "The colours were wrong")


def test_nobody_gets_back_what_another_paid(connection: sa.Connection) -> None:
    have(connection, "ann", free=2)
    have(connection, "ben", free=2)
    start(connection, "job_a", 2)
    end(connection, "job_a", items(done=2))
    assert ledger.refund(connection, "ben", "job_a", NOW) == 0
    assert ledger.refund(connection, "ann", "job_of_nobody", NOW) == 0


def test_movements_come_newest_first_and_page_by_page_of_one_account_alone(connection: sa.Connection) -> None:
    have(connection, "ann", free=2)
    have(connection, "ben", free=9)
    start(connection, "job_a", 2)
    end(connection, "job_a", items(done=1))
    found = ledger.movements_of(connection, "ann", 2)
    assert [move.kind for move in found] == ["release", "settle"]
    assert [move.kind for move in ledger.movements_of(connection, "ann", 9, before=found[-1].seq)] == [
        "reserve",
        "grant",
    ]


def test_the_database_itself_refuses_a_debt_and_a_movement_of_nothing(connection: sa.Connection) -> None:
    have(connection, free=2)
    with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
        connection.execute(ledger_accounts.update().where(ledger_accounts.c.id == "free:ann").values(balance=-1))
    row = {"id": "x", "debit": "free:ann", "credit": "spent:ann", "kind": "settle", "created_at": NOW}
    with pytest.raises(sa.exc.IntegrityError), connection.begin_nested():
        connection.execute(transfers.insert().values(**row, amount=0))
    with pytest.raises(InvalidSettings, match="but got 0"):
        ledger.grant(connection, "ann", "free", 0, NOW, key="k")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            ledger_accounts.update().where(ledger_accounts.c.id == "free:ann").values(balance=5),
            ["free:ann shows 5, and its movements make 1.", "All balances together are 4, and should be 0."],
        ),
        (
            ledger_accounts.delete().where(ledger_accounts.c.id == "spent:ann"),
            ["All balances together are -1, and should be 0.", "Movements name spent:ann, which is no account."],
        ),
        (
            transfers.insert().values(
                id="x",
                debit="free:ann",
                credit="free:ann",
                amount=9,
                kind="release",
                job="job_a",
                created_at=NOW,
            ),
            ["job_a reserved 1, and 10 of it were charged or given back."],
        ),
        (
            jobs.update().where(jobs.c.id == "job_b").values(finished_at=NOW),
            ["job_b has ended, and its credits are still reserved."],
        ),
    ],
)
def test_verify_finds_what_does_not_add_up(connection: sa.Connection, damage: sa.UpdateBase, said: list[str]) -> None:
    have(connection, free=3)
    start(connection, "job_a", 1)
    end(connection, "job_a", items(done=1))
    start(connection, "job_b", 1)
    assert ledger.verify(connection) == []
    connection.execute(damage)
    assert ledger.verify(connection) == said


class Books(RuleBasedStateMachine):
    """Any order of grants, reservations, ends, refunds and repeats, against plain arithmetic."""

    owners = st.sampled_from(["ann", "ben"])
    job_numbers = st.integers(0, 5)

    engine = memory()

    @initialize()
    def open(self) -> None:
        self.connection = self.engine.connect()
        self.total = {"ann": 0, "ben": 0}
        self.reserved: dict[str, int] = {}
        self.charged: dict[str, int] = {}
        self.refunded: set[str] = set()
        self.keys: set[str] = set()
        for owner in self.total:
            ledger.open_account(self.connection, owner, 3, NOW)
            self.total[owner] = 3

    @staticmethod
    def owner(job: str) -> str:
        return "ann" if int(job[-1]) % 2 else "ben"

    @rule(owner=owners, bucket=st.sampled_from(ledger.BUCKETS), amount=st.integers(1, 9), key=st.integers(0, 9))
    def grant(self, owner: str, bucket: ledger.Bucket, amount: int, key: int) -> None:
        name = f"{owner}{key}"
        made = ledger.grant(self.connection, owner, bucket, amount, NOW, key=name)
        assert made == (name not in self.keys)
        self.keys.add(name)
        self.total[owner] += amount * made

    @rule(number=job_numbers, amount=st.integers(1, 12), each=st.integers(1, 4))
    def accept(self, number: int, amount: int, each: int) -> None:
        job = f"job_{number}"
        owner = self.owner(job)
        if job not in self.reserved and job not in self.charged:
            if amount <= self.total[owner]:
                start(self.connection, job, amount, each=each, owner=owner)
                self.total[owner] -= amount
                self.reserved[job] = amount
            else:
                with pytest.raises(InsufficientCredits):
                    ledger.reserve(self.connection, owner, job, amount, NOW)
        else:
            ledger.reserve(self.connection, owner, job, amount, NOW)

    @rule(number=job_numbers, done=st.integers(0, 4), failed=st.integers(0, 2), cut_off=st.booleans())
    def finish(self, number: int, done: int, failed: int, cut_off: bool) -> None:
        job = f"job_{number}"
        if job not in self.reserved:
            assert ledger.settle(self.connection, [job], NOW) == {}
            return
        held = self.reserved.pop(job)
        each = self.connection.scalar(sa.select(jobs.c.request["credits"].as_integer()).where(jobs.c.id == job))
        charge = end(self.connection, job, None if cut_off else items(done, failed))
        self.charged[job] = 0 if cut_off else min(done * each, held)
        assert (charge or 0) == self.charged[job]
        self.total[self.owner(job)] += held - self.charged[job]

    @rule(number=job_numbers)
    def refund(self, number: int) -> None:
        job = f"job_{number}"
        due = 0 if job in self.refunded else self.charged.get(job, 0)
        assert ledger.refund(self.connection, self.owner(job), job, NOW) == due
        self.total[self.owner(job)] += due
        if due:
            self.refunded.add(job)

    @invariant()
    def the_books_add_up(self) -> None:
        assert ledger.verify(self.connection) == []
        for owner, total in self.total.items():
            balance = ledger.balance_of(self.connection, owner)
            mine = sum(amount for job, amount in self.reserved.items() if self.owner(job) == owner)
            assert (balance.total, balance.reserved) == (total, mine)
            assert min(balance.free, balance.purchased, balance.refund, balance.reserved) >= 0

    def teardown(self) -> None:
        self.connection.rollback()
        self.connection.close()


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
