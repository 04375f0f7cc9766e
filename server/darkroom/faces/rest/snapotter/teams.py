"""Teams: everybody sees them, admins make, rename and delete them."""

from typing import Annotated

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.accounts.teams import Team
from darkroom.app import Darkroom
from darkroom.faces.rest.common import timestamp
from darkroom.faces.rest.snapotter.shapes import Done, done
from darkroom.routing import SIGNED_IN, Door, Says, read_json
from darkroom_tools.settings import Settings

__all__ = ["team_routes"]


class TeamBody(Settings):
    """A team to make, or its other name."""

    name: Annotated[str, Field(min_length=1, max_length=50)]
    """No other team has it; upper and lower case are the same"""


class TeamAnswer(TypedDict):
    """A team."""

    id: str
    name: str
    memberCount: int
    createdAt: str


class TeamsAnswer(TypedDict):
    """All teams."""

    teams: list[TeamAnswer]


def team_routes(room: Darkroom) -> list[Door]:
    """`/api/v1/teams`."""

    async def listed(_request: Request) -> Response:
        answer: TeamsAnswer = {"teams": [_team(team) for team in await room.teams.list()]}
        return JSONResponse(answer)

    async def create(request: Request) -> Response:
        body = await read_json(request, TeamBody)
        return JSONResponse(_team(await room.teams.create(body.name)), 201)

    async def rename(request: Request) -> Response:
        body = await read_json(request, TeamBody)
        await room.teams.rename(request.path_params["id"], body.name)
        return done()

    async def delete(request: Request) -> Response:
        await room.teams.delete(request.path_params["id"])
        return done()

    said = "The answer."
    return [
        Door(
            "/api/v1/teams",
            listed,
            needs=SIGNED_IN,
            says=Says("All teams, with how many members each has.", answer=TeamsAnswer, inferred=said),
        ),
        Door(
            "/api/v1/teams",
            create,
            needs="teams:manage",
            methods=["POST"],
            says=Says("Make a team.", body=TeamBody, answer=TeamAnswer, status=201, inferred=said),
        ),
        Door(
            "/api/v1/teams/{id}",
            rename,
            needs="teams:manage",
            methods=["PUT"],
            says=Says("Rename a team.", body=TeamBody, answer=Done, inferred=said),
        ),
        Door(
            "/api/v1/teams/{id}",
            delete,
            needs="teams:manage",
            methods=["DELETE"],
            says=Says(
                "Delete a team that has no members; the default team stays.",
                answer=Done,
                inferred=said,
            ),
        ),
    ]


def _team(team: Team) -> TeamAnswer:
    return {
        "id": team.id,
        "name": team.name,
        "memberCount": team.members,
        "createdAt": timestamp(team.created_at),
    }
