"""`darkroom users` and `darkroom keys`: who may sign in, and with what; also while a server runs."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False  # the command line reads this module whatever it runs, so it imports nothing slow
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from darkroom.accounts.keys import Keys
    from darkroom.accounts.teams import Teams
    from darkroom.accounts.users import Users

    Work = Callable[["Accounts"], Awaitable[int]]

__all__ = ["add_parser"]

PREFIXES = ("si_", "sk_live_", "fsk_live_", "fsk_test_")
ROLES = ("admin", "user")


class Accounts:
    """What the commands work on."""

    def __init__(self, users: Users, keys: Keys, teams: Teams) -> None:
        self.users = users
        self.keys = keys
        self.teams = teams


def add_parser(add: Callable[..., argparse.ArgumentParser], commands: object) -> None:
    """Add both subcommands; `add` is the command line's own way of adding one."""
    _add_users(add(commands, "users", "list, add or delete users, and reset passwords", "A server may run meanwhile."))
    _add_keys(add(commands, "keys", "list, create or delete API keys", "A server may run meanwhile."))


def _add_users(users: argparse.ArgumentParser) -> None:
    action = _actions(users, "list", _list_users)
    action("list", "show all users", _list_users)
    add = action("add", "make a user, and print the random password", _add_user)
    add.add_argument("--role", choices=ROLES, default="user", help="what they may do (default: user)")
    add.add_argument("--team", metavar="NAME", help="their team (default: the default team)")
    reset = action("reset-password", "set a random password, and print it; sessions and keys end", _reset_password)
    delete = action("delete", "delete a user with their sessions and keys; what they made stays", _delete_user)
    for parser in (add, reset, delete):
        parser.add_argument("name", metavar="NAME", help="the username")


def _add_keys(keys: argparse.ArgumentParser) -> None:
    action = _actions(keys, "list", _list_keys)
    action("list", "show all keys; never the keys themselves", _list_keys)
    create = action("create", "make a key, and print it: it cannot be shown again", _create_key)
    create.add_argument("name", metavar="NAME", help="what it is for")
    create.add_argument("--user", metavar="NAME", default="admin", help="whose it is (default: admin)")
    create.add_argument("--prefix", choices=PREFIXES, default="si_", help="how it begins (default: si_)")
    create.add_argument(
        "--scope", metavar="SCOPE", action="append", help="what it may do, such as tools:run; repeatable (default: all)"
    )
    create.add_argument("--days", metavar="N", type=float, help="days until it expires (default: never)")
    delete = action("delete", "end a key", _delete_key)
    delete.add_argument("key", metavar="ID", help="its id, key_…")


