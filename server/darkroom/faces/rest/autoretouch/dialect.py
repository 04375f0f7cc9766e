"""How autoRetouch's clients are spoken to: errors, organizations, and what the documentation says of it all."""

from http import HTTPStatus
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.errors import NotFound
from darkroom.faces.rest.autoretouch.wire import ErrorBody
from darkroom.faces.rest.common import timestamp
from darkroom.principal import LOCAL, Principal
from darkroom.routing import Dialect
from darkroom.store.ids import as_uuid, is_id
from darkroom_tools.errors import DarkroomError

__all__ = ["DIALECT", "MOST_LISTED", "check_organization", "no_such_organization", "organization_uuid", "team_of"]

MOST_LISTED: Final = 100

BLURB: Final = """
Workflows that retouch pictures, run one picture at a time: upload, create an execution, follow it, fetch its result.

- Programs without a browser sign in with `POST /oauth/device/code`; keys and sessions of any other dialect work too.
- Workflows are those that come with Darkroom and your own. Each has a `version`; an execution of an older one of yours
  names it.
- Pictures are known by their content hash, the SHA-256 of their bytes in lower-case hexadecimal. Every type and size that
  the server reads is taken. Bytes are stored as they come: what is larger than 4096 × 4096 is not scaled down, as it is
  at autoRetouch.
- An organization is your team. Executions and pictures are yours alone, also within it.

Not in the public description of workflows, so taken from autoRetouch's other public texts and clients: everything but the two addresses of workflows
and the form of errors. Inferred or our own: the text of `message` beside 404; what a workflow asks for beside its picture,
in the settings of the component `input`; `settings` of an execution, and its `error`; 402 when credits run out, where no
execution is made; `retry`, after which the same id goes on with a new try, for what failed or was cancelled only; the
body of webhooks, which is Darkroom's event; `version` of an organization, which changes with its name; the waiting time
of `result/default`, five minutes, then 503; the statuses 402, 409, 413, 415, 429 and 501 to 507.
"""

PHRASES: Final = {499: "Client Closed Request"}


def _refuse(request: Request, error: DarkroomError, reference: str) -> Response:
    sent = request.scope.get("raw_path") or request.scope["path"].encode()
    body = ErrorBody(
        timestamp=timestamp(offset=True),
        status=error.status,
        error=PHRASES.get(error.status) or HTTPStatus(error.status).phrase,
        message="" if isinstance(error, NotFound) else error.message,
        path=sent.partition(b"?")[0].decode(errors="replace"),
    )
    return JSONResponse(body, error.status, headers={"x-request-id": reference})


DIALECT: Final = Dialect(
    "autoRetouch",
    (
        *("/v1/workflow", "/v1/organization", "/v1/company", "/v1/upload", "/v1/image", "/v1/health"),
        *("/upload", "/image", "/health"),
    ),
    _refuse,
    blurb=BLURB.strip(),
    error=ErrorBody,
)


def team_of(principal: Principal) -> str:
    """Id of the caller's team."""
    return principal.member_of or LOCAL.id


def organization_uuid(team: str) -> str:
    """The UUID of a team: the bits of its id, or of the default team one that never changes."""
    return as_uuid(team) if is_id(team, "team") else str(uuid5(NAMESPACE_URL, f"darkroom:team:{team}"))


def check_organization(principal: Principal, named: str | None) -> None:
    """Whether the organization that a request names, if any, is the caller's own.

    Raises:
        NotFound: It is not, or there is none: the answer is the same.
    """
    team = team_of(principal)
    if named is not None and named != team and _uuid(named) != organization_uuid(team):
        raise no_such_organization()


def no_such_organization() -> NotFound:
    """What is said of an organization that is not there, and of somebody else's."""
    return NotFound("There is no such organization, or you do not belong to it.")


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None
