"""What was run, found again, judged, pinned and forgotten; and what goes when pictures take too much room."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.jobs_room import Room, measure, open_room, tint

from darkroom.errors import Conflict, NotFound
from darkroom.jobs.history import Filter
from darkroom.jobs.record import Job
from darkroom.jobs.terms import Terms
from darkroom.store.schema import images, job_items, jobs, results
from darkroom_tools.errors import InvalidSettings, ProcessingFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path, slots=1) as opened:
        yield opened


async def run(room: Room, name: str = "photo", **labels: str) -> Job:
    arguments = {"image": room.picture(name)}
    return await room.done(await room.jobs.accept(room.ann, tint, arguments, terms=Terms(labels=labels)))


def made(job: Job) -> str:
    assert job.result
    return job.result.images()[0]


async def listed(room: Room, wanted: Filter) -> list[str]:
    return [job.id for job in (await room.jobs.history.list(room.ann, wanted)).jobs]


async def test_jobs_are_listed_newest_first_in_pages_and_each_with_what_it_made(room: Room) -> None:
    done = [await run(room, f"p{n}") for n in range(5)]
    seen: list[Job] = []
    cursor = None
    while True:
        page = await room.jobs.history.list(room.ann, limit=2, before=cursor)
        seen += page.jobs
        if (cursor := page.next) is None:
            break
    assert [job.id for job in seen] == [job.id for job in reversed(done)]
    assert [made(job) for job in seen] == [made(job) for job in reversed(done)]
    assert (await room.jobs.history.list(room.ben)).jobs == []
    with pytest.raises(InvalidSettings):
        await room.jobs.history.list(room.ann, before="nonsense")


async def test_jobs_are_found_by_state_tool_label_time_and_judgement(room: Room) -> None:
    first = await run(room, "one", order="1", color="red")
    second = await run(room, "two", order="2", color="red")
    report = await room.done(await room.jobs.accept(room.ann, measure, {"image": room.picture("one")}))
    room.executor.fail = lambda data: ProcessingFailed("Broken.")
    failed = await run(room, "broken")
    await room.jobs.history.rate(room.ann, first.id, {"like": True})
    await room.jobs.history.rate(room.ann, second.id, {"like": False})
    assert await listed(room, Filter(states=["failed"])) == [failed.id]
    assert await listed(room, Filter(tool="measure")) == [report.id]
    assert await listed(room, Filter(labels={"color": "red"})) == [second.id, first.id]
    assert await listed(room, Filter(labels={"color": "red", "order": "1"})) == [first.id]
    assert await listed(room, Filter(labels={"o'r": "%"})) == []
    assert await listed(room, Filter(liked=True)) == [first.id]
    assert await listed(room, Filter(liked=False)) == [second.id]
    assert await listed(room, Filter(since=second.created_at, until=report.created_at)) == [second.id]
    assert await listed(room, Filter(workflow="wf_none")) == []


async def test_a_judgement_is_kept_with_its_note_and_expected_pictures_and_can_be_taken_back(room: Room) -> None:
    job, other = await run(room), made(await run(room, "other"))
    history = room.jobs.history
    await history.rate(room.ann, job.id, {"like": False, "note": "too\u202e dark", "expected": [other]})
    kept = await room.jobs.get(room.ann, job.id)
    assert (kept.liked, kept.feedback) == (False, {"note": "too dark", "expected": [other]})
    await history.rate(room.ann, job.id, {"note": "much too dark"})
    await history.rate(room.ann, job.id, {"like": None})
    kept = await room.jobs.get(room.ann, job.id)
    assert (kept.liked, kept.feedback) == (None, {"note": "much too dark", "expected": [other]})
    for said in ({"expected": ["img_nothing"]}, {"expected": [other, "img_" + "a" * 26]}):
        with pytest.raises(NotFound, match="to expect"):
            await history.rate(room.ann, job.id, said)
    with pytest.raises(InvalidSettings):
        await history.rate(room.ann, job.id, {"expected": [other] * 21})
    with pytest.raises(NotFound):
        await history.rate(room.ben, job.id, {"like": True})


async def test_a_deleted_job_leaves_its_images_unless_asked_and_never_takes_pinned_or_older_ones(room: Room) -> None:
    first, history = await run(room, "one"), room.jobs.history
    assert await history.delete(room.ann, first.id) == 0
    assert (await room.library.get(room.ann, made(first))).id == made(first)
    with pytest.raises(NotFound):
        await room.jobs.get(room.ann, first.id)
    arguments = {"image": [room.picture(name) for name in ("one", "two", "three")]}
    batch = await room.done(await room.jobs.accept(room.ann, tint, arguments, each="image"))
    assert batch.result
    _, two, three = batch.result.images()
    await history.pin(room.ann, two)
    assert await history.delete(room.ann, batch.id, with_images=True) == 1
    assert set(await room.library.find(room.ann, [made(first), two, three])) == {made(first), two}


async def test_what_has_not_ended_or_is_not_mine_is_not_deleted(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        running, waiting = await room.tint("a"), await room.tint("b")
        for job in (running, waiting):
            with pytest.raises(Conflict, match="cancel_job"):
                await room.jobs.history.delete(room.ann, job.id)
            for act in (room.jobs.history.delete, room.jobs.history.pin):
                with pytest.raises(NotFound):
                    await act(room.ben, job.id)
        assert len(await room.rows(jobs)) == 2


async def test_pruning_leaves_pinned_jobs(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = await run(room, "one"), await run(room, "two")
    await room.jobs.history.pin(room.ann, kept.id)
    later = time.time() + 1000
    monkeypatch.setattr(time, "time", lambda: later)
    assert (await room.jobs.prune(10.0)).jobs == 1
    assert [row.id for row in await room.rows(jobs)] == [kept.id] != [gone.id]
    await room.jobs.history.pin(room.ann, kept.id, pinned=False)
    assert (await room.jobs.prune(10.0)).jobs == 1


async def test_too_much_room_takes_the_oldest_results_first_and_no_pinned_ones(room: Room) -> None:
    done = [await run(room, f"p{n}") for n in range(6)]
    await room.jobs.history.pin(room.ann, done[0].id)
    await room.jobs.history.pin(room.ann, made(done[1]))
    rows = {row.id: row for row in await room.rows(images)}
    size = rows[made(done[2])].bytes
    used = sum(row.bytes for row in rows.values())
    await room.jobs.prune(1000.0, used - 2 * size)
    left = set(await room.library.find(room.ann, [made(job) for job in done]))
    assert left == {made(done[n]) for n in (0, 1, 4, 5)}
    assert all(not room.blobs.exists(rows[made(done[n])].sha256) for n in (2, 3))
    assert len([row for row in await room.rows(images) if row.tool is None]) == 6
    assert {row.digest for row in await room.rows(results)} == {
        row.digest for row in await room.rows(results) if not {made(done[2]), made(done[3])} & {*row.result["images"]}
    }
    again = await run(room, "p2")
    assert again.result and not again.result.items[0].cached


async def test_a_limit_that_everything_fits_into_removes_nothing(room: Room) -> None:
    await run(room)
    used = sum(row.bytes for row in await room.rows(images))
    await room.jobs.prune(0.0, used)
    assert len(await room.rows(images)) == 2


async def test_young_uploads_stay_however_little_room_there_is_and_old_ones_go_last(
    room: Room, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(room)
    await room.jobs.prune(1000.0, 1)
    assert [row.tool for row in await room.rows(images)] == [None]
    assert "1 images were removed" in caplog.text
    later = time.time() + 2000
    monkeypatch.setattr(time, "time", lambda: later)
    await room.jobs.prune(1000.0, 1)
    assert (await room.rows(images), room.stored()) == ([], set())


async def test_what_an_unfinished_job_needs_or_has_made_is_never_removed(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        room.executor.fail = lambda data: room.executor.gate.clear()
        room.executor.gate.set()
        first = await run(room, "old")
        room.executor.gate.set()
        arguments = {"image": [made(first), room.picture("b"), room.picture("c")]}
        batch = await room.jobs.accept(room.ann, tint, arguments, each="image")
        await room.executor.has_run(3)
        assert len(await room.rows(job_items)) == 1
        before = {row.id for row in await room.rows(images)}
        await room.jobs.prune(-10.0, 1)
        after = {row.id for row in await room.rows(images)}
        [item] = (await room.jobs.get(room.ann, batch.id)).parts.values()
        assert {made(first), *item.images} <= after
        assert after < before
        room.executor.fail = lambda data: None
        room.executor.gate.set()
        assert (await room.done(batch)).state == "succeeded"


async def test_an_answer_whose_image_was_removed_is_not_given(room: Room) -> None:
    job = await run(room)
    await room.database.write(lambda c: c.execute(images.delete().where(images.c.id == made(job))))
    again = await run(room)
    assert again.result and not again.result.items[0].cached


async def test_the_version_before_is_what_to_go_on_with_to_undo(room: Room) -> None:
    first = made(await run(room))
    second = made(await room.done(await room.jobs.accept(room.ann, tint, {"image": first, "shade": 2})))
    source = await room.library.parent_of(room.ann, first)
    assert (await room.library.parent_of(room.ann, second)).id == first
    with pytest.raises(NotFound, match="first version"):
        await room.library.parent_of(room.ann, source.id)
    with pytest.raises(NotFound):
        await room.library.parent_of(room.ben, second)
    await room.library.delete(room.ann, first)
    with pytest.raises(NotFound, match="was deleted"):
        await room.library.parent_of(room.ann, second)


async def test_jobs_come_in_numbered_pages_with_how_many_there_are(room: Room) -> None:
    done = [await run(room, f"n{n}") for n in range(5)]
    newest = [job.id for job in reversed(done)]
    pages = [await room.jobs.history.page(room.ann, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [[job.id for job in found] for found, _ in pages] == [newest[:2], newest[2:4], newest[4:], []]
    assert {total for _, total in pages} == {5}
    assert await room.jobs.history.page(room.ben) == ([], 0)
    beyond, total = await room.jobs.history.page(room.ann, limit=10_000, offset=10**30)
    assert (beyond, total) == ([], 5)
    everything, _ = await room.jobs.history.page(room.ann, limit=0, offset=-3)
    assert [job.id for job in everything] == newest[:1]


async def test_jobs_of_any_of_several_workflows_are_found_and_counted(room: Room) -> None:
    tools = [replace(tint, workflow=key, version="1") for key in ("wf_a", "wf_b", "gallery/web-ready")]
    made = []
    for tool in (*tools, tools[0], tint):
        arguments = {"image": room.picture(f"photo {len(made)}")}
        made.append(await room.done(await room.jobs.accept(room.ann, tool, arguments)))
    wanted = Filter(workflows=["wf_a", "gallery/web-ready", "wf_none"])
    found, total = await room.jobs.history.page(room.ann, wanted, limit=2)
    assert ([job.id for job in found], total) == ([made[3].id, made[2].id], 3)
    assert await listed(room, wanted) == [made[3].id, made[2].id, made[0].id]
    failed = Filter(workflows=["wf_a"], states=["failed"])
    assert await room.jobs.history.page(room.ann, failed) == ([], 0)
