"""tools/list: every tool as compact, flat and true as a client of any kind needs it."""

import logging
from collections.abc import Iterable, Mapping

import mcp_types as types
from mcp_types.methods import serialize_server_result
from pydantic import ValidationError

from darkroom.errors import DarkroomError
from darkroom.faces.mcp.manage import Manager, flat_schema
from darkroom.faces.mcp.replies import OUTPUT_SCHEMA
from darkroom.faces.mcp.room import Context, Room
from darkroom_tools.base import Tool

__all__ = ["Listing", "check", "describe", "describe_manager"]

log = logging.getLogger(__name__)

CHECKED_VERSIONS = ("2025-06-18", "2025-11-25", "2026-07-28")


def describe(tool: Tool, *, fetch: bool) -> types.Tool:
    """An image tool, report or workflow as MCP publishes it."""
    if tool.read_only:
        hints = types.ToolAnnotations(read_only_hint=True, open_world_hint=fetch)
    else:
        hints = types.ToolAnnotations(
            read_only_hint=False,
            destructive_hint=False,
            idempotent_hint=True,
            open_world_hint=fetch or tool.generative,
        )
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=" ".join(tool.description.split("\n\n", 1)[0].split()),
        input_schema=tool.input_schema(),
        output_schema=OUTPUT_SCHEMA,
        annotations=hints,
    )


def describe_manager(manager: Manager, *, fetch: bool) -> types.Tool:
    """A management tool as MCP publishes it."""
    hints = types.ToolAnnotations(read_only_hint=manager.read_only, open_world_hint=manager.open_world and fetch)
    if not manager.read_only:
        hints.destructive_hint = manager.destructive
        hints.idempotent_hint = manager.idempotent
    return types.Tool(
        name=manager.name,
        title=manager.title,
        description=manager.summary,
        input_schema=flat_schema(manager.settings),
        output_schema=OUTPUT_SCHEMA if manager.structured else None,
        annotations=hints,
    )


def check(definition: types.Tool) -> None:
    """Make sure that this tool cannot spoil the list for the others: one bad entry fails all of tools/list.

    Raises:
        ValidationError: Some protocol version cannot express it.
    """
    wire = definition.model_dump(by_alias=True, mode="json", exclude_none=True)
    for version in CHECKED_VERSIONS:
        serialize_server_result(
            "tools/list", version, {"tools": [wire], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        )


class Listing:
    """What tools/list answers: one page in a stable order, without what is broken."""

    def __init__(self, room: Room, managers: Mapping[str, Manager]) -> None:
        self._room = room
        self._needs = {manager.name: manager.needs for manager in managers.values()}
        self._managers = self._sound(describe_manager(manager, fetch=room.fetch) for manager in managers.values())
        self._described: dict[str, tuple[Tool, types.Tool | None]] = {}

    async def list_tools(self, ctx: Context, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        """Handle tools/list: what the caller may use."""
        principal = self._room.principal(ctx)
        try:
            await self._room.workflows.refresh(principal)
        except DarkroomError as error:
            log.warning("the list of tools may be old: %s", error.message)
        tools = self._room.catalog.tools_for(principal) if principal.may("tools:run") else []
        managing = [each for each in self._managers if principal.may(self._needs[each.name])]
        own = (self._definition(tool) for tool in tools)
        everything = [*managing, *(definition for definition in own if definition is not None)]
        return types.ListToolsResult(tools=sorted(everything, key=lambda definition: definition.name))

    def _definition(self, tool: Tool) -> types.Tool | None:
        """The tool's definition, made and checked once; None while it is quarantined."""
        known = self._described.get(tool.id)
        if known is not None and known[0] is tool:
            return known[1]
        try:
            found = next(iter(self._sound([describe(tool, fetch=self._room.fetch)])), None)
        except Exception:
            log.exception("tool %s cannot be described and is left out", tool.id)
            found = None
        self._described[tool.id] = (tool, found)
        return found

    def _sound(self, definitions: Iterable[types.Tool]) -> list[types.Tool]:
        sound = []
        for definition in definitions:
            try:
                check(definition)
            except ValidationError:
                log.exception("tool %s does not fit the protocol and is left out", definition.name)
            else:
                sound.append(definition)
        return sound
