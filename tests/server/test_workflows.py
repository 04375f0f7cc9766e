"""Saved workflows: one per name, whoever saves at the same time, and the same after a restart."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from darkroom.errors import NotFound
from darkroom.principal import LOCAL
from darkroom.store.database import Database
from darkroom.store.schema import workflows as table
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.service import Workflows

pytestmark = pytest.mark.anyio
OTHER = replace(LOCAL, id="somebody-else")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def document(name: str, width: int = 8) -> WorkflowDocument:
    return WorkflowDocument.parse({"name": name, "steps": [{"tool": "resize", "settings": {"width": width}}]})


async def rows(database: Database) -> list[str]:
    return await database.read(lambda c: list(c.scalars(sa.select(table.c.name).order_by(table.c.name))))


async def test_the_same_name_saved_many_times_at_once_is_one_workflow(database: Database) -> None:
    workflows = Workflows(database)
    saved = await asyncio.gather(*(workflows.save(LOCAL, document("Small", width)) for width in range(1, 9)))
    assert len({each.id for each in saved}) == len({each.tool.name for each in saved if each.tool}) == 1
    assert await rows(database) == ["Small"]
    assert [each.document for each in workflows.list(LOCAL)] == [saved[-1].document]


async def test_saving_and_deleting_at_once_leave_what_the_database_has(database: Database) -> None:
    workflows = Workflows(database)
    await workflows.save(LOCAL, document("Small"))
    await asyncio.gather(workflows.delete(LOCAL, "Small"), workflows.save(LOCAL, document("Small", 9)))
    assert [each.name for each in workflows.list(LOCAL)] == await rows(database)


async def test_after_a_restart_all_is_as_it_was(database: Database) -> None:
    before = Workflows(database)
    first = await before.save(LOCAL, document("Größe 小"))
    await before.save(OTHER, document("Größe 小"))
    after = Workflows(database)
    await after.load()
    (found,) = after.list(LOCAL)
    assert (found.id, found.name, found.document, found.problem) == (first.id, "Größe 小", first.document, None)
    assert found.tool is not None
    assert first.tool is not None
    assert found.tool.name == first.tool.name


async def test_nobody_deletes_what_is_somebody_elses(database: Database) -> None:
    workflows = Workflows(database)
    saved = await workflows.save(LOCAL, document("Small"))
    for key in ("Small", saved.id):
        with pytest.raises(NotFound):
            await workflows.delete(OTHER, key)
    assert await rows(database) == ["Small"]


async def test_a_workflow_whose_tool_is_gone_says_so_and_can_be_deleted(database: Database) -> None:
    workflows = Workflows(database)
    await workflows.save(LOCAL, document("Old"))
    gone = {"name": "Old", "steps": [{"tool": "daguerreotype", "settings": {}}]}
    await database.write(lambda c: c.execute(table.update().values(document=gone)))
    await workflows.load()
    (found,) = workflows.list(LOCAL)
    assert found.tool is None
    assert "daguerreotype" in str(found.problem)
    assert workflows.tools(LOCAL) == []
    await workflows.delete(LOCAL, "Old")
    assert await rows(database) == []
