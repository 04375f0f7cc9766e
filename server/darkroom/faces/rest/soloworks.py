"""The dialect of Solo Works: a catalogue of workflows, executions to poll, and a balance."""

from collections.abc import Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.errors import DarkroomError, NotFound
from darkroom.faces.rest.common import find_workflow, job_id_of, records_of, run_terms, workflows_for
from darkroom.faces.rest.data_urls import stored_pictures
from darkroom.faces.rest.soloworks_inputs import arguments_of
from darkroom.faces.rest.soloworks_show import detail_of, execution_of, summary_of
from darkroom.faces.rest.soloworks_wire import (
    Balance,
    Detail,
    Execute,
    Execution,
    Failure,
    Listing,
    Started,
    Tag,
)
from darkroom.jobs.record import Job
from darkroom.principal import Principal
from darkroom.routing import SIGNED_IN, Dialect, Door, Says, principal_of, read_json, read_query
from darkroom.store.ids import as_uuid

__all__ = ["DIALECT", "soloworks_routes"]

BODY_BYTES: Final = 32 * 1024 * 1024
BAD_REQUEST: Final = 400
UNPROCESSABLE: Final = 422

BLURB: Final = """\
The REST API of Solo Works, `v1`: discover a workflow, read its inputs, execute it, poll the execution.

1. `GET /api/v1/workflows` for what there is: the gallery, and the caller's own published workflows.
2. `GET /api/v1/workflows/{id}` for the inputs. Where a text field has `presetOptions`, one of their `optionId`s is sent.
3. `POST /api/v1/workflows/{id}/execute` answers 202 with an `executionId`.
4. `GET /api/v1/executions/{id}`, every few seconds, until `status` is `completed` or `failed`.

Pictures are http(s) URLs, base64 data URLs (a body has up to 32 MiB) or handles `img_…` of this server. Text fields hold
texts, numbers, colours and choices, all sent as texts; switch fields hold switches, and yes or no as `on` and `off`.

Inferred or proposed, since the original leaves it open: the form of errors, `{"error": {"code", "message", "details",
"requestId"}}`, with the codes that all dialects share; status 202; `description`, `type`, `default` and limits of fields;
`multiple` of an image field, which then takes a list, and `isBatchMode`, true where one does; `results[].url`, the file as
it was made (of an SVG or PDF `jpgUrl` and `pngUrl` show the drawing or the first page, of a ZIP they are null), and
`report` of a workflow that only measures; `globalOverrides` also takes `auto`, `4:5` and `5:4`; `Idempotency-Key`: the
same key is the same execution. Credits are counted where the server has them switched on; `creditCost` is the price of the workflow either way.
"""


def soloworks_routes(room: Darkroom) -> Sequence[Door]:
    """The addresses of the dialect."""

    async def list_workflows(request: Request) -> Response:
        wanted = read_query(request, Tag).tag
        tag = wanted.strip().casefold() if wanted else ""
        found = [
            summary_of(saved, room.credits.span_of(saved))
            for saved in await workflows_for(room, principal_of(request))
            if (saved.published or not saved.owner) and (not tag or tag in map(str.casefold, saved.document.tags))
        ]
        return JSONResponse(Listing(workflows=found, total=len(found)))

    async def show_workflow(request: Request) -> Response:
        saved = await find_workflow(room, principal_of(request), request.path_params["id"])
        saved.runnable()
        return JSONResponse(detail_of(saved, room.credits.span_of(saved)))

    async def execute(request: Request) -> Response:
        principal = principal_of(request)
        saved = await find_workflow(room, principal, request.path_params["id"])
        tool = saved.runnable()
        images, values = arguments_of(saved, await read_json(request, Execute))
        async with stored_pictures(room, images) as ready:
            job = await room.jobs.accept(principal, tool, {**ready, **values}, terms=run_terms(request))
        identifier = as_uuid(job.id)
        return JSONResponse(Started(executionId=identifier, id=identifier, status="running"), 202)

    async def show_execution(request: Request) -> Response:
        principal = principal_of(request)
        job = await _job(room, principal, request.path_params["id"])
        return JSONResponse(execution_of(job, await records_of(room, principal, job), room.links))

    async def balance(request: Request) -> Response:
        has = await room.credits.balance(principal_of(request).organisation)
        web = {"free": has.free, "purchased": has.purchased, "refund": has.refund, "total": has.total}
        return JSONResponse({"apiCredits": has.total, "webCredits": web})

    return [
        Door("/api/v1/workflows", list_workflows, needs="workflows:read", methods=["GET"], says=LIST),
        Door("/api/v1/workflows/{id}", show_workflow, needs="workflows:read", methods=["GET"], says=SHOW),
        Door("/api/v1/workflows/{id}/execute", execute, needs="tools:run", methods=["POST"], says=EXECUTE),
        Door("/api/v1/executions/{id}", show_execution, needs="tools:run", methods=["GET"], says=POLL),
        Door("/api/v1/balance", balance, needs=SIGNED_IN, methods=["GET"], says=BALANCE),
    ]


LIST: Final = Says(
    "List the workflows that can be executed.",
    query=Tag,
    answer=Listing,
    inferred="`tag` does not mind upper and lower case. `previewImage` is null: no workflow has one yet.",
)
SHOW: Final = Says(
    "Show a workflow and the inputs that it needs.",
    answer=Detail,
    inferred="The names inside `switchFields`, and all that a field says beside its id, title and options.",
)
EXECUTE: Final = Says(
    "Execute a workflow; the result is polled for.",
    body=Execute,
    answer=Started,
    status=202,
    inferred="The answer has the id twice, as `executionId` and as `id`; its `status` is always running, also of an "
    "execution that ended at once. An `Idempotency-Key` header makes a repeated call the same execution.",
)
POLL: Final = Says(
    "Show how an execution stands, with its results once it is completed.",
    answer=Execution,
    inferred="The addresses of results work for a day. `creditsUsed` is 0 until the execution ended.",
)
BALANCE: Final = Says(
    "Show the credits of the caller's organisation.",
    answer=Balance,
    inferred="There is one account: `apiCredits` is the total of `webCredits`, without what is reserved for executions.",
)


async def _job(room: Darkroom, principal: Principal, identifier: str) -> Job:
    """An execution of a workflow.

    Raises:
        NotFound: There is none, it is somebody else's, or the job ran something else: the answer is the same.
    """
    missing = NotFound("There is no such execution, or it is no longer kept.")
    try:
        job = await room.jobs.get(principal, job_id_of(identifier))
    except NotFound as error:
        raise missing from error
    if job.workflow is None:
        raise missing
    return job


def _refuse(_request: Request, error: DarkroomError, reference: str) -> Response:
    wire = error.to_wire()
    body: Failure = {
        "error": {
            "code": error.code,
            "message": error.message,
            "details": wire.get("details") or {},
            "requestId": reference,
        }
    }
    return JSONResponse(body, BAD_REQUEST if error.status == UNPROCESSABLE else error.status)


DIALECT: Final = Dialect(
    "Solo Works",
    ("/api/v1/workflows", "/api/v1/executions", "/api/v1/balance"),
    _refuse,
    BLURB,
    BODY_BYTES,
    Failure,
    {
        "/api/v1/workflows/*/execute": "Solo Works execution",
        "/api/v1/executions/*": "Solo Works execution",
        "/api/v1/workflows*": "Solo Works discovery",
        "/api/v1/balance": "Solo Works account",
    },
)
