"""Uploads by one-time address: whoever holds the token may hand in one file for the owner, once, for a while."""

import hashlib
import secrets
import time
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass

import anyio
import sqlalchemy as sa

from darkroom.errors import NotFound
from darkroom.intake import Intake, Resolved
from darkroom.library.arriving import Arrivals
from darkroom.library.library import Library, enlist, find_source, load_image
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import uploads

__all__ = ["Slot", "Uploads"]

LIFETIME = 600.0


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one file. The token is told once and never stored.

    Attributes:
        id: `upl_…`, for people and logs; opens nothing.
        token: 43 characters that open the slot.
        expires_at: Seconds since the epoch.
    """

    id: str
    token: str
    expires_at: float


class Uploads:
    """Makes slots and takes in their files."""

    def __init__(
        self,
        database: Database,
        intake: Intake,
        library: Library,
        arrivals: Arrivals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._intake = intake
        self._library = library
        self._arrivals = arrivals
        self._clock = clock
        self._arriving: set[str] = set()

    async def create(self, principal: Principal) -> Slot:
        """A slot for one file within ten minutes."""
        now = self._clock()
        slot = Slot(new_id("upl"), secrets.token_urlsafe(32), now + LIFETIME)
        row = {
            "id": slot.id,
            "token_sha256": _digest(slot.token),
            "owner": principal.id,
            "created_at": now,
            "expires_at": slot.expires_at,
        }

        def work(connection: sa.Connection) -> None:
            connection.execute(uploads.delete().where(uploads.c.expires_at < now))
            connection.execute(uploads.insert().values(row))

        await self._database.write(work)
        return slot

    async def check(self, token: str) -> None:
        """Whether the slot waits for its file.

        Raises:
            NotFound: It is unknown, used or expired: the answer is the same.
        """
        await self._owner(_digest(token))

    async def receive(self, token: str, chunks: AsyncIterable[bytes], name: str) -> ImageRecord:
        """Take in the one file of a slot. If it is refused, the slot stays open for another try.

        Raises:
            NotFound: The slot is unknown, used, expired, or another file is arriving in it: the answer is the same.
            LimitExceeded: FILE_TOO_LARGE, or a limit of its header; nothing is kept.
            UnsupportedFormat: The bytes are of no type that is read.
            InvalidImage: The file is empty or damaged.
            QuotaExceeded: The owner has no room for it.
        """
        key = _digest(token)
        owner = await self._owner(key)
        if key in self._arriving:
            raise _no_slot()
        self._arriving.add(key)
        try:
            stored = await self._intake.receive(chunks, name)
            try:
                return await self._record(owner, key, stored)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._library.discard(stored.sha256)
                raise
        finally:
            self._arriving.discard(key)

    async def _owner(self, key: str) -> str:
        waits = (uploads.c.token_sha256 == key) & uploads.c.image.is_(None) & (uploads.c.expires_at > self._clock())
        owner = await self._database.read(lambda connection: connection.scalar(sa.select(uploads.c.owner).where(waits)))
        if owner is None:
            raise _no_slot()
        return str(owner)

    async def _record(self, owner: str, key: str, stored: Resolved) -> ImageRecord:
        picture = await self._arrivals.read_header(stored)

        def work(connection: sa.Connection) -> ImageRecord:
            known = find_source(connection, owner, stored.sha256)
            handle = known or new_id("img")
            free = (uploads.c.token_sha256 == key) & uploads.c.image.is_(None)
            if connection.execute(uploads.update().where(free).values(image=handle)).rowcount != 1:
                raise _no_slot()
            if known is None:
                return self._arrivals.record(connection, owner, handle, stored, picture)
            self._arrivals.check_bytes(stored)
            enlist(connection, owner, [known], self._clock())
            return load_image(connection, owner, known)

        return await self._database.write(work)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _no_slot() -> NotFound:
    return NotFound("This upload address is not valid, or no longer. Ask create_upload for a new one.")
