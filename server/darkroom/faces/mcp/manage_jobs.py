"""Tools that look after jobs."""

from typing import Annotated, Any, ClassVar

import mcp_types as types
from pydantic import Field

from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.replies import facts_reply
from darkroom_tools.settings import Settings

__all__ = ["JOB_MANAGERS"]

JOB_NAMES = {"id": "job", "jobId": "job", "job_id": "job"}


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
)
