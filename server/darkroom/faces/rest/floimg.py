"""FloImg: workflows that run with parameters and answer with a picture, and storage for pictures in projects."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.faces.rest.common import (
    SYNC_SECONDS,
    error_of,
    find_workflow,
    finished,
    first_item,
    job_id_of,
    records_of,
    run_terms,
    timestamp,
    uuid_of,
    workflows_for,
)
from darkroom.faces.rest.floimg_wire import (
    Completed,
    Deleted,
    ErrorBody,
    Execute,
    Execution,
    Failure,
    ImageDetails,
    ImagePage,
    ImageRow,
    NewProject,
    Paging,
    Pending,
    Picture,
    ProjectPage,
    ProjectPaging,
    ProjectRow,
    UploadFields,
    WorkflowDetails,
    WorkflowPage,
    has_more,
    parameters_of,
    project_row,
    workflow_id_of,
    workflow_row,
)
from darkroom.forms import Form, Part, read_form
from darkroom.jobs.record import Job, State
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.routing import FILE, Dialect, Door, Says, principal_of, read_json, read_query
from darkroom.workflows.described import argument_of, fields_of
from darkroom.workflows.service import Saved
from darkroom_tools.errors import DarkroomError, InvalidSettings

__all__ = ["DIALECT", "floimg_routes"]

MOST_PROJECTS: Final = 200

STATUS: Final[Mapping[State, str]] = {
    "queued": "pending",
    "running": "running",
    "in_review": "running",
    "payment_required": "failed",
    "succeeded": "completed",
    "failed": "failed",
    "canceled": "failed",
}

CODES: Final[Mapping[int, str]] = {
    401: "unauthorized",
    402: "payment_required",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
    500: "internal_error",
}
"""By HTTP status. Others are `invalid_request` below 500, and `unavailable` from there on."""

BLURB: Final = """
Run a saved workflow with parameters, get an address of the picture; keep pictures in storage and in projects.

- Workflows are your own and those that come with Darkroom, which have `wf_` ids too. The latter carry no date of their
  own: theirs is 1970-01-01.
- Pictures that a workflow takes are parameters as well: an https URL, an `img_…` of your storage, or a data URI; a list
  of such where the type is `array`.
- Addresses of pictures are signed and work for a day.

