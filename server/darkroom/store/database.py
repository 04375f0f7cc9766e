"""The database: SQLite beside the pictures by default, PostgreSQL by URL; always at the newest schema.

Everything that only SQLite knows is in this module. Callers hand in plain functions over a connection; each runs
in one transaction of its own, in a thread. With SQLite writes take the write lock at once and come from one
thread, so they never wait for one another inside the database, and reads go on beside them.
"""

import asyncio
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Self, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from darkroom.errors import DarkroomError, DatabaseBusy, StorageFull

__all__ = ["Database", "head_revision"]

T = TypeVar("T")

READERS = 4
BUSY_MS = 5_000
OPEN_SECONDS = 5.0
OPEN_PAUSE = 0.02
MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Transactions on one database. An async context manager: entering brings the tables to the newest revision.

    Args:
        url: SQLAlchemy URL, such as `sqlite:////var/lib/darkroom/darkroom.db`. A SQLite file and its folder are
            made if missing, for their owner only. The file must not be on a network file system.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self._url = sa.make_url(url)
        self._file = Path(self._url.database or "") if self._url.get_backend_name() == "sqlite" else None
        self._write_thread = ThreadPoolExecutor(1, thread_name_prefix="database-write")
        self._read_threads = ThreadPoolExecutor(READERS, thread_name_prefix="database-read")
        self._writer = sa.create_engine(self._url)
        self._reader = sa.create_engine(self._url, pool_size=READERS)
        if self._file is not None:
            _as_sqlite(self._writer, begin="BEGIN IMMEDIATE", query_only=False)
            _as_sqlite(self._reader, begin="BEGIN", query_only=True)

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._write_thread, self._open)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Finish what runs and close all connections; SQLite then folds its log into the file."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._read_threads.shutdown)
        await loop.run_in_executor(None, self._write_thread.shutdown)
        self._reader.dispose()
        self._writer.dispose()

    async def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` in a write transaction: committed and on the disk once this returns, undone if it raises.

        Raises:
            DatabaseBusy: Another process held the write lock for 5 seconds.
            StorageFull: The disk is full or read-only.
        """
        return await self._in_thread(self._write_thread, partial(_transact, self._writer, work))

    async def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Run `work` on one consistent state of the database; it cannot write.

        Raises:
            DatabaseBusy: The database could not be read within 5 seconds.
        """
        return await self._in_thread(self._read_threads, partial(_transact, self._reader, work))

    async def compact(self) -> None:
        """Give the space of deleted rows back to the file system, where the database needs to be told."""
        if self._file is not None:
            await self._in_thread(self._write_thread, self._compact)

    @staticmethod
    async def _in_thread(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def _open(self) -> None:
        unclean = False
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            log = self._file.with_name(self._file.name + "-wal")
            unclean = log.exists() and log.stat().st_size > 0
        if unclean and _transact(self._writer, _damage) != "ok":
            raise DarkroomError(
                "The database is damaged. Restore it from a backup, or move it away to start with an empty one.",
                code="DATABASE_DAMAGED",
            )
        if _transact(self._writer, _revision) != head_revision():
            _transact(self._writer, _migrate)

    def _compact(self) -> None:
        with closing(self._writer.raw_connection()) as connection:
            # As a script, because a single statement of the driver stops after the first freed page.
            script = "PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);"
            cast(sqlite3.Connection, connection.driver_connection).executescript(script)


def head_revision() -> str:
    """The newest revision of the schema; revisions are named by date, so it is the last by name."""
    return max(found.stem for found in (MIGRATIONS / "versions").glob("2*.py"))


def _as_sqlite(engine: sa.Engine, *, begin: str, query_only: bool) -> None:
    def configure(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # the driver would begin transactions late, after the first read
        execute = connection.execute
        execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        _insist_on_wal(execute)
        execute("PRAGMA synchronous = full")
        execute("PRAGMA fullfsync = on")  # macOS: past the disk's own cache
        execute("PRAGMA foreign_keys = on")
        execute(f"PRAGMA query_only = {int(query_only)}")
        # SQLite's own knows no letters but A to Z.
        cast(sqlite3.Connection, connection).create_function("lower", 1, _lower, deterministic=True)

    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def _lower(text: str | None) -> str | None:
    return text.lower() if isinstance(text, str) else text


def _insist_on_wal(execute: Callable[[str], sqlite3.Cursor]) -> None:
    """Switch a new file to the write-ahead log. SQLite does not wait for others there, whatever the busy timeout."""
    until = time.monotonic() + OPEN_SECONDS
    while True:
        try:
            if execute("PRAGMA journal_mode").fetchone() != ("wal",):
                execute("PRAGMA auto_vacuum = incremental")  # only counts before the first table
                execute("PRAGMA journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(OPEN_PAUSE)


def _transact(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except sa.exc.DBAPIError as error:
        if (public := _public(error)) is None:
            raise
        raise public from error


def _public(error: sa.exc.DBAPIError) -> DarkroomError | None:
    """The error a caller may see for what SQLite says about its file; None for mistakes of ours."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return DatabaseBusy("The database is busy. Try again in a few seconds.", retryAfter=5)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
        return StorageFull("The disk is full or read-only, so nothing was stored. Free some space and try again.")
    return None


def _damage(connection: sa.Connection) -> str:
    return str(connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one())


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()
    if revision is not None and revision > head_revision():
        raise DarkroomError(
            "A newer Darkroom wrote this database. Update Darkroom, or choose another data directory.",
            code="DATABASE_TOO_NEW",
        )
    return revision


def _migrate(connection: sa.Connection) -> None:
    """Bring the tables to the newest revision; the write lock lets one process do it, the others find it done."""
    from alembic import command  # slow to import, and needed only after an update
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", MIGRATIONS.as_posix().replace("%", "%%"))
    command.upgrade(config, "head")
