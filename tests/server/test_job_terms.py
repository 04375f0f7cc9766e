"""What a caller says about a job: priority, deadline, labels, key; and that every job ends exactly once, however it ends."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.jobs_room import PATIENCE, Room, measure, open_room, tint

from darkroom.errors import Conflict, Overloaded
from darkroom.jobs import accepting, recording, service
from darkroom.jobs.record import Job
from darkroom.jobs.terms import Terms, clean_labels
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import images, job_blobs, job_items, jobs
from darkroom_tools.errors import InvalidSettings, ProcessingFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Room]:
    """A room with one slot whose executor finishes nothing until the gate opens."""
    async with open_room(tmp_path, slots=1, gate=False) as opened:
        yield opened


async def accept(room: Room, name: str, terms: Terms, *, batch: Sequence[str] = (), **settings: Any) -> Job:
    value: Any = [room.picture(each) for each in batch] if batch else room.picture(name)
    each = "image" if batch else None
    return await room.jobs.accept(room.ann, tint, {"image": value, **settings}, each=each, terms=terms)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (Terms(priority=11), "priority is 11"),
        (Terms(priority=-11), "-10 to 10"),
        (Terms(deadline_seconds=0), "deadline is 0 seconds"),
        (Terms(deadline_seconds=float("nan")), "deadline"),
        (Terms(idempotency_key=""), "0 characters"),
        (Terms(idempotency_key="k" * 201), "201 characters"),
        (Terms(labels={f"n{n}": "v" for n in range(21)}), "21 labels"),
        (Terms(labels={"\u200b": "v"}), "name and a text"),
    ],
)
async def test_terms_out_of_range_are_refused_before_anything_is_stored(closed: Room, terms: Terms, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        await accept(closed, "a", terms)
    assert (await closed.rows(jobs), closed.stored()) == ([], set())


def test_labels_are_cleaned_of_what_hides_and_of_what_no_query_could_name() -> None:
    cleaned = clean_labels({' or"der\\\n': "47\u202e11", "rush": True, "n": 2.5, "long": "x" * 300})
    assert cleaned == {"order": "4711", "rush": "true", "n": "2.5", "long": "x" * 199 + "…"}
    with pytest.raises(InvalidSettings):
        clean_labels({"a": ["list"]})


async def test_urgent_jobs_overtake_those_that_wait(closed: Room) -> None:
    order: list[str] = []
    closed.executor.fail = lambda data: order.append(data.decode(errors="replace")[8:])
    accepted = [await accept(closed, "running", Terms())]
    for name, priority in (("plain", 0), ("idle", -1), ("urgent", 1)):
        accepted.append(await accept(closed, name, Terms(priority=priority)))
    closed.executor.gate.set()
    for job in accepted:
        await closed.done(job)
    assert order == ["running", "urgent", "plain", "idle"]


async def test_a_key_leaves_a_job_even_where_the_library_answers_and_replays_its_result(closed: Room) -> None:
    closed.executor.gate.set()
    first = await closed.done(await accept(closed, "a", Terms()))
    keyed = await accept(closed, "a", Terms(idempotency_key="k", labels={"order": "1"}))
    again = await accept(closed, "a", Terms(idempotency_key="k"))
    assert (keyed.state, keyed.id != first.id, again.id) == ("succeeded", True, keyed.id)
    assert again.result and first.result and again.result.images() == first.result.images()
    assert (await closed.jobs.get(closed.ann, keyed.id)).labels == {"order": "1"}
    with pytest.raises(Conflict, match="another call"):
        await accept(closed, "a", Terms(idempotency_key="k"), shade=5)
    assert len(closed.executor.runs) == 1


async def test_a_kept_call_is_a_job_that_began_and_ended_at_once(closed: Room) -> None:
    closed.executor.gate.set()
    await closed.done(await accept(closed, "a", Terms()))
    plain = await accept(closed, "a", Terms())
    kept = await accept(closed, "a", Terms(kept=True))
    assert (plain.stored, kept.stored) == (False, True)
    found = await closed.jobs.get(closed.ann, kept.id)
    assert (found.state, found.done, found.progress) == ("succeeded", 1, 1.0)
    assert found.created_at == found.started_at == found.finished_at


async def test_fifty_calls_with_one_key_at_once_are_one_job(closed: Room) -> None:
    calls = [accept(closed, "a", Terms(idempotency_key="k")) for _ in range(50)]
    assert len({job.id for job in await asyncio.gather(*calls)}) == 1
    closed.executor.gate.set()
    await closed.done((await closed.jobs.history.list(closed.ann)).jobs[0])
    assert (len(closed.executor.runs), len(await closed.rows(jobs))) == (1, 1)


async def test_a_waiting_job_fails_at_its_deadline_wherever_its_server_is(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        await accept(room, "running", Terms())
        late = await accept(room, "late", Terms(deadline_seconds=1000))
        waiter = asyncio.create_task(room.done(late))
        room.jobs._dispatcher._clock = lambda: time.time() + 1001
        await room.jobs._dispatcher.tick()
        ended = await waiter
        assert (ended.state, ended.error and ended.error["code"]) == ("failed", "DEADLINE_EXCEEDED")
        assert len(room.executor.runs) == 1


async def test_a_running_job_is_stopped_at_its_deadline(closed: Room) -> None:
    job = await accept(closed, "a", Terms(deadline_seconds=1000))
    await closed.executor.has_run(1)
    await closed.jobs._dispatcher.tick()
    assert (await closed.jobs.get(closed.ann, job.id)).state == "running"
    closed.jobs._dispatcher._clock = lambda: time.time() + 1001
    await closed.jobs._dispatcher.tick()
    ended = await closed.done(job)
    assert (ended.state, ended.error and ended.error["code"]) == ("failed", "DEADLINE_EXCEEDED")
    assert (closed.executor.stopped, await closed.rows(images)) == (1, [])


PLAIN = Terms()


async def half_done(room: Room, terms: Terms = PLAIN) -> Job:
    """A batch in one slot that has finished its first item and works on the second."""
    room.executor.fail = lambda data: room.executor.gate.clear()  # a run that ends closes the gate behind it
    room.executor.gate.set()
    job = await accept(room, "", terms, batch="abc")
    await room.executor.has_run(2)
    return job


async def test_a_batch_that_is_late_keeps_what_it_finished(closed: Room) -> None:
    job = await half_done(closed, Terms(deadline_seconds=1000))
    closed.jobs._dispatcher._clock = lambda: time.time() + 1001
    await closed.jobs._dispatcher.tick()
    ended = await closed.done(job)
    assert ended.result
    assert (ended.state, ended.done, ended.items) == ("failed", 1, 3)
    assert [item.error and item.error["code"] for item in ended.result.items] == [None, *["DEADLINE_EXCEEDED"] * 2]
    assert await closed.library.get(closed.ann, ended.result.images()[0])


async def test_a_deadline_counts_across_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "DRAIN_SECONDS", 0.01)
    async with open_room(tmp_path, slots=1, gate=False) as room:
        running, waiting = [await accept(room, name, Terms(deadline_seconds=1000)) for name in "ab"]
        await room.executor.has_run(1)
        await room.jobs.__aexit__()
        dead = {"state": "running", "lease_owner": "a dead worker", "lease_until": 0.0}
        taken = jobs.update().where(jobs.c.id == running.id).values(dead)
        await room.database.write(lambda c: c.execute(taken))
        await room.database.write(lambda c: c.execute(jobs.update().values(deadline_at=time.time() - 1)))
    async with open_room(tmp_path, alone=True) as room:
        for job in (running, waiting):
            ended = await room.jobs.get(room.ann, job.id)
            assert (ended.state, ended.error and ended.error["code"]) == ("failed", "DEADLINE_EXCEEDED")
        assert room.executor.runs == []
        assert await room.rows(job_blobs) == []


async def test_a_batch_under_way_shows_its_finished_items_with_handles_that_work(closed: Room) -> None:
    job = await half_done(closed)
    seen = await closed.jobs.get(closed.ann, job.id)
    assert (seen.state, seen.done, list(seen.parts)) == ("running", 1, [0])
    [handle] = seen.parts[0].images
    assert (await closed.library.get(closed.ann, handle)).name == "a-tint.png"
    assert closed.blobs.exists((await closed.library.get(closed.ann, handle)).sha256)
    closed.executor.fail = lambda data: None
    closed.executor.gate.set()
    ended = await closed.done(job)
    assert ended.result and ended.result.items[0].images == [handle]
    assert Counter(row.tool for row in await closed.rows(images)) == {None: 3, "tint": 3}


async def test_an_item_that_was_recorded_in_the_moment_of_its_cancellation_is_there_once(
    closed: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, go_on = asyncio.Event(), asyncio.Event()
    write = closed.database.write

    async def held(work: Callable[[sa.Connection], Any]) -> Any:
        answer = await write(work)
        if await closed.rows(job_items) and not written.is_set():
            written.set()
            await go_on.wait()
        return answer

    monkeypatch.setattr(closed.database, "write", held)
    closed.executor.gate.set()
    job = await accept(closed, "", Terms(), batch="abc")
    async with asyncio.timeout(PATIENCE):
        await written.wait()
    ended = await closed.jobs.cancel(closed.ann, job.id)
    assert ended.result
    assert [bool(item.images) for item in ended.result.items] == [True, False, False]
    assert Counter(row.tool for row in await closed.rows(images)) == {None: 1, "tint": 1}


async def test_a_job_that_waits_elsewhere_lends_its_slot_and_gets_one_again(closed: Room) -> None:
    executor, away_now, back = closed.executor, asyncio.Event(), asyncio.Event()
    run = executor.run

    async def waiting_elsewhere(*args: Any, away: Any, **more: Any) -> Any:
        if not away_now.is_set():
            async with away():
                away_now.set()
                await back.wait()
        return await run(*args, **more)

    executor.run = waiting_elsewhere
    executor.gate.set()
    first = await closed.tint("elsewhere")
    async with asyncio.timeout(PATIENCE):
        await away_now.wait()
        assert (await closed.done(await closed.tint("here"))).state == "succeeded"
    assert (await closed.jobs.get(closed.ann, first.id)).state == "running"
    back.set()
    assert (await closed.done(first)).state == "succeeded"
    assert (executor.most, closed.jobs._dispatcher.slots._value) == (1, 1)


@pytest.mark.parametrize("batch", [(), "abc"])
async def test_a_job_cancelled_while_its_slot_is_lent_takes_none_away(closed: Room, batch: Sequence[str]) -> None:
    started = asyncio.Event()

    async def for_ever(*_: Any, away: Any, **__: Any) -> Any:
        async with away():
            started.set()
            await asyncio.Event().wait()

    run, closed.executor.run = closed.executor.run, for_ever
    job = await accept(closed, "a", Terms(), batch=batch)
    async with asyncio.timeout(PATIENCE):
        await started.wait()
        assert (await closed.jobs.cancel(closed.ann, job.id)).state == "canceled"
        closed.executor.run = run
        closed.executor.gate.set()
        assert (await closed.done(await closed.tint("next"))).state == "succeeded"
        while closed.jobs.busy:
            await asyncio.sleep(0)
    assert closed.jobs._dispatcher.slots._value == 1


async def test_items_of_a_batch_wait_elsewhere_side_by_side(closed: Room) -> None:
    waiting, all_there = 0, asyncio.Event()
    run = closed.executor.run

    async def elsewhere(*args: Any, away: Any, **more: Any) -> Any:
        nonlocal waiting
        async with away():
            waiting += 1
            if waiting == 5:
                all_there.set()
            await all_there.wait()
        return await run(*args, **more)

    closed.executor.run = elsewhere
    closed.executor.gate.set()
    job = await accept(closed, "", Terms(), batch="abcde")
    ended = await closed.done(job)
    assert (ended.state, ended.done, closed.executor.most) == ("succeeded", 5, 1)


Counted = Counter[str]


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """How often each job passed the place where its end is settled."""
    counted: Counted = Counter()

    def count(connection: sa.Connection, job_ids: Sequence[str], now: float) -> Mapping[str, int]:
        states = connection.execute(sa.select(jobs.c.finished_at, jobs.c.state).where(jobs.c.id.in_(job_ids))).all()
        assert all(row.finished_at is not None and row.state in ("succeeded", "failed", "canceled") for row in states)
        assert len(states) == len(job_ids)
        counted.update(job_ids)
        return {}

    for module in (accepting, recording):
        monkeypatch.setattr(module, "ended", count)
    return counted


@asynccontextmanager
async def left_by_a_dead_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **values: Any
) -> AsyncIterator[tuple[Room, Job]]:
    with monkeypatch.context() as short:
        short.setattr(service, "DRAIN_SECONDS", 0.01)
        async with open_room(folder, slots=1, gate=False) as room:
            job = await half_done(room)
            await room.jobs.__aexit__()
            dead = {"state": "running", "lease_owner": "a dead worker", "lease_until": 0.0, **values}
            await room.database.write(lambda c: c.execute(jobs.update().values(dead)))
    async with open_room(folder, alone=True) as room:
        yield room, job


async def test_every_way_to_end_passes_the_settlement_exactly_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Counted
) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        done = [await room.tint("done"), await accept(room, "", Terms(), batch="xy")]
        cancelled_waiting = await room.tint("cancelled waiting")
        await room.jobs.cancel(room.ann, cancelled_waiting.id)
        late = await accept(room, "late", Terms(deadline_seconds=1000))
        room.jobs._dispatcher._clock = lambda: time.time() + 1001
        await room.jobs._dispatcher.tick()
        room.jobs._dispatcher._clock = time.time
        room.executor.gate.set()
        done = [await room.done(job) for job in done]
        kept = await accept(room, "done", Terms(kept=True))
        answered = await accept(room, "done", Terms())
        room.executor.fail = lambda data: ProcessingFailed("Broken.")
        failed = await room.done(await room.tint("failed"))
        room.executor.gate.clear()
        running = await room.tint("cancelled running")
        await room.executor.has_run(5)
        await room.jobs.cancel(room.ann, running.id)
        await room.jobs.cancel(room.ann, running.id)
        stopped = await accept(room, "stopped", Terms(deadline_seconds=1000))
        await room.executor.has_run(6)
        room.jobs._dispatcher._clock = lambda: time.time() + 1001
        await room.jobs._dispatcher.tick()
        await room.done(stopped)
        await room.jobs.prune(-2000.0)
    expected = [*done, cancelled_waiting, late, kept, failed, running, stopped]
    assert ends == Counter({job.id: 1 for job in expected})
    assert answered.id not in ends


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"attempt": 3}, "failed"),
        ({"cancel_requested": True}, "canceled"),
        ({"deadline_at": 1.0}, "failed"),
        ({"attempt": 1}, "succeeded"),
    ],
)
async def test_a_job_of_a_dead_server_ends_exactly_once_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: Counted, values: dict[str, Any], state: str
) -> None:
    async with left_by_a_dead_server(tmp_path, monkeypatch, **values) as (room, job):
        assert (await room.done(job)).state == state
        assert ends == Counter({job.id: 1})


async def test_a_job_taken_by_another_worker_is_not_ended_here(closed: Room, ends: Counted) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    await closed.database.write(lambda c: c.execute(jobs.update().values(lease_owner="somebody else")))
    closed.executor.gate.set()
    async with asyncio.timeout(PATIENCE):
        await closed.jobs._dispatcher.aclose(PATIENCE)
    assert job.id not in ends


async def test_reports_and_labels_are_in_the_row_as_they_came(closed: Room) -> None:
    terms = Terms(priority=3, labels={"order": "4711"}, deadline_seconds=500.0)
    job = await closed.jobs.accept(closed.ann, measure, {"image": closed.picture("a")}, terms=terms)
    [row] = await closed.rows(jobs)
    assert (row.priority, row.labels, row.organisation) == (3, {"order": "4711"}, "ann")
    assert row.deadline_at == row.created_at + 500.0
    assert (job.priority, dict(job.labels), job.deadline_at) == (3, {"order": "4711"}, row.deadline_at)
    assert json.loads(json.dumps(job.status.to_wire())) == {"state": "queued", "percent": 0, "done": 0, "total": 1}


async def test_one_owner_at_the_limit_is_told_so(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False, queue_limits=QueueLimits(owner_queued=1)) as room:
        await room.tint("running")
        await room.tint("waiting")
        with pytest.raises(Overloaded) as caught:
            await room.tint("one too many")
        assert (caught.value.code, caught.value.status) == ("RATE_LIMITED", 429)
