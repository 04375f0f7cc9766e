"""Batches: what was finished is kept whatever ends them, the time left is told, and all results come as one ZIP."""

import asyncio
import io
import json
import zipfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.jobs_room import PATIENCE, Room, measure, open_room, png, tint

from darkroom.errors import NotFound
from darkroom.jobs import bundle, service
from darkroom.jobs.progress import Countdown
from darkroom.jobs.record import ItemResult, Job, Status
from darkroom.jobs.terms import Terms
from darkroom.store.schema import images, job_blobs, job_items, jobs
from darkroom_tools.errors import Cancelled, ProcessingFailed

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as opened:
        yield opened


async def start(room: Room, values: Sequence[str], *, archive: bool = False, **settings: Any) -> Job:
    return await room.jobs.accept(room.ann, tint, {"image": list(values), **settings}, each="image", archive=archive)


async def run(room: Room, values: Sequence[str], *, archive: bool = False, **settings: Any) -> Job:
    job = await start(room, values, archive=archive, **settings)
    return job if job.ended else await room.done(job)


def archive_of(job: Job) -> ItemResult:
    assert job.result and job.result.archive
    return job.result.archive


async def members(room: Room, job: Job) -> dict[str, bytes]:
    data = await room.library.read(room.ann, archive_of(job).images[0])
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        assert opened.testzip() is None
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
        return {info.filename: opened.read(info) for info in opened.infolist()}


async def made_by(room: Room, job: Job) -> list[bytes]:
    assert job.result
    return [await room.library.read(room.ann, item.images[0]) for item in job.result.items if item.images]


async def test_the_zip_holds_every_result_named_after_its_source(room: Room) -> None:
    job = await run(room, [room.picture("sea"), room.picture("Sky 2")], archive=True)
    inside = await members(room, job)
    report = json.loads(inside.pop("_report.json"))
    assert list(inside) == ["sea.png", "Sky 2.png"]
    assert list(inside.values()) == await made_by(room, job)
    assert report == {
        "total": 2,
        "failed": 0,
        "items": [
            {"item": 1, "source": "sea.png", "files": ["sea.png"], "warnings": ["Slow."]},
            {"item": 2, "source": "Sky 2.png", "files": ["Sky 2.png"], "warnings": ["Slow."]},
        ],
    }


async def test_names_in_the_zip_differ_whatever_their_case(room: Room) -> None:
    values = [room.picture("a")]
    for folder in ("one", "two"):
        (room.folder / "pictures" / folder).mkdir()
        path = room.folder / "pictures" / folder / ("A.png" if folder == "one" else "a.png")
        path.write_bytes(png(folder))
        values.append(str(path))
    inside = await members(room, await run(room, values, archive=True))
    assert list(inside) == ["_report.json", "a.png", "A_1.png", "a_2.png"]


