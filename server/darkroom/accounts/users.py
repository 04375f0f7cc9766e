"""The people who may sign in: what they are called, what they may do, and their passwords."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import sqlalchemy as sa

from darkroom.accounts.passwords import LONGEST_BYTES, Passwords, check_password, random_password
from darkroom.accounts.permissions import ROLES
from darkroom.errors import Conflict, DarkroomError, Forbidden, LimitReached, NotFound, Unauthorized
from darkroom.principal import LOCAL, Permission, Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import api_keys, device_grants, sessions, teams, users
from darkroom_tools.errors import InvalidSettings

__all__ = ["Role", "User", "Users", "check_alive", "principal_for", "user_of"]

Role = Literal["admin", "user"]

USERNAME: Final = re.compile(r"[A-Za-z0-9_.-]{3,50}")
SHORTEST_FIRST: Final = 4
"""Of the password that the operator chooses for the first admin: what it must have is the operator's own business."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in.

    Attributes:
        id: `usr_…`, or `local` for the machine's owner.
        username: Unique, whatever the case.
        role: What they may do.
        team: Id of their team; `local` is the default one.
        must_change_password: Somebody else set the password; until it is changed a session is good for nothing else.
        created_at: Seconds since the epoch.
        updated_at: Of the last change of role, team or password.
    """

    id: str
    username: str
    role: Role
    team: str
    must_change_password: bool
    created_at: float
    updated_at: float


class Users:
    """All users. Who may call what here the doors know (`users:manage`); what nobody may do is refused here.

    Args:
        database: Where they are kept.
        passwords: Makes and compares their hashes.
        most: How many there may be.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, database: Database, passwords: Passwords, *, most: int = 100, clock: Callable[[], float] = time.time
    ) -> None:
        self.most = most
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def ensure_admin(self, password: str | None = None) -> str | None:
        """Make the first user, where there is none: `admin`, the machine's owner.

        Args:
            password: Chosen by the operator; a random one if None.

        Returns:
            The random password, to be shown this once; None if none was made.

        Raises:
            DarkroomError: CONFIGURATION_INVALID for a chosen password of fewer than 4 characters or over 1,024 bytes.
        """
        if await self._database.read(_count):
            return None
        if password is not None and not (SHORTEST_FIRST <= len(password) and len(password.encode()) <= LONGEST_BYTES):
            raise DarkroomError(
                f"DARKROOM_ADMIN_PASSWORD should have {SHORTEST_FIRST} characters to {LONGEST_BYTES:,} bytes. Without it a "
                "random password is made.",
                code="CONFIGURATION_INVALID",
            )
        made = random_password() if password is None else None
        stored = await self._passwords.hash(made or password or "")
        now = self._clock()
        first = User(LOCAL.id, LOCAL.username, "admin", LOCAL.id, False, now, now)

        def work(connection: sa.Connection) -> bool:
            if _count(connection):
                return False
            _insert(connection, first, stored)
            return True

        return made if await self._database.write(work) else None

    async def create(
        self, principal: Principal, username: str, password: str, role: Role = "user", team: str | None = None
    ) -> User:
        """Make a user.

        Args:
            principal: Who makes it; nobody makes somebody who may do more than they may.
            username: 3 to 50 of A-Z, a-z, 0-9, `_`, `.` and `-`.
            password: At least 8 characters with upper case, lower case and a digit; at most 1,024 bytes.
            role: `admin` or `user`.
            team: Id; the default team if None.

        Raises:
            InvalidSettings: Username, password, role or team cannot be.
            Forbidden: ESCALATION_DENIED.
            Conflict: The username is taken.
            LimitReached: USER_LIMIT_REACHED.
        """
        if not USERNAME.fullmatch(username):
            raise InvalidSettings(
                "A username has 3 to 50 characters of A-Z, a-z, 0-9, underscore, dot and hyphen.", field="username"
            )
        check_password(password)
        _check_role(principal, role)
        stored = await self._passwords.hash(password)
        now = self._clock()
        user = User(new_id("usr"), username, role, team or LOCAL.id, False, now, now)

        def work(connection: sa.Connection) -> User:
            if _count(connection) >= self.most:
                raise LimitReached(
                    f"There may be {self.most} users, and there are. Delete one, or raise DARKROOM_MAX_USERS.",
                    code="USER_LIMIT_REACHED",
                    limit=self.most,
                )
            _check_team(connection, user.team)
            _insert(connection, user, stored)
            return user

        return await self._database.write(work)

    async def list(self) -> Sequence[User]:
        """All users, oldest first."""
        return await self._database.read(lambda connection: _select(connection, sa.true()))

    async def get(self, identifier: str) -> User:
        """One user.

        Raises:
            NotFound: There is none of this id.
        """
        return await self._database.read(lambda connection: user_of(_row(connection, identifier)))

    async def find(self, username: str) -> User:
        """The user of a name, whatever its case.

        Raises:
            NotFound: There is none.
        """
        found = await self._database.read(
            lambda connection: _select(connection, users.c.username_key == username.lower())
        )
        if not found:
            raise NotFound("There is no user of this name.")
        return found[0]

    async def change(
        self, principal: Principal, identifier: str, role: Role | None = None, team: str | None = None
    ) -> User:
        """Give a user another role or team, from the next request on. None leaves what is there.

        Raises:
            InvalidSettings: There is no such role or team.
            Forbidden: ESCALATION_DENIED, SELF_DEMOTE or LAST_ADMIN.
            NotFound: There is no such user.
        """
        if role is not None:
            _check_role(principal, role)

        def work(connection: sa.Connection) -> User:
            user = user_of(_row(connection, identifier))
            changed: dict[str, Any] = {"updated_at": self._clock()}
            if team is not None:
                _check_team(connection, team)
                changed["team"] = team
            if role is not None and role != user.role:
                _check_role(principal, user.role)
                if user.id == principal.id:
                    raise Forbidden("You cannot take away your own role. Another admin can.", code="SELF_DEMOTE")
                _keep_an_admin(connection, user)
                changed["role"] = role
            connection.execute(users.update().where(users.c.id == user.id).values(changed))
            return user_of(_row(connection, identifier))

        return await self._database.write(work)

    async def delete(self, principal: Principal, identifier: str) -> None:
        """Delete a user with their sessions and keys.

        Their pictures, projects, workflows and jobs stay under their id: nobody sees them any more but who has
        `files:all` and `workflows:all`, and nobody ever gets that id again.

        Raises:
            Forbidden: SELF_DELETE or LAST_ADMIN.
            NotFound: There is no such user.
        """

        def work(connection: sa.Connection) -> None:
            user = user_of(_row(connection, identifier))
            if user.id == principal.id:
                raise Forbidden("You cannot delete yourself. Another admin can.", code="SELF_DELETE")
            _check_role(principal, user.role)
            _keep_an_admin(connection, user)
            _end_all(connection, user.id)
            connection.execute(users.delete().where(users.c.id == user.id))

        await self._database.write(work)

    async def reset_password(self, principal: Principal, identifier: str, new: str) -> None:
        """Set somebody's password, which they must then change; their sessions and keys end.

        Raises:
            InvalidSettings: The password is too weak or too long.
            Forbidden: ESCALATION_DENIED: they may do more than the caller.
            NotFound: There is no such user.
        """
        check_password(new)
        stored = await self._passwords.hash(new)

        def work(connection: sa.Connection) -> None:
            user = user_of(_row(connection, identifier))
            _check_role(principal, user.role)
            changed = {"password": stored, "must_change_password": True, "updated_at": self._clock()}
            connection.execute(users.update().where(users.c.id == user.id).values(changed))
            _end_all(connection, user.id)

        await self._database.write(work)

    async def change_password(self, principal: Principal, current: str, new: str) -> None:
        """Change the caller's own password; all their other sessions and all their keys end.

        Raises:
            InvalidSettings: The new password is too weak or too long, or is the current one.
            Forbidden: INVALID_PASSWORD: the current one is wrong.
            RateLimited: Too many were tried.
            Unauthorized: The caller is no user who has a password here.
        """
        check_password(new, "newPassword")
        row = await self._database.read(lambda connection: _maybe(connection, principal.id))
        if row is None or not row.password:
            raise Unauthorized("You have no password here. Sign in as a user who has one.")
        if not await self._passwords.fits(row.password, current, who=f"change {principal.id}"):
            raise Forbidden("The current password is wrong.", code="INVALID_PASSWORD")
        if new == current:
            raise InvalidSettings("The new password is the current one. Choose another.", field="newPassword")
        stored = await self._passwords.hash(new)

        def work(connection: sa.Connection) -> None:
            check_alive(connection, principal)
            changed = {"password": stored, "must_change_password": False, "updated_at": self._clock()}
            mine = (users.c.id == principal.id) & (users.c.password == row.password)
            if connection.execute(users.update().where(mine).values(changed)).rowcount != 1:
                raise Forbidden("The current password is wrong.", code="INVALID_PASSWORD")
            _end_all(connection, principal.id, but=principal.credential)

        await self._database.write(work)


