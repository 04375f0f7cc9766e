"""The file library: what enters it and once, its pages, its version chains, whose it is, and how much may be in it."""

import hashlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.file_room import ANN, BEN, FileRoom, file_room, png

from darkroom.errors import NotFound, QuotaExceeded
from darkroom.library.record import ImageRecord
from darkroom.principal import LOCAL, Principal
from darkroom.store.ids import new_id
from darkroom.store.schema import images, job_blobs, results
from darkroom_tools.errors import InvalidImage

pytestmark = pytest.mark.anyio

ADMIN = Principal("adm", permissions=LOCAL.permissions, role="admin")


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[FileRoom]:
    async with file_room(tmp_path) as opened:
        yield opened


# What enters


async def test_a_file_is_recorded_with_what_its_header_says(room: FileRoom) -> None:
    record = await room.receive(png(1, 9), "../Tür.png")
    assert (record.owner, record.name, record.width, record.height, record.format) == ("ann", "Tür.png", 9, 9, "png")
    assert (record.version, record.root, record.tool, record.listed, record.project) == (1, record.id, None, True, None)
    assert await room.library.get(ANN, record.id) == record
    assert await room.library.read(ANN, record.id) == png(1, 9)


async def test_a_name_given_beside_the_file_is_taken_and_cleaned(room: FileRoom) -> None:
    assert (await room.receive(png(1), "a.png", name="x/\u202e b.png")).name == "b.png"


async def test_the_same_file_twice_is_one_file(room: FileRoom) -> None:
    first, again = await room.receive(png(1)), await room.receive(png(1))
    assert first == again
    assert await room.shown() == ["photo.png"]


async def test_the_same_bytes_under_another_name_are_a_file_of_their_own(room: FileRoom) -> None:
    first, other = await room.receive(png(1), "a.png"), await room.receive(png(1), "b.png")
    assert first.id != other.id and first.sha256 == other.sha256
    assert await room.shown() == ["b.png", "a.png"]


async def test_the_same_bytes_in_another_project_are_a_file_of_their_own(room: FileRoom) -> None:
    here, there = [(await room.projects.create(ANN, name)).id for name in ("here", "there")]
    first, other = await room.receive(png(1), project=here), await room.receive(png(1), project=there)
    assert (first.project, other.project) == (here, there)
    assert await room.receive(png(1), project=here) == first
    assert [await room.shown(project=each) for each in (here, there)] == [["photo.png"]] * 2


async def test_a_file_that_was_edited_since_can_be_handed_in_anew(room: FileRoom) -> None:
    first = await room.receive(png(1))
    await room.result(first, png(2), "edited.png")
    again = await room.receive(png(1))
    assert again.root == again.id != first.id
    assert await room.shown() == ["photo.png", "edited.png"] or await room.shown() == ["edited.png", "photo.png"]


async def test_a_result_is_never_taken_for_a_file_of_the_same_bytes(room: FileRoom) -> None:
    made = await room.result(None, png(1), "photo.png")
    assert (await room.receive(png(1))).id != made.id


async def test_other_people_s_bytes_are_not_one_s_own(room: FileRoom) -> None:
    assert (await room.receive(png(1))).id != (await room.receive(png(1), owner=BEN)).id


async def test_what_passes_through_is_not_in_the_library(room: FileRoom) -> None:
    passing = await room.receive(png(1), listed=False)
    assert not passing.listed
    assert await room.files.page(ANN) == ([], 0)
    assert (await room.library.list(ANN)).images == []
    assert (await room.library.get(ANN, passing.id)) == passing


async def test_what_passed_through_enters_under_the_name_and_in_the_project_given_then(room: FileRoom) -> None:
    passing = await room.receive(png(1), "upload", listed=False)
    await room.age(passing, 3600)
    project = (await room.projects.create(ANN, "shoes")).id
    kept = await room.receive(png(1), "shoe.png", project=project)
    assert (kept.id, kept.name, kept.project, kept.listed) == (passing.id, "shoe.png", project, True)
    assert kept.created_at >= passing.created_at


async def test_what_is_in_the_library_stays_there_when_it_passes_through_again(room: FileRoom) -> None:
    kept = await room.receive(png(1))
    assert await room.receive(png(1), "other.png", listed=False) == kept
    assert await room.shown() == ["photo.png"]


async def test_what_passes_through_twice_stays_anew(room: FileRoom) -> None:
    first = await room.receive(png(1), listed=False)
    await room.age(first, 3600)
    again = await room.receive(png(1), "b.png", listed=False)
    assert again == replace(first, created_at=again.created_at)
    assert again.created_at >= first.created_at


