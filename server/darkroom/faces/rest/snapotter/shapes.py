"""What several answers of this dialect share."""

from typing import Final, Literal, get_args

from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

__all__ = ["PERMISSIONS", "Done", "PermissionName", "done"]

PermissionName = Literal[
    "tools:use",
    "files:own",
    "files:all",
    "apikeys:own",
    "apikeys:all",
    "pipelines:own",
    "pipelines:all",
    "settings:read",
    "settings:write",
    "users:manage",
    "teams:manage",
    "branding:manage",
    "system:health",
]
"""What this dialect calls what one may do."""

PERMISSIONS: Final[tuple[PermissionName, ...]] = get_args(PermissionName)


class Done(TypedDict):
    """It is done."""

    ok: bool


def done() -> Response:
    """The answer where there is nothing more to say."""
    answer: Done = {"ok": True}
    return JSONResponse(answer)
