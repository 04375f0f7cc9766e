"""The site's settings: kept, checked, and seen by every process."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa

from darkroom.accounts.site import Site
from darkroom.catalog import Catalog
from darkroom.errors import Forbidden, NotFound
from darkroom.principal import LOCAL
from darkroom.store.database import Database
from darkroom.store.schema import settings
from darkroom.workflows.service import Workflows
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import Plan, Step

pytestmark = pytest.mark.anyio

NO_EXECUTOR: Any = None


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def site_on(database: Database) -> Site:
    return Site(database, NO_EXECUTOR, clock=lambda: 1000.0)


async def values(site: Site) -> dict[str, Any]:
    return {stored.key: stored.value for stored in await site.settings()}


async def test_settings_have_defaults_and_no_time_until_they_are_changed(database: Database) -> None:
    site = site_on(database)
    assert await values(site) == {
        "disabledTools": [],
        "enableExperimentalTools": False,
        "loginAttemptLimit": 5,
        "customLogo": False,
    }
    assert {stored.updated_at for stored in await site.settings()} == {None}
    [changed] = await site.change({"loginAttemptLimit": 3})
    assert (changed.key, changed.value, changed.updated_at) == ("loginAttemptLimit", 3, 1000.0)
    assert await site.login_attempts() == 3


async def test_another_process_sees_a_change_and_tells_of_it_once(database: Database) -> None:
    here, there = site_on(database), site_on(database)
    heard: list[frozenset[str]] = []
    there.on_change(lambda: heard.append(there.disabled()))
    await here.change({"disabledTools": ["ocr"]})
    assert there.disabled() == frozenset()
    await there.refresh()
    await there.refresh()
    assert heard == [frozenset({"ocr"})]
    await here.change({"loginAttemptLimit": 4})
    await there.refresh()
    assert (heard, await there.login_attempts()) == ([frozenset({"ocr"})], 4)


async def test_a_running_site_looks_by_itself_at_what_others_changed(database: Database) -> None:
    here, there = site_on(database), site_on(database)
    changed = anyio.Event()
    there.on_change(changed.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(there.run)
        await here.change({"disabledTools": ["ocr"]})
        with anyio.fail_after(30):
            await changed.wait()
        tasks.cancel_scope.cancel()
    assert there.disabled() == frozenset({"ocr"})


async def test_a_wrong_value_changes_nothing_at_all(database: Database) -> None:
    site = site_on(database)
    with pytest.raises(InvalidSettings, match="Did you mean 'ocr'"):
        await site.change({"loginAttemptLimit": 3, "disabledTools": ["ocrr"]})
    assert await site.login_attempts() == 5
    assert (await values(site))["loginAttemptLimit"] == 5


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a": 1}', "null", "[1]", "[NaN]"])
async def test_text_that_holds_no_array_of_ids_is_refused(database: Database, deep: str) -> None:
    with pytest.raises(InvalidSettings, match="array of tool ids"):
        await site_on(database).change({"disabledTools": deep})


async def test_what_another_version_stored_leaves_the_rest_as_it_is(database: Database) -> None:
    stored = {"disabledTools": ["tool-of-tomorrow", "ocr"], "loginAttemptLimit": 8, "settingOfTomorrow": {"a": 1}}

    def write(connection: sa.Connection) -> None:
        for key, value in stored.items():
            connection.execute(settings.insert().values(key=key, value=value, updated_at=1.0))

    await database.write(write)
    site = site_on(database)
    await site.refresh()
    assert (site.disabled(), await site.login_attempts()) == (frozenset({"ocr"}), 8)
    assert "settingOfTomorrow" not in await values(site)


async def test_a_stored_value_that_does_not_fit_leaves_what_was_there(database: Database) -> None:
    site = site_on(database)
    await site.change({"disabledTools": ["ocr"], "loginAttemptLimit": 8})
    broken = settings.update().where(settings.c.key == "loginAttemptLimit").values(value="none")
    await database.write(lambda connection: connection.execute(broken))
    await site.refresh()
    assert (site.disabled(), await site.login_attempts()) == (frozenset({"ocr"}), 8)


def plan_of(*tools: str) -> Plan:
    return Plan(tuple(Step(f"s{number}", tool) for number, tool in enumerate(tools)))


async def test_a_plan_with_a_disabled_tool_is_refused(database: Database) -> None:
    site = site_on(database)
    site.check(plan_of("resize", "smart-crop"))
    await site.change({"disabledTools": ["smart_crop"]})
    site.check(plan_of("resize"))
    with pytest.raises(Forbidden, match="'smart_crop', which is switched off"):
        site.check(plan_of("resize", "smart-crop"))


async def test_the_catalog_is_without_disabled_tools(database: Database) -> None:
    site = site_on(database)
    catalog = Catalog(Workflows(database), site.disabled)

    def names() -> Sequence[str]:
        return [tool.id for tool in catalog.tools_for(LOCAL)]

    everything = names()
    await site.change({"disabledTools": ["adjust-colors"]})
    assert "color-adjustments" in everything
    assert set(everything) - set(names()) == {"color-adjustments"}
    assert "color-adjustments" not in catalog.builtin
    assert "adjust-colors" not in catalog.names(LOCAL)
    for name in ("color-adjustments", "color_adjustments", "adjust-colors"):
        with pytest.raises(NotFound, match="'color_adjustments' is switched off"):
            catalog.find(LOCAL, name)
    await site.change({"disabledTools": []})
    assert names() == everything
