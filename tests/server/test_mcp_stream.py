"""MCP over a byte stream: framing, who is calling, and what survives a lost connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from support.mcp_room import Bench, open_bench, png, socket_transport

from darkroom.faces.mcp.server import build_server
from darkroom.faces.mcp.stream import serve_stream
from darkroom.jobs.record import ItemResult
from darkroom.principal import LOCAL, Principal

pytestmark = pytest.mark.anyio

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


class Raw:
    """A client that writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, served: anyio.Event) -> None:
        self.reader, self.writer, self.served = reader, writer, served

    def write(self, *messages: dict[str, Any] | bytes) -> None:
        for message in messages:
            self.writer.write(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")

    async def read(self) -> dict[str, Any]:
        with anyio.fail_after(20):
            answer: dict[str, Any] = json.loads(await self.reader.readline())
        return answer

    async def open(self) -> None:
        self.write(INITIALIZE)
        assert (await self.read())["id"] == 1
        self.write({"jsonrpc": "2.0", "method": "notifications/initialized"})


@asynccontextmanager
async def raw_client(bench: Bench, **options: Any) -> AsyncIterator[Raw]:
    served = anyio.Event()
    server = build_server(bench.room)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_stream(server, reader, writer, LOCAL, **options)
        served.set()

    async with await asyncio.start_unix_server(serve, bench.folder / "raw.sock"):
        reader, writer = await asyncio.open_unix_connection(bench.folder / "raw.sock")
        yield Raw(reader, writer, served)
        writer.close()
        with anyio.fail_after(20):
            await served.wait()


async def test_both_eras_open_on_the_same_kind_of_stream(bench: Bench) -> None:
    for era, version in (("auto", "2026-07-28"), ("legacy", "2025-11-25")):
        async with Client(socket_transport(build_server(bench.room), LOCAL, bench.folder), mode=era) as client:
            assert client.protocol_version == version
            assert "resize" in {tool.name for tool in (await client.list_tools()).tools}


async def test_messages_may_come_in_pieces_or_many_at_once(bench: Bench) -> None:
    async with raw_client(bench) as client:
        opening = json.dumps(INITIALIZE).encode() + b"\n"
        client.write(opening[:20])
        await client.writer.drain()
        client.write(opening[20:])
        assert (await client.read())["result"]["serverInfo"]["name"] == "darkroom"
        client.write(
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            b"\n",
            *({"jsonrpc": "2.0", "id": n, "method": "ping"} for n in range(10, 15)),
        )
        assert sorted([(await client.read())["id"] for _ in range(5)]) == list(range(10, 15))


async def test_a_line_that_is_too_long_or_no_json_is_refused_and_the_next_one_served(bench: Bench) -> None:
    async with raw_client(bench, max_line=10_000) as client:
        await client.open()
        client.write(b'{"jsonrpc":"2.0","id":2,"method":"ping","params":{"x":"' + b"x" * 300_000 + b'"}}\n')
        assert (await client.read())["error"]["code"] == -32600
        client.write(b"this is no message\n")
        assert (await client.read())["error"]["code"] == -32700
        client.write({"jsonrpc": "2.0", "id": 3, "method": "ping"})
        assert (await client.read())["id"] == 3


async def test_paths_are_allowed_by_connection_not_by_server(bench: Bench) -> None:
    seen: list[Principal] = []
    accept = bench.jobs.accept

    async def remember(principal: Principal, *args: Any, **kwargs: Any) -> Any:
        seen.append(principal)
        return await accept(principal, *args, **kwargs)

    bench.jobs.accept = remember  # type: ignore[method-assign]
    server = build_server(bench.room)
    principals = [Principal(LOCAL.id, (bench.folder / name,)) for name in ("one", "two")]
    for principal in principals:
        async with Client(socket_transport(server, principal, bench.folder)) as client:
            await client.call_tool("resize", {"image": await bench.store.add(png(4, 3)), "width": 2})
    assert seen == principals


async def test_a_job_survives_its_lost_client(bench: Bench) -> None:
    started, release = anyio.Event(), anyio.Event()

    async def work(image: str, emit: Any) -> ItemResult:
        started.set()
        await release.wait()
        return await bench.jobs.resize_nothing(image, emit)

    bench.jobs.work = work
    source = await bench.store.add(png(4, 3))
    call = {"name": "resize", "arguments": {"image": source, "width": 2}}
    async with raw_client(bench) as client:
        await client.open()
        client.write({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
        await started.wait()
        client.writer.close()
        await client.served.wait()
    release.set()
    job = bench.jobs.jobs[0]
    finished = await bench.jobs.wait(LOCAL, job.id, 20)
    assert finished.state == "succeeded"


async def test_a_cancelled_request_cancels_its_job_and_gets_no_answer(bench: Bench) -> None:
    started = anyio.Event()

    async def work(_image: str, _emit: Any) -> ItemResult:
        started.set()
        await anyio.sleep_forever()
        raise AssertionError

    bench.jobs.work = work
    source = await bench.store.add(png(4, 3))
    call = {"name": "resize", "arguments": {"image": source, "width": 2}}
    async with raw_client(bench) as client:
        await client.open()
        client.write({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call})
        await started.wait()
        client.write({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}})
        assert (await bench.jobs.wait(LOCAL, bench.jobs.jobs[0].id, 20)).state == "canceled"
        client.write({"jsonrpc": "2.0", "id": 3, "method": "ping"})
        assert (await client.read())["id"] == 3


async def test_an_exported_file_lands_inside_the_root_of_the_connection(bench: Bench) -> None:
    source = await bench.store.add(png(4, 3))
    principal = Principal(LOCAL.id, (bench.folder,))
    async with Client(socket_transport(build_server(bench.room), principal, bench.folder)) as client:
        done = await client.call_tool("export_image", {"image": source, "path": "out.png"})
        again = await client.call_tool("export_image", {"image": source, "path": "out.png"})
        outside = await client.call_tool("export_image", {"image": source, "path": "../out.png"})
    assert done.structured_content == {"image": source, "path": "out.png"}
    assert (bench.folder / "out.png").read_bytes() == png(4, 3)
    assert again.structured_content["code"] == "CONFLICT"
    assert outside.structured_content["code"] == "PATH_NOT_ALLOWED"
