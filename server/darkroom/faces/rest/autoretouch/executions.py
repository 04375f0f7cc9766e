"""Executions: one run of a workflow, from its creation to the bytes of its result."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from darkroom.app import Darkroom
from darkroom.errors import Conflict, NotFound, Overloaded
from darkroom.faces.rest.autoretouch.creation import accepted
from darkroom.faces.rest.autoretouch.dialect import MOST_LISTED, check_organization, organization_uuid
from darkroom.faces.rest.autoretouch.wire import (
    CreateBody,
    CreateQuery,
    Execution,
    ExecutionPage,
    ExecutionsQuery,
    FeedbackBody,
    Organised,
)
from darkroom.faces.rest.autoretouch.workflows import find_version, version_uuid
from darkroom.faces.rest.common import (
    error_of,
    finished,
    first_item,
    job_id_of,
    records_of,
    timestamp,
    uuid_of,
    workflows_for,
)
from darkroom.faces.serving import picture_answer
from darkroom.jobs.history import Filter, no_such_job
from darkroom.jobs.record import Job, State, Status
from darkroom.library.names import result_name
from darkroom.library.record import ImageRecord
from darkroom.principal import LOCAL, Permission, Principal
from darkroom.routing import FILE, Door, Says, principal_of, read_json, read_query
from darkroom.store.ids import as_uuid
from darkroom.store.queue import ENDED
from darkroom.streams import Frame

__all__ = ["STATUS", "execution_routes"]

STATUS: Final[Mapping[State, str]] = {
    "queued": "CREATED",
    "running": "ACTIVE",
    "in_review": "IN_QA",
    "payment_required": "PAYMENT_REQUIRED",
    "succeeded": "COMPLETED",
    "failed": "FAILED",
    "canceled": "FAILED",
}
"""What an execution's status is called by the state of its job."""

RESULT_SECONDS: Final = 300.0
RETRY_AFTER: Final = 5
RUNS: Final[Permission] = "tools:run"
BASE: Final = "/v1/workflow/execution"
ONE: Final = f"{BASE}/{{execution}}"


class _Executions:
    """The addresses, over a running Darkroom."""

    def __init__(self, room: Darkroom) -> None:
        self._room = room

    async def create(self, request: Request) -> Response:
        """Start one."""
        return PlainTextResponse(as_uuid((await accepted(self._room, request)).id), 201)

    async def many(self, request: Request) -> Response:
        """The caller's, newest first."""
        asked = read_query(request, ExecutionsQuery)
        principal, room = principal_of(request), self._room
        check_organization(principal, asked.organization)
        chosen = [(await find_version(room, principal, asked.workflow, None)).id] if asked.workflow is not None else []
        wanted = Filter(of_workflows=True, first_tries=True, workflows=chosen)
        limit = min(asked.limit, MOST_LISTED)
        jobs, total = await room.jobs.history.page(principal, wanted, limit=limit, offset=asked.offset)
        return JSONResponse(ExecutionPage(entries=await self._shown(principal, jobs), total=total))

    async def one(self, request: Request) -> Response:
        """One of them."""
        principal, first, _ = await self._named(request)
        return JSONResponse((await self._shown(principal, [first]))[0])

    async def status(self, request: Request) -> Response:
        """What becomes of it, as events."""
        principal, _, last = await self._named(request)
        told: set[str] = set()

        def show(status: Status) -> Frame | None:
            name = STATUS[status.state]
            if name in told or status.state in ENDED:  # of progress within a status these clients know nothing
                return None
            told.add(name)
            return Frame(name)

        jobs = self._room.jobs
        return await self._room.streams.follow(jobs, principal, last.id, show, lambda job: Frame(STATUS[job.state]))

    async def result(self, request: Request) -> Response:
        """Its picture, once there is one."""
        principal, _, last = await self._named(request)
        room = self._room
        job = await finished(room, principal, last, RESULT_SECONDS)
        if not job.ended:
            raise Overloaded(
                f"It is still under way after {RESULT_SECONDS:.0f} seconds. Ask again, or follow its status.",
                retryAfter=RETRY_AFTER,
            )
        if job.state == "canceled":
            raise Conflict("It was cancelled, so it has no result. Try it again, or make a new one.")
        if job.state != "succeeded":
            raise error_of(job)
        records = await records_of(room, principal, job)
        if not records:
            raise NotFound("It has no picture, or that was deleted.")
        path = room.blobs.path(records[0].sha256)
        return await picture_answer(request, records[0], path, records[0].media_type)

    async def retry(self, request: Request) -> Response:
        """Try it again, under the same id."""
        principal, first, last = await self._named(request)
        await self._room.jobs.retry(principal, last.id)
        return PlainTextResponse(as_uuid(first.id), 201)

    async def feedback(self, request: Request) -> Response:
        """Say what it is worth."""
        principal, _, last = await self._named(request)
        said = await read_json(request, FeedbackBody)
        expected = [(await self._room.files.by_digest(principal, digest.lower())).id for digest in said.expected_images]
        await self._room.jobs.history.rate(principal, last.id, {"like": said.thumbs_up, "expected": expected})
        return Response(status_code=201)

    async def _named(self, request: Request) -> tuple[Principal, Job, Job]:
        """Who asks, and the first and the last try of the execution that the address names.

        Raises:
            NotFound: No execution of the caller.
        """
        principal, room = principal_of(request), self._room
        check_organization(principal, read_query(request, Organised).organization)
        job = await room.jobs.get(principal, job_id_of(request.path_params["execution"]))
        if job.workflow is None:
            raise no_such_job()
        first = await room.jobs.get(principal, job.retry_of) if job.retry_of is not None else job
        tries = await room.jobs.history.newest_tries(principal, [first.id])
        return principal, first, tries.get(first.id, first)

    async def _shown(self, principal: Principal, firsts: Sequence[Job]) -> list[Execution]:
        """Executions by their first tries, each as its last one stands."""
        room = self._room
        ids = [job.id for job in firsts]
        tries = await room.jobs.history.newest_tries(principal, ids)
        lasts = [tries.get(job.id, job) for job in firsts]
        inputs = await room.jobs.history.inputs_of(principal, ids)
        made = {job.id: item.images[0] for job in lasts if (item := first_item(job)) is not None and item.images}
        records = await room.library.find(principal, list(made.values()))
        names = {saved.id: saved.name for saved in await workflows_for(room, principal)}
        return [
            _execution(principal, first, last, inputs[first.id], records.get(made.get(last.id, "")), names)
            for first, last in zip(firsts, lasts, strict=True)
        ]


