"""12 MP JPEG to 800 px JPEG through MCP on stdio, against bare pyvips, Pillow and sharp on the same file."""

import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import anyio
import pyvips
from PIL import Image

from benchmarks.measure import agent, cpu_ms, median, phone_photo, process_tree, repeat, server_pid

ROUNDS = 15
SHARP = """
const sharp = require("sharp"); sharp.cache(false); sharp.concurrency(1);
(async () => { const rows = [];
for (let n = 0; n < %d; n++) { const cpu = process.cpuUsage(), start = process.hrtime.bigint();
  await sharp(process.argv[1]).resize(800).jpeg({quality: 80}).toBuffer();
  const used = process.cpuUsage(cpu);
  rows.push([Number(process.hrtime.bigint() - start) / 1e6, (used.user + used.system) / 1e3]); }
console.log(JSON.stringify(rows)); })();
"""


async def through_mcp(folder: Path, photo: Path) -> list[tuple[float, float]]:
    """Wall and CPU milliseconds of each call; CPU of the server and all its workers."""
    rows = []
    async with agent(folder / "data", photo.parent) as client:
        for n in range(ROUNDS + 3):
            pids = process_tree(server_pid(folder / "data"))
            wall, cpu = time.perf_counter(), cpu_ms(pids)
            result = await client.call_tool("resize", {"image": str(photo), "width": 790 + n})
            assert not result.is_error, result
            rows.append(((time.perf_counter() - wall) * 1000, cpu_ms(pids) - cpu))
    return rows[3:]


def with_sharp(folder: Path, photo: Path) -> list[tuple[float, float]]:
    """The same through sharp; empty without Node."""
    if shutil.which("npm") is None:
        return []
    subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "sharp"], check=True, capture_output=True)
    command = ["node", "-e", SHARP % ROUNDS, str(photo)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return [(row[0], row[1]) for row in json.loads(done.stdout)]


def main() -> None:
    """Print the comparison."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        photo = phone_photo(folder / "photos" / "p12.jpg")

        def bare(n: int) -> bytes:
            return bytes(pyvips.Image.thumbnail(str(photo), 790 + n).jpegsave_buffer(Q=80))

        def pillow(n: int) -> None:
            with Image.open(photo) as image:
                image.thumbnail((790 + n, 4000))
                image.save(folder / "pillow.jpg", quality=80)

        rows = {
            "bare pyvips": list(repeat(bare, ROUNDS)),
            "darkroom, MCP stdio": anyio.run(through_mcp, folder, photo),
            "Pillow": list(repeat(pillow, ROUNDS)),
            "sharp": with_sharp(folder, photo),
        }
        rows["bare pyvips"] += list(repeat(bare, ROUNDS))
    base_wall, base_cpu = (median([row[n] for row in rows["bare pyvips"]]) for n in (0, 1))
    print(f"resize 12 MP JPEG ({'median of'} {ROUNDS}) -> 800 px JPEG q80")
    for label, measured in rows.items():
        if measured:
            wall, cpu = (median([row[n] for row in measured]) for n in (0, 1))
            print(
                f"  {label:22} wall {wall:6.1f} ms ({wall - base_wall:+6.1f})  cpu {cpu:6.1f} ms ({cpu - base_cpu:+6.1f})"
            )


if __name__ == "__main__":
    main()
