"""How soon a ping is answered while eight heavy jobs run."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import anyio
import httpx2

from benchmarks.measure import agent, phone_photo, process_tree, server_pid, settle

JOBS = 8
IDLE = """
import json, select, sys, time
late = []
while True:
    start = time.perf_counter()
    if select.select([sys.stdin], [], [], 0.005)[0]: break
    late.append((time.perf_counter() - start) * 1000 - 5)
print(json.dumps(late))
"""
"""A process that only sleeps: how late it wakes up is what the machine itself adds."""


async def measure(folder: Path) -> None:
    """Start the jobs, ask on both doors until they are done, print the quantiles."""
    (folder / "photos").mkdir()
    photo = phone_photo(folder / "photos" / "p12.jpg")
    times: dict[str, list[float]] = {"ping": [], "health": []}
    async with agent(folder / "data", photo.parent) as client, httpx2.AsyncClient() as web:
        first = await client.call_tool("resize", {"image": str(photo), "width": 64})
        assert first.structured_content is not None
        base = str(first.structured_content["url"]).split("/files/")[0]
        questions = {"ping": client.send_ping, "health": partial(web.get, f"{base}/api/health")}
        await web.get(f"{base}/api/health")
        settle(process_tree(server_pid(folder / "data")))

        async def heavy(n: int) -> None:
            result = await client.call_tool("rotate", {"image": str(photo), "angle": 10 + n})
            assert not result.is_error, result

        async def ask(label: str) -> None:
            while True:
                start = time.perf_counter()
                await questions[label]()
                times[label].append((time.perf_counter() - start) * 1000)
                await anyio.sleep(0.005)

        idle = subprocess.Popen([sys.executable, "-c", IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        async with anyio.create_task_group() as asking:
            for label in questions:
                asking.start_soon(ask, label)
            async with anyio.create_task_group() as jobs:
                for n in range(JOBS):
                    jobs.start_soon(heavy, n)
            asking.cancel_scope.cancel()
        times["idle"] = json.loads(idle.communicate()[0])
    print(f"ping and /api/health while {JOBS} jobs turn a 12 MP photo")
    for label, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        print(
            f"  {label:7} p50 {cuts[49]:5.1f} ms  p99 {cuts[98]:5.1f} ms  max {max(values):5.1f} ms  ({len(values)} asked)"
        )


def main() -> None:
    """Print the figures."""
    warnings.filterwarnings("ignore", "ping is removed")  # from the newest era, not from this one
    with tempfile.TemporaryDirectory() as name:
        anyio.run(measure, Path(name))


if __name__ == "__main__":
    main()
