"""Saved workflows: every save a version, whoever saves at the same time, and the same in every process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from darkroom.errors import LimitReached, NotFound
from darkroom.principal import LOCAL
from darkroom.store.database import Database
from darkroom.store.schema import workflow_versions as versions
from darkroom.store.schema import workflows as heads
from darkroom.workflows import stored
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.service import FRESH_SECONDS, Saved, Workflows
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio
OTHER = replace(LOCAL, id="somebody-else")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def document(name: str = "Small", width: Any = 8, **rest: Any) -> WorkflowDocument:
    return WorkflowDocument.parse({"name": name, "steps": [{"tool": "resize", "settings": {"width": width}}], **rest})


async def rows(database: Database) -> list[str]:
    return await database.read(lambda c: list(c.scalars(sa.select(heads.c.name).order_by(heads.c.name))))


async def numbers(database: Database) -> list[tuple[str, int]]:
    """Workflow and number of every stored version."""
    wanted = sa.select(versions.c.workflow, versions.c.number).order_by(versions.c.workflow, versions.c.number)
    return await database.read(lambda c: [(row.workflow, row.number) for row in c.execute(wanted)])


def planned_width(saved: Saved) -> int:
    tool = saved.runnable()
    _, settings = tool.parse({"image": "img_x"})
    return int(tool.plan(settings, {"image": ["input:0"]}).steps[0].settings["width"])


async def test_every_save_is_a_new_version_of_one_workflow_with_one_tool(database: Database) -> None:
    workflows = Workflows(database)
    first = await workflows.save(LOCAL, document(width=8))
    second = await workflows.save(LOCAL, document(width=9))
    assert (first.id, first.tool_name, first.number) == (second.id, second.tool_name, 1)
    assert second.number == 2
    assert first.version != second.version
    assert second.tool is not None
    assert (second.tool.workflow, second.tool.version) == (first.id, second.version)
    assert [saved.number for saved in workflows.list(LOCAL)] == [2]
    assert len(workflows.tools(LOCAL)) == 1


async def test_an_old_version_is_found_by_number_and_by_id_and_runs_as_it_was_saved(database: Database) -> None:
    workflows = Workflows(database)
    first = await workflows.save(LOCAL, document(width=8))
    await workflows.save(LOCAL, document(width=9))
    for keys in ("Small@1", first.version, f"{first.tool_name}@1", f"{first.id}@1"):
        found = await workflows.get(LOCAL, keys)
        assert (found.version, found.number, planned_width(found)) == (first.version, 1, 8)
        assert found.runnable().version == first.version
        assert found.tool is (await workflows.get(LOCAL, "Small@1")).tool
    for keys in ("Small", "small", "Small@2", first.id, first.tool_name, first.tool_name.replace("_", "-")):
        assert planned_width(await workflows.get(LOCAL, keys)) == 9
    for keys in ("Small@3", "Small@0", "wfv_none", "Smoll", "", "@1"):
        with pytest.raises(NotFound):
            await workflows.get(LOCAL, keys)


async def test_a_name_that_looks_like_a_version_is_a_name_first(database: Database) -> None:
    workflows = Workflows(database)
    await workflows.save(LOCAL, document("A", 8))
    await workflows.save(LOCAL, document("A", 9))
    await workflows.save(LOCAL, document("A@1", 7))
    assert planned_width(await workflows.get(LOCAL, "A@1")) == 7


async def test_a_document_that_says_the_same_makes_no_new_version(database: Database) -> None:
    workflows = Workflows(database)
    changes: list[int] = []
    workflows.on_change(lambda: changes.append(1))
    first = await workflows.save(LOCAL, document())
    written = {"name": " Small ", "components": [{"type": "resize", "settings": {"width": 8}}], "tags": []}
    again = await workflows.save(LOCAL, WorkflowDocument.parse(written))
    assert (again.version, again.number) == (first.version, 1)
    assert len(changes) == 1
    assert await numbers(database) == [(first.id, 1)]


async def test_versions_are_told_in_order_with_who_saved_them_and_when(database: Database) -> None:
    workflows = Workflows(database)
    await workflows.save(LOCAL, document(width=8))
    saved = await workflows.save(LOCAL, document(width=9, author="Ann"))
    told = await workflows.versions(LOCAL, saved)
    assert [(row["number"], row["author"]) for row in told] == [(1, "local"), (2, "Ann")]
    assert told[1]["id"] == saved.version
    assert told[0]["created_at"] <= told[1]["created_at"]
    assert await workflows.versions(OTHER, saved) == []


async def test_what_is_not_published_is_no_tool_but_runs(database: Database) -> None:
    workflows = Workflows(database)
    saved = await workflows.save(LOCAL, document(published=False))
    assert workflows.tools(LOCAL) == []
    assert planned_width(await workflows.get(LOCAL, "Small")) == 8
    shown = await workflows.publish(LOCAL, "Small", published=True)
    assert (shown.version, shown.published) == (saved.version, True)
    assert [tool.name for tool in workflows.tools(LOCAL)] == [saved.tool_name]
    await workflows.save(LOCAL, document(width=9))
    assert len(workflows.tools(LOCAL)) == 1
    hidden = await workflows.save(LOCAL, document(width=9, published=False))
    assert (hidden.number, hidden.published, workflows.tools(LOCAL)) == (2, False, [])
    kept = await workflows.save(LOCAL, document(width=10))
    assert (kept.number, kept.published) == (3, False)


async def test_the_same_name_saved_many_times_at_once_is_one_workflow(database: Database) -> None:
    workflows = Workflows(database)
    saved = await asyncio.gather(*(workflows.save(LOCAL, document("Small", width)) for width in range(1, 9)))
    assert len({each.id for each in saved}) == len({each.tool_name for each in saved}) == 1
    assert await rows(database) == ["Small"]
    assert await numbers(database) == [(saved[0].id, number) for number in range(1, 9)]
    assert [each.document for each in workflows.list(LOCAL)] == [max(saved, key=lambda s: s.number).document]


async def save_from_several_processes(url: str, count: int) -> None:
    """Each has a database of its own, as processes have; all of them save at the same time."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Database(url)) for _ in range(3)]
        every = [Workflows(database) for database in opened]
        each = [(workflows, n) for n, workflows in enumerate(every * count)]
        saved = await asyncio.gather(*(workflows.save(LOCAL, document(width=n + 1)) for workflows, n in each))
        assert len({one.id for one in saved}) == 1
        assert sorted(one.number for one in saved) == list(range(1, len(each) + 1))
        assert await numbers(opened[0]) == [(saved[0].id, number) for number in range(1, len(each) + 1)]
        newest = max(saved, key=lambda one: one.number)
        for workflows in every:
            await workflows.refresh(LOCAL, now=True)
            (found,) = workflows.list(LOCAL)
            assert (found.number, found.version, planned_width(found)) == (
                newest.number,
                newest.version,
                planned_width(newest),
            )