async def test_the_report_in_the_zip_names_what_failed_and_why(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("Broken.") if b"broken" in data else None
    gone = str(room.folder / "pictures" / "gone.png")
    job = await run(room, [room.picture("fine"), room.picture("broken"), gone, "img_" + "a" * 26], archive=True)
    inside = await members(room, job)
    report, errors = json.loads(inside.pop("_report.json")), json.loads(inside.pop("errors.json"))
    assert list(inside) == ["fine.png"]
    assert (report["total"], report["failed"]) == (4, 3)
    assert [line["filename"] for line in errors] == [line["source"] for line in report["items"][1:]]
    assert errors[0] == {"filename": "broken.png", "error": "Broken.", "code": "PROCESSING_FAILED"}
    failed = [(line["source"], line["error"]["code"]) for line in report["items"][1:]]
    assert failed == [
        ("broken.png", "PROCESSING_FAILED"),
        ("gone.png", "PATH_NOT_ALLOWED"),
        ("img_" + "a" * 26, "NOT_FOUND"),
    ]
    assert str(room.folder) not in json.dumps(report)
    assert archive_of(job).facts == {"fileCount": 1, "failed": 3}


async def test_the_zip_is_an_image_of_the_library_like_any_result(room: Room) -> None:
    job = await run(room, [room.picture("one"), room.picture("two")], archive=True)
    record = await room.library.get(room.ann, archive_of(job).images[0])
    assert (record.format, record.media_type, record.width) == ("zip", "application/zip", None)
    assert (record.name, record.tool, record.parent) == ("tint.zip", "tint", None)
    await room.jobs.prune(0.0)
    assert room.blobs.exists(record.sha256)
    with pytest.raises(NotFound):
        await room.library.get(room.ben, record.id)
    await room.library.delete(room.ann, record.id)
    assert not room.blobs.exists(record.sha256)
    assert len(await made_by(room, job)) == 2


async def test_the_same_batch_again_is_answered_with_the_same_zip(room: Room) -> None:
    values = [room.picture("one"), room.picture("two")]
    first = await run(room, values, archive=True)
    again = await start(room, values, archive=True)
    assert again.ended
    assert archive_of(again).images == archive_of(first).images
    assert len(room.executor.runs) == 2
    without = await start(room, values)
    assert without.result and without.result.archive is None


async def test_a_zip_of_known_results_touches_no_pixel(room: Room) -> None:
    values = [room.picture("one"), room.picture("two")]
    known = await run(room, values)
    job = await run(room, values, archive=True)
    assert job.result and known.result
    assert [item.images for item in job.result.items] == [item.images for item in known.result.items]
    assert list(await members(room, job)) == ["_report.json", "one.png", "two.png"]
    assert len(room.executor.runs) == 2


async def test_a_zip_that_lacks_something_is_made_anew(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("Broken.") if b"broken" in data else None
    values = [room.picture("fine"), room.picture("broken")]
    await run(room, values, archive=True)
    room.executor.fail = lambda data: None
    assert list(await members(room, await run(room, values, archive=True))) == [
        "_report.json",
        "fine.png",
        "broken.png",
    ]


async def test_one_image_can_come_as_a_zip_too(room: Room) -> None:
    assert list(await members(room, await run(room, [room.picture("one")], archive=True))) == [
        "_report.json",
        "one.png",
    ]


async def test_where_nothing_was_made_there_is_no_zip(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("Broken.")
    job = await run(room, [room.picture("one"), room.picture("two")], archive=True)
    assert (job.state, job.result and job.result.archive) == ("failed", None)


async def test_results_too_large_for_a_zip_are_kept_one_by_one(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 10)
    job = await run(room, [room.picture("one"), room.picture("two")], archive=True)
    assert job.state == "succeeded"
    error = archive_of(job).error
    assert error and (error["code"], error["details"]["limit"]) == ("OUTPUT_TOO_LARGE", 10)
    assert len(await made_by(room, job)) == 2
    assert list((room.folder / "blobs" / "tmp").iterdir()) == []


async def test_the_last_item_before_the_zip_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packing, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    pack = bundle.pack

    def held(*args: Any) -> Any:
        loop.call_soon_threadsafe(packing.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(PATIENCE)
        return pack(*args)

    monkeypatch.setattr("darkroom.jobs.run.pack", held)
    async with open_room(tmp_path) as room:
        job = await start(room, [room.picture("one"), room.picture("two")], archive=True)
        async with asyncio.timeout(PATIENCE):
            await packing.wait()
        assert len(await room.rows(job_items)) == 2
        async with room.jobs.watch(job.id) as states:
            assert (await anext(states)).stage == "Packing the ZIP"
        go_on.set()
        assert archive_of(await room.done(job)).images


async def test_cancelling_while_the_zip_is_made_keeps_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packing, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    pack = bundle.pack

    def held(blobs: Any, contents: Any, given_up: Any) -> Any:
        loop.call_soon_threadsafe(packing.set)
        assert given_up.wait(PATIENCE)
        try:
            return pack(blobs, contents, given_up)
        except Cancelled:
            loop.call_soon_threadsafe(ended.set)
            raise

    monkeypatch.setattr("darkroom.jobs.run.pack", held)
    async with open_room(tmp_path) as room:
        job = await start(room, [room.picture("one"), room.picture("two")], archive=True)
        async with asyncio.timeout(PATIENCE):
            await packing.wait()
        job = await room.jobs.cancel(room.ann, job.id)
        assert (job.state, job.done, job.result and job.result.archive) == ("canceled", 2, None)
        assert len(await made_by(room, job)) == 2
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        while list((tmp_path / "blobs" / "tmp").iterdir()):
            await asyncio.sleep(0)


async def half_done(room: Room, names: str, **options: Any) -> Job:
    """A batch in one slot that has finished its first item and works on the second."""
    room.executor.fail = lambda data: room.executor.gate.clear()  # a run that ends closes the gate behind it
    room.executor.gate.set()
    job = await start(room, [room.picture(name) for name in names], **options)
    async with asyncio.timeout(PATIENCE):
        while len(await room.rows(job_items)) < 1:
            await asyncio.sleep(0)
    await room.executor.has_run(2)
    return job


def outcomes(job: Job) -> list[str]:
    assert job.result
    return [item.error["code"] if item.error else "made" for item in job.result.items]


async def test_a_cancelled_batch_keeps_what_it_finished_and_the_next_does_only_the_rest(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        job = await half_done(room, "abcd")
        ended = await room.jobs.cancel(room.ann, job.id)
        assert (ended.state, ended.done, ended.items) == ("canceled", 1, 4)
        assert outcomes(ended) == ["made", "CANCELLED", "CANCELLED", "CANCELLED"]
        assert outcomes(await room.jobs.get(room.ann, job.id)) == outcomes(ended)
        assert await room.rows(job_items) == await room.rows(job_blobs) == []
        room.executor.fail = lambda data: None
        room.executor.gate.set()
        ran = len(room.executor.runs)
        again = await run(room, [room.picture(name) for name in "abcd"])
        assert again.result
        assert [item.cached for item in again.result.items] == [True, False, False, False]
        assert len(room.executor.runs) == ran + 3
        assert sum(row.tool == "tint" for row in await room.rows(images)) == 4


async def test_a_batch_cancelled_while_it_waits_again_keeps_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DRAIN_SECONDS", 0.01)
    async with open_room(tmp_path, slots=1, gate=False) as room:
        job = await half_done(room, "abc")
        await room.jobs.__aexit__()
        [row] = await room.rows(jobs)
        assert row.state == "queued"
        ended = await room.jobs.cancel(room.ann, job.id)
        assert (ended.state, outcomes(ended)) == ("canceled", ["made", "CANCELLED", "CANCELLED"])
        assert len(await made_by(room, ended)) == 1


@pytest.mark.parametrize(
    ("values", "state", "code"),
    [({"attempt": 3}, "failed", "INTERRUPTED"), ({"cancel_requested": True}, "canceled", "CANCELLED")],
)
async def test_a_batch_whose_server_died_for_good_keeps_what_it_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], state: str, code: str
) -> None:
    monkeypatch.setattr(service, "DRAIN_SECONDS", 0.01)
    async with open_room(tmp_path, slots=1, gate=False) as room:
        job = await half_done(room, "abc")
        await room.jobs.__aexit__()
        dead = {"state": "running", "lease_owner": "a dead worker", "lease_until": 0.0, **values}
        await room.database.write(lambda c: c.execute(jobs.update().values(dead)))
    async with open_room(tmp_path, alone=True) as room:
        ended = await room.jobs.get(room.ann, job.id)
        assert (ended.state, outcomes(ended)) == (state, ["made", code, code])
        assert len(await made_by(room, ended)) == 1
        again = await run(room, [room.picture(name) for name in "abc"])
        assert again.result and [item.cached for item in again.result.items] == [True, False, False]


async def test_a_cancelled_batch_of_reports_leaves_no_bytes(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        values = [room.picture(name) for name in "abc"]
        job = await room.jobs.accept(room.ann, measure, {"image": values}, each="image")
        await room.executor.has_run(1)
        assert (await room.jobs.cancel(room.ann, job.id)).state == "canceled"
        assert room.stored() == set()


async def test_a_batch_goes_on_after_a_restart_and_its_zip_holds_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "DRAIN_SECONDS", 0.01)
    async with open_room(tmp_path, slots=1, gate=False) as room:
        job = await half_done(room, "abc", archive=True)
        await room.jobs.__aexit__()
    async with open_room(tmp_path, alone=True) as room:
        job = await room.done(job)
        assert len(room.executor.runs) == 2
        assert list(await members(room, job)) == ["_report.json", "a.png", "b.png", "c.png"]


async def test_another_call_under_the_same_key_is_refused_if_only_the_zip_differs(room: Room) -> None:
    arguments = {"image": [room.picture("one"), room.picture("two")]}
    call: Any = {"each": "image", "terms": Terms(idempotency_key="k")}
    first = await room.jobs.accept(room.ann, tint, arguments, **call, archive=True)
    assert (await room.jobs.accept(room.ann, tint, arguments, **call, archive=True)).id == first.id
    with pytest.raises(Exception, match="another call"):
        await room.jobs.accept(room.ann, tint, arguments, **call)


def countdown(*moments: float) -> Countdown:
    times = iter(moments)
    return Countdown(lambda: next(times))


def test_the_time_left_follows_from_the_items_done() -> None:
    watch = countdown(0.0, 4.0, 8.0, 8.0)
    watch.begin()
    watch.item_done()
    assert watch.of_items(11) is None  # of one item alone nothing follows
    watch.item_done()
    assert watch.of_items(10) == 40.0


def test_the_time_left_of_a_single_item_follows_from_its_share() -> None:
    watch = countdown(10.0, 13.0)
    watch.begin()
    assert watch.of_rest(0.01) is None
    assert watch.of_rest(0.25) == 9.0
    assert watch.of_rest(1.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.3, ""), (3.2, ", about 3 s left"), (23.0, ", about 25 s left"), (180.0, ", about 3 min left")],
)
def test_the_time_left_is_told_as_roughly_as_it_is_known(seconds: float | None, words: str) -> None:
    assert Status("running", 0.5, "Encoding", seconds_left=seconds).words == f"Encoding{words}"


def test_the_time_left_runs_down_while_an_item_is_under_way() -> None:
    watch = countdown(100.0, 105.0, 110.0, 113.0, 200.0)
    watch.begin()
    watch.item_done()
    watch.item_done()
    assert watch.of_items(2) == 7.0
    assert watch.of_items(2) == 0.0


async def test_a_batch_tells_the_time_left_without_counting_known_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_room(tmp_path, slots=1) as room:
        await run(room, [room.picture(f"known{n}") for n in range(5)])
        clock = iter([float(10 * n) for n in range(100)])
        monkeypatch.setattr("darkroom.jobs.run.Countdown", lambda: Countdown(lambda: next(clock)))
        told: list[Status] = []
        publish = room.jobs._bus.publish
        monkeypatch.setattr(room.jobs._bus, "publish", lambda job, status: (told.append(status), publish(job, status)))
        await run(room, [room.picture(f"known{n}") for n in range(5)] + [room.picture(name) for name in "abcd"])
    counted = [(status.done, status.seconds_left) for status in told if status.state == "running" and status.done > 5]
    assert counted[:2] == [(6, None), (7, 10.0)]
