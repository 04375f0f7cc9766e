"""API keys: made once and shown once, listed without themselves, deleted."""

from datetime import UTC
from typing import Annotated

from pydantic import AwareDatetime, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.accounts.keys import ApiKey
from darkroom.accounts.permissions import names_of
from darkroom.app import Darkroom
from darkroom.faces.rest.common import timestamp
from darkroom.faces.rest.snapotter.shapes import PERMISSIONS, Done, PermissionName, done
from darkroom.routing import Door, Says, principal_of, read_json
from darkroom_tools.settings import Settings

__all__ = ["key_routes"]


class NewKey(Settings):
    """A key to make."""

    name: Annotated[str, Field(min_length=1, max_length=100)] = "Default API Key"
    """For its owner, such as what uses it"""

    permissions: Annotated[list[PermissionName], Field(min_length=1, max_length=50)] | None = None
    """What the key may do, of what its user may; everything if left out"""

    expires_at: AwareDatetime | None = None
    """With a time zone; never if left out"""


class KeyAnswer(TypedDict):
    """A key; `permissions` is null for all that its user may do."""

    id: str
    name: str
    permissions: list[str] | None
    userId: str
    lastUsedAt: str | None
    expiresAt: str | None
    createdAt: str


class MadeKeyAnswer(KeyAnswer):
    """A key with its text, which is shown this once."""

    key: str


class KeysAnswer(TypedDict):
    """Keys, without their text."""

    apiKeys: list[KeyAnswer]


def key_routes(room: Darkroom) -> list[Door]:
    """`/api/v1/api-keys`."""

    async def create(request: Request) -> Response:
        principal = principal_of(request)
        body = await read_json(request, NewKey)
        expires_at = body.expires_at.astimezone(UTC).timestamp() if body.expires_at is not None else None
        text, key = await room.keys.create(principal, body.name, "si_", scopes=body.permissions, expires_at=expires_at)
        answer: MadeKeyAnswer = {"key": text, **_key(key)}
        return JSONResponse(answer, 201)

    async def listed(request: Request) -> Response:
        answer: KeysAnswer = {"apiKeys": [_key(key) for key in await room.keys.list(principal_of(request))]}
        return JSONResponse(answer)

    async def delete(request: Request) -> Response:
        await room.keys.delete(principal_of(request), request.path_params["id"])
        return done()

    return [
        Door(
            "/api/v1/api-keys",
            create,
            needs="keys:own",
            methods=["POST"],
            says=Says(
                "Make a key. Its text is in this answer and never again.",
                body=NewKey,
                answer=MadeKeyAnswer,
                status=201,
                inferred="permissions, expiresAt and what the answer holds beside key, id and name.",
            ),
        ),
        Door(
            "/api/v1/api-keys",
            listed,
            needs="keys:own",
            says=Says(
                "The own keys; who may see everybody's sees everybody's.",
                answer=KeysAnswer,
                inferred="The answer beside name, id and lastUsedAt.",
            ),
        ),
        Door(
            "/api/v1/api-keys/{id}",
            delete,
            needs="keys:own",
            methods=["DELETE"],
            says=Says("Delete a key; it stops working at once.", answer=Done, inferred="The answer."),
        ),
    ]


def _key(key: ApiKey) -> KeyAnswer:
    return {
        "id": key.id,
        "name": key.name,
        "permissions": names_of(key.scopes, PERMISSIONS) if key.scopes is not None else None,
        "userId": key.user,
        "lastUsedAt": timestamp(key.last_used_at) if key.last_used_at is not None else None,
        "expiresAt": timestamp(key.expires_at) if key.expires_at is not None else None,
        "createdAt": timestamp(key.created_at),
    }
