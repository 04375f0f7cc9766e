"""Images in the library: their owner sees them, versions and recipe follow the edits, deleting keeps what is shared."""

import hashlib
import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from darkroom.engine.outcome import Picture
from darkroom.errors import NotFound
from darkroom.library.library import Library, find_source, insert_result, insert_source
from darkroom.library.names import content_disposition, result_name
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.ids import is_id, new_id
from darkroom.store.schema import images, job_blobs, results
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_name, clean_text

pytestmark = pytest.mark.anyio

ANN, BEN = Principal("ann"), Principal("ben")
PHOTO = Picture("jpeg", "image/jpeg", 5, 640, 480)


@dataclass
class Shelf:
    """A library with quick ways to fill it."""

    database: Database
    blobs: BlobStore
    library: Library

    async def source(self, data: bytes = b"photo", owner: Principal = ANN, name: str = "photo.jpg") -> ImageRecord:
        digest, handle = self.blobs.put(data), new_id("img")
        return await self.database.write(
            lambda connection: insert_source(connection, owner.id, handle, digest, PHOTO, name)
        )

    async def edit(self, parent: ImageRecord | None, data: bytes, tool: str = "resize") -> ImageRecord:
        digest, handle = self.blobs.put(data), new_id("img")
        steps = [{"id": tool, "tool": tool, "settings": {"width": 3}, "images": {"image": ["input:0"]}}]
        name = result_name(parent.name if parent else "", tool, "jpg")
        return await self.database.write(
            lambda connection: insert_result(
                connection, ANN.id, handle, parent and parent.id, digest, PHOTO, tool, steps, {"quality": 80}, name
            )
        )


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    blobs = BlobStore(tmp_path / "blobs", floor_bytes=0)
    async with Database(f"sqlite:///{tmp_path}/library.db") as database:
        yield Shelf(database, blobs, Library(database, blobs))


async def test_an_image_is_read_back_as_it_was_stored(shelf: Shelf) -> None:
    stored = await shelf.source(b"the bytes")
    assert await shelf.library.get(ANN, stored.id) == stored
    assert await shelf.library.read(ANN, stored.id) == b"the bytes"
    assert stored.sha256 == hashlib.sha256(b"the bytes").hexdigest()
    assert (stored.width, stored.height, stored.version, stored.root, stored.tool) == (640, 480, 1, stored.id, None)
    resolved = await shelf.library.resolve(ANN, stored.id)
    assert (resolved.sha256, resolved.handle, resolved.name) == (stored.sha256, stored.id, "photo.jpg")


@pytest.mark.parametrize("method", ["get", "read", "resolve", "history", "delete"])
async def test_a_foreign_image_and_a_missing_one_are_the_same(shelf: Shelf, method: str) -> None:
    foreign, missing = (await shelf.source(owner=BEN)).id, new_id("img")
    texts = []
    for handle in (foreign, missing):
        with pytest.raises(NotFound) as caught:
            await getattr(shelf.library, method)(ANN, handle)
        assert handle in caught.value.message
        texts.append(str(caught.value.to_wire()).replace(handle, "HANDLE"))
    assert texts[0] == texts[1]
    assert (await shelf.library.get(BEN, foreign)).id == foreign


