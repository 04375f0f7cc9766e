"""What every tool keeps, whoever wrote it: run through the real engine, workers and library."""

import hashlib
import io
import itertools
import zipfile
from pathlib import Path

import pytest
from PIL import ExifTags, Image
from support.calls import WORK_ON_BYTES, arguments_of, example_with, reads_pictures
from support.odd import ODD_PICTURES, TEST_PHOTO, UNREADABLE, endless_picture

from darkroom.app import Darkroom
from darkroom.engine.limits import Limits
from darkroom.jobs.record import ItemResult, Job, Status
from darkroom.principal import Principal
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.plan import input_ref
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio
TOOLS = list(builtin_tools().values())
IMAGE_TOOLS = [tool for tool in TOOLS if tool.output == "image"]
every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.id)
every_picture_tool = pytest.mark.parametrize("tool", list(filter(reads_pictures, TOOLS)), ids=lambda tool: tool.id)
every_reading_tool = pytest.mark.parametrize(
    "tool", [t for t in TOOLS if any(i.required for i in t.inputs)], ids=lambda tool: tool.id
)
every_image_tool = pytest.mark.parametrize("tool", IMAGE_TOOLS, ids=lambda tool: tool.id)
DAMAGED_INSIDE = {"cut off", "damaged", "only a header"}
KEEP_METADATA = {"bulk-rename", "edit-metadata"}
KEEP_ORIENTATION = {"strip-metadata"}
"""Without it the untouched pixels would lie on their side."""
OUTPUT_SIDE = Limits().output_side
PRIVATE_TAGS = {
    ExifTags.Base[name].value
    for name in ("Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ExifOffset", "GPSInfo")
}


def stored(folder: Path, data: bytes, name: str = "picture") -> Path:
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


async def finished(room: Darkroom, caller: Principal, tool: Tool, path: Path) -> Job:
    job = await room.jobs.accept(caller, tool, arguments_of(tool, str(path), path.parent))
    return job if job.ended else await room.jobs.wait(caller, job.id, 60)


def only_item(job: Job) -> ItemResult:
    assert job.state == "succeeded", job.error
    assert job.result is not None
    assert len(job.result.items) == 1
    return job.result.items[0]


@pytest.mark.parametrize("odd", ODD_PICTURES)
@every_picture_tool
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
        data = await room.library.read(caller, handle)
        if record.width is not None:
            check_picture(data, (record.width, record.height, record.frames), tool)
        elif record.format == "zip":
            check_archive(data, tool)


def check_picture(data: bytes, told: tuple[int | None, int | None, int] | None, tool: Tool) -> None:
    """Another library reads the picture, as large as the reply says, and finds nothing private in it."""
    with Image.open(io.BytesIO(data)) as seen:
        seen.load()
        if told is not None:
            turned = seen.getexif().get(ExifTags.Base.Orientation, 1) > 4
            upright = (seen.height, seen.width) if turned else (seen.width, seen.height)
            assert (*upright, getattr(seen, "n_frames", 1)) == told
        if tool.id not in KEEP_METADATA:
            assert not PRIVATE_TAGS & set(seen.getexif())
            assert "comment" not in seen.info
        if tool.id not in KEEP_ORIENTATION | KEEP_METADATA:
            assert seen.getexif().get(ExifTags.Base.Orientation, 1) == 1


def check_archive(data: bytes, tool: Tool) -> None:
    """The ZIP is whole, and so is every picture in it."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist()
        for name in archive.namelist():
            if name.endswith((".png", ".jpg", ".webp", ".gif", ".avif", ".tiff")):
                check_picture(archive.read(name), None, tool)


@pytest.mark.parametrize("kind", UNREADABLE)
@every_reading_tool
async def test_what_cannot_be_read_is_a_clear_error(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool, kind: str
) -> None:
    path = stored(pictures, UNREADABLE[kind])
    try:
        job = await room.jobs.accept(caller, tool, example_with(tool, str(path)))
        job = job if job.ended else await room.jobs.wait(caller, job.id, 60)
    except DarkroomError as error:
        told = error.to_wire()
    else:
        if tool.id in WORK_ON_BYTES and kind in DAMAGED_INSIDE and job.state == "succeeded":
            return
        assert job.state == "failed", f"{tool.id} answered {job.result}"
        assert job.error is not None
        told = job.error
    assert told["code"] in {"INVALID_IMAGE", "UNSUPPORTED_FORMAT", "EMPTY_FILE"}
    assert told["error"].endswith(".")
    assert str(pictures) not in str(told)
    assert str(room.where.root) not in str(told)


@every_image_tool
async def test_equal_calls_give_equal_bytes(room: Darkroom, caller: Principal, pictures: Path, tool: Tool) -> None:
    if tool.generative:
        pytest.skip("an engine makes another picture each time")
    item = only_item(await finished(room, caller, tool, stored(pictures, TEST_PHOTO, "same")))
    values, settings = tool.parse(example_with(tool, "x"))
    numbers = itertools.count()
    refs = {name: [input_ref(next(numbers)) for _ in images] for name, images in values.items()}
    digests = [(await room.library.get(caller, handle)).sha256 for handle in item.sources]
    plan = tool.plan(settings, refs)
    first, _ = await room.executor.render(plan, digests)
    second, _ = await room.executor.render(plan, digests)
    assert first == second == await room.library.read(caller, item.images[0])


@every_picture_tool
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
    assert (record.parent, record.tool) == (item.sources[0] if item.sources else None, tool.id)
    assert [step["tool"] for step in record.steps] == [tool.id]


@every_picture_tool
async def test_progress_rises_from_nothing_to_done(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(TEST_PHOTO)).resize((1600, 1200)).save(buffer, "PNG")
    path = stored(pictures, buffer.getvalue(), f"progress-{tool.id}")
    job = await room.jobs.accept(caller, tool, arguments_of(tool, str(path), pictures))
    seen: list[Status] = []
    async with room.jobs.watch(job.id) as events:
        async for progress in events:
            seen.append(progress)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
    assert fractions[-1] == 1
    assert all(len(progress.stage) <= 120 for progress in seen)
    assert (await room.jobs.wait(caller, job.id, 60)).state == "succeeded"


@every_picture_tool
async def test_a_cancelled_call_ends_and_frees_its_worker(
    room: Darkroom, caller: Principal, pictures: Path, tool: Tool
) -> None:
    if tool.id in WORK_ON_BYTES:
        pytest.skip("it is done before it can be cancelled")
    path = stored(pictures, endless_picture(), "cancel")
    job = await room.jobs.accept(caller, tool, example_with(tool, str(path)))
    await room.jobs.cancel(caller, job.id)
    ended = await room.jobs.wait(caller, job.id, 20)
    assert ended.state == "canceled"
    assert (await finished(room, caller, tool, stored(pictures, TEST_PHOTO, "after"))).state == "succeeded"
