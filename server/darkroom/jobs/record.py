"""A job as callers see it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

__all__ = ["ItemResult", "Job", "Result", "State", "Status"]

State = Literal["queued", "running", "in_review", "payment_required", "succeeded", "failed", "canceled"]

COUNT = re.compile(r"\b(\d{1,6}) of (\d{1,6})\b")
"""How tools and the engine say where they are: `Tile 3 of 20`."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a job stands at one moment: what everybody who listens to it is told.

    Attributes:
        state: Where it stands.
        fraction: How much is done, 0..1, never falling.
        stage: What is being done, for people.
        done: Items that have a result or an error.
        total: Items that it has; 1 unless it is a batch.
        seconds_left: Until its end, None while nobody can tell.
    """

    state: State = "queued"
    fraction: float = 0.0
    stage: str = ""
    done: int = 0
    total: int = 1
    seconds_left: float | None = None

    @property
    def part(self) -> tuple[int, int] | None:
        """Of an item at work its step, tile, page or frame, and how many there are; None where it does not say."""
        found = COUNT.search(self.stage)
        return (int(found[1]), int(found[2])) if found else None

    @property
    def words(self) -> str:
        """All of it in one line for people: `3 of 9 done, about 40 s left`."""
        if self.total == 1 or self.state == "queued":
            said = self.stage or self.state.capitalize()
        else:
            said = f"{self.done} of {self.total} done" + (f": {self.stage}" if self.stage else "")
        return said + _time_left(self.seconds_left)

    def to_wire(self) -> dict[str, Any]:
        """The moment as JSON values; what is not known is left out."""
        part = self.part
        wire = {
            "state": self.state,
            "stage": self.stage,
            "percent": round(100 * self.fraction),
            "done": self.done,
            "total": self.total,
            "part": list(part) if part else None,
            "etaSeconds": round(self.seconds_left) if self.seconds_left is not None else None,
        }
        return {key: value for key, value in wire.items() if value not in (None, "")}


def _time_left(seconds: float | None) -> str:
    """`, about 40 s left`, as roughly as it is known."""
    if seconds is None or seconds < 1.0:
        return ""
    if seconds >= 100.0:
        return f", about {seconds / 60:.0f} min left"
    return f", about {seconds:.0f} s left" if seconds < 20.0 else f", about {5 * round(seconds / 5)} s left"


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

    def images(self) -> list[str]:
        """Handles of everything made, the ZIP last."""
        each = [*self.items, *([self.archive] if self.archive is not None else [])]
        return [handle for item in each for handle in item.images]

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
        workflow: Of a saved workflow its id.
        version: Of a saved workflow the id of the version that ran.
        labels: The caller's own words on it.
        priority: -10 to 10.
        deadline_at: When it fails if it is not done.
        credits: What it costs: reserved until it ends, then charged; None where nothing has a price.
        liked: What its owner said of the result.
        feedback: The owner's `note` and the images that were `expected`.
        pinned: Whether it is kept however old it is.
        organisation: Who pays for it.
        retry_of: The first of the jobs that try the same call again; None for a first one.
        parts: Of a batch under way the items that are done, by number.
        now: How it stands at this moment, if it runs in this process.
        stored: Whether it can be asked for again; a call that the library answered at once leaves no job.
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
    workflow: str | None = None
    version: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    priority: int = 0
    deadline_at: float | None = None
    credits: int | None = None
    liked: bool | None = None
    feedback: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False
    organisation: str = ""
    retry_of: str | None = None
    parts: Mapping[int, ItemResult] = field(default_factory=dict)
    now: Status | None = None
    stored: bool = True

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.finished_at is not None

    @property
    def status(self) -> Status:
        """How it stands, as its listeners are told."""
        if self.now is not None and not self.ended:
            return self.now
        return Status(self.state, self.progress, self.message, self.done, self.items)

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
            workflow=row["workflow"],
            version=row["version"],
            labels=row["labels"] or {},
            priority=row["priority"],
            deadline_at=row["deadline_at"],
            credits=row["credits"],
            liked=row["liked"],
            feedback=row["feedback"] or {},
            pinned=row["pinned"],
            organisation=row["organisation"],
            retry_of=row.get("retry_of"),
        )
