"""Users, sessions, keys, teams and identity over a real database, with clocks that a test turns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.accounts.identity import Identity
from darkroom.accounts.keys import Keys
from darkroom.accounts.passwords import Passwords
from darkroom.accounts.sessions import Sessions
from darkroom.accounts.teams import Teams
from darkroom.accounts.throttle import Tries
from darkroom.accounts.users import User, Users
from darkroom.principal import LOCAL, Principal
from darkroom.store.database import Database
from support.web_room import PASSWORD, QUICK

HERE = "192.0.2.7"


@dataclass
class Clock:
    """Seconds; turned by hand."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Accounts:
    """All services of one database."""

    database: Database
    clock: Clock
    passwords: Passwords
    users: Users
    sessions: Sessions
    keys: Keys
    teams: Teams
    identity: Identity

    async def add(self, name: str = "ann", **more: Any) -> User:
        """A user with the usual password."""
        return await self.users.create(LOCAL, name, PASSWORD, **more)

    async def signed_in(self, name: str = "ann", password: str = PASSWORD) -> tuple[str, Principal]:
        """A token, and who holds it."""
        login = await self.sessions.login(name, password, HERE)
        return login.token, await self.identity.principal_of(login.token)


@dataclass
class Options:
    """What a test chooses."""

    most: int = 100
    tries: int = 5
    token: str | None = None
    clock: Clock = field(default_factory=Clock)


@asynccontextmanager
async def open_accounts(folder: Path, **chosen: Any) -> AsyncIterator[Accounts]:
    """Accounts with the first admin, whose password is the usual one."""
    options = Options(**chosen)

    async def tries() -> int:
        return options.tries

    async with Database(f"sqlite:///{folder / 'darkroom.db'}") as database:
        clock = options.clock
        passwords = Passwords(Tries(tries, clock), QUICK)
        accounts = Accounts(
            database,
            clock,
            passwords,
            Users(database, passwords, most=options.most, clock=clock),
            Sessions(database, passwords, clock=clock),
            Keys(database, clock=clock),
            Teams(database, clock=clock),
            Identity(database, options.token, clock=clock),
        )
        await accounts.users.ensure_admin(PASSWORD)
        yield accounts
