"""A job as callers see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

__all__ = ["ItemResult", "Job", "Result", "State"]

State = Literal["queued", "running", "in_review", "payment_required", "succeeded", "failed", "canceled"]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What one item of a job came to.

    Attributes:
        sources: Handles of the pictures that went in; none for bytes that only a report was made of.
        images: Handles of the pictures made.
        report: The report of a tool that answers with facts.
        facts: Results beside the picture, such as `quality` or `device`.
        kept: Metadata that the result still has.
        removed: Metadata that the source had and the result has not.
        warnings: Sentences for the caller.
        error: Why there is no result: `{"code", "error", "details"}`.
        cached: Whether the library knew the answer, so that no pixel was touched.
    """

    sources: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    report: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    cached: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, slots=True)
class Result:
    """What a job came to, item by item.

    Attributes:
        items: One for each item of the call, in order.
        archive: The ZIP of all results, or why there is none; None where nobody asked for one.
    """

    items: tuple[ItemResult, ...]
    archive: ItemResult | None = None

    def to_wire(self) -> dict[str, Any]:
        """The result as JSON values."""
        archive = self.archive.to_wire() if self.archive is not None else None
        return {"items": [item.to_wire() for item in self.items], "archive": archive}

    @staticmethod
    def from_wire(wire: Mapping[str, Any]) -> "Result":
        """The result that `to_wire` wrote."""
        archive = wire.get("archive")
        items = tuple(ItemResult(**item) for item in wire["items"])
        return Result(items, ItemResult(**archive) if archive is not None else None)


@dataclass(frozen=True, slots=True)
class Job:
    """A call that was accepted.

    Attributes:
        id: `job_…`.
        owner: Whose it is.
        tool: Tool id.
        state: Where it stands.
        progress: 0..1, never falling within an attempt.
        message: The stage, for people.
        items: How many items it has; 1 unless it is a batch.
        done: How many of them have a result or an error.
        result: Set once it succeeded, or failed item by item; of a batch that was cut off, what it had finished.
        error: Why it failed: `{"code", "error", "details"}`.
        created_at: Seconds since the epoch; so are the others.
    """

    id: str
    owner: str
    tool: str
    state: State
    progress: float
    message: str
    items: int
    done: int
    result: Result | None
    error: dict[str, Any] | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.finished_at is not None

    @staticmethod
    def from_row(row: Mapping[str, Any]) -> "Job":
        """The job of a row of the table `jobs`."""
        result = row["result"]
        return Job(
            id=row["id"],
            owner=row["owner"],
            tool=row["tool"],
            state=row["state"],
            progress=row["progress"],
            message=row["message"],
            items=row["item_count"],
            done=row["done"],
            result=Result.from_wire(result) if result else None,
            error=row["error"],
            created_at=row["created_at"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
        )
