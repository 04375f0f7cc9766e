"""Log-ins: who gets a session, how long it lasts, and how often a password may be tried."""

import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from argon2 import extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from support.accounts_room import HERE, PASSWORD, Accounts, open_accounts

from darkroom.accounts import sessions as sessions_module
from darkroom.accounts.passwords import HASHER, Passwords
from darkroom.accounts.sessions import DAY_SECONDS, Login, is_session_token
from darkroom.accounts.throttle import Tries
from darkroom.errors import DarkroomError, GrantRefused, NotFound, Overloaded, RateLimited, Unauthorized
from darkroom.principal import LOCAL
from darkroom.store.schema import sessions, users

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    async with open_accounts(tmp_path) as room:
        await room.add()
        yield room


class Counting:
    """A hasher that counts what it compares."""

    def __init__(self) -> None:
        self.compared: list[str] = []

    def verify(self, stored: str, password: bytes) -> bool:
        self.compared.append(stored)
        return HASHER.verify(stored, password)

    def __getattr__(self, name: str) -> Any:
        return getattr(HASHER, name)


async def at_once(accounts: Accounts, count: int, password: str) -> Counter[str]:
    """How many of so many log-ins at once end in what."""
    ended: Counter[str] = Counter()

    async def one() -> None:
        try:
            await accounts.sessions.login("ann", password, HERE)
            ended["in"] += 1
        except DarkroomError as error:
            ended[error.code] += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return ended


async def kept(accounts: Accounts) -> int:
    """How many sessions are stored."""
    count = sa.select(sa.func.count()).select_from(sessions)
    return await accounts.database.read(lambda connection: connection.execute(count).scalar_one())


async def test_a_log_in_opens_a_session_of_a_day_in_any_case_of_the_name(accounts: Accounts) -> None:
    login = await accounts.sessions.login("ANN", PASSWORD, HERE)
    assert is_session_token(login.token)
    assert (login.user.username, login.expires_at) == ("ann", accounts.clock.now + DAY_SECONDS)
    principal = await accounts.identity.principal_of(login.token)
    assert (principal.id, principal.username) == (login.user.id, "ann")
    assert await accounts.sessions.current(principal) == (login.user, login.expires_at)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ann", "wrong"),
        ("nobody", PASSWORD),
        ("", ""),
        ("ann", ""),
        ("ann\0", PASSWORD),
        ("ann", "\ud800"),
        ("a" * 9999, "x"),
    ],
)
async def test_whoever_does_not_get_in_hears_the_same(accounts: Accounts, name: str, password: str) -> None:
    with pytest.raises(Unauthorized) as refused:
        await accounts.sessions.login(name, password, HERE)
    assert (refused.value.message, refused.value.details) == ("The username or the password is wrong.", {})


