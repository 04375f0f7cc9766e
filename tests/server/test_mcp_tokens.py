"""What Darkroom costs a conversation before anything is asked: an estimate that may only fall.

Tokens are estimated by characters; the benchmark counts them with the real encoder. JSON of schemas has 3.9
characters a token, JSON with handles in it about 2.4.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import mcp_types as types
import pytest
from mcp import Client
from support.mcp_room import open_bench

from darkroom.faces.mcp.replies import OUTPUT_SCHEMA, TEXT_LIMIT
from darkroom.faces.mcp.server import INSTRUCTIONS, build_server
from darkroom.principal import LOCAL
from darkroom.workflows.document import WorkflowDocument

pytestmark = pytest.mark.anyio

SCHEMA_CHARACTERS = 3.9
REPLY_CHARACTERS = 2.4

MEDIAN, LARGEST, ALL = 215, 350, 11_900
"""The budget: of one tool, of the largest tool, and of everything that a fresh server publishes."""


def tokens(value: object) -> float:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False)) / SCHEMA_CHARACTERS


async def listed(folder: Path, *documents: WorkflowDocument) -> Sequence[types.Tool]:
    async with open_bench(folder) as bench:
        for document in documents:
            await bench.room.workflows.save(LOCAL, document)
        async with Client(build_server(bench.room)) as client:
            return (await client.list_tools()).tools


def cost(tool: types.Tool) -> float:
    """What a model reads of a tool."""
    return tokens({"name": tool.name, "description": tool.description, "inputSchema": tool.input_schema})


async def test_every_tool_and_all_together_stay_within_the_budget(tmp_path: Path) -> None:
    costs = {tool.name: round(cost(tool)) for tool in await listed(tmp_path)}
    assert statistics.median(costs.values()) <= MEDIAN, costs
    assert max(costs.values()) <= LARGEST, costs
    assert sum(costs.values()) <= ALL, costs


async def test_a_saved_workflow_costs_no_more_than_a_tool(tmp_path: Path) -> None:
    inputs = {name: f"${{{{ inputs.{name} }}}}" for name in ("width", "height", "fit")}
    words = {"name": "W" * 80, "description": "words " * 33, "steps": [{"tool": "resize", "settings": inputs}]}
    (tool,) = [t for t in await listed(tmp_path, WorkflowDocument.parse(words)) if t.name.startswith("wf_")]
    assert cost(tool) <= LARGEST


async def test_what_every_tool_repeats_is_small() -> None:
    assert tokens(OUTPUT_SCHEMA) <= 60
    assert len(INSTRUCTIONS) / SCHEMA_CHARACTERS <= 500
    assert TEXT_LIMIT / REPLY_CHARACTERS <= 210
