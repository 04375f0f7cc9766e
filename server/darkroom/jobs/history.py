"""What was run: found again, judged, pinned and forgotten by its owner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import sqlalchemy as sa

from darkroom.errors import Conflict, NotFound
from darkroom.jobs.record import Job
from darkroom.library.library import Library, find_images
from darkroom.library.record import Cursor
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.schema import images, jobs
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text

__all__ = [
    "COLUMNS",
    "LONGEST_NOTE",
    "MOST_EXPECTED",
    "Filter",
    "History",
    "JobPage",
    "load_job",
    "newest_tries",
    "no_such_job",
]

COLUMNS: Final = tuple(column for column in jobs.c if column.name != "request")
"""What a `Job` is made of; a request may be large and nobody asks for it."""

MOST_LISTED: Final = 100
MOST_OFFSET: Final = 2**62
LONGEST_NOTE: Final = 1_000
MOST_EXPECTED: Final = 20

_MINE = (jobs.c.id == sa.bindparam("which")) & (jobs.c.owner == sa.bindparam("of"))
_LOAD = sa.select(*COLUMNS).where(_MINE)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs are wanted; what is not given does not matter.

    Attributes:
        states: Any of these.
        tool: Tool id.
        workflow: Id of a saved workflow.
        workflows: Ids of workflows, any of these; those of the gallery are `gallery/<slug>`.
        of_workflows: Whether jobs of plain tools and of unsaved steps are left out.
        first_tries: Whether jobs that try the call of an earlier one again are left out.
        labels: All of these.
        since: Accepted then or later, in seconds since the epoch.
        until: Accepted before then.
        liked: Liked or disliked.
    """

    states: Sequence[str] = ()
    tool: str | None = None
    workflow: str | None = None
    workflows: Sequence[str] = ()
    of_workflows: bool = False
    first_tries: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    since: float | None = None
    until: float | None = None
    liked: bool | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """The filter as SQL."""
        columns = {jobs.c.tool: self.tool, jobs.c.workflow: self.workflow, jobs.c.liked: self.liked}
        wanted = [column == value for column, value in columns.items() if value is not None]
        if self.states:
            wanted.append(jobs.c.state.in_(self.states))
        if self.workflows:
            wanted.append(jobs.c.workflow.in_(self.workflows))
        if self.of_workflows:
            wanted.append(jobs.c.workflow.is_not(None))
        if self.first_tries:
            wanted.append(jobs.c.retry_of.is_(None))
        wanted += [jobs.c.labels[name].as_string() == value for name, value in self.labels.items()]
        if self.since is not None:
            wanted.append(jobs.c.created_at >= self.since)
        if self.until is not None:
            wanted.append(jobs.c.created_at < self.until)
        return wanted


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, newest first, and the cursor of the rest; None at the end."""

    jobs: Sequence[Job]
    next: str | None


def no_such_job() -> NotFound:
    """What is said of a job that is not there, and of somebody else's."""
    return NotFound("There is no such job, or it is no longer kept. list_jobs shows all that are.")


def load_job(connection: sa.Connection, owner: str, job_id: str) -> Job:
    """The owner's job of that id.

    Raises:
        NotFound: There is none, or it belongs to somebody else: the answer is the same.
    """
    row = connection.execute(_LOAD, {"which": job_id, "of": owner}).mappings().one_or_none()
    if row is None:
        raise no_such_job()
    return Job.from_row(dict(row))


def newest_tries(connection: sa.Connection, owner: str, job_ids: Sequence[str]) -> dict[str, Job]:
    """By first job the last one that tries its call again; without those that were never tried again."""
    tries = sa.select(*COLUMNS).where(jobs.c.owner == owner, jobs.c.retry_of.in_(job_ids)).order_by(jobs.c.seq)
    return {row["retry_of"]: Job.from_row(dict(row)) for row in connection.execute(tries).mappings()}


