"""Who people are: logging in and out, passwords, and the users that an admin looks after."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.accounts.permissions import ROLES, names_of
from darkroom.accounts.users import User
from darkroom.app import Darkroom
from darkroom.faces.rest.common import timestamp
from darkroom.faces.rest.snapotter.shapes import PERMISSIONS, Done, done
from darkroom.faces.rest.snapotter.teams import team_routes
from darkroom.principal import Permission
from darkroom.routing import PUBLIC, SIGNED_IN, Door, Says, principal_of, read_json
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import Settings, nearest

__all__ = ["people_routes"]

Password = Annotated[str, Field(min_length=1, max_length=1024)]
Role = Literal["admin", "user"]


class LoginBody(Settings):
    """Who wants to come in."""

    username: Annotated[str, Field(min_length=1, max_length=50)]
    """Upper and lower case are the same"""

    password: Password


class PasswordBody(Settings):
    """A password and the one that takes its place."""

    current_password: Password
    """Asked for again, so that a stolen session cannot change it"""

    new_password: Password
    """At least 8 characters with an upper-case letter, a lower-case letter and a digit"""


class ResetBody(Settings):
    """A password that its user must change."""

    new_password: Password
    """At least 8 characters with an upper-case letter, a lower-case letter and a digit"""


class NewUser(Settings):
    """A user to make."""

    username: Annotated[str, Field(min_length=1, max_length=50)]
    """3 to 50 letters, digits, dots, hyphens and underscores"""

    password: Password
    """At least 8 characters with an upper-case letter, a lower-case letter and a digit"""

    role: Role = "user"

    team: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name or id; the default team if left out"""


class UserChanges(Settings):
    """What of a user is to be another."""

    role: Role | None = None

    team: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Name or id"""


class UserAnswer(TypedDict):
    """A user; `team` and `teamName` are both the name."""

    id: str
    username: str
    role: Role
    team: str
    teamId: str
    teamName: str
    mustChangePassword: bool
    permissions: list[str]
    createdAt: str
    updatedAt: str


class LoginAnswer(TypedDict):
    """A session; the token goes into `Authorization: Bearer`."""

    token: str
    user: UserAnswer
    expiresAt: str


class SessionAnswer(TypedDict):
    """Who the caller is; without an end for a key that has none."""

    user: UserAnswer
    expiresAt: str | None


class UsersAnswer(TypedDict):
    """Everybody, and how many there may be."""

    users: list[UserAnswer]
    maxUsers: int


def people_routes(room: Darkroom) -> list[Door]:
    """`/api/auth/…` and `/api/v1/teams`."""
    people = _People(room)
    return [*_session_doors(people), *_user_doors(people), *team_routes(room)]


class _People:
    """Answers for `/api/auth/…`."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def login(self, request: Request) -> Response:
        body = await read_json(request, LoginBody)
        address = request.client.host if request.client else ""
        login = await self._room.sessions.login(body.username, body.password, address)
        answer: LoginAnswer = {
            "token": login.token,
            "user": await self._shown(login.user),
            "expiresAt": timestamp(login.expires_at),
        }
        return JSONResponse(answer)

    async def logout(self, request: Request) -> Response:
        await self._room.sessions.logout(principal_of(request))
        return done()

    async def session(self, request: Request) -> Response:
        principal = principal_of(request)
        user, expires_at = await self._room.sessions.current(principal)
        answer: SessionAnswer = {
            "user": await self._shown(user, principal.permissions),
            "expiresAt": timestamp(expires_at) if expires_at is not None else None,
        }
        return JSONResponse(answer)

    async def change_password(self, request: Request) -> Response:
        body = await read_json(request, PasswordBody)
        await self._room.users.change_password(principal_of(request), body.current_password, body.new_password)
        return done()

    async def users(self, _request: Request) -> Response:
        teams = await self._team_names()
        users = [_user(each, teams, ROLES[each.role]) for each in await self._room.users.list()]
        answer: UsersAnswer = {"users": users, "maxUsers": self._room.users.most}
        return JSONResponse(answer)

    async def register(self, request: Request) -> Response:
        body = await read_json(request, NewUser)
        team = await self._team_id(body.team)
        made = await self._room.users.create(
            principal_of(request), body.username, body.password, role=body.role, team=team
        )
        return JSONResponse(await self._shown(made), 201)

    async def change(self, request: Request) -> Response:
        body = await read_json(request, UserChanges)
        if body.role is None and body.team is None:
            raise InvalidSettings("Give role, team or both.", field="role")
        team = await self._team_id(body.team)
        await self._room.users.change(principal_of(request), request.path_params["id"], role=body.role, team=team)
        return done()

    async def reset_password(self, request: Request) -> Response:
        body = await read_json(request, ResetBody)
        await self._room.users.reset_password(principal_of(request), request.path_params["id"], body.new_password)
        return done()

    async def delete(self, request: Request) -> Response:
        await self._room.users.delete(principal_of(request), request.path_params["id"])
        return done()

    async def _shown(self, user: User, permissions: Iterable[Permission] | None = None) -> UserAnswer:
        return _user(user, await self._team_names(), ROLES[user.role] if permissions is None else permissions)

    async def _team_names(self) -> Mapping[str, str]:
        return {team.id: team.name for team in await self._room.teams.list()}

    async def _team_id(self, wanted: str | None) -> str | None:
        """The id of a team by name or id.

        Raises:
            InvalidSettings: There is none.
        """
        if wanted is None:
            return None
        names = await self._team_names()
        if wanted in names:
            return wanted
        found = next((key for key, name in names.items() if name.casefold() == wanted.strip().casefold()), None)
        if found is None:
            near = nearest(wanted, list(names.values()))
            hint = f" Did you mean {near!r}?" if near else ""
            raise InvalidSettings(f"There is no team {clean_text(wanted, 50)!r}.{hint}", field="team", nearest=near)
        return found


