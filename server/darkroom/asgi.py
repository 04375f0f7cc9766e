"""The web application: who may ask, what is served, and JSON for every error."""

import hmac
import logging
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from darkroom.bodies import BodyGuard
from darkroom.errors import Forbidden, NotFound, Unauthorized
from darkroom_tools.errors import DarkroomError

__all__ = ["Access", "build_web", "is_loopback"]

log = logging.getLogger(__name__)

UPLOADS = "/u/"
NO_TOKEN_NEEDED = (UPLOADS, "/files/")
"""Paths that carry an unguessable token of their own."""

ANY_METHOD = frozenset({"*"})


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
            text = "This host name is not served here. Name it in DARKROOM_ALLOWED_HOSTS, or use 127.0.0.1."
            return _answer(421, "MISDIRECTED", text)
        origin = request.headers.get("origin")
        if origin is not None and not self._known(origin.partition("://")[2]):
            return _error(Forbidden("Requests from this origin are not allowed."))
        if self._access.token is None or request.url.path.startswith(NO_TOKEN_NEEDED):
            return None
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._access.token.encode()):
            return None
        refusal = _error(Unauthorized("Send the server's token: Authorization: Bearer <DARKROOM_TOKEN>."))
        refusal.headers["www-authenticate"] = "Bearer"
        return refusal

    def _known(self, netloc: str) -> bool:
        try:
            host = urlsplit(f"//{netloc}").hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or host in self._access.hosts


def build_web(
    routes: Sequence[BaseRoute],
    *,
    health: Callable[[], dict[str, Any]],
    access: Access,
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
) -> Starlette:
    """The application over the faces' routes.

    Args:
        routes: Of all faces together.
        health: The facts of `/api/health`; must not wait for anything.
        access: Who may ask.
        lifespan: Runs as long as the application does.

    Raises:
        ValueError: Two faces claim the same path and method.
    """

    async def answer_health(_request: Request) -> JSONResponse:
        return JSONResponse(health())

    every = [Route("/api/health", answer_health), *routes]
    _refuse_duplicates(every)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        if lifespan is None:
            yield
        else:
            async with lifespan():
                yield

    return Starlette(
        routes=every,
        middleware=[Middleware(Gate, access=access), Middleware(BodyGuard, files=UPLOADS, refuse=_error)],
        exception_handlers={HTTPException: _http_error, DarkroomError: _darkroom_error, Exception: _unexpected},
        lifespan=running,
    )


def _refuse_duplicates(routes: Sequence[BaseRoute]) -> None:
    seen: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, Route):
            taken = seen.setdefault(re.sub(r"{[^:}]*", "{", route.path), set())
            methods = set(route.methods or ANY_METHOD)
            if taken & methods or (taken and "*" in taken | methods):
                raise ValueError(f"two routes for {'/'.join(sorted(methods))} {route.path}")
            taken |= methods


def _answer(
    status: int, code: str, text: str, headers: Mapping[str, str] | None = None, reference: str | None = None
) -> JSONResponse:
    body = {"error": text, "code": code, "details": {}, "requestId": reference or secrets.token_hex(8)}
    return JSONResponse(body, status, headers)


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
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        text = f"{request.method} is not allowed at this address."
        return _answer(error.status_code, "METHOD_NOT_ALLOWED", text, error.headers)
    return _answer(error.status_code, "BAD_REQUEST", error.detail, error.headers)


async def _unexpected(_request: Request, error: Exception) -> Response:
    reference = secrets.token_hex(8)
    log.error("request %s failed", reference, exc_info=error)
    return _answer(500, "INTERNAL", "Something went wrong here.", reference=reference)
