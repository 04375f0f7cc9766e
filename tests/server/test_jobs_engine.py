"""Jobs over the real workers: a real picture in, a real picture out, and nothing left behind."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from PIL import Image as Picture

from darkroom.engine.limits import Limits
from darkroom.engine.pool import Pool
from darkroom.executors.local import LocalExecutor
from darkroom.intake import Intake
from darkroom.jobs.record import ItemResult, Job
from darkroom.jobs.service import Jobs
from darkroom.library.library import Library
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.schema import images
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio


@dataclass
class Room:
    """One server on a data directory, with two real workers."""

    folder: Path
    database: Database
    blobs: BlobStore
    library: Library
    jobs: Jobs
    ann: Principal

    async def call(self, tool: str, each: str | None = None, **arguments: object) -> tuple[Job, list[ItemResult]]:
        job = await self.jobs.accept(self.ann, builtin_tools()[tool], arguments, each=each)
        job = job if job.ended else await self.jobs.wait(self.ann, job.id, 60)
        return job, list(job.result.items if job.result else ())

    async def opened(self, handle: str) -> Picture.Image:
        return Picture.open(io.BytesIO(await self.library.read(self.ann, handle)))

    def files(self) -> set[str]:
        return {path.name for path in (self.folder / "blobs").rglob("*") if path.is_file()}


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    (tmp_path / "pictures").mkdir()
    for name, size in (("wide", (640, 320)), ("tall", (200, 400))):
        Picture.linear_gradient("L").resize(size).convert("RGB").save(tmp_path / "pictures" / f"{name}.jpg")
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more than a beginning" * 9)
    ann = Principal("ann", (tmp_path / "pictures",))
    blobs = BlobStore(tmp_path / "blobs")
    async with (
        Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database,
        Pool(workers=2, run_dir=tmp_path / "run", limits=Limits()) as pool,
    ):
        library = Library(database, blobs)
        executor = LocalExecutor(pool, path_of=blobs.path, adopt=blobs.adopt)
        intake = Intake(blobs, 10_000_000, library.resolve)
        async with Jobs(database, blobs, executor, intake, library, slots=2, limits=Limits(), alone=True) as jobs:
            yield Room(tmp_path, database, blobs, library, jobs, ann)


async def test_a_picture_is_resized_recorded_and_found_the_second_time(room: Room) -> None:
    path = str(room.folder / "pictures" / "wide.jpg")
    job, [item] = await room.call("resize", image=path, width=160)
    assert job.state == "succeeded", job.error
    record = await room.library.get(room.ann, item.images[0])
    assert (record.width, record.height, record.format, record.name) == (160, 80, "jpeg", "wide-resize.jpg")
    assert (await room.opened(item.images[0])).size == (160, 80)
    source = await room.library.get(room.ann, item.sources[0])
    assert (source.width, source.height) == (640, 320)
    _, [known] = await room.call("resize", image=path, width=160)
    assert (known.images, known.cached) == (item.images, True)
    assert len(room.files()) == 2


async def test_a_batch_with_a_broken_file_does_the_others(room: Room) -> None:
    paths = [str(room.folder / "pictures" / f"{name}.jpg") for name in ("wide", "broken", "tall")]
    job, items = await room.call("resize", each="image", image=paths, width=100)
    assert job.state == "succeeded"
    assert [item.error and item.error["code"] for item in items] == [None, "INVALID_IMAGE", None]
    assert [(await room.opened(items[n].images[0])).size for n in (0, 2)] == [(100, 50), (100, 200)]


async def test_a_report_is_answered_and_leaves_nothing(room: Room) -> None:
    path = str(room.folder / "pictures" / "tall.jpg")
    job, [item] = await room.call("info", image=path)
    assert job.state == "succeeded", job.error
    assert item.report is not None
    assert (item.report["width"], item.report["height"]) == (200, 400)
    assert room.files() == set()
    assert await room.database.read(lambda c: c.execute(sa.select(images)).all()) == []


async def test_rendering_answers_with_bytes_and_stores_nothing(room: Room) -> None:
    _, [item] = await room.call("resize", image=str(room.folder / "pictures" / "wide.jpg"), width=300)
    before = room.files()
    resize = builtin_tools()["resize"]
    plan = resize.plan(resize.settings.parse({"width": 30}), {"image": ["input:0"]})
    data, picture = await room.jobs.render(room.ann, item.images[0], plan)
    assert Picture.open(io.BytesIO(data)).size == (picture.width, picture.height) == (30, 15)
    assert room.files() == before
