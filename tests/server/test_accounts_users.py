"""Users: the first one, who may make and change whom, and what happens to passwords."""

import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from support.accounts_room import HERE, PASSWORD, QUICK, Accounts, open_accounts

from darkroom.accounts.passwords import LONGEST_BYTES, Passwords, check_password, random_password
from darkroom.accounts.sessions import Sessions
from darkroom.accounts.throttle import Tries
from darkroom.accounts.users import Users
from darkroom.errors import (
    Conflict,
    DarkroomError,
    Forbidden,
    LimitReached,
    NotFound,
    RateLimited,
    Unauthorized,
)
from darkroom.principal import ALL, LOCAL, Principal
from darkroom.store.database import Database
from darkroom.store.ids import is_id
from darkroom.store.schema import projects, users
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio

OPERATOR = Principal("operator", permissions=ALL, role="admin")
"""An admin who is none of the users, as whoever holds the operator's token may be."""

NARROW = Principal("narrow", permissions=frozenset({"users:manage"}), role="admin")
OTHER = "Another-horse-2"


@pytest.fixture
async def accounts(tmp_path: Path) -> AsyncIterator[Accounts]:
    async with open_accounts(tmp_path) as room:
        yield room


async def gathered(*works: Callable[[], Any]) -> list[Any]:
    """What each of some calls at once returns or raises."""
    results: list[Any] = [None] * len(works)

    async def one(index: int) -> None:
        try:
            results[index] = await works[index]()
        except DarkroomError as error:
            results[index] = error

    async with anyio.create_task_group() as tasks:
        for index in range(len(works)):
            tasks.start_soon(one, index)
    return results


async def stored(accounts: Accounts, name: str) -> str:
    """A user's hash."""
    chosen = sa.select(users.c.password).where(users.c.username == name)
    return str(await accounts.database.read(lambda connection: connection.execute(chosen).scalar_one()))


async def test_the_first_start_makes_an_admin_with_a_random_password_once(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
        people = Users(database, Passwords(Tries(), QUICK))
        made = await people.ensure_admin()
        assert made is not None
        check_password(made)
        assert await people.ensure_admin() is None
        (admin,) = await people.list()
        assert (admin.id, admin.username, admin.role, admin.team) == ("local", "admin", "admin", "local")
        assert not admin.must_change_password


async def test_two_first_starts_at_once_make_one_admin_whose_password_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'darkroom.db'}"
    async with Database(url) as one, Database(url) as two:
        rooms = [Users(database, Passwords(Tries(), QUICK)) for database in (one, two)]
        told = [made for made in await gathered(rooms[0].ensure_admin, rooms[1].ensure_admin) if made]
        assert len(told) == 1
        assert len(await rooms[0].list()) == 1


@pytest.mark.parametrize("chosen", ["", "abc", "x" * 1025])
async def test_a_password_for_the_first_admin_that_cannot_be_is_a_fault_of_the_configuration(
    tmp_path: Path, chosen: str
) -> None:
    async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
        with pytest.raises(DarkroomError, match="DARKROOM_ADMIN_PASSWORD") as refused:
            await Users(database, Passwords(Tries(), QUICK)).ensure_admin(chosen)
        assert refused.value.code == "CONFIGURATION_INVALID"


