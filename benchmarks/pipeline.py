"""A pipeline of three steps in one call, against the same three calls one by one."""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from benchmarks.measure import agent, cpu_ms, median, phone_photo, process_tree, server_pid, settle

ROUNDS = 7


def steps(n: int) -> list[dict[str, Any]]:
    """Three ordinary steps."""
    return [
        {"tool": "rotate", "settings": {"angle": 90}},
        {"tool": "resize", "settings": {"width": 1200 + n}},
        {"tool": "watermark-text", "settings": {"text": f"Darkroom {n}", "position": "bottom-right"}},
    ]


async def at_once(client: Client, photo: Path, n: int) -> None:
    """One call."""
    result = await client.call_tool("run_pipeline", {"images": [str(photo)], "steps": steps(n)})
    assert not result.is_error, result


async def one_by_one(client: Client, photo: Path, n: int) -> None:
    """Three calls."""
    image = str(photo)
    for step in steps(n):
        result = await client.call_tool(step["tool"].replace("-", "_"), {"image": image, **step["settings"]})
        assert not result.is_error and result.structured_content is not None, result
        image = result.structured_content["image"]


async def measure(folder: Path) -> None:
    """Take the two in turn and print the ratio."""
    (folder / "photos").mkdir()
    photo = phone_photo(folder / "photos" / "p12.jpg")
    rows: dict[str, list[tuple[float, float]]] = {"one pipeline": [], "three calls": []}
    async with agent(folder / "data", photo.parent) as client:
        await at_once(client, photo, 0)
        pids = {*process_tree(os.getpid())[1:], *process_tree(server_pid(folder / "data"))}
        settle(pids)
        for n in range(ROUNDS + 1):
            for label, work in (("one pipeline", at_once), ("three calls", one_by_one)):
                fresh = photo.with_name(f"{label}-{n}.jpg")  # else the library would know the first step's answer
                fresh.write_bytes(photo.read_bytes() + fresh.name.encode())
                wall, cpu = time.perf_counter(), cpu_ms(pids)
                await work(client, fresh, n)
                rows[label].append(((time.perf_counter() - wall) * 1000, cpu_ms(pids) - cpu))
    print("rotate 90, resize 1200, text on a 12 MP JPEG")
    figures = {label: [median([row[n] for row in measured[1:]]) for n in (0, 1)] for label, measured in rows.items()}
    for label, (wall, cpu) in figures.items():
        print(f"  {label:22} wall {wall:6.1f} ms  cpu {cpu:6.1f} ms")
    ratio = figures["three calls"][1] / figures["one pipeline"][1]
    print(f"  three calls cost {ratio:.2f} times the CPU")


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        anyio.run(measure, Path(name))


if __name__ == "__main__":
    main()
