"""The database: transactions, migrations, durability settings, mapped errors."""

import asyncio
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from darkroom.errors import DarkroomError, DatabaseBusy, StorageFull
from darkroom.store import database as module
from darkroom.store.database import MIGRATIONS, Database, head_revision
from darkroom.store.schema import metadata, quarantine, workflow_versions, workflows

pytestmark = pytest.mark.anyio


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'data' / 'darkroom.db'}"


def insert(sha256: str, deaths: int = 1) -> sa.Insert:
    return quarantine.insert().values(sha256=sha256, deaths=deaths, updated_at=0.0)


async def test_a_new_database_has_the_tables_of_the_schema(tmp_path: Path) -> None:
    async with Database(url(tmp_path)) as database:
        differences = await database.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert differences == []


async def test_the_head_known_by_name_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [head_revision()]


async def test_the_first_revision_can_be_undone(tmp_path: Path) -> None:
    from alembic import command

    def downgrade(connection: sa.Connection) -> list[str]:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.downgrade(config, "base")
        return sa.inspect(connection).get_table_names()

    async with Database(url(tmp_path)) as database:
        assert await database.write(downgrade) == ["alembic_version"]


async def test_workflows_of_the_first_revision_become_first_versions(tmp_path: Path) -> None:
    from alembic import command

    def go(connection: sa.Connection, move: str, to: str) -> None:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        getattr(command, move)(config, to)

    document = {"name": "Klein 小", "steps": [{"tool": "resize", "settings": {"width": 8}}]}
    old = {"id": "wf_1", "owner": "ann", "tool": "wf_klein_1", "name": "Klein 小", "document": document}
    names = (*old, "created_at", "updated_at")
    table = sa.table("workflows", *(sa.column(name, sa.JSON if name == "document" else None) for name in names))

    def insert_as_it_was(connection: sa.Connection) -> None:
        go(connection, "downgrade", "20261121_foundation")
        connection.execute(table.insert().values(**old, created_at=1.0, updated_at=2.0))
        go(connection, "upgrade", "head")

    async with Database(url(tmp_path)) as database:
        await database.write(insert_as_it_was)
        version = await database.read(lambda c: c.execute(sa.select(workflow_versions)).one())
        kept = await database.read(lambda c: c.execute(sa.select(workflows)).one())
        assert (version.owner, version.workflow, version.number, version.document) == ("ann", "wf_1", 1, document)
        assert (kept.name, kept.tool, kept.version, kept.published) == ("Klein 小", "wf_klein_1", version.id, True)
        await database.write(lambda c: go(c, "downgrade", "20261121_foundation"))
        back = await database.read(lambda c: c.execute(sa.select(table)).one())
        assert back.document == document


def test_an_up_to_date_database_opens_without_alembic(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys\n"
        "from darkroom.store.database import Database\n"
        "async def main():\n"
        "    async with Database(sys.argv[1]): pass\n"
        "asyncio.run(main())\n"
        "print('alembic' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script, url(tmp_path)]
    said = [subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout for _ in range(2)]
    assert said == ["True\n", "False\n"]


async def test_two_processes_may_open_an_empty_folder_at_once(tmp_path: Path) -> None:
    async def opened() -> int:
        async with Database(url(tmp_path)) as database:
            return await database.read(lambda c: len(sa.inspect(c).get_table_names()))

    counts = await asyncio.gather(opened(), opened(), opened())
    assert set(counts) == {len(metadata.tables) + 1}


async def test_whoever_meets_another_one_that_opens_an_empty_file_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = sqlite3.connect(tmp_path / "test.db", check_same_thread=False, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited = []

    def let_go(seconds: float) -> None:
        waited.append(seconds)
        other.rollback()

    # SQLite does not wait there by itself.
    monkeypatch.setattr(module, "BUSY_MS", 0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=let_go))
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        assert await database.read(lambda c: c.exec_driver_sql("PRAGMA journal_mode").scalar_one()) == "wal"
    assert len(waited) == 1
    other.close()


async def test_who_waited_long_enough_is_told_that_the_database_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 0)
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.0)
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseBusy):
        await Database(f"sqlite:///{tmp_path / 'test.db'}").__aenter__()
    other.close()


async def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with Database(url(tmp_path)) as database:
        await database.write(lambda c: c.execute(sa.text("UPDATE alembic_version SET version_num = '29991231_x'")))
    with pytest.raises(DarkroomError, match="newer Darkroom") as caught:
        async with Database(url(tmp_path)):
            pass
    assert caught.value.code == "DATABASE_TOO_NEW"


