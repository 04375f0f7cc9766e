"""Pictures made in code, tools called directly, and pixels read back."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from darkroom.engine.codec import encode_image, open_image
from darkroom.engine.limits import Limits
from darkroom_tools.base import File, Image, Inference, Tool
from darkroom_tools.errors import Cancelled, ModelNotInstalled
from darkroom_tools.image import Encoding, Source

SPACES = {("uint8", 1): "b-w", ("uint8", 3): "srgb", ("uint16", 1): "grey16", ("uint16", 3): "rgb16"}


def picture(array: np.ndarray, format: str = "png", *, delay: Sequence[int] = ()) -> Image:
    """A picture as the codec would hand it to a tool.

    `array` is height × width [× bands], or frames × height × width × bands where `delay` gives one delay a frame.
    """
    array = np.ascontiguousarray(array)
    if array.ndim == 2:
        array = array[:, :, None]
    frames, frame_height = (len(array), array.shape[1]) if array.ndim == 4 else (1, len(array))
    stacked = array.reshape(-1, *array.shape[-2:])
    height, width, bands = stacked.shape
    depth = {"uint8": "uchar", "uint16": "ushort"}[str(stacked.dtype)]
    pixels = pyvips.Image.new_from_memory(stacked.tobytes(), width, height, bands, depth)
    pixels = pixels.copy(interpretation=SPACES[str(stacked.dtype), bands - (bands in (2, 4))])
    if frames > 1:
        pixels = pixels.copy()
        pixels.set_type(pyvips.GValue.gint_type, "page-height", frame_height)
        pixels.set_type(pyvips.GValue.gint_type, "n-pages", frames)
        pixels.set_type(pyvips.GValue.gint_type, "loop", 0)
        pixels.set_type(pyvips.GValue.array_int_type, "delay", list(delay) or [100] * frames)
    return Image(pixels, Source(format, stacked.nbytes, pixels))


def array_of(image: Image) -> np.ndarray:
    """The pixels: height × width × bands, with the frames of an animation in front."""
    array = image.pixels.numpy()
    array = array[:, :, None] if array.ndim == 2 else array
    return array.reshape(image.frames, image.height, *array.shape[1:]) if image.frames > 1 else array


def use(tool: Tool, *images: Any, run: "DirectRun | None" = None, **settings: Any) -> Any:
    """Call a tool as the engine does: wire settings are validated first. A parameter that takes many gets a list."""
    names = {wanted.parameter: image for wanted, image in zip(tool.inputs, images, strict=False)}
    parsed = tool.settings.parse(settings)
    assert tool.settings.parse(parsed.to_wire()) == parsed, "settings change on their way to the worker"
    assert tool.function is not None
    taken: dict[str, Any] = {"settings": parsed} if tool.settings.model_fields else {}
    if tool.wants_run:
        taken["run"] = run or DirectRun()
    return tool.function(**names, **taken)


def encoded_as(image: Image, format: Any) -> Image:
    """The same picture, to be written in another format."""
    return replace(image, encoding=Encoding(format=format))


def opened(data: bytes, folder: Path, *, sequential: bool = True) -> Image:
    """The picture in a file's bytes, opened by the real codec."""
    path = folder / "input"
    path.write_bytes(data)
    return open_image(path, Limits(), sequential=sequential)


def gradient(width: int, height: int, bands: int = 3, dtype: Any = np.uint8) -> np.ndarray:
    """A smooth picture in which no two neighbours are alike in both directions."""
    down, across = np.mgrid[0:height, 0:width]
    top = np.iinfo(dtype).max
    planes = [across / max(1, width - 1), down / max(1, height - 1), (across + down) / max(1, width + height - 2)]
    planes = planes[:1] if bands < 3 else planes
    if bands in (2, 4):
        planes.append(1 - across / max(1, 2 * width))
    return (np.stack(planes, axis=-1) * top).astype(dtype)


def noise(width: int, height: int, bands: int = 3, dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Random pixels, the same for the same seed."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, (height, width, bands), dtype)


@dataclass
class DirectRun:
    """A `Run` without an engine: records progress, cancels on demand, has the models it is given.

    Attributes:
        models: For each installed model's id a function from input arrays to output arrays.
        cancel_at: Progress from which the caller is gone.
        reports: What was reported, in order.
    """

    models: dict[str, Any] = field(default_factory=dict)
    cancel_at: float = float("inf")
    reports: list[tuple[float, str]] = field(default_factory=list)

    def progress(self, fraction: float, message: str = "") -> None:
        assert 0 <= fraction <= 1
        assert not self.reports or fraction >= self.reports[-1][0]
        self.reports.append((fraction, message))
        if fraction >= self.cancel_at:
            raise Cancelled("The caller gave up.")

    def installed(self, model: str) -> bool:
        return model in self.models

    def encode(self, image: Image) -> File:
        with tempfile.TemporaryDirectory() as folder:
            encoded = encode_image(image, Path(folder), "part", Limits(), lambda _: None)
            path = encoded.output.path
            return File(path.read_bytes(), encoded.output.picture.media_type, path.suffix[1:], encoded.facts)

    def infer(self, model: str, inputs: Sequence[np.ndarray]) -> Inference:
        if model not in self.models:
            raise ModelNotInstalled(f"Model {model!r} is not installed.")
        return Inference(self.models[model](*inputs), "cpu")

    def infer_each(self, model: str, requests: Iterable[Sequence[np.ndarray]]) -> Iterator[Inference]:
        return (self.infer(model, inputs) for inputs in requests)
