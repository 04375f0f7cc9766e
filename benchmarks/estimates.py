"""Measures what a dry run estimates by: bytes a pixel of every format, and CPU seconds of every tool.

`python -m benchmarks.estimates` prints the file `server/darkroom/data/estimates.toml`, which it is then put into;
`bytes` or `seconds` prints that part only. Photographs are those of the examples and of scikit-image.

Bytes: of each photograph, in three sizes, as JPEG and as PNG, every output is encoded; then the logarithm of bytes a
pixel is fitted by that of the source and of the reduction. What one photograph would miss if only the others were
known (5th and 95th percentile) is the range.

Seconds: the CPU time of a worker's work on a photograph of 0.3 and one of 4.3 megapixels, less decoding and encoding: a
line through both. Several settings of a tool give a range.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from PIL import Image

from benchmarks.measure import cpu_ms, phone_photo, process_tree
from benchmarks.tool_cases import make_inputs
from darkroom.engine.limits import Limits
from darkroom.engine.runner import run_plan
from darkroom.engine.savers import options, save
from darkroom.engine.work import Work
from darkroom_tools.errors import DarkroomError
from darkroom_tools.image import Encoding
from darkroom_tools.plan import Plan, Step, input_ref
from darkroom_tools.registry import builtin_tools

HEAD = """\
# What results weigh and how long tools take, measured by `python -m benchmarks.estimates` on photographs.
# bytes: by format and quality, for sources that are a JPEG, a PNG or anything else: the logarithm of bytes a pixel is
#   constant + weight of the source's own + weight of the logarithm of the scale, and lies so far below and above.
# decode, encode: CPU seconds a megapixel. tools: CPU seconds a call and a megapixel, [least, most]."""

QUALITIES: Mapping[str, Sequence[int | None]] = {
    "jpeg": (30, 50, 70, 80, 90, 95, 100),
    "webp": (30, 60, 80, 95),
    "avif": (30, 50, 80),
    "png": (None, 80),
    "tiff": (None,),
    "gif": (None,),
}
SOURCE_QUALITIES = (75, 90, 95)
REDUCTIONS = (1.0, 0.5, 0.25)
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket", "hubble_deep_field", "retina", "immunohistochemistry", "camera")
LARGE, SMALL = (2400, 1800), (640, 480)
SLOW_SECONDS = 2.0
FURTHER: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "color-adjustments": ({"brightness": 10}, {"effects": ["vignette"], "temperature": 20}),
    "convert": ({"format": "png"}, {"format": "jpeg"}),
    "noise-removal": ({"quality": "balanced"},),
    "resize": ({"width": 2000}, {"percentage": 150}),
    "rotate": ({"angle": 90}, {"angle": 12.5}),
    "sharpening": ({"mode": "unsharp"},),
    "vectorize": ({},),
}
"""Settings that are measured beside the example of a tool."""

MODEL_CALLS: Mapping[str, Mapping[str, Any]] = {"ocr": {}, "upscale": {"scale": 2}}
"""Tools that come with a model."""


def photographs(folder: Path) -> Iterator[pyvips.Image]:
    """Real photographs, and the mosaic of them with the noise of a sensor."""
    from skimage import data

    for path in sorted(Path("examples/photos").glob("*.jpg")):
        yield pyvips.Image.new_from_file(str(path))
    for name in PHOTOS:
        pixels = pyvips.Image.new_from_array(np.ascontiguousarray(getattr(data, name)()))
        yield pixels.copy(interpretation="srgb" if pixels.bands == 3 else "b-w")
    left = pyvips.Image.new_from_array(np.ascontiguousarray(data.stereo_motorcycle()[0]))
    yield left.copy(interpretation="srgb")
    yield pyvips.Image.new_from_file(str(phone_photo(folder / "photo.jpg", 2016, 1512)))


def encoded(pixels: pyvips.Image, format: str, quality: int | None) -> bytes:
    """A picture as the engine writes it."""
    extra = {"filter": "all"} if format == "png" and quality is None else {}
    return bytes(save(pixels, format, "_buffer", keep=0, **{**options(format, Encoding(quality=quality)), **extra}))


def density(data: bytes, pixels: pyvips.Image) -> float:
    """Logarithm of bytes a pixel."""
    return float(np.log(len(data) / (pixels.width * pixels.height)))


