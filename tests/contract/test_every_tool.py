"""What every tool keeps, whoever wrote it: run through the real engine, workers and library."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image
from support.odd import ODD_PICTURES, TEST_PHOTO, UNREADABLE, endless_picture

from darkroom.app import Darkroom
from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Progress
from darkroom.jobs.record import ItemResult, Job
from darkroom.principal import Principal
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.plan import input_ref
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio
TOOLS = list(builtin_tools().values())
IMAGE_TOOLS = [tool for tool in TOOLS if tool.output == "image"]
every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.id)
every_image_tool = pytest.mark.parametrize("tool", IMAGE_TOOLS, ids=lambda tool: tool.id)
OUTPUT_SIDE = Limits().output_side
PRIVATE_TAGS = {
    ExifTags.Base[name].value
    for name in ("Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ExifOffset", "GPSInfo")
}


def stored(folder: Path, data: bytes, name: str = "picture") -> Path:
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


def arguments_of(tool: Tool, path: Path) -> dict[str, Any]:
    images = {i.name: [str(path)] if i.many else str(path) for i in tool.inputs if i.required}
    return {**images, **tool.example}


async def finished(room: Darkroom, caller: Principal, tool: Tool, path: Path) -> Job:
    job = await room.jobs.accept(caller, tool, arguments_of(tool, path))
    return job if job.ended else await room.jobs.wait(caller, job.id, 60)


def only_item(job: Job) -> ItemResult:
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert len(job.result.items) == 1
    return job.result.items[0]


@pytest.mark.parametrize("odd", ODD_PICTURES)
@every_tool
async def test_every_odd_picture_is_taken(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool, odd: str
) -> None:
    job = await finished(room, caller, tool, stored(pictures, ODD_PICTURES[odd]))
    if job.state == "failed":
        # A picture may be read that is too long to be written; then the caller hears just that.
        assert job.error is not None
        assert job.error["code"] == "OUTPUT_TOO_LARGE", job.error
        assert max(Image.open(io.BytesIO(ODD_PICTURES[odd])).size) > OUTPUT_SIDE
        assert not tool.read_only
        return
    item = only_item(job)
    if tool.read_only:
        assert item.report
        return
    assert item.images
    for handle in item.images:
        record = await room.library.get(caller, handle)
        with Image.open(io.BytesIO(await room.library.read(caller, handle))) as seen:
            seen.load()
            assert (seen.width, seen.height) == (record.width, record.height)
            assert getattr(seen, "n_frames", 1) == record.frames
            assert not PRIVATE_TAGS & set(seen.getexif())
            assert seen.getexif().get(ExifTags.Base.Orientation, 1) == 1
            assert "comment" not in seen.info


@pytest.mark.parametrize("kind", UNREADABLE)
@every_tool
async def test_what_cannot_be_read_is_a_clear_error(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool, kind: str
) -> None:
    path = stored(pictures, UNREADABLE[kind])
    try:
        job = await finished(room, caller, tool, path)
    except DarkroomError as error:
        told = error.to_wire()
    else:
        assert job.state == "failed", f"{tool.id} answered {job.result}"
        assert job.error is not None
        told = job.error
    assert told["code"] in {"INVALID_IMAGE", "UNSUPPORTED_FORMAT", "EMPTY_FILE"}
    assert told["error"].endswith(".")
    assert str(pictures) not in str(told)
    assert str(room.where.root) not in str(told)


@every_image_tool
async def test_equal_calls_give_equal_bytes(room: Darkroom, caller: Principal, pictures: Path, tool: Tool) -> None:
    item = only_item(await finished(room, caller, tool, stored(pictures, TEST_PHOTO, "same")))
    _, settings = tool.parse(arguments_of(tool, Path("x")))
    refs = {i.name: [input_ref(n)] for n, i in enumerate(i for i in tool.inputs if i.required)}
    digests = [(await room.library.get(caller, handle)).sha256 for handle in item.sources]
    plan = tool.plan(settings, refs)
    first, _ = await room.executor.render(plan, digests)
    second, _ = await room.executor.render(plan, digests)
    assert first == second == await room.library.read(caller, item.images[0])


@every_tool
async def test_the_source_stays_as_it_was(room: Darkroom, caller: Principal, pictures: Path, tool: Tool) -> None:
    path = stored(pictures, ODD_PICTURES["alpha"], "source")
    item = only_item(await finished(room, caller, tool, path))
    assert path.read_bytes() == ODD_PICTURES["alpha"]
    for handle in item.sources:
        assert await room.library.read(caller, handle) == ODD_PICTURES["alpha"]


@every_image_tool
async def test_the_same_call_again_answers_from_the_library(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    path = stored(pictures, TEST_PHOTO, "again")
    first = only_item(await finished(room, caller, tool, path))
    runs = room.pool.stats()["runs"]
    second = only_item(await finished(room, caller, tool, path))
    assert (second.images, second.cached) == (first.images, True)
    assert room.pool.stats()["runs"] == runs


@every_image_tool
async def test_a_result_knows_its_source_tool_and_steps(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    item = only_item(await finished(room, caller, tool, stored(pictures, TEST_PHOTO, "recipe")))
    record = await room.library.get(caller, item.images[0])
    assert (record.parent, record.tool) == (item.sources[0], tool.id)
    assert [step["tool"] for step in record.steps] == [tool.id]


@every_tool
async def test_progress_rises_from_nothing_to_done(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(TEST_PHOTO)).resize((1600, 1200)).save(buffer, "PNG")
    path = stored(pictures, buffer.getvalue(), f"progress-{tool.id}")
    job = await room.jobs.accept(caller, tool, arguments_of(tool, path))
    seen: list[Progress] = []
    async with room.jobs.watch(job.id) as events:
        async for progress in events:
            seen.append(progress)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions[-1] == 1
    assert all(len(progress.message) <= 120 for progress in seen)
    assert (await room.jobs.wait(caller, job.id, 60)).state == "succeeded"


@every_tool
async def test_a_cancelled_call_ends_and_frees_its_worker(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    path = stored(pictures, endless_picture(), "cancel")
    job = await room.jobs.accept(caller, tool, arguments_of(tool, path))
    await room.jobs.cancel(caller, job.id)
    ended = await room.jobs.wait(caller, job.id, 20)
    assert ended.state == "canceled"
    assert (await finished(room, caller, tool, stored(pictures, TEST_PHOTO, "after"))).state == "succeeded"
