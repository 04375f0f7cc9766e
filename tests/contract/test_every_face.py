"""What an agent gets from every tool over MCP, in both protocol eras: facts and links, or an error that teaches."""

import base64
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp import Client
from mcp_types import BlobResourceContents, CallToolResult, ResourceLink, TextContent
from support.calls import WORK_ON_BYTES, arguments_of, example_with
from support.odd import UNREADABLE

from darkroom.app import Darkroom
from darkroom.faces.mcp.manage import Manager
from darkroom.faces.mcp.server import managers
from darkroom.principal import Principal
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.registry import builtin_tools

pytestmark = pytest.mark.anyio
every_tool = pytest.mark.parametrize("tool", builtin_tools().values(), ids=lambda tool: tool.id)
every_reading_tool = pytest.mark.parametrize(
    "tool", [t for t in builtin_tools().values() if any(i.required for i in t.inputs)], ids=lambda tool: tool.id
)
HOLD_BASE64 = {"image-to-base64"}
every_manager = pytest.mark.parametrize("manager", managers().values(), ids=lambda manager: manager.name)
every_era = pytest.mark.parametrize("era", ["auto", "legacy"])
Connect = Callable[..., AbstractAsyncContextManager[Client]]
MOST_BYTES = 64 * 1024
WORDS = [
    "",
    " ",
    "x" * 100_000,
    "../../etc/passwd",
    "\0",
    "%00",
    "img_",
    "'; DROP TABLE images; --",
    "🙂",
    "${{ inputs.x }}",
]
STRANGE_VALUES: list[Any] = [*WORDS, None, True, -1, 1e308, 2**70, [], ["x"], [[]], {}, {"a": {"b": []}}]


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def wrong_images(pictures: Path) -> Iterator[tuple[str, Any]]:
    """Arguments that no tool may take as an image, by what is wrong with them."""
    for kind, data in {**UNREADABLE, "too large": _png_header(99_999, 99_999)}.items():
        path = pictures / f"{kind.replace(' ', '-')}.png"
        path.write_bytes(data)
        yield kind, str(path)
        yield f"{kind}, as a data URI", f"data:image/png;base64,{base64.b64encode(data).decode()}"
    yield "a missing file", str(pictures / "missing.png")
    yield "a folder", str(pictures)
    yield "a foreign file", "/etc/hostname"
    yield "an unknown handle", f"img_{'k' * 26}"
    yield "an address without TLS", "http://example.com/picture.png"
    yield "an address of this machine", "https://127.0.0.1/picture.png"
    yield "an unknown scheme", "gopher://example.com/picture.png"
    yield "a file of another host", "file://example.com/picture.png"
    yield "no base64", "data:image/png;base64,%%%%"
    for value in STRANGE_VALUES:
        yield repr(value)[:40], value


def check_error(reply: CallToolResult, hidden: list[Path]) -> None:
    """An error starts with its code, and says nothing of the machinery or of the host."""
    said = reply.model_dump_json(by_alias=True)
    first = reply.content[0]
    assert isinstance(first, TextContent)
    code = first.text.partition(":")[0]
    assert code in DarkroomError.by_code, first.text
    assert reply.structured_content is not None
    assert reply.structured_content["code"] == code
    assert reply.structured_content["error"][-1] in ".?", reply.structured_content
    assert len(said.encode()) < MOST_BYTES
    for path in hidden:
        assert str(path) not in said
    assert not re.search(r"Traceback|pydantic|pyvips|sqlalchemy|site-packages|\.py\b|Error executing", said), said


def check_size_and_shape(reply: CallToolResult, *, base64: bool = False) -> None:
    assert len(reply.model_dump_json(by_alias=True).encode()) < MOST_BYTES
    assert base64 or not re.search(r"[A-Za-z0-9+/]{120}", json.dumps(reply.structured_content))


async def output_schema(client: Client, name: str) -> dict[str, Any]:
    schema = {tool.name: tool for tool in (await client.list_tools()).tools}[name].output_schema
    assert schema is not None
    return schema