def _user(user: User, teams: Mapping[str, str], permissions: Iterable[Permission]) -> UserAnswer:
    name = teams.get(user.team, "")
    return {
        "id": user.id,
        "username": user.username,
        "role": user.role,
        "team": name,
        "teamId": user.team,
        "teamName": name,
        "mustChangePassword": user.must_change_password,
        "permissions": names_of(permissions, PERMISSIONS),
        "createdAt": timestamp(user.created_at),
        "updatedAt": timestamp(user.updated_at),
    }


def _session_doors(people: _People) -> Sequence[Door]:
    return [
        Door(
            "/api/auth/login",
            people.login,
            needs=PUBLIC,
            methods=["POST"],
            says=Says(
                "Log in: a session token that works for 24 hours.",
                body=LoginBody,
                answer=LoginAnswer,
                inferred="user and expiresAt.",
            ),
        ),
        Door(
            "/api/auth/logout",
            people.logout,
            needs=SIGNED_IN,
            before_new_password=True,
            methods=["POST"],
            says=Says("End the session that this comes with.", answer=Done, inferred="The answer."),
        ),
        Door(
            "/api/auth/session",
            people.session,
            needs=SIGNED_IN,
            before_new_password=True,
            says=Says(
                "Who the caller is and what they may do; a key is answered for too.",
                answer=SessionAnswer,
                inferred="The answer.",
            ),
        ),
        Door(
            "/api/auth/change-password",
            people.change_password,
            needs=SIGNED_IN,
            before_new_password=True,
            methods=["POST"],
            says=Says(
                "Change the own password; all other sessions and all keys of the user end.",
                body=PasswordBody,
                answer=Done,
                inferred="Names in the body, and the answer.",
            ),
        ),
    ]


def _user_doors(people: _People) -> Sequence[Door]:
    one = "/api/auth/users/{id}"
    said = "Names in the body, and the answer."
    return [
        Door(
            "/api/auth/users",
            people.users,
            needs="users:manage",
            says=Says("All users.", answer=UsersAnswer, inferred="The answer."),
        ),
        Door(
            "/api/auth/register",
            people.register,
            needs="users:manage",
            methods=["POST"],
            says=Says("Make a user.", body=NewUser, answer=UserAnswer, status=201, inferred=said),
        ),
        Door(
            one,
            people.change,
            needs="users:manage",
            methods=["PUT"],
            says=Says(
                "Change the role or team of a user. Nobody takes the role of an admin from themselves, nor the last one.",
                body=UserChanges,
                answer=Done,
                inferred="The answer, and that a team goes by name or id.",
            ),
        ),
        Door(
            one,
            people.delete,
            needs="users:manage",
            methods=["DELETE"],
            says=Says(
                "Delete a user; nobody deletes themselves or the last admin.", answer=Done, inferred="The answer."
            ),
        ),
        Door(
            f"{one}/reset-password",
            people.reset_password,
            needs="users:manage",
            methods=["POST"],
            says=Says(
                "Give a user a password that they must change before they do anything else.",
                body=ResetBody,
                answer=Done,
                inferred=said,
            ),
        ),
    ]
