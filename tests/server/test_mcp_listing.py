"""tools/list: compact, flat, true, in one page, and never spoiled by one bad entry."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import Tool as Definition
from mcp_types.methods import serialize_server_result
from pydantic import ValidationError
from support.mcp_room import Bench, open_bench, png

from darkroom.faces.mcp.listing import check, describe
from darkroom.faces.mcp.server import build_server, managers
from darkroom.principal import LOCAL
from darkroom.workflows.document import WorkflowDocument
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

BOTH_ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])
WORKFLOW = {"name": "Small", "steps": [{"tool": "resize", "settings": {"width": "${{ inputs.width }}"}}]}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


async def listed(bench: Bench, era: str = "auto") -> list[Definition]:
    async with Client(build_server(bench.room), mode=era) as client:
        result = await client.list_tools()
        assert result.next_cursor is None
        return result.tools


def schemas_in(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema of a schema, with itself."""
    if isinstance(node, Mapping):
        yield node
        for key, value in node.items():
            if key == "properties":
                for member in value.values():
                    yield from schemas_in(member)
            elif key in ("items", "additionalProperties"):
                yield from schemas_in(value)
            elif key in ("anyOf", "oneOf", "allOf"):
                for member in value:
                    yield from schemas_in(member)


@BOTH_ERAS
async def test_every_tool_is_listed_once_in_alphabetical_order(bench: Bench, era: str) -> None:
    await bench.room.workflows.save(LOCAL, WorkflowDocument.parse(WORKFLOW))
    names = [tool.name for tool in await listed(bench, era)]
    assert names == sorted(set(names))
    assert {tool.name for tool in builtin_tools().values()} <= set(names)
    assert set(managers()) <= set(names)
    assert any(name.startswith("wf_small_") for name in names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{1,39}", name) for name in names)


async def test_somebody_elses_workflow_is_not_listed(bench: Bench) -> None:
    await bench.room.workflows.save(replace(LOCAL, id="somebody-else"), WorkflowDocument.parse(WORKFLOW))
    assert not [tool.name for tool in await listed(bench) if tool.name.startswith("wf_")]


@BOTH_ERAS
async def test_every_schema_is_one_that_all_clients_take(bench: Bench, era: str) -> None:
    await bench.room.workflows.save(LOCAL, WorkflowDocument.parse(WORKFLOW))
    for tool in await listed(bench, era):
        root = tool.input_schema
        assert root["type"] == "object", tool.name
        assert root["additionalProperties"] is False, tool.name
        assert not {"anyOf", "oneOf", "allOf", "not", "if", "title", "description", "$defs"} & set(root), tool.name
        for schema in schemas_in(root):
            assert not {"$ref", "title", "discriminator"} & set(schema), tool.name
            assert not isinstance(schema.get("type"), list), tool.name
            assert schema == {} or "type" in schema or "anyOf" in schema or "enum" in schema, (tool.name, schema)
        if tool.output_schema is not None:
            assert tool.output_schema["type"] == "object"
        assert tool.title
        assert tool.description


async def test_annotations_are_what_the_tools_are(bench: Bench) -> None:
    hints = {tool.name: tool.annotations for tool in await listed(bench)}
    for tool in builtin_tools().values():
        hint = hints[tool.name]
        assert hint is not None
        assert hint.read_only_hint is (tool.output == "report")
        assert hint.open_world_hint is True
        if not hint.read_only_hint:
            assert (hint.destructive_hint, hint.idempotent_hint) == (False, True)
    assert {name for name, hint in hints.items() if hint and hint.destructive_hint} == {
        "cancel_job",
        "delete_image",
        "delete_workflow",
        "export_image",
        "rate_job",
    }


async def test_read_only_management_tools_leave_everything_as_it_was(bench: Bench) -> None:
    source = await bench.store.add(png(4, 3))
    async with Client(build_server(bench.room)) as client:
        await client.call_tool("save_workflow", WORKFLOW)
        made = await client.call_tool(
            "run_pipeline", {"steps": [{"tool": "resize", "settings": {"width": 2}}], "images": [source, source]}
        )
        before = await snapshot(bench)
        calls = {
            "view_image": {"image": source},
            "list_images": {},
            "list_workflows": {},
            "list_models": {},
            "get_job": {"job": made.structured_content["job"]},
            "get_balance": {},
        }
        read_only = {
            t.name for t in (await client.list_tools()).tools if t.annotations and t.annotations.read_only_hint
        }
        # These ask the real jobs; the contract tests call them too.
        others = {"check_workflow", "list_jobs"}
        assert read_only - {tool.name for tool in builtin_tools().values()} - others == set(calls)
        for name, arguments in calls.items():
            assert not (await client.call_tool(name, arguments)).is_error
    assert await snapshot(bench) == before


async def snapshot(bench: Bench) -> Any:
    files = sorted(str(path) for path in (bench.folder / "blobs").rglob("*"))
    images = (await bench.room.library.list(LOCAL, limit=200)).images
    return files, images, bench.room.workflows.list(LOCAL), len(bench.jobs.jobs)


async def test_a_broken_tool_is_left_out_and_hides_no_other(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    good = builtin_tools()["resize"]

    class Unlistable(type(good)):  # type: ignore[misc]
        def input_schema(self) -> dict[str, Any]:
            return {}

    broken = Unlistable(**{**vars(good), "id": "broken-one"})
    crashing = replace(good, id="crashing-one", settings=None)  # type: ignore[arg-type]
    catalog = bench.room.catalog
    catalog.tools_for = lambda _principal: [*builtin_tools().values(), broken, crashing]  # type: ignore[method-assign]
    for era in ("auto", "legacy"):
        names = {tool.name for tool in await listed(bench, era)}
        assert "resize" in names
        assert not {"broken_one", "crashing_one"} & names
    assert "broken_one" in caplog.text
    assert "crashing-one" in caplog.text


async def test_the_guard_refuses_what_one_protocol_version_cannot_say() -> None:
    definition = describe(builtin_tools()["resize"], fetch=True)
    check(definition)
    with pytest.raises(ValidationError):
        check(definition.model_copy(update={"output_schema": {"type": "array"}}))


async def test_every_tool_fits_every_protocol_version(bench: Bench) -> None:
    for tool in await listed(bench):
        wire = tool.model_dump(by_alias=True, mode="json", exclude_none=True)
        for version in ("2025-06-18", "2025-11-25", "2026-07-28"):
            body = {"tools": [wire], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            said = serialize_server_result("tools/list", version, body)["tools"][0]
            assert said["inputSchema"] == tool.input_schema
