"""list_models: what an agent learns about models, and what it may tell the person."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support import onnx_models as onnx
from support.mcp_room import Bench, open_bench

from darkroom.engine.model_store import import_model
from darkroom.faces.mcp.listing import describe_manager
from darkroom.faces.mcp.server import build_server, managers
from darkroom_tools.models import cards, cards_for

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


async def listed(bench: Bench, **arguments: Any) -> tuple[dict[str, Any], str]:
    """The structured answer and its text."""
    async with Client(build_server(bench.room)) as client:
        reply = await client.call_tool("list_models", arguments)
    assert not reply.is_error, reply.content
    assert reply.structured_content is not None
    return reply.structured_content, reply.content[0].text


def install(bench: Bench, model: str) -> int:
    source = bench.folder / "given.onnx"
    source.write_bytes(onnx.luminance())
    return import_model(bench.room.models_dir, model, source).bytes


async def test_every_card_is_listed_with_its_licence_state_and_command(bench: Bench) -> None:
    facts, _ = await listed(bench)
    by_id = {item["id"]: item for item in facts["items"]}
    assert list(by_id) == list(cards())
    u2net = by_id["u2net"]
    assert (u2net["task"], u2net["title"], u2net["license"]) == ("cutout", "U²-Net", "Apache-2.0")
    assert (u2net["commercial"], u2net["state"], u2net["install"]) == (
        True,
        "not-installed",
        "darkroom models pull u2net",
    )
    assert "remove_background" in u2net["tools"]
    assert not by_id["bria-rmbg"]["commercial"]


async def test_an_installed_model_has_its_size_and_no_command(bench: Bench) -> None:
    size = install(bench, "u2net")
    facts, text = await listed(bench, task="cutout")
    (u2net,) = [item for item in facts["items"] if item["id"] == "u2net"]
    assert (u2net["state"], u2net["bytes"]) == ("installed", size)
    assert "install" not in u2net
    assert "cutout: installed u2net; not " in text


async def test_a_model_of_ones_own_is_listed_too(bench: Bench) -> None:
    install(bench, "mine")
    facts, _ = await listed(bench, task="other")
    assert [(item["id"], item["state"], item["tools"]) for item in facts["items"]] == [("mine", "installed", [])]


@pytest.mark.parametrize("name", ["cutout", "remove_background", "remove-background"])
async def test_a_task_or_a_tool_narrows_the_list(bench: Bench, name: str) -> None:
    facts, _ = await listed(bench, task=name)
    assert [item["id"] for item in facts["items"]] == [card.id for card in cards_for("cutout")]


async def test_an_unknown_task_is_answered_with_those_there_are(bench: Bench) -> None:
    async with Client(build_server(bench.room)) as client:
        reply = await client.call_tool("list_models", {"task": "cut-out"})
    assert reply.is_error
    assert reply.structured_content is not None
    assert reply.structured_content["details"]["nearest"] == "cutout"
    assert reply.structured_content["correctedCall"] == {"name": "list_models", "arguments": {"task": "cutout"}}


async def test_the_engine_says_what_runs_models_now(bench: Bench) -> None:
    facts, text = await listed(bench)
    assert facts["engine"]["runtime"].startswith("1.")
    assert facts["engine"]["alive"] is False
    assert text.startswith("Models run on nothing yet, ONNX Runtime 1.")


async def test_non_commercial_models_are_marked_in_the_text(bench: Bench) -> None:
    _, text = await listed(bench, task="cutout")
    assert "bria-rmbg (non-commercial)" in text
    assert "birefnet-general," in text


async def test_asking_starts_no_model_process_and_writes_nothing(bench: Bench) -> None:
    await listed(bench)
    assert bench.room.models.stats()["starts"] == 0
    assert not bench.room.models_dir.exists()


def test_it_costs_a_conversation_little() -> None:
    definition = describe_manager(managers()["list_models"], fetch=True)
    entry = {"name": definition.name, "description": definition.description, "inputSchema": definition.input_schema}
    assert len(json.dumps(entry, separators=(",", ":"))) / 3.9 <= 60
    assert definition.annotations is not None
    assert definition.annotations.read_only_hint
