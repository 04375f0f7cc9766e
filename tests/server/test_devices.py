"""Signing in a program by a code: who polls too soon, too late or twice, and what each token is good for."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from darkroom.accounts import devices
from darkroom.accounts.devices import ACCESS_SECONDS, Devices, Grant, Tokens
from darkroom.accounts.identity import Identity
from darkroom.accounts.passwords import Passwords
from darkroom.accounts.sessions import Sessions
from darkroom.accounts.throttle import Tries
from darkroom.accounts.users import Users
from darkroom.errors import GrantRefused, NotFound, Overloaded, Unauthorized
from darkroom.principal import LOCAL
from darkroom.store.database import Database
from darkroom.store.schema import device_grants, sessions

pytestmark = pytest.mark.anyio

PASSWORD = "Correct-horse-1"


@dataclass
class Clock:
    """A time that a test moves on."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Place:
    """The parts on an empty database, with one user."""

    database: Database
    clock: Clock
    users: Users
    devices: Devices
    identity: Identity
    user: str

    async def approved(self, client: str = "camera") -> tuple[Grant, Tokens]:
        grant = await self.devices.begin(client)
        await self.devices.approve(grant.user_code, self.user)
        return grant, await self.devices.redeem(grant.device_code)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    clock = Clock()
    async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
        passwords = Passwords(Tries())
        users = Users(database, passwords)
        user = await users.create(LOCAL, "ann", PASSWORD)
        made = Sessions(database, passwords, clock=clock)
        identity = Identity(database, clock=clock)
        yield Place(database, clock, users, Devices(database, made, clock), identity, user.id)


async def refused(place: Place, code: str, client: str = "") -> str:
    with pytest.raises(GrantRefused) as raised:
        await place.devices.redeem(code, client)
    return raised.value.code


async def test_an_approved_program_acts_for_its_user_for_a_day(place: Place) -> None:
    _, tokens = await place.approved()
    assert (await place.identity.principal_of(tokens.access)).id == place.user
    assert tokens.seconds == ACCESS_SECONDS == 24 * 3600
    place.clock.now += ACCESS_SECONDS + 1
    with pytest.raises(Unauthorized):
        await place.identity.principal_of(tokens.access)


async def test_a_code_gives_tokens_once(place: Place) -> None:
    grant, _ = await place.approved()
    assert await refused(place, grant.device_code) == "INVALID_GRANT"
    assert await refused(place, "nonsense") == "INVALID_GRANT"


async def test_who_polls_waits_and_who_polls_too_soon_is_told_so(place: Place) -> None:
    grant = await place.devices.begin("camera")
    said = []
    for pause in (0.0, 1.0, 5.0, 4.5, 0.1, 5.0):
        place.clock.now += pause
        said.append(await refused(place, grant.device_code))
    waits, slow = "AUTHORIZATION_PENDING", "SLOW_DOWN"
    assert said == [waits, slow, waits, waits, slow, waits]
    await place.devices.approve(grant.user_code, place.user)
    assert (await place.devices.redeem(grant.device_code)).access


async def test_a_code_that_nobody_answers_runs_out(place: Place) -> None:
    grant = await place.devices.begin("camera")
    place.clock.now += grant.seconds
    assert await refused(place, grant.device_code) == "EXPIRED_TOKEN"
    with pytest.raises(NotFound):
        await place.devices.approve(grant.user_code, place.user)
    with pytest.raises(NotFound):
        await place.devices.client_of(grant.user_code)


async def test_a_code_that_was_approved_runs_out_too(place: Place) -> None:
    grant = await place.devices.begin("camera")
    await place.devices.approve(grant.user_code, place.user)
    place.clock.now += grant.seconds
    assert await refused(place, grant.device_code) == "EXPIRED_TOKEN"


async def test_a_program_that_was_turned_down_is_told_so_and_stays_so(place: Place) -> None:
    grant = await place.devices.begin("camera")
    await place.devices.deny(grant.user_code)
    assert await refused(place, grant.device_code) == "ACCESS_DENIED"
    with pytest.raises(NotFound):
        await place.devices.approve(grant.user_code, place.user)


async def test_another_client_does_not_get_the_tokens(place: Place) -> None:
    grant = await place.devices.begin("camera")
    await place.devices.approve(grant.user_code, place.user)
    assert await refused(place, grant.device_code, "thief") == "INVALID_GRANT"
    assert (await place.devices.redeem(grant.device_code, "camera")).access


async def test_the_code_is_found_however_it_is_typed(place: Place) -> None:
    grant = await place.devices.begin("camera")
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", grant.user_code)
    bare = grant.user_code.replace("-", "")
    for typed in (grant.user_code, grant.user_code.lower(), bare, f" {bare[:2]} {bare[2:]} "):
        assert await place.devices.client_of(typed) == "camera"
    for wrong in ("", bare[:-1], f"{bare}B", "%" * 8, "\x00", "ﬀ" * 4):
        with pytest.raises(NotFound):
            await place.devices.client_of(wrong)


async def test_a_refresh_token_gets_new_access_tokens_and_stays_the_same(place: Place) -> None:
    _, first = await place.approved()
    assert first.refresh
    second, third = [await place.devices.refresh(first.refresh) for _ in range(2)]
    assert len({first.access, first.refresh, second.access, third.access}) == 4
    assert (second.refresh, third.refresh) == (None, None)
    for tokens in (first, second, third):
        assert (await place.identity.principal_of(tokens.access)).id == place.user
    with pytest.raises(GrantRefused) as raised:
        await place.devices.refresh("unknown")
    assert raised.value.code == "INVALID_GRANT"


async def test_no_token_does_what_the_other_kind_does(place: Place) -> None:
    _, tokens = await place.approved()
    with pytest.raises(Unauthorized):
        await place.identity.principal_of(tokens.refresh)
    with pytest.raises(GrantRefused):
        await place.devices.refresh(tokens.access)


async def test_a_revoked_token_is_worth_nothing(place: Place) -> None:
    _, tokens = await place.approved()
    await place.devices.revoke(tokens.refresh)
    await place.devices.revoke(tokens.access)
    await place.devices.revoke("nonsense")
    with pytest.raises(GrantRefused):
        await place.devices.refresh(tokens.refresh)
    with pytest.raises(Unauthorized):
        await place.identity.principal_of(tokens.access)


async def test_a_new_password_ends_what_programs_had(place: Place) -> None:
    waiting = await place.devices.begin("second")
    await place.devices.approve(waiting.user_code, place.user)
    _, tokens = await place.approved()
    await place.users.reset_password(LOCAL, place.user, "Another-horse-2")
    with pytest.raises(Unauthorized):
        await place.identity.principal_of(tokens.access)
    with pytest.raises(GrantRefused):
        await place.devices.refresh(tokens.refresh)
    assert await refused(place, waiting.device_code) == "INVALID_GRANT"


async def test_no_code_or_token_is_stored_as_it_is(place: Place) -> None:
    grant, tokens = await place.approved("camera")
    open_one = await place.devices.begin("other")
    rows = await place.database.read(
        lambda connection: [
            str(row) for table in (device_grants, sessions) for row in connection.execute(table.select())
        ]
    )
    written = " ".join(rows)
    for secret in (grant.device_code, open_one.device_code, tokens.access, tokens.refresh):
        assert secret not in written


async def test_only_so_many_programs_may_wait(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST_OPEN", 2)
    await place.devices.begin("one")
    await place.devices.begin("two")
    with pytest.raises(Overloaded):
        await place.devices.begin("three")
    place.clock.now += 2 * 900 + 1
    assert (await place.devices.begin("three")).user_code
