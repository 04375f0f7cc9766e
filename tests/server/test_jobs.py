"""Jobs: accepted durably, run once, answered from the library the second time; batch, cancel, stop and restart."""

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.jobs_room import PATIENCE, Room, blend, cut_out, measure, open_room, png, tint

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Progress
from darkroom.errors import Conflict, NotFound, Overloaded
from darkroom.jobs import service
from darkroom.jobs.record import Job, Status
from darkroom.jobs.terms import Terms
from darkroom.store.queue import QueueLimits
from darkroom.store.schema import images, job_blobs, job_items, jobs, results
from darkroom_tools.errors import DarkroomError, InvalidSettings, ProcessingFailed
from darkroom_tools.plan import Plan

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as opened:
        yield opened


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[Room]:
    """A room whose executor finishes nothing until the gate opens."""
    async with open_room(tmp_path, gate=False) as opened:
        yield opened


async def test_a_call_becomes_a_new_version_of_its_picture(room: Room) -> None:
    job = await room.done(await room.tint(shade=7))
    assert (job.state, job.progress, job.items, job.done) == ("succeeded", 1.0, 1, 1)
    assert job.result is not None
    [item] = job.result.items
    source = await room.library.get(room.ann, item.sources[0])
    result = await room.library.get(room.ann, item.images[0])
    assert (source.name, source.width, source.version, source.tool) == ("photo.png", 8, 1, None)
    assert (result.parent, result.root, result.version) == (source.id, source.id, 2)
    assert (result.tool, result.name, result.facts) == ("tint", "photo-tint.png", {"method": "fake"})
    assert result.steps[0]["settings"] == {"shade": 7}
    assert (item.kept, item.removed, item.warnings, item.cached) == (["icc"], ["gps"], ["Slow."], False)
    assert room.blobs.exists(result.sha256)


async def test_an_edit_of_a_handle_continues_its_chain(room: Room) -> None:
    first = await room.done(await room.tint())
    assert first.result
    handle = first.result.items[0].images[0]
    second = await room.done(await room.jobs.accept(room.ann, tint, {"image": handle, "shade": 1}))
    assert second.result
    assert second.result.items[0].sources == [handle]
    result = await room.library.get(room.ann, second.result.items[0].images[0])
    assert (result.parent, result.version) == (handle, 3)
    assert len(await room.rows(images)) == 3


async def test_the_row_is_on_the_disk_before_the_answer(closed: Room) -> None:
    job = await closed.tint()
    other = sqlite3.connect(closed.folder / "darkroom.db")
    [(state, request)] = other.execute("SELECT state, request FROM jobs WHERE id = ?", [job.id])
    other.close()
    assert state in ("queued", "running")
    assert all(digest in request for digest in closed.stored())
    assert len(closed.stored()) == 1


async def test_the_same_call_on_the_same_bytes_is_answered_from_the_library(room: Room) -> None:
    first = await room.done(await room.tint(shade=3))
    copy = room.folder / "pictures" / "copy.png"
    copy.write_bytes(png("photo"))
    again = await room.jobs.accept(room.ann, tint, {"shade": 3, "image": str(copy)})
    assert (again.state, again.ended) == ("succeeded", True)
    assert first.result and again.result
    assert again.result.items[0].cached
    assert again.result.items[0].images == first.result.items[0].images
    assert len(room.executor.runs) == len(await room.rows(jobs)) == 1
    with pytest.raises(NotFound):
        await room.jobs.get(room.ann, again.id)


async def test_other_settings_other_bytes_or_another_owner_are_other_calls(room: Room) -> None:
    await room.done(await room.tint(shade=1))
    await room.done(await room.tint(shade=2))
    await room.done(await room.tint("other", shade=1))
    theirs = await room.jobs.accept(room.ben, tint, {"image": room.picture("photo"), "shade": 1})
    assert (await room.jobs.wait(room.ben, theirs.id, PATIENCE)).state == "succeeded"
    assert len(room.executor.runs) == 4


async def test_another_model_file_makes_it_another_call(tmp_path: Path) -> None:
    installed: dict[str, str] = {"unrelated": "0"}
    async with open_room(tmp_path, models=lambda: installed) as room:

        async def call() -> bool:
            job = await room.jobs.accept(room.ann, cut_out, {"image": room.picture("photo")})
            done = job if job.ended else await room.done(job)
            assert done.result is not None
            return done.result.items[0].cached

        assert [await call(), await call()] == [False, True]
        installed["unrelated"] = "1"
        assert await call()
        installed["cutter"] = "a"
        assert [await call(), await call()] == [False, True]
        installed["cutter"] = "b"
        assert not await call()
        assert set(room.executor.walls) == {Limits().model_seconds}


