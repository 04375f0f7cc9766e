"""Saved workflows: kept in the database, compiled once, announced when they change."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from darkroom.errors import NotFound
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.store.schema import workflows as table
from darkroom.workflows.compile import compile_workflow, tool_id
from darkroom.workflows.document import WorkflowDocument
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import nearest

__all__ = ["Saved", "Workflows"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """A stored workflow.

    Attributes:
        id: `wf_…`.
        name: For people, unique with its owner.
        document: What was saved.
        tool: The compiled tool; None if it no longer compiles, `problem` then says why.
    """

    id: str
    owner: str
    name: str
    document: WorkflowDocument
    updated_at: float
    tool: Tool | None
    problem: str | None = None


class Workflows:
    """The workflows of all owners. Reads come from memory, changes are committed first."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._saved: dict[str, Saved] = {}
        self._listeners: list[Callable[[], None]] = []
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Read and compile what is stored."""
        rows = await self._database.read(lambda connection: connection.execute(sa.select(table)).mappings().all())
        self._saved = {row["id"]: _from_row(dict(row)) for row in rows}

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever the set of tools may have changed."""
        self._listeners.append(listener)

    def list(self, principal: Principal) -> Sequence[Saved]:
        """The principal's workflows by name."""
        mine = [saved for saved in self._saved.values() if saved.owner == principal.id]
        return sorted(mine, key=lambda saved: saved.name)

    def tools(self, principal: Principal) -> Sequence[Tool]:
        """The tools that the principal's workflows are, by id."""
        return sorted((s.tool for s in self.list(principal) if s.tool is not None), key=lambda tool: tool.id)

    async def save(self, principal: Principal, document: WorkflowDocument) -> Saved:
        """Store a workflow under its name; one of the same name is replaced and keeps its tool name.

        Raises:
            InvalidSettings: It does not compile; nothing is stored.
        """
        async with self._changing:
            saved = await self._save(principal, document)
        self._announce()
        return saved

    async def delete(self, principal: Principal, key: str) -> Saved:
        """Delete the workflow with that id, tool name or name.

        Raises:
            NotFound: No such workflow of the principal, with the nearest name.
        """
        async with self._changing:
            found = await self._delete(principal, key)
        self._announce()
        return found

    async def _save(self, principal: Principal, document: WorkflowDocument) -> Saved:
        name = clean_text(document.name, 80)
        existing = next((saved for saved in self.list(principal) if saved.name == name), None)
        identifier = existing.id if existing else new_id("wf")
        tool = compile_workflow(document, tool_id(name, identifier), builtin_tools())
        now = time.time()
        row = {
            "id": identifier,
            "owner": principal.id,
            "tool": tool.name,
            "name": name,
            "document": document.to_wire(),
            "updated_at": now,
        }

        def store(connection: sa.Connection) -> None:
            if existing:
                connection.execute(table.update().where(table.c.id == identifier).values(**row))
            else:
                connection.execute(table.insert().values(**row, created_at=now))

        await self._database.write(store)
        saved = Saved(identifier, principal.id, name, document, now, tool)
        self._saved[identifier] = saved
        return saved

    async def _delete(self, principal: Principal, key: str) -> Saved:
        mine = self.list(principal)
        found = next((saved for saved in mine if key in _keys(saved)), None)
        if found is None:
            near = nearest(key, [saved.name for saved in mine])
            hint = f" Did you mean {near!r}?" if near else " list_workflows shows them."
            raise NotFound(f"There is no workflow {clean_text(key, 80)!r}.{hint}", nearest=near)
        await self._database.write(lambda connection: connection.execute(table.delete().where(table.c.id == found.id)))
        del self._saved[found.id]
        return found

    def _announce(self) -> None:
        for listener in self._listeners:
            listener()


def _keys(saved: Saved) -> set[str]:
    names = {saved.tool.name, saved.tool.id} if saved.tool else set()
    return {saved.id, saved.name, *names}


def _from_row(row: dict[str, Any]) -> Saved:
    document = WorkflowDocument.model_validate(row["document"])
    tool, problem = None, None
    try:
        tool = compile_workflow(document, row["tool"].replace("_", "-"), builtin_tools())
    except DarkroomError as error:
        problem = error.message
        log.warning("workflow %s no longer compiles: %s", row["id"], problem)
    return Saved(row["id"], row["owner"], row["name"], document, row["updated_at"], tool, problem)
