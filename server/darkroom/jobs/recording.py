"""What a finished item leaves behind: image rows, a filed answer, and its part of the job's result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from darkroom.engine.outcome import Outcome, Picture
from darkroom.errors import Conflict
from darkroom.jobs.ending import ended
from darkroom.jobs.record import ItemResult, Job, Result, State
from darkroom.jobs.request import Item, Request
from darkroom.library.library import find_images, find_source, insert_result, insert_source, pass_again
from darkroom.library.names import result_name
from darkroom.store import queue
from darkroom.store.ids import new_id
from darkroom.store.schema import job_items, jobs, results
from darkroom_tools.errors import Cancelled, DarkroomError

__all__ = [
    "Entry",
    "LeaseLost",
    "Made",
    "cut_off",
    "end_job",
    "filed_answer",
    "keep_finished",
    "keep_item",
    "load_entries",
    "outcome_of",
    "public_error",
    "to_row",
]


class LeaseLost(Exception):
    """The job is somebody else's by now; what was done for it is dropped."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a worker made of one item, as JSON values: enough to record it later, also in another process.

    Attributes:
        inputs: Facts of the inputs (`Picture`).
        outputs: For each file its `digest`, `extension` and `picture`.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    report: dict[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @staticmethod
    def of(outcome: Outcome, digests: Sequence[str]) -> "Made":
        """From a worker's answer and the digests under which its files were stored."""
        outputs = [
            {"digest": digest, "extension": output.path.suffix.lstrip("."), "picture": asdict(output.picture)}
            for output, digest in zip(outcome.outputs, digests, strict=True)
        ]
        return Made(
            inputs=[asdict(picture) for picture in outcome.inputs],
            outputs=outputs,
            report=dict(outcome.report) if outcome.report is not None else None,
            facts=dict(outcome.facts),
            kept=list(outcome.kept),
            removed=list(outcome.removed),
            warnings=list(outcome.warnings),
        )

    def digests(self) -> list[str]:
        """The bytes made."""
        return [output["digest"] for output in self.outputs]


_SAME = (results.c.owner == sa.bindparam("of")) & (results.c.digest == sa.bindparam("key"))
_FILED = sa.select(results.c.result).where(_SAME)
# The same call may have been answered at the same time; its answer stays.
_FILE = results.insert().from_select(
    [results.c.owner, results.c.digest, results.c.result, results.c.created_at],
    sa.select(
        sa.bindparam("of"),
        sa.bindparam("key"),
        sa.bindparam("answer", type_=sa.JSON),
        sa.bindparam("now", type_=sa.Float),
    ).where(~sa.exists().where(_SAME)),
)

Entry = Made | ItemResult
"""What one item came to: made just now, or an answer or error that is known already."""

NOT_REACHED = Cancelled("The batch was cancelled before this image was done.").to_wire()


def load_entries(connection: sa.Connection, job_id: str) -> dict[int, Entry]:
    """The items of an unfinished job that are done, by number."""
    rows = connection.execute(sa.select(job_items).where(job_items.c.job == job_id))
    return {row.item: _from_row(row.result, row.error) for row in rows}


def to_row(entry: Entry) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Result and error columns of an item's row."""
    if isinstance(entry, Made):
        return {"made": asdict(entry)}, None
    return (None, entry.error) if entry.error is not None else ({"known": entry.to_wire()}, None)


def _from_row(result: Mapping[str, Any] | None, error: dict[str, Any] | None) -> Entry:
    if result is None:
        return ItemResult(error=error)
    return Made(**result["made"]) if "made" in result else ItemResult(**result["known"])


def filed_answer(connection: sa.Connection, owner: str, item: Item) -> ItemResult | None:
    """The answer that the same call on the same bytes had before, None if it never was made."""
    filed = connection.scalar(_FILED, {"of": owner, "key": item.key})
    if filed is None:
        return None
    answer = ItemResult(**filed)
    if len(find_images(connection, owner, answer.images)) < len(answer.images):
        return None  # some were removed since
    return replace(answer, cached=True, sources=answer.sources or _known_sources(item))


def _known_sources(item: Item) -> list[str]:
    """Those of an item's images that were in the library before it."""
    return [handle for handle in item.sources if handle not in item.new]


def keep_item(
    connection: sa.Connection,
    claim: queue.Claim,
    request: Request,
    number: int,
    entry: Entry,
    now: float,
    has_bytes: Callable[[str], bool],
) -> ItemResult | None:
    """Record what one item of a job under way came to; None, and nothing recorded, if somebody else has the job."""
    recorder = _Recorder(connection, claim.owner, claim.tool, request, now, has_bytes)
    kept: list[ItemResult] = []

    def record() -> queue.ItemRow:
        kept.append(recorder.record(request.items[number], entry))
        return to_row(kept[0])

    return kept[0] if queue.checkpoint(connection, claim, number, record) else None


def end_job(
    connection: sa.Connection,
    claim: queue.Claim,
    request: Request,
    entries: Mapping[int, Entry],
    now: float,
    has_bytes: Callable[[str], bool],
    archive: Entry | None = None,
) -> Job:
    """Record all items, and the ZIP of them, and end the job, in the caller's transaction; the ended job.

    It succeeds if any item did. The text of a single item's error is the job's.

    Raises:
        LeaseLost: Somebody else has the job; the transaction must be undone.
    """
    recorder = _Recorder(connection, claim.owner, claim.tool, request, now, has_bytes)
    items = tuple(recorder.record(request.items[n], entries[n]) for n in range(len(request.items)))
    state, error = outcome_of(items)
    result = Result(items, recorder.record_archive(archive, items) if archive is not None else None)
    end = queue.End(state, len(items), float(state == "succeeded"), "", result.to_wire(), error)
    return _finish(connection, claim, end, now)


def cut_off(
    connection: sa.Connection,
    claim: queue.Claim,
    request: Request,
    entries: Mapping[int, Entry],
    now: float,
    has_bytes: Callable[[str], bool],
    error: Mapping[str, Any] | None = None,
) -> Job:
    """End a running job before it is done and record the items that it had finished; the ended job.

    Args:
        error: Why it fails; None if it was cancelled.

    Raises:
        LeaseLost: Somebody else has the job; the transaction must be undone.
    """
    recorder = _Recorder(connection, claim.owner, claim.tool, request, now, has_bytes)
    # An item may have been recorded in the moment in which the work was stopped.
    if len(request.items) > 1 or request.archive:
        entries = {**entries, **load_entries(connection, claim.id)}
    result = recorder.record_finished(entries, dict(error or NOT_REACHED)) if entries else None
    wire = result.to_wire() if result is not None else None
    state: State = "failed" if error is not None else "canceled"
    end = queue.End(state, len(entries), len(entries) / len(request.items), "", wire, error)
    return _finish(connection, claim, end, now)


def keep_finished(
    connection: sa.Connection, job_ids: Sequence[str], now: float, has_bytes: Callable[[str], bool]
) -> None:
    """Record what jobs that ended outside of any worker had finished: a `queue.Keep`."""
    for row in connection.execute(sa.select(jobs).where(jobs.c.id.in_(job_ids))).all():
        if entries := load_entries(connection, row.id):
            recorder = _Recorder(connection, row.owner, row.tool, Request.from_wire(row.request), now, has_bytes)
            result = recorder.record_finished(entries, row.error or NOT_REACHED)
            connection.execute(jobs.update().where(jobs.c.id == row.id).values(result=result.to_wire()))
    ended(connection, job_ids, now)


def _finish(connection: sa.Connection, claim: queue.Claim, end: queue.End, now: float) -> Job:
    row = queue.finish(connection, claim, end, now)
    if row is None:
        raise LeaseLost
    charged = ended(connection, [claim.id], now)
    return Job.from_row({**row, "credits": charged.get(claim.id, row["credits"])})


def outcome_of(items: Sequence[ItemResult]) -> tuple[State, dict[str, Any] | None]:
    """The end state of a job with these items, and its error."""
    errors = [item.error for item in items if item.error is not None]
    if len(errors) < len(items):
        return "succeeded", None
    if len(errors) == 1:
        return "failed", errors[0]
    return "failed", {**errors[0], "error": f"None of {len(errors)} images could be done. First: {errors[0]['error']}"}


@dataclass(frozen=True, slots=True)
class _Recorder:
    connection: sa.Connection
    owner: str
    tool: str
    request: Request
    now: float
    has_bytes: Callable[[str], bool]

    def record_finished(self, entries: Mapping[int, Entry], unfinished: dict[str, Any]) -> Result:
        """The finished items recorded, all others with the error `unfinished`."""
        items = []
        for number, item in enumerate(self.request.items):
            if number in entries:
                items.append(self.record(item, entries[number]))
            else:
                items.append(ItemResult(sources=_known_sources(item), error=unfinished))
        return Result(tuple(items))

    def record_archive(self, archive: Entry, items: Sequence[ItemResult]) -> ItemResult:
        """The ZIP of these items recorded; filed as the answer to the same call only if nothing failed."""
        whole = all(item.error is None for item in items)
        return self.record(self.request.archive_item() if whole else Item(), archive)

    def record(self, item: Item, entry: Entry) -> ItemResult:
        if isinstance(entry, ItemResult):
            return entry
        if not all(self.has_bytes(digest) for digest in entry.digests()):
            # Somebody deleted an image of the very same bytes between storing these and this moment.
            return ItemResult(
                error=Conflict("An image with the same content was deleted just now. Try again.").to_wire()
            )
        result = ItemResult(
            sources=self._sources(item, entry),
            report=entry.report,
            facts=entry.facts,
            kept=entry.kept,
            removed=entry.removed,
            warnings=entry.warnings,
        )
        result = replace(result, images=self._images(item, entry, result.sources))
        if item.key:
            self._file(item, result)
        return result

    def _sources(self, item: Item, made: Made) -> list[str]:
        """The handles of what went in; new bytes are recorded, once an owner."""
        if self.request.read_only:
            return _known_sources(item)
        recorded: dict[str, str] = {}
        for digest, handle, name, picture in zip(item.inputs, item.sources, item.names, made.inputs, strict=True):
            if handle in item.new and handle not in recorded:
                known = find_source(self.connection, self.owner, digest)
                if known is None:
                    listed = self.request.listed
                    insert_source(self.connection, self.owner, handle, digest, Picture(**picture), name, listed=listed)
                recorded[handle] = known or handle
        sources = [recorded.get(handle, handle) for handle in item.sources]
        pass_again(self.connection, self.owner, sources, self.now, listed=self.request.listed)
        return sources

    def _images(self, item: Item, made: Made, sources: Sequence[str]) -> list[str]:
        handles = []
        for output in made.outputs:
            handle = new_id("img")
            insert_result(
                self.connection,
                self.owner,
                handle,
                sources[0] if sources else None,
                output["digest"],
                Picture(**output["picture"]),
                self.tool,
                self.request.plan.to_wire(),
                made.facts,
                result_name(item.names[0] if item.names else "", self.tool, output["extension"]),
                listed=self.request.listed,
            )
            handles.append(handle)
        return handles

    def _file(self, item: Item, result: ItemResult) -> None:
        """Keep the answer for the same call; a report's without the handles that this caller happened to use."""
        filed = replace(result, sources=[]) if self.request.read_only else result
        row = {"of": self.owner, "key": item.key, "answer": filed.to_wire(), "now": self.now}
        self.connection.execute(_FILE, row)


def public_error(error: Exception) -> ItemResult:
    """The item that failed with this error; whoever raised something else than a `DarkroomError` had a bug."""
    if not isinstance(error, DarkroomError):
        error = DarkroomError("Something went wrong inside the server. Its log says more.")
    return ItemResult(error=error.to_wire())
