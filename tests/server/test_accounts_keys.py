"""API keys: what they may do, how many there are, and who sees and ends them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.accounts_room import Accounts, open_accounts

from darkroom.accounts import keys as keys_module
from darkroom.accounts.permissions import SCOPES, permissions_of
from darkroom.errors import DarkroomError, Forbidden, LimitReached, NotFound, StorageFull, Unauthorized
from darkroom.principal import ALL, LOCAL, OWN, Principal
from darkroom.store.ids import is_id
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    async with open_accounts(tmp_path) as room:
        await room.add("ann")
        await room.add("ben")
        yield room


@pytest.fixture
async def ann(accounts: Accounts) -> Principal:
    return (await accounts.signed_in("ann"))[1]


@pytest.fixture
async def admin(accounts: Accounts) -> Principal:
    return (await accounts.signed_in("admin"))[1]


async def holder(accounts: Accounts, principal: Principal, *scopes: str) -> Principal:
    """Who comes with a new key of these scopes, of all if none are named."""
    key, _ = await accounts.keys.create(principal, "narrow", scopes=scopes or None)
    return await accounts.identity.principal_of(key)


@pytest.mark.parametrize("prefix", ["si_", "sk_live_", "fsk_live_", "fsk_test_"])
async def test_a_key_is_the_prefix_and_384_random_bits(accounts: Accounts, ann: Principal, prefix: Any) -> None:
    key, made = await accounts.keys.create(ann, "script", prefix)
    again, _ = await accounts.keys.create(ann, "script", prefix)
    assert re.fullmatch(prefix + r"[0-9a-f]{96}", key)
    assert key != again
    assert is_id(made.id, "key")
    assert (made.user, made.name, made.prefix, made.scopes) == (ann.id, "script", prefix, None)
    assert (made.expires_at, made.last_used_at, made.created_at) == (None, None, accounts.clock.now)
    found = await accounts.identity.principal_of(key)
    assert (found.id, found.username, found.permissions, found.credential) == (ann.id, "ann", OWN, made.id)


async def test_a_key_may_do_what_its_scopes_say_in_the_words_of_any_dialect(accounts: Accounts, ann: Principal) -> None:
    assert (await holder(accounts, ann, "tools:use", "storage:read")).permissions == {"tools:run", "files:read"}
    assert (await holder(accounts, ann, "all")).permissions == OWN


@given(
    st.lists(st.sampled_from(sorted(SCOPES)), min_size=1, max_size=6), st.sets(st.sampled_from(sorted(ALL)), min_size=1)
)
def test_no_scopes_ask_for_more_than_who_makes_the_key_may(scopes: list[str], held: set[Any]) -> None:
    maker = Principal("ann", permissions=frozenset(held))
    wanted = permissions_of(scopes)
    if wanted <= held:
        assert keys_module._wanted(maker, scopes) == wanted
    else:
        with pytest.raises(Forbidden) as refused:
            keys_module._wanted(maker, scopes)
        assert refused.value.code == "ESCALATION_DENIED"


async def test_a_user_makes_no_key_of_an_admin(accounts: Accounts, ann: Principal) -> None:
    for scopes in (["admin"], ["tools:run", "files:all"], ["users:manage"]):
        with pytest.raises(Forbidden, match="you lack") as refused:
            await accounts.keys.create(ann, "more", scopes=scopes)
        assert refused.value.code == "ESCALATION_DENIED"
    assert await accounts.keys.list(ann) == []


async def test_keys_made_with_a_narrow_key_are_never_wider(accounts: Accounts, ann: Principal) -> None:
    narrow = await holder(accounts, ann, "keys:own", "files:read")
    with pytest.raises(Forbidden):
        await holder(accounts, narrow, "files:write")
    assert (await holder(accounts, narrow)).permissions == {"keys:own", "files:read"}
    assert (await holder(accounts, narrow, "files:read")).permissions == {"files:read"}


async def test_a_key_of_all_follows_the_role_and_one_of_scopes_never_grows(accounts: Accounts, ann: Principal) -> None:
    everything, _ = await accounts.keys.create(ann, "all")
    some, _ = await accounts.keys.create(ann, "some", scopes=["all"])
    await accounts.users.change(LOCAL, ann.id, role="admin")
    assert (await accounts.identity.principal_of(everything)).permissions == ALL
    assert (await accounts.identity.principal_of(some)).permissions == OWN


async def test_an_admin_who_is_none_any_more_has_keys_of_a_user(accounts: Accounts, ann: Principal) -> None:
    await accounts.users.change(LOCAL, ann.id, role="admin")
    _, as_admin = await accounts.signed_in("ann")
    everything, _ = await accounts.keys.create(as_admin, "all")
    some, _ = await accounts.keys.create(as_admin, "some", scopes=["files:all", "files:read"])
    await accounts.users.change(LOCAL, ann.id, role="user")
    assert (await accounts.identity.principal_of(everything)).permissions == OWN
    assert (await accounts.identity.principal_of(some)).permissions == {"files:read"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": ""}, "1 to 100 characters"),
        ({"name": " \n\u200b"}, "1 to 100 characters"),
        ({"name": "x" * 101}, "1 to 100 characters"),
        ({"prefix": "xx_"}, "A key begins with si_"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["files:raed"]}, "There is no scope 'files:raed'"),
        ({"expires_at": 1_800_000_000.0}, "expires in the future"),
        ({"expires_at": float("nan")}, "expires in the future"),
        ({"expires_at": float("inf")}, "expires in the future"),
    ],
)
async def test_what_no_key_can_have_is_refused(
    accounts: Accounts, ann: Principal, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSettings, match=said):
        await accounts.keys.create(ann, **{"name": "script", **given})


async def test_a_name_is_on_one_line_without_what_cannot_be_seen(accounts: Accounts, ann: Principal) -> None:
    _, made = await accounts.keys.create(ann, " my\n\u202ekey\x1b[31m ")
    assert made.name == "my key[31m"


async def test_a_key_ends_when_it_expires(accounts: Accounts, ann: Principal) -> None:
    key, made = await accounts.keys.create(ann, "script", expires_at=accounts.clock.now + 60)
    accounts.clock.now += 59
    await accounts.identity.principal_of(key)
    accounts.clock.now += 1
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(key)
    assert [each.id for each in await accounts.keys.list(ann)] == [made.id]


async def test_a_user_has_so_many_keys_also_at_once(
    accounts: Accounts, ann: Principal, admin: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_module, "MOST", 5)
    limits = []

    async def one() -> None:
        try:
            await accounts.keys.create(ann, "script")
        except LimitReached as error:
            limits.append(error.details["limit"])

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(one)
    assert limits == [5] * 15
    assert len(await accounts.keys.list(ann)) == 5
    await accounts.keys.create(admin, "script")


async def test_users_see_and_end_their_own_keys_and_admins_all(
    accounts: Accounts, ann: Principal, admin: Principal
) -> None:
    _, ben = await accounts.signed_in("ben")
    hers, first = await accounts.keys.create(ann, "hers")
    accounts.clock.now += 1
    _, second = await accounts.keys.create(ben, "his")
    assert await accounts.keys.list(ann) == [first]
    assert await accounts.keys.list(ben) == [second]
    assert await accounts.keys.list(admin) == [first, second]
    messages = set()
    for identifier in (first.id, "key_none", ""):
        with pytest.raises(NotFound) as missing:
            await accounts.keys.delete(ben, identifier)
        messages.add(missing.value.message)
    assert messages == {"There is no such key."}
    await accounts.keys.delete(ann, first.id)
    with pytest.raises(Unauthorized):
        await accounts.identity.principal_of(hers)
    await accounts.keys.delete(admin, second.id)
    assert await accounts.keys.list(admin) == []


async def test_an_admins_narrow_key_sees_its_own_users_keys_alone(accounts: Accounts, admin: Principal) -> None:
    _, ann = await accounts.signed_in("ann")
    await accounts.keys.create(ann, "hers")
    narrow = await holder(accounts, admin, "keys:own")
    assert {key.user for key in await accounts.keys.list(narrow)} == {"local"}


async def test_a_session_or_key_that_ended_makes_no_key(accounts: Accounts, ann: Principal) -> None:
    by_key = await holder(accounts, ann)
    await accounts.keys.delete(ann, by_key.credential)
    await accounts.sessions.logout(ann)
    for gone in (ann, by_key):
        with pytest.raises(Unauthorized, match="has ended"):
            await accounts.keys.create(gone, "late")
    with pytest.raises(Unauthorized, match="belong to users"):
        await accounts.keys.create(Principal("nobody"), "late")


async def test_the_last_use_is_noted_once_a_minute(
    accounts: Accounts, ann: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await accounts.keys.create(ann, "script")
    first, writes, write = accounts.clock.now, 0, accounts.database.write

    async def counted(work: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(work)

    monkeypatch.setattr(accounts.database, "write", counted)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(accounts.identity.principal_of, key)
    accounts.clock.now += 59
    await accounts.identity.principal_of(key)
    assert writes == 1
    assert [each.last_used_at for each in await accounts.keys.list(ann)] == [first]
    accounts.clock.now += 1
    await accounts.identity.principal_of(key)
    assert [each.last_used_at for each in await accounts.keys.list(ann)] == [first + 60]
    assert writes == 2


async def test_a_full_disk_keeps_no_key_from_reading(
    accounts: Accounts, ann: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, _ = await accounts.keys.create(ann, "script")

    async def full(_: Any) -> DarkroomError:
        raise StorageFull("The disk is full.")

    monkeypatch.setattr(accounts.database, "write", full)
    assert (await accounts.identity.principal_of(key)).id == ann.id
