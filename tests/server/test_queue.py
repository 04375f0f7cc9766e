"""The lease queue: order, limits, fencing; and that no sequence of events loses a job or ends it twice."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from sqlalchemy.pool import StaticPool

from darkroom.errors import NotFound, Overloaded
from darkroom.store import queue
from darkroom.store.queue import Claim, End, QueueLimits
from darkroom.store.schema import job_blobs, job_items, jobs, metadata

LIMITS = QueueLimits()


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


def add(
    connection: sa.Connection,
    job_id: str,
    owner: str = "ann",
    *,
    limits: QueueLimits = LIMITS,
    needs: Sequence[str] = (),
    items: int = 1,
    **columns: Any,
) -> None:
    row = {
        "id": job_id,
        "owner": owner,
        "tool": "resize",
        "request": {},
        "fingerprint": "f",
        "item_count": items,
        **columns,
    }
    queue.enqueue(connection, row, needs, 1000.0, limits)


def claim(
    connection: sa.Connection, count: int = 1, worker: str = "w1", now: float = 1000.0, limits: QueueLimits = LIMITS
) -> list[Claim]:
    return queue.claim(connection, worker, count, now, limits)


def row(connection: sa.Connection, job_id: str) -> Any:
    return connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).one()


def order(connection: sa.Connection) -> list[str]:
    taken = []
    while found := claim(connection):
        taken.append(found[0].id)
        queue.finish(connection, found[0], End("succeeded"), 1000.0)
    return taken


def test_one_owners_jobs_come_first_in_first_out(connection: sa.Connection) -> None:
    for job_id in "abc":
        add(connection, job_id)
    assert order(connection) == ["a", "b", "c"]


def test_open_jobs_of_all_owners_are_counted_by_state(connection: sa.Connection) -> None:
    assert queue.count_open(connection) == {"queued": 0, "running": 0}
    for job_id, owner in (("a", "ann"), ("b", "ben"), ("c", "ben"), ("d", "ann")):
        add(connection, job_id, owner)
    first, _ = claim(connection, 2)
    assert queue.count_open(connection) == {"queued": 2, "running": 2}
    queue.finish(connection, first, End("succeeded"), 1000.0)
    assert queue.count_open(connection) == {"queued": 2, "running": 1}


def test_a_claim_of_many_comes_in_the_same_order(connection: sa.Connection) -> None:
    for job_id, priority in (("a", 0), ("b", 1), ("c", 0), ("d", 1)):
        add(connection, job_id, priority=priority)
    assert [job.id for job in claim(connection, 3)] == ["b", "d", "a"]


def test_a_step_of_priority_is_a_head_start_of_ten_images(connection: sa.Connection) -> None:
    for n in range(12):
        add(connection, f"a{n:02}", "ann")
    add(connection, "late", "ann", priority=-1)
    add(connection, "soon", "ben", priority=1)
    add(connection, "next", "ann", priority=1)
    assert order(connection)[:6] == ["soon", "a00", "a01", "a02", "a03", "next"]
    assert row(connection, "late").state == "succeeded"


def test_an_owner_with_only_urgent_jobs_cannot_make_another_wait_forever(connection: sa.Connection) -> None:
    limits = QueueLimits(owner_running=100)
    add(connection, "patient", "ben", priority=0)
    for n in range(5):
        add(connection, f"urgent{n:04}", "ann", priority=10, limits=limits)
    taken: list[str] = []
    while "patient" not in taken:
        [job] = claim(connection, limits=limits)
        taken.append(job.id)
        add(connection, f"urgent{len(taken) + 4:04}", "ann", priority=10, limits=limits)
        queue.finish(connection, job, End("succeeded"), 1000.0)
    assert 90 <= len(taken) <= 110


def test_a_waiting_job_fails_at_its_deadline_and_is_never_claimed_after_it(connection: sa.Connection) -> None:
    add(connection, "a", deadline_at=1010.0, needs=["0" * 64])
    add(connection, "b")
    add(connection, "c", deadline_at=1020.0)
    ended: list[str] = []
    assert queue.next_deadline(connection) == 1010.0
    assert queue.expire(connection, 1009.9, lambda _, ids: ended.extend(ids)) == ended == []
    assert [job.id for job in claim(connection, 3, now=1010.0)] == ["b", "c"]
    assert queue.expire(connection, 1010.0, lambda _, ids: ended.extend(ids)) == ended == ["a"]
    assert (row(connection, "a").state, row(connection, "a").error["code"]) == ("failed", "DEADLINE_EXCEEDED")
    assert connection.execute(sa.select(job_blobs)).all() == []
    assert queue.expire(connection, 1010.0) == []
    assert queue.next_deadline(connection) is None


def test_a_dead_workers_job_is_not_tried_again_after_its_deadline(connection: sa.Connection) -> None:
    for job_id, deadline in (("late", 1010.0), ("early", 1100.0)):
        add(connection, job_id, deadline_at=deadline)
    assert [job.deadline_at for job in claim(connection, 2)] == [1010.0, 1100.0]
    reaped = queue.reap(connection, 1050.0, LIMITS)
    assert (reaped.failed, reaped.queued) == (["late"], ["early"])
    assert row(connection, "late").error["code"] == "DEADLINE_EXCEEDED"


def test_owners_take_turns_whoever_came_first_with_however_many(connection: sa.Connection) -> None:
    for job_id in ("a1", "a2", "a3", "a4"):
        add(connection, job_id, "ann")
    for job_id in ("b1", "b2"):
        add(connection, job_id, "ben")
    assert order(connection) == ["a1", "b1", "a2", "b2", "a3", "a4"]


def test_a_newcomer_waits_for_what_runs_and_not_for_what_piled_up(connection: sa.Connection) -> None:
    for n in range(50):
        add(connection, f"a{n:02}", "ann")
    for _ in range(5):
        queue.finish(connection, claim(connection)[0], End("succeeded"), 1000.0)
    running = claim(connection)
    add(connection, "b", "ben")
    assert running[0].id == "a05"
    assert [job.id for job in claim(connection, 2)] == ["a06", "b"]


def test_a_large_batch_counts_as_many_turns(connection: sa.Connection) -> None:
    add(connection, "batch", "ann", items=100)
    add(connection, "a", "ann")
    for n in range(3):
        add(connection, f"b{n}", "ben")
    assert order(connection) == ["b0", "b1", "b2", "batch", "a"]


def test_no_owner_runs_more_than_the_limit_also_within_one_claim(connection: sa.Connection) -> None:
    limits = QueueLimits(owner_running=2)
    for n in range(4):
        add(connection, f"a{n}", "ann")
    add(connection, "b", "ben")
    first = claim(connection, 10, limits=limits)
    assert [job.id for job in first] == ["a0", "b", "a1"]
    assert claim(connection, 10, limits=limits) == []
    queue.finish(connection, first[0], End("succeeded"), 1000.0)
    assert [job.id for job in claim(connection, 10, limits=limits)] == ["a2"]


def test_a_full_queue_refuses_at_once_and_says_when_to_try_again(connection: sa.Connection) -> None:
    limits = QueueLimits(queued=2)
    add(connection, "a", "ann", limits=limits)
    add(connection, "b", "ben", limits=limits)
    with pytest.raises(Overloaded, match="2 jobs wait") as caught:
        add(connection, "c", "cem", limits=limits)
    assert caught.value.code == "OVERLOADED"
    assert caught.value.details["retryAfter"] > 0
    claim(connection)
    add(connection, "c", "cem", limits=limits)


def test_one_owner_cannot_fill_the_queue_for_the_others(connection: sa.Connection) -> None:
    limits = QueueLimits(owner_queued=1)
    add(connection, "a", "ann", limits=limits)
    with pytest.raises(Overloaded) as caught:
        add(connection, "a2", "ann", limits=limits)
    assert caught.value.code == "RATE_LIMITED"
    add(connection, "b", "ben", limits=limits)


def test_a_worker_that_lost_its_lease_cannot_finish(connection: sa.Connection) -> None:
    add(connection, "a")
    [late] = claim(connection, worker="w1", now=1000.0)
    assert queue.reap(connection, 1030.5, LIMITS).queued == ["a"]
    [again] = claim(connection, worker="w1", now=1031.0)
    assert (late.attempt, again.attempt) == (1, 2)
    assert not queue.checkpoint(connection, late, 0, lambda: pytest.fail("recorded for a job that is not ours"))
    assert queue.heartbeat(connection, [(late, 0.9, "")], 1031.0, LIMITS) == (set(), {"a"})
    assert not queue.finish(connection, late, End("failed"), 1032.0)
    assert row(connection, "a").progress == 0
    assert queue.finish(connection, again, End("succeeded"), 1032.0)
    assert not queue.finish(connection, again, End("failed"), 1033.0)
    assert row(connection, "a").state == "succeeded"


def test_a_heartbeat_keeps_the_lease_and_saves_the_progress(connection: sa.Connection) -> None:
    add(connection, "a")
    [job] = claim(connection, now=1000.0)
    assert queue.heartbeat(connection, [(job, 0.4, "Encoding" * 40)], 1020.0, LIMITS) == (set(), set())
    assert queue.reap(connection, 1049.0, LIMITS).queued == []
    assert (row(connection, "a").progress, len(row(connection, "a").message)) == (0.4, 200)
    assert queue.reap(connection, 1050.5, LIMITS).queued == ["a"]


def test_when_nobody_else_can_be_alive_leases_need_not_expire(connection: sa.Connection) -> None:
    add(connection, "a")
    claim(connection, now=1000.0)
    assert queue.reap(connection, 1000.0, LIMITS, alone=True).queued == ["a"]


def test_a_job_that_kills_its_workers_is_given_up_after_three_attempts(connection: sa.Connection) -> None:
    add(connection, "a", needs=["0" * 64])
    for attempt in (1, 2, 3):
        [job] = claim(connection)
        assert job.attempt == attempt
        reaped = queue.reap(connection, 1000.0, LIMITS, alone=True)
    assert (reaped.queued, reaped.failed) == ([], ["a"])
    assert row(connection, "a").state == "failed"
    assert row(connection, "a").error["code"] == "INTERRUPTED"
    assert connection.execute(sa.select(job_blobs)).all() == []


def test_a_stopping_worker_gives_jobs_back_without_an_attempt_lost(connection: sa.Connection) -> None:
    for job_id in "ab":
        add(connection, job_id)
    claim(connection, worker="w1")
    claim(connection, worker="w2")
    queue.release(connection, "w1")
    assert (row(connection, "a").state, row(connection, "a").attempt) == ("queued", 0)
    assert row(connection, "b").state == "running"


def test_cancelling_ends_a_waiting_job_and_asks_a_running_one(connection: sa.Connection) -> None:
    for job_id in "ab":
        add(connection, job_id)
    [running] = claim(connection)
    assert queue.cancel(connection, "ann", "b", 1001.0)
    assert not queue.cancel(connection, "ann", "a", 1001.0)
    assert row(connection, "b").state == "canceled"
    assert queue.heartbeat(connection, [(running, 0.0, "")], 1001.0, LIMITS) == ({"a"}, set())
    assert queue.finish(connection, running, End("canceled"), 1002.0)
    assert not queue.cancel(connection, "ann", "a", 1003.0)
    assert row(connection, "a").finished_at == 1002.0


def test_a_cancelled_job_of_a_dead_worker_is_not_tried_again(connection: sa.Connection) -> None:
    add(connection, "a")
    claim(connection)
    queue.cancel(connection, "ann", "a", 1001.0)
    assert queue.reap(connection, 1000.0, LIMITS, alone=True).canceled == ["a"]


def test_nobody_cancels_anothers_job(connection: sa.Connection) -> None:
    add(connection, "a", "ann")
    with pytest.raises(NotFound):
        queue.cancel(connection, "ben", "a", 1001.0)
    with pytest.raises(NotFound):
        queue.cancel(connection, "ben", "no such job", 1001.0)
    assert row(connection, "a").state == "queued"


def test_what_a_job_needs_is_kept_until_it_ends(connection: sa.Connection) -> None:
    add(connection, "a", needs=["1" * 64, "1" * 64], items=2)
    [job] = claim(connection)
    assert queue.checkpoint(connection, job, 0, lambda: ({"made": 1}, None))
    assert row(connection, "a").done == 1
    assert len(connection.execute(sa.select(job_blobs)).all()) == 1
    assert len(connection.execute(sa.select(job_items)).all()) == 1
    queue.finish(connection, job, End("succeeded"), 1001.0)
    assert connection.execute(sa.select(job_blobs)).all() == connection.execute(sa.select(job_items)).all() == []


class QueueMachine(RuleBasedStateMachine):
    """Workers claim, work, die, come back late; owners cancel. The model knows what each job may be."""

    claims = Bundle("claims")

    @initialize()
    def start(self) -> None:
        self.engine = memory()
        self.connection = self.engine.connect()
        self.limits = QueueLimits(queued=6, owner_queued=4, owner_running=2, attempts=3, lease_seconds=30.0)
        self.now = 1000.0
        self.model: dict[str, dict[str, Any]] = {}

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.connection.close()
            self.engine.dispose()

    def those(self, state: str, owner: str | None = None) -> list[dict[str, Any]]:
        return [job for job in self.model.values() if job["state"] == state and owner in (None, job["owner"])]

    @rule(
        owner=st.sampled_from("xyz"),
        items=st.integers(1, 5),
        priority=st.integers(-1, 1),
        seconds=st.sampled_from([None, 20.0, 100.0]),
    )
    def enqueue(self, owner: str, items: int, priority: int, seconds: float | None) -> None:
        job_id = f"job{len(self.model)}"
        deadline = self.now + seconds if seconds else None
        full = len(self.those("queued")) >= 6 or len(self.those("queued", owner)) >= 4
        try:
            told = {"items": items, "priority": priority, "deadline_at": deadline}
            add(self.connection, job_id, owner, limits=self.limits, needs=[job_id], **told)
        except Overloaded:
            assert full
        else:
            assert not full
            self.model[job_id] = {
                "id": job_id, "owner": owner, "priority": priority, "state": "queued",
                "attempt": 0, "worker": None, "until": None, "asked": False, "ends": 0, "deadline": deadline,
            }  # fmt: skip

    @rule(target=claims, worker=st.sampled_from(["w1", "w2"]), count=st.integers(1, 4))
    def claim(self, worker: str, count: int) -> Any:
        taken = queue.claim(self.connection, worker, count, self.now, self.limits)
        room = {owner: 2 - len(self.those("running", owner)) for owner in "xyz"}
        timely = [job for job in self.those("queued") if not self.is_late(job)]
        eligible = sum(min(room[owner], sum(job["owner"] == owner for job in timely)) for owner in "xyz")
        assert len(taken) == min(count, eligible)
        for job in taken:
            known = self.model[job.id]
            assert known["state"] == "queued"
            known |= {"state": "running", "worker": worker, "until": self.now + 30, "attempt": known["attempt"] + 1}
            assert job.attempt == known["attempt"]
        for job in taken:
            left = [other for other in timely if other["state"] == "queued"]
            others = [other for other in left if len(self.those("running", other["owner"])) < 2]
            assert all(self.place(job.id) <= self.place(other["id"]) for other in others)
        return multiple(*taken)

    def is_late(self, job: dict[str, Any]) -> bool:
        return job["deadline"] is not None and job["deadline"] <= self.now

    def place(self, job_id: str) -> tuple[float, int]:
        found = row(self.connection, job_id)
        return found.turn - queue.HEAD_START * found.priority, found.seq

    def holds(self, job: Claim) -> bool:
        known = self.model[job.id]
        return (known["state"], known["worker"], known["attempt"]) == ("running", job.worker, job.attempt)

    @rule(job=consumes(claims), state=st.sampled_from(["succeeded", "failed", "canceled"]))
    def finish(self, job: Claim, state: str) -> None:
        held = self.holds(job)
        assert (queue.finish(self.connection, job, End(state), self.now) is not None) == held
        if held:
            self.end(job.id, state)

    @rule(job=claims)
    def finish_and_try_again_later(self, job: Claim) -> None:
        self.finish(job, "succeeded")

    @rule(job=claims)
    def heartbeat(self, job: Claim) -> None:
        held, known = self.holds(job), self.model[job.id]
        cancelled, lost = queue.heartbeat(self.connection, [(job, 0.5, "")], self.now, self.limits)
        assert lost == (set() if held else {job.id})
        assert cancelled == ({job.id} if held and known["asked"] else set())
        if held:
            known["until"] = self.now + 30

    @rule(seconds=st.floats(0.1, 40))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(alone=st.booleans())
    def reap(self, alone: bool) -> None:
        reaped = queue.reap(self.connection, self.now, self.limits, alone=alone)
        dead = [job for job in self.those("running") if alone or job["until"] < self.now]
        assert {job["id"] for job in dead} == {*reaped.queued, *reaped.failed, *reaped.canceled}
        for job in dead:
            if job["asked"]:
                self.end(job["id"], "canceled")
            elif self.is_late(job) or job["attempt"] >= 3:
                self.end(job["id"], "failed")
            else:
                job |= {"state": "queued", "worker": None, "until": None}

    @rule()
    def expire(self) -> None:
        late = [job["id"] for job in self.those("queued") if self.is_late(job)]
        assert sorted(queue.expire(self.connection, self.now)) == sorted(late)
        for job_id in late:
            self.end(job_id, "failed")

    @rule(worker=st.sampled_from(["w1", "w2"]))
    def a_worker_restarts_under_its_lock(self, worker: str) -> None:
        self.reap(alone=True)

    @rule(number=st.integers(0, 20))
    def cancel(self, number: int) -> None:
        job = self.model.get(f"job{number}")
        if job is None:
            return
        assert queue.cancel(self.connection, job["owner"], job["id"], self.now) == (job["state"] == "queued")
        if job["state"] == "queued":
            self.end(job["id"], "canceled")
        elif job["state"] == "running":
            job["asked"] = True

    def end(self, job_id: str, state: str) -> None:
        self.model[job_id] |= {"state": state, "worker": None, "until": None}
        self.model[job_id]["ends"] += 1

    @invariant()
    def the_table_says_what_the_model_says(self) -> None:
        if not hasattr(self, "connection"):
            return
        rows = {found.id: found for found in self.connection.execute(sa.select(jobs))}
        assert rows.keys() == self.model.keys()
        for job_id, job in self.model.items():
            found = rows[job_id]
            assert (found.state, found.attempt, found.lease_owner) == (job["state"], job["attempt"], job["worker"])
            assert job["ends"] <= 1
            assert (found.finished_at is not None) == bool(job["ends"])
        unfinished = {job_id for job_id, job in self.model.items() if not job["ends"]}
        assert set(self.connection.execute(sa.select(job_blobs.c.job)).scalars()) == unfinished
        assert all(len(self.those("running", owner)) <= 2 for owner in "xyz")


TestQueueMachine = QueueMachine.TestCase
