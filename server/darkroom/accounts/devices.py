"""Signing in programs that have no browser (RFC 8628): a person approves a short code, the program polls for tokens."""

import hashlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from darkroom.accounts.sessions import Sessions
from darkroom.errors import GrantRefused, NotFound, Overloaded
from darkroom.store.database import Database
from darkroom.store.schema import device_grants
from darkroom_tools.kit.clean import clean_text

__all__ = ["ACCESS_SECONDS", "Devices", "Grant", "Tokens"]

ACCESS_SECONDS: Final = 24 * 3600.0
REFRESH_SECONDS: Final = 90 * 24 * 3600.0
GRANT_SECONDS: Final = 900.0
POLL_SECONDS: Final = 5
HASTE: Final = 1.0
"""Seconds that a poll may come too soon, because it does not take the same time on its way each time."""

ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
"""Letters that are read aloud and typed without mistakes, and that make no words."""

CODE_LETTERS: Final = 8
MOST_OPEN: Final = 10_000
LONGEST_CLIENT: Final = 100


@dataclass(frozen=True, slots=True)
class Grant:
    """What a program is told that asks to be signed in.

    Attributes:
        device_code: Opens the tokens once somebody approved it; for the program alone.
        user_code: What the person types in, such as `BCDF-GHJK`.
        seconds: How long both are valid.
        interval: Least seconds between two polls.
    """

    device_code: str
    user_code: str
    seconds: int
    interval: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a program acts with for its user.

    Attributes:
        access: Sent with each request.
        refresh: Exchanged for new ones; None where the program has it already.
        seconds: How long `access` is valid.
    """

    access: str
    refresh: str | None
    seconds: int


class Devices:
    """The programs that wait to be signed in. Codes are stored as digests or die within 15 minutes.

    Args:
        database: At the newest schema.
        sessions: Makes the tokens.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, sessions: Sessions, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._sessions = sessions
        self._clock = clock

    async def begin(self, client: str) -> Grant:
        """Codes for a program that wants to be signed in.

        Args:
            client: What it calls itself; shown to the person who approves it.

        Raises:
            Overloaded: Too many wait already.
        """
        now, device = self._clock(), secrets.token_urlsafe(32)
        letters = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LETTERS))
        row = {
            "device_sha256": _digest(device),
            "user_code": letters,
            "client": clean_text(client, LONGEST_CLIENT),
            "expires_at": now + GRANT_SECONDS,
        }

        def work(connection: sa.Connection) -> None:
            connection.execute(device_grants.delete().where(device_grants.c.expires_at < now - GRANT_SECONDS))
            if connection.execute(sa.select(sa.func.count()).select_from(device_grants)).scalar_one() >= MOST_OPEN:
                raise Overloaded(f"{MOST_OPEN:,} programs wait to be signed in. Try again in a minute.", retryAfter=60)
            connection.execute(device_grants.insert().values(row))

        await self._database.write(work)
        half = CODE_LETTERS // 2
        return Grant(device, f"{letters[:half]}-{letters[half:]}", int(GRANT_SECONDS), POLL_SECONDS)

    async def client_of(self, user_code: str) -> str:
        """What the program calls itself that waits with this code.

        Raises:
            NotFound: None does, or no longer.
        """
        waits = sa.select(device_grants.c.client).where(*self._waiting(user_code))
        found = await self._database.read(lambda connection: connection.scalar(waits))
        if found is None:
            raise _no_code()
        return str(found)

    async def approve(self, user_code: str, user: str) -> None:
        """Let the program with this code act for a user.

        Raises:
            NotFound: None waits with it, or no longer.
        """
        await self._answer(user_code, {"user": user})

    async def deny(self, user_code: str) -> None:
        """Turn the program with this code away.

        Raises:
            NotFound: None waits with it, or no longer.
        """
        await self._answer(user_code, {"denied": True})

    async def redeem(self, device_code: str, client: str = "") -> Tokens:
        """The tokens of a program that was approved, once.

        Args:
            client: Who asks; if given, it must be who asked for the code.

        Raises:
            GrantRefused: AUTHORIZATION_PENDING until somebody answered, SLOW_DOWN for who polls too often, EXPIRED_TOKEN,
                ACCESS_DENIED, or INVALID_GRANT for a code that is unknown or used.
        """
        row = await self._database.write(lambda connection: self._take(connection, _digest(device_code), client))
        # Raised out here: what a refused poll writes must stay.
        if isinstance(row, GrantRefused):
            raise row
        return await self._tokens(row["user"], row["client"])

    async def refresh(self, token: str) -> Tokens:
        """A new access token for a refresh token, which goes on being valid: the vendor's client takes no other one.

        Raises:
            GrantRefused: INVALID_GRANT: it is unknown, expired or revoked.
        """
        access, _ = await self._sessions.renew(token, ACCESS_SECONDS)
        return Tokens(access, None, int(ACCESS_SECONDS))

    async def revoke(self, token: str) -> None:
        """End a token of either kind; an unknown one is no error."""
        await self._sessions.revoke(token)

    async def _tokens(self, user: str, client: str) -> Tokens:
        access, _ = await self._sessions.issue(user, "access", client, ACCESS_SECONDS)
        refresh, _ = await self._sessions.issue(user, "refresh", client, REFRESH_SECONDS)
        return Tokens(access, refresh, int(ACCESS_SECONDS))

    def _take(self, connection: sa.Connection, digest: str, client: str) -> Any:
        """The row of an approved grant, which is gone with this, or why there is none."""
        now, mine = self._clock(), device_grants.c.device_sha256 == digest
        row = connection.execute(sa.select(device_grants).where(mine).with_for_update()).mappings().one_or_none()
        if row is None or (client and clean_text(client, LONGEST_CLIENT) != row["client"]):
            return GrantRefused("There is no such device code, or it was used. Ask for a new one.")
        if row["expires_at"] <= now:
            return GrantRefused("Nobody approved the code in time. Ask for a new one.", code="EXPIRED_TOKEN")
        if row["denied"]:
            return GrantRefused("The code was turned down.", code="ACCESS_DENIED")
        if row["user"] is not None:
            connection.execute(device_grants.delete().where(mine))
            return dict(row)
        connection.execute(device_grants.update().where(mine).values(polled_at=now))
        if row["polled_at"] is not None and now < row["polled_at"] + POLL_SECONDS - HASTE:
            return GrantRefused(f"Ask every {POLL_SECONDS} seconds, no sooner.", code="SLOW_DOWN")
        return GrantRefused("Nobody has approved the code yet.", code="AUTHORIZATION_PENDING")

    async def _answer(self, user_code: str, values: dict[str, Any]) -> None:
        answered = device_grants.update().where(*self._waiting(user_code)).values(values)
        if not await self._database.write(lambda connection: connection.execute(answered).rowcount):
            raise _no_code()

    def _waiting(self, user_code: str) -> tuple[sa.ColumnElement[bool], ...]:
        letters = "".join(letter for letter in user_code.upper() if letter.isalnum())
        return (
            device_grants.c.user_code == letters[: CODE_LETTERS + 1],
            device_grants.c.user.is_(None),
            device_grants.c.denied.is_(sa.false()),
            device_grants.c.expires_at > self._clock(),
        )


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()


def _no_code() -> NotFound:
    return NotFound("No program waits with this code, or no longer. Look at the code once more, or start over there.")
