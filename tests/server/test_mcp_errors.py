"""Errors that teach: each names the field and, where that follows from the call, a call that works."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import CallToolResult, TextContent
from support.mcp_room import Bench, open_bench, png

from darkroom.faces.mcp.server import build_server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


STEP = {"tool": "resize", "settings": {"width": 2}}

WRONG_CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("resize", {"image": "@", "widht": 20}, "widht"),
    ("resize", {"image": "@", "Width": 20}, "Width"),
    ("resize", {"image": "@", "with": 20, "hight": 30}, "with"),
    ("resize", {"image": "@", "width": 20, "fit": "crop"}, "fit"),
    ("resize", {"image": "@", "width": 20, "fit": "coverr"}, "fit"),
    ("resize", {"image": "@", "width": 0}, "width"),
    ("resize", {"image": "@", "width": -5}, "width"),
    ("resize", {"image": "@", "width": 10**9}, "width"),
    ("resize", {"image": "@", "width": "wide"}, "width"),
    ("resize", {"image": "@", "width": "800px"}, "width"),
    ("resize", {"image": "@", "width": 20.5}, "width"),
    ("resize", {"image": "@", "percentage": 0}, "percentage"),
    ("resize", {"image": "@", "percentage": "50%"}, "percentage"),
    ("resize", {"image": "@"}, "width"),
    ("resize", {"image": "@", "preset": "Instagram/Post Square"}, "preset"),
    ("resize", {"image": "@", "withoutEnlargement": "maybe", "width": 5}, "withoutEnlargement"),
    ("crop", {"image": "@", "shape": "oval"}, "shape"),
    ("crop", {"image": "@", "left": -1, "width": 5}, "left"),
    ("crop", {"image": "@", "unit": "percents", "width": 5}, "unit"),
    ("rotate", {"image": "@", "angle": 1000}, "angle"),
    ("rotate", {"image": "@", "flip": "horizontally"}, "flip"),
    ("rotate", {"image": "@", "angle": 90, "background": "red"}, "background"),
    ("convert", {"image": "@", "format": "wepb"}, "format"),
    ("convert", {"image": "@"}, "format"),
    ("convert", {"image": "@", "format": "webp", "quality": 101}, "quality"),
    ("convert", {"image": "@", "format": "heic"}, "format"),
    ("compress", {"image": "@", "targetSize": 200}, "targetSize"),
    ("compress", {"image": "@", "targetSizeKB": 0}, "targetSizeKB"),
    ("watermark_text", {"image": "@", "text": "Hi", "position": "bottomright"}, "position"),
    ("watermark_text", {"image": "@", "text": "Hi", "opacity": 400}, "opacity"),
    ("list_images", {"limit": 1000}, "limit"),
    ("list_images", {"sort": "name"}, "sort"),
    ("view_image", {"image": "@", "maxSize": 4096}, "maxSize"),
    ("view_image", {"image": "@", "max": 512}, "max"),
    ("export_image", {"image": "@", "path": "out.jpg"}, "path"),
    ("run_pipeline", {"steps": [{"tool": "resise", "settings": {"width": 2}}], "images": ["@"]}, "steps[0].tool"),
    ("run_pipeline", {"steps": [{"tool": "resize", "settings": {"widht": 2}}], "images": ["@"]}, "steps[0].settings"),
    ("run_pipeline", {"steps": [STEP, {"tool": "convert", "settings": {"format": "jpgg"}}], "images": ["@"]}, "format"),
    ("run_pipeline", {"steps": [STEP], "images": ["@"], "parallel": True}, "parallel"),
    ("save_workflow", {"name": "Small", "steps": [STEP], "descripton": "x"}, "descripton"),
    ("save_workflow", {"name": "S", "steps": [{"tool": "rezise", "settings": {"width": 2}}]}, "steps[0].tool"),
    ("get_job", {"job": "@job", "wait": 600}, "wait"),
    ("cancel_job", {"job": "@job", "force": True}, "force"),
]


@pytest.mark.parametrize(("tool", "arguments", "field"), WRONG_CALLS)
async def test_a_wrong_call_comes_back_with_one_that_works(
    bench: Bench, tool: str, arguments: dict[str, Any], field: str
) -> None:
    source = await bench.store.add(png(40, 30))
    async with Client(build_server(bench.room)) as client:
        job = (await client.call_tool("run_pipeline", {"steps": [STEP], "images": [source] * 2})).structured_content
        given = json.loads(json.dumps(arguments).replace("@job", job["job"]).replace("@", source))
        wrong = await client.call_tool(tool, given)
        assert wrong.is_error
        assert text_of(wrong).partition(":")[0].isupper()
        assert field in text_of(wrong)
        corrected = wrong.structured_content["correctedCall"]
        assert json.dumps(corrected, separators=(",", ":"), ensure_ascii=False) in text_of(wrong)
        right = await client.call_tool(corrected["name"], corrected["arguments"])
    assert not right.is_error, text_of(right)


async def test_a_list_for_one_image_is_corrected_to_a_pipeline_over_all(bench: Bench) -> None:
    sources = [await bench.store.add(png(size, 3)) for size in (4, 5)]
    async with Client(build_server(bench.room)) as client:
        wrong = await client.call_tool("resize", {"image": sources, "width": 2})
        corrected = wrong.structured_content["correctedCall"]
        right = await client.call_tool(corrected["name"], corrected["arguments"])
    assert corrected["name"] == "run_pipeline"
    assert right.structured_content["total"] == 2


async def test_a_renamed_setting_keeps_its_value(bench: Bench) -> None:
    source = await bench.store.add(png(40, 30))
    async with Client(build_server(bench.room)) as client:
        wrong = await client.call_tool("resize", {"image": source, "widht": 33, "fit": "inside"})
    assert wrong.structured_content["correctedCall"]["arguments"] == {"image": source, "width": 33, "fit": "inside"}


async def test_without_an_image_no_correction_is_invented(bench: Bench) -> None:
    async with Client(build_server(bench.room)) as client:
        wrong = await client.call_tool("resize", {"width": 33})
    assert text_of(wrong).startswith("INVALID_SETTINGS: 'image' is required")
    assert "correctedCall" not in wrong.structured_content


async def test_a_foreign_or_unknown_image_is_not_found(bench: Bench) -> None:
    theirs = await bench.store.add(png(4, 3), owner="somebody-else")
    async with Client(build_server(bench.room)) as client:
        for handle in (theirs, "img_nothing"):
            result = await client.call_tool("view_image", {"image": handle})
            assert text_of(result).startswith("NOT_FOUND: ")


@pytest.mark.parametrize(("tool", "arguments", "field"), WRONG_CALLS)
async def test_no_error_leaks_the_machinery(bench: Bench, tool: str, arguments: dict[str, Any], field: str) -> None:
    async with Client(build_server(bench.room)) as client:
        said = (await client.call_tool(tool, arguments)).model_dump_json()
    assert field in said or "NOT_FOUND" in said
    for banned in ("Traceback", "pydantic", str(bench.folder), "Error executing"):
        assert banned not in said