async def test_a_hostile_handle_is_not_echoed_as_it_came(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as caught:
        await shelf.library.get(ANN, "img_\x1b[31m\u202e\U000e0041" + "x" * 5000)
    assert caught.value.message.isprintable() and len(caught.value.message) < 200


async def test_a_file_that_vanished_from_the_disk_is_not_found(shelf: Shelf) -> None:
    stored = await shelf.source()
    shelf.blobs.path(stored.sha256).unlink()
    with pytest.raises(NotFound, match="gone"):
        await shelf.library.read(ANN, stored.id)


async def test_edits_count_versions_within_their_chain(shelf: Shelf) -> None:
    photo, other = await shelf.source(b"1"), await shelf.source(b"2")
    small = await shelf.edit(photo, b"3")
    grey = await shelf.edit(small, b"4", "watermark-text")
    again = await shelf.edit(photo, b"5", "rotate")
    alone = await shelf.edit(None, b"6", "draw")
    assert [(i.version, i.root) for i in (small, grey, again)] == [(2, photo.id), (3, photo.id), (4, photo.id)]
    assert (await shelf.edit(other, b"7")).version == 2
    assert (alone.version, alone.root, alone.parent) == (1, alone.id, None)
    assert grey.name == "photo-resize-watermark-text.jpg"


async def test_history_tells_the_steps_from_the_source_to_the_image(shelf: Shelf) -> None:
    photo = await shelf.source()
    small = await shelf.edit(photo, b"small")
    await shelf.edit(photo, b"beside", "crop")
    turned = await shelf.edit(small, b"turned", "rotate")
    chain = await shelf.library.history(ANN, turned.id)
    assert [(i.id, i.tool) for i in chain] == [(photo.id, None), (small.id, "resize"), (turned.id, "rotate")]
    assert chain[1].steps[0]["settings"] == {"width": 3} and chain[1].facts == {"quality": 80}
    assert await shelf.library.history(ANN, photo.id) == [photo]


async def test_children_of_a_deleted_image_keep_working(shelf: Shelf) -> None:
    photo = await shelf.source(b"photo")
    small = await shelf.edit(photo, b"small")
    await shelf.library.delete(ANN, photo.id)
    assert await shelf.library.read(ANN, small.id) == b"small"
    assert [i.id for i in await shelf.library.history(ANN, small.id)] == [small.id]
    assert (await shelf.edit(small, b"next")).version == 3
    orphan = await shelf.edit(photo, b"late")
    assert (orphan.root, orphan.version, orphan.parent) == (orphan.id, 1, photo.id)


async def test_deleting_removes_the_bytes_with_their_last_user(shelf: Shelf) -> None:
    mine, theirs = await shelf.source(b"same"), await shelf.source(b"same", BEN)
    await shelf.library.delete(ANN, mine.id)
    assert await shelf.library.read(BEN, theirs.id) == b"same"
    with pytest.raises(NotFound):
        await shelf.library.get(ANN, mine.id)
    await shelf.library.delete(BEN, theirs.id)
    assert not shelf.blobs.exists(mine.sha256)


async def test_bytes_that_a_job_still_needs_outlive_their_image(shelf: Shelf) -> None:
    photo = await shelf.source()
    row = {"job": "job_x", "sha256": photo.sha256}
    await shelf.database.write(lambda connection: connection.execute(job_blobs.insert().values(row)))
    await shelf.library.delete(ANN, photo.id)
    assert shelf.blobs.exists(photo.sha256)
    await shelf.database.write(lambda connection: connection.execute(job_blobs.delete()))
    assert await shelf.library.discard(photo.sha256)
    assert not shelf.blobs.exists(photo.sha256)


async def test_deleting_an_image_forgets_cached_answers_that_name_it(shelf: Shelf) -> None:
    photo, other = await shelf.source(b"1"), await shelf.source(b"2")
    rows = [
        {"owner": "ann", "digest": digest, "result": {"images": [handle]}, "created_at": 0.0}
        for digest, handle in (("a", photo.id), ("b", other.id))
    ]
    await shelf.database.write(lambda connection: connection.execute(results.insert(), rows))
    await shelf.library.delete(ANN, photo.id)
    left = await shelf.database.read(lambda connection: connection.scalars(sa.select(results.c.digest)).all())
    assert left == ["b"]


async def test_the_list_pages_through_all_images_newest_first_without_gaps(shelf: Shelf) -> None:
    made = [await shelf.source(bytes([n]), name=f"{n}.jpg") for n in range(7)]
    await shelf.source(b"foreign", BEN)
    same_time = images.update().values(created_at=1000.5).where(images.c.name.in_(["2.jpg", "3.jpg", "4.jpg"]))
    await shelf.database.write(lambda connection: connection.execute(same_time))
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = await shelf.library.list(ANN, limit=2, before=cursor)
        seen += page.images
        cursor, pages = page.next, pages + 1
    assert pages == 4 and {i.id for i in seen} == {i.id for i in made} and len(seen) == 7
    assert seen == sorted(seen, key=lambda i: (i.created_at, i.id), reverse=True)


async def test_a_new_image_does_not_shift_the_next_page(shelf: Shelf) -> None:
    for n in range(4):
        await shelf.source(bytes([n]), name=f"{n}.jpg")
    first = await shelf.library.list(ANN, limit=2)
    await shelf.source(b"new", name="new.jpg")
    second = await shelf.library.list(ANN, limit=2, before=first.next)
    assert [i.name for i in (*first.images, *second.images)] == ["3.jpg", "2.jpg", "1.jpg", "0.jpg"]
    assert second.next is None


@pytest.mark.parametrize(
    ("query", "found"),
    [("HOLI", ["Holiday_1.jpg"]), ("_", ["Holiday_1.jpg"]), ("%", ["100%.png"]), ("zzz", []), ("", None)],
)
async def test_the_query_matches_names_literally(shelf: Shelf, query: str, found: list[str] | None) -> None:
    names = ["Holiday_1.jpg", "100%.png", "plain.gif"]
    for n, name in enumerate(names):
        await shelf.source(bytes([n]), name=name)
    page = await shelf.library.list(ANN, query=query)
    assert [i.name for i in page.images] == (names[::-1] if found is None else found)


@pytest.mark.parametrize("cursor", ["", "x", "bm9wZQ", "WzEsMiwzXQ", "é", "null", "eyJhIjoxfQ"])
async def test_a_made_up_cursor_is_refused(shelf: Shelf, cursor: str) -> None:
    with pytest.raises(InvalidSettings, match="cursor"):
        await shelf.library.list(ANN, before=cursor)


async def test_a_source_is_found_by_its_bytes_but_only_for_its_owner(shelf: Shelf) -> None:
    photo = await shelf.source(b"photo")
    edited = await shelf.edit(photo, b"edited")

    def look(connection: sa.Connection) -> list[str | None]:
        wanted = [("ann", photo.sha256), ("ben", photo.sha256), ("ann", edited.sha256), ("ann", "0" * 64)]
        return [find_source(connection, owner, digest) for owner, digest in wanted]

    assert await shelf.database.read(look) == [photo.id, None, None, None]


async def test_what_is_stored_under_a_hostile_name_has_a_clean_one(shelf: Shelf) -> None:
    stored = await shelf.source(name="../../a\0b/\u202egpj.exe\r\n")
    assert stored.name == "gpj.exe"
    assert await shelf.library.get(ANN, stored.id) == replace(stored, name="gpj.exe")


NAMES = [
    ("../../etc/passwd", "passwd"),
    ("C:\\Users\\me\\cat.png", "cat.png"),
    ("/", "image"),
    ("", "image"),
    ("...", "image"),
    (".htaccess", "htaccess"),
    ("-rf.png", "rf.png"),
    ("  a   b .jpg ", "a b .jpg"),
    ("x.jpg[shrink=8]", "x.jpg[shrink=8]"),
    ("a\u202egnp.exe", "agnp.exe"),
    ("a\0b\r\nc\x1b[2J.png", "ab c[2J.png"),
    ('a<b>c:d"e|f?g*.png', "a_b_c_d_e_f_g_.png"),
    ("con", "_con"),
    ("LPT1.tar.gz", "_LPT1.tar.gz"),
    ("console.png", "console.png"),
    ("cafe\u0301.png", "caf\u00e9.png"),
    ("tag\U000e0041\U000e0042.png", "tag.png"),
    ("zero\u200bwidth\ufeff.png", "zerowidth.png"),
    ("bad\ud800.png", "bad.png"),
    ("猫.png", "猫.png"),
    ("trailing.png. .", "trailing.png"),
]


@pytest.mark.parametrize(("raw", "clean"), NAMES)
async def test_file_names_are_cleaned(raw: str, clean: str) -> None:
    assert clean_name(raw) == clean


async def test_a_long_name_is_cut_by_bytes_and_keeps_its_extension() -> None:
    cut = clean_name("猫" * 300 + ".jpeg")
    assert cut.endswith("猫.jpeg") and 195 <= len(cut.encode()) <= 200


@given(st.text())
def test_a_clean_name_is_always_safe_and_stays_the_same(raw: str) -> None:
    name = clean_name(raw)
    assert name and len(name.encode()) <= 200 and clean_name(name) == name
    assert not re.search(r'[/\\:*?"<>|\x00-\x1f]', name) and name[0] not in ".- " and name not in (".", "..")


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_capped_normal_and_free_of_what_cannot_be_seen(raw: str, limit: int) -> None:
    text = clean_text(raw, limit)
    assert len(text) <= limit and unicodedata.is_normalized("NFC", text)
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c not in "\n\t"]