async def test_only_the_owner_can_read_the_files(tmp_path: Path) -> None:
    async with Database(url(tmp_path)) as database:
        await database.write(lambda c: c.execute(insert("a")))
        files = list((tmp_path / "data").iterdir())
        assert {re.sub("darkroom.db", "", file.name) for file in files} == {"", "-wal", "-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


async def test_commits_survive_power_loss_by_wal_and_full_synchronous(tmp_path: Path) -> None:
    def pragmas(connection: sa.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "auto_vacuum")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    async with Database(url(tmp_path)) as database:
        assert await database.write(pragmas) == ["wal", 2, 1, 5000, 2]
        assert await database.read(pragmas) == ["wal", 2, 1, 5000, 2]


async def test_work_that_raises_leaves_nothing_behind(tmp_path: Path) -> None:
    def half(connection: sa.Connection) -> None:
        connection.execute(insert("a"))
        raise ZeroDivisionError

    async with Database(url(tmp_path)) as database:
        with pytest.raises(ZeroDivisionError):
            await database.write(half)
        assert await database.read(lambda c: c.execute(sa.select(quarantine)).all()) == []


async def test_a_read_cannot_write(tmp_path: Path) -> None:
    async with Database(url(tmp_path)) as database:
        with pytest.raises(DarkroomError) as caught:
            await database.read(lambda c: c.execute(insert("a")))
        assert caught.value.code == "STORAGE_FULL"
        assert await database.read(lambda c: c.execute(sa.select(quarantine)).all()) == []


async def test_reads_go_on_while_a_write_is_open_and_see_the_state_before_it(tmp_path: Path) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(connection: sa.Connection) -> None:
        connection.execute(insert("a"))
        inside.set()
        assert leave.wait(30)

    def count(connection: sa.Connection) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(quarantine)).scalar_one()

    async with Database(url(tmp_path)) as database:
        writing = asyncio.create_task(database.write(slow))
        assert await asyncio.to_thread(inside.wait, 30)
        assert await database.read(count) == 0
        leave.set()
        await writing
        assert await database.read(count) == 1


async def test_increments_from_many_tasks_are_never_lost(tmp_path: Path) -> None:
    def increment(connection: sa.Connection) -> None:
        deaths = connection.execute(sa.select(quarantine.c.deaths)).scalar_one()
        connection.execute(quarantine.update().values(deaths=deaths + 1))

    async with Database(url(tmp_path)) as one, Database(url(tmp_path)) as other:
        await one.write(lambda c: c.execute(insert("a", 0)))
        await asyncio.gather(*(database.write(increment) for database in (one, other) for _ in range(50)))
        assert await one.read(lambda c: c.execute(sa.select(quarantine.c.deaths)).scalar_one()) == 100


async def test_a_lock_held_elsewhere_answers_database_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_MS", 20)
    async with Database(url(tmp_path)) as database:
        other = sqlite3.connect(tmp_path / "data" / "darkroom.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy) as caught:
            await database.write(lambda c: c.execute(insert("a")))
        other.execute("ROLLBACK")
        other.close()
        assert caught.value.code == "DATABASE_BUSY"
        assert caught.value.retryable
        await database.write(lambda c: c.execute(insert("a")))


async def test_a_full_disk_answers_storage_full_and_reads_go_on(tmp_path: Path) -> None:
    def fill(connection: sa.Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        for n in range(5_000):
            connection.execute(insert(f"{n:064}"))

    async with Database(url(tmp_path)) as database:
        with pytest.raises(StorageFull) as caught:
            await database.write(fill)
        assert caught.value.status == 507
        assert await database.read(lambda c: c.execute(sa.select(quarantine)).all()) == []


async def test_a_damaged_file_is_refused_after_an_unclean_stop(tmp_path: Path) -> None:
    async with Database(url(tmp_path)) as database:
        await database.write(lambda c: [c.execute(insert(f"{n:064}")) for n in range(500)])
    file = tmp_path / "data" / "darkroom.db"
    content = bytearray(file.read_bytes())
    content[-4096 * 3 :] = b"\xa5" * (4096 * 3)
    file.write_bytes(content)
    file.with_name("darkroom.db-wal").write_bytes(b"left over")
    with pytest.raises(DarkroomError, match="damaged") as caught:
        async with Database(url(tmp_path)):
            pass
    assert caught.value.code == "DATABASE_DAMAGED"


async def test_compacting_gives_space_back(tmp_path: Path) -> None:
    file = tmp_path / "data" / "darkroom.db"
    async with Database(url(tmp_path)) as database:
        await database.write(lambda c: [c.execute(insert(f"{n:064}")) for n in range(5_000)])
        await database.compact()
        full = file.stat().st_size
        await database.write(lambda c: c.execute(quarantine.delete()))
        await database.compact()
        assert file.stat().st_size < full / 2
