"""Teams as organizations, with their members and what they can spend."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.accounts.teams import Team
from darkroom.accounts.users import User
from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.autoretouch.dialect import (
    MOST_LISTED,
    check_organization,
    no_such_organization,
    organization_uuid,
    team_of,
)
from darkroom.faces.rest.autoretouch.wire import Member, Organised, Organization, OrganizationPage, Paged
from darkroom.principal import LOCAL, Permission, Principal
from darkroom.routing import SIGNED_IN, Door, Says, principal_of, read_query
from darkroom.store.ids import from_uuid

__all__ = ["organization_routes"]

MANAGES: Final[Permission] = "teams:manage"
ROLES: Final = {"admin": "admin", "user": "operator"}


def organization_routes(room: Darkroom) -> Sequence[Door]:
    """The caller's organizations, and the balance."""

    async def many(request: Request) -> Response:
        asked = read_query(request, Paged)
        principal = principal_of(request)
        every = await _teams(room, principal)
        chosen = every[asked.offset : asked.offset + min(asked.limit, MOST_LISTED)]
        entries = [await _shown(room, principal, team) for team in chosen]
        return JSONResponse(OrganizationPage(entries=entries, total=len(every)))

    async def one(request: Request) -> Response:
        named = request.path_params["organization"]
        principal = principal_of(request)
        return JSONResponse(await _shown(room, principal, await _team(room, principal, named)))

    async def balance(request: Request) -> Response:
        asked = read_query(request, Organised)
        principal = principal_of(request)
        account = principal.organisation
        if asked.organization is not None:
            team = await _team(room, principal, asked.organization)
            account = account if team.id == team_of(principal) else team.id
        return JSONResponse((await room.credits.balance(account)).total)

    told = Says(
        "Credits that can be spent.",
        query=Organised,
        answer=int,
        inferred="Members of the default team have an account each; with credits off nothing is ever charged.",
    )
    return [
        Door(
            "/v1/organization",
            many,
            needs=SIGNED_IN,
            says=Says("Your organization; for who manages teams, all of them.", query=Paged, answer=OrganizationPage),
        ),
        Door("/v1/organization/balance", balance, needs=SIGNED_IN, says=told),
        Door("/v1/company/balance", balance, needs=SIGNED_IN, says=told),
        Door(
            "/v1/organization/{organization}",
            one,
            needs=SIGNED_IN,
            says=Says(
                "An organization with its members.",
                answer=Organization,
                inferred="Of the default team only those who manage users see more members than themselves.",
            ),
        ),
    ]


async def _teams(room: Darkroom, principal: Principal) -> Sequence[Team]:
    """The teams that the caller may see, the own one first."""
    mine = await room.teams.get(team_of(principal))
    if not principal.may(MANAGES):
        return [mine]
    return [mine, *(team for team in await room.teams.list() if team.id != mine.id)]


async def _team(room: Darkroom, principal: Principal, named: str) -> Team:
    """The team of that id or UUID.

    Raises:
        NotFound: There is none that the caller may see.
    """
    try:
        check_organization(principal, named)
    except NotFound:
        if not principal.may(MANAGES):
            raise
        if organization_uuid(LOCAL.id) == named.lower():
            return await room.teams.get(LOCAL.id)
        return await room.teams.get(from_uuid(named, "team") or named)
    try:
        return await room.teams.get(team_of(principal))
    except NotFound as error:
        raise no_such_organization() from error


async def _shown(room: Darkroom, principal: Principal, team: Team) -> Organization:
    members = await room.teams.members(team.id)
    # Whoever is in no other team is in the default one, without having to do with the others there.
    if team.id == LOCAL.id and not principal.may("users:manage"):
        members = [user for user in members if user.id == principal.id]
    identifier = organization_uuid(team.id)
    version = str(uuid5(UUID(identifier), team.name))
    return Organization(id=identifier, name=team.name, version=version, members=[_member(user) for user in members])


def _member(user: User) -> Member:
    return Member(
        id=user.id, givenName=user.username, familyName=None, email=None, picture=None, roles=[ROLES[user.role]]
    )
