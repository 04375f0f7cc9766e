"""The web application: who may ask, what is served, and JSON for every error."""

import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from darkroom.errors import Forbidden, NotFound, Unauthorized
from darkroom_tools.errors import DarkroomError

__all__ = ["Access", "build_web", "is_loopback"]

log = logging.getLogger(__name__)

NO_TOKEN_NEEDED = ("/u/", "/files/")
"""Paths that carry an unguessable token of their own."""


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask: Host names beside loopback, and the bearer token if one is set."""

    hosts: frozenset[str]
    token: str | None


class Gate:
    """Checks Host, Origin and bearer token of every request before anything else sees it."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer 421, 403 or 401."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if not self._known(request.headers.get("host", "")):
            return JSONResponse({"error": "This host name is not served here.", "code": "MISDIRECTED"}, 421)
        origin = request.headers.get("origin")
        if origin is not None and not self._known(urlsplit(origin).netloc):
            return _error(Forbidden("Requests from this origin are not allowed."))
        if self._access.token is None or request.url.path.startswith(NO_TOKEN_NEEDED):
            return None
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if hmac.compare_digest(given, self._access.token.encode()):
            return None
        refusal = _error(Unauthorized("Send the server's token: Authorization: Bearer <DARKROOM_TOKEN>."))
        refusal.headers["www-authenticate"] = "Bearer"
        return refusal

    def _known(self, netloc: str) -> bool:
        host = urlsplit(f"//{netloc}").hostname or ""
        return is_loopback(host) or host in self._access.hosts


def build_web(
    routes: Sequence[BaseRoute],
    *,
    health: Callable[[], dict[str, Any]],
    access: Access,
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    last: ASGIApp | None = None,
) -> Starlette:
    """The application over the faces' routes.

    Args:
        routes: Of all faces together.
        health: The facts of `/api/health`; must not wait for anything.
        access: Who may ask.
        lifespan: Runs as long as the application does.
        last: Takes what no route matches (the MCP application).

    Raises:
        ValueError: Two faces claim the same path and method.
    """

    async def answer_health(_request: Request) -> JSONResponse:
        return JSONResponse(health())

    every = [Route("/api/health", answer_health), *routes]
    refuse_duplicates(every)
    if last is not None:
        every.append(Mount("/", last))

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        if lifespan is None:
            yield
        else:
            async with lifespan():
                yield

    return Starlette(
        routes=every,
        middleware=[Middleware(Gate, access=access)],
        exception_handlers={HTTPException: _http_error, DarkroomError: _darkroom_error, Exception: _unexpected},
        lifespan=running,
    )


def refuse_duplicates(routes: Sequence[BaseRoute]) -> None:
    """Refuse two routes for one path and method.

    Raises:
        ValueError: Naming both.
    """
    seen: set[tuple[str, str]] = set()
    for route in routes:
        if isinstance(route, Route):
            for method in route.methods or ():
                if (route.path, method) in seen:
                    raise ValueError(f"two routes for {method} {route.path}")
                seen.add((route.path, method))


def _error(error: DarkroomError) -> JSONResponse:
    headers = {"retry-after": str(error.details["retryAfter"])} if "retryAfter" in error.details else None
    return JSONResponse({**error.to_wire(), "requestId": secrets.token_hex(8)}, error.status, headers)


async def _darkroom_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DarkroomError)  # noqa: S101 - registered for this class only
    return _error(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    if error.status_code == NotFound.status:
        return _error(NotFound("There is nothing at this address."))
    body = {"error": error.detail, "code": "METHOD_NOT_ALLOWED" if error.status_code == 405 else "BAD_REQUEST"}
    return JSONResponse({**body, "details": {}}, error.status_code, error.headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    reference = secrets.token_hex(8)
    log.error("request %s failed", reference, exc_info=error)
    body = {"error": "Something went wrong here.", "code": "INTERNAL", "details": {}, "requestId": reference}
    return JSONResponse(body, 500)