async def test_clean_text_takes_no_quadratic_time_over_stacked_accents() -> None:
    assert len(clean_text("a" + "\u0316\u0301" * 5_000_000, 2_000)) == 2_000


@pytest.mark.parametrize(
    ("source", "tool", "extension", "name"),
    [
        ("photo.jpg", "resize", "webp", "photo-resize.webp"),
        ("photo-resize.jpg", "resize", "jpg", "photo-resize.jpg"),
        ("noext", "watermark-text", "png", "noext-watermark-text.png"),
        ("", "draw", "png", "draw.png"),
        ("a.b.tiff", "crop", "tiff", "a.b-crop.tiff"),
        ("x" * 300 + ".png", "resize", "jpg", "x" * 196 + ".jpg"),
    ],
)
async def test_results_are_named_after_their_source_and_tool(source: str, tool: str, extension: str, name: str) -> None:
    assert result_name(source, tool, extension) == name


@pytest.mark.parametrize("name", ["plain.png", "Ünïcode 猫.png", 'quo"te\\.png', "100%41.png", "a\r\nX-Evil: 1.png"])
async def test_a_download_header_gives_the_name_back_and_nothing_else(name: str) -> None:
    value = content_disposition(name)
    assert value.isascii() and "\r" not in value and "\n" not in value
    shape = re.fullmatch(r"""attachment; filename="([^"\\]+)"; filename\*=UTF-8''([\w.%~-]+)""", value, re.ASCII)
    assert shape and unquote(shape[2]) == clean_name(name)
    assert len(shape[1]) == len(clean_name(name))
    assert content_disposition(name, inline=True).startswith("inline; filename=")


async def test_ids_are_random_and_recognised() -> None:
    made = {new_id("img") for _ in range(1000)}
    assert len(made) == 1000 and all(is_id(one, "img") and re.fullmatch(r"img_[a-z2-7]{26}", one) for one in made)
    for wrong in ("img_", "img_short", new_id("job"), new_id("img").upper(), new_id("img") + "a", "img_" + "1" * 26):
        assert not is_id(wrong, "img")
