"""Bytes on which workers die: known after two deaths, and not tried again."""

import time

import sqlalchemy as sa

from darkroom.store.database import Database
from darkroom.store.schema import quarantine

__all__ = ["Quarantine"]


class Quarantine:
    """The digests that may not be tried again. Answers come from memory, which is read once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[str] | None = None

    async def holds(self, digest: str) -> bool:
        """Whether these bytes killed workers before."""
        return digest in await self._load()

    async def add(self, digest: str) -> None:
        """Two workers died on these bytes."""
        now = time.time()
        mine = quarantine.c.sha256 == digest

        def work(connection: sa.Connection) -> None:
            again = quarantine.update().where(mine).values(deaths=quarantine.c.deaths + 2, updated_at=now)
            if connection.execute(again).rowcount == 0:
                connection.execute(quarantine.insert(), {"sha256": digest, "deaths": 2, "updated_at": now})

        (await self._load()).add(digest)
        await self._database.write(work)

    async def _load(self) -> set[str]:
        if self._known is None:
            query = sa.select(quarantine.c.sha256)
            self._known = set(await self._database.read(lambda connection: connection.execute(query).scalars().all()))
        return self._known