class History:
    """The jobs of all owners, each seen by its own."""

    def __init__(self, database: Database, library: Library) -> None:
        self._database = database
        self._library = library

    async def list(
        self, principal: Principal, wanted: Filter = Filter(), *, limit: int = 20, before: str | None = None
    ) -> JobPage:
        """The principal's jobs, newest first.

        Args:
            wanted: Which of them.
            limit: At most so many, 1 to 100.
            before: The `next` of the page before.

        Raises:
            InvalidSettings: `before` is no cursor of this list.
        """
        limit = max(1, min(limit, MOST_LISTED))
        found = sa.select(*COLUMNS).where(jobs.c.owner == principal.id, *wanted.conditions())
        if before is not None:
            after = Cursor.from_text(before)
            found = found.where(sa.tuple_(jobs.c.created_at, jobs.c.id) < sa.tuple_(after.created_at, after.id))
        found = found.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit + 1)
        rows = await self._database.read(lambda connection: connection.execute(found).mappings().all())
        page = [Job.from_row(dict(row)) for row in rows[:limit]]
        last = page[-1] if len(rows) > limit else None
        return JobPage(page, Cursor(last.created_at, last.id).to_text() if last else None)

    async def page(
        self, principal: Principal, wanted: Filter = Filter(), *, limit: int = 20, offset: int = 0
    ) -> tuple[Sequence[Job], int]:
        """Some of the principal's jobs, newest first, and how many there are altogether.

        Args:
            wanted: Which of them.
            limit: At most so many, 1 to 100.
            offset: How many of the newest are passed over, from 0.
        """
        mine = (jobs.c.owner == principal.id, *wanted.conditions())
        order = (jobs.c.created_at.desc(), jobs.c.id.desc())
        limit = max(1, min(limit, MOST_LISTED))
        found = sa.select(*COLUMNS).where(*mine).order_by(*order).limit(limit).offset(max(0, min(offset, MOST_OFFSET)))
        count = sa.select(sa.func.count()).select_from(jobs).where(*mine)

        def look(connection: sa.Connection) -> tuple[Sequence[sa.RowMapping], int]:
            return connection.execute(found).mappings().all(), connection.execute(count).scalar_one()

        rows, total = await self._database.read(look)
        return [Job.from_row(dict(row)) for row in rows], total

    async def newest_tries(self, principal: Principal, job_ids: Sequence[str]) -> Mapping[str, Job]:
        """By first job the last one that tries its call again; without those that were never tried again."""
        return await self._database.read(lambda connection: newest_tries(connection, principal.id, job_ids))

    async def inputs(self, principal: Principal, job_id: str) -> Sequence[tuple[str, str]]:
        """File name and SHA-256 of each picture that went into a job, in order.

        Raises:
            NotFound: No such job of the principal.
        """
        found = await self.inputs_of(principal, [job_id])
        if job_id not in found:
            raise no_such_job()
        return found[job_id]

    async def inputs_of(self, principal: Principal, job_ids: Sequence[str]) -> Mapping[str, Sequence[tuple[str, str]]]:
        """File names and digests of what went into each of these jobs of the principal."""
        items = sa.select(jobs.c.id, jobs.c.request["items"].label("items"))
        mine = items.where(jobs.c.owner == principal.id, jobs.c.id.in_(job_ids))
        rows = await self._database.read(lambda connection: connection.execute(mine).all())
        return {
            row.id: [pair for item in row.items for pair in zip(item["names"], item["inputs"], strict=False)]
            for row in rows
        }

    async def rate(self, principal: Principal, job_id: str, said: Mapping[str, Any]) -> Job:
        """Keep what the owner says of a result; what is not said stays as it was.

        Args:
            said: `like` (True, False, or None to take it back), `note` (words) and `expected` (handles of images as the
                result should have been).

        Raises:
            NotFound: No such job, or an expected image that is not the principal's.
            InvalidSettings: Over 20 expected images.
        """
        expected = list(said.get("expected", ()))
        if len(expected) > MOST_EXPECTED:
            raise InvalidSettings(
                f"{len(expected)} expected images came; {MOST_EXPECTED} may.", field="expected", got=len(expected)
            )
        given: dict[str, Any] = {"expected": expected} if "expected" in said else {}
        if "note" in said:
            given["note"] = clean_text(said["note"], LONGEST_NOTE)

        def work(connection: sa.Connection) -> Job:
            job = load_job(connection, principal.id, job_id)
            known = find_images(connection, principal.id, expected)
            missing = [clean_text(handle, 60) for handle in expected if handle not in known]
            if missing:
                raise NotFound(f"There is no image {missing[0]!r} to expect. Hand it in first.", got=missing[0])
            feedback = {key: value for key, value in {**job.feedback, **given}.items() if value}
            liked = said.get("like", job.liked)
            self._change(connection, principal, job_id, {"liked": liked, "feedback": feedback or None})
            return replace(job, liked=liked, feedback=feedback)

        return await self._database.write(work)

    async def pin(self, principal: Principal, key: str, *, pinned: bool = True) -> None:
        """Keep a job and what it made, or one image, however old it is and however little space there is.

        Args:
            key: Id of a job, or handle of an image.
            pinned: False lets it go again.

        Raises:
            NotFound: There is none of the principal's.
        """
        if not key.startswith("img_"):
            return await self._database.write(lambda c: self._change(c, principal, key, {"pinned": pinned}))
        mine = images.update().where(images.c.id == key, images.c.owner == principal.id).values(pinned=pinned)
        if not await self._database.write(lambda c: c.execute(mine).rowcount):
            raise NotFound(f"There is no image {clean_text(key, 60)!r}. list_images shows the handles of all images.")

    async def delete(self, principal: Principal, job_id: str, *, with_images: bool = False) -> int:
        """Forget a job that ended. What it made stays in the library unless asked otherwise.

        Args:
            with_images: Delete the images that it made too, except those that are pinned.

        Returns:
            How many images went with it.

        Raises:
            NotFound: No such job of the principal.
            Conflict: It has not ended.
        """

        def work(connection: sa.Connection) -> list[str]:
            job = load_job(connection, principal.id, job_id)
            if not job.ended:
                raise Conflict(
                    f"This job is {job.state}. Stop it with cancel_job, or wait for its end, then delete it.",
                    state=job.state,
                )
            connection.execute(jobs.delete().where(jobs.c.id == job_id))
            made = find_images(connection, principal.id, _made_by(job)) if with_images else {}
            return [handle for handle, record in made.items() if not record.pinned]

        doomed = await self._database.write(work)
        for handle in doomed:
            await self._library.delete(principal, handle)
        return len(doomed)

    @staticmethod
    def _change(connection: sa.Connection, principal: Principal, job_id: str, values: Mapping[str, Any]) -> None:
        mine = (jobs.c.id == job_id) & (jobs.c.owner == principal.id)
        if not connection.execute(jobs.update().where(mine).values(values)).rowcount:
            raise no_such_job()


def _made_by(job: Job) -> list[str]:
    """The images that came into being with this job, none that it only was answered with."""
    if job.result is None:
        return []
    archive = [job.result.archive] if job.result.archive is not None else []
    return [handle for item in (*job.result.items, *archive) if not item.cached for handle in item.images]