def observed(photos: Sequence[pyvips.Image], kind: str) -> list[tuple[int, float, float, dict[tuple[str, Any], float]]]:
    """For each photo, source and reduction: its number, the density of the source, the reduction, those of outputs."""
    rows = []
    for number, photo in enumerate(photos):
        sources = (
            [encoded(photo, "jpeg", q) for q in SOURCE_QUALITIES] if kind == "jpeg" else [encoded(photo, "png", None)]
        )
        for source in sources:
            pixels = pyvips.Image.new_from_buffer(source, "")
            for scale in REDUCTIONS:
                small = (pixels.resize(scale) if scale < 1 else pixels).copy_memory()
                outputs = {
                    (format, quality): density(encoded(small, format, quality), small)
                    for format, qualities in QUALITIES.items()
                    for quality in qualities
                }
                rows.append((number, density(source, pixels), float(np.log(scale)), outputs))
    return rows


def fitted(rows: Sequence[Any], key: tuple[str, Any], *, blind: bool) -> list[float]:
    """Constant, weights of source and reduction, and the range of what a photo misses that was not in the fit."""
    numbers = np.array([row[0] for row in rows])
    features = np.array([[1.0, 0.0 if blind else row[1], row[2]] for row in rows])
    wanted = np.array([row[3][key] for row in rows])

    def solve(which: Any) -> Any:
        return np.linalg.lstsq(features[which], wanted[which], rcond=None)[0]

    missed = np.concatenate(
        [wanted[numbers == n] - features[numbers == n] @ solve(numbers != n) for n in np.unique(numbers)]
    )
    low, high = np.percentile(missed, (5, 95))
    return [round(float(value), 3) for value in (*solve(slice(None)), low, high)]


def print_bytes() -> None:
    """The part on bytes."""
    with tempfile.TemporaryDirectory() as name:
        photos = [photo.copy_memory() for photo in photographs(Path(name))]
    lossy, lossless = observed(photos, "jpeg"), observed(photos, "png")
    for format, qualities in QUALITIES.items():
        for quality in qualities:
            key = (format, quality)
            print(f"\n[bytes.{format}.{quality or 100}]")
            print(f"jpeg = {fitted(lossy, key, blind=False)}")
            print(f"png = {fitted(lossless, key, blind=False)}")
            print(f"other = {fitted([*lossy, *lossless], key, blind=True)}")


def cpu(act: Callable[[], object]) -> float:
    """CPU seconds: the better of two; what is slow is measured once."""
    times = []
    for _ in range(2):
        start = time.process_time()
        act()
        times.append(time.process_time() - start)
        if times[0] > SLOW_SECONDS:
            break
    return min(times)


def run(tool: str, settings: Mapping[str, Any], path: Path, folder: Path) -> Path:
    """Run a tool as a worker does; the file made."""
    chosen = builtin_tools()[tool]
    further = {"watermark": "logo.png", "overlay": "small.jpg", "svg": "drawing.svg", "pdf": "document.pdf"}
    images: dict[str, list[str]] = {}
    paths: list[Path] = []
    for image in (each for each in chosen.inputs if each.required):
        images[image.name] = []
        for _ in range(max(image.least, 1)):
            images[image.name].append(input_ref(len(paths)))
            paths.append(folder / further[image.name] if image.name in further else path)
    plan = Plan((Step("step", tool, settings, images),))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        work = Work(lambda *_: None, lambda *_: None)  # type: ignore[arg-type, return-value]
        outcome = run_plan(plan, paths, Path(out), Limits(), work, builtin_tools(), [each.name for each in paths])
        for output in outcome.outputs[:1]:
            kept = folder / "made"
            kept.write_bytes(output.path.read_bytes())
            return kept
    return path


def line(small: float, large: float, first: float, last: float) -> tuple[float, float]:
    """Seconds a call and a megapixel, through two measurements at `first` and `last` megapixels."""
    slope = max(0.0, (large - small) / (last - first))
    return max(0.0, small - slope * first), slope


def print_codecs(folder: Path) -> None:
    """Seconds a megapixel of reading and writing each format."""
    photo = pyvips.Image.new_from_file(str(folder / "photo.jpg")).copy_memory()
    millions = photo.width * photo.height / 1e6
    reads, writes = {}, {}
    for format in QUALITIES:
        data = encoded(photo, format, None)
        reads[format] = cpu(lambda data=data: pyvips.Image.new_from_buffer(data, "").copy_memory()) / millions  # type: ignore[misc]
        writes[format] = cpu(lambda format=format: encoded(photo, format, None)) / millions  # type: ignore[misc]
    print("\n[decode]")
    print("\n".join(f"{format} = {seconds:.4f}" for format, seconds in reads.items()))
    print("\n[encode]")
    print("\n".join(f"{format} = {seconds:.4f}" for format, seconds in writes.items()))