def _actions(
    parser: argparse.ArgumentParser, default: str, handler: Callable[[argparse.Namespace], int]
) -> Callable[..., argparse.ArgumentParser]:
    parser.set_defaults(handler=handler)
    parser.epilog = f"`{parser.prog} ACTION --help` says more; without an action it is `{default}`."
    actions = parser.add_subparsers(dest="action", metavar="ACTION")

    def action(name: str, does: str, handler: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = actions.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        made.add_argument("--data-dir", metavar="DIR", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        made.set_defaults(handler=handler)
        return made

    return action


def _list_users(chosen: argparse.Namespace) -> int:
    async def work(accounts: Accounts) -> int:
        teams = {team.id: team.name for team in await accounts.teams.list()}
        for user in await accounts.users.list():
            must = "  must change the password" if user.must_change_password else ""
            _say(f"{user.username:20} {user.role:6} {teams.get(user.team, user.team):20} {user.id}{must}")
        return 0

    return _run(chosen, work)


def _add_user(chosen: argparse.Namespace) -> int:
    from darkroom.accounts.passwords import random_password
    from darkroom.principal import LOCAL

    async def work(accounts: Accounts) -> int:
        password = random_password()
        team = None if chosen.team is None else await _team(accounts.teams, chosen.team)
        user = await accounts.users.create(LOCAL, chosen.name, password, chosen.role, team)
        _note(f"{user.username} may sign in with this password, which is not shown again:")
        _say(password)
        return 0

    return _run(chosen, work)


def _reset_password(chosen: argparse.Namespace) -> int:
    from darkroom.accounts.passwords import random_password
    from darkroom.principal import LOCAL

    async def work(accounts: Accounts) -> int:
        user, password = await accounts.users.find(chosen.name), random_password()
        await accounts.users.reset_password(LOCAL, user.id, password)
        _note(f"{user.username} signs in with this password and must then change it. Sessions and keys have ended.")
        _say(password)
        return 0

    return _run(chosen, work)


def _delete_user(chosen: argparse.Namespace) -> int:
    from darkroom.principal import LOCAL

    async def work(accounts: Accounts) -> int:
        user = await accounts.users.find(chosen.name)
        await accounts.users.delete(LOCAL, user.id)
        _say(f"{user.username} is deleted. What they made stays stored under {user.id}.")
        return 0

    return _run(chosen, work)


def _list_keys(chosen: argparse.Namespace) -> int:
    from darkroom.principal import LOCAL

    async def work(accounts: Accounts) -> int:
        names = {user.id: user.username for user in await accounts.users.list()}
        keys = await accounts.keys.list(LOCAL)
        for key in keys:
            may = "all" if key.scopes is None else " ".join(sorted(key.scopes))
            used = "never used" if key.last_used_at is None else f"used {_day(key.last_used_at)}"
            ends = "" if key.expires_at is None else f", until {_day(key.expires_at)}"
            _say(
                f"{key.id}  {key.prefix + '…':11} {names.get(key.user, key.user):20} {key.name:20} {used}{ends}  {may}"
            )
        if not keys:
            _say("There are no keys. `darkroom keys create NAME` makes one.")
        return 0

    return _run(chosen, work)


def _create_key(chosen: argparse.Namespace) -> int:
    import time

    from darkroom.accounts.users import principal_for

    async def work(accounts: Accounts) -> int:
        holder = principal_for(await accounts.users.find(chosen.user))
        ends = None if chosen.days is None else time.time() + chosen.days * 86_400
        key, _ = await accounts.keys.create(holder, chosen.name, chosen.prefix, chosen.scope, ends)
        _say(key)
        return 0

    return _run(chosen, work)


def _delete_key(chosen: argparse.Namespace) -> int:
    from darkroom.principal import LOCAL

    async def work(accounts: Accounts) -> int:
        await accounts.keys.delete(LOCAL, chosen.key)
        _say(f"{chosen.key} lets nobody in any more.")
        return 0

    return _run(chosen, work)


def _run(chosen: argparse.Namespace, work: Work) -> int:
    """Open the accounts, with a first admin, and work on them; the exit status."""
    import asyncio

    from darkroom.accounts.keys import Keys
    from darkroom.accounts.passwords import Passwords
    from darkroom.accounts.teams import Teams
    from darkroom.accounts.throttle import Tries
    from darkroom.accounts.users import Users
    from darkroom.app import open_database
    from darkroom.errors import DarkroomError

    async def opened() -> int:
        async with open_database(chosen.data_dir) as (database, config):
            users = Users(database, Passwords(Tries()), most=config.max_users)
            given = config.admin_password
            made = await users.ensure_admin(given.get_secret_value() if given else None)
            if made is not None:
                _note(f"Made the first user, admin, with the password {made} (shown this once).")
            return await work(Accounts(users, Keys(database), Teams(database)))

    try:
        return asyncio.run(opened())
    except DarkroomError as error:
        sys.stderr.write(f"darkroom: {error.message}\n")
        return 1


async def _team(teams: Teams, name: str) -> str:
    """The id of a team by its name, whatever the case, or the text as it came."""
    for team in await teams.list():
        if team.name.casefold() == name.casefold():
            return team.id
    return name


def _day(seconds: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _note(line: str) -> None:
    """Say something beside what a pipe reads."""
    sys.stderr.write(f"{line}\n")
