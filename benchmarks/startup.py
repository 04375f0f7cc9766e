"""From `darkroom mcp` to the first tools/list, cold and with a server running; memory of one and of five clients."""

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import cpu_ms, process_tree, pss_mb, server_pid, stop

HELLO = [
    {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "bench", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
]


def connect(folder: Path, stack: ExitStack) -> tuple[float, int, str]:
    """Start a client's process; seconds to its tools/list, its pid, and the answer."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "darkroom", "mcp", "--data-dir", str(folder)]
    process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    assert process.stdin and process.stdout
    stack.callback(process.stdin.close)
    for message in HELLO:
        process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()
    for line in process.stdout:
        if json.loads(line).get("id") == 2:
            return time.perf_counter() - start, process.pid, line.decode()
    raise RuntimeError("no answer")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        try:
            cold, first, _ = connect(folder, stack)
            one = pss_mb([first, *process_tree(server_pid(folder))])
            warm = [connect(folder, stack) for _ in range(4)]
            relays = [first, *(pid for _, pid, _ in warm)]
            five = pss_mb([*relays, *process_tree(server_pid(folder))])
            print("first tools/list of `darkroom mcp`")
            print(f"  cold {cold:5.2f} s, with a server running {sorted(row[0] for row in warm)[2]:5.2f} s")
            print(f"  CPU of a relay {max(cpu_ms([pid]) for pid in relays):5.0f} ms")
            print(f"memory (PSS): one client {one:5.0f} MB, five clients {five:5.0f} MB")
        finally:
            stop(folder)
    print(f"  largest single process {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:5.0f} MB")


if __name__ == "__main__":
    main()
