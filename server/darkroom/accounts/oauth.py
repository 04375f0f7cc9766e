"""Access tokens of an external OAuth 2.1 or OpenID Connect issuer: checked here, and its users known by it alone.

The server is a resource server (RFC 6750, RFC 9728): it issues no such tokens, passes none on, and takes only those that
were made for it (RFC 8707, RFC 9068).
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx2
import jwt
import sqlalchemy as sa

from darkroom.accounts.permissions import ROLES, SCOPES
from darkroom.errors import DarkroomError, LimitReached, Unauthorized
from darkroom.principal import LOCAL, Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import users
from darkroom_tools.kit.clean import clean_text

__all__ = ["ExternalIssuer"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
"""Signatures with a public key only: with HMAC, whoever knows the key could make tokens."""

DOCUMENTS: Final = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
FRESH_SECONDS: Final = 3600.0
AGAIN_SECONDS: Final = 60.0
"""A key that is not known makes the issuer be asked again, but not more often than this."""

FETCH_SECONDS: Final = 5.0
MOST_BYTES: Final = 256 * 1024
LONGEST_TOKEN: Final = 16 * 1024
LEEWAY_SECONDS: Final = 30.0
LONGEST_EXTERNAL: Final = 400

UNAVAILABLE: Final = "The issuer of access tokens cannot be asked now. Try again in a minute."

REFUSED: Final = "The access token is not valid here: it has expired, or another issuer or audience stands in it."


class IssuerUnavailable(DarkroomError):
    """The issuer of access tokens cannot be reached, or answers with no keys."""

    code = "ISSUER_UNAVAILABLE"
    status = 503
    retryable = True


class ExternalIssuer:
    """Who holds an access token of one issuer.

    Args:
        database: Where its users are.
        issuer: As it stands in its tokens.
        audience: What its tokens must be made for; asked when one comes.
        most: How many users there may be, of all kinds.
        transport: How it is reached; another one in tests.
        clock: Seconds, for the age of its keys.
    """

    def __init__(
        self,
        database: Database,
        issuer: str,
        audience: Callable[[], str],
        most: int = 100,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._issuer = issuer
        self._audience = audience
        self._most = most
        self._transport = transport
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def principal_of(self, token: str) -> Principal:
        """Whose token it is; a user who comes for the first time is made, with the role `user` in the default team.

        Scopes of the token that are known here narrow what it may do; one without any of them may do all that its user
        may.

        Raises:
            Unauthorized: It is no valid token of this issuer for this server.
            LimitReached: USER_LIMIT_REACHED: its user would be one too many.
            IssuerUnavailable: Its keys cannot be had.
        """
        claims = await self._claims(token)
        external = f"{self._issuer}|{claims['sub']}"[:LONGEST_EXTERNAL]
        row = await self._database.read(lambda connection: _known(connection, external))
        if row is None:
            row = await self._database.write(lambda connection: _made(connection, external, claims, self._most))
        permissions = ROLES[row.role]
        written = claims.get("scope", claims.get("scp", ""))
        scopes = written.split() if isinstance(written, str) else [str(scope) for scope in written]
        if known := [SCOPES[scope] for scope in scopes if scope in SCOPES]:
            permissions &= frozenset().union(*known)
        team = "" if row.team == LOCAL.id else row.team
        credential = clean_text(str(claims.get("client_id", claims.get("azp", "oauth"))), 60)
        return Principal(
            row.id,
            member_of=team,
            permissions=permissions,
            username=row.username,
            role=row.role,
            credential=credential,
        )

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            if len(token) > LONGEST_TOKEN:
                raise Unauthorized(REFUSED)
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience(),
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "sub", "aud"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(REFUSED) from error
        return claims

    async def _key(self, name: str) -> jwt.PyJWK:
        async with self._asking:
            age = None if self._asked_at is None else self._clock() - self._asked_at
            if age is None or age > FRESH_SECONDS or (name not in self._keys and age > AGAIN_SECONDS):
                self._asked_at = self._clock()
                self._keys = await self._fetch_keys()
        if not self._keys:
            raise IssuerUnavailable(UNAVAILABLE)
        if name in self._keys:
            return self._keys[name]
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        raise Unauthorized(REFUSED)

    async def _fetch_keys(self) -> Mapping[str, jwt.PyJWK]:
        base = self._issuer.rstrip("/")
        try:
            async with httpx2.AsyncClient(timeout=FETCH_SECONDS, transport=self._transport, trust_env=False) as client:
                for path in DOCUMENTS:
                    if (found := await _json(client, base + path)) is not None:
                        break
                else:
                    raise ValueError("it has no metadata")
                if found.get("issuer") != self._issuer:  # RFC 8414 §3.3: else somebody else's document
                    raise ValueError("its metadata names another issuer")
                keys = await _json(client, str(found["jwks_uri"]))
            usable = [key for key in jwt.PyJWKSet.from_dict(keys or {}).keys if key.public_key_use in (None, "sig")]
        except (httpx2.HTTPError, jwt.PyJWTError, ValueError, KeyError) as error:
            raise IssuerUnavailable(UNAVAILABLE) from error
        return {key.key_id or "": key for key in usable}


async def _json(client: httpx2.AsyncClient, url: str) -> dict[str, Any] | None:
    async with client.stream("GET", url) as answer:
        if answer.status_code != httpx2.codes.OK:
            return None
        body = bytearray()
        async for chunk in answer.aiter_bytes():
            body += chunk
            if len(body) > MOST_BYTES:
                raise ValueError("it answers with too much")
    value = httpx2.Response(200, content=bytes(body)).json()
    return value if isinstance(value, dict) else None


def _known(connection: sa.Connection, external: str) -> Any:
    """The row of an issuer's user, None for one who never came."""
    return connection.execute(sa.select(users).where(users.c.external == external)).one_or_none()


def _made(connection: sa.Connection, external: str, claims: Mapping[str, Any], most: int) -> Any:
    """The row of an issuer's user who comes for the first time."""
    if (row := _known(connection, external)) is not None:
        return row
    if connection.execute(sa.select(sa.func.count()).select_from(users)).scalar_one() >= most:
        raise LimitReached(
            f"There may be {most} users, and there are. Ask who runs this server.",
            code="USER_LIMIT_REACHED",
            limit=most,
        )
    identifier, now = new_id("usr"), time.time()
    wanted = str(claims.get("preferred_username") or claims.get("email") or "")
    name = "".join(c for c in wanted if c.isascii() and (c.isalnum() or c in "_.-"))[:40] or "user"
    taken = sa.select(users.c.id).where(users.c.username_key == name.casefold())
    if len(name) < 3 or connection.execute(taken).first() is not None:
        name = f"{name}-{identifier[-8:]}"
    connection.execute(
        users.insert().values(
            id=identifier,
            username=name,
            username_key=name.casefold(),
            role="user",
            team=LOCAL.id,
            external=external,
            created_at=now,
            updated_at=now,
        )
    )
    return _known(connection, external)