Not in FloImg's public text, so inferred or our own: pictures as parameters; `enum`, `items`, `min`, `max`, `maxLength`,
`title` and `description` of a parameter; the `aspectRatio` and `imageSize` that every workflow which makes a picture
takes; 202 for what is not finished, also for a run that is not `async` and takes over 60 seconds; `outputs`, `report`
and `error` of an execution; the answers of `GET /v1/projects` and `GET /v1/storage/images/{id}`; 201 for what was made;
`Idempotency-Key`; the codes `payment_required` (402), `conflict` (409), `internal_error` (500) and `unavailable` (501 to
507); `details.code`, Darkroom's own code of an error. A failed run answers 500 `workflow_failed` only where its client
waited for it.
"""


def _refuse(_request: Request, error: DarkroomError, reference: str) -> Response:
    code = CODES.get(error.status) or ("invalid_request" if error.status < 500 else "unavailable")
    return _error(code, error, error.status, {"requestId": reference})


def _error(code: str, error: DarkroomError, status: int, more: Mapping[str, Any]) -> Response:
    details = {"code": error.code, **error.details, **more}
    body: dict[str, Any] = {"code": code, "message": error.message, "details": details}
    if "retryAfter" in details:
        body["retryAfter"] = details["retryAfter"]
    return JSONResponse({"error": body}, status)


DIALECT: Final = Dialect(
    "FloImg", ("/v1/workflows", "/v1/storage", "/v1/projects"), _refuse, blurb=BLURB.strip(), error=ErrorBody
)


class _FloImg:
    """The addresses, over a running Darkroom."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def execute(self, request: Request) -> Response:
        """Run a workflow."""
        principal, asked = principal_of(request), await read_json(request, Execute)
        saved = await find_workflow(self._room, principal, asked.workflow_id)
        job = await self._room.jobs.accept(
            principal, saved.runnable(), _arguments(saved, asked.parameters), terms=run_terms(request)
        )
        if not asked.at_once:
            job = await finished(self._room, principal, job, SYNC_SECONDS)
        identifier = _execution_id(job)
        if asked.at_once or not job.ended:
            return JSONResponse(Pending(executionId=identifier, status="pending"), 202)
        if STATUS[job.state] == "failed":
            error = error_of(job)
            return _error("workflow_failed", error, 500, {"executionId": identifier})
        took = (job.finished_at or 0.0) - (job.started_at or job.created_at)
        answer = Completed(
            executionId=identifier, status=STATUS[job.state], output={}, duration=max(0, round(1000 * took))
        )
        return JSONResponse({**answer, **await self._made(principal, job)})

    async def execution(self, request: Request) -> Response:
        """How a run stands."""
        principal = principal_of(request)
        job = await self._find(principal, request.path_params["id"])
        shown = Execution(
            executionId=_execution_id(job),
            workflowId=workflow_id_of(uuid_of(job.workflow or "")),
            status=STATUS[job.state],
        )
        if job.started_at is not None or job.ended:
            shown["startedAt"] = timestamp(job.started_at or job.created_at)
        if job.finished_at is not None:
            shown["completedAt"] = timestamp(job.finished_at)
        if shown["status"] == "failed":
            error = error_of(job)
            shown["error"] = Failure(code=error.code, message=error.message)
        if shown["status"] != "completed":
            return JSONResponse(shown)
        return JSONResponse({**shown, **await self._made(principal, job)})

    async def workflows(self, request: Request) -> Response:
        """The workflows that the caller may run."""
        principal, asked = principal_of(request), read_query(request, ProjectPaging)
        projects = await self._projects_by_name(principal)
        rows = [workflow_row(saved, projects) for saved in await workflows_for(self._room, principal)]
        found = [row for row in rows if asked.project_id in (None, row["projectId"])]
        page = found[asked.offset : asked.offset + asked.limit]
        return JSONResponse(WorkflowPage(workflows=page, total=len(found), hasMore=has_more(asked, len(found))))

    async def workflow(self, request: Request) -> Response:
        """One of them, with its parameters."""
        principal = principal_of(request)
        saved = await find_workflow(self._room, principal, request.path_params["id"])
        row = workflow_row(saved, await self._projects_by_name(principal))
        return JSONResponse(
            WorkflowDetails(**row, description=saved.document.description, parameters=parameters_of(saved))
        )

    async def upload(self, request: Request) -> Response:
        """Store a picture."""
        principal, room = principal_of(request), self._room
        async with read_form(request, room.intake, room.library.discard, most_files=1) as form:
            asked = UploadFields.parse({name: form.text(name) for name in form.fields})
            file = _file_of(form).file
            record = await room.files.receive(principal, file, asked.project_id or None, asked.name or None)
        return JSONResponse(self._image(record), 201)

    async def images(self, request: Request) -> Response:
        """The pictures in storage, newest first."""
        principal, asked = principal_of(request), read_query(request, ProjectPaging)
        records, total = await self._room.files.page(
            principal, limit=asked.limit, offset=asked.offset, project=asked.project_id, tips=False
        )
        rows = [self._image_row(record) for record in records]
        return JSONResponse(ImagePage(images=rows, total=total, hasMore=has_more(asked, total)))

    async def image(self, request: Request) -> Response:
        """One of them."""
        record = await self._room.library.get(principal_of(request), request.path_params["id"])
        return JSONResponse(self._image(record))

    async def delete_image(self, request: Request) -> Response:
        """Delete one of them; what was made of it stays."""
        await self._room.library.delete(principal_of(request), request.path_params["id"])
        return JSONResponse(Deleted(deleted=True))

    async def projects(self, request: Request) -> Response:
        """The caller's projects, newest first."""
        principal, asked = principal_of(request), read_query(request, Paging)
        found, total = await self._room.projects.page(principal, asked.limit, asked.offset)
        rows = [project_row(project) for project in found]
        return JSONResponse(ProjectPage(projects=rows, total=total, hasMore=has_more(asked, total)))

    async def create_project(self, request: Request) -> Response:
        """A new project."""
        asked = await read_json(request, NewProject)
        made = await self._room.projects.create(principal_of(request), asked.name, asked.description)
        return JSONResponse(project_row(made), 201)

    async def _find(self, principal: Principal, identifier: str) -> Job:
        try:
            job = await self._room.jobs.get(principal, job_id_of(identifier, "exec_"))
        except NotFound:
            job = None
        if job is None or job.workflow is None:
            raise NotFound("There is no such execution, or it is no longer kept.")
        return job

    async def _made(self, principal: Principal, job: Job) -> dict[str, Any]:
        """`output` of an execution, and `outputs` where there are several."""
        pictures = [self._picture(record) for record in await records_of(self._room, principal, job)]
        if pictures:
            return {"output": pictures[0], **({"outputs": pictures} if len(pictures) > 1 else {})}
        item = first_item(job)
        return {"output": {"report": item.report} if item is not None and item.report is not None else {}}

    def _picture(self, record: ImageRecord) -> Picture:
        return Picture(url=self._url(record), width=record.width, height=record.height, format=record.format)

    def _image_row(self, record: ImageRecord) -> ImageRow:
        return ImageRow(
            id=record.id,
            url=self._url(record),
            name=record.name,
            size=record.bytes,
            createdAt=timestamp(record.created_at),
        )

    def _image(self, record: ImageRecord) -> ImageDetails:
        row = self._image_row(record)
        return ImageDetails(**row, format=record.format, width=record.width, height=record.height)

    def _url(self, record: ImageRecord) -> str:
        return self._room.links.url(record.id, record.name) or ""

    async def _projects_by_name(self, principal: Principal) -> Mapping[str, str]:
        """Ids of the caller's projects; of two with the same name the newer one."""
        newest, _ = await self._room.projects.page(principal, MOST_PROJECTS, 0)
        return {project.name: project.id for project in reversed(newest)}


