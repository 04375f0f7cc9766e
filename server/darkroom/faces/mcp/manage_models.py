"""The tool that looks at models: which there are, which are here, and how to get the others."""

from typing import Annotated, Any, ClassVar

import anyio
import mcp_types as types
from pydantic import Field

from darkroom.engine.model_registry import AI_COMMAND, Entry, all_entries, runtime_version
from darkroom.faces.mcp.calls import Call
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.replies import facts_reply
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import Settings, nearest

__all__ = ["MODEL_MANAGERS"]

DETAILS = frozenset({"batchSizes", "modelRequests", "modelSeconds", "tried"})
"""Counters that `/metrics` tells and no caller needs."""


class ListModels(Settings):
    """Arguments of list_models."""

    aliases: ClassVar = {"tool": "task"}

    task: Annotated[str, Field(max_length=80)] | None = None
    """Task or tool"""


async def list_models(call: Call, wanted: ListModels) -> types.CallToolResult:
    """Every model with its licence, its state and the command that installs it; what runs models now."""
    room, tools = call.room, call.room.catalog.tools_for(call.principal)
    entries = await anyio.to_thread.run_sync(all_entries, room.models_dir, tools)
    if wanted.task is not None:
        entries = _only(entries, wanted.task)
    runtime = runtime_version()
    stats = {key: value for key, value in room.models.stats().items() if value is not None and key not in DETAILS}
    facts: dict[str, Any] = {
        "engine": {"runtime": runtime or "not installed", **stats},
        "items": [_facts(entry) for entry in entries],
    }
    if runtime is None:
        facts["next"] = f"Models need ONNX Runtime: {AI_COMMAND}"
    reply = facts_reply(facts)
    return reply.model_copy(update={"content": [types.TextContent(text="\n".join(_lines(entries, facts)))]})


def _only(entries: list[Entry], name: str) -> list[Entry]:
    """The models of a task or a tool.

    Raises:
        InvalidSettings: There is none of that name.
    """
    by_name: dict[str, list[Entry]] = {}
    for entry in entries:
        for each in {_task(entry), *map(_tool, entry.tools)}:
            by_name.setdefault(each, []).append(entry)
    key = _tool(name)
    found = by_name.get(name) or by_name.get(key)
    if found is None:
        known = sorted(by_name)
        raise InvalidSettings(
            f"No task or tool with models is called {name!r}. There are {', '.join(known)}.",
            field="task",
            got=name,
            allowed=known,
            nearest=nearest(name, known),
        )
    return found


def _facts(entry: Entry) -> dict[str, Any]:
    card = entry.card
    facts = {
        "id": entry.id,
        "task": _task(entry),
        "title": card.title if card is not None else None,
        "license": card.license if card is not None else None,
        "commercial": card.commercial if card is not None else None,
        "state": entry.state,
        "bytes": entry.bytes,
        "tools": [_tool(tool) for tool in entry.tools],
        "install": entry.command,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _lines(entries: list[Entry], facts: dict[str, Any]) -> list[str]:
    """For each task what is here and what could be, in the order of the cards: the best first."""
    lines = [
        f"Models run on {facts['engine'].get('device', 'nothing yet')}, ONNX Runtime {facts['engine']['runtime']}."
    ]
    for task in dict.fromkeys(map(_task, entries)):
        models = [entry for entry in entries if _task(entry) == task]
        here = [entry.id for entry in models if entry.command is None]
        lines.append(f"{task}: installed {', '.join(here) or 'none'}; not {_names(models) or 'any other'}")
    return [*lines, facts.get("next", "The person installs one with: darkroom models pull ID")]


def _names(models: list[Entry]) -> str:
    lacking = [entry for entry in models if entry.command is not None]
    return ", ".join(
        entry.id if entry.card is None or entry.card.commercial else f"{entry.id} (non-commercial)" for entry in lacking
    )


def _task(entry: Entry) -> str:
    return entry.card.task if entry.card is not None else "other"


def _tool(name: str) -> str:
    return name.replace("-", "_")


MODEL_MANAGERS = (
    Manager(
        "list_models",
        "List models",
        "AI models: state, licence, install command.",
        ListModels,
        list_models,
        read_only=True,
        example={"task": "cutout"},
    ),
)