def user_of(row: Any) -> User:
    """A user from a row of the table."""
    must = bool(row.must_change_password)
    return User(row.id, row.username, cast(Role, row.role), row.team, must, row.created_at, row.updated_at)


def principal_for(
    user: User, credential: str = "", scopes: Sequence[str] | None = None, *, by_password: bool = False
) -> Principal:
    """Who a user is to all the rest.

    Args:
        user: Who signed in.
        credential: Id of the session or key.
        scopes: Permissions of the key; None for all that the role has.
        by_password: Whether it goes back to the user's password, so that one which somebody else set counts.
    """
    permissions = ROLES[user.role]
    return Principal(
        user.id,
        member_of="" if user.team == LOCAL.id else user.team,
        permissions=permissions if scopes is None else permissions & frozenset(cast(Sequence[Permission], scopes)),
        username=user.username,
        role=user.role,
        credential=credential,
        must_change_password=by_password and user.must_change_password,
    )


def check_alive(connection: sa.Connection, principal: Principal) -> None:
    """Refuse to give out anything for a session or key that ended while the request was under way.

    Raises:
        Unauthorized: It ended.
    """
    for table, prefix in ((sessions, "ses_"), (api_keys, "key_")):
        if principal.credential.startswith(prefix):
            held = sa.select(table.c.id).where(table.c.id == principal.credential)
            if connection.execute(held).first() is None:
                raise Unauthorized("Your session or key has ended.")


