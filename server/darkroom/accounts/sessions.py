"""Who is signed in: sessions by password, and the tokens that a device got."""

import hashlib
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import sqlalchemy as sa

from darkroom.accounts.passwords import Passwords
from darkroom.accounts.users import USERNAME, User, user_of
from darkroom.errors import GrantRefused, NotFound, Unauthorized
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import sessions, users

__all__ = ["DAY_SECONDS", "Kind", "Login", "Sessions", "digest", "is_session_token"]

Kind = Literal["login", "access", "refresh"]

DAY_SECONDS: Final = 24 * 3600.0
MOST_OF_ONE: Final = 500
"""Sessions of one kind that a user has at most; a further one ends the oldest."""

LONGEST_CLIENT: Final = 100
TOKEN: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
WRONG: Final = "The username or the password is wrong."


@dataclass(frozen=True, slots=True)
class Login:
    """A session that was just opened.

    Attributes:
        token: A UUID; whoever has it is the user. Only its SHA-256 is stored.
        user: Whose it is.
        expires_at: Seconds since the epoch.
    """

    token: str
    user: User
    expires_at: float


class Sessions:
    """All sessions.

    Args:
        database: Where they are kept.
        passwords: Compares them, and counts how often.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, passwords: Passwords, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def login(self, username: str, password: str, address: str) -> Login:
        """Open a session of 24 hours.

        Args:
            username: In any case.
            password: Of that user.
            address: Where the caller is; wrong passwords count for the account from there.

        Raises:
            Unauthorized: There is no such user, or the password is wrong; neither the text nor the time says which.
            RateLimited: Too many passwords were tried.
            Overloaded: Too many wait to be checked.
        """
        # Names that nobody can have count as one, so that inventing them costs no memory.
        key = username.lower() if USERNAME.fullmatch(username) else ""
        row = await self._database.read(partial(_by_name, key=key))
        stored = row.password if row is not None else ""
        if not await self._passwords.fits(stored, password, who=f"login {key}", address=address) or row is None:
            raise Unauthorized(WRONG)
        better = await self._passwords.hash(password) if self._passwords.is_outdated(stored) else stored

        def work(connection: sa.Connection) -> Login:
            now = _by_name(connection, key)
            if now is None or now.id != row.id or now.password != stored:  # changed while it was compared
                raise Unauthorized(WRONG)
            if better != stored:
                connection.execute(users.update().where(users.c.id == row.id).values(password=better))
            return self._open(connection, user_of(now), "login", "", DAY_SECONDS)

        return await self._database.write(work)

    async def logout(self, principal: Principal) -> None:
        """End the session that the caller came with; a key is none, and stays."""
        mine = (sessions.c.id == principal.credential) & (sessions.c.user == principal.id)
        await self._database.write(lambda connection: connection.execute(sessions.delete().where(mine)))

    async def issue(self, user_id: str, kind: Kind, client: str, seconds: float) -> tuple[str, float]:
        """Open a session without a password.

        Args:
            user_id: Whose it is.
            kind: `login` and `access` sessions let in; a `refresh` session is only good for `renew`.
            client: Name of the program that gets it, at most 100 characters.
            seconds: How long it lasts.

        Returns:
            The token, and when it ends, in seconds since the epoch.

        Raises:
            NotFound: There is no such user.
        """

        def work(connection: sa.Connection) -> Login:
            row = connection.execute(sa.select(users).where(users.c.id == user_id)).one_or_none()
            if row is None:
                raise NotFound("There is no such user.")
            return self._open(connection, user_of(row), kind, client[:LONGEST_CLIENT], seconds)

        login = await self._database.write(work)
        return login.token, login.expires_at

    async def renew(self, refresh: str, seconds: float) -> tuple[str, float]:
        """Open an access session for a refresh token, which goes on being valid.

        Args:
            refresh: The token.
            seconds: How long the new session lasts.

        Returns:
            The token, and when it ends, in seconds since the epoch.

        Raises:
            GrantRefused: It is none, has ended, or was revoked.
        """
        mine = (sessions.c.token_sha256 == digest(refresh)) & (sessions.c.kind == "refresh")

        # In one transaction: a token that is revoked meanwhile, as by another password, opens nothing any more.
        def work(connection: sa.Connection) -> Login:
            alive = mine & (sessions.c.expires_at > self._clock())
            chosen = sa.select(users, sessions.c.client).join(sessions, sessions.c.user == users.c.id).where(alive)
            row = connection.execute(chosen).one_or_none()
            if row is None:
                raise GrantRefused("This refresh token is not valid: it has ended or was revoked. Sign in again.")
            return self._open(connection, user_of(row), "access", row.client, seconds)

        login = await self._database.write(work)
        return login.token, login.expires_at

    async def revoke(self, token: str) -> None:
        """End the session of a token, of any kind; nothing happens if there is none."""
        which = sessions.c.token_sha256 == digest(token)
        await self._database.write(lambda connection: connection.execute(sessions.delete().where(which)))

    async def current(self, principal: Principal) -> tuple[User, float | None]:
        """The caller as a user, and when their session ends; None for who came without one, such as by a key.

        Raises:
            Unauthorized: The caller is no user.
        """

        def work(connection: sa.Connection) -> tuple[User, float | None]:
            row = connection.execute(sa.select(users).where(users.c.id == principal.id)).one_or_none()
            if row is None:
                raise Unauthorized("You are no user here. Sign in.")
            mine = sa.select(sessions.c.expires_at).where(sessions.c.id == principal.credential)
            return user_of(row), connection.execute(mine).scalar_one_or_none()

        return await self._database.read(work)

    def _open(self, connection: sa.Connection, user: User, kind: Kind, client: str, seconds: float) -> Login:
        now = self._clock()
        token = str(uuid.uuid4())
        connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
        same = (sessions.c.user == user.id) & (sessions.c.kind == kind)
        oldest = sa.select(sessions.c.id).where(same).order_by(sessions.c.created_at.desc()).offset(MOST_OF_ONE - 1)
        ended = connection.execute(oldest).scalars().all()
        connection.execute(sessions.delete().where(sessions.c.id.in_(ended)))
        connection.execute(
            sessions.insert().values(
                id=new_id("ses"),
                token_sha256=digest(token),
                user=user.id,
                kind=kind,
                client=client,
                created_at=now,
                expires_at=now + seconds,
            )
        )
        return Login(token, user, now + seconds)


def digest(token: str) -> str:
    """What is stored of a token or key: random as these are, SHA-256 needs no salt and no time."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def is_session_token(token: str) -> bool:
    """Whether a token has the form of a session's."""
    return TOKEN.fullmatch(token) is not None


def _by_name(connection: sa.Connection, key: str) -> Any:
    return connection.execute(sa.select(users).where(users.c.username_key == key)).one_or_none()
