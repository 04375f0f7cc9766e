"""Who holds a token: the operator's own, a key, a session, or one of an external issuer."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import sqlalchemy as sa

from darkroom.accounts.keys import PREFIXES
from darkroom.accounts.sessions import digest, is_session_token
from darkroom.accounts.users import principal_for, user_of
from darkroom.errors import DarkroomError, Unauthorized
from darkroom.principal import LOCAL, Principal
from darkroom.store.database import Database
from darkroom.store.schema import api_keys, sessions, users

__all__ = ["Identity"]

log = logging.getLogger(__name__)

TOUCH_SECONDS: Final = 60.0
LONGEST_TOKEN: Final = 16 * 1024
REFUSED: Final = "The key or session is not valid: it is unknown, has expired or was revoked."


def _holders(table: sa.Table, which: sa.ColumnElement[bool], *more: sa.ColumnElement[Any]) -> "sa.Select[Any]":
    ends = table.c.expires_at
    alive = ends.is_(None) | (ends > sa.bindparam("now", type_=sa.Float))
    chosen = sa.select(users, table.c.id.label("credential"), *more).join(table, table.c.user == users.c.id)
    return chosen.where(which & alive)


# Every request runs one of these; built once, they cost half.
_BY_KEY = _holders(
    api_keys, api_keys.c.key_sha256 == sa.bindparam("digest"), api_keys.c.scopes, api_keys.c.last_used_at
)
_BY_SESSION = _holders(
    sessions,
    (sessions.c.token_sha256 == sa.bindparam("digest")) & sessions.c.kind.in_(["login", "access"]),
)


class Identity:
    """Finds out who sends a request. Nothing is remembered: what is revoked lets nobody in from the next request on.

    Args:
        database: Where sessions and keys are.
        token: The operator's own; whoever has it is the machine's owner.
        external: Knows the tokens of another issuer; None where there is none.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        token: str | None = None,
        external: Callable[[str], Awaitable[Principal]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.external = external
        self._database = database
        self._token = token.encode() if token else None
        self._clock = clock
        self._touched: dict[str, float] = {}

    async def principal_of(self, token: str) -> Principal:
        """Who holds a token.

        Raises:
            Unauthorized: Nobody who is known; the text is the same for whatever is wrong with it.
        """
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized(REFUSED)
        if self._token is not None and hmac.compare_digest(token.encode(errors="replace"), self._token):
            return LOCAL
        if token.startswith(PREFIXES):
            return await self._by_key(token)
        if is_session_token(token):
            return await self._by_session(token)
        if self.external is None:
            raise Unauthorized(REFUSED)
        try:
            return await self.external(token)
        except Unauthorized as error:
            raise Unauthorized(REFUSED) from error

    async def _by_key(self, key: str) -> Principal:
        row = await self._holder(_BY_KEY, key)
        await self._touch(row.credential, row.last_used_at)
        return principal_for(user_of(row), row.credential, row.scopes)

    async def _by_session(self, token: str) -> Principal:
        row = await self._holder(_BY_SESSION, token)
        return principal_for(user_of(row), row.credential, by_password=True)

    async def _holder(self, chosen: "sa.Select[Any]", token: str) -> Any:
        """The user behind a row that has not expired, and the row's id as `credential`."""
        which = {"digest": digest(token), "now": self._clock()}
        row = await self._database.read(lambda connection: connection.execute(chosen, which).one_or_none())
        if row is None:
            raise Unauthorized(REFUSED)
        return row

    async def _touch(self, key: str, last: float | None) -> None:
        """Note that a key is used, at most once a minute; where that cannot be written the request goes on."""
        now = self._clock()
        if max(last or 0.0, self._touched.get(key, 0.0)) > now - TOUCH_SECONDS:
            return
        self._touched[key] = now  # before the write, so that many requests at once write once
        change = api_keys.update().where(api_keys.c.id == key).values(last_used_at=now)
        try:
            await self._database.write(lambda connection: connection.execute(change))
        except DarkroomError:
            log.warning("the last use of a key could not be noted")
