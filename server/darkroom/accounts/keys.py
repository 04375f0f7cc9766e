"""API keys: shown once, stored as a digest, never good for more than whoever made them."""

import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa

from darkroom.accounts.permissions import ROLES, permissions_of
from darkroom.accounts.sessions import digest
from darkroom.accounts.users import check_alive
from darkroom.errors import Forbidden, LimitReached, NotFound, Unauthorized
from darkroom.principal import Permission, Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import api_keys, users
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = ["PREFIXES", "ApiKey", "Keys", "Prefix"]

Prefix = Literal["si_", "sk_live_", "fsk_live_", "fsk_test_"]
PREFIXES: Final[tuple[Prefix, ...]] = get_args(Prefix)
RANDOM_BYTES: Final = 48
LONGEST_NAME: Final = 100
MOST: Final = 100


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; never the key.

    Attributes:
        id: `key_…`.
        user: Id of whose it is.
        name: For people.
        prefix: How it begins.
        scopes: What it may do at most; None for all that its user may, also later.
        expires_at: Seconds since the epoch; None for never.
        last_used_at: Seconds since the epoch, to a minute; None for never.
        created_at: Seconds since the epoch.
    """

    id: str
    user: str
    name: str
    prefix: Prefix
    scopes: frozenset[Permission] | None
    expires_at: float | None
    last_used_at: float | None
    created_at: float


class Keys:
    """All keys.

    Args:
        database: Where they are kept.
        clock: Seconds since the epoch.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self,
        principal: Principal,
        name: str,
        prefix: Prefix = "si_",
        scopes: Iterable[str] | None = None,
        expires_at: float | None = None,
    ) -> tuple[str, ApiKey]:
        """Make a key for the caller.

        Args:
            principal: Whose key it is; it may do no more than they may with what they came with.
            name: For people; at most 100 characters.
            prefix: How it begins.
            scopes: In the words of any dialect; None for all that the caller may.
            expires_at: Seconds since the epoch, in the future; None for never.

        Returns:
            The key, which nobody can show again, and what is known of it.

        Raises:
            InvalidSettings: Name, prefix, scopes or expiry cannot be.
            Forbidden: ESCALATION_DENIED: the scopes are more than the caller may.
            LimitReached: The caller has 100 keys.
            Unauthorized: The caller is no user any more.
        """
        now = self._clock()
        title = " ".join(clean_text(name, LONGEST_NAME + 1).split())
        if not 0 < len(title) <= LONGEST_NAME:
            raise InvalidSettings(f"The name of a key has 1 to {LONGEST_NAME} characters.", field="name")
        if prefix not in PREFIXES:
            raise InvalidSettings(f"A key begins with {', '.join(PREFIXES)}.", field="prefix", allowed=[*PREFIXES])
        if expires_at is not None and not (math.isfinite(expires_at) and expires_at > now):
            raise InvalidSettings("A key expires in the future, or never.", field="expiresAt")
        wanted = _wanted(principal, scopes)
        key = prefix + secrets.token_hex(RANDOM_BYTES)

        def work(connection: sa.Connection) -> ApiKey:
            check_alive(connection, principal)
            user = sa.select(users.c.role).where(users.c.id == principal.id).with_for_update()
            role = connection.execute(user).scalar_one_or_none()
            if role is None:
                raise Unauthorized("Keys belong to users, and you are none.")
            count = sa.select(sa.func.count()).where(api_keys.c.user == principal.id)
            if connection.execute(count).scalar_one() >= MOST:
                raise LimitReached(f"You have {MOST} keys. Delete one that you do not need.", limit=MOST)
            kept = None if scopes is None and ROLES[role] <= wanted else wanted & ROLES[role]
            made = ApiKey(new_id("key"), principal.id, title, prefix, kept, expires_at, None, now)
            values = {name: getattr(made, name) for name in ApiKey.__slots__}
            values |= {"key_sha256": digest(key), "scopes": None if kept is None else sorted(kept)}
            connection.execute(api_keys.insert().values(values))
            return made

        return key, await self._database.write(work)

    async def list(self, principal: Principal) -> Sequence[ApiKey]:
        """The caller's keys, oldest first; everybody's for who has `keys:all`."""
        which = _theirs(principal)
        chosen = sa.select(api_keys).where(which).order_by(api_keys.c.created_at, api_keys.c.id)
        rows = await self._database.read(lambda connection: connection.execute(chosen).all())
        return [_key_of(row) for row in rows]

    async def delete(self, principal: Principal, identifier: str) -> None:
        """End a key of the caller's, or anybody's for who has `keys:all`; from now on it lets nobody in.

        Raises:
            NotFound: There is no such key that the caller may delete.
        """
        which = _theirs(principal) & (api_keys.c.id == identifier)
        if not await self._database.write(
            lambda connection: connection.execute(api_keys.delete().where(which)).rowcount
        ):
            raise NotFound("There is no such key.")


def _wanted(principal: Principal, scopes: Iterable[str] | None) -> frozenset[Permission]:
    if scopes is None:
        return principal.permissions
    wanted = permissions_of(scopes)
    if not wanted:
        raise InvalidSettings("Name at least one scope, or none at all for everything that you may.", field="scopes")
    if more := sorted(wanted - principal.permissions):
        raise Forbidden(
            f"A key may do no more than who makes it, and you lack {', '.join(more)}.", code="ESCALATION_DENIED"
        )
    return wanted


def _theirs(principal: Principal) -> sa.ColumnElement[bool]:
    return sa.true() if principal.may("keys:all") else api_keys.c.user == principal.id


def _key_of(row: Any) -> ApiKey:
    scopes = None if row.scopes is None else frozenset(row.scopes)
    return ApiKey(row.id, row.user, row.name, row.prefix, scopes, row.expires_at, row.last_used_at, row.created_at)
