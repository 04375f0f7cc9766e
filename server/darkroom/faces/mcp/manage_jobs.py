"""Tools that look after jobs."""

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import mcp_types as types
from pydantic import Field

from darkroom.errors import NotFound
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.manage_images import handle_of
from darkroom.faces.mcp.replies import facts_reply
from darkroom.jobs.history import Filter
from darkroom.jobs.terms import clean_labels
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.settings import Settings

if TYPE_CHECKING:
    from darkroom.jobs.record import Job

__all__ = ["JOB_MANAGERS"]

JOB_NAMES = {"id": "job", "jobId": "job", "job_id": "job"}
UNSAVED = "run-pipeline"
SHOWN_IMAGES = 10
"""Handles that a line of the list shows; get_job has them all."""


class GetJob(Settings):
    """Arguments of get_job."""

    aliases: ClassVar = JOB_NAMES

    job: str
    wait: Annotated[float, Field(ge=0, le=45)] = 30
    """Seconds to wait for the end"""
    offset: Annotated[int, Field(ge=0)] = 0
    """First item of a batch to show"""


class CancelJob(Settings):
    """Arguments of cancel_job."""

    aliases: ClassVar = JOB_NAMES

    job: str


class ListJobs(Settings):
    """Arguments of list_jobs."""

    aliases: ClassVar = {"workflow": "tool", "status": "state", "label": "labels", "cursor": "before", "like": "liked"}
    value_aliases: ClassVar = {"state": {"cancelled": "canceled", "done": "succeeded", "completed": "succeeded"}}

    state: Literal["queued", "running", "succeeded", "failed", "canceled"] | None = None
    tool: str | None = None
    """Or workflow"""
    since: str | None = None
    """Date"""
    liked: bool | None = None
    before: str | None = None
    until: Unpublished[str | None] = None
    labels: Unpublished[dict[str, str | int | float | bool]] = Field(default_factory=dict)
    limit: Unpublished[Annotated[int, Field(ge=1, le=100)]] = 20


class RateJob(Settings):
    """Arguments of rate_job."""

    aliases: ClassVar = {**JOB_NAMES, "liked": "like", "thumbsUp": "like", "expectedImages": "expected", "image": "job"}

    job: str
    like: bool | None = None
    expected: list[str] = Field(default_factory=list)
    """Images wanted"""
    note: str = ""
    pin: bool | None = None
    delete: bool | None = None
    images: Unpublished[bool] = False


async def get_job(call: Call, wanted: GetJob) -> types.CallToolResult:
    """The result of a job, or how far it is."""
    job = await call.wait_for(wanted.job, wanted.wait)
    return await call.answer(job, offset=wanted.offset)


async def cancel_job(call: Call, wanted: CancelJob) -> types.CallToolResult:
    """Stop a job; what it finished stays."""
    job = await call.room.jobs.cancel(call.principal, wanted.job)
    facts: dict[str, Any] = {"job": job.id, "state": job.state}
    if job.items > 1:
        facts |= {"done": job.done, "total": job.items}
    return facts_reply(facts)


async def list_jobs(call: Call, wanted: ListJobs) -> types.CallToolResult:
    """The newest jobs first."""
    tool, workflow = await _meant(call, wanted.tool)
    chosen = Filter(
        states=[wanted.state] if wanted.state else [],
        tool=tool,
        workflow=workflow,
        labels=clean_labels(wanted.labels),
        since=_moment(wanted.since, "since"),
        until=_moment(wanted.until, "until", to_the_end=True),
        liked=wanted.liked,
    )
    listed = await call.room.jobs.history.list(call.principal, chosen, limit=wanted.limit, before=wanted.before)
    items = [_facts_of(job) for job in listed.jobs]
    reply = facts_reply({"items": items, **({"next": listed.next} if listed.next else {})})
    lines = [" ".join([i["job"], i["tool"], i["state"], *i.get("images", [])[:1], i["createdAt"]]) for i in items]
    tail = [f'Older ones: list_jobs with {{"before":"{listed.next}"}}.'] if listed.next else []
    text = "\n".join([*lines, *tail]) or "No such jobs."
    return reply.model_copy(update={"content": [types.TextContent(text=text)]})


