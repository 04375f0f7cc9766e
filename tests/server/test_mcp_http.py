"""The same server over HTTP, in both eras."""

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from support.mcp_room import Bench, open_bench, png, serving_http

from darkroom.engine.outcome import Progress
from darkroom.faces.mcp.server import build_server
from darkroom.jobs.record import ItemResult
from darkroom.principal import LOCAL

pytestmark = pytest.mark.anyio

BOTH_ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


@BOTH_ERAS
async def test_a_call_reports_progress_and_answers(bench: Bench, era: str) -> None:
    seen: list[float] = []

    async def work(image: str, emit: Any) -> ItemResult:
        for step in (0.2, 0.5, 0.9):
            emit(Progress(step, "Resizing"))
            before = len(seen)
            while len(seen) == before:
                await anyio.lowlevel.checkpoint()
        return await bench.jobs.resize_nothing(image, emit)

    async def heard(progress: float, _total: float | None, _message: str | None) -> None:
        seen.append(progress)

    bench.jobs.work = work
    source = await bench.store.add(png(40, 30))
    async with serving_http(build_server(bench.room)) as address, Client(address, mode=era) as client:
        call = {"image": source, "width": 20}
        with anyio.fail_after(20):
            result = await client.call_tool("resize", call, progress_callback=heard)
    assert result.structured_content["source"] == source
    assert len(seen) >= 3
    assert all(later > earlier for earlier, later in pairwise(seen))


@BOTH_ERAS
async def test_cancelling_a_call_cancels_its_job(bench: Bench, era: str) -> None:
    started = anyio.Event()

    async def work(_image: str, _emit: Any) -> ItemResult:
        started.set()
        await anyio.sleep_forever()
        raise AssertionError

    bench.jobs.work = work
    source = await bench.store.add(png(4, 3))
    async with serving_http(build_server(bench.room)) as address, Client(address, mode=era) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "resize", {"image": source, "width": 2})
            await started.wait()
            tasks.cancel_scope.cancel()
        with anyio.fail_after(20):
            while bench.jobs.jobs[0].state != "canceled":
                await anyio.lowlevel.checkpoint()


async def test_a_stopping_server_cancels_no_job_for_its_clients(bench: Bench) -> None:
    started, release = anyio.Event(), anyio.Event()

    async def work(image: str, emit: Any) -> ItemResult:
        started.set()
        await release.wait()
        return await bench.jobs.resize_nothing(image, emit)

    bench.jobs.work = work
    source = await bench.store.add(png(4, 3))
    async with Client(build_server(bench.room)) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "resize", {"image": source, "width": 2})
        await started.wait()
        bench.jobs.stopping = True
        tasks.cancel_scope.cancel()
    release.set()
    job = await bench.jobs.wait(LOCAL, bench.jobs.jobs[0].id, 20)
    assert job.state == "succeeded"


async def test_a_dropped_legacy_connection_is_no_cancellation(bench: Bench) -> None:
    started, release = anyio.Event(), anyio.Event()

    async def work(image: str, emit: Any) -> ItemResult:
        started.set()
        await release.wait()
        return await bench.jobs.resize_nothing(image, emit)

    bench.jobs.work = work
    source = await bench.store.add(png(4, 3))
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    call = {"name": "resize", "arguments": {"image": source, "width": 2}}
    async with serving_http(build_server(bench.room)) as address, httpx2.AsyncClient(headers=headers) as client:
        opened = await client.post(address, json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        client.headers["mcp-session-id"] = opened.headers["mcp-session-id"]
        await client.post(address, json={"jsonrpc": "2.0", "method": "notifications/initialized"})
        request = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}
        async with client.stream("POST", address, json=request):
            await started.wait()
        release.set()
        job = bench.jobs.jobs[0]
        assert (await bench.jobs.wait(LOCAL, job.id, 20)).state == "succeeded"


async def test_an_upload_address_is_given_only_where_something_listens(bench: Bench) -> None:
    async with serving_http(build_server(bench.room)) as address, Client(address) as client:
        refused = await client.call_tool("create_upload", {})
        bench.links.base = address.removesuffix("/mcp")
        given = (await client.call_tool("create_upload", {})).structured_content
    assert refused.structured_content["code"] == "NOT_FOUND"
    assert "darkroom serve" in refused.structured_content["error"]
    assert given["url"] == f"{bench.links.base}/u/one-time-token"
    assert given["method"] == "PUT"
    assert 0 < given["expiresInSeconds"] <= 600
