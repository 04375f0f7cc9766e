"""What a job came to, as this dialect answers it: the file itself, facts as JSON, or where to get it."""

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NotRequired
from urllib.parse import quote

import anyio
from pydantic import ConfigDict, with_config
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from darkroom.app import Darkroom
from darkroom.errors import Conflict, NotFound
from darkroom.faces.rest.common import error_of, records_of
from darkroom.faces.rest.snapotter.dialect import FailedFile, code_of
from darkroom.faces.rest.snapotter.reports import report_of
from darkroom.faces.serving import picture_answer
from darkroom.jobs.record import ItemResult, Job
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom_tools.errors import DarkroomError, ProcessingFailed

__all__ = [
    "Accepted",
    "Made",
    "accepted",
    "download_url",
    "failed_files",
    "made_of",
    "prefers_json",
    "send",
    "wants_later",
]

ARCHIVE: Final = "result.zip"
RESULT: Final = "result"
"""Names under which every result can be downloaded, beside its own."""

MISSING: Final = frozenset({"MODEL_NOT_INSTALLED", "RUNTIME_NOT_INSTALLED", "ENGINE_NOT_CONFIGURED"})
FACTS_ONLY: Final = frozenset({"compare"})
"""Tools whose picture is beside the point: they answer with JSON."""

UNSEEN: Final = frozenset({"tiff", "heif", "heic", "jxl", "jp2", "psd", "tga"})
"""Formats that browsers do not show."""

LONGEST_HEADER: Final = 32_768
_QUALITY: Final = re.compile(r";\s*q=([0-9.]{1,5})")


Accepted = TypedDict("Accepted", {"jobId": str, "async": bool, "status": str, "progressUrl": str, "downloadUrl": str})
"""Work that goes on."""


