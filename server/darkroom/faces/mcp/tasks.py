"""The shapes of the Tasks extension (SEP-2663): a call that takes longer is answered with a task, which is its job.

Only clients of 2026-07-28 that declare the extension with the request get one; all others are served as ever.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import mcp_types as types
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from darkroom.faces.mcp.room import Context

if TYPE_CHECKING:
    from darkroom.jobs.record import Job

__all__ = ["TASKS", "Reply", "TaskCreated", "declared", "task_created", "task_facts"]

TASKS: Final = "io.modelcontextprotocol/tasks"

DAY_MS: Final = 86_400_000
"""Every job is kept for at least a day."""

POLL_MS: Final = 1_000

Status = Literal["working", "completed", "failed", "cancelled"]

BROKEN: Final = ("INTERNAL", "INTERRUPTED")
"""Codes of errors that are no answer of a tool: something of ours broke."""


class TaskCreated(types.Result):
    """The answer to a call that goes on as a task: the client polls `tasks/get` for its result."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: Status
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int


Reply = types.CallToolResult | TaskCreated
"""What a call is answered with."""


def declared(ctx: Context) -> bool:
    """Whether the client knows tasks; earlier protocol versions have no way to deliver one."""
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities is not None else None
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and TASKS in (extensions or {})


def task_created(job: "Job", now: float) -> TaskCreated:
    """The task that a job is."""
    return TaskCreated.model_validate(task_facts(job, now))


def task_facts(job: "Job", now: float) -> dict[str, Any]:
    """How the task stands at `now`, as `tasks/get` tells it without result or error."""
    facts: dict[str, Any] = {
        "taskId": job.id,
        "status": _status(job),
        "statusMessage": job.status.words or None,
        "createdAt": _moment(job.created_at),
        "lastUpdatedAt": _moment(job.finished_at if job.finished_at is not None else now),
        "ttlMs": DAY_MS,
        "pollIntervalMs": POLL_MS,
    }
    if facts["status"] == "failed":
        facts["error"] = _json_rpc_error(job.error or {})
    return {key: value for key, value in facts.items() if value is not None}


def _status(job: "Job") -> Status:
    """What a tool answers with is a result, errors too; a task fails only where something of ours broke."""
    if not job.ended:
        return "working"
    if job.state == "canceled":
        return "cancelled"
    broken = job.state == "failed" and job.error is not None and job.error["code"] in BROKEN
    return "failed" if broken else "completed"


def _json_rpc_error(error: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": types.INTERNAL_ERROR, "message": error["error"], "data": {"code": error["code"]}}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