@every_era
@every_tool
async def test_the_reply_is_facts_that_fit_the_schema_and_links_that_can_be_read(
    connect: Connect, room: Darkroom, caller: Principal, pictures: Path, tool: Tool, era: str
) -> None:
    async with connect(era) as client:
        reply = await client.call_tool(tool.name, arguments_of(tool, "photo.jpg", pictures))
        links = [part for part in reply.content if isinstance(part, ResourceLink)]
        contents = [(await client.read_resource(link.uri)).contents[0] for link in links]
        jsonschema.validate(reply.structured_content, await output_schema(client, tool.name))
    assert not reply.is_error, reply.content
    check_size_and_shape(reply, base64=tool.id in HOLD_BASE64)
    facts, text = reply.structured_content, reply.content[0]
    assert isinstance(text, TextContent)
    assert text.text.startswith("{")
    if tool.read_only:
        assert links == []
        assert next(iter(facts)) in text.text
        return
    images = [facts] if "image" in facts else facts["images"]
    assert [f"darkroom://images/{image['image']}" for image in images] == [str(link.uri) for link in links]
    for image, link, content in zip(images, links, contents, strict=True):
        assert image["image"] in text.text
        assert isinstance(content, BlobResourceContents)
        assert base64.b64decode(content.blob) == await room.library.read(caller, image["image"])
        assert (link.size, link.mime_type) == (image["bytes"], content.mime_type)


@every_era
@every_reading_tool
async def test_every_wrong_image_is_an_error_that_teaches(
    connect: Connect, room: Darkroom, pictures: Path, tool: Tool, era: str
) -> None:
    wrong = list(wrong_images(pictures))
    async with connect(era) as client:
        replies = [await client.call_tool(tool.name, example_with(tool, value)) for _, value in wrong]
    for (kind, value), reply in zip(wrong, replies, strict=True):
        if tool.id in WORK_ON_BYTES and kind.startswith(("cut off", "damaged", "only a header")):
            continue
        assert reply.is_error, kind
        # A caller's own words come back to it; nothing else of the host does.
        check_error(reply, [room.where.root, *([] if str(pictures) in str(value) else [pictures])])


@every_tool
async def test_every_strange_setting_is_taken_or_refused_with_words(
    connect: Connect, room: Darkroom, pictures: Path, tool: Tool
) -> None:
    names = set(tool.input_schema()["properties"]) - {image.name for image in tool.inputs}
    async with connect() as client:
        schema = await output_schema(client, tool.name)
        replies = [
            await client.call_tool(tool.name, {**arguments_of(tool, "tiny.gif", pictures), name: value})
            for name in [*names, "stranger"]
            for value in STRANGE_VALUES
        ]
    for reply in replies:
        if reply.is_error:
            check_error(reply, [room.where.root, pictures])
        else:
            check_size_and_shape(reply, base64=tool.id in HOLD_BASE64)
            jsonschema.validate(reply.structured_content, schema)


@every_reading_tool
async def test_a_call_without_an_image_is_refused_with_words(
    connect: Connect, room: Darkroom, pictures: Path, tool: Tool
) -> None:
    async with connect() as client:
        replies = [await client.call_tool(tool.name, given) for given in ({}, {"stranger": 1}, dict(tool.example))]
    for reply in replies:
        assert reply.is_error
        check_error(reply, [room.where.root, pictures])


@every_manager
async def test_every_strange_argument_of_a_management_tool_is_taken_or_refused_with_words(
    connect: Connect, room: Darkroom, pictures: Path, manager: Manager
) -> None:
    async with connect() as client:
        schema = {tool.name: tool for tool in (await client.list_tools()).tools}[manager.name].input_schema
        replies = [
            await client.call_tool(manager.name, {**manager.example, name: value})
            for name in [*schema["properties"], "stranger"]
            for value in STRANGE_VALUES
        ]
        if schema.get("required"):
            replies.append(await client.call_tool(manager.name, {}))
            assert replies[-1].is_error
    for reply in replies:
        if reply.is_error:
            check_error(reply, [room.where.root, pictures])
        else:
            check_size_and_shape(reply)
