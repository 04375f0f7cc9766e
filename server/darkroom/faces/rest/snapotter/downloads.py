"""What jobs made, for as long as it is kept."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from darkroom.faces.rest.snapotter.answers import made_of, named, send
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.faces.serving import picture_answer
from darkroom.routing import Door, Says, principal_of, read_query
from darkroom_tools.settings import Settings

__all__ = ["download_routes"]


class DownloadQuery(Settings):
    """How a result is wanted."""

    preview: bool = False
    """As WebP of at most 1200 pixels, for what browsers do not show"""


def download_routes(runs: Runs) -> Sequence[Door]:
    """`/api/v1/download/…`."""
    room = runs.room

    async def download(request: Request) -> Response:
        principal, query = principal_of(request), read_query(request, DownloadQuery)
        job_id = await runs.names.find(room, principal, request.path_params["jobId"])
        made = await made_of(room, principal, await room.jobs.get(principal, job_id))
        if made.main is None:
            return await send(request, room, made)
        record = named(made, request.path_params["name"])
        path, media_type = room.blobs.path(record.sha256), record.media_type
        if query.preview:
            path, media_type = await room.renditions.of(record, "webp")
        return await picture_answer(request, record, path, media_type, inline=query.preview)

    return [
        Door(
            "/api/v1/download/{jobId}/{name}",
            download,
            needs="tools:run",
            methods=["GET"],
            says=Says(
                "Download what a job made: `result`, `result.zip`, or a file by its name.",
                query=DownloadQuery,
                answer=["application/octet-stream", "image/*", "application/pdf", "application/zip", dict[str, Any]],
                inferred="results can be got again as long as they are kept, at least a day.",
            ),
        ),
    ]
