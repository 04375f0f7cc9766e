"""The login of devices (RFC 8628) over HTTP, and the page where a person approves one."""

import secrets
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Annotated, Any, Final, Literal, NotRequired
from urllib.parse import parse_qsl, quote

from pydantic import ConfigDict, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.accounts.devices import Tokens
from darkroom.app import Darkroom
from darkroom.errors import Forbidden, GrantRefused
from darkroom.routing import PUBLIC, Dialect, Door, Says, parse_json
from darkroom_tools.errors import DarkroomError, InvalidSettings
from darkroom_tools.settings import Settings

__all__ = ["LOGIN", "login_routes"]

DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
REFRESH: Final = "refresh_token"
MOST_FIELDS: Final = 50
UNSTORED: Final = {"cache-control": "no-store"}
STATUS_ERRORS: Final = {429: "temporarily_unavailable", 503: "temporarily_unavailable", 403: "access_denied"}

State = Literal["ask", "confirm", "done", "denied"]
"""What the page shows: a field for the code, the question, or how it was answered."""

Text = Annotated[str, Field(max_length=400)]


class OAuthError(TypedDict):
    """An error of OAuth 2.0."""

    error: str
    error_description: str


class _OAuth(Settings):
    """Base of what OAuth clients send: names with underscores, and what is unknown has no effect."""

    model_config = ConfigDict(alias_generator=None, extra="ignore")


class CodeBody(_OAuth):
    """A program that wants to be signed in."""

    client_id: Text = "unnamed"
    """What it calls itself, shown to the person who approves it."""


class TokenBody(_OAuth):
    """What is exchanged for tokens."""

    grant_type: Text
    """`urn:ietf:params:oauth:grant-type:device_code` or `refresh_token`."""

    device_code: Text = ""
    """With the first."""

    refresh_token: Text = ""
    """With the second."""

    client_id: Text = ""
    """If given, who asked for the code."""


class RevokeBody(_OAuth):
    """A token that is not needed any more."""

    token: Text
    """An access token, or a refresh token."""


class CodeAnswer(TypedDict):
    """What a program shows to its user, and with what it asks for tokens."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class TokenAnswer(TypedDict):
    """What a program acts with."""

    access_token: str
    refresh_token: NotRequired[str]
    token_type: str
    expires_in: int
    scope: str


BLURB: Final = """
How programs without a browser sign in, after RFC 8628, with bodies as forms (`application/x-www-form-urlencoded`) or JSON.
A program asks for a code, shows it with the address of a page, and asks for its tokens every five seconds until somebody
has approved it on that page with username and password. An access token is valid for 24 hours, in every dialect. A refresh
token gets new access tokens for 90 days, or until it is revoked or its user's password changes; it stays the same one.
"""


def _refuse(_request: Request, error: DarkroomError, reference: str) -> Response:
    named = error.code.lower() if isinstance(error, GrantRefused) else STATUS_ERRORS.get(error.status)
    otherwise = "server_error" if error.status >= 500 else "invalid_request"
    body = OAuthError(error=named or otherwise, error_description=error.message)
    return JSONResponse(body, error.status, headers={**UNSTORED, "x-request-id": reference})


LOGIN: Final = Dialect("OAuth device login", ("/oauth",), _refuse, blurb=BLURB.strip(), error=OAuthError)


class _Login:
    """The addresses, over a running Darkroom."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def code(self, request: Request) -> Response:
        """Codes for a program."""
        asked = CodeBody.parse(await _fields(request))
        grant = await self._room.devices.begin(asked.client_id)
        page = f"{self._room.links.base or str(request.base_url).rstrip('/')}/oauth/device"
        answer = CodeAnswer(
            device_code=grant.device_code,
            user_code=grant.user_code,
            verification_uri=page,
            verification_uri_complete=f"{page}?user_code={quote(grant.user_code)}",
            expires_in=grant.seconds,
            interval=grant.interval,
        )
        return JSONResponse(answer, headers=UNSTORED)

    async def token(self, request: Request) -> Response:
        """Tokens for a code or a refresh token."""
        asked = TokenBody.parse(await _fields(request))
        devices = self._room.devices
        if asked.grant_type == DEVICE:
            return _tokens(await devices.redeem(_needed(asked.device_code, "device_code"), asked.client_id))
        if asked.grant_type == REFRESH:
            return _tokens(await devices.refresh(_needed(asked.refresh_token, "refresh_token")))
        raise GrantRefused(f"The grant type is {DEVICE} or {REFRESH}.", code="UNSUPPORTED_GRANT_TYPE")

    async def revoke(self, request: Request) -> Response:
        """End a token."""
        await self._room.devices.revoke(RevokeBody.parse(await _fields(request)).token)
        return Response(headers=UNSTORED)

    async def page(self, request: Request) -> Response:
        """Ask for the code, or whether the program that waits with it may come in."""
        given = request.query_params.get("user_code", "")
        if not given:
            return _page("ask")
        try:
            return _page("confirm", code=given, client=await self._room.devices.client_of(given))
        except DarkroomError as error:
            return _page("ask", said=error)

    async def answer(self, request: Request) -> Response:
        """Approve it for whoever signs in, or turn it down."""
        sent, client = {name: str(value) for name, value in (await _fields(request)).items()}, ""
        given, devices = sent.get("user_code", ""), self._room.devices
        try:
            client = await devices.client_of(given)
            if sent.get("decision") == "deny":
                await devices.deny(given)
                return _page("denied", client=client)
            await devices.approve(given, await self._signed_in(request, sent))
        except DarkroomError as error:
            return _page("confirm" if client else "ask", code=given, client=client, said=error)
        return _page("done", client=client)

    async def _signed_in(self, request: Request, sent: Mapping[str, str]) -> str:
        """The id of who gave these words, without a session of theirs.

        Raises:
            Unauthorized: The username or the password is wrong.
            RateLimited: Too many were tried.
            Forbidden: Somebody else set the password.
        """
        address = request.client.host if request.client else ""
        sessions = self._room.sessions
        login = await sessions.login(sent.get("username", ""), sent.get("password", ""), address)
        await sessions.revoke(login.token)
        if login.user.must_change_password:
            raise Forbidden("Change your password first: somebody else set it.", code="MUST_CHANGE_PASSWORD")
        return login.user.id


