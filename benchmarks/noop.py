"""A call that does nothing, over stdio and HTTP, against a raw SDK server that does nothing either."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx2
from mcp import Client, StdioServerParameters

from benchmarks.measure import cpu_ms, process_tree, server_pid, stop

CALLS = 600
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


async def per_call(client: Client, tool: str, pids: list[int]) -> float:
    """CPU milliseconds of the server for one call."""
    for _ in range(50):
        await client.call_tool(tool, {})
    before = cpu_ms(pids)
    for _ in range(CALLS):
        await client.call_tool(tool, {})
    return (cpu_ms(pids) - before) / CALLS


@contextmanager
def listening(command: list[str], port: int) -> Iterator[int]:
    """A server process, once its port answers."""
    server = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                httpx2.get(f"http://127.0.0.1:{port}/")
                break
            except httpx2.TransportError:
                time.sleep(0.05)
        yield server.pid
    finally:
        server.terminate()
        server.wait()


async def raw_stdio() -> float:
    """The raw SDK over stdio; its process is our newest child."""
    async with Client(
        StdioServerParameters(command=sys.executable, args=["-c", RAW, "stdio"]), mode="legacy"
    ) as client:
        await client.call_tool("noop", {})
        return await per_call(client, "noop", [max(process_tree(os.getpid())[1:])])


async def ours_stdio(folder: Path) -> float:
    """Ours through the relay: the server's share and the relay's."""
    args = ["-m", "darkroom", "mcp", "--data-dir", str(folder)]
    async with Client(StdioServerParameters(command=sys.executable, args=args), mode="legacy") as client:
        await client.call_tool("list_workflows", {})
        pids = [*process_tree(server_pid(folder)), *process_tree(os.getpid())[1:]]
        return await per_call(client, "list_workflows", pids)


async def over_http(port: int, tool: str, pid: int) -> float:
    """Either server over HTTP."""
    async with Client(f"http://127.0.0.1:{port}/mcp") as client:
        return await per_call(client, tool, process_tree(pid))


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {"stdio": (anyio.run(ours_stdio, folder), anyio.run(raw_stdio))}
        stop(folder)
        with listening(["-m", "darkroom", "serve", "--port", "18349", "--data-dir", name], 18349) as pid:
            ours = anyio.run(over_http, 18349, "list_workflows", pid)
        with listening(["-c", RAW, "18350"], 18350) as pid:
            rows["HTTP"] = (ours, anyio.run(over_http, 18350, "noop", pid))
    print(f"a call that does nothing, CPU ms of the server ({CALLS} calls)")
    for label, (ours, raw) in rows.items():
        print(f"  {label:6} darkroom {ours:5.2f}  raw SDK {raw:5.2f}  ratio {ours / raw:4.2f}")


if __name__ == "__main__":
    main()