async def test_a_project_must_be_one_s_own(room: FileRoom) -> None:
    theirs = (await room.projects.create(BEN, "theirs")).id
    texts = []
    for project in (theirs, new_id("proj"), "", "no id"):
        with pytest.raises(NotFound) as refused:
            await room.receive(png(1), project=project)
        texts.append(str(refused.value).replace(repr(project), "X"))
    assert texts == texts[:1] * 4
    assert room.bytes_stored() == set()


async def test_a_damaged_file_leaves_nothing_behind(room: FileRoom) -> None:
    with pytest.raises(InvalidImage):
        await room.receive(b"\x89PNG\r\n\x1a\n and then nothing")
    assert room.bytes_stored() == set()
    assert await room.files.page(ANN) == ([], 0)


async def test_a_damaged_copy_does_not_take_away_what_a_job_still_needs(room: FileRoom) -> None:
    broken = b"\x89PNG\r\n\x1a\n and then nothing"
    digest = hashlib.sha256(broken).hexdigest()
    row = {"job": "job_1", "sha256": digest}
    await room.database.write(lambda c: c.execute(job_blobs.insert().values(row)))
    with pytest.raises(InvalidImage):
        await room.receive(broken)
    assert room.bytes_stored() == {digest}


# Pages


@pytest.mark.parametrize(
    ("search", "names"),
    [
        ("photo", ["photo-2.png", "Photo.png"]),
        ("PHOTO", ["photo-2.png", "Photo.png"]),
        ("übung", ["ÜBUNG.png"]),
        ("U\u0308bung", ["ÜBUNG.png"]),
        ("100%", ["100%_sure.png"]),
        ("%", ["100%_sure.png"]),
        ("_", ["100%_sure.png"]),
        ("\\", []),
        ("nothing", []),
        ("", ["100%_sure.png", "ÜBUNG.png", "photo-2.png", "Photo.png"]),
    ],
)
async def test_names_are_searched_whatever_their_case(room: FileRoom, search: str, names: list[str]) -> None:
    for number, name in enumerate(("Photo.png", "photo-2.png", "ÜBUNG.png", "100%_sure.png")):
        await room.receive(png(number), name)
    await room.receive(png(9), "photo of ben.png", owner=BEN)
    assert await room.shown(search=search) == names


