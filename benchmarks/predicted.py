"""What dry runs say against what then comes: every tool's example and every workflow of the gallery, on two photographs.

Sizes, frames and formats are `exact` where the dry run was certain and right, `bounded` where it was not certain and
nothing exceeds what it said, and `WRONG` otherwise. Bytes, and the CPU seconds of all processes, are inside the
estimated range or not. What needs a model or an engine that is not here must be refused by both; that there is no face
nobody can know before.
`python -m benchmarks.predicted rotate web-ready` runs those only.
"""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio

from benchmarks.measure import cpu_ms, phone_photo, process_tree
from benchmarks.tool_cases import make_inputs
from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.errors import DarkroomError
from darkroom.jobs.checking import CheckedItem
from darkroom.jobs.record import Job
from darkroom.principal import LOCAL, Principal
from darkroom.workflows.estimates import Range
from darkroom.workflows.gallery import gallery
from darkroom_tools.base import Tool
from darkroom_tools.registry import builtin_tools

PATIENCE = 600.0
PHOTO = (1600, 1200)
FILES = {
    "svg": "drawing.svg",
    "pdf": "document.pdf",
    "watermark": "logo.png",
    "overlay": "small.jpg",
    "logo": "logo.png",
}
BY_CONTENT = frozenset({"NO_FACE"})
"""Errors that only pixels can tell."""


def cases() -> Iterator[tuple[str, Tool]]:
    """Built-in tools, and the workflows that come with Darkroom."""
    yield from builtin_tools().items()
    for slug, saved in gallery().items():
        if saved.tool is not None:
            yield f"gallery/{slug}", saved.tool


def arguments(tool: Tool, photo: str) -> dict[str, Any]:
    """A call that works on any photo."""
    images = {
        image.name: [photo, "dahlia.jpg", photo][: max(2, image.least)] if image.many else FILES.get(image.name, photo)
        for image in tool.inputs
        if image.required
    }
    required = tool.input_schema().get("required", [])
    texts = {name: "A day by the sea" for name in required if name not in images and name not in tool.example}
    return {**images, **texts, **tool.example}


async def real(room: Darkroom, principal: Principal, tool: Tool, call: Mapping[str, Any]) -> Job | DarkroomError:
    """What comes of the call."""
    try:
        job = await room.jobs.accept(principal, tool, call)
    except DarkroomError as error:
        return error
    return job if job.ended else await room.jobs.wait(principal, job.id, PATIENCE)


async def compared(room: Darkroom, principal: Principal, tool: Tool, call: Mapping[str, Any]) -> tuple[str, str, str]:
    """Verdicts on sizes, bytes and seconds."""
    check = await room.jobs.checker.check(principal, tool, call)
    before = cpu_ms(process_tree(os.getpid()))
    job = await real(room, principal, tool, call)
    seconds = (cpu_ms(process_tree(os.getpid())) - before) / 1e3
    refused = [error.code for error in check.problems] + [
        error.code for item in check.items if item.forecast for _, error in item.forecast.problems
    ]
    if isinstance(job, DarkroomError) or job.result is None or job.result.items[0].error is not None:
        error = job.code if isinstance(job, DarkroomError) else (job.error or {}).get("code", "?")
        expected = error in refused or error in BY_CONTENT
        return (f"refused {error}" if expected else f"WRONG {refused} but {error}", "", "")
    if refused:
        return f"WRONG {refused} but it worked", "", ""
    handles = job.result.items[0].images
    records = await room.library.find(principal, handles)
    made = [records[handle] for handle in handles]
    if job.result.items[0].cached:
        return "known", "", ""
    return (
        sizes(check.items[0], [(each.width, each.height, each.frames, each.format) for each in made]),
        inside([result.bytes for result in _results(check.items[0])], [each.bytes for each in made]),
        inside([check.seconds], [seconds]),
    )


def _results(item: CheckedItem) -> tuple[Any, ...]:
    return item.forecast.results if item.forecast is not None else ()


def sizes(item: CheckedItem, made: list[tuple[Any, ...]]) -> str:
    """The verdict on sizes, frames and formats."""
    if item.forecast is None or (item.forecast.count not in (None, len(made))):
        return f"WRONG {item.forecast and item.forecast.count} results but {len(made)}"
    for result, (width, height, frames, format) in zip(item.forecast.results, made, strict=False):
        shape = result.shape
        told, came = (shape.width, shape.height, shape.frames), (width or 0, height or 0, frames)
        formats = shape.formats or (shape.format,)
        fits = came == told if shape.exact else all(a <= b for a, b in zip(came, told, strict=True))
        if not fits or format not in formats:
            return f"WRONG {told} {formats} but {came} {format}"
    return "exact" if item.forecast.exact else "bounded"


def inside(ranges: list[Range | None], values: list[float]) -> str:
    """Whether values are in their ranges."""
    pairs = [(known, value) for known, value in zip(ranges, values, strict=False) if known is not None]
    if not pairs:
        return "-"
    known, value = next(((r, v) for r, v in pairs if not r.low <= v <= r.high), pairs[0])
    good = known.low <= value <= known.high
    return f"{'in' if good else 'OUT'} {known.to_wire()} {value:.3g}"


async def compare(wanted: tuple[str, ...]) -> None:
    """Print a line for each case, and the counts."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        await anyio.to_thread.run_sync(_prepare, folder)
        config = Config(data_dir=Path(name) / "data", workers=2)
        async with open_darkroom(config) as room:
            principal = Principal(LOCAL.id, (folder,))
            for label, tool in cases():
                if wanted and label.rpartition("/")[2] not in wanted:
                    continue
                for photo in ("photo.jpg", "dahlia.jpg"):
                    verdicts = await compared(room, principal, tool, arguments(tool, photo))
                    counts.update(
                        [
                            verdicts[0].split()[0],
                            *(
                                f"{kind} {v.split()[0]}"
                                for kind, v in zip(("bytes", "seconds"), verdicts[1:], strict=True)
                                if v
                            ),
                        ]
                    )
                    print(f"{label:28}{photo:12}{verdicts[0]:32}{verdicts[1]:36}{verdicts[2]}", flush=True)
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))


def _prepare(folder: Path) -> None:
    folder.mkdir()
    phone_photo(folder / "photo.jpg", *PHOTO)
    make_inputs(folder)
    for path in Path("examples/photos").glob("*.jpg"):
        (folder / path.name).write_bytes(path.read_bytes())


def main() -> None:
    """Run the comparison of all cases, or of those named."""
    asyncio.run(compare(tuple(sys.argv[1:])))


if __name__ == "__main__":
    main()
