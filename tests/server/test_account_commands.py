"""`darkroom users` and `darkroom keys`: what the operator does with accounts from a shell."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.accounts.identity import Identity
from darkroom.accounts.passwords import Passwords, check_password
from darkroom.accounts.sessions import Sessions
from darkroom.accounts.throttle import Tries
from darkroom.cli import main
from darkroom.errors import Unauthorized
from darkroom.principal import LOCAL, Principal
from darkroom.store.database import Database

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("DARKROOM_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DARKROOM_ADMIN_PASSWORD", "admin")

    def command(*words: str) -> tuple[int, str, str]:
        status = main(list(words))
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


@pytest.fixture
def holder(tmp_path: Path) -> Callable[[str], Principal]:
    """Who holds a token."""

    def who(token: str) -> Principal:
        return on(tmp_path, lambda database: Identity(database).principal_of(token))

    return who


def on(folder: Path, work: Callable[[Database], Awaitable[Any]]) -> Any:
    """Work on the database of a data directory."""

    async def opened() -> Any:
        async with Database(f"sqlite:///{folder / 'darkroom.db'}") as database:
            return await work(database)

    return asyncio.run(opened())


def logs_in(folder: Path, name: str, password: str) -> bool:
    async def work(database: Database) -> bool:
        try:
            await Sessions(database, Passwords(Tries())).login(name, password, "")
        except Unauthorized:
            return False
        return True

    return bool(on(folder, work))


def test_a_key_for_the_owner_is_all_that_a_pipe_reads_also_before_there_is_a_user(
    run: Run, holder: Callable[[str], Principal], tmp_path: Path
) -> None:
    status, out, err = run("keys", "create", "laptop")
    assert (status, err) == (0, "")
    assert (len(out), out[:3], out[-1]) == (100, "si_", "\n")
    found = holder(out.strip())
    assert (found.id, found.permissions) == (LOCAL.id, LOCAL.permissions)
    assert logs_in(tmp_path, "admin", "admin")


def test_a_first_admin_of_a_random_password_is_told_beside_the_pipe(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DARKROOM_ADMIN_PASSWORD")
    _, out, err = run("keys", "create", "laptop")
    assert out.startswith("si_")
    password = err.partition("with the password ")[2].split()[0]
    check_password(password)
    assert logs_in(tmp_path, "admin", password)
    assert run("keys", "create", "again")[2] == ""


def test_a_key_has_the_prefix_user_and_scopes_that_are_asked_for(run: Run, holder: Callable[[str], Principal]) -> None:
    run("users", "add", "ann")
    words = ("--user", "ANN", "--prefix", "fsk_live_", "--scope", "workflows:execute", "--scope", "storage:read")
    key = run("keys", "create", "plugin", *words, "--days", "30")[1].strip()
    assert key.startswith("fsk_live_")
    found = holder(key)
    assert found.username == "ann"
    assert found.permissions == {"tools:run", "workflows:read", "files:read"}
    (line,) = run("keys", "list")[1].splitlines()
    assert "ann" in line
    assert "plugin" in line
    assert line.endswith("files:read tools:run workflows:read")
    assert key not in line


def test_a_deleted_key_is_listed_no_more_and_lets_nobody_in(run: Run, holder: Callable[[str], Principal]) -> None:
    assert run("keys") == (0, "There are no keys. `darkroom keys create NAME` makes one.\n", "")
    key = run("keys", "create", "laptop")[1].strip()
    identifier = run("keys")[1].split()[0]
    assert run("keys", "delete", identifier) == (0, f"{identifier} lets nobody in any more.\n", "")
    with pytest.raises(Unauthorized):
        holder(key)


def test_a_user_is_made_with_a_random_password_that_stands_alone_on_the_output(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("users", "add", "ann", "--role", "admin", "--team", "DEFAULT")
    assert status == 0
    check_password(out.strip())
    assert logs_in(tmp_path, "ann", out.strip())
    admin, ann = run("users", "list")[1].splitlines()
    assert admin.split() == ["admin", "admin", "Default", "local"]
    assert ann.split()[:3] == ["ann", "admin", "Default"]


def test_a_reset_password_is_new_and_must_be_changed(run: Run, tmp_path: Path) -> None:
    run("users")
    password = run("users", "reset-password", "Admin")[1].strip()
    check_password(password)
    assert not logs_in(tmp_path, "admin", "admin")
    assert logs_in(tmp_path, "admin", password)
    assert run("users")[1].endswith("must change the password\n")


def test_a_deleted_user_is_gone(run: Run, tmp_path: Path) -> None:
    password = run("users", "add", "ann")[1].strip()
    status, out, _ = run("users", "delete", "ann")
    assert status == 0
    assert out.startswith("ann is deleted. What they made stays stored under usr_")
    assert not logs_in(tmp_path, "ann", password)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("users", "add", "a b"), "darkroom: A username has 3 to 50 characters"),
        (("users", "add", "ADMIN"), "darkroom: This username is taken"),
        (("users", "add", "ann", "--team", "Moon"), "darkroom: There is no such team."),
        (("users", "delete", "nobody"), "darkroom: There is no user of this name."),
        (("users", "delete", "admin"), "darkroom: You cannot delete yourself."),
        (("users", "reset-password", "nobody"), "darkroom: There is no user of this name."),
        (("keys", "create", "x", "--user", "nobody"), "darkroom: There is no user of this name."),
        (("keys", "create", "x", "--scope", "everything"), "darkroom: There is no scope 'everything'."),
        (("keys", "create", "x", "--days", "0"), "darkroom: A key expires in the future, or never."),
        (("keys", "delete", "key_none"), "darkroom: There is no such key."),
    ],
)
def test_what_cannot_be_is_one_plain_sentence_and_no_output(run: Run, words: tuple[str, ...], said: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (1, "")
    assert err.startswith(said)


def test_a_wrong_variable_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_ADMIN_PASSWORD", "x")
    status, out, err = run("users")
    assert (status, out) == (1, "")
    assert err.startswith("darkroom: DARKROOM_ADMIN_PASSWORD should have 4 characters")
