"""Saved workflows: each save an immutable version, compiled once, announced when the tools change."""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from darkroom.errors import DarkroomError, NotFound
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.workflows import stored
from darkroom.workflows.compile import compile_workflow, tool_id
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.exchange import cleaned
from darkroom.workflows.stored import Head, NewVersion, Version
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import nearest

__all__ = ["Saved", "Workflows", "find_saved", "missing"]

log = logging.getLogger(__name__)

FRESH_SECONDS = 1.0
"""How long what other processes saved may stay unseen."""

TRIES = 8
"""A save that met another one of the same name starts again; each time at least one of them is done."""

KEPT_OLDER = 50
"""Older versions of one owner that stay compiled after they were asked for."""

NUMBERED = re.compile(r"(.+)@(\d{1,9})")


@dataclass(frozen=True, slots=True)
class Saved:
    """A workflow in one of its versions.

    Attributes:
        id: `wf_…`, or `gallery/<slug>` for one that comes with Darkroom.
        owner: Whose it is; empty for the gallery's.
        name: For people, unique with its owner.
        tool_name: Its MCP name, the same for all versions.
        version: Id of the version, `wfv_…`.
        number: Of the version, from 1.
        published: Whether the workflow is a tool in the list.
        document: What was saved.
        author: Who saved the version.
        updated_at: When the version was saved, in seconds since the epoch.
        tool: The compiled tool; None if it no longer compiles, `problem` then says why.
        created_at: When the workflow was first saved, in seconds since the epoch.
    """

    id: str
    owner: str
    name: str
    tool_name: str
    version: str
    number: int
    published: bool
    document: WorkflowDocument
    author: str
    updated_at: float
    tool: Tool | None
    problem: str | None = None
    created_at: float = 0.0

    def runnable(self) -> Tool:
        """The tool to run.

        Raises:
            InvalidSettings: It no longer compiles.
        """
        if self.tool is None:
            raise InvalidSettings(f"The workflow {self.name!r} cannot run any more. {self.problem}", field="workflow")
        return self.tool