async def test_the_operator_may_choose_a_plain_password_and_it_is_told_nobody(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
        assert await Users(database, Passwords(Tries(), QUICK)).ensure_admin("admin") is None


UPPER, LOWER, DIGIT = st.characters(categories=["Lu"]), st.characters(categories=["Ll"]), st.sampled_from("0123456789")


@given(UPPER, LOWER, DIGIT, st.text(min_size=5, max_size=60), st.randoms())
def test_a_password_with_all_it_takes_is_taken(upper: str, lower: str, digit: str, rest: str, mix: Any) -> None:
    letters = [upper, lower, digit, *rest]
    mix.shuffle(letters)
    check_password("".join(letters))


@given(st.sampled_from([("A", "a"), ("A", "1"), ("a", "1")]), st.data())
def test_a_password_that_lacks_a_kind_is_refused(kinds: tuple[str, str], data: st.DataObject) -> None:
    password = data.draw(st.text(alphabet="".join(kinds) + " -_%中", min_size=8, max_size=60))
    with pytest.raises(InvalidSettings, match="at least 8 characters"):
        check_password(password)


@pytest.mark.parametrize(
    "password", ["Aa1", "Aa1xxxx", "Aa1" + "é" * ((LONGEST_BYTES - 3) // 2 + 1), "Aa1" + "x" * LONGEST_BYTES]
)
def test_a_password_is_neither_short_nor_over_a_kilobyte(password: str) -> None:
    with pytest.raises(InvalidSettings, match="at least 8 characters|at most 1,024 bytes"):
        check_password(password)


def test_a_kilobyte_is_not_too_long() -> None:
    check_password("Aa1" + "x" * (LONGEST_BYTES - 3))


def test_random_passwords_are_taken_and_differ() -> None:
    made = {random_password() for _ in range(100)}
    assert len(made) == 100
    for password in made:
        check_password(password)


def can_be_a_name(text: str) -> bool:
    return 3 <= len(text) <= 50 and all(c.isascii() and (c.isalnum() or c in "_.-") for c in text)


@given(st.text(st.sampled_from("aZ0_.-é中 /\n\0"), max_size=60).filter(lambda text: not can_be_a_name(text)))
async def test_no_other_name_gets_in(name: str) -> None:
    with pytest.raises(InvalidSettings, match="A username has"):
        await Users(Database("sqlite://"), Passwords(Tries(), QUICK)).create(LOCAL, name, PASSWORD)


@pytest.mark.parametrize("name", ["ab", "a" * 51, "ann\n", "a b", "änn", "", "ann/../x"])
async def test_a_name_that_cannot_be_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidSettings, match="A username has"):
        await accounts.add(name)


@pytest.mark.parametrize("name", ["abc", "a" * 50, "A-n_n.1"])
async def test_a_name_that_can_be_is_kept_as_it_is(accounts: Accounts, name: str) -> None:
    user = await accounts.add(name)
    assert user == await accounts.users.get(user.id) == await accounts.users.find(name.upper())
    assert user.username == name
    assert is_id(user.id, "usr")
    assert (user.role, user.team, user.must_change_password) == ("user", "local", False)


async def test_a_name_is_unique_whatever_its_case_also_at_once(accounts: Accounts) -> None:
    results = await gathered(*(lambda name=name: accounts.add(name) for name in ("ann", "Ann", "ANN", "ben")))
    assert sorted(type(result).__name__ for result in results) == ["Conflict", "Conflict", "User", "User"]
    with pytest.raises(Conflict, match="taken"):
        await accounts.add("Admin")


async def test_the_limit_of_users_holds_also_at_once(tmp_path: Path) -> None:
    async with open_accounts(tmp_path, most=3) as accounts:
        results = await gathered(*(lambda name=name: accounts.add(name) for name in ("ann", "ben", "cem", "dan")))
        full = [result for result in results if isinstance(result, LimitReached)]
        assert [(error.code, error.details["limit"]) for error in full] == [("USER_LIMIT_REACHED", 3)] * 2
        assert len(await accounts.users.list()) == 3


async def test_role_and_team_must_be_there(accounts: Accounts) -> None:
    with pytest.raises(InvalidSettings, match="no such team"):
        await accounts.add(team="team_none")
    with pytest.raises(InvalidSettings, match="A role is admin or user"):
        await accounts.add(role="root")
    team = await accounts.teams.create("Studio")
    user = await accounts.add(role="admin", team=team.id)
    assert (user.role, user.team) == ("admin", team.id)
    with pytest.raises(InvalidSettings, match="no such team"):
        await accounts.users.change(LOCAL, user.id, team="nowhere")


async def test_who_is_missing_is_not_found(accounts: Accounts) -> None:
    for work in (
        lambda: accounts.users.get("usr_none"),
        lambda: accounts.users.find("nobody"),
        lambda: accounts.users.change(LOCAL, "usr_none", role="admin"),
        lambda: accounts.users.delete(LOCAL, "usr_none"),
        lambda: accounts.users.reset_password(LOCAL, "usr_none", OTHER),
    ):
        with pytest.raises(NotFound):
            await work()


async def test_nobody_deletes_or_demotes_themselves(accounts: Accounts) -> None:
    await accounts.add(role="admin")
    _, ann = await accounts.signed_in()
    with pytest.raises(Forbidden) as deleted:
        await accounts.users.delete(ann, ann.id)
    with pytest.raises(Forbidden) as demoted:
        await accounts.users.change(ann, ann.id, role="user")
    assert (deleted.value.code, demoted.value.code) == ("SELF_DELETE", "SELF_DEMOTE")
    kept = await accounts.users.change(ann, ann.id, role="admin")
    assert kept.role == "admin"


async def test_the_last_admin_stays(accounts: Accounts) -> None:
    for work in (
        lambda: accounts.users.delete(OPERATOR, "local"),
        lambda: accounts.users.change(OPERATOR, "local", role="user"),
    ):
        with pytest.raises(Forbidden) as refused:
            await work()
        assert refused.value.code == "LAST_ADMIN"
    await accounts.add(role="admin")
    await accounts.users.delete(OPERATOR, "local")
    assert [user.username for user in await accounts.users.list()] == ["ann"]


async def test_two_admins_who_remove_each_other_at_once_leave_one(accounts: Accounts) -> None:
    ann = await accounts.add("ann", role="admin")
    _, as_ann = await accounts.signed_in("ann")
    _, as_admin = await accounts.signed_in("admin")
    results = await gathered(
        lambda: accounts.users.change(as_ann, "local", role="user"), lambda: accounts.users.delete(as_admin, ann.id)
    )
    admins = [user for user in await accounts.users.list() if user.role == "admin"]
    assert len(admins) == 1
    assert [error.code for error in results if isinstance(error, Forbidden)] == ["LAST_ADMIN"]


async def test_nobody_makes_or_takes_over_somebody_who_may_do_more(accounts: Accounts) -> None:
    ann = await accounts.add()
    for work in (
        lambda: accounts.users.create(NARROW, "eve", PASSWORD, "admin"),
        lambda: accounts.users.change(NARROW, ann.id, role="admin"),
        lambda: accounts.users.reset_password(NARROW, "local", OTHER),
        lambda: accounts.users.change(NARROW, "local", role="user"),
        lambda: accounts.users.delete(NARROW, "local"),
    ):
        with pytest.raises(Forbidden) as refused:
            await work()
        assert refused.value.code == "ESCALATION_DENIED"
    assert [user.username for user in await accounts.users.list()] == ["admin", "ann"]


async def test_another_role_and_team_count_from_the_next_request_on(accounts: Accounts) -> None:
    ann = await accounts.add()
    team = await accounts.teams.create("Studio")
    token, before = await accounts.signed_in()
    assert (before.may("users:manage"), before.organisation) == (False, ann.id)
    accounts.clock.now += 10
    changed = await accounts.users.change(LOCAL, ann.id, role="admin", team=team.id)
    assert changed.updated_at == accounts.clock.now
    after = await accounts.identity.principal_of(token)
    assert (after.may("users:manage"), after.organisation, after.role) == (True, team.id, "admin")


async def test_a_deleted_user_is_out_at_once_and_what_they_made_stays(accounts: Accounts) -> None:
    ann = await accounts.add()
    token, principal = await accounts.signed_in()
    key, _ = await accounts.keys.create(principal, "script")
    made = {"id": "proj_x", "owner": ann.id, "name": "Spring", "created_at": 0.0, "updated_at": 0.0}
    await accounts.database.write(lambda connection: connection.execute(projects.insert().values(made)))
    await accounts.users.delete(LOCAL, ann.id)
    for gone in (token, key):
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(gone)
    with pytest.raises(Unauthorized, match="username or the password is wrong"):
        await accounts.sessions.login("ann", PASSWORD, HERE)
    with pytest.raises(Unauthorized):
        await accounts.keys.create(principal, "again")
    owners = await accounts.database.read(lambda connection: connection.execute(sa.select(projects.c.owner)).all())
    assert owners == [(ann.id,)]
    assert (await accounts.add()).id != ann.id


async def test_a_reset_password_must_be_changed_and_ends_everything(accounts: Accounts) -> None:
    ann = await accounts.add()
    token, principal = await accounts.signed_in()
    key, _ = await accounts.keys.create(principal, "script")
    await accounts.users.reset_password(LOCAL, ann.id, OTHER)
    for gone in (token, key):
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(gone)
    with pytest.raises(Unauthorized):
        await accounts.signed_in()
    token, principal = await accounts.signed_in(password=OTHER)
    assert principal.must_change_password
    assert (await accounts.users.get(ann.id)).must_change_password
    await accounts.users.change_password(principal, OTHER, PASSWORD)
    assert not (await accounts.identity.principal_of(token)).must_change_password


async def test_a_changed_password_ends_other_sessions_and_all_keys(accounts: Accounts) -> None:
    await accounts.add()
    mine, principal = await accounts.signed_in()
    other, _ = await accounts.signed_in()
    theirs, admin = await accounts.signed_in("admin")
    key, _ = await accounts.keys.create(principal, "script")
    kept, _ = await accounts.keys.create(admin, "script")
    await accounts.users.change_password(principal, PASSWORD, OTHER)
    assert await accounts.identity.principal_of(mine) == principal
    for gone in (other, key):
        with pytest.raises(Unauthorized):
            await accounts.identity.principal_of(gone)
    for here in (theirs, kept):
        assert (await accounts.identity.principal_of(here)).id == "local"
    with pytest.raises(Unauthorized):
        await accounts.signed_in()
    await accounts.signed_in(password=OTHER)


async def test_the_current_password_is_asked_for_and_not_to_be_guessed(accounts: Accounts) -> None:
    await accounts.add()
    _, principal = await accounts.signed_in()
    for _ in range(5):
        with pytest.raises(Forbidden) as refused:
            await accounts.users.change_password(principal, "wrong", OTHER)
        assert refused.value.code == "INVALID_PASSWORD"
    with pytest.raises(RateLimited):
        await accounts.users.change_password(principal, PASSWORD, OTHER)
    accounts.clock.now += 60
    with pytest.raises(InvalidSettings, match="is the current one"):
        await accounts.users.change_password(principal, PASSWORD, PASSWORD)
    with pytest.raises(InvalidSettings, match="at least 8 characters"):
        await accounts.users.change_password(principal, PASSWORD, "weak")


async def test_who_has_no_password_here_changes_none(accounts: Accounts) -> None:
    with pytest.raises(Unauthorized, match="no password here"):
        await accounts.users.change_password(OPERATOR, PASSWORD, OTHER)


async def test_two_changes_of_a_password_at_once_are_one(accounts: Accounts) -> None:
    await accounts.add()
    _, principal = await accounts.signed_in()
    news = [f"{OTHER}{number}" for number in range(3)]
    results = await gathered(
        *(lambda new=new: accounts.users.change_password(principal, PASSWORD, new) for new in news)
    )
    (won,) = [new for new, result in zip(news, results, strict=True) if result is None]
    assert [error.code for error in results if error is not None] == ["INVALID_PASSWORD"] * 2
    await accounts.signed_in(password=won)


async def test_a_session_that_ended_changes_no_password(accounts: Accounts) -> None:
    await accounts.add()
    _, principal = await accounts.signed_in()
    await accounts.sessions.logout(principal)
    with pytest.raises(Unauthorized, match="has ended"):
        await accounts.users.change_password(principal, PASSWORD, OTHER)
    await accounts.signed_in()


async def test_a_password_is_the_same_however_a_keyboard_composes_it(accounts: Accounts) -> None:
    composed = unicodedata.normalize("NFC", "Café-und-1")
    apart = unicodedata.normalize("NFD", composed)
    assert composed != apart
    await accounts.users.create(LOCAL, "ann", composed)
    await accounts.signed_in(password=apart)


async def test_an_old_hash_is_made_anew_at_the_next_log_in(accounts: Accounts) -> None:
    await accounts.add()
    assert (await stored(accounts, "ann")).startswith("$argon2id$v=19$m=8,t=1,p=1$")
    today = Sessions(accounts.database, Passwords(Tries()), clock=accounts.clock)
    await today.login("ann", PASSWORD, HERE)
    better = await stored(accounts, "ann")
    assert better.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    await today.login("ann", PASSWORD, HERE)
    assert await stored(accounts, "ann") == better


async def test_equal_passwords_have_different_hashes(accounts: Accounts) -> None:
    await accounts.add()
    assert await stored(accounts, "ann") != await stored(accounts, "admin")
