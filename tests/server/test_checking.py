"""The dry run beside a queue: waiting, busy workers, and what may be read."""

from pathlib import Path
from typing import Any

import pytest
from support.jobs_room import Room, open_room, tint

from darkroom.jobs.checking import Check
from darkroom.principal import Principal
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

RESIZE = builtin_tools()["resize"]


async def check(room: Room, *, who: Principal | None = None, **arguments: Any) -> Check:
    return await room.jobs.checker.check(who or room.ann, RESIZE, {"width": 4, **arguments})


async def test_the_wait_is_told_only_where_somebody_waits(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1) as room:
        await room.done(await room.tint("before"))
        assert (await check(room)).waiting is None
        room.executor.gate.clear()
        await room.tint("one")
        await room.executor.has_run(2)
        await room.jobs.accept(room.ben, tint, {"image": room.picture("two")})
        waiting = (await check(room)).waiting
        assert waiting is not None
        assert waiting.low == 0 < waiting.high


async def test_a_picture_is_looked_at_by_its_header_and_let_go_of(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        (item,) = (await check(room, image=room.picture("photo"))).items
        (seen,) = item.sources
        assert (seen.given.shape.width, seen.given.shape.height, seen.given.seen) == (8, 6, True)
        assert item.labels == ("photo.png",)
        assert room.stored() == set()


async def test_a_handle_is_read_from_the_library_alone(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        job = await room.done(await room.tint("photo"))
        assert job.result is not None
        runs = len(room.executor.runs)
        (item,) = (await check(room, image=job.result.items[0].images[0])).items
        assert (item.sources[0].given.shape.width, item.sources[0].given.shape.height) == (4, 3)
        assert len(room.executor.runs) == runs


async def test_the_same_picture_is_looked_at_once_however_often_it_is_named(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        photo = room.picture("photo")
        told = await room.jobs.checker.check(room.ann, RESIZE, {"width": 4, "image": [photo] * 50}, each="image")
        assert len(told.items) == 50
        assert len(room.executor.runs) == 1


async def test_somebody_elses_picture_is_not_found(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        job = await room.done(await room.tint("photo"))
        assert job.result is not None
        (item,) = (await check(room, who=room.ben, image=job.result.items[0].images[0])).items
        assert item.error is not None
        assert item.error.code == "NOT_FOUND"


async def test_an_address_is_refused_where_nothing_is_fetched(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        (item,) = (await check(room, image="https://example.invalid/photo.jpg")).items
        assert item.error is not None
        assert item.error.code == "URL_NOT_ALLOWED"


async def test_wrong_arguments_are_problems_and_all_of_them(tmp_path: Path) -> None:
    async with open_room(tmp_path) as room:
        told = await check(room, width="wide", fit="tight", stranger=1)
        assert [error.details["field"] for error in told.problems] == ["width", "fit", "stranger"]
        assert told.items == ()
