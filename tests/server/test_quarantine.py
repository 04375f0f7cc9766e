"""Bytes that killed workers stay known, also after a restart."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from darkroom.store.database import Database
from darkroom.store.quarantine import Quarantine
from darkroom.store.schema import quarantine

pytestmark = pytest.mark.anyio


async def test_bytes_that_killed_workers_are_known_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database:
        first = Quarantine(database)
        assert not await first.holds("a" * 64)
        await first.add("a" * 64)
        assert await first.holds("a" * 64)
    async with Database(f"sqlite:///{tmp_path / 'x.db'}") as database:
        second = Quarantine(database)
        assert [await second.holds(digest * 64) for digest in "ab"] == [True, False]
        await second.add("a" * 64)
        deaths = await database.read(lambda c: c.execute(sa.select(quarantine.c.deaths)).scalar_one())
        assert deaths == 4
