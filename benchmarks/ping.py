"""How soon a ping is answered while eight heavy jobs run."""

import statistics
import tempfile
import time
from pathlib import Path

import anyio
import httpx2

from benchmarks.measure import agent, phone_photo

JOBS = 8


async def measure(folder: Path) -> None:
    """Start the jobs, ping until they are done, print the quantiles."""
    (folder / "photos").mkdir()
    photo = phone_photo(folder / "photos" / "p12.jpg")
    pings: list[float] = []
    health: list[float] = []
    async with agent(folder / "data", photo.parent) as client:
        first = await client.call_tool("resize", {"image": str(photo), "width": 64})
        assert first.structured_content is not None
        base = str(first.structured_content["url"]).split("/files/")[0]
        left = JOBS

        async def heavy(n: int) -> None:
            nonlocal left
            result = await client.call_tool("rotate", {"image": str(photo), "angle": 10 + n})
            assert not result.is_error, result
            left -= 1

        async with anyio.create_task_group() as tasks, httpx2.AsyncClient() as web:
            for n in range(JOBS):
                tasks.start_soon(heavy, n)
            while left:
                start = time.perf_counter()
                await client.send_ping()
                pings.append((time.perf_counter() - start) * 1000)
                start = time.perf_counter()
                await web.get(f"{base}/api/health")
                health.append((time.perf_counter() - start) * 1000)
                await anyio.sleep(0.01)
    print(f"ping and /api/health while {JOBS} jobs turn a 12 MP photo ({len(pings)} of each)")
    for label, values in (("ping", pings), ("health", health)):
        cuts = statistics.quantiles(values, n=100)
        print(f"  {label:7} p50 {cuts[49]:5.1f} ms  p99 {cuts[98]:5.1f} ms  max {max(values):5.1f} ms")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        anyio.run(measure, Path(name))


if __name__ == "__main__":
    main()
