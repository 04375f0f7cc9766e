"""Access tokens of an external issuer, against one of our own behind a transport."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from darkroom.accounts.oauth import ExternalIssuer, IssuerUnavailable
from darkroom.errors import LimitReached, Unauthorized
from darkroom.principal import OWN
from darkroom.store.database import Database

pytestmark = pytest.mark.anyio

ISSUER = "https://id.example.com"
AUDIENCE = "https://pictures.example.com/mcp"


@dataclass
class Issuer:
    """Signs tokens and serves its keys."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    name: str = "one"
    says: str = ISSUER
    down: bool = False
    asked: int = 0

    def token(
        self, *, header: dict[str, Any] | None = None, key: Any = None, algorithm: str = "RS256", **claims: Any
    ) -> str:
        now = int(time.time())
        told = {"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": now + 300, "iat": now, **claims}
        told = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(told, key or self.key, algorithm, headers={"kid": self.name, **(header or {})})

    async def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        if self.down:
            raise httpx2.ConnectError("no")
        if request.url.path == "/keys":
            public = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
            return httpx2.Response(200, json={"keys": [{**public, "kid": self.name, "use": "sig"}]})
        if request.url.path == "/.well-known/oauth-authorization-server":
            return httpx2.Response(200, json={"issuer": self.says, "jwks_uri": f"{ISSUER}/keys"})
        return httpx2.Response(404)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Door:
    issuer: Issuer
    external: ExternalIssuer
    clock: Clock


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with Database(f"sqlite:///{tmp_path / 'test.db'}") as database:
        issuer, clock = Issuer(), Clock()
        transport = httpx2.MockTransport(issuer.answer)
        yield Door(issuer, ExternalIssuer(database, ISSUER, lambda: AUDIENCE, 3, transport, clock), clock)


async def test_a_user_of_the_issuer_is_the_same_one_every_time(door: Door) -> None:
    first = await door.external.principal_of(door.issuer.token(preferred_username="ann"))
    again = await door.external.principal_of(door.issuer.token(preferred_username="renamed"))
    other = await door.external.principal_of(door.issuer.token(sub="u2", preferred_username="Ann"))
    assert first == again
    assert (first.username, first.permissions, first.role) == ("ann", OWN, "user")
    assert other.id != first.id
    assert other.username != "Ann"
    assert door.issuer.asked == 3  # two addresses of metadata, the keys


async def test_scopes_of_the_token_narrow_what_it_may_do(door: Door) -> None:
    narrow = await door.external.principal_of(door.issuer.token(scope="openid files:read"))
    assert narrow.permissions == {"files:read"}
    wide = await door.external.principal_of(door.issuer.token(scope="openid admin"))
    assert wide.permissions == OWN


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example.com"},
        {"aud": None},
        {"iss": "https://evil.example.com"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 4_000_000_000},
    ],
)
async def test_tokens_for_others_or_for_another_time_are_refused(door: Door, claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized, match="not valid here"):
        await door.external.principal_of(door.issuer.token(**claims))


async def test_only_the_issuers_own_keys_count(door: Door) -> None:
    stranger = rsa.generate_private_key(65537, 2048)
    forged = [
        door.issuer.token(key=stranger),
        door.issuer.token(key="a shared secret of some length, as long as it takes", algorithm="HS256"),
        door.issuer.token(key=ec.generate_private_key(ec.SECP256R1()), algorithm="ES256"),
        door.issuer.token(header={"kid": "another"}),
        jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": 4_000_000_000}, None, "none"),
        "no.token.here",
        "x" * 20_000,
    ]
    for token in forged:
        with pytest.raises(Unauthorized):
            await door.external.principal_of(token)


async def test_new_keys_are_asked_for_but_not_at_every_unknown_one(door: Door) -> None:
    await door.external.principal_of(door.issuer.token())
    door.issuer.name = "two"
    asked = door.issuer.asked
    with pytest.raises(Unauthorized):
        await door.external.principal_of(door.issuer.token())
    assert door.issuer.asked == asked
    door.clock.now += 61
    assert (await door.external.principal_of(door.issuer.token())).permissions == OWN


async def test_metadata_of_another_issuer_is_not_believed(door: Door) -> None:
    door.issuer.says = "https://evil.example.com"
    with pytest.raises(IssuerUnavailable):
        await door.external.principal_of(door.issuer.token())


async def test_an_issuer_that_is_down_is_said_to_be_and_asked_again_later(door: Door) -> None:
    door.issuer.down = True
    for _ in range(3):
        with pytest.raises(IssuerUnavailable):
            await door.external.principal_of(door.issuer.token())
    assert door.issuer.asked == 1
    door.issuer.down = False
    door.clock.now += 61
    assert (await door.external.principal_of(door.issuer.token())).username


async def test_there_are_no_more_users_than_there_may_be(door: Door) -> None:
    for sub in ("u1", "u2", "u3"):
        await door.external.principal_of(door.issuer.token(sub=sub))
    with pytest.raises(LimitReached) as raised:
        await door.external.principal_of(door.issuer.token(sub="u4"))
    assert raised.value.code == "USER_LIMIT_REACHED"
    assert (await door.external.principal_of(door.issuer.token(sub="u1"))).permissions == OWN
