"""What the REST dialects share: ids, times, the catalogue of workflows, waiting, and what a job came to."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.requests import Request

from darkroom.app import Darkroom
from darkroom.errors import NotFound
from darkroom.jobs.record import ItemResult, Job
from darkroom.jobs.terms import Terms
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.ids import as_uuid, from_uuid, is_id
from darkroom.workflows.gallery import GALLERY
from darkroom.workflows.service import Saved
from darkroom_prompts.gallery import load_gallery
from darkroom_tools.errors import DarkroomError
from darkroom_tools.kit.clean import clean_text

__all__ = [
    "SYNC_SECONDS",
    "error_of",
    "facts_of",
    "find_workflow",
    "finished",
    "first_item",
    "job_id_of",
    "records_of",
    "run_terms",
    "timestamp",
    "uuid_of",
    "workflow_uuid",
    "workflows_for",
]

SYNC_SECONDS = 60.0
"""How long a call that answers with its result may keep its client waiting; after that it is a job to be asked for."""


def timestamp(seconds: float | None = None, *, offset: bool = False) -> str:
    """A time as ISO 8601 in UTC, to the millisecond where there are any: `2026-01-15T10:30:00Z`.

    Args:
        seconds: Since the epoch; now if None.
        offset: Write `+00:00` instead of `Z`, always with milliseconds.
    """
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    if offset:
        return moment.isoformat(timespec="milliseconds")
    whole = moment.microsecond < 1000  # less than a millisecond
    return moment.isoformat(timespec="seconds" if whole else "milliseconds").replace("+00:00", "Z")


def facts_of(saved: Saved) -> Mapping[str, Any]:
    """What the gallery says of one of its workflows beside the document: `id`, `slug`, `group`, `feature`; else nothing."""
    slug = saved.id.removeprefix(GALLERY)
    return load_gallery()[slug] if saved.id.startswith(GALLERY) else {}


def workflow_uuid(saved: Saved) -> str:
    """The UUID of a workflow: of the gallery's its own, of others the 128 bits of their id."""
    return uuid_of(saved.id)


def uuid_of(workflow: str) -> str:
    """The UUID of a workflow by its id, as a job names it; also of one that is no longer there."""
    if not workflow.startswith(GALLERY):
        return as_uuid(workflow)
    known = load_gallery().get(workflow.removeprefix(GALLERY))
    return str(known["id"] if known is not None else uuid5(NAMESPACE_URL, workflow))


async def workflows_for(room: Darkroom, principal: Principal) -> list[Saved]:
    """Every workflow that the caller may run: their own by name, then the gallery's; none that no longer compiles."""
    await room.workflows.refresh(principal)
    every = [*room.workflows.list(principal), *await room.catalog.gallery()]
    return [saved for saved in every if saved.tool is not None]


async def find_workflow(room: Darkroom, principal: Principal, key: str) -> Saved:
    """A workflow by UUID, by `wf_…` with the same bits, by name, or of the gallery by slug.

    Raises:
        NotFound: There is none, or it is somebody else's: the answer is the same.
    """
    for saved in await room.catalog.gallery():
        identifier = str(facts_of(saved)["id"])
        if key.lower() in (identifier, from_uuid(identifier, "wf")):
            return saved
    try:
        return await room.catalog.workflow(principal, from_uuid(key, "wf") or key)
    except NotFound as error:
        raise NotFound(f"There is no workflow {clean_text(key, 80)!r}.") from error


def job_id_of(text: str, prefix: str = "") -> str:
    """The id of the job that a dialect calls by a UUID, or by another prefix before the same characters.

    Raises:
        NotFound: It is no such id.
    """
    own = prefix and text.startswith(prefix)
    found = f"job_{text.removeprefix(prefix)}" if own else from_uuid(text, "job") or text
    if not is_id(found, "job"):
        raise NotFound("There is no such execution, or it is no longer kept.")
    return found


def run_terms(request: Request, **terms: Any) -> Terms:
    """The terms of a run over REST: there is a job to ask for, whatever the library knows, and a key makes it one run."""
    return Terms(kept=True, idempotency_key=request.headers.get("idempotency-key"), **terms)


async def finished(room: Darkroom, principal: Principal, job: Job, seconds: float = SYNC_SECONDS) -> Job:
    """The job once it ended, or as it is after so many seconds."""
    return job if job.ended else await room.jobs.wait(principal, job.id, seconds)


def first_item(job: Job) -> ItemResult | None:
    """What the first item of an ended job came to, None if it came to nothing."""
    return job.result.items[0] if job.result is not None and job.result.items else None


async def records_of(room: Darkroom, principal: Principal, job: Job) -> Sequence[ImageRecord]:
    """What a job made, in order; without what was deleted since."""
    handles = job.result.images() if job.result is not None else []
    known = await room.library.find(principal, handles) if handles else {}
    return [known[handle] for handle in handles if handle in known]


def error_of(job: Job) -> DarkroomError:
    """Why a job failed or was cancelled, as it may be raised."""
    return DarkroomError.from_wire(job.error or {"code": "CANCELLED", "error": "The work was cancelled."})