async def test_a_deleted_result_is_made_again(room: Room) -> None:
    first = await room.done(await room.tint())
    assert first.result
    await room.library.delete(room.ann, first.result.items[0].images[0])
    second = await room.done(await room.tint())
    assert second.result
    assert not second.result.items[0].cached
    assert await room.library.get(room.ann, second.result.items[0].images[0])


async def test_a_report_leaves_library_and_blobs_as_they_were(room: Room) -> None:
    for _ in range(2):
        job = await room.jobs.accept(room.ann, measure, {"image": room.picture("photo")})
        job = job if job.ended else await room.done(job)
        assert job.result
        assert (job.result.items[0].report, job.result.items[0].sources) == ({"width": 8}, [])
        assert (await room.rows(images), room.stored()) == ([], set())
    assert job.result
    assert job.result.items[0].cached
    with pytest.raises(InvalidSettings):
        await room.jobs.accept(room.ann, measure, {"image": room.picture("photo"), "shade": "dark"})
    assert room.stored() == set()


async def test_a_report_on_a_stored_picture_keeps_it_and_names_it(room: Room) -> None:
    made = await room.done(await room.tint())
    assert made.result
    handle = made.result.items[0].images[0]
    for value in (handle, f"darkroom://images/{handle}"):
        job = await room.jobs.accept(room.ann, measure, {"image": value})
        job = job if job.ended else await room.done(job)
        assert job.result
        assert job.result.items[0].sources == [handle]
    assert await room.library.read(room.ann, handle)


