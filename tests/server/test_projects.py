"""Projects: made, found again by their owner, listed newest first."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.file_room import ANN, BEN, FileRoom, file_room

from darkroom.errors import NotFound
from darkroom.store.ids import is_id, new_id
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[FileRoom]:
    async with file_room(tmp_path) as opened:
        yield opened


async def test_a_project_is_found_again(room: FileRoom) -> None:
    made = await room.projects.create(ANN, "  Spring\n2026 ", "Shoes.\nAnd hats.\u202e")
    assert is_id(made.id, "proj")
    assert (made.owner, made.name, made.description) == ("ann", "Spring 2026", "Shoes.\nAnd hats.")
    assert made.created_at == made.updated_at == room.clock[0]
    assert await room.projects.get(ANN, made.id) == made


async def test_a_foreign_project_and_a_missing_one_are_the_same(room: FileRoom) -> None:
    foreign = (await room.projects.create(BEN, "theirs")).id
    texts = []
    for project in (foreign, new_id("proj"), "%", ""):
        with pytest.raises(NotFound) as refused:
            await room.projects.get(ANN, project)
        texts.append(str(refused.value).replace(repr(project), "X"))
    assert texts == texts[:1] * 4


@pytest.mark.parametrize(
    ("name", "description", "field"),
    [
        ("", "", "name"),
        (" \n\u200b", "", "name"),
        ("x" * 101, "", "name"),
        ("ok", "x" * 501, "description"),
        ("x" * 10_000_000, "", "name"),
    ],
)
async def test_names_and_descriptions_have_bounds(room: FileRoom, name: str, description: str, field: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        await room.projects.create(ANN, name, description)
    assert refused.value.details["field"] == field
    assert await room.projects.page(ANN) == ([], 0)


async def test_the_longest_name_and_description_are_kept_whole(room: FileRoom) -> None:
    made = await room.projects.create(ANN, "ü" * 100, "ü" * 500)
    assert await room.projects.get(ANN, made.id) == made
    assert (len(made.name), len(made.description)) == (100, 500)


async def test_projects_are_paged_newest_first(room: FileRoom) -> None:
    for number in range(5):
        room.clock[0] += 1
        await room.projects.create(ANN, f"p{number}")
    await room.projects.create(BEN, "theirs")
    pages = [await room.projects.page(ANN, limit=2, offset=offset) for offset in (0, 2, 4, 6)]
    assert [[each.name for each in page] for page, _ in pages] == [["p4", "p3"], ["p2", "p1"], ["p0"], []]
    assert [total for _, total in pages] == [5] * 4
