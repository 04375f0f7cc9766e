"""The gallery's workflows on real workers, with small pictures of the kinds that they are made for."""

import functools
import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import skimage.data

from darkroom.executors.local import Finished
from darkroom.executors.segments import SegmentedExecutor
from darkroom.workflows.gallery import gallery
from darkroom_tools.base import Tool
from darkroom_tools.plan import input_ref

__all__ = ["PICTURES", "Made", "Store", "compiled", "planned", "ran"]


@dataclass(frozen=True)
class Made:
    """What came out of a workflow.

    Attributes:
        files: The results.
        finished: The facts.
    """

    files: list[bytes]
    finished: Finished

    @property
    def image(self) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.files[0]))

    @property
    def pixels(self) -> np.ndarray:
        return np.asarray(self.image.convert("RGBA" if "A" in self.image.getbands() else "RGB")).astype(int)

    def small(self, side: int = 160) -> np.ndarray:
        """The first result at the size of a golden picture, on white."""
        picture = self.image.convert("RGBA")
        ground = PIL.Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture)
        shrunk = ground.convert("RGB")
        shrunk.thumbnail((side, side), PIL.Image.Resampling.BOX)
        return np.asarray(shrunk)


class Store:
    """Files by their SHA-256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def adopt(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.move(path, self.folder / digest)
        return digest

    def stored(self, digest: str) -> bool:
        return (self.folder / digest).exists()

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = Path(folder) / "file"
            path.touch()
            yield path


def compiled(slug: str) -> Tool:
    """The tool that a workflow of the gallery is."""
    tool = gallery()[slug].tool
    assert tool is not None, gallery()[slug].problem
    return tool


def planned(tool: Tool, images: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """The plan of a call with these pictures by input, and the pictures in the plan's order."""
    given = {
        name: list(held) if wanted.many else held[0]
        for wanted in tool.inputs
        if (held := images.get(name := wanted.name))
    }
    found, settings = tool.parse({**given, **values})
    order = [picture for held in found.values() for picture in held]
    refs: dict[str, list[str]] = {}
    for name, held in found.items():
        start = sum(map(len, refs.values()))
        refs[name] = [input_ref(start + n) for n in range(len(held))]
    return tool.plan(settings, refs), order


async def ran(
    executor: SegmentedExecutor, store: Store, slug: str, images: Mapping[str, Sequence[str]], **values: Any
) -> Made:
    """Run a workflow of the gallery on pictures of `PICTURES`, named by input."""
    plan, order = planned(compiled(slug), images, values)
    executor.check(plan)
    digests = [store.put(PICTURES[name]()) for name in order]
    finished = await executor.run(plan, digests, names=[f"{name}.jpg" for name in order])
    return Made([(store.folder / digest).read_bytes() for digest in finished.digests], finished)


def _jpeg(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture = array if isinstance(array, PIL.Image.Image) else PIL.Image.fromarray(array.astype(np.uint8))
    picture.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def _png(picture: PIL.Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@functools.cache
def product() -> bytes:
    """A teal flask on a light grey ground."""
    rows, columns = np.mgrid[0:128, 0:104].astype(float)
    width = np.interp(np.arange(128), [20, 44, 56, 100, 108], [8, 8, 26, 28, 24])
    inside = (abs(columns - 50) <= width[:, None]) & (rows >= 20) & (rows <= 108)
    light = 0.55 + 0.45 * np.cos((columns - 42) / 30)
    flask = np.array([22.0, 110.0, 116.0]) * light[..., None]
    ground = 226 - 0.1 * abs(columns - 52)[..., None] * np.ones(3)
    return _jpeg(np.where(inside[..., None], flask, ground))


@functools.cache
def cutout() -> bytes:
    """A red disc on nothing."""
    rows, columns = np.mgrid[0:80, 0:100]
    inside = (rows - 40) ** 2 + (columns - 50) ** 2 <= 30**2
    pixels = np.zeros((80, 100, 4), np.uint8)
    pixels[inside] = (196, 40, 40, 255)
    return _png(PIL.Image.fromarray(pixels))


@functools.cache
def portrait() -> bytes:
    """A face that looks at the camera."""
    return _jpeg(PIL.Image.fromarray(skimage.data.astronaut()[0:320, 60:380]).resize((200, 200)))


@functools.cache
def photo() -> bytes:
    """A landscape photo."""
    return _jpeg(PIL.Image.fromarray(skimage.data.coffee()).resize((150, 100)))


@functools.cache
def tall() -> bytes:
    """A photo that is higher than wide, stored on its side."""
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    exif[0x013B] = "An owner"
    return _jpeg(PIL.Image.fromarray(skimage.data.chelsea()[:, 60:360]).resize((120, 80)), exif=exif)


@functools.cache
def grey() -> bytes:
    """A grey photo."""
    return _png(PIL.Image.fromarray(skimage.data.camera()).resize((96, 96)))


@functools.cache
def page() -> bytes:
    """A badly lit page."""
    return _jpeg(PIL.Image.fromarray(skimage.data.page()).resize((192, 96)))


@functools.cache
def logo() -> bytes:
    """A dark ring on nothing."""
    rows, columns = np.mgrid[0:48, 0:48]
    away = np.hypot(rows - 23.5, columns - 23.5)
    pixels = np.zeros((48, 48, 4), np.uint8)
    pixels[(away < 22) & (away > 12)] = (20, 20, 60, 255)
    return _png(PIL.Image.fromarray(pixels))


@functools.cache
def animation() -> bytes:
    """Three frames of a moving bar."""
    frames = [PIL.Image.new("RGB", (120, 80), "white") for _ in range(3)]
    for number, frame in enumerate(frames):
        frame.paste((200, 60, 30), (20 + 30 * number, 10, 40 + 30 * number, 70))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
    return buffer.getvalue()


PICTURES = {make.__name__: make for make in (product, cutout, portrait, photo, tall, grey, page, logo, animation)}