async def test_a_password_over_a_kilobyte_is_refused_before_it_is_hashed(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    monkeypatch.setattr(accounts.passwords, "_hasher", counting)
    with pytest.raises(Unauthorized):
        await accounts.sessions.login("ann", "x" * 1025, HERE)
    assert counting.compared == []


async def test_an_unknown_user_costs_as_much_as_a_known_one(accounts: Accounts) -> None:
    counting = Counting()
    here = sessions_module.Sessions(accounts.database, Passwords(Tries(), counting))  # type: ignore[arg-type]
    nobody_there = users.update().where(users.c.username == "admin").values(password="")
    await accounts.database.write(lambda connection: connection.execute(nobody_there))
    for name in ("nobody", "admin"):
        with pytest.raises(Unauthorized):
            await here.login(name, PASSWORD, HERE)
    assert [extract_parameters(stored) for stored in counting.compared] == [RFC_9106_LOW_MEMORY] * 2


async def test_fifty_right_log_ins_at_once_all_get_in(accounts: Accounts) -> None:
    assert await at_once(accounts, 50, PASSWORD) == {"in": 50}
    assert await kept(accounts) == 50


async def test_of_fifty_wrong_ones_at_once_five_are_looked_at(accounts: Accounts) -> None:
    assert await at_once(accounts, 50, "wrong") == {"UNAUTHORIZED": 5, "RATE_LIMITED": 45}


async def test_after_five_tries_there_is_one_a_minute(accounts: Accounts) -> None:
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await accounts.sessions.login("ann", "wrong", HERE)
    with pytest.raises(RateLimited) as refused:
        await accounts.sessions.login("ANN", PASSWORD, HERE)
    assert refused.value.details == {"retryAfter": 60}
    accounts.clock.now += 60
    with pytest.raises(Unauthorized):
        await accounts.sessions.login("ann", "wrong", HERE)
    with pytest.raises(RateLimited):
        await accounts.sessions.login("ann", PASSWORD, HERE)
    accounts.clock.now += 60
    assert isinstance(await accounts.sessions.login("ann", PASSWORD, HERE), Login)
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await accounts.sessions.login("ann", "wrong", HERE)


async def test_who_guesses_from_elsewhere_shuts_nobody_out(accounts: Accounts) -> None:
    assert (await at_once(accounts, 10, "wrong"))["RATE_LIMITED"] == 5
    await accounts.sessions.login("ann", PASSWORD, "198.51.100.2")
    await accounts.sessions.login("admin", PASSWORD, HERE)


async def test_an_address_that_tries_many_accounts_is_held_up_too(tmp_path: Path) -> None:
    async with open_accounts(tmp_path, tries=2) as accounts:
        for number in range(20):
            with pytest.raises(Unauthorized):
                await accounts.sessions.login(f"user{number}", "wrong", HERE)
        with pytest.raises(RateLimited):
            await accounts.sessions.login("admin", PASSWORD, HERE)
        await accounts.sessions.login("admin", PASSWORD, "198.51.100.2")
        accounts.clock.now += 60
        await accounts.sessions.login("admin", PASSWORD, HERE)


async def test_names_that_cannot_be_count_as_one(accounts: Accounts) -> None:
    for name in ("a", "b b", "é", "", "x" * 51):
        with pytest.raises(Unauthorized):
            await accounts.sessions.login(name, PASSWORD, HERE)
    with pytest.raises(RateLimited):
        await accounts.sessions.login("c", PASSWORD, HERE)


class Slow:
    """A hasher that holds every comparison until it is released, and counts how many run."""

    def __init__(self, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
        self.release = threading.Event()
        self.running = self.most = self.begun = 0
        self._lock = threading.Lock()
        self._inside = accounts.passwords._hasher
        monkeypatch.setattr(accounts.passwords, "_hasher", self)

    def verify(self, stored: str, password: bytes) -> bool:
        with self._lock:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.release.wait(30)
        with self._lock:
            self.running -= 1
        return self._inside.verify(stored, password)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inside, name)


async def test_no_more_than_two_hashes_are_computed_and_few_wait(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(accounts, monkeypatch)
    ended: Counter[str] = Counter()

    async def one() -> None:
        try:
            await accounts.sessions.login("ann", PASSWORD, HERE)
            ended["in"] += 1
        except Overloaded as error:
            assert error.details["retryAfter"] > 0
            ended["overloaded"] += 1
            if ended["overloaded"] == 6:
                while slow.begun < 2:
                    await anyio.lowlevel.checkpoint()
                slow.release.set()

    async with anyio.create_task_group() as tasks:
        for _ in range(70):
            tasks.start_soon(one)
    assert ended == {"in": 64, "overloaded": 6}
    assert slow.most == 2


async def test_who_hangs_up_keeps_the_turn_until_the_hash_is_done(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(accounts, monkeypatch)
    ended: list[object] = []

    async def one(password: str) -> None:
        try:
            ended.append(await accounts.sessions.login("ann", password, HERE))
        except Unauthorized as error:
            ended.append(error)

    async def hang_up(scope: anyio.CancelScope) -> None:
        while slow.begun < 2:
            await anyio.lowlevel.checkpoint()
        tasks.start_soon(one, PASSWORD)
        scope.cancel()
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert slow.begun == 2
        slow.release.set()

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as impatient:
        for _ in range(2):
            impatient.start_soon(one, "wrong")
        tasks.start_soon(hang_up, impatient.cancel_scope)
    assert [type(each) for each in ended if isinstance(each, Login)] == [Login]
    assert slow.most == 2


async def test_a_password_that_changes_while_it_is_compared_lets_nobody_in(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits = accounts.passwords.fits
    ann = await accounts.users.find("ann")

    async def slowly(*given: Any, **more: Any) -> bool:
        fitted = await fits(*given, **more)
        await accounts.users.reset_password(LOCAL, ann.id, "Another-horse-2")
        return fitted

    monkeypatch.setattr(accounts.passwords, "fits", slowly)
    with pytest.raises(Unauthorized):
        await accounts.sessions.login("ann", PASSWORD, HERE)
    assert await kept(accounts) == 0


async def test_a_session_ends_after_a_day_and_its_row_goes_at_the_next_log_in(accounts: Accounts) -> None:
    token, principal = await accounts.signed_in()
    accounts.clock.now += DAY_SECONDS - 1
    assert await accounts.identity.principal_of(token) == principal
    accounts.clock.now += 1
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(token)
    assert await kept(accounts) == 1
    await accounts.signed_in()
    assert await kept(accounts) == 1


async def test_a_log_out_ends_one_session(accounts: Accounts) -> None:
    token, principal = await accounts.signed_in()
    other, again = await accounts.signed_in()
    await accounts.sessions.logout(principal)
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(token)
    assert await accounts.identity.principal_of(other) == again
    await accounts.sessions.logout(principal)


async def test_logging_out_with_a_key_ends_nothing(accounts: Accounts) -> None:
    token, principal = await accounts.signed_in()
    key, _ = await accounts.keys.create(principal, "script")
    by_key = await accounts.identity.principal_of(key)
    await accounts.sessions.logout(by_key)
    assert await accounts.identity.principal_of(key) == by_key
    assert await accounts.identity.principal_of(token) == principal
    assert (await accounts.sessions.current(by_key))[1] is None


async def test_who_has_very_many_sessions_loses_the_oldest(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MOST_OF_ONE", 3)
    tokens = []
    for _ in range(5):
        accounts.clock.now += 1
        tokens.append((await accounts.signed_in())[0])
    admins, _ = await accounts.signed_in("admin")
    for token in tokens[:2]:
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(token)
    for token in (*tokens[2:], admins):
        await accounts.identity.principal_of(token)


async def test_an_issued_token_lets_in_as_long_as_it_should(accounts: Accounts) -> None:
    ann = await accounts.users.find("ann")
    token, expires_at = await accounts.sessions.issue(ann.id, "access", "phone", 600)
    assert expires_at == accounts.clock.now + 600
    assert (await accounts.identity.principal_of(token)).id == ann.id
    await accounts.sessions.revoke(token)
    await accounts.sessions.revoke(token)
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(token)
    with pytest.raises(NotFound):
        await accounts.sessions.issue("usr_none", "access", "phone", 600)


async def test_a_refresh_token_lets_nobody_in_and_opens_access_until_it_is_revoked(accounts: Accounts) -> None:
    ann = await accounts.users.find("ann")
    token, _ = await accounts.sessions.issue(ann.id, "refresh", "phone", 600)
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(token)
    for _ in range(2):
        access, expires_at = await accounts.sessions.renew(token, 60)
        assert expires_at == accounts.clock.now + 60
        assert (await accounts.identity.principal_of(access)).id == ann.id
    await accounts.sessions.revoke(token)
    with pytest.raises(GrantRefused):
        await accounts.sessions.renew(token, 60)
    assert (await accounts.identity.principal_of(access)).id == ann.id


async def test_another_password_ends_refresh_tokens_and_what_they_opened(accounts: Accounts) -> None:
    _, ann = await accounts.signed_in()
    token, _ = await accounts.sessions.issue(ann.id, "refresh", "phone", 600)
    access, _ = await accounts.sessions.renew(token, 600)
    await accounts.users.change_password(ann, PASSWORD, "Another-horse-2")
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(access)
    with pytest.raises(GrantRefused):
        await accounts.sessions.renew(token, 600)


async def test_neither_an_old_refresh_token_nor_another_token_is_taken(accounts: Accounts) -> None:
    ann = await accounts.users.find("ann")
    old, _ = await accounts.sessions.issue(ann.id, "refresh", "phone", 600)
    access, _ = await accounts.sessions.issue(ann.id, "access", "phone", 6000)
    accounts.clock.now += 600
    for token in (old, access, "nothing"):
        with pytest.raises(GrantRefused, match="not valid"):
            await accounts.sessions.renew(token, 60)


async def test_nothing_in_the_data_directory_shows_a_password_a_token_or_a_key(
    accounts: Accounts, tmp_path: Path
) -> None:
    token, principal = await accounts.signed_in()
    refresh, _ = await accounts.sessions.issue(principal.id, "refresh", "phone", 600)
    keys = [(await accounts.keys.create(principal, "script", prefix))[0] for prefix in ("si_", "sk_live_", "fsk_live_")]
    await accounts.identity.principal_of(keys[0])
    stored = b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))
    assert principal.credential.encode() in stored
    for secret in (PASSWORD, token, token.replace("-", ""), refresh, *keys, *(key.rpartition("_")[2] for key in keys)):
        assert secret.encode() not in stored
