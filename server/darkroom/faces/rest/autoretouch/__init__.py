"""autoRetouch: workflows that retouch pictures, run one picture at a time, and the login of devices."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.faces.rest.autoretouch.dialect import DIALECT
from darkroom.faces.rest.autoretouch.executions import execution_routes
from darkroom.faces.rest.autoretouch.login import LOGIN, login_routes
from darkroom.faces.rest.autoretouch.organizations import organization_routes
from darkroom.faces.rest.autoretouch.storage import storage_routes
from darkroom.faces.rest.autoretouch.wire import Health
from darkroom.faces.rest.autoretouch.workflows import workflow_routes
from darkroom.routing import PUBLIC, Door, Says

__all__ = ["DIALECT", "LOGIN", "autoretouch_routes"]


def autoretouch_routes(room: Darkroom) -> Sequence[Door]:
    """All addresses of the dialect, and those under `/oauth`, in an order in which none takes another's."""
    return [
        *(
            Door(path, _health, needs=PUBLIC, says=Says("Whether the server answers.", answer=Health))
            for path in ("/health", "/v1/health")
        ),
        *execution_routes(room),
        *workflow_routes(room),
        *organization_routes(room),
        *storage_routes(room),
        *login_routes(room),
    ]


async def _health(_request: Request) -> Response:
    return JSONResponse(Health(status="UP"))