def _execution_id(job: Job) -> str:
    return f"exec_{job.id.removeprefix('job_')}"


def _arguments(saved: Saved, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call; numbers and truth values may come as text, as from a form."""
    fields = {field.id: field for field in fields_of(saved)}
    return {name: argument_of(fields[name], sent) if name in fields else sent for name, sent in parameters.items()}


def _file_of(form: Form) -> Part:
    """The one file that the form must have; what it may not have is refused."""
    files = form.parts("file")
    if not files or len(form.files) > len(files):
        raise InvalidSettings(
            "The form needs the field 'file', and only there a file, as `curl -F file=@photo.jpg`.", field="file"
        )
    return files[0]


def floimg_routes(room: Darkroom) -> Sequence[Door]:
    """All addresses of FloImg."""
    flo = _FloImg(room)
    return [*_workflow_doors(flo), *_storage_doors(flo)]


def _workflow_doors(flo: _FloImg) -> list[Door]:
    run = Says(
        "Run a workflow.",
        body=Execute,
        answer=Completed,
        more={202: Pending},
        inferred="202 for what is not finished; `Idempotency-Key`.",
    )
    return [
        Door("/v1/workflows/execute", flo.execute, needs="tools:run", methods=["POST"], says=run),
        Door(
            "/v1/workflows/executions/{id}",
            flo.execution,
            needs="tools:run",
            says=Says("How a run stands.", answer=Execution, inferred="`error`, `outputs` and `output.report`."),
        ),
        Door(
            "/v1/workflows",
            flo.workflows,
            needs="workflows:read",
            says=Says("Your workflows, then those that come with Darkroom.", query=ProjectPaging, answer=WorkflowPage),
        ),
        Door(
            "/v1/workflows/{id}",
            flo.workflow,
            needs="workflows:read",
            says=Says("One workflow, with its parameters.", answer=WorkflowDetails),
        ),
    ]


def _storage_doors(flo: _FloImg) -> list[Door]:
    form = {"file": FILE, "projectId": {"type": "string"}, "name": {"type": "string", "description": "Its file name."}}
    store = Says("Store a picture.", form=form, required=["file"], answer=ImageDetails, status=201, inferred="201.")
    return [
        Door("/v1/storage/upload", flo.upload, needs="files:write", methods=["POST"], says=store),
        Door(
            "/v1/storage/images",
            flo.images,
            needs="files:read",
            says=Says("Your pictures, newest first.", query=ProjectPaging, answer=ImagePage),
        ),
        Door(
            "/v1/storage/images/{id}",
            flo.image,
            needs="files:read",
            methods=["GET"],
            says=Says("One picture.", answer=ImageDetails, inferred="The answer."),
        ),
        Door(
            "/v1/storage/images/{id}",
            flo.delete_image,
            needs="files:write",
            methods=["DELETE"],
            says=Says("Delete a picture; what was made of it stays.", answer=Deleted),
        ),
        Door(
            "/v1/projects",
            flo.projects,
            needs="files:read",
            methods=["GET"],
            says=Says("Your projects, newest first.", query=Paging, answer=ProjectPage, inferred="The answer, paging."),
        ),
        Door(
            "/v1/projects",
            flo.create_project,
            needs="files:write",
            methods=["POST"],
            says=Says("Make a project.", body=NewProject, answer=ProjectRow, status=201, inferred="The answer, 201."),
        ),
    ]
