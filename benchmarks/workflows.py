"""A workflow of ten steps on a 12 MP photo as one plan, against the same ten calls one by one."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from benchmarks.measure import agent, median, phone_photo, process_tree, server_pid, settle

ROUNDS = 3
NAME = "Ten steps"
STEPS: tuple[dict[str, Any], ...] = (
    # Another exposure in every round: else the library would know the later steps by the bytes of the first result.
    {"type": "color-adjustments", "settings": {"exposure": "${{ inputs.exposure }}", "contrast": 8}},
    {"type": "rotate", "settings": {"angle": 90}},
    {"type": "crop", "settings": {"aspectRatio": "4:5"}},
    {"type": "replace-color", "settings": {"targetColor": "#204060", "replacementColor": "#305070"}},
    {"type": "sharpening", "settings": {"mode": "unsharp", "amount": 60}},
    {"type": "resize", "settings": {"width": 2048}},
    {"type": "border", "settings": {"width": 24, "color": "#FFFFFF"}},
    {"type": "text-overlay", "settings": {"text": "Darkroom"}},
    {"type": "watermark-text", "settings": {"text": "© 2026", "position": "bottom-right"}},
    {"type": "convert", "settings": {"format": "webp", "quality": 82}},
)


def tree_cpu_ms(root: int) -> float:
    """Time that a process and all its descendants have used, those included that ended: workers are renewed on the way."""
    ticks = 0
    for pid in process_tree(root):
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])
    return ticks * 1000 / os.sysconf("SC_CLK_TCK")


async def as_workflow(client: Client, tool: str, photo: Path, n: int) -> None:
    """One call of the saved workflow."""
    result = await client.call_tool(tool, {"image": str(photo), "exposure": n + 1})
    assert result.structured_content is not None and "image" in result.structured_content, result


async def one_by_one(client: Client, _tool: str, photo: Path, n: int) -> None:
    """Ten calls, each on the result of the one before."""
    image = str(photo)
    for step in STEPS:
        settings = {name: n + 1 if name == "exposure" else value for name, value in step["settings"].items()}
        result = await client.call_tool(step["type"].replace("-", "_"), {"image": image, **settings})
        assert result.structured_content is not None and "image" in result.structured_content, result
        image = result.structured_content["image"]


async def measure(folder: Path) -> None:
    """Take the two in turn and print the ratio."""
    (folder / "photos").mkdir()
    photo = phone_photo(folder / "photos" / "p12.jpg")
    rows: dict[str, list[tuple[float, float]]] = {"one workflow": [], "ten calls": []}
    async with agent(folder / "data", photo.parent) as client:
        saved = await client.call_tool("save_workflow", {"name": NAME, "components": list(STEPS)})
        assert not saved.is_error and saved.structured_content is not None, saved
        tool = saved.structured_content["tool"]
        await as_workflow(client, tool, photo, 0)
        server = server_pid(folder / "data")
        settle(process_tree(server))
        for n in range(ROUNDS + 1):
            for label, work in (("one workflow", as_workflow), ("ten calls", one_by_one)):
                fresh = photo.with_name(f"{label}-{n}.jpg")
                fresh.write_bytes(photo.read_bytes() + fresh.name.encode())
                wall, cpu = time.perf_counter(), tree_cpu_ms(server)
                await work(client, tool, fresh, n)
                rows[label].append(((time.perf_counter() - wall) * 1000, tree_cpu_ms(server) - cpu))
    print("ten steps on a 12 MP JPEG, to a 2048 px WebP")
    figures = {label: [median([row[n] for row in measured[1:]]) for n in (0, 1)] for label, measured in rows.items()}
    for label, (wall, cpu) in figures.items():
        print(f"  {label:22} wall {wall:7.1f} ms  cpu {cpu:7.1f} ms")
    times, costs = (figures["ten calls"][n] / figures["one workflow"][n] for n in (0, 1))
    print(f"  ten calls take {times:.2f} times the time and {costs:.2f} times the CPU")


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        anyio.run(measure, Path(name))


if __name__ == "__main__":
    main()
