"""How far jobs are: as a stream, once, and cancelling them."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import NotRequired

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.faces.rest.common import error_of
from darkroom.faces.rest.snapotter.answers import ARCHIVE, download_url, failed_files
from darkroom.faces.rest.snapotter.dialect import FailedFile, code_of
from darkroom.faces.rest.snapotter.names import chosen_id, no_job
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.jobs.record import Job, Status
from darkroom.principal import Principal
from darkroom.routing import Door, Says, principal_of
from darkroom.streams import PING_SECONDS, Frame, frames_of
from darkroom_tools.errors import DarkroomError

__all__ = ["progress_routes"]

ROUNDS = 8
"""How often somebody who came before the job is told to go on waiting: two minutes in all."""

UNDER_WAY = frozenset({"queued", "running", "in_review", "payment_required"})


class Result(TypedDict):
    """Where what a job made can be got."""

    downloadUrl: str


class Moment(TypedDict):
    """How a job stands: what a frame of the stream says."""

    jobId: str
    type: str
    status: str
    phase: str
    progress: int
    percent: int
    message: str
    stage: NotRequired[str]
    etaSeconds: NotRequired[int]
    totalFiles: NotRequired[int]
    completedFiles: NotRequired[int]
    failedFiles: NotRequired[int]
    errors: NotRequired[list[FailedFile]]
    result: NotRequired[Result]
    error: NotRequired[str]
    code: NotRequired[str]


class CanceledAnswer(TypedDict):
    """What became of a job that was to be cancelled."""

    ok: bool
    jobId: str
    status: str
    canceled: bool


def progress_routes(runs: Runs) -> Sequence[Door]:
    """`/api/v1/jobs/…`."""
    room = runs.room

    async def follow(request: Request) -> Response:
        principal, wanted = principal_of(request), request.path_params["jobId"]
        chosen = chosen_id(wanted)
        job_id = await runs.names.wait(room, principal, chosen, 0.0) if chosen else wanted
        if job_id is None:
            return room.streams.open(principal, _expected(runs, principal, chosen))
        return await room.streams.follow(room.jobs, principal, job_id, partial(_frame, job_id), _last)

    async def look(request: Request) -> Response:
        principal = principal_of(request)
        job = await room.jobs.get(principal, await runs.names.find(room, principal, request.path_params["jobId"]))
        return JSONResponse(_end(job) if job.ended else _moment(job.id, job.status))

    async def cancel(request: Request) -> Response:
        principal = principal_of(request)
        job_id = await runs.names.find(room, principal, request.path_params["jobId"])
        job = await room.jobs.cancel(principal, job_id)
        answer: CanceledAnswer = {
            "ok": True,
            "jobId": job.id,
            "status": _status(job),
            "canceled": job.state == "canceled",
        }
        return JSONResponse(answer)

    proposed = "the public description has `progress` only."
    return [
        Door(
            "/api/v1/jobs/{jobId}/progress",
            follow,
            needs="tools:run",
            methods=["GET"],
            says=Says(
                "Follow a job by server-sent events, by its id or by the `clientJobId` of its call, also before that came.",
                answer="text/event-stream",
                inferred="the frames beyond `progress`, `status` and `message`; the last one has `result`, or `error` and "
                "`code`.",
            ),
        ),
        Door(
            "/api/v1/jobs/{jobId}",
            look,
            needs="tools:run",
            methods=["GET"],
            says=Says("Tell how a job stands.", answer=Moment, inferred=proposed),
        ),
        Door(
            "/api/v1/jobs/{jobId}/cancel",
            cancel,
            needs="tools:run",
            methods=["POST"],
            says=Says("Cancel a job; one that ended stays as it is.", answer=CanceledAnswer, inferred=proposed),
        ),
    ]


async def _expected(runs: Runs, principal: Principal, chosen: str) -> AsyncIterator[str]:
    """The frames of a job that has not come yet: its call may still be on its way."""
    room = runs.room
    for _ in range(ROUNDS):
        yield ": waiting for the call\n\n"
        try:
            job_id = await runs.names.wait(room, principal, chosen, PING_SECONDS)
        except DarkroomError as error:
            yield _refused(chosen, error).to_text(1)
            return
        if job_id is not None:
            async for text in frames_of(room.jobs, principal, job_id, partial(_frame, job_id), _last):
                yield text
            return
        if room.jobs.stopping:
            return
    yield _refused(chosen, no_job()).to_text(1)


def _refused(chosen: str, error: DarkroomError) -> Frame:
    told = Moment(
        jobId=chosen, type="single", status="failed", phase="failed", progress=0, percent=0, message=error.message
    )
    return Frame({**told, "error": error.message, "code": code_of(error.code)})


def _frame(job_id: str, status: Status) -> Frame | None:
    """The frame of a state under way; how it ended, the last frame tells with the result."""
    return Frame(_moment(job_id, status)) if status.state in UNDER_WAY else None


def _last(job: Job) -> Frame:
    return Frame(_end(job))


def _moment(job_id: str, status: Status) -> Moment:
    """How a job under way stands; 100 is kept for its end."""
    percent = min(99, int(100 * status.fraction))
    told = Moment(
        jobId=job_id,
        type="batch" if status.total > 1 else "single",
        status="processing",
        phase="processing",
        progress=percent,
        percent=percent,
        message=status.words,
    )
    if status.stage:
        told["stage"] = status.stage
    if status.seconds_left is not None:
        told["etaSeconds"] = round(status.seconds_left)
    if status.total > 1:
        told["totalFiles"], told["completedFiles"] = status.total, status.done
    return told


def _end(job: Job) -> Moment:
    """How a job ended."""
    done = job.state == "succeeded"
    percent = 100 if done else min(99, int(100 * job.progress))
    told = Moment(
        jobId=job.id,
        type="batch" if job.items > 1 else "single",
        status=_status(job),
        phase="complete" if done else "failed",
        progress=percent,
        percent=percent,
        message="Done" if done else error_of(job).message,
    )
    if job.items > 1:
        failed = failed_files(job)
        told["totalFiles"], told["failedFiles"], told["errors"] = job.items, len(failed), failed
        told["completedFiles"] = job.items - len(failed) if job.result is not None else 0
    if done:
        packed = job.result is not None and job.result.archive is not None
        told["result"] = {"downloadUrl": download_url(job.id, ARCHIVE) if packed else download_url(job.id)}
    else:
        error = error_of(job)
        told["error"], told["code"] = error.message, code_of(error.code)
    return told


def _status(job: Job) -> str:
    """The state of a job in the words of this dialect."""
    if not job.ended:
        return "processing"
    return "completed" if job.state == "succeeded" else "failed"
