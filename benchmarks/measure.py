"""What the benchmarks share: a photo like a phone's, a server of our own, and honest clocks."""

import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
from mcp import Client, StdioServerParameters
from PIL import Image, ImageCms


def phone_photo(path: Path, width: int = 4032, height: int = 3024) -> Path:
    """A 12 MP JPEG of about 2.8 MB: a mosaic of photographs with sensor noise and an sRGB profile."""
    from skimage import data

    tiles = [
        Image.fromarray(getattr(data, name)()).convert("RGB") for name in ("coffee", "rocket", "chelsea", "astronaut")
    ]
    canvas = Image.new("RGB", (width, height))
    for n, tile in enumerate(tiles):
        size = (width // 2, height // 2)
        canvas.paste(tile.resize(size, Image.Resampling.LANCZOS), ((n % 2) * size[0], (n // 2) * size[1]))
    noise = np.random.default_rng(7).normal(0, 3.5, (height, width, 1))
    pixels = np.clip(np.asarray(canvas, np.float32) + noise, 0, 255).astype(np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(path, quality=90, icc_profile=profile)
    return path


@asynccontextmanager
async def agent(folder: Path, *roots: Path) -> AsyncIterator[Client]:
    """An MCP client over `darkroom mcp` on a data directory of its own; its server ends with it."""
    arguments = ["-m", "darkroom", "mcp", "--data-dir", str(folder)]
    for root in roots:
        arguments += ["--root", str(root)]
    try:
        async with Client(StdioServerParameters(command=sys.executable, args=arguments), mode="legacy") as client:
            yield client
    finally:
        stop(folder)


def stop(folder: Path) -> None:
    """End the server of a data directory."""
    subprocess.run(
        [sys.executable, "-m", "darkroom", "stop", "--data-dir", str(folder)], check=False, capture_output=True
    )


def server_pid(folder: Path) -> int:
    """The process that serves a data directory."""
    return int((folder / "run" / "server.lock").read_text())


def process_tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_ms(pids: Collection[int]) -> float:
    """User and system time that the processes have used so far, in milliseconds; those that are gone count nothing."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            total += time.clock_gettime_ns(
                ~pid << 3 | 2
            )  # as clock_getcpuclockid() has it: far finer than /proc/…/stat
    return total / 1e6


def settle(pids: Collection[int]) -> None:
    """Wait until the processes have done what they do after they start."""
    before = cpu_ms(pids) - 1e6
    while cpu_ms(pids) - before > 5.0:
        before = cpu_ms(pids)
        time.sleep(0.5)


def pss_mb(pids: Sequence[int]) -> float:
    """Memory of the processes in MB, shared pages counted once."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)
