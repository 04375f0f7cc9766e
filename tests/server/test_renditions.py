"""Renditions: what they look like, that each is made once and found again, and when they go."""

import asyncio
import io
import os
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.file_room import ANN, BEN, FileRoom, file_room, png

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.engine.outcome import Picture
from darkroom.errors import NotFound
from darkroom.library.record import ImageRecord
from darkroom.library.rendition_cache import RenditionCache
from darkroom.library.renditions import KINDS, Renditions
from darkroom.principal import Principal
from darkroom_tools.errors import InvalidSettings, ProcessingFailed, UnsupportedFormat
from darkroom_tools.plan import Plan

pytestmark = pytest.mark.anyio

GPS, ORIENTATION = 0x8825, 0x0112


@pytest.fixture(scope="module")
async def darkroom(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Darkroom]:
    async with open_darkroom(Config(data_dir=tmp_path_factory.mktemp("data"), workers=1)) as room:
        yield room


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[FileRoom]:
    async with file_room(tmp_path) as opened:
        yield opened


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def halves(width: int, height: int) -> Image.Image:
    """Red above blue."""
    image = Image.new("RGB", (width, height), "blue")
    image.paste("red", (0, 0, width, height // 2))
    return image


def turned() -> bytes:
    """Stored lying on its side, with a note where it was taken and how to hold it."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (52.0, 30.0, 0.0)
    return encoded(halves(400, 800).transpose(Image.Transpose.ROTATE_90), "jpeg", exif=exif, quality=95)


def glass() -> bytes:
    """A red disc on nothing."""
    image = Image.new("RGBA", (600, 400), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((200, 100, 400, 300), fill=(255, 0, 0, 255))
    return encoded(image, "png")


def moving() -> bytes:
    frames = [Image.new("RGB", (600, 300), colour) for colour in ("red", "blue")]
    return encoded(frames[0], "gif", save_all=True, append_images=frames[1:])


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="60" height="30"><rect width="60" height="15" fill="red"/></svg>'
PICTURES = {
    "photo.jpg": encoded(halves(900, 600), "jpeg", quality=95),
    "turned.jpg": turned(),
    "glass.png": glass(),
    "moving.gif": moving(),
    "drawing.svg": SVG,
    "page.pdf": encoded(halves(900, 600), "pdf"),
    "ink.jpg": encoded(halves(900, 600).convert("CMYK"), "jpeg", quality=95),
    "deep.png": encoded(Image.fromarray(np.full((600, 900), 40_000, np.uint16)), "png"),
    "small.png": encoded(halves(20, 10), "png"),
    "pole.png": encoded(halves(10, 9000), "png"),
}


async def handed_in(darkroom: Darkroom, name: str, data: bytes) -> ImageRecord:
    async def pieces() -> AsyncIterator[bytes]:
        yield data

    return await darkroom.files.receive(ANN, await darkroom.intake.receive(pieces(), name))


async def shown(darkroom: Darkroom, name: str, kind: str) -> tuple[Image.Image, str, Path]:
    record = await handed_in(darkroom, name, PICTURES[name])
    path, media_type = await darkroom.renditions.get(ANN, record.id, kind)
    with Image.open(path) as image:
        image.load()
        return image, media_type, path


def near(image: Image.Image, place: tuple[float, float], colour: tuple[int, int, int]) -> bool:
    spot = image.convert("RGB").getpixel((int(place[0] * image.width), int(place[1] * image.height)))
    assert isinstance(spot, tuple)
    return all(abs(got - wanted) < 40 for got, wanted in zip(spot, colour, strict=True))


RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
THUMBNAILS = {
    "photo.jpg": ((300, 200), RED, BLUE),
    "turned.jpg": ((300, 600), RED, BLUE),
    "glass.png": ((300, 200), WHITE, WHITE),
    "moving.gif": ((300, 150), RED, RED),
    "drawing.svg": ((300, 150), RED, WHITE),
    "page.pdf": ((300, 200), RED, BLUE),
    "ink.jpg": ((300, 200), RED, (40, 25, 130)),  # as blue as ink gets
    "deep.png": ((300, 200), (156, 156, 156), (156, 156, 156)),
    "small.png": ((20, 10), RED, BLUE),
    "pole.png": ((1, 1200), RED, BLUE),
}


@pytest.mark.parametrize("name", THUMBNAILS)
async def test_a_thumbnail_is_a_small_upright_jpeg_on_white(darkroom: Darkroom, name: str) -> None:
    size, above, below = THUMBNAILS[name]
    image, media_type, _ = await shown(darkroom, name, "thumbnail")
    assert (image.format, media_type, image.size) == ("JPEG", "image/jpeg", size)
    assert near(image, (0.05, 0.2), above) and near(image, (0.05, 0.8), below)


async def test_a_thumbnail_is_of_quality_80_and_says_nothing_of_its_maker(darkroom: Darkroom) -> None:
    image, _, _ = await shown(darkroom, "turned.jpg", "thumbnail")
    tables = getattr(image, "quantization")  # noqa: B009 - JPEG images have it
    reference = Image.open(io.BytesIO(encoded(halves(30, 30), "jpeg", quality=80)))
    assert sum(tables[0]) == sum(getattr(reference, "quantization")[0])  # noqa: B009
    assert not image.getexif()
    assert "exif" not in image.info and "xmp" not in image.info


@pytest.mark.parametrize("kind", ["thumbnail", "png", "webp"])
async def test_no_rendition_tells_where_a_photo_was_taken(darkroom: Darkroom, kind: str) -> None:
    image, _, _ = await shown(darkroom, "turned.jpg", kind)
    assert not image.getexif().get_ifd(GPS)
    assert image.height == 2 * image.width


FULL = {name: (900, 600) for name in ("photo.jpg", "ink.jpg", "deep.png")} | {
    "glass.png": (600, 400),
    "moving.gif": (600, 300),
    "small.png": (20, 10),
    "drawing.svg": (60, 30),
}


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("name", FULL)
async def test_a_picture_comes_in_full_size_in_another_format(darkroom: Darkroom, name: str, kind: str) -> None:
    image, media_type, path = await shown(darkroom, name, kind)
    wanted = {"jpg": "JPEG", "png": "PNG"}[kind]
    assert (image.format, image.size) == (wanted, FULL[name])
    assert media_type == f"image/{wanted.lower()}"
    its_own = path.read_bytes() == PICTURES[name]
    assert its_own == (name.rpartition(".")[2] == kind)


async def test_a_preview_is_a_webp_that_fits_a_window_and_keeps_its_transparency(darkroom: Darkroom) -> None:
    image, media_type, _ = await shown(darkroom, "glass.png", "webp")
    assert (image.format, media_type, image.size, image.mode) == ("WEBP", "image/webp", (600, 400), "RGBA")
    large = await handed_in(darkroom, "large.png", encoded(halves(1500, 3000), "png"))
    path, _ = await darkroom.renditions.get(ANN, large.id, "webp")
    with Image.open(path) as fitted:
        assert fitted.size == (600, 1200)


async def test_a_webp_that_is_small_enough_is_its_own_preview(darkroom: Darkroom) -> None:
    small, large = [encoded(halves(side, side), "webp") for side in (300, 1300)]
    paths = []
    for name, data in (("small.webp", small), ("large.webp", large)):
        record = await handed_in(darkroom, name, data)
        paths.append((await darkroom.renditions.get(ANN, record.id, "webp"))[0])
    assert paths[0].read_bytes() == small
    assert paths[1].read_bytes() != large


async def test_the_renditions_of_a_deleted_picture_are_gone_at_once(darkroom: Darkroom) -> None:
    record = await handed_in(darkroom, "gone.png", encoded(halves(31, 31), "png"))
    paths = [(await darkroom.renditions.get(ANN, record.id, kind))[0] for kind in ("thumbnail", "webp")]
    assert all(path.exists() for path in paths)
    await darkroom.files.delete_chain(ANN, record.id)
    assert not any(path.exists() for path in paths)
    with pytest.raises(NotFound):
        await darkroom.renditions.get(ANN, record.id, "thumbnail")


# Made once, by a worker that a test holds back


class Workshop:
    """Stands for the workers: makes a rendition once it is let go."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def render(self, principal: Principal, handle: str, plan: Plan) -> tuple[bytes, Picture]:
        self.made.append(handle)
        self.begun.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return b"made " + handle.encode(), Picture("jpeg", "image/jpeg", 9, 3, 3)


def renditions(room: FileRoom, workshop: Workshop) -> Renditions:
    return Renditions(room.library, room.blobs, room.cache, workshop.render)


async def test_who_asks_at_once_gets_one_rendition_made_once(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    made = renditions(room, workshop)
    asking = [asyncio.create_task(made.get(ANN, record.id, "thumbnail")) for _ in range(20)]
    await workshop.begun.wait()
    workshop.go.set()
    answers = await asyncio.gather(*asking)
    assert len(set(answers)) == 1
    assert (await made.get(ANN, record.id, "thumbnail")) == answers[0]
    assert workshop.made == [record.id]
    assert answers[0][0].read_bytes() == b"made " + record.id.encode()


async def test_equal_bytes_share_their_renditions_whoever_has_them(room: FileRoom) -> None:
    workshop = Workshop()
    workshop.go.set()
    made = renditions(room, workshop)
    mine, theirs = await room.receive(png(1)), await room.receive(png(1), owner=BEN)
    assert await made.get(ANN, mine.id, "thumbnail") == await made.get(BEN, theirs.id, "thumbnail")
    assert workshop.made == [mine.id]


async def test_who_goes_away_takes_it_from_nobody_else(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    made = renditions(room, workshop)
    first, second = [asyncio.create_task(made.get(ANN, record.id, "thumbnail")) for _ in range(2)]
    await workshop.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    workshop.go.set()
    assert (await second)[0].exists()
    assert workshop.made == [record.id]


async def test_what_failed_is_tried_again(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    workshop.go.set()
    workshop.error = ProcessingFailed("It did not work.")
    made = renditions(room, workshop)
    with pytest.raises(ProcessingFailed):
        await made.get(ANN, record.id, "thumbnail")
    workshop.error = None
    assert (await made.get(ANN, record.id, "thumbnail"))[0].exists()


async def test_a_picture_that_is_deleted_meanwhile_leaves_no_rendition(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    asking = asyncio.create_task(renditions(room, workshop).get(ANN, record.id, "thumbnail"))
    await workshop.begun.wait()
    await room.files.delete_chain(ANN, record.id)
    workshop.go.set()
    with pytest.raises(NotFound, match="gone"):
        await asking
    assert room.cache.find(record.sha256, "thumbnail") is None


async def test_a_rendition_is_found_again_after_a_restart(tmp_path: Path) -> None:
    workshop = Workshop()
    workshop.go.set()
    async with file_room(tmp_path) as room:
        record = await room.receive(png(1))
        before = await renditions(room, workshop).get(ANN, record.id, "thumbnail")
    async with file_room(tmp_path) as room:
        assert await renditions(room, workshop).get(ANN, record.id, "thumbnail") == before
    assert workshop.made == [record.id]


async def test_a_foreign_picture_has_no_renditions(room: FileRoom) -> None:
    record = await room.receive(png(1), owner=BEN)
    for kind in KINDS:
        with pytest.raises(NotFound):
            await renditions(room, Workshop()).get(ANN, record.id, kind)


async def test_only_known_kinds_of_pictures_are_made(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    made = renditions(room, workshop)
    with pytest.raises(InvalidSettings, match="thumbnail, jpg, png, webp"):
        await made.get(ANN, record.id, "../../darkroom")
    archive = replace(record, format="zip", media_type="application/zip", width=None, height=None)
    with pytest.raises(UnsupportedFormat, match="ZIP"):
        await made.of(archive, "thumbnail")
    assert workshop.made == []


async def test_a_picture_whose_file_is_gone_has_no_renditions(room: FileRoom) -> None:
    record = await room.receive(png(1))
    room.blobs.delete(record.sha256)
    with pytest.raises(NotFound, match="gone"):
        await renditions(room, Workshop()).get(ANN, record.id, "png")


# The cache on the disk


def digest(number: int) -> str:
    return f"{number:064x}"


async def test_sweeping_removes_what_shows_nothing_any_more(room: FileRoom) -> None:
    workshop, record = Workshop(), await room.receive(png(1))
    workshop.go.set()
    made = renditions(room, workshop)
    stays, _ = await made.get(ANN, record.id, "thumbnail")
    goes = room.cache.put(digest(7), "thumbnail", b"of nothing")
    assert await made.sweep() == 1
    assert stays.exists() and not goes.exists()


def test_the_cache_keeps_within_its_room_and_what_was_asked_for_last(tmp_path: Path) -> None:
    cache = RenditionCache(tmp_path, most_bytes=1_000)
    paths = [cache.put(digest(number), "jpg", bytes(100)) for number in range(10)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    assert cache.find(digest(0), "jpg") == paths[0]
    cache.put(digest(10), "jpg", bytes(100))
    cache.sweep(lambda _: True)
    assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 1_000
    assert paths[0].exists() and not paths[1].exists() and not paths[2].exists()
    assert cache.find(digest(1), "jpg") is None


def test_the_cache_keeps_within_its_room_between_sweeps(tmp_path: Path) -> None:
    cache = RenditionCache(tmp_path, most_bytes=1_000)
    for number in range(100):
        cache.put(digest(number), "jpg", bytes(50))
        assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 1_200


def test_nothing_half_written_is_found_and_it_goes(tmp_path: Path) -> None:
    cache = RenditionCache(tmp_path)
    whole = cache.put(digest(1), "jpg", b"whole")
    left, fresh = whole.with_name(".0123"), whole.with_name(".4567")
    for each in (left, fresh):
        each.write_bytes(b"ha")
    old = time.time() - 7200
    os.utime(left, (old, old))
    assert cache.sweep(lambda _: True) == 1
    assert not left.exists() and fresh.exists()
    assert (cache.find(digest(1), "jpg"), cache.find(digest(1), "png")) == (whole, None)


def test_a_rendition_is_for_its_owner_s_eyes_on_the_disk(tmp_path: Path) -> None:
    path = RenditionCache(tmp_path / "cache").put(digest(1), "jpg", b"whole")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