async def _meant(call: Call, name: str | None) -> tuple[str | None, str | None]:
    """The id of the tool, or of the saved workflow, that a name stands for."""
    if name is None:
        return None, None
    if name.replace("_", "-") == UNSAVED:
        return UNSAVED, None
    try:
        tool = call.room.catalog.find(call.principal, name)
    except NotFound:
        return None, (await call.room.catalog.workflow(call.principal, name)).id
    return (None, tool.workflow) if tool.workflow else (tool.id, None)


def _moment(text: str | None, field: str, *, to_the_end: bool = False) -> float | None:
    """Seconds since the epoch of a date or a time, in UTC where it does not say; of a day its end if that is meant."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InvalidSettings(
            f"{field!r} should be a date such as 2026-11-22, or a time such as 2026-11-22T10:30.",
            field=field,
            got=clean_text(text, 40),
        ) from error
    if to_the_end and found.time() == time() and len(text.strip()) <= len("2026-11-22"):
        found += timedelta(days=1)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _facts_of(job: "Job") -> dict[str, Any]:
    images = job.result.images() if job.result is not None else []
    facts: dict[str, Any] = {
        "job": job.id,
        "tool": job.tool.replace("-", "_"),
        "workflow": job.workflow,
        "version": job.version,
        "state": job.state,
        "images": images[:SHOWN_IMAGES],
        "imageCount": len(images) if len(images) > SHOWN_IMAGES else None,
        "total": job.items if job.items > 1 else None,
        "done": job.done if job.items > 1 else None,
        "error": job.error["code"] if job.error else None,
        "createdAt": _iso(job.created_at),
        "seconds": round(job.finished_at - job.started_at, 2) if job.finished_at and job.started_at else None,
        "credits": job.credits,
        "labels": dict(job.labels),
        "priority": job.priority or None,
        "deadlineAt": _iso(job.deadline_at) if job.deadline_at else None,
        "like": job.liked,
        **job.feedback,
        "pinned": job.pinned or None,
    }
    return {key: value for key, value in facts.items() if value is not None and value not in ([], {})}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


async def rate_job(call: Call, wanted: RateJob) -> types.CallToolResult:
    """Say how a result is, keep it, or forget it."""
    history, key = call.room.jobs.history, handle_of(wanted.job)
    said: dict[str, Any] = {
        name: getattr(wanted, name) for name in ("like", "expected", "note") if name in wanted.model_fields_set
    }
    if not said and wanted.pin is None and not wanted.delete:
        raise InvalidSettings("Say what you think of it (like, note, expected), or pin or delete it.", field="like")
    if key.startswith("img_"):
        if said or wanted.delete or wanted.pin is None:
            raise InvalidSettings(
                "An image can be pinned here and nothing else; jobs are rated. delete_image deletes it.", field="job"
            )
        await history.pin(call.principal, key, pinned=wanted.pin)
        return facts_reply({"image": key, "pinned": wanted.pin})
    if wanted.delete:
        images = await history.delete(call.principal, key, with_images=wanted.images)
        return facts_reply({"deleted": key, **({"imagesDeleted": images} if wanted.images else {})})
    if wanted.pin is not None:
        await history.pin(call.principal, key, pinned=wanted.pin)
    job = await history.rate(call.principal, key, said)
    return facts_reply({**_facts_of(job), "like": job.liked})


JOB_MANAGERS = (
    Manager(
        "get_job",
        "Get job",
        "Result of a job that outlasted its call, or its progress.",
        GetJob,
        get_job,
        read_only=True,
        example={"job": "job_…"},
    ),
    Manager(
        "cancel_job",
        "Cancel job",
        "Stop a running or queued job.",
        CancelJob,
        cancel_job,
        destructive=True,
        idempotent=True,
        example={"job": "job_…"},
    ),
    Manager(
        "list_jobs",
        "List jobs",
        "What was run, newest first.",
        ListJobs,
        list_jobs,
        read_only=True,
        example={"state": "failed"},
    ),
    Manager(
        "rate_job",
        "Rate job",
        "Like, dislike, pin or delete a job; its images stay.",
        RateJob,
        rate_job,
        destructive=True,
        idempotent=True,
        example={"job": "job_…", "like": True},
    ),
)