@dataclass(slots=True)
class _Owned:
    """What is known of one owner's workflows."""

    saved: dict[str, Saved] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    older: dict[str, Saved] = field(default_factory=dict)
    seen_at: float | None = None
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Workflows:
    """The workflows of all owners. Changes are committed first; reads come from memory.

    Memory follows what other processes save: `refresh` looks at most once a second, and a key that is not known
    makes it look at once.

    Args:
        database: At the newest schema.
        clock: Seconds, for how old the memory is.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._owners: dict[str, _Owned] = {}
        self._listeners: list[Callable[[], None]] = []

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the set of tools may have changed."""
        self._listeners.append(listener)

    async def refresh(self, principal: Principal, *, now: bool = False) -> None:
        """See what other processes changed, at most once a second; with `now` in any case."""
        owned = self._owners.setdefault(principal.id, _Owned())
        if now or self._is_due(owned):
            async with owned.changing:
                if now or self._is_due(owned):
                    await self._read(principal.id, owned)

    def list(self, principal: Principal) -> Sequence[Saved]:
        """The principal's workflows in their newest versions by name, as they were at the last `refresh`."""
        owned = self._owners.get(principal.id)
        return sorted(owned.saved.values(), key=lambda saved: saved.name) if owned is not None else []

    async def owners(self) -> Sequence[str]:
        """Everybody who has a workflow, for who may see those of all."""
        return await self._database.read(stored.list_owners)

    def tools(self, principal: Principal) -> Sequence[Tool]:
        """The tools that the principal's published workflows are, by id."""
        mine = (saved.tool for saved in self.list(principal) if saved.published)
        return sorted((tool for tool in mine if tool is not None), key=lambda tool: tool.id)

    async def get(self, principal: Principal, key: str) -> Saved:
        """The workflow with that name, tool name or id, in its newest version; `name@3` and `wfv_…` name another one.

        Raises:
            NotFound: No such workflow or version of the principal, with the nearest name.
        """
        for at_once in (False, True):
            await self.refresh(principal, now=at_once)
            if (found := await self._find(principal, key)) is not None:
                return found
        raise missing(key, [saved.name for saved in self.list(principal)])

    async def versions(self, principal: Principal, saved: Saved) -> Sequence[Mapping[str, Any]]:
        """Id, number, author and time of all versions of a workflow, oldest first."""
        rows = await self._database.read(lambda c: stored.list_versions(c, principal.id, saved.id))
        return [dict(row) for row in rows]

    async def save(self, principal: Principal, document: WorkflowDocument) -> Saved:
        """Store a document as the next version of the workflow of that name, or as a new one.

        The tool name stays. A document that says what the newest version says makes no new one. Where the document
        does not say whether it is published, that stays too.

        Raises:
            InvalidSettings: It does not compile; nothing is stored.
            LimitReached: Too many workflows or versions.
        """
        document = cleaned(document)
        compiled = await asyncio.to_thread(compile_workflow, document, tool_id(document.name, "new"), builtin_tools())
        new = NewVersion(
            owner=principal.id,
            name=document.name,
            document=document.to_wire(),
            author=document.author or clean_text(principal.id, 80),
            published=document.published if "published" in document.model_fields_set else None,
            tool=lambda identifier: tool_id(document.name, identifier).replace("-", "_"),
            same=lambda written: _same(document, written),
        )
        owned = self._owners.setdefault(principal.id, _Owned())
        async with owned.changing:
            await self._read(principal.id, owned)
            head, version, changed = await self._insist(lambda c: stored.store(c, new, time.time()))
            saved = _saved(head, version, document, compiled)
            owned.heads[head.id], owned.saved[head.id] = head, saved
        if changed:
            self.announce()
        return saved

    async def publish(self, principal: Principal, key: str, *, published: bool) -> Saved:
        """Make a workflow a tool in the list, or none; it runs through run_workflow either way.

        Raises:
            NotFound: No such workflow of the principal.
        """
        found = await self.get(principal, key)
        owned = self._owners[principal.id]
        async with owned.changing:
            head = owned.heads.get(found.id)
            if head is None:
                raise missing(key, [])
            if head.published != published:
                head = await self._database.write(
                    lambda c: stored.set_published(c, head, time.time(), published=published)
                )
            saved = replace(owned.saved[head.id], published=published)
            owned.heads[head.id], owned.saved[head.id] = head, saved
        self.announce()
        return saved

    async def delete(self, principal: Principal, key: str) -> Saved:
        """Delete the workflow with that id, tool name or name, with all its versions; pictures and jobs stay.

        Raises:
            NotFound: No such workflow of the principal, with the nearest name.
        """
        owned = self._owners.setdefault(principal.id, _Owned())
        async with owned.changing:
            await self._read(principal.id, owned)
            mine = self.list(principal)
            found = find_saved(mine, key)
            if found is None or not await self._database.write(lambda c: stored.remove(c, principal.id, found.id)):
                raise missing(key, [saved.name for saved in mine])
            del owned.heads[found.id], owned.saved[found.id]
        self.announce()
        return found

    def _is_due(self, owned: _Owned) -> bool:
        return owned.seen_at is None or self._clock() - owned.seen_at >= FRESH_SECONDS

    async def _read(self, owner: str, owned: _Owned) -> None:
        """Bring memory up to what is stored; only versions that are new here are read and compiled."""
        first, owned.seen_at = owned.seen_at is None, self._clock()
        known = {saved.version for saved in owned.saved.values()}

        def work(connection: sa.Connection) -> tuple[dict[str, Head], dict[str, Version]]:
            heads = stored.list_heads(connection, owner)
            return heads, stored.load_versions(connection, owner, {head.version for head in heads.values()} - known)

        heads, versions = await self._database.read(work)
        if heads == owned.heads:
            return
        made = await asyncio.to_thread(_compile_all, heads, versions)
        kept = {
            key: replace(owned.saved[key], published=head.published)
            for key, head in heads.items()
            if key not in made and key in owned.saved
        }
        owned.heads, owned.saved = heads, {**kept, **made}
        if not first:
            self.announce()

    async def _find(self, principal: Principal, key: str) -> Saved | None:
        mine = self.list(principal)
        if (found := find_saved(mine, key)) is not None:
            return found
        if key.startswith("wfv_"):
            versions = await self._database.read(lambda c: stored.load_versions(c, principal.id, [key]))
            return await self._of_version(principal, versions.get(key))
        if (match := NUMBERED.fullmatch(key)) is None or (base := find_saved(mine, match[1])) is None:
            return None
        number = int(match[2])
        if number == base.number:
            return base
        version = await self._database.read(lambda c: stored.load_version(c, principal.id, base.id, number))
        return await self._of_version(principal, version)

    async def _of_version(self, principal: Principal, version: Version | None) -> Saved | None:
        owned = self._owners[principal.id]
        head = owned.heads.get(version.workflow) if version is not None else None
        if version is None or head is None:
            return None
        if owned.saved[head.id].version == version.id:
            return owned.saved[head.id]
        if version.id not in owned.older:
            while len(owned.older) >= KEPT_OLDER:
                del owned.older[next(iter(owned.older))]
            owned.older[version.id] = await asyncio.to_thread(_from_stored, head, version)
        return replace(owned.older[version.id], published=head.published)

    async def _insist(self, work: Callable[[sa.Connection], tuple[Head, Version, bool]]) -> tuple[Head, Version, bool]:
        for _ in range(TRIES - 1):
            try:
                return await self._database.write(work)
            except sa.exc.IntegrityError:
                continue
        return await self._database.write(work)

    def announce(self) -> None:
        """Tell everybody who wanted to know that the set of tools may have changed."""
        for listener in self._listeners:
            listener()


