"""MCP over HTTP: the caller's identity goes with each message, scopes are checked before the call, and RFC 9728 metadata."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from darkroom.errors import Forbidden
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.room import Context
from darkroom.faces.mcp.server import McpServer
from darkroom.principal import OWN, Permission, Principal
from darkroom.routing import PRINCIPAL, PUBLIC, SIGNED_IN, Door, principal_of

__all__ = ["METADATA", "http_caller", "mcp_routes"]

METADATA: Final = "/.well-known/oauth-protected-resource"
"""Where RFC 9728 metadata of the resource stands; that of `/mcp` under its name."""

IMAGE_TOOLS_NEED: Final[Permission] = "tools:run"


def http_caller(ctx: Context) -> Principal:
    """Who sent a message over HTTP.

    Raises:
        Unauthorized: Nobody who is known.
    """
    if not isinstance(ctx.request, Request):
        raise TypeError("a message over HTTP comes with its request")
    return principal_of(ctx.request)


def mcp_routes(
    server: McpServer,
    security: TransportSecuritySettings,
    managers: Mapping[str, Manager],
    *,
    base: Callable[[], str | None],
    issuer: str | None = None,
) -> Sequence[Door]:
    """`/mcp`, and the metadata that tells clients how to get a token for it.

    Args:
        server: What answers.
        security: The SDK's own Host and Origin check.
        managers: Management tools by name, for what each needs.
        base: Address of this server.
        issuer: Whose access tokens are accepted beside keys.
    """

    async def metadata(_request: Request) -> Response:
        return JSONResponse(_metadata(base() or "", issuer), headers={"access-control-allow-origin": "*"})

    # Only the SDK's route: its application would answer unknown addresses in plain text.
    inside = [
        route for route in server.streamable_http_app(transport_security=security).routes if isinstance(route, Route)
    ]
    return [
        *(Door(route.path, _Entrance(route.endpoint, managers), needs=SIGNED_IN) for route in inside),
        Door(METADATA, metadata, needs=PUBLIC),
        Door(f"{METADATA}/mcp", metadata, needs=PUBLIC),
    ]


class _Entrance:
    """Tells the SDK who calls, so that a session is used by whoever opened it, and turns away what the scopes forbid."""

    def __init__(self, app: ASGIApp, managers: Mapping[str, Manager]) -> None:
        self._app = app
        self._managers = managers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the message on.

        Raises:
            Forbidden: The header names a tool for which the caller lacks the permission.
        """
        caller = scope[PRINCIPAL]
        headers = Request(scope).headers
        if headers.get("mcp-method") == "tools/call":
            manager = self._managers.get(headers.get("mcp-name", ""))
            needs = manager.needs if manager is not None else IMAGE_TOOLS_NEED
            if not caller.may(needs):
                raise Forbidden(f"This needs the permission {needs}, which your key lacks.", needs=needs)
        token = AccessToken(token="", client_id=caller.credential, scopes=sorted(caller.permissions), subject=caller.id)
        await self._app({**scope, "user": AuthenticatedUser(token)}, receive, send)


def _metadata(base: str, issuer: str | None) -> dict[str, Any]:
    servers = {"authorization_servers": [issuer]} if issuer else {}
    return {
        "resource": f"{base}/mcp",
        **servers,
        "scopes_supported": sorted(OWN),
        "bearer_methods_supported": ["header"],
        "resource_name": "Darkroom",
        "resource_documentation": f"{base}/llms.txt",
    }
