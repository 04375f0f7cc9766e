"""The MCP face over the whole of Darkroom: real photos, real workers, nothing in between."""

import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import skimage.data
from mcp import Client
from mcp_types import BlobResourceContents, ImageContent
from support.calls import example_with
from support.mcp_room import socket_transport

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL, Principal
from darkroom.serve import mcp_room
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
async def darkroom(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Darkroom]:
    config = Config(data_dir=tmp_path_factory.mktemp("data"), workers=1)
    async with open_darkroom(config) as room:
        yield room


@pytest.fixture
def connect(darkroom: Darkroom, tmp_path: Path) -> Connect:
    """Clients that may name the photos of `tmp_path`."""
    PIL.Image.fromarray(skimage.data.astronaut()).save(tmp_path / "woman.jpg")
    PIL.Image.fromarray(skimage.data.coffee()).save(tmp_path / "cup.png")

    @asynccontextmanager
    async def opened(era: str = "auto") -> AsyncIterator[Client]:
        principal = Principal(LOCAL.id, (tmp_path,))
        async with Client(socket_transport(build_server(mcp_room(darkroom)), principal, tmp_path), mode=era) as client:
            yield client

    return opened


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_photo_goes_in_by_path_and_comes_out_as_a_file(connect: Connect, tmp_path: Path, era: str) -> None:
    async with connect(era) as client:
        facts = (await client.call_tool("resize", {"image": "woman.jpg", "width": 200})).structured_content
        (content,) = (await client.read_resource(f"darkroom://images/{facts['image']}")).contents
        await client.call_tool("export_image", {"image": facts["image"], "path": "small.jpg"})
    assert (facts["width"], facts["height"], facts["format"]) == (200, 200, "jpeg")
    assert isinstance(content, BlobResourceContents)
    with PIL.Image.open(tmp_path / "small.jpg") as image:
        assert image.size == (200, 200)
        assert image.format == "JPEG"
    assert (tmp_path / "small.jpg").stat().st_size == facts["bytes"]


async def test_the_same_call_answers_from_the_library(connect: Connect) -> None:
    async with connect() as client:
        first = (await client.call_tool("rotate", {"image": "cup.png", "angle": 90})).structured_content
        again = (await client.call_tool("rotate", {"image": first["source"], "angle": 90})).structured_content
    assert again == {**first, "cached": True}


async def test_a_batch_reports_each_item_also_when_the_library_knows_some(connect: Connect) -> None:
    steps = [{"tool": "resize", "settings": {"width": 60}}, {"tool": "convert", "settings": {"format": "webp"}}]
    call = {"steps": steps, "images": ["woman.jpg", "missing.jpg", "cup.png"]}
    async with connect() as client:
        first = (await client.call_tool("run_pipeline", call)).structured_content
        polled = (await client.call_tool("get_job", {"job": first["job"]})).structured_content
        again = (await client.call_tool("run_pipeline", call)).structured_content
    assert [item.get("format") for item in first["items"]] == ["webp", None, "webp"]
    assert first["items"][1] == {"item": 2, "error": first["items"][1]["error"]}
    assert first["items"][1]["error"]["code"] == "PATH_NOT_ALLOWED"
    assert polled == first
    assert "job" not in again
    assert again["items"][0] == {**first["items"][0], "cached": True}


async def test_a_preview_is_a_picture_and_is_not_stored(connect: Connect, darkroom: Darkroom) -> None:
    async with connect() as client:
        source = (await client.call_tool("convert", {"image": "cup.png", "format": "avif"})).structured_content["image"]
        before = await stored(darkroom)
        result = await client.call_tool("view_image", {"image": source, "maxSize": 128})
    picture = next(block for block in result.content if isinstance(block, ImageContent))
    with PIL.Image.open(io.BytesIO(base64.b64decode(picture.data))) as image:
        assert image.format == "WEBP"
        assert max(image.size) == 128
    assert await stored(darkroom) == before


async def test_every_read_only_tool_leaves_the_store_as_it_was(connect: Connect, darkroom: Darkroom) -> None:
    async with connect() as client:
        listed = (await client.list_tools()).tools
        read_only = {tool.name for tool in listed if tool.annotations and tool.annotations.read_only_hint}
        reports = [tool for tool in builtin_tools().values() if tool.name in read_only]
        assert reports
        before = await stored(darkroom)
        for tool in reports:
            result = await client.call_tool(tool.name, example_with(tool, "woman.jpg"))
            assert not result.is_error
    assert await stored(darkroom) == before


async def stored(darkroom: Darkroom) -> Any:
    blobs = sorted(path.name for path in darkroom.where.blobs.rglob("*") if path.is_file())
    return blobs, (await darkroom.library.list(LOCAL, limit=200)).images, darkroom.workflows.list(LOCAL)


async def test_three_steps_become_a_tool_for_the_next_photo(connect: Connect) -> None:
    steps = [
        {"tool": "resize", "settings": {"width": "${{ inputs.width }}"}},
        {"tool": "rotate", "settings": {"angle": 180}},
        {"tool": "watermark_text", "settings": {"text": "© Darkroom", "fontSize": 12}},
    ]
    async with connect() as client:
        saved = (await client.call_tool("save_workflow", {"name": "Thumb", "steps": steps})).structured_content
        facts = (await client.call_tool(saved["tool"], {"image": "cup.png", "width": 150})).structured_content
        history = (await client.call_tool("list_images", {"limit": 1})).structured_content["items"][0]
    assert facts["width"] == 150
    assert history["image"] == facts["image"]
    assert history["tool"] == saved["tool"]
