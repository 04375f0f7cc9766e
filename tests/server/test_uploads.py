"""One file through a one-time address: once, in time, within the limit, and checked before it counts."""

import hashlib
import io
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import PIL.ExifTags
import PIL.Image
import pytest
import sqlalchemy as sa

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Picture
from darkroom.engine.pool import Pool
from darkroom.errors import Conflict, NotFound, QuotaExceeded
from darkroom.executors.local import LocalExecutor
from darkroom.intake import Intake
from darkroom.library.arriving import Arrivals
from darkroom.library.library import Library, insert_source
from darkroom.library.quota import Quota
from darkroom.library.uploads import Slot, Uploads
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import uploads
from darkroom_tools.errors import InvalidImage, LimitExceeded, UnsupportedFormat
from darkroom_tools.plan import Plan

pytestmark = pytest.mark.anyio

ANN, BEN = Principal("ann"), Principal("ben")
LIMIT = 100_000


def png(color: str = "red") -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), color).save(out, "PNG")
    return out.getvalue()


RED = png()


@dataclass
class Inspector:
    """Stands for the executor: reads the header with Pillow instead of in a worker."""

    blobs: BlobStore
    plans: list[Plan] = field(default_factory=list)
    error: Exception | None = None

    async def run(self, plan: Plan, digests: Sequence[str]) -> Any:
        self.plans.append(plan)
        if self.error is not None:
            raise self.error
        data = self.blobs.path(digests[0]).read_bytes()
        with PIL.Image.open(io.BytesIO(data)) as image:
            picture = Picture("png", "image/png", len(data), *image.size)
        return SimpleNamespace(outcome=Outcome([picture]), digests=())


@dataclass
class Desk:
    """Uploads with a clock that stands still until it is set."""

    database: Database
    blobs: BlobStore
    library: Library
    inspector: Inspector
    uploads: Uploads
    clock: list[float]

    def left_behind(self) -> list[Path]:
        return [file for file in self.blobs.path("0" * 64).parents[2].rglob("*") if file.is_file()]

    async def send(self, slot: Slot, *data: bytes, name: str = "photo.png") -> Any:
        return await self.uploads.receive(slot.token, pieces(*data), name)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    blobs = BlobStore(tmp_path / "blobs", floor_bytes=0)
    async with Database(f"sqlite:///{tmp_path}/uploads.db") as database:
        library = Library(database, blobs)
        inspector, clock = Inspector(blobs), [1000.0]
        intake = Intake(blobs, LIMIT, library.resolve)
        service = Uploads(database, intake, library, Arrivals(blobs, inspector), lambda: clock[0])
        yield Desk(database, blobs, library, inspector, service, clock)


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def assert_closed(desk: Desk, token: str) -> None:
    """The slot answers as one that never was."""
    texts = []
    for one in (token, "x" * 43):
        with pytest.raises(NotFound) as checked:
            await desk.uploads.check(one)
        with pytest.raises(NotFound) as sent:
            await desk.uploads.receive(one, pieces(RED), "photo.png")
        texts += [checked.value.to_wire(), sent.value.to_wire()]
    assert texts == texts[:1] * 4


