"""A job as server-sent events: the same stream that MCP notifications and the command line are made of."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from darkroom.jobs.record import Job, Status
from darkroom.jobs.service import Jobs
from darkroom.routing import Door, principal_of
from darkroom.streams import Frame, Streams

__all__ = ["event_routes"]


def event_routes(jobs: Jobs, streams: Streams) -> Sequence[Door]:
    """`GET /jobs/{id}/events`: the newest state first, each that follows, and one `end`."""

    async def events(request: Request) -> Response:
        job_id = request.path_params["job"]

        def show(status: Status) -> Frame:
            return Frame({"job": job_id, **status.to_wire()}, "progress")

        return await streams.follow(jobs, principal_of(request), job_id, show, _end)

    return [Door("/jobs/{job}/events", events, needs="tools:run")]


def _end(job: Job) -> Frame:
    images = job.result.images() if job.result is not None else []
    error = {"error": job.error} if job.error else {}
    return Frame({"job": job.id, **job.status.to_wire(), "images": images, **error}, "end")