NAMES = st.text(alphabet="abAB%_ü\\", min_size=1, max_size=4)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, st.booleans(), st.booleans(), st.integers(0, 2)), max_size=12),
    st.none() | st.text(alphabet="abAB%_ü\\", max_size=2),
    st.integers(1, 4),
    st.booleans(),
)
async def test_pages_hold_each_matching_file_once_and_newest_first(
    entries: list[tuple[str, bool, bool, int]], search: str | None, limit: int, tips: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with file_room(Path(folder)) as room:
            expected: list[ImageRecord] = []
            for number, (name, mine, listed, edits) in enumerate(entries):
                owner = ANN if mine else BEN
                newest = await room.receive(png(number), name, owner=owner, listed=listed)
                chain = [newest]
                for edit in range(edits):
                    made = await room.result(
                        newest, png(1000 + 10 * number + edit), f"{name}{edit}", owner, listed=listed
                    )
                    newest = made
                    chain.append(made)
                if mine and listed:
                    expected += chain[-1:] if tips else chain
            wanted = [each for each in expected if not search or search.lower() in each.name.lower()]
            wanted.sort(key=lambda each: (each.created_at, each.id), reverse=True)
            found, offset = [], 0
            while True:
                page, total = await room.files.page(ANN, search=search, limit=limit, offset=offset, tips=tips)
                assert total == len(wanted)
                if not page:
                    break
                assert len(page) <= limit
                found += page
                offset += limit
            assert [each.id for each in found] == [each.id for each in wanted]


async def test_only_the_newest_versions_are_on_a_page_unless_all_are_wanted(room: FileRoom) -> None:
    first = await room.receive(png(1), "a.png")
    second = await room.result(first, png(2), "a-2.png")
    await room.result(second, png(3), "a-3.png", listed=False)
    assert await room.shown() == ["a-2.png"]
    assert sorted(await room.shown(tips=False)) == ["a-2.png", "a.png"]


async def test_results_are_in_the_project_of_what_they_were_made_from(room: FileRoom) -> None:
    project = (await room.projects.create(ANN, "shoes")).id
    made = await room.result(await room.receive(png(1), project=project), png(2), "made.png")
    assert made.project == project
    assert await room.shown(project=project) == ["made.png"]
    assert await room.shown(project=new_id("proj")) == []


async def test_everybody_s_files_are_for_who_may_see_them(room: FileRoom) -> None:
    await room.receive(png(1), "ann.png")
    await room.receive(png(2), "ben.png", owner=BEN)
    assert await room.shown(BEN, everyone=True) == ["ben.png"]
    assert await room.shown(ADMIN) == []
    assert await room.shown(ADMIN, everyone=True) == ["ben.png", "ann.png"]


@pytest.mark.parametrize(("limit", "offset", "count"), [(0, 0, 1), (-5, -5, 1), (10**9, 0, 3), (2, 10**9, 0)])
async def test_a_page_has_bounds_whatever_is_asked_for(room: FileRoom, limit: int, offset: int, count: int) -> None:
    for number in range(3):
        await room.receive(png(number), f"{number}.png")
    page, total = await room.files.page(ANN, limit=limit, offset=offset)
    assert (len(page), total) == (count, 3)


# Versions


async def test_versions_come_in_order_whichever_is_asked_for(room: FileRoom) -> None:
    first = await room.receive(png(1))
    second = await room.result(first, png(2))
    branch = await room.result(first, png(3))
    for record in (first, second, branch):
        versions = await room.files.chain(ANN, record.id)
        assert [(each.id, each.version) for each in versions] == [(first.id, 1), (second.id, 2), (branch.id, 3)]


async def test_what_passes_through_takes_no_number_from_what_is_kept(room: FileRoom) -> None:
    first = await room.receive(png(1))
    passing = [await room.result(first, png(number), listed=False) for number in (2, 3, 4)]
    assert [each.version for each in passing] == [2, 2, 2]
    assert (await room.result(first, png(5))).version == 2
    kept = await room.files.keep_version(ANN, passing[1].id, first.id, "resize")
    assert (kept.id, kept.version, kept.listed) == (passing[1].id, 3, True)
    assert [each.version for each in await room.files.chain(ANN, first.id)] == [1, 2, 3]
    assert [each.id for each in await room.files.chain(ANN, passing[0].id)][-1] == passing[0].id


async def test_a_result_becomes_the_next_version_of_another_file(room: FileRoom) -> None:
    project = (await room.projects.create(ANN, "shoes")).id
    parent = await room.receive(png(1), "shoe.png", project=project)
    made = await room.result(await room.receive(png(2), listed=False), png(3), "made.png", listed=False)
    kept = await room.files.keep_version(ANN, made.id, parent.id, "remove-background")
    assert kept.id not in (made.id, parent.id)
    assert (kept.parent, kept.root, kept.version, kept.project) == (parent.id, parent.id, 2, project)
    assert (kept.sha256, kept.steps, kept.facts, kept.name) == (made.sha256, made.steps, made.facts, "made.png")
    assert (kept.tool, kept.listed) == ("remove-background", True)
    assert kept.created_at >= made.created_at
    assert await room.look(kept) == kept
    assert await room.look(made) == made
    assert await room.shown() == ["made.png"]


async def test_bytes_that_were_handed_in_can_be_a_version_too(room: FileRoom) -> None:
    parent = await room.receive(png(1))
    upload = await room.receive(png(2), "by-hand.png", listed=False)
    kept = await room.files.keep_version(ANN, upload.id, parent.id, "my\ntool\u202e")
    assert (kept.version, kept.tool, kept.steps) == (2, "my\ntool", [])


async def test_a_version_that_is_there_is_returned_as_it_is(room: FileRoom) -> None:
    parent = await room.receive(png(1))
    made = await room.result(parent, png(2))
    assert await room.files.keep_version(ANN, made.id, parent.id, "other") == made
    assert await room.files.keep_version(ANN, parent.id, made.id, "other") == parent


async def test_to_keep_a_version_both_images_must_be_one_s_own(room: FileRoom) -> None:
    mine, theirs = await room.receive(png(1)), await room.receive(png(2), owner=BEN)
    for made, parent in ((mine.id, theirs.id), (theirs.id, mine.id), (mine.id, new_id("img"))):
        with pytest.raises(NotFound):
            await room.files.keep_version(ANN, made, parent, "resize")
    assert len(await room.database.read(lambda c: c.execute(sa.select(images)).all())) == 2


async def test_a_file_goes_with_all_its_versions_and_their_bytes(room: FileRoom) -> None:
    first = await room.receive(png(1))
    second = await room.result(first, png(2))
    await room.result(second, png(3))
    other = await room.receive(png(4), "other.png")
    answer = {"owner": "ann", "digest": "d", "result": {"images": [second.id]}, "created_at": 1.0}
    await room.database.write(lambda c: c.execute(results.insert().values(answer)))
    assert await room.files.delete_chain(ANN, second.id) == 3
    assert room.bytes_stored() == {other.sha256}
    assert await room.shown() == ["other.png"]
    assert await room.database.read(lambda c: c.execute(sa.select(results)).all()) == []
    with pytest.raises(NotFound):
        await room.files.delete_chain(ANN, second.id)


async def test_bytes_stay_as_long_as_somebody_has_them(room: FileRoom) -> None:
    mine, theirs = await room.receive(png(1)), await room.receive(png(1), owner=BEN)
    assert await room.files.delete_chain(ANN, mine.id) == 1
    assert await room.library.read(BEN, theirs.id) == png(1)
    assert await room.files.delete_chain(BEN, theirs.id) == 1
    assert room.bytes_stored() == set()


async def test_deleting_what_passes_through_leaves_the_file_it_was_made_from(room: FileRoom) -> None:
    first = await room.receive(png(1))
    passing = await room.result(first, png(2), listed=False)
    assert await room.files.delete_chain(ANN, passing.id) == 1
    assert [each.id for each in await room.files.chain(ANN, first.id)] == [first.id]


# Whose


@pytest.mark.parametrize("method", ["chain", "delete_chain", "acting_for"])
async def test_a_foreign_file_and_a_missing_one_are_the_same(room: FileRoom, method: str) -> None:
    foreign, missing = (await room.receive(png(1), owner=BEN)).id, new_id("img")
    texts = []
    for handle in (foreign, missing):
        with pytest.raises(NotFound) as refused:
            await getattr(room.files, method)(ANN, handle)
        texts.append(str(refused.value).replace(handle, "X"))
    assert texts[0] == texts[1]
    assert await room.shown(BEN) == ["photo.png"]


async def test_who_may_use_everybody_s_files_acts_for_their_owners(room: FileRoom) -> None:
    theirs = await room.receive(png(1), owner=BEN)
    own = await room.receive(png(2), owner=ADMIN)
    acting = await room.files.acting_for(ADMIN, theirs.id)
    assert (acting.id, acting.organisation, acting.permissions) == ("ben", "adm", ADMIN.permissions)
    assert (await room.library.get(acting, theirs.id)).id == theirs.id
    assert await room.files.acting_for(ADMIN, own.id) == ADMIN
    assert await room.files.acting_for(BEN, theirs.id) == BEN
    with pytest.raises(NotFound):
        await room.files.acting_for(ADMIN, new_id("img"))


async def test_an_image_is_found_by_its_bytes_among_one_s_own(room: FileRoom) -> None:
    await room.receive(png(1), "old.png")
    newest = await room.receive(png(1), "new.png")
    await room.receive(png(2), owner=BEN)
    assert await room.files.by_digest(ANN, newest.sha256) == newest
    for digest in (hashlib.sha256(png(2)).hexdigest(), "", "no digest"):
        with pytest.raises(NotFound):
            await room.files.by_digest(ANN, digest)


# How much


async def test_who_has_no_room_left_is_refused_and_told_how_to_make_some(tmp_path: Path) -> None:
    size = len(png(1))
    async with file_room(tmp_path, quota=int(2.5 * size)) as room:
        first = await room.receive(png(1))
        await room.receive(png(2), "passing.png", listed=False)
        with pytest.raises(QuotaExceeded, match="Delete files") as refused:
            await room.receive(png(3))
        assert refused.value.to_wire()["code"] == "QUOTA_EXCEEDED"
        assert refused.value.details == {"usedBytes": 2 * size, "limit": int(2.5 * size)}
        assert len(room.bytes_stored()) == 2
        assert (await room.receive(png(1), "same bytes.png")).sha256 == first.sha256
        await room.receive(png(3), owner=BEN)
        for record in (await room.files.page(ANN))[0]:
            await room.files.delete_chain(ANN, record.id)
        await room.receive(png(3))


async def test_room_is_checked_before_anything_is_taken_in(tmp_path: Path) -> None:
    size = len(png(1))
    async with file_room(tmp_path, quota=size) as room:
        await room.files.check_room(ANN, size)
        await room.files.check_room(ANN)
        with pytest.raises(QuotaExceeded):
            await room.files.check_room(ANN, size + 1)
        await room.receive(png(1))
        with pytest.raises(QuotaExceeded):
            await room.files.check_room(ANN)
        await room.files.check_room(BEN)


async def test_the_machine_s_owner_has_no_quota(tmp_path: Path) -> None:
    async with file_room(tmp_path, quota=1) as room:
        await room.receive(png(1), owner=LOCAL)
        await room.files.check_room(LOCAL, 10**12)


async def test_files_that_come_at_once_keep_within_the_quota(tmp_path: Path) -> None:
    import asyncio

    size = len(png(1))
    async with file_room(tmp_path, quota=3 * size) as room:
        stored = [await room.stored(png(number), f"{number}.png") for number in range(8)]
        came: list[Any] = await asyncio.gather(
            *(room.files.receive(ANN, each) for each in stored), return_exceptions=True
        )
        assert sum(isinstance(each, ImageRecord) for each in came) == 3
        assert sum(isinstance(each, QuotaExceeded) for each in came) == 5
        assert len(room.bytes_stored()) == 3