def login_routes(room: Darkroom) -> Sequence[Door]:
    """`POST /oauth/device/code`, `/oauth/token` and `/oauth/revoke`, and the page at `/oauth/device`."""
    here = _Login(room)
    code = Says("Codes for a program that wants to be signed in.", body=CodeBody, answer=CodeAnswer)
    token = Says(
        "Tokens for a device code that was approved, or for a refresh token.", body=TokenBody, answer=TokenAnswer
    )
    revoke = Says("End a token; an unknown one is no error.", body=RevokeBody)
    return [
        Door("/oauth/device/code", here.code, needs=PUBLIC, methods=["POST"], says=code),
        Door("/oauth/token", here.token, needs=PUBLIC, methods=["POST"], says=token),
        Door("/oauth/revoke", here.revoke, needs=PUBLIC, methods=["POST"], says=revoke),
        Door("/oauth/device", here.page, needs=PUBLIC, methods=["GET"]),
        Door("/oauth/device", here.answer, needs=PUBLIC, methods=["POST"]),
    ]


async def _fields(request: Request) -> dict[str, Any]:
    """A form, or JSON.

    Raises:
        InvalidSettings: It is neither.
    """
    body = await request.body()
    if request.headers.get("content-type", "").lower().startswith("application/json"):
        return parse_json(body)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError as error:
        raise InvalidSettings("The body is no form in UTF-8.", field="body") from error


def _needed(text: str, name: str) -> str:
    if not text:
        raise InvalidSettings(f"Setting {name!r} is required with this grant type.", field=name)
    return text


def _tokens(tokens: Tokens) -> Response:
    answer = TokenAnswer(
        access_token=tokens.access,
        token_type="Bearer",  # noqa: S106 - the type, no secret
        expires_in=tokens.seconds,
        scope="offline_access",
    )
    if tokens.refresh is not None:
        answer["refresh_token"] = tokens.refresh
    return JSONResponse(answer, headers=UNSTORED)


def _page(state: State, *, code: str = "", client: str = "", said: DarkroomError | None = None) -> Response:
    nonce = secrets.token_urlsafe(16)
    words = {"NONCE": nonce, "STATE": state, "CODE": code, "CLIENT": client, "SAID": said.message if said else ""}
    page = (files(__package__) / "device.html").read_text(encoding="utf-8")
    for name, word in words.items():
        page = page.replace(f"{{{{{name}}}}}", escape(word).replace("{", "&#123;"))  # no word brings a place of its own
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    # Not no-referrer: a browser would send its form with the Origin "null", which is nobody's.
    headers = {**UNSTORED, "content-security-policy": policy, "referrer-policy": "same-origin"}
    if said is not None and (seconds := said.details.get("retryAfter")) is not None:
        headers["retry-after"] = str(seconds)
    return HTMLResponse(page, said.status if said else 200, headers=headers)