def find_saved(among: Sequence[Saved], key: str) -> Saved | None:
    """The one with that name, tool name or id; of names that differ in upper and lower case only, the exact one."""
    wanted = key.strip()
    for saved in among:
        if wanted and wanted in (saved.name, saved.id, saved.tool_name, saved.tool_name.replace("_", "-")):
            return saved
    return next((saved for saved in among if saved.name.casefold() == wanted.casefold()), None)


def missing(key: str, names: Sequence[str]) -> NotFound:
    """The error for a workflow that nobody finds; the same for one that is somebody else's."""
    near = nearest(key, list(names))
    hint = f" Did you mean {near!r}?" if near else " list_workflows shows them."
    return NotFound(f"There is no workflow {clean_text(key, 80)!r}.{hint}", field="workflow", nearest=near)


def _same(document: WorkflowDocument, written: Mapping[str, Any]) -> bool:
    """Whether a stored document says the same; that it is published is no part of a version."""
    try:
        before = cleaned(WorkflowDocument.parse(written))
    except DarkroomError:
        return False
    return before.model_dump(exclude={"published"}) == document.model_dump(exclude={"published"})


def _compile_all(heads: Mapping[str, Head], versions: Mapping[str, Version]) -> dict[str, Saved]:
    return {head.id: _from_stored(head, versions[head.version]) for head in heads.values() if head.version in versions}


def _from_stored(head: Head, version: Version) -> Saved:
    # One that an older or a newer Darkroom wrote may be unreadable; it is listed and can be deleted all the same.
    document = WorkflowDocument.model_construct(name=head.name, components=[])
    try:
        document = cleaned(WorkflowDocument.parse(version.document))
        return _saved(head, version, document, compile_workflow(document, _id_of(head), builtin_tools()))
    except DarkroomError as error:
        log.warning("version %d of workflow %s no longer compiles: %s", version.number, head.id, error.message)
        return _saved(head, version, document, None, error.message)


def _saved(
    head: Head, version: Version, document: WorkflowDocument, compiled: Tool | None, problem: str | None = None
) -> Saved:
    tool = replace(compiled, id=_id_of(head), workflow=head.id, version=version.id) if compiled is not None else None
    return Saved(
        id=head.id,
        owner=head.owner,
        name=head.name,
        tool_name=head.tool,
        version=version.id,
        number=version.number,
        published=head.published,
        document=document,
        author=version.author,
        updated_at=version.created_at,
        tool=tool,
        problem=problem,
        created_at=head.created_at,
    )


def _id_of(head: Head) -> str:
    return head.tool.replace("_", "-")
