"""The web application of a running Darkroom: its faces' routes, and who may use them."""

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette

from darkroom import __version__
from darkroom.app import Darkroom
from darkroom.asgi import PLAIN, Access, build_web, is_loopback
from darkroom.docs import Page, tool_page
from darkroom.faces.docs import docs_routes
from darkroom.faces.files import file_routes
from darkroom.faces.files.events import event_routes
from darkroom.faces.mcp.http import METADATA, mcp_routes
from darkroom.faces.mcp.server import managers
from darkroom.faces.rest import autoretouch, floimg, nextry, snapotter, soloworks
from darkroom.metrics import metrics_route
from darkroom.openapi import openapi
from darkroom.principal import LOCAL, OWN
from darkroom.routing import PUBLIC, Dialect, Door
from darkroom_tools.registry import builtin_tools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from darkroom.faces.mcp.server import McpServer

__all__ = ["DIALECTS", "all_pages", "api_document", "dialect_routes", "web_app"]

EVERYBODY = replace(LOCAL, permissions=OWN | {"system:health"}, role="user")
"""Who callers are where nobody needs a token: the machine's owner, but without what changes it for others."""

FACES = (snapotter, soloworks, floimg, nextry, autoretouch)

DIALECTS: "tuple[Dialect, ...]" = (*(face.DIALECT for face in FACES), autoretouch.LOGIN)
"""Who speaks where."""


def all_pages() -> list[Page]:
    """Documentation of every tool that a fresh server publishes."""
    return [*map(tool_page, builtin_tools().values()), *(manager.page() for manager in managers().values())]


def dialect_routes(room: Darkroom) -> "Sequence[Door]":
    """The routes of all REST dialects. Nextry's come before autoRetouch's: `/image/generation_result/…` is no content hash."""
    return [
        *snapotter.snapotter_routes(room),
        *soloworks.soloworks_routes(room),
        *floimg.floimg_routes(room),
        *nextry.nextry_routes(room),
        *autoretouch.autoretouch_routes(room),
    ]


@functools.cache
def api_document() -> dict[str, Any]:
    """The OpenAPI document of all that programs call; no room needs to run for it."""
    no_room = cast("Darkroom", None)  # routes are told, none is entered
    doors = [*dialect_routes(no_room), *docs_routes(all_pages, api_document)]
    return openapi(doors, (*DIALECTS, PLAIN), builtin_tools().values(), __version__)


def web_app(room: Darkroom, server: "McpServer", *, with_mcp: bool = True) -> Starlette:
    """The application.

    Args:
        room: Running.
        server: Of the same room.
        with_mcp: False for a server that a relay started: then HTTP carries uploads and downloads only.
    """
    hosts = _hosts(room)
    if not with_mcp:
        routes = [*file_routes(room), metrics_route(room.metrics, needs=PUBLIC)]
        return build_web(routes, health=room.health, access=Access(hosts))
    routes = [*file_routes(room), metrics_route(room.metrics), *docs_routes(all_pages, api_document)]
    routes += event_routes(room.jobs, room.streams)
    routes += dialect_routes(room)
    routes += mcp_routes(
        server, _mcp_security(hosts), managers(), base=lambda: room.links.base, issuer=room.config.oauth_issuer
    )
    return build_web(
        routes,
        health=room.health,
        access=_access(room, hosts),
        dialects=DIALECTS,
        only_over_mcp=managers(),
        lifespan=server.session_manager.run,
    )


def _access(room: Darkroom, hosts: frozenset[str]) -> Access:
    if room.config.auth == "off":
        return Access(hosts, everybody=EVERYBODY)
    return Access(
        hosts,
        identify=room.identity.principal_of,
        metadata=lambda: f"{room.links.base}{METADATA}" if room.links.base else None,
        count=room.requests.count if room.config.rate_limit else None,
    )


def _hosts(room: Darkroom) -> frozenset[str]:
    config = room.config
    hosts = {*config.allowed_hosts, *([] if is_loopback(config.host) else [config.host])}
    if config.public_url:
        hosts.add(urlsplit(config.public_url).hostname or "")
    return frozenset(hosts)


def _mcp_security(hosts: frozenset[str]) -> TransportSecuritySettings:
    """The SDK's own Host and Origin check, behind ours, for the same names on any port."""
    names = ["127.0.0.1", "localhost", "[::1]", *sorted(hosts)]
    return TransportSecuritySettings(
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{name}{port}" for name in names for scheme in ("http", "https") for port in ("", ":*")
        ],
    )