async def test_a_file_becomes_an_image_of_whoever_made_the_slot(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    await desk.uploads.check(slot.token)
    record = await desk.send(slot, RED[:7], RED[7:], name="../\u202ephoto\0.png")
    assert (record.owner, record.name, record.width, record.height) == ("ann", "photo.png", 40, 30)
    assert record.sha256 == hashlib.sha256(RED).hexdigest() and record.version == 1
    assert await desk.library.get(ANN, record.id) == record
    assert await desk.library.read(ANN, record.id) == RED
    assert desk.inspector.plans == [Plan()]
    with pytest.raises(NotFound):
        await desk.library.get(BEN, record.id)


async def test_a_slot_takes_one_file(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    await desk.send(slot, RED)
    await assert_closed(desk, slot.token)


async def test_a_slot_closes_after_ten_minutes(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    assert slot.expires_at == 1600.0
    desk.clock[0] = 1599.0
    await desk.uploads.check(slot.token)
    desk.clock[0] = 1600.0
    await assert_closed(desk, slot.token)


async def test_expired_slots_are_forgotten_with_the_next_one(desk: Desk) -> None:
    await desk.uploads.create(ANN)
    desk.clock[0] = 2000.0
    slot = await desk.uploads.create(ANN)
    ids = await desk.database.read(lambda connection: connection.scalars(sa.select(uploads.c.id)).all())
    assert ids == [slot.id]


async def test_a_token_is_long_random_and_never_stored(desk: Desk) -> None:
    slots = [await desk.uploads.create(ANN) for _ in range(20)]
    assert len({slot.token for slot in slots}) == 20 and all(len(slot.token) == 43 for slot in slots)
    rows = await desk.database.read(lambda connection: connection.execute(sa.select(uploads)).all())
    assert not any(slot.token in str(rows) for slot in slots)


@pytest.mark.parametrize("token", ["", "x" * 43, "\0", "\ud800", "' OR 1=1 --", "é" * 1000])
async def test_an_unknown_token_opens_nothing(desk: Desk, token: str) -> None:
    await desk.uploads.create(ANN)
    await assert_closed(desk, token)


async def test_the_public_id_opens_nothing(desk: Desk) -> None:
    await assert_closed(desk, (await desk.uploads.create(ANN)).id)


async def test_a_file_over_the_limit_is_cut_off_and_leaves_nothing(desk: Desk) -> None:
    slot, taken = await desk.uploads.create(ANN), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        yield RED
        while True:
            taken += 1
            yield bytes(10_000)

    with pytest.raises(LimitExceeded) as caught:
        await desk.uploads.receive(slot.token, endless(), "photo.png")
    assert caught.value.code == "FILE_TOO_LARGE" and taken <= 10 and desk.left_behind() == []


@pytest.mark.parametrize(
    ("data", "error"),
    [(b"", InvalidImage), (b"<html>" * 50, UnsupportedFormat), (b"MZ" + bytes(90), UnsupportedFormat)],
)
async def test_what_is_no_image_is_refused_and_the_slot_stays_open(
    desk: Desk, data: bytes, error: type[Exception]
) -> None:
    slot = await desk.uploads.create(ANN)
    with pytest.raises(error):
        await desk.send(slot, data)
    assert desk.left_behind() == []
    assert (await desk.send(slot, RED)).width == 40


async def test_a_file_that_fails_inspection_is_not_kept(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    desk.inspector.error = InvalidImage("The file is damaged.")
    with pytest.raises(InvalidImage):
        await desk.send(slot, RED)
    assert desk.left_behind() == [] and (await desk.library.list(ANN)).images == []


async def test_failing_inspection_keeps_bytes_that_somebody_else_has(desk: Desk) -> None:
    theirs = await desk.send(await desk.uploads.create(BEN), RED)
    desk.inspector.error = InvalidImage("The file is damaged.")
    with pytest.raises(InvalidImage):
        await desk.send(await desk.uploads.create(ANN), RED)
    assert await desk.library.read(BEN, theirs.id) == RED


async def test_a_connection_that_breaks_leaves_nothing_and_the_slot_open(desk: Desk) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield RED[:70]
        raise ConnectionResetError

    slot = await desk.uploads.create(ANN)
    with pytest.raises(ConnectionResetError):
        await desk.uploads.receive(slot.token, broken(), "photo.png")
    assert desk.left_behind() == []
    assert (await desk.send(slot, RED)).width == 40


async def test_a_cancelled_upload_leaves_nothing(desk: Desk) -> None:
    slot, started = await desk.uploads.create(ANN), anyio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield RED[:70]
        started.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.uploads.receive, slot.token, stalling(), "photo.png")
        await started.wait()
        tasks.cancel_scope.cancel()
    assert desk.left_behind() == []
    assert (await desk.send(slot, RED)).width == 40


async def test_of_two_files_at_once_one_counts(desk: Desk) -> None:
    slot, started, release = await desk.uploads.create(ANN), anyio.Event(), anyio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield RED
        started.set()
        await release.wait()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(desk.uploads.receive, slot.token, slow(), "first.png")
        await started.wait()
        with pytest.raises(NotFound):
            await desk.send(slot, png("blue"), name="second.png")
        release.set()
    assert [image.name for image in (await desk.library.list(ANN)).images] == ["first.png"]


async def test_the_database_lets_one_of_two_servers_win(desk: Desk) -> None:
    """Two services on one database know nothing of each other's arriving files."""
    slot = await desk.uploads.create(ANN)
    intake = Intake(desk.blobs, LIMIT, desk.library.resolve)
    other = Uploads(desk.database, intake, desk.library, Arrivals(desk.blobs, Inspector(desk.blobs)), lambda: 1000.0)
    won: list[str] = []

    async def other_first() -> AsyncIterator[bytes]:
        yield png("blue")
        won.append((await other.receive(slot.token, pieces(RED), "other.png")).name)

    with pytest.raises(NotFound):
        await desk.uploads.receive(slot.token, other_first(), "late.png")
    assert won == ["other.png"]
    assert [image.name for image in (await desk.library.list(ANN)).images] == ["other.png"]
    assert [file.name for file in desk.left_behind()] == [hashlib.sha256(RED).hexdigest()]


async def test_the_same_bytes_again_are_the_same_image(desk: Desk) -> None:
    first = await desk.send(await desk.uploads.create(ANN), RED, name="first.png")
    second = await desk.send(await desk.uploads.create(ANN), RED, name="second.png")
    theirs = await desk.send(await desk.uploads.create(BEN), RED)
    assert second == first and theirs.id != first.id


async def test_bytes_deleted_while_they_arrive_are_not_recorded_without_a_file(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    digest = hashlib.sha256(RED).hexdigest()
    honest = desk.inspector.run

    async def inspect_then_lose(*args: Any) -> Any:
        finished = await honest(*args)
        desk.blobs.delete(digest)
        return finished

    desk.inspector.run = inspect_then_lose
    with pytest.raises(Conflict):
        await desk.send(slot, RED)
    assert (await desk.library.list(ANN)).images == []
    desk.inspector.run = honest
    assert (await desk.send(slot, RED)).sha256 == digest


async def test_a_slot_has_an_id_of_its_own_kind(desk: Desk) -> None:
    slot = await desk.uploads.create(ANN)
    assert slot.id.startswith("upl_") and len(slot.id) == len(new_id("upl"))


def turned_jpeg() -> bytes:
    """A photo that its camera held upright: 40×30 as stored, 30×40 as seen."""
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = 6
    out = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "red").save(out, "JPEG", exif=exif)
    return out.getvalue()


async def test_a_real_worker_measures_the_file_upright_and_refuses_a_broken_one(desk: Desk, tmp_path: Path) -> None:
    async with Pool(workers=1, run_dir=tmp_path / "run", limits=Limits()) as pool:
        executor = LocalExecutor(pool, path_of=desk.blobs.path, adopt=desk.blobs.adopt)
        intake = Intake(desk.blobs, LIMIT, desk.library.resolve)
        service = Uploads(desk.database, intake, desk.library, Arrivals(desk.blobs, executor), lambda: 1000.0)
        slot = await service.create(ANN)
        with pytest.raises(InvalidImage):
            await service.receive(slot.token, pieces(turned_jpeg()[:100] + bytes(100)), "broken.jpg")
        assert desk.left_behind() == []
        record = await service.receive(slot.token, pieces(turned_jpeg()), "photo.png")
    assert (record.format, record.media_type, record.width, record.height) == ("jpeg", "image/jpeg", 30, 40)


async def test_who_has_no_room_left_is_refused_and_the_slot_stays_open(desk: Desk) -> None:
    intake = Intake(desk.blobs, LIMIT, desk.library.resolve)
    arrivals = Arrivals(desk.blobs, desk.inspector, Quota(len(RED)))  # type: ignore[arg-type]
    tight = Uploads(desk.database, intake, desk.library, arrivals, lambda: 1000.0)
    await desk.send(await desk.uploads.create(ANN), RED)
    slot = await tight.create(ANN)
    with pytest.raises(QuotaExceeded):
        await tight.receive(slot.token, pieces(png("blue")), "blue.png")
    assert len(desk.left_behind()) == 1
    assert (await tight.receive(slot.token, pieces(RED), "red.png")).name == "photo.png"


async def test_what_only_passed_through_enters_the_library_when_it_is_uploaded(desk: Desk) -> None:
    handle, digest = new_id("img"), desk.blobs.put(RED)
    picture = Picture("png", "image/png", len(RED), 40, 30)
    await desk.database.write(lambda c: insert_source(c, ANN.id, handle, digest, picture, "passing.png", listed=False))
    record = await desk.send(await desk.uploads.create(ANN), RED)
    assert (record.id, record.listed) == (handle, True)