def execution_routes(room: Darkroom) -> Sequence[Door]:
    """What is done with executions; registered before the address of one workflow, which would take theirs."""
    here = _Executions(room)
    created = Says(
        "Run a workflow on a picture; answers the id.",
        query=CreateQuery,
        body=CreateBody,
        form={
            "file": FILE,
            "settings": {"type": "string", "contentMediaType": "application/json"},
            "webhooks": {"type": "array", "items": {"type": "string"}},
        },
        answer="text/plain",
        status=201,
        inferred="Labels of a form are fields or query parameters `label[name]` or `labels[name]`; files named as the "
        "workflow's further pictures are those; `settings` and `webhooks` of a form; `Idempotency-Key`.",
    )
    pictures = ["image/*", "application/pdf", "application/zip"]
    says = {
        "many": Says("Your executions, newest first.", query=ExecutionsQuery, answer=ExecutionPage),
        "one": Says("An execution.", query=Organised, answer=Execution),
        "status": Says("Its status, and each that follows, as events.", query=Organised, answer="text/event-stream"),
        "result": Says("Its picture; waits until there is one.", query=Organised, answer=pictures),
        "retry": Says("Try it again; the id stays.", query=Organised, answer="text/plain", status=201),
        "feedback": Says("Say what a result is worth.", query=Organised, body=FeedbackBody, status=201),
    }
    return [
        Door(f"{BASE}/create", here.create, needs=RUNS, methods=["POST"], says=created),
        Door(BASE, here.many, needs=RUNS, says=says["many"]),
        Door(ONE, here.one, needs=RUNS, methods=["GET"], says=says["one"]),
        Door(f"{ONE}/status", here.status, needs=RUNS, says=says["status"]),
        Door(f"{ONE}/result/default", here.result, needs=RUNS, says=says["result"]),
        Door(f"{ONE}/retry", here.retry, needs=RUNS, methods=["POST"], says=says["retry"]),
        Door(f"{ONE}/feedback", here.feedback, needs=RUNS, methods=["POST"], says=says["feedback"]),
    ]


def _execution(
    principal: Principal,
    first: Job,
    last: Job,
    inputs: Sequence[tuple[str, str]],
    result: ImageRecord | None,
    names: Mapping[str, str],
) -> Execution:
    workflow, version = last.workflow or "", last.version or ""
    name, digest = inputs[0] if inputs else ("", "")
    made = _name(last, name, result) if result else None
    team = LOCAL.id if last.organisation == principal.id else last.organisation
    shown = Execution(
        id=as_uuid(first.id),
        workflow=uuid_of(workflow),
        workflowVersion=version_uuid(workflow, version),
        workflowName=names.get(workflow, last.tool),
        organizationId=organization_uuid(team),
        status=STATUS[last.state],
        userId=principal.id,
        createdAt=timestamp(first.created_at),
        startedAt=timestamp(last.started_at) if last.started_at is not None else None,
        finishedAt=timestamp(last.finished_at) if last.finished_at is not None else None,
        inputFileName=name,
        inputContentHash=digest,
        resultContentHash=result.sha256 if result else None,
        resultContentType=result.media_type if result else None,
        resultFileName=made,
        resultPath=f"/image/{result.sha256}/{quote(made, safe='')}" if result and made else None,
        labels=dict(last.labels),
        chargedCredits=(last.credits or 0) if last.ended else 0,
    )
    if STATUS[last.state] == "FAILED":
        shown["error"] = error_of(last).message
    return shown


def _name(job: Job, source: str, result: ImageRecord) -> str:
    """What the result of this execution is called; where the library knew it, it bears the name of another one's."""
    return result_name(source, job.tool, result.name.rpartition(".")[2]) if source else result.name
