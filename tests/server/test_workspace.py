"""What only passes through: it stays out of the file library, enters it when it is wanted there, and goes after a while."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.jobs_room import Room, blend, measure, open_room, png, tint

from darkroom import app
from darkroom.config import Config
from darkroom.engine.outcome import Picture
from darkroom.errors import NotFound, QuotaExceeded
from darkroom.jobs.record import Job
from darkroom.jobs.request import Request
from darkroom.jobs.terms import Terms
from darkroom.library.library import insert_source
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.schema import images, jobs

pytestmark = pytest.mark.anyio

PASSING = Terms(kept=True, listed=False)
DAY = 86_400.0


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as opened:
        yield opened


async def run(room: Room, terms: Terms = PASSING, name: str = "photo", **arguments: Any) -> Job:
    job = await room.jobs.accept(room.ann, tint, {"image": room.picture(name), **arguments}, terms=terms)
    return job if job.ended else await room.done(job)


def made(job: Job, item: int = 0) -> str:
    assert job.result
    return job.result.items[item].images[0]


def source(job: Job, item: int = 0) -> str:
    assert job.result
    return job.result.items[item].sources[0]


async def listed(room: Room) -> set[str]:
    return {record.id for record in (await room.library.list(room.ann)).images}


async def get(room: Room, handle: str) -> ImageRecord:
    return await room.library.get(room.ann, handle)


async def age(room: Room, seconds: float, handles: Sequence[str] = ()) -> None:
    """Make images so much older; all of them if none is named."""
    older = images.update().values(created_at=images.c.created_at - seconds)
    await room.database.write(lambda c: c.execute(older.where(images.c.id.in_(handles)) if handles else older))


async def test_sources_and_results_stay_out_of_the_library_and_can_be_used(room: Room) -> None:
    job = await run(room)
    assert await listed(room) == set()
    assert not (await get(room, source(job))).listed
    assert not (await get(room, made(job))).listed
    further = await room.jobs.accept(room.ann, tint, {"image": made(job), "shade": 2}, terms=PASSING)
    assert (await get(room, made(await room.done(further)))).parent == made(job)
    assert await listed(room) == set()


async def test_the_zip_of_a_batch_stays_out_too(room: Room) -> None:
    values = {"image": [room.picture("one"), room.picture("two")]}
    job = await room.done(await room.jobs.accept(room.ann, tint, values, each="image", archive=True, terms=PASSING))
    assert job.result and job.result.archive
    assert not (await get(room, job.result.archive.images[0])).listed
    assert await listed(room) == set()


async def test_a_call_for_the_library_brings_in_what_had_only_passed_through(room: Room) -> None:
    passed = await run(room)
    await age(room, 3600)
    before = await get(room, made(passed))
    kept = await run(room, Terms())
    assert kept.result and kept.result.items[0].cached
    assert (source(kept), made(kept)) == (source(passed), made(passed))
    assert await listed(room) == {source(passed), made(passed)}
    now = await get(room, made(passed))
    assert (now.version, now.sha256) == (2, before.sha256)
    assert now.created_at > before.created_at


async def test_a_zip_that_had_passed_through_is_brought_in_with_its_results(room: Room) -> None:
    values = {"image": [room.picture("one"), room.picture("two")]}
    passed = await room.done(await room.jobs.accept(room.ann, tint, values, each="image", archive=True, terms=PASSING))
    again = await room.jobs.accept(room.ann, tint, values, each="image", archive=True)
    assert again.ended and again.result and again.result.archive and passed.result
    assert set(passed.result.images()) == set(again.result.images())
    assert set(again.result.images()) <= await listed(room)


async def test_what_is_in_the_library_stays_there_when_it_passes_through(room: Room) -> None:
    kept = await run(room, Terms())
    inside = await listed(room)
    again = await run(room)
    assert made(again) == made(kept)
    other = await run(room, shade=3)
    assert source(other) == source(kept)
    assert await listed(room) == inside == {source(kept), made(kept)}


async def test_a_source_in_the_workspace_is_kept_with_what_is_made_of_it(room: Room) -> None:
    passed = await run(room)
    job = await room.done(await room.jobs.accept(room.ann, tint, {"image": made(passed), "shade": 9}))
    assert {made(passed), made(job)} <= await listed(room)
    versions = [(await get(room, handle)).version for handle in (made(passed), made(job))]
    assert versions == [2, 3]


async def test_every_source_of_a_call_for_the_library_enters_it(room: Room) -> None:
    one, two = await run(room, name="one"), await run(room, name="two")
    call = {"image": source(one), "watermark": source(two)}
    job = await room.done(await room.jobs.accept(room.ann, blend, call))
    assert await listed(room) == {source(one), source(two), made(job)}


async def test_a_report_brings_nothing_in(room: Room) -> None:
    job = await room.jobs.accept(room.ann, measure, {"image": room.picture("photo")}, terms=PASSING)
    await room.done(job)
    assert await room.rows(images) == []


async def test_a_job_keeps_its_terms_across_a_restart(tmp_path: Path) -> None:
    async with open_room(tmp_path, gate=False) as room:
        running = await room.jobs.accept(room.ann, tint, {"image": room.picture("photo")}, terms=PASSING)
        await room.executor.has_run(1)
        wire = (await room.rows(jobs))[0].request
        assert Request.from_wire(wire).listed is False
        room.jobs.stop_claiming()
        room.executor.gate.set()
        await room.done(running)
        assert await listed(room) == set()
    old = {key: value for key, value in wire.items() if key != "listed"}
    assert Request.from_wire(old).listed is True


async def test_what_passed_through_goes_with_its_bytes_when_its_time_is_over(room: Room) -> None:
    old, kept = await run(room, name="old"), await run(room, Terms(), name="kept")
    await age(room, 2 * DAY)
    young = await run(room, name="young")
    assert await room.jobs.clear_unlisted(DAY) == 2
    for handle in (source(old), made(old)):
        with pytest.raises(NotFound):
            await get(room, handle)
    left = [await get(room, each) for job in (kept, young) for each in (source(job), made(job))]
    assert room.stored() == {record.sha256 for record in left}
    assert await room.jobs.clear_unlisted(DAY) == 0


async def test_the_server_clears_up_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Done(Exception):
        pass

    async def sweep() -> int:
        raise Done

    async with app.open_darkroom(Config(data_dir=tmp_path, workers=1, workspace_hours=2)) as darkroom:
        data = png("passing")
        picture, digest, handles = (
            Picture("png", "image/png", len(data), 8, 6),
            darkroom.blobs.put(data),
            ["img_a", "img_b"],
        )
        for handle in handles:
            insert = partial(insert_source, owner="ann", handle=handle, sha256=digest, picture=picture, name=handle)
            await darkroom.database.write(partial(insert, listed=False))
        old = images.update().where(images.c.id == "img_a").values(created_at=images.c.created_at - 2.1 * 3600)
        await darkroom.database.write(lambda connection: connection.execute(old))
        monkeypatch.setattr(app, "FIRST_SWEEP_SECONDS", 0.0)
        monkeypatch.setattr(darkroom.renditions, "sweep", sweep)
        with pytest.raises(Done):
            await darkroom.keep_house()
        assert set(await darkroom.library.find(Principal("ann"), handles)) == {"img_b"}


async def test_an_answer_that_is_given_again_stays_anew(room: Room) -> None:
    first = await run(room)
    await age(room, 2 * DAY)
    again = await run(room)
    assert (made(again), source(again)) == (made(first), source(first))
    assert await room.jobs.clear_unlisted(DAY) == 0
    assert await listed(room) == set()


async def test_an_answer_whose_images_are_gone_is_made_again(room: Room) -> None:
    first = await run(room)
    await age(room, 2 * DAY)
    await room.jobs.clear_unlisted(DAY)
    again = await run(room)
    assert again.result and not again.result.items[0].cached
    assert made(again) != made(first)


async def test_what_a_job_needs_or_somebody_pinned_stays(tmp_path: Path) -> None:
    async with open_room(tmp_path, gate=False) as room:
        room.executor.gate.set()
        pinned, of_job, used, gone = [await run(room, name=name) for name in ("pinned", "of job", "used", "gone")]
        await room.jobs.history.pin(room.ann, made(pinned))
        await room.jobs.history.pin(room.ann, of_job.id)
        room.executor.gate.clear()
        waiting = await room.jobs.accept(room.ann, tint, {"image": made(used), "shade": 4}, terms=PASSING)
        await age(room, 2 * DAY)
        await room.jobs.clear_unlisted(DAY)
        left = set(await room.database.read(lambda c: c.execute(sa.select(images.c.id)).scalars()))
        assert left == {made(pinned), made(of_job), made(used)}
        room.executor.gate.set()
        assert (await room.done(waiting)).state == "succeeded"
        assert await room.jobs.clear_unlisted(DAY) == 0
        with pytest.raises(NotFound):
            await get(room, made(gone))


async def test_who_has_no_room_left_can_still_look_but_make_nothing_more(tmp_path: Path) -> None:
    async with open_room(tmp_path, quota=100) as room:
        first = await run(room)
        assert sum(record.bytes for record in await room.rows(images)) >= 100
        before = room.stored()
        with pytest.raises(QuotaExceeded):
            await run(room, name="another")
        assert room.stored() == before
        assert made(await run(room)) == made(first)
        report = await room.jobs.accept(room.ann, measure, {"image": made(first)})
        assert (await room.done(report)).state == "succeeded"
        for handle in (made(first), source(first)):
            await room.library.delete(room.ann, handle)
        assert (await run(room, name="another")).state == "succeeded"


async def test_too_much_room_takes_what_passed_through_before_anything_in_the_library(room: Room) -> None:
    kept = await run(room, Terms(), name="kept")
    passed = await run(room, name="passed")
    await age(room, 2 * DAY)
    sizes = {row.id: row.bytes for row in await room.rows(images)}
    # In this order they go: the result that passed through, its source, and only then what is in the library.
    order = [made(passed), source(passed), made(kept)]
    while order:
        await room.jobs.prune(DAY, sum(sizes.values()) - 1)
        del sizes[order.pop(0)]
        assert {row.id for row in await room.rows(images)} == set(sizes)
