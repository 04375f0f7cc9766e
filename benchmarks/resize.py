"""12 MP JPEG to 800 px JPEG through MCP on stdio, against bare pyvips, Pillow and sharp on the same file."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import anyio
import pyvips
from mcp import Client
from PIL import Image

from benchmarks.measure import agent, cpu_ms, median, phone_photo, process_tree, server_pid, settle

ROUNDS = 25
WARM_UP = 3
BARE = "bare pyvips"
SAME = "bare, our options"
SHARP = """
const sharp = require("sharp"); sharp.cache(false); sharp.concurrency(1);
require("readline").createInterface({input: process.stdin}).on("line", async width => {
  const cpu = process.cpuUsage(), start = process.hrtime.bigint();
  await sharp(process.argv[1]).resize(Number(width)).jpeg({quality: 80}).toBuffer();
  const used = process.cpuUsage(cpu);
  console.log(JSON.stringify([Number(process.hrtime.bigint() - start) / 1e6, (used.user + used.system) / 1e3]));
});
"""

Cost = tuple[float, float]
"""Wall and CPU milliseconds of one call."""


class Sharp:
    """The same through sharp, in a process of its own that answers one width a line; nothing without Node."""

    def __init__(self, folder: Path, photo: Path) -> None:
        subprocess.run(
            ["npm", "install", "--silent", "--prefix", str(folder), "sharp"], check=True, capture_output=True
        )
        self._node = subprocess.Popen(
            ["node", "-e", SHARP, str(photo)], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __call__(self, width: int) -> Cost:
        """One picture of that width."""
        assert self._node.stdin and self._node.stdout
        print(width, file=self._node.stdin, flush=True)
        wall, cpu = json.loads(self._node.stdout.readline())
        return wall, cpu

    def close(self) -> None:
        """End the process."""
        self._node.communicate()


def bare(photo: Path, width: int) -> None:
    """What a script of three lines would do."""
    pyvips.Image.thumbnail(str(photo), width).jpegsave_buffer(Q=80)


def bare_with_our_options(photo: Path, width: int) -> None:
    """The same, refusing damaged files and optimising the Huffman tables, as every call of ours does."""
    image = pyvips.Image.thumbnail(str(photo), width, fail_on="error")
    image.jpegsave_buffer(Q=80, keep="icc")


def pillow(photo: Path, width: int) -> None:
    """The same through Pillow."""
    with Image.open(photo) as image:
        image.thumbnail((width, 4000))
        image.save(photo.with_name("pillow.jpg"), quality=80)


def here(work: Any, photo: Path, width: int) -> Cost:
    """The cost of work in this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work(photo, width)
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


async def through_mcp(client: Client, pids: Collection[int], image: str, width: int) -> Cost:
    """The cost of a call; CPU of the relay, the server and all its workers."""
    wall, cpu = time.perf_counter(), cpu_ms(pids)
    result = await client.call_tool("resize", {"image": image, "width": width})
    wall = (time.perf_counter() - wall) * 1000
    assert not result.is_error, result
    await anyio.sleep(0.03)  # what the server still tidies up belongs to the call
    return wall, cpu_ms(pids) - cpu


async def measure(folder: Path) -> dict[str, list[Cost]]:
    """All sides in turn, round after round. Every round asks for another width, so no answer comes from the library."""
    photo = phone_photo(folder / "photos" / "p12.jpg")
    rows: dict[str, list[Cost]] = {}
    async with agent(folder / "data", photo.parent) as client:
        first = await client.call_tool("resize", {"image": str(photo), "width": 64})
        assert first.structured_content is not None
        handle = str(first.structured_content["source"])
        pids = {*process_tree(os.getpid())[1:], *process_tree(server_pid(folder / "data"))}
        settle(pids)
        sharp = Sharp(folder, photo) if shutil.which("npm") else None
        for n in range(-WARM_UP, ROUNDS):
            fresh = folder / "photos" / f"{n + WARM_UP}.jpg"
            fresh.write_bytes(photo.read_bytes() + str(n).encode())  # decoders ignore what follows the end
            row = {BARE: here(bare, photo, 790 + n), SAME: here(bare_with_our_options, photo, 790 + n)}
            row["darkroom, a handle"] = await through_mcp(client, pids, handle, 790 + n)
            row["darkroom, a new file"] = await through_mcp(client, pids, str(fresh), 790 + n)
            row["Pillow"] = here(pillow, photo, 790 + n)
            if sharp is not None:
                row["sharp"] = sharp(790 + n)
            fresh.unlink()
            for label, cost in row.items():
                rows.setdefault(label, []).append(cost)
    if sharp is not None:
        sharp.close()
    return {label: costs[WARM_UP:] for label, costs in rows.items()}


def main() -> None:
    """Print medians, and the medians of what each round's call cost more than its bare one."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        rows = anyio.run(measure, folder)
    print(f"resize 12 MP JPEG -> 800 px JPEG q80, median of {ROUNDS} rounds (and what it adds to bare pyvips)")
    for label, costs in rows.items():
        wall, cpu = (median([cost[n] for cost in costs]) for n in (0, 1))
        more = [median([cost[n] - base[n] for cost, base in zip(costs, rows[BARE], strict=True)]) for n in (0, 1)]
        print(f"  {label:22} wall {wall:6.1f} ms ({more[0]:+6.1f})  cpu {cpu:6.1f} ms ({more[1]:+6.1f})")


if __name__ == "__main__":
    main()
