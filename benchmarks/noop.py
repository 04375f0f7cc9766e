"""A call that does nothing, over stdio and HTTP, against a raw SDK server that does nothing either."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx2
from mcp import Client, StdioServerParameters

from benchmarks.measure import cpu_ms, median, process_tree, server_pid, settle, stop

ROUNDS = 15
CALLS = 60
START_SECONDS = 60
RAW = """
import sys
import anyio, mcp_types as t, uvicorn
from mcp.server import Server
from mcp.server.stdio import stdio_server
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}
TOOL = t.Tool(name="noop", input_schema=SCHEMA)
async def tools(ctx, params): return t.ListToolsResult(tools=[TOOL])
async def call(ctx, params):
    return t.CallToolResult(content=[t.TextContent(text="{}")], structured_content={"workflows": []})
server = Server("raw", on_list_tools=tools, on_call_tool=call, get_tool_input_schema=lambda name: SCHEMA)
async def stdio():
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())
if sys.argv[1] == "stdio": anyio.run(stdio)
else: uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]), http="h11", log_level="error")
"""

Side = tuple[Client, str, Collection[int]]
"""A client, the tool that does nothing, and the processes that answer it."""


async def in_turn(ours: Side, raw: Side) -> tuple[float, float, float]:
    """CPU milliseconds of a call on both sides, and their ratio: medians over rounds that take turns."""
    for client, tool, pids in (ours, raw):
        await per_call(client, tool, pids)
        await anyio.to_thread.run_sync(settle, pids)
    rounds = [[await per_call(*side) for side in (ours, raw)] for _ in range(ROUNDS)]
    mine, theirs = (median([row[n] for row in rounds]) for n in (0, 1))
    return mine, theirs, median([row[0] / row[1] for row in rounds])


async def per_call(client: Client, tool: str, pids: Collection[int]) -> float:
    """CPU milliseconds of the processes for one call."""
    before = cpu_ms(pids)
    for _ in range(CALLS):
        await client.call_tool(tool, {})
    return (cpu_ms(pids) - before) / CALLS


async def over_stdio(folder: Path) -> tuple[float, float, float]:
    """Ours is the server with its workers, and the relay."""
    mine = StdioServerParameters(command=sys.executable, args=["-m", "darkroom", "mcp", "--data-dir", str(folder)])
    theirs = StdioServerParameters(command=sys.executable, args=["-c", RAW, "stdio"])
    async with Client(theirs, mode="legacy") as raw:
        await raw.call_tool("noop", {})
        raw_pids = process_tree(os.getpid())[1:]
        async with Client(mine, mode="legacy") as ours:
            await ours.call_tool("list_workflows", {})
            # The relay started the server, but whose child that is does not matter.
            pids = {*process_tree(os.getpid())[1:], *process_tree(server_pid(folder))} - set(raw_pids)
            return await in_turn((ours, "list_workflows", pids), (raw, "noop", raw_pids))


async def over_http(folder: Path) -> tuple[float, float, float]:
    """Both behind uvicorn with h11."""
    with (
        listening(["-m", "darkroom", "serve", "--data-dir", str(folder), "--port"]) as (mine, our_url),
        listening(["-c", RAW]) as (theirs, raw_url),
    ):
        async with Client(our_url) as ours, Client(raw_url) as raw:
            await ours.call_tool("list_workflows", {})
            return await in_turn((ours, "list_workflows", process_tree(mine)), (raw, "noop", process_tree(theirs)))


@contextmanager
def listening(command: list[str]) -> Iterator[tuple[int, str]]:
    """A server process on a free port, which is the command's last argument, and its address once that answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, *command, str(port)],
        stdout=subprocess.DEVNULL,
        env={"DARKROOM_AUTH": "off", **os.environ},
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not answers(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[1]} does not listen")
            time.sleep(0.05)
        yield server.pid, f"http://127.0.0.1:{port}/mcp"
    finally:
        server.terminate()
        server.wait()


def answers(port: int) -> bool:
    """Whether a web server is there."""
    try:
        httpx2.get(f"http://127.0.0.1:{port}/")
    except httpx2.TransportError:
        return False
    return True


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            rows = {"stdio": anyio.run(over_stdio, folder)}
        finally:
            stop(folder)
        rows["HTTP"] = anyio.run(over_http, folder)
    print(f"a call that does nothing, CPU ms of the server (median of {ROUNDS} rounds of {CALLS} calls)")
    for label, (mine, theirs, ratio) in rows.items():
        print(f"  {label:6} darkroom {mine:5.2f}  raw SDK {theirs:5.2f}  ratio {ratio:4.2f}")


if __name__ == "__main__":
    main()