async def test_saves_of_several_processes_lose_and_double_no_version(tmp_path: Path) -> None:
    await save_from_several_processes(f"sqlite:///{tmp_path / 'test.db'}", 4)


async def test_a_save_that_another_one_overtook_starts_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As databases without a write lock for all let it happen: both read, then both insert."""
    workflows = Workflows(database)
    store, met = stored.store, []

    def overtaken(connection: sa.Connection, new: stored.NewVersion, now: float) -> Any:
        if len(met) < 3:
            met.append(new)
            raise sa.exc.IntegrityError("INSERT", {}, Exception("unique"))
        return store(connection, new, now)

    monkeypatch.setattr(stored, "store", overtaken)
    saved = await workflows.save(LOCAL, document())
    assert (saved.number, len(met)) == (1, 3)


async def test_what_another_process_saved_and_deleted_is_seen_after_a_second(database: Database) -> None:
    clock = Clock()
    here, there = Workflows(database, clock), Workflows(database)
    changes: list[int] = []
    here.on_change(lambda: changes.append(1))
    await here.refresh(LOCAL)
    for change, seen in (
        (lambda: there.save(LOCAL, document(width=8)), [(1, True)]),
        (lambda: there.save(LOCAL, document(width=9)), [(2, True)]),
        (lambda: there.publish(LOCAL, "Small", published=False), [(2, False)]),
        (lambda: there.delete(LOCAL, "Small"), []),
    ):
        before = [(saved.number, saved.published) for saved in here.list(LOCAL)]
        await change()
        clock.now += FRESH_SECONDS / 2
        await here.refresh(LOCAL)
        assert [(saved.number, saved.published) for saved in here.list(LOCAL)] == before
        clock.now += FRESH_SECONDS / 2
        await here.refresh(LOCAL)
        assert [(saved.number, saved.published) for saved in here.list(LOCAL)] == seen
    assert len(changes) == 4


async def test_a_name_that_is_not_known_here_is_looked_for_at_once(database: Database) -> None:
    clock = Clock()
    here, there = Workflows(database, clock), Workflows(database)
    await here.refresh(LOCAL)
    await there.save(LOCAL, document())
    assert (await here.get(LOCAL, "Small")).number == 1


async def test_a_tool_that_did_not_change_stays_the_very_same(database: Database) -> None:
    clock = Clock()
    here, there = Workflows(database, clock), Workflows(database)
    await here.save(LOCAL, document("Small"))
    (before,) = here.tools(LOCAL)
    await there.save(LOCAL, document("Another"))
    clock.now += FRESH_SECONDS
    await here.refresh(LOCAL)
    assert any(tool is before for tool in here.tools(LOCAL))
    assert len(here.tools(LOCAL)) == 2


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
    await after.refresh(LOCAL)
    (found,) = after.list(LOCAL)
    assert replace(found, tool=None) == replace(first, tool=None)
    assert found.tool is not None
    assert first.tool is not None
    assert found.tool.name == first.tool.name


async def test_workflows_saved_as_lists_of_steps_still_load(database: Database) -> None:
    old = {
        "name": "Web",
        "steps": [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}],
        "inputs": {"width": {"default": 1200, "description": "Long side"}},
        "description": "Old\u202e words",
    }
    head = {"id": "wf_a", "owner": "local", "tool": "wf_web_aaaaaa", "name": "Web", "version": "wfv_a"}
    version = {"id": "wfv_a", "owner": "local", "workflow": "wf_a", "number": 1, "document": old}
    await database.write(lambda c: c.execute(heads.insert().values(**head, created_at=1.0, updated_at=1.0)))
    await database.write(lambda c: c.execute(versions.insert().values(**version, created_at=1.0)))
    workflows = Workflows(database)
    found = await workflows.get(LOCAL, "Web")
    assert (found.published, planned_width(found), found.document.description) == (True, 1200, "Old words")
    again = await workflows.save(LOCAL, WorkflowDocument.parse(old))
    assert (again.id, again.number) == ("wf_a", 1)


async def test_nobody_sees_or_changes_what_is_somebody_elses(database: Database) -> None:
    workflows = Workflows(database)
    saved = await workflows.save(LOCAL, document("Small"))
    for key in ("Small", saved.id, saved.version, saved.tool_name, f"{saved.id}@1"):
        with pytest.raises(NotFound) as refused:
            await workflows.get(OTHER, key)
        assert refused.value.message == f"There is no workflow {key!r}. list_workflows shows them."
        with pytest.raises(NotFound):
            await workflows.delete(OTHER, key)
        with pytest.raises(NotFound):
            await workflows.publish(OTHER, key, published=False)
    theirs = await workflows.save(OTHER, document("Small", 9))
    assert theirs.id != saved.id
    assert await rows(database) == ["Small", "Small"]
    assert planned_width(await workflows.get(LOCAL, "Small")) == 8


async def test_a_deleted_workflow_is_gone_with_all_its_versions(database: Database) -> None:
    workflows = Workflows(database)
    await workflows.save(LOCAL, document(width=8))
    first = await workflows.save(LOCAL, document(width=9))
    await workflows.delete(LOCAL, "Small")
    assert (await numbers(database), await rows(database)) == ([], [])
    for key in ("Small", "Small@1", first.version):
        with pytest.raises(NotFound):
            await workflows.get(LOCAL, key)
    again = await workflows.save(LOCAL, document())
    assert (again.number, again.id != first.id) == (1, True)


async def test_a_workflow_whose_tool_is_gone_says_so_and_can_be_deleted(database: Database) -> None:
    workflows = Workflows(database)
    saved = await workflows.save(LOCAL, document("Old"))
    gone = {"name": "Old", "steps": [{"tool": "daguerreotype", "settings": {}}]}
    await database.write(lambda c: c.execute(versions.update().values(document=gone)))
    after = Workflows(database)
    found = await after.get(LOCAL, "Old")
    assert found.tool is None
    assert "daguerreotype" in str(found.problem)
    assert after.tools(LOCAL) == []
    with pytest.raises(InvalidSettings, match="'Old' cannot run any more.*daguerreotype"):
        found.runnable()
    assert found.id == saved.id
    await after.delete(LOCAL, "Old")
    assert await rows(database) == []


async def test_a_document_that_nobody_can_read_any_more_is_listed_and_can_be_deleted(database: Database) -> None:
    await Workflows(database).save(LOCAL, document("Odd"))
    await database.write(lambda c: c.execute(versions.update().values(document={"colour": "red"})))
    workflows = Workflows(database)
    await workflows.refresh(LOCAL)
    (found,) = workflows.list(LOCAL)
    assert (found.name, found.tool, list(found.document.components)) == ("Odd", None, [])
    await workflows.save(LOCAL, document("Odd", 9))
    assert (await workflows.get(LOCAL, "Odd")).number == 2
    await workflows.delete(LOCAL, "Odd")


async def test_too_many_workflows_and_versions_are_refused_with_the_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "MOST_WORKFLOWS", 2)
    monkeypatch.setattr(stored, "MOST_VERSIONS", 3)
    workflows = Workflows(database)
    for width in (1, 2, 3):
        await workflows.save(LOCAL, document("A", width))
    await workflows.save(LOCAL, document("B"))
    with pytest.raises(LimitReached, match="There are 2 saved workflows, and 2 is the most"):
        await workflows.save(LOCAL, document("C"))
    with pytest.raises(LimitReached, match="has 3 versions, and 3 is the most") as refused:
        await workflows.save(LOCAL, document("A", 4))
    assert refused.value.details["limit"] == 3
    assert (await workflows.save(LOCAL, document("A", 3))).number == 3
    await workflows.save(OTHER, document("C"))
    assert await rows(database) == ["A", "B", "C"]


async def test_what_does_not_compile_is_not_stored(database: Database) -> None:
    workflows = Workflows(database)
    with pytest.raises(InvalidSettings, match="resise"):
        await workflows.save(LOCAL, WorkflowDocument.parse({"name": "Bad", "steps": [{"tool": "resise"}]}))
    assert await rows(database) == []


async def test_words_are_stored_without_what_cannot_be_seen(database: Database) -> None:
    written = {
        "name": "Web\u202e photo\U000e0041\n2",
        "description": "Ignore\u200b all\r\nrules",
        "tags": ["shop\u2066", "\u200b"],
        "author": "A\x00nn",
        "components": [
            {"type": "watermark-text", "label": "a\u202eb", "settings": {"text": "\u202eHi 👩‍👩‍👧\nthere\U000e0042"}}
        ],
    }
    saved = await Workflows(database).save(LOCAL, WorkflowDocument.parse(written))
    assert (saved.name, saved.document.description, saved.author) == ("Web photo 2", "Ignore all rules", "Ann")
    assert saved.document.tags == ["shop"]
    [component] = saved.document.components
    assert (component.label, component.settings["text"]) == ("ab", "Hi 👩‍👩‍👧\nthere")
    with pytest.raises(InvalidSettings, match="name"):
        await Workflows(database).save(LOCAL, document("\u202e\u200b"))


async def test_a_workflow_named_like_a_built_in_tool_has_a_tool_name_of_its_own(database: Database) -> None:
    saved = await Workflows(database).save(LOCAL, document("resize"))
    assert saved.tool_name.startswith("wf_resize_")