@with_config(ConfigDict(extra="allow"))
class Made(TypedDict):
    """What a job made, and where to get it; with what the tool says beside it."""

    jobId: NotRequired[str]
    downloadUrl: NotRequired[str]
    previewUrl: NotRequired[str]
    originalSize: NotRequired[int]
    processedSize: NotRequired[int]
    savedFileId: NotRequired[str]
    warnings: NotRequired[list[str]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an ended job left.

    Attributes:
        job: Ended.
        item: What its first item came to.
        records: The images made, without the ZIP.
        archive: The ZIP, None where there is none.
    """

    job: Job
    item: ItemResult
    records: Sequence[ImageRecord]
    archive: ImageRecord | None

    @property
    def main(self) -> ImageRecord | None:
        """The one file that stands for all: the ZIP where there are several; None for a report."""
        if self.archive is not None and (len(self.records) != 1 or self.job.items > 1):
            return self.archive
        return self.records[0] if self.records else None


async def made_of(room: Darkroom, principal: Principal, job: Job) -> Outcome:
    """What an ended job made.

    Raises:
        Conflict: It is not done yet.
        DarkroomError: It failed; of a batch that failed whole, with every file's error.
        NotFound: What it made is no longer kept.
    """
    if not job.ended:
        raise Conflict("The job is not done yet. Follow its progress, and ask again then.", retryAfter=1)
    if job.state != "succeeded" or job.result is None:
        raise _why(job)
    records = await records_of(room, principal, job)
    packed = job.result.archive.images if job.result.archive is not None else []
    item = next((each for each in job.result.items if each.error is None), job.result.items[0])
    if len(records) < len(job.result.images()):
        raise NotFound("The result is no longer kept. Run it again.")
    archive = records[-1] if packed else None
    return Outcome(job, item, records[:-1] if packed else records, archive)


def _why(job: Job) -> DarkroomError:
    errors = failed_files(job)
    if job.items == 1 or not errors or job.state == "canceled":
        return error_of(job)
    codes = {item.error["code"] for item in job.result.items if item.error} if job.result is not None else set()
    first = error_of(job)
    if codes <= MISSING:
        return first
    return ProcessingFailed(first.message, errors=errors)


def failed_files(job: Job, names: Sequence[str] = ()) -> list[FailedFile]:
    """The files of a batch that nothing was made of.

    Args:
        names: Of all its files, as they were sent.
    """
    items = job.result.items if job.result is not None else ()
    return [
        {
            "filename": names[n] if n < len(names) else f"file {n + 1}",
            "error": item.error["error"],
            "code": code_of(item.error["code"]),
        }
        for n, item in enumerate(items)
        if item.error is not None
    ]


def download_url(job_id: str, name: str = RESULT) -> str:
    """Where a result of a job can be got."""
    return f"/api/v1/download/{job_id}/{quote(name, safe='')}"


def wants_later(request: Request) -> bool:
    """Whether the client asks for an answer before the work is done (RFC 7240)."""
    return any(
        part.strip().lower() == "respond-async"
        for value in request.headers.getlist("prefer")
        for part in value.split(",")
    )


def accepted(request: Request, job: Job) -> Response:
    """202 for work that goes on."""
    status = "processing" if not job.ended else "completed" if job.state == "succeeded" else "failed"
    body: Accepted = {
        "jobId": job.id,
        "async": True,
        "status": status,
        "progressUrl": f"/api/v1/jobs/{job.id}/progress",
        "downloadUrl": download_url(job.id),
    }
    headers = {"x-job-id": job.id, "location": f"/api/v1/jobs/{job.id}"}
    if wants_later(request):
        headers["preference-applied"] = "respond-async"
    return JSONResponse(body, 202, headers)


def prefers_json(request: Request, media_type: str) -> bool:
    """Whether the client would rather have JSON than a file of that type."""
    accept = request.headers.get("accept", "*/*")
    return _quality(accept, "application/json") > _quality(accept, media_type)


def _quality(accept: str, media_type: str) -> float:
    """How much an `Accept` header wants a type, 0 to 1: the most exact of its entries counts."""
    found = {}
    for entry in accept.lower().split(","):
        said = _QUALITY.search(entry)
        try:
            found[entry.partition(";")[0].strip()] = float(said[1]) if said else 1.0
        except ValueError:
            continue
    forms = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((found[form] for form in forms if form in found), 0.0)


async def send(
    request: Request,
    room: Darkroom,
    made: Outcome,
    *,
    original: int | None = None,
    saved: str = "",
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    packed: bool = False,
) -> Response:
    """The answer with a result.

    Args:
        original: Bytes of the files that came in; None if none came.
        saved: Handle of the version that it was kept as; empty if it was not.
        more: Of the JSON answer.
        headers: Of any answer.
        packed: Whether a single file comes in a ZIP too.
    """
    record, item, job = made.archive if packed and made.archive else made.main, made.item, made.job
    every = {"x-job-id": job.id, **(headers or {})}
    if original is not None:
        every["x-original-size"] = str(original)
    if record is None:
        body = {**report_of(item.report or {}), **_warned(item), **(more or {}), "jobId": job.id}
        return JSONResponse(body, headers=every)
    every["x-processed-size"] = str(record.bytes)
    if saved:
        every["x-saved-file-id"] = saved
    sent = replace(record, name=archive_name(job)) if record is made.archive else record
    if job.tool in FACTS_ONLY or prefers_json(request, record.media_type):
        told = {**item.facts, **_warned(item), **(more or {}), **_envelope(made, sent, original, saved)}
        return JSONResponse(told, headers=every)
    answer = await picture_answer(
        request, sent, room.blobs.path(record.sha256), record.media_type, inline=False, max_age=0
    )
    answer.headers.update(every)
    return answer


def _warned(item: ItemResult) -> dict[str, Any]:
    return {"warnings": item.warnings} if item.warnings else {}


def _envelope(made: Outcome, sent: ImageRecord, original: int | None, saved: str) -> Made:
    job = made.job
    told: Made = {"jobId": job.id, "downloadUrl": download_url(job.id, sent.name), "processedSize": sent.bytes}
    if sent.format in UNSEEN:
        told["previewUrl"] = f"{told['downloadUrl']}?preview=true"
    if original is not None:
        told["originalSize"] = original
    if saved:
        told["savedFileId"] = saved
    return told


def archive_name(job: Job) -> str:
    """What the ZIP of a job is called: `batch-resize-k3v9xq2a.zip`."""
    kind = "pipeline-batch" if job.tool == "run-pipeline" or job.workflow else f"batch-{job.tool}"
    return f"{kind}-{job.id[-8:]}.zip"


def named(made: Outcome, name: str) -> ImageRecord:
    """The file of a result that is downloaded under a name.

    Raises:
        NotFound: It has none of that name.
    """
    if made.archive is not None and name in (ARCHIVE, archive_name(made.job)):
        return replace(made.archive, name=archive_name(made.job))
    if name == RESULT and made.main is not None:
        return named(made, ARCHIVE) if made.main is made.archive else made.main
    found = next((record for record in made.records if record.name == name), None)
    if found is None:
        raise NotFound("The job made no file of that name.")
    return found


async def file_results(room: Darkroom, made: Outcome) -> Mapping[str, str]:
    """By the number of each file that was sent, from 0, the name in the ZIP of what was made of it."""
    if made.archive is None:
        return {}
    path = room.blobs.path(made.archive.sha256)
    report = await anyio.to_thread.run_sync(_read_report, path)
    return {str(line["item"] - 1): line["files"][0] for line in report["items"] if line.get("files")}


def file_results_header(results: Mapping[str, str]) -> dict[str, str]:
    """`X-File-Results`: percent-encoded, because names may be in any script; left out where it would be too long."""
    written = quote(json.dumps(results, ensure_ascii=False, separators=(",", ":")))
    return {"x-file-results": written} if len(written) <= LONGEST_HEADER else {}


def _read_report(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            report: dict[str, Any] = json.loads(archive.read("_report.json"))
    except FileNotFoundError as error:
        raise NotFound("The result is no longer kept. Run it again.") from error
    return report