def _check_role(principal: Principal, role: Role) -> None:
    if role not in ROLES:
        raise InvalidSettings(f"A role is {' or '.join(ROLES)}.", field="role", allowed=list(ROLES))
    if not ROLES[role] <= principal.permissions:
        raise Forbidden(f"Your permissions are fewer than those of the role {role}.", code="ESCALATION_DENIED")


def _check_team(connection: sa.Connection, team: str) -> None:
    # Locked, where the database can: a team that gets a member is not deleted meanwhile.
    found = sa.select(teams.c.id).where(teams.c.id == team).with_for_update()
    if connection.execute(found).first() is None:
        raise InvalidSettings("There is no such team. Name one by its id.", field="team")


def _keep_an_admin(connection: sa.Connection, user: User) -> None:
    """Refuse to take away the last admin."""
    admins = connection.execute(sa.select(users.c.id).where(users.c.role == "admin").with_for_update()).scalars()
    if list(admins) == [user.id]:
        raise Forbidden("This is the last admin. Make another one first.", code="LAST_ADMIN")


def _end_all(connection: sa.Connection, user: str, but: str = "") -> None:
    """End a user's sessions but one, all their keys, and device codes that they approved."""
    connection.execute(sessions.delete().where((sessions.c.user == user) & (sessions.c.id != but)))
    connection.execute(api_keys.delete().where(api_keys.c.user == user))
    connection.execute(device_grants.delete().where(device_grants.c.user == user))


def _count(connection: sa.Connection) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(users)).scalar_one()


def _select(connection: sa.Connection, which: sa.ColumnElement[bool]) -> Sequence[User]:
    rows = connection.execute(sa.select(users).where(which).order_by(users.c.created_at, users.c.id))
    return [user_of(row) for row in rows]


def _maybe(connection: sa.Connection, identifier: str) -> Any:
    return connection.execute(sa.select(users).where(users.c.id == identifier)).one_or_none()


def _row(connection: sa.Connection, identifier: str) -> Any:
    row = _maybe(connection, identifier)
    if row is None:
        raise NotFound("There is no such user.")
    return row


def _insert(connection: sa.Connection, user: User, stored: str) -> None:
    values = {name: getattr(user, name) for name in User.__slots__}
    taken = Conflict("This username is taken, in some upper or lower case.")
    key = user.username.lower()
    if connection.execute(sa.select(users.c.id).where(users.c.username_key == key)).first() is not None:
        raise taken
    try:
        connection.execute(users.insert().values(values | {"username_key": key, "password": stored}))
    except sa.exc.IntegrityError as error:
        raise taken from error