def around(tool: str, settings: Mapping[str, Any], path: Path, folder: Path) -> tuple[float, float]:
    """CPU seconds of a call less reading its picture and writing its result, and the larger one's megapixels."""
    whole = cpu(lambda: run(tool, settings, path, folder))
    made = run(tool, settings, path, folder)
    pixels = pyvips.Image.new_from_file(str(path))
    most = pixels.width * pixels.height / 1e6
    spent = cpu(lambda: pyvips.Image.new_from_file(str(path)).copy_memory()) if not _streams_bytes(tool) else 0.0
    try:
        result = (
            pyvips.Image.new_from_file(str(made), n=-1) if _animates(made) else pyvips.Image.new_from_file(str(made))
        )
    except pyvips.Error:
        return max(0.0, whole - spent), most
    if made != path:
        most = max(most, result.width * result.height / 1e6)
        format = str(result.get("vips-loader")).removesuffix("load")
        loaded = result.copy_memory()
        if format in QUALITIES:
            spent += cpu(lambda: encoded(loaded, format, None))
    return max(0.0, whole - spent), most


def _animates(path: Path) -> bool:
    return path.read_bytes()[:3] == b"GIF"


def _streams_bytes(tool: str) -> bool:
    return any(image.as_file for image in builtin_tools()[tool].inputs)


def print_seconds(wanted: Sequence[str] = ()) -> None:
    """The part on seconds."""
    from skimage import data

    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phone_photo(folder / "photo.jpg", *LARGE)
        phone_photo(folder / "small-photo.jpg", *SMALL)
        make_inputs(folder)
        if not wanted:
            print_codecs(folder)
        if not wanted or MODEL_CALLS.keys() & set(wanted):
            Image.fromarray(data.page()).resize((768, 382)).save(folder / "page.png")
            asyncio.run(with_models(folder))
        for tool in builtin_tools().values():
            if tool.id in MODEL_CALLS or tool.generative or (wanted and tool.id not in wanted):
                continue
            try:
                lines = [measured(tool.id, settings, folder) for settings in (tool.example, *FURTHER.get(tool.id, ()))]
            except DarkroomError as error:
                print(f"\n# {tool.id} was not measured: {error.code}", flush=True)
                continue
            low, high = ([sorted(pair)[n] for pair in zip(*lines, strict=True)] for n in (0, -1))
            print(f"\n[tools.{tool.id}]")
            print(f"call = [{low[0]:.4f}, {high[0]:.4f}]")
            print(f"megapixel = [{low[1]:.4f}, {high[1]:.4f}]", flush=True)


async def with_models(folder: Path) -> None:
    """CPU seconds of the tools that come with a model, of all processes together, once the model is loaded."""
    from darkroom.app import open_darkroom
    from darkroom.config import Config
    from darkroom.principal import LOCAL, Principal

    principal = Principal(LOCAL.id, (folder,))
    async with open_darkroom(Config(data_dir=folder / "data", workers=1)) as room:
        for tool, settings in MODEL_CALLS.items():
            spent = []
            for number, name in enumerate(("small.jpg", "small-photo.jpg", "page.png")):
                before = cpu_ms(process_tree(os.getpid()))
                job = await room.jobs.accept(principal, builtin_tools()[tool], {"image": name, **settings})
                done = await room.jobs.wait(principal, job.id, None)
                seconds = (cpu_ms(process_tree(os.getpid())) - before) / 1e3
                handles = [*done.result.items[0].sources, *done.result.items[0].images] if done.result else []
                records = (await room.library.find(principal, handles)).values()
                most = max((record.width or 0) * (record.height or 0) for record in records) / 1e6
                spent += [seconds / most] if number else []
            print(f"\n[tools.{tool}]\ncall = [0.0, 0.0]\nmegapixel = [{min(spent):.4f}, {max(spent):.4f}]", flush=True)


def measured(tool: str, settings: Mapping[str, Any], folder: Path) -> tuple[float, float]:
    """Seconds a call and a megapixel with some settings."""
    small, first = around(tool, settings, folder / "small-photo.jpg", folder)
    if small > SLOW_SECONDS:  # what is that slow grows with its pixels
        return 0.0, small / first
    large, last = around(tool, settings, folder / "photo.jpg", folder)
    return line(small, large, first, last) if last > first else (max(small, large), 0.0)


def main() -> None:
    """Print both parts, or the one that is named; then tools to measure may follow."""
    parts = sys.argv[1:2]
    print(HEAD)
    if "seconds" not in parts:
        print_bytes()
    if "bytes" not in parts:
        print_seconds(sys.argv[2:])


if __name__ == "__main__":
    main()
