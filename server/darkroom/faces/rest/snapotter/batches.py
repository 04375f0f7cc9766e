"""One tool over many files: a ZIP of the results, in the order in which the files were sent."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from starlette.requests import Request
from starlette.responses import Response

from darkroom.errors import DarkroomError
from darkroom.faces.rest.snapotter.answers import (
    Accepted,
    Made,
    accepted,
    failed_files,
    file_results,
    file_results_header,
    send,
)
from darkroom.faces.rest.snapotter.dialect import FailedFile
from darkroom.faces.rest.snapotter.orders import RUN_FIELDS, Order, place_batch, read_order
from darkroom.faces.rest.snapotter.reports import report_of
from darkroom.faces.rest.snapotter.runs import Runs
from darkroom.faces.rest.snapotter.tools import HEADERS, find_tool
from darkroom.forms import MOST_FILES
from darkroom.intake import Resolved
from darkroom.jobs.record import Job
from darkroom.principal import Principal
from darkroom.routing import FILE, Door, Says, principal_of
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings

__all__ = ["BATCH_FIELDS", "BATCH_SAYS", "MadeBatch", "answer_batch", "batch_routes", "run_batch"]

FURTHER_FILES = 8
"""Files that go with every one of a batch, such as a watermark."""

FILES: Mapping[str, Mapping[str, Any]] = {
    "files": {"type": "array", "items": dict(FILE), "minItems": 1, "maxItems": 200}
}
BATCH_FIELDS = {**FILES, **{name: RUN_FIELDS[name] for name in ("settings", "clientJobId")}}
BATCH_HEADERS = {
    **{name: HEADERS[name] for name in ("X-Job-Id", "X-Original-Size", "X-Processed-Size", "Content-Disposition")},
    "X-File-Results": "By number of each file, from 0, its name in the ZIP: percent-encoded JSON. Left out if very long.",
}


class MadeBatch(Made):
    """What a batch made."""

    totalFiles: int
    completedFiles: int
    failedFiles: int
    errors: list[FailedFile]
    fileResults: dict[str, str]
    results: NotRequired[list[dict[str, Any]]]


BATCH_SAYS: Mapping[str, Any] = {
    "answer": ["application/zip", MadeBatch],
    "more": {202: Accepted},
    "headers": BATCH_HEADERS,
    "inferred": "a file that fails is left out and told in `errors.json` inside the ZIP; if all fail the answer is 422 with "
    "`errors`. Facts come as JSON files.",
}


def batch_routes(runs: Runs) -> Sequence[Door]:
    """`POST /api/v1/tools/{toolId}/batch`."""

    async def run(request: Request) -> Response:
        tool = await find_tool(runs.room, request)
        return await run_batch(request, runs, tool)

    return [
        Door(
            "/api/v1/tools/{toolId}/batch",
            run,
            needs="tools:run",
            methods=["POST"],
            says=Says("Run a tool on up to 200 files.", form=BATCH_FIELDS, required=["files"], **BATCH_SAYS),
        )
    ]


async def run_batch(request: Request, runs: Runs, tool: Tool) -> Response:
    """The answer to a form that asks for a tool over all of its files.

    Raises:
        InvalidSettings: The tool takes no batch, there is no file, or there are over 200.
        DarkroomError: No file could be done.
    """
    async with read_order(request, runs.room, MOST_FILES + FURTHER_FILES) as order:
        return await answer_batch(request, runs, tool, order)


async def answer_batch(request: Request, runs: Runs, tool: Tool, order: Order) -> Response:
    """As `run_batch`, inside of the block of `read_order`."""
    if order.file_id:
        raise InvalidSettings("A batch gives no file a new version. Leave 'fileId' out.", field="fileId")
    each, arguments = place_batch(tool, order)
    names = [came.name if isinstance(came, Resolved) else _refused(came) for came in arguments[each]]
    principal = principal_of(request)
    job = await runs.accept(request, principal, tool, arguments, order, each=each, archive=True)
    try:
        made = await runs.wait(request, principal, job, order)
    except DarkroomError as error:
        raise await _named(runs, principal, job, names, error) from error
    if made is None:
        return accepted(request, job)
    results = await file_results(runs.room, made)
    failed = failed_files(made.job, names)
    more: dict[str, Any] = {
        "totalFiles": made.job.items,
        "completedFiles": made.job.items - len(failed),
        "failedFiles": len(failed),
        "errors": failed,
        "fileResults": dict(results),
    }
    items = made.job.result.items if made.job.result is not None else ()
    if reports := [report_of(item.report) for item in items if item.report is not None]:
        more["results"] = reports
    headers = file_results_header(results)
    return await send(request, runs.room, made, original=order.bytes, more=more, headers=headers, packed=True)


async def _named(
    runs: Runs, principal: Principal, job: Job, names: Sequence[str], error: DarkroomError
) -> DarkroomError:
    """The error of a batch with the names that its files were sent under."""
    if "errors" in error.details:
        error.details["errors"] = failed_files(await runs.room.jobs.get(principal, job.id), names)
    return error


def _refused(error: object) -> str:
    """What a file is called that was refused as it came."""
    return str(error.details.get("filename", "file")) if isinstance(error, DarkroomError) else "file"
