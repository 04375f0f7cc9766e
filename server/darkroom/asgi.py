"""The web application: who asks, what is served, and each dialect's form for every error."""

import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.accounts.throttle import Pass
from darkroom.bodies import BodyGuard
from darkroom.errors import BadRequest, Forbidden, MethodNotAllowed, Misdirected, NotFound, RateLimited, Unauthorized
from darkroom.principal import Principal
from darkroom.routing import PRINCIPAL, PUBLIC, Dialect, Door, dialect_at
from darkroom_tools.errors import DarkroomError

__all__ = ["PLAIN", "Access", "build_web", "is_loopback"]

log = logging.getLogger(__name__)

UPLOADS = "/u/"
UNLIMITED = ("/api/health", "/api/v1/health", "/health", "/v1/health")
"""Answers however much the caller asked for."""

ANY_METHOD = frozenset({"*"})


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask, and how often.

    Attributes:
        hosts: Host names beside loopback.
        identify: Who holds a bearer token, or Unauthorized; None where nobody needs one.
        everybody: Who callers are where nobody needs a token, or where none is known.
        metadata: Address of the resource metadata of RFC 9728, for those who come without a token.
        count: Counts a request of a caller, by key or address; None sets no limit.
    """

    hosts: frozenset[str] = frozenset()
    identify: Callable[[str], Awaitable[Principal]] | None = None
    everybody: Principal | None = None
    metadata: Callable[[], str | None] = lambda: None
    count: Callable[[str], Awaitable[Pass]] | None = None


class Gate:
    """Finds out who sends a request, before anything else sees it: Host, Origin, bearer token, rate limit."""

    def __init__(self, app: ASGIApp, access: Access, refuse: Callable[[Request, DarkroomError], Response]) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer 421, 403 or 429; whether a caller is needed, the route knows."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            self._check_names(request)
            scope[PRINCIPAL] = await self._caller(request)
            limits = await self._count(request, scope[PRINCIPAL])
            send = _with_headers(send, limits)
            if limits is not None and not limits.allowed:
                raise _too_often(limits)
        except DarkroomError as error:
            await self._refuse(request, error)(scope, receive, send)
            return
        if len(scope["path"]) > 1:
            scope["path"] = scope["path"].rstrip("/")  # every address is found with and without a slash at its end
        await self._app(scope, receive, send)

    def _check_names(self, request: Request) -> None:
        if not self._known(request.headers.get("host", "")):
            text = "This host name is not served here. Name it in DARKROOM_ALLOWED_HOSTS, or use 127.0.0.1."
            raise Misdirected(text)
        origin = request.headers.get("origin")
        if origin is not None and not self._known(origin.partition("://")[2]):
            raise Forbidden("Requests from this origin are not allowed.")

    async def _caller(self, request: Request) -> Principal | DarkroomError | None:
        """Who sends the request, None for nobody; a token that is not valid is an error only where one is needed."""
        if self._access.identify is None:
            return self._access.everybody
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            return self._access.everybody
        try:
            return await self._access.identify(given.strip())
        except Unauthorized as error:
            return error

    async def _count(self, request: Request, caller: Principal | DarkroomError | None) -> Pass | None:
        if self._access.count is None or request.url.path in UNLIMITED:
            return None
        address = request.client.host if request.client else ""
        return await self._access.count(caller.id if isinstance(caller, Principal) else f"address {address}")

    def _known(self, netloc: str) -> bool:
        try:
            host = urlsplit(f"//{netloc}").hostname or ""
        except ValueError:
            return False
        return is_loopback(host) or host in self._access.hosts


def _too_often(limits: Pass) -> RateLimited:
    return RateLimited(
        f"Over {limits.limit} requests a minute came. Try again in {limits.retry_after} seconds.",
        retryAfter=limits.retry_after,
        limit=limits.limit,
    )


def _with_headers(send: Send, limits: Pass | None) -> Send:
    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            if limits is not None:
                headers["x-ratelimit-limit"] = str(limits.limit)
                headers["x-ratelimit-remaining"] = str(limits.remaining)
                headers["x-ratelimit-reset"] = str(limits.reset)
        await send(message)

    return send_with


def _plain(request: Request, error: DarkroomError, reference: str) -> Response:
    """Our own form; as RFC 9457 has it for who asks for that."""
    if "application/problem+json" in request.headers.get("accept", ""):
        problem = {"type": "about:blank", "title": HTTPStatus(error.status).phrase, "status": error.status}
        problem |= {"detail": error.message, "code": error.code, **error.details, "instance": reference}
        return JSONResponse(problem, error.status, media_type="application/problem+json")
    return JSONResponse({**error.to_wire(), "requestId": reference}, error.status)


PLAIN = Dialect("Darkroom", ("/",), _plain)
"""Speaks where no other dialect does."""


class Refusals:
    """Errors in the form of the dialect that their address belongs to.

    Args:
        dialects: Who speaks where.
        metadata: As for `Access`.
        only_over_mcp: Names that mean nothing to callers of a dialect; sentences with one are left out for them.
    """

    def __init__(
        self, dialects: Sequence[Dialect], metadata: Callable[[], str | None], only_over_mcp: Collection[str] = ()
    ) -> None:
        self._dialects = (*dialects, PLAIN)
        self._metadata = metadata
        self._foreign = re.compile(rf"\b({'|'.join(only_over_mcp)})\b") if only_over_mcp else None

    def dialect_of(self, path: str) -> Dialect:
        """Who speaks at a path."""
        return dialect_at(path, self._dialects) or PLAIN

    def __call__(self, request: Request, error: DarkroomError, reference: str = "") -> Response:
        """The answer for an error."""
        dialect = self.dialect_of(request.url.path)
        if isinstance(error, NotFound) and error.details.get("address"):
            error = NotFound(f"{dialect.name} has nothing at this address.")
        if self._foreign is not None and dialect is not PLAIN:
            sentences = re.split(r"(?<=[.?]) ", error.message)
            known = [sentence for sentence in sentences if not self._foreign.search(sentence)]
            error.message = " ".join(known) or error.message
        answer = dialect.refuse(request, error, reference or secrets.token_hex(8))
        if (seconds := error.details.get("retryAfter")) is not None:
            answer.headers["retry-after"] = str(seconds)
        if isinstance(error, MethodNotAllowed):
            answer.headers["allow"] = ", ".join(error.details["allowed"])
        if isinstance(error, Unauthorized):
            answer.headers["www-authenticate"] = self._challenge()
        if isinstance(error, Forbidden) and (needs := error.details.get("needs")):
            answer.headers["www-authenticate"] = self._challenge(f'error="insufficient_scope", scope="{needs}"')
        return answer

    def _challenge(self, *words: str) -> str:
        found = self._metadata()
        where = [f'resource_metadata="{found}"'] if found else []
        said = ", ".join([*words, *where])
        return f"Bearer {said}" if said else "Bearer"

    async def answer(self, request: Request, error: Exception) -> Response:
        """An exception handler for all that a route may raise."""
        if isinstance(error, DarkroomError):
            return self(request, error)
        if isinstance(error, HTTPException):
            return self(request, _of_http(request, error))
        reference = secrets.token_hex(8)
        log.error("request %s failed", reference, exc_info=error)
        return self(request, DarkroomError("Something went wrong here."), reference)


def _of_http(request: Request, error: HTTPException) -> DarkroomError:
    if error.status_code == NotFound.status:
        return NotFound("There is nothing at this address.", address=True)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        fitting = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
        allowed = sorted({method for route in fitting for method in route.methods or ()})
        return MethodNotAllowed(f"{request.method} is not allowed at this address.", allowed=allowed)
    return BadRequest(error.detail if error.detail.endswith(".") else f"{error.detail}.")


def build_web(
    routes: Sequence[Door],
    *,
    health: Callable[[], dict[str, Any]],
    access: Access,
    dialects: Sequence[Dialect] = (),
    only_over_mcp: Collection[str] = (),
    lifespan: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
) -> Starlette:
    """The application over the faces' routes.

    Args:
        routes: Of all faces together.
        health: The facts of `/api/health`; must not wait for anything.
        access: Who may ask.
        dialects: Who speaks where, beside our own.
        only_over_mcp: Names that errors speak of and that mean nothing in a dialect.
        lifespan: Runs as long as the application does.

    Raises:
        ValueError: Two faces claim the same path and method.
        TypeError: A route does not say what it needs of its caller.
    """

    async def answer_health(_request: Request) -> JSONResponse:
        return JSONResponse(health())

    every = [Door("/api/health", answer_health, needs=PUBLIC), *routes]
    _refuse_open(every)
    _refuse_duplicates(every)
    refusals = Refusals(dialects, access.metadata, only_over_mcp)

    @asynccontextmanager
    async def running(_app: Starlette) -> AsyncIterator[None]:
        if lifespan is None:
            yield
        else:
            async with lifespan():
                yield

    def longest(path: str) -> int:
        return refusals.dialect_of(path).body_bytes

    app = Starlette(
        routes=every,
        middleware=[
            Middleware(Gate, access=access, refuse=refusals),
            Middleware(BodyGuard, files=UPLOADS, refuse=refusals, longest=longest),
        ],
        exception_handlers={HTTPException: refusals.answer, DarkroomError: refusals.answer, Exception: refusals.answer},
        lifespan=running,
    )
    app.router.redirect_slashes = False
    return app


def _refuse_open(routes: Sequence[Route]) -> None:
    for route in routes:
        if not isinstance(route, Door):
            raise TypeError(f"{route.path} does not say what it needs of its caller")


def _refuse_duplicates(routes: Sequence[Route]) -> None:
    seen: dict[str, set[str]] = {}
    for route in routes:
        taken = seen.setdefault(re.sub(r"{[^:}]*", "{", route.path), set())
        methods = set(route.methods or ANY_METHOD)
        if taken & methods or (taken and "*" in taken | methods):
            raise ValueError(f"two routes for {'/'.join(sorted(methods))} {route.path}")
        taken |= methods