async def test_a_report_does_not_take_the_bytes_from_a_job_that_waits_for_them(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        blocking = await room.tint("other")
        await room.executor.has_run(1)
        report = await room.jobs.accept(room.ann, measure, {"image": room.picture("photo")})
        waiting = await room.tint("photo")
        room.executor.gate.set()
        states = [(await room.done(job)).state for job in (blocking, report, waiting)]
        assert states == ["succeeded"] * 3


async def test_a_refused_image_fails_the_call_and_leaves_nothing(room: Room) -> None:
    (room.folder / "pictures").mkdir()
    text = room.folder / "pictures" / "text.png"
    text.write_text("no picture")
    with pytest.raises(DarkroomError) as caught:
        await room.jobs.accept(room.ann, blend, {"image": room.picture("photo"), "watermark": str(text)})
    assert caught.value.code == "UNSUPPORTED_FORMAT"
    assert (room.stored(), await room.rows(jobs)) == (set(), [])


async def test_a_failing_tool_fails_the_job_with_its_public_error(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("The image has no edges.")
    job = await room.done(await room.tint())
    assert (job.state, job.error and job.error["code"]) == ("failed", "PROCESSING_FAILED")
    assert await room.rows(images) == []
    room.executor.fail = lambda data: None
    assert (await room.done(await room.tint())).state == "succeeded"


async def test_a_bug_is_told_as_internal_without_its_words(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    room.executor.fail = lambda data: KeyError("/secret/path")
    job = await room.done(await room.tint())
    assert job.error and job.error["code"] == "INTERNAL"
    assert "secret" not in str(job)
    assert "/secret/path" in caplog.text


async def test_in_a_batch_failing_images_do_not_fail_the_others(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("Broken.") if b"broken" in data else None
    values = [room.picture("one"), room.picture("broken"), "img_" + "a" * 26, room.picture("two")]
    job = await room.jobs.accept(room.ann, tint, {"image": values}, each="image")
    job = await room.done(job)
    assert (job.state, job.items, job.done, job.error) == ("succeeded", 4, 4, None)
    assert job.result
    codes = [item.error and item.error["code"] for item in job.result.items]
    assert codes == [None, "PROCESSING_FAILED", "NOT_FOUND", None]
    names = [(await room.library.get(room.ann, job.result.items[n].images[0])).name for n in (0, 3)]
    assert names == ["one-tint.png", "two-tint.png"]
    assert await room.rows(job_items) == await room.rows(job_blobs) == []


async def test_a_batch_of_which_nothing_works_fails(room: Room) -> None:
    job = await room.jobs.accept(room.ann, tint, {"image": ["img_" + "a" * 26, "img_" + "b" * 26]}, each="image")
    assert (job.state, job.ended, job.error and job.error["code"]) == ("failed", True, "NOT_FOUND")
    assert job.result and len(job.result.items) == 2


async def test_a_batch_touches_only_the_images_that_have_no_answer_yet(room: Room) -> None:
    await room.done(await room.tint("one"))
    values = [room.picture("one"), room.picture("two")]
    job = await room.done(await room.jobs.accept(room.ann, tint, {"image": values}, each="image"))
    assert job.result
    assert [item.cached for item in job.result.items] == [True, False]
    assert len(room.executor.runs) == 2


async def test_an_image_that_all_items_share_is_stored_and_recorded_once(room: Room) -> None:
    arguments = {"image": [room.picture("one"), room.picture("two")], "watermark": room.picture("mark")}
    job = await room.done(await room.jobs.accept(room.ann, blend, arguments, each="image"))
    assert job.result
    marks = {item.sources[1] for item in job.result.items}
    assert len(marks) == 1
    assert Counter(row.tool for row in await room.rows(images)) == {None: 3, "blend": 2}


@pytest.mark.parametrize(
    ("arguments", "each", "words"),
    [
        ({"image": []}, "image", "at least one"),
        ({"image": "img_a"}, "image", "list of at least one"),
        ({"image": ["a"]}, "shade", "takes no batch"),
        ({"image": ["a"] * 201}, "image", "201 images; 200"),
        ({"image": ["a"]}, None, "takes one image"),
        ({"image": "a", "shad": 1}, None, "Did you mean 'shade'"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_stored(
    room: Room, arguments: dict[str, Any], each: str | None, words: str
) -> None:
    with pytest.raises(InvalidSettings, match=words):
        await room.jobs.accept(room.ann, tint, arguments, each=each)
    assert await room.rows(jobs) == []


async def test_a_batch_uses_every_slot_and_never_more(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=3, gate=False) as room:
        values = [room.picture(str(n)) for n in range(9)]
        job = await room.jobs.accept(room.ann, tint, {"image": values}, each="image")
        await room.executor.has_run(3)
        assert room.executor.running == 3
        room.executor.gate.set()
        assert (await room.done(job)).state == "succeeded"
        assert (room.executor.most, len(room.executor.runs)) == (3, 9)


async def test_no_more_runs_than_there_are_slots_and_all_get_done(closed: Room) -> None:
    waiting = [await closed.tint(str(n)) for n in range(7)]
    await closed.executor.has_run(2)
    states = Counter([(await closed.jobs.get(closed.ann, job.id)).state for job in waiting])
    assert states == {"running": 2, "queued": 5}
    closed.executor.gate.set()
    assert {(await closed.done(job)).state for job in waiting} == {"succeeded"}
    assert closed.executor.most == 2
    async with asyncio.timeout(PATIENCE):
        while closed.jobs.busy:
            await asyncio.sleep(0)


async def test_a_large_batch_lets_anothers_call_through(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=2, gate=False) as room:
        order: list[str] = []
        room.executor.fail = lambda data: order.append(data.decode(errors="replace")[8:])
        values = [room.picture(f"batch{n}") for n in range(12)]
        batch = await room.jobs.accept(room.ann, tint, {"image": values}, each="image")
        await room.executor.has_run(2)
        single = await room.jobs.accept(room.ben, tint, {"image": room.picture("single")})
        room.executor.gate.set()
        await room.jobs.wait(room.ben, single.id, PATIENCE)
        await room.done(batch)
        assert order.index("single") < 6


async def test_the_same_idempotency_key_gives_the_same_job(closed: Room) -> None:
    async def call(shade: int = 1) -> Job:
        arguments = {"image": closed.picture("photo"), "shade": shade}
        return await closed.jobs.accept(closed.ann, tint, arguments, terms=Terms(idempotency_key="k"))

    found = await asyncio.gather(*(call() for _ in range(5)))
    assert len({job.id for job in found}) == len(await closed.rows(jobs)) == 1
    with pytest.raises(Conflict):
        await call(shade=2)
    closed.executor.gate.set()
    await closed.done(found[0])
    assert (await call()).state == "succeeded"
    assert len(closed.executor.runs) == 1


async def test_idempotency_keys_of_two_owners_are_two_keys(closed: Room) -> None:
    arguments = {"image": closed.picture("photo")}
    jobs_ = [
        await closed.jobs.accept(who, tint, arguments, terms=Terms(idempotency_key="k"))
        for who in (closed.ann, closed.ben)
    ]
    assert jobs_[0].id != jobs_[1].id


async def test_a_full_queue_answers_at_once(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False, queue_limits=QueueLimits(queued=2)) as room:
        kept = [await room.tint(str(n)) for n in range(3)]
        with pytest.raises(Overloaded) as caught:
            await room.tint("one too many")
        assert caught.value.details["retryAfter"] > 0
        assert len(room.stored()) == 3
        room.executor.gate.set()
        assert {(await room.done(job)).state for job in kept} == {"succeeded"}
        assert (await room.done(await room.tint("one too many"))).state == "succeeded"


async def test_cancelling_a_running_job_stops_the_work_and_records_nothing(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    ended = await closed.jobs.cancel(closed.ann, job.id)
    assert (ended.state, ended.result) == ("canceled", None)
    assert (closed.executor.stopped, closed.executor.running) == (1, 0)
    assert await closed.rows(images) == []
    assert (await closed.jobs.cancel(closed.ann, job.id)).state == "canceled"


async def test_cancelling_a_waiting_job_means_it_never_runs(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        first = await room.tint("first")
        report = await room.jobs.accept(room.ann, measure, {"image": room.picture("second")})
        waiter = asyncio.create_task(room.done(report))
        assert (await room.jobs.cancel(room.ann, report.id)).state == "canceled"
        assert (await waiter).state == "canceled"
        assert len(room.stored()) == 1
        room.executor.gate.set()
        await room.done(first)
        assert len(room.executor.runs) == 1


async def test_cancelling_a_batch_stops_all_its_items(closed: Room) -> None:
    values = [closed.picture(str(n)) for n in range(6)]
    job = await closed.jobs.accept(closed.ann, tint, {"image": values}, each="image")
    await closed.executor.has_run(2)
    assert (await closed.jobs.cancel(closed.ann, job.id)).state == "canceled"
    assert (closed.executor.stopped, closed.executor.running, len(closed.executor.runs)) == (2, 0, 2)
    closed.executor.gate.set()
    assert (await closed.done(await closed.tint("next"))).state == "succeeded"


async def test_another_process_cancels_by_the_heartbeat(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    async with open_room(closed.folder) as other:
        assert (await other.jobs.cancel(other.ann, job.id)).state == "running"
    await closed.jobs._dispatcher.tick()
    assert (await closed.done(job)).state == "canceled"
    assert closed.executor.stopped == 1


async def test_another_process_sees_progress_and_end(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    closed.executor.emits[0](Progress(0.5, "Halfway"))
    await closed.jobs._dispatcher.tick()
    async with open_room(closed.folder) as other, other.jobs.watch(job.id) as states:
        assert await anext(states) == Status("running", 0.5, "Halfway")
        closed.executor.gate.set()
        await closed.done(job)
        await other.jobs._dispatcher.tick()
        assert [(state.state, state.fraction) async for state in states] == [("succeeded", 1.0)]


async def test_nobody_sees_or_cancels_anothers_job(closed: Room) -> None:
    job = await closed.tint()
    for asked in (closed.jobs.get, closed.jobs.cancel):
        with pytest.raises(NotFound):
            await asked(closed.ben, job.id)
    with pytest.raises(NotFound):
        await closed.jobs.wait(closed.ben, job.id, 1)
    assert (await closed.jobs.get(closed.ann, job.id)).state == "running"


async def test_any_number_of_listeners_and_late_ones_see_the_newest_state_first(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    emit = closed.executor.emits[0]

    async def listen(ready: asyncio.Event) -> list[float]:
        seen = []
        async with closed.jobs.watch(job.id) as states:
            async for state in states:
                seen.append(state.fraction)
                ready.set()
        return seen

    emit(Progress(0.25))
    events = [asyncio.Event() for _ in range(5)]
    listeners = [asyncio.create_task(listen(event)) for event in events]
    async with asyncio.timeout(PATIENCE):
        for event in events:
            await event.wait()
        emit(Progress(0.5))
        emit(Progress(0.75))
        closed.executor.gate.set()
        heard = await asyncio.gather(*listeners)
    for seen in heard:
        assert seen[0] == 0.25
        assert seen == sorted(set(seen))
        assert seen[-1] == 1.0


async def test_a_slow_listener_gets_the_newest_state_only_and_holds_nobody_up(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    async with closed.jobs.watch(job.id) as states:
        for n in range(1000):
            closed.executor.emits[0](Progress(n / 1000, f"Row {n}"))
        newest = await anext(states)
        assert (newest.fraction, newest.stage) == (0.999, "Row 999")
        closed.executor.gate.set()
        assert [state.fraction async for state in states] == [1.0]


async def test_watching_an_ended_or_unknown_job_ends_at_once(room: Room) -> None:
    job = await room.done(await room.tint())
    for job_id, expected in ((job.id, 1), ("job_unknown", 0)):
        async with asyncio.timeout(PATIENCE), room.jobs.watch(job_id) as states:
            assert len([state async for state in states]) == expected


async def test_a_bounded_wait_answers_with_the_job_as_it_is(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    assert (await closed.jobs.wait(closed.ann, job.id, 0.01)).state == "running"


async def test_the_progress_of_a_batch_counts_its_items(closed: Room) -> None:
    job = await closed.jobs.accept(closed.ann, tint, {"image": [closed.picture(n) for n in "abcd"]}, each="image")
    await closed.executor.has_run(2)
    async with closed.jobs.watch(job.id) as states:
        for emit in closed.executor.emits:
            emit(Progress(0.5, "Encoding"))
        assert await anext(states) == Status("running", 0.25, "Encoding", 0, 4)


async def test_stopping_waits_for_what_runs_and_leaves_the_rest_queued(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        running, waiting = await room.tint("running"), await room.tint("waiting")
        await room.executor.has_run(1)
        room.jobs.stop_claiming()
        with pytest.raises(Overloaded) as caught:
            await room.tint("late")
        assert caught.value.code == "SHUTTING_DOWN"
        room.executor.gate.set()
        assert (await room.done(running)).state == "succeeded"
    async with open_room(tmp_path, gate=False) as later:
        assert (await later.jobs.get(later.ann, waiting.id)).ended is False
        later.executor.gate.set()
        assert (await later.done(waiting)).state == "succeeded"
        assert len(later.executor.runs) == 1


async def test_what_does_not_end_in_time_goes_back_to_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DRAIN_SECONDS", 0.01)
    async with AsyncExitStack() as stack:
        room = await stack.enter_async_context(open_room(tmp_path, gate=False))
        job = await room.tint()
        await room.executor.has_run(1)
        await room.jobs.__aexit__()
        [row] = await room.rows(jobs)
        assert (row.state, row.attempt, row.lease_owner) == ("queued", 0, None)
        assert room.executor.stopped == 1
    async with open_room(tmp_path) as later:
        assert (await later.done(job)).state == "succeeded"


async def abandon(folder: Path, batch: bool = False) -> Job:
    """Leave a job running as a killed server does: no finish, no release."""
    async with open_room(folder, slots=1, gate=False) as room:
        if batch:
            arguments = {"image": [room.picture("a"), room.picture("b")]}
            job = await room.jobs.accept(room.ann, tint, arguments, each="image")
            await room.executor.has_run(1)
            room.executor.gate.set()
            await room.executor.has_run(2)
            room.executor.gate.clear()
        else:
            job = await room.tint()
        await room.executor.has_run(1)
        snapshot = await room.rows(jobs)
        kept_rows = [(table, await room.rows(table)) for table in (job_items, job_blobs, images, results)]
        kept = {digest: room.blobs.path(digest).read_bytes() for digest in room.stored()}
        await room.jobs.cancel(room.ann, job.id)

        def restore(connection: sa.Connection) -> None:
            for table in (jobs, images, results):
                connection.execute(table.delete())
            for table, rows in ((jobs, snapshot), *kept_rows):
                for row in rows:
                    connection.execute(table.insert().values(**row._mapping))
            connection.execute(jobs.update().values(lease_owner="a dead worker"))

        for data in kept.values():
            room.blobs.put(data)
        await room.database.write(restore)
    return job


async def test_after_a_crash_the_owner_of_the_lock_takes_the_jobs_over_at_once(tmp_path: Path) -> None:
    job = await abandon(tmp_path)
    async with open_room(tmp_path, alone=True) as room:
        assert (await room.done(job)).state == "succeeded"
        [row] = await room.rows(jobs)
        assert row.attempt == 2


async def test_without_the_lock_a_lease_must_expire_first(tmp_path: Path) -> None:
    job = await abandon(tmp_path)
    async with open_room(tmp_path) as room:
        assert (await room.jobs.get(room.ann, job.id)).state == "running"
        expired = {"lease_until": time.time() - 1}
        await room.database.write(lambda c: c.execute(jobs.update().values(expired)))
        room.jobs._dispatcher._poll_at = 0.0
        await room.jobs._dispatcher.tick()
        assert (await room.done(job)).state == "succeeded"


async def test_a_batch_goes_on_where_the_dead_server_left_it(tmp_path: Path) -> None:
    job = await abandon(tmp_path, batch=True)
    async with open_room(tmp_path, alone=True) as room:
        job = await room.done(job)
        assert job.state == "succeeded"
        assert len(room.executor.runs) == 1
        assert job.result
        names = [(await room.library.get(room.ann, item.images[0])).name for item in job.result.items]
        assert names == ["a-tint.png", "b-tint.png"]


async def test_a_worker_that_lost_its_lease_records_nothing(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    taken = {"lease_owner": "somebody else"}
    await closed.database.write(lambda c: c.execute(jobs.update().values(taken)))
    closed.executor.gate.set()
    async with asyncio.timeout(PATIENCE):
        await closed.jobs._dispatcher.aclose(PATIENCE)
    assert await closed.rows(images) == await closed.rows(results) == []
    assert (await closed.jobs.get(closed.ann, job.id)).state == "running"


async def test_a_heartbeat_that_finds_the_lease_lost_stops_the_work(closed: Room) -> None:
    await closed.tint()
    await closed.executor.has_run(1)
    await closed.database.write(lambda c: c.execute(jobs.update().values(lease_owner="somebody else")))
    await closed.jobs._dispatcher.tick()
    async with asyncio.timeout(PATIENCE):
        await closed.jobs._dispatcher.aclose(PATIENCE)
    assert closed.executor.stopped == 1


async def test_two_servers_on_one_database_run_every_job_once(tmp_path: Path) -> None:
    async with open_room(tmp_path) as one, open_room(tmp_path) as two:
        accepted = []
        for n in range(20):
            accepted.append(await (one if n % 2 else two).tint(f"picture{n}"))
        for job in accepted:
            assert (await one.done(job)).state == "succeeded"
        assert len(one.executor.runs) + len(two.executor.runs) == 20
        assert Counter(row.tool for row in await one.rows(images)) == {None: 20, "tint": 20}


async def test_a_caller_that_gives_up_while_its_job_is_recorded_blocks_no_slot(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1) as room:
        for n in range(10):
            task = asyncio.create_task(room.tint(f"picture{n}"))
            for _ in range(n):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert (await room.done(await room.tint("last"))).state == "succeeded"


async def test_rendering_stores_nothing(room: Room) -> None:
    job = await room.done(await room.tint())
    assert job.result
    handle = job.result.items[0].images[0]
    before = (room.stored(), await room.rows(images))
    data, picture = await room.jobs.render(room.ann, handle, Plan())
    assert (data, picture.format) == (b"shown", "webp")
    assert before == (room.stored(), await room.rows(images))
    with pytest.raises(NotFound):
        await room.jobs.render(room.ben, handle, Plan())


async def test_pruning_forgets_old_jobs_and_reports_and_stray_bytes_but_no_image(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await room.done(await room.tint())
    await room.done(await room.jobs.accept(room.ann, measure, {"image": room.picture("photo")}))
    stray = room.blobs.put(b"stray")
    day = 24 * 3600.0
    pruned = await room.jobs.prune(day)
    assert (pruned.jobs, pruned.answers, pruned.blobs) == (0, 0, 0)
    now = time.time() + 2 * day
    monkeypatch.setattr(time, "time", lambda: now)
    pruned = await room.jobs.prune(day)
    assert (pruned.jobs, pruned.answers, pruned.blobs) == (2, 1, 1)
    assert not room.blobs.exists(stray)
    assert made.result
    assert await room.library.read(room.ann, made.result.items[0].images[0])
    again = await room.tint()
    assert again.result and again.result.items[0].cached


async def test_pruning_forgets_answers_whose_images_are_gone(room: Room) -> None:
    await room.done(await room.tint())
    await room.database.write(lambda c: c.execute(images.delete()))
    assert (await room.jobs.prune(3600.0)).answers == 1
    assert await room.rows(results) == []


async def test_a_picture_whose_file_is_gone_is_refused(room: Room) -> None:
    job = await room.done(await room.tint())
    assert job.result
    record = await room.library.get(room.ann, job.result.items[0].images[0])
    room.blobs.delete(record.sha256)
    with pytest.raises(NotFound, match="gone"):
        await room.jobs.accept(room.ann, tint, {"image": record.id, "shade": 9})
