"""Trying the call of a job again that failed or was cancelled."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.jobs_room import Room, open_room, tint

from darkroom.accounts.credits import Credits
from darkroom.accounts.prices import load_prices
from darkroom.errors import Conflict, InsufficientCredits, NotFound
from darkroom.jobs.history import Filter
from darkroom.jobs.terms import Hook, Terms
from darkroom.store.database import Database
from darkroom.store.schema import job_blobs, webhook_deliveries
from darkroom_tools.errors import ProcessingFailed

pytestmark = pytest.mark.anyio

HOOK = Hook("https://hooks.example.com/here")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    async with open_room(tmp_path) as room:
        yield room


def priced(database: Database) -> Credits:
    prices = load_prices()
    return Credits(database, on=True, free=3, prices=replace(prices, tools={**prices.tools, "tint": 2}))


def break_workers(room: Room) -> None:
    room.executor.fail = lambda data: ProcessingFailed("It broke.")


async def broken(room: Room, terms: Terms = Terms()) -> str:  # noqa: B008 - immutable
    break_workers(room)
    job = await room.jobs.accept(room.ann, tint, {"image": room.picture("photo"), "shade": 3}, terms=terms)
    assert (await room.done(job)).state == "failed"
    room.executor.fail = lambda data: None
    return job.id


async def test_a_failed_job_runs_again_as_a_new_one_that_names_the_first(room: Room) -> None:
    first = await broken(room, Terms(labels={"order": "7"}, priority=2))
    again = await room.done(await room.jobs.retry(room.ann, first))
    assert (again.state, again.retry_of, again.labels, again.priority) == ("succeeded", first, {"order": "7"}, 2)
    assert again.id != first
    assert again.result is not None
    assert again.result.items[0].images
    old = await room.jobs.get(room.ann, first)
    assert (old.state, old.error and old.error["error"]) == ("failed", "It broke.")
    assert await room.rows(job_blobs) == []


async def test_a_job_that_was_tried_twice_is_tried_again_from_the_last(room: Room) -> None:
    first = await broken(room)
    break_workers(room)
    second = await room.done(await room.jobs.retry(room.ann, first))
    room.executor.fail = lambda data: None
    third = await room.done(await room.jobs.retry(room.ann, second.id))
    assert (second.retry_of, third.retry_of, third.state) == (first, first, "succeeded")
    newest = await room.jobs.history.newest_tries(room.ann, [first])
    assert {key: job.id for key, job in newest.items()} == {first: third.id}
    assert await room.jobs.history.newest_tries(room.ben, [first]) == {}


async def test_only_what_failed_or_was_cancelled_is_tried_again(room: Room) -> None:
    done = await room.jobs.accept(room.ann, tint, {"image": room.picture("good")}, terms=Terms(kept=True))
    await room.done(done)
    with pytest.raises(Conflict, match="succeeded"):
        await room.jobs.retry(room.ann, done.id)
    room.executor.gate.clear()
    under_way = await room.tint("other", shade=1)
    with pytest.raises(Conflict, match="running"):
        await room.jobs.retry(room.ann, under_way.id)
    await room.jobs.cancel(room.ann, under_way.id)
    room.executor.gate.set()
    assert (await room.done(await room.jobs.retry(room.ann, under_way.id))).state == "succeeded"


async def test_a_retry_under_way_keeps_a_second_one_from_starting(room: Room) -> None:
    first = await broken(room)
    room.executor.gate.clear()
    came = await asyncio.gather(*(room.jobs.retry(room.ann, first) for _ in range(5)), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in came) == 1
    assert sum(isinstance(each, Conflict) for each in came) == 4


async def test_somebody_else_s_job_is_not_tried_again(room: Room) -> None:
    first = await broken(room)
    with pytest.raises(NotFound):
        await room.jobs.retry(room.ben, first)
    with pytest.raises(NotFound):
        await room.jobs.retry(room.ann, "job_aaaaaaaaaaaaaaaaaaaaaaaaaa")


async def test_a_job_whose_input_is_gone_is_refused_with_what_to_do(room: Room) -> None:
    first = await broken(room)
    for digest in room.stored():
        assert await room.library.discard(digest)
    with pytest.raises(NotFound, match="Hand the picture in again"):
        await room.jobs.retry(room.ann, first)


async def test_a_retry_is_paid_for_like_a_first_try(tmp_path: Path) -> None:
    async with open_room(tmp_path, credits=priced) as room:
        credits = priced(room.database)
        first = await broken(room)
        assert (await credits.balance("ann")).total == 3
        again = await room.done(await room.jobs.retry(room.ann, first))
        assert (again.state, again.credits) == ("succeeded", 2)
        assert (await credits.balance("ann")).total == 1
        assert await credits.verify() == []


async def test_a_retry_without_credits_is_refused_and_leaves_no_job(tmp_path: Path) -> None:
    async with open_room(tmp_path, credits=priced) as room:
        first = await broken(room)
        await room.done(await room.tint("another"))
        with pytest.raises(InsufficientCredits):
            await room.jobs.retry(room.ann, first)
        assert await room.jobs.history.newest_tries(room.ann, [first]) == {}


async def test_who_asked_to_hear_of_a_job_hears_of_each_try(room: Room) -> None:
    first = await broken(room, Terms(webhooks=(HOOK,)))
    again = await room.done(await room.jobs.retry(room.ann, first))
    assert {row.job for row in await room.rows(webhook_deliveries)} == {first, again.id}


async def test_a_deadline_is_as_far_away_as_at_first(room: Room) -> None:
    first = await broken(room, Terms(deadline_seconds=500))
    again = await room.jobs.retry(room.ann, first)
    assert again.deadline_at is not None
    assert again.deadline_at - again.created_at == pytest.approx(500, abs=1e-3)


async def test_a_cancelled_batch_goes_on_with_what_was_left(room: Room) -> None:
    room.executor.gate.clear()
    pictures = [room.picture(name) for name in ("one", "two", "three")]
    job = await room.jobs.accept(room.ann, tint, {"image": pictures}, each="image")
    await room.jobs.cancel(room.ann, job.id)
    room.executor.gate.set()
    done = await room.jobs.accept(room.ann, tint, {"image": room.picture("one")})
    await room.done(done)
    before = len(room.executor.runs)
    again = await room.done(await room.jobs.retry(room.ann, job.id))
    assert (again.state, again.done) == ("succeeded", 3)
    assert len(room.executor.runs) == before + 2


async def test_the_list_can_leave_out_all_but_first_tries(room: Room) -> None:
    first = await broken(room)
    again = await room.done(await room.jobs.retry(room.ann, first))
    every, total = await room.jobs.history.page(room.ann)
    assert ({job.id for job in every}, total) == ({first, again.id}, 2)
    firsts, total = await room.jobs.history.page(room.ann, Filter(first_tries=True))
    assert ([job.id for job in firsts], total) == ([first], 1)


async def test_the_inputs_of_a_job_are_told_by_name_and_digest_to_its_owner(room: Room) -> None:
    job = await room.done(await room.tint("photo"))
    assert job.result is not None
    digest = (await room.library.get(room.ann, job.result.items[0].sources[0])).sha256
    assert list(await room.jobs.history.inputs(room.ann, job.id)) == [("photo.png", digest)]
    with pytest.raises(NotFound):
        await room.jobs.history.inputs(room.ben, job.id)
