"""Every image tool from a real file to a real file, read back by an independent decoder."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from support.pictures import gradient, noise, opened, use

from darkroom.engine.codec import encode_image
from darkroom.engine.limits import Limits
from darkroom_tools.base import Tool
from darkroom_tools.registry import builtin_tools

TOOLS = ["resize", "crop", "rotate", "convert", "compress", "watermark-text"]


def saved(array: np.ndarray, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = PIL.Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    image.convert(options.pop("mode", image.mode)).save(buffer, format, **options)
    return buffer.getvalue()


def animation(format: str) -> bytes:
    frames = [PIL.Image.fromarray(np.full((30, 40, 3), value, np.uint8)) for value in (0, 120, 250)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0)
    return buffer.getvalue()


FILES = {
    "jpeg": saved(gradient(40, 30), "JPEG"),
    "grey-jpeg": saved(gradient(40, 30, 1), "JPEG"),
    "cmyk-jpeg": saved(gradient(40, 30), "JPEG", mode="CMYK"),
    "rgba-png": saved(gradient(40, 30, 4), "PNG"),
    "grey-alpha-png": saved(gradient(40, 30, 4), "PNG", mode="LA"),
    "palette-png": saved(gradient(40, 30), "PNG", mode="P"),
    "16-bit-png": saved(gradient(40, 30, 1, np.uint16), "PNG"),
    "webp": saved(gradient(40, 30), "WEBP"),
    "tiff": saved(gradient(40, 30), "TIFF"),
    "avif": saved(gradient(40, 30), "AVIF"),
    "gif": animation("GIF"),
    "animated-webp": animation("WEBP"),
}


def through(tool: Tool, data: bytes, folder: Path, **settings: Any) -> PIL.Image.Image:
    """What another decoder sees after the file went through the tool."""
    image = opened(data, folder, sequential=tool.sequential)
    encoded = encode_image(use(tool, image, **settings), folder, "result", Limits(), lambda pixels: None)
    return PIL.Image.open(io.BytesIO(encoded.output.path.read_bytes()))


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("name", TOOLS)
def test_the_example_works_on_every_kind_of_file(name: str, kind: str, tmp_path: Path) -> None:
    tool = builtin_tools()[name]
    result = through(tool, FILES[kind], tmp_path, **tool.example)
    result.load()
    if name != "convert":
        assert result.format.lower() == kind.rsplit("-", 1)[-1]
    if name in ("compress", "watermark-text"):
        assert result.size == (40, 30)
    moving = kind in ("gif", "animated-webp")
    assert getattr(result, "n_frames", 1) == (3 if moving else 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", TOOLS)
def test_a_picture_stored_sideways_comes_out_upright(name: str, orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((60, 80, 3), np.uint8)
    upright[:30, :40] = 255
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    stored = PIL.Image.fromarray(upright)
    stored = stored if turn is None else stored.transpose(PIL.Image.Transpose(turn))
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation.value] = orientation
    asked = {
        "resize": {"width": 40},
        "crop": {"left": 0, "top": 0, "width": 80, "height": 60},
        "rotate": {"angle": 360},
        "convert": {"format": "png"},
        "watermark-text": {"text": "x", "fontSize": 8, "opacity": 0},
    }.get(name, {})
    data = saved(np.asarray(stored), "JPEG", exif=exif, quality=95)
    result = through(builtin_tools()[name], data, tmp_path, **asked)
    width, height = result.size
    assert (width, height) == ((40, 30) if name == "resize" else (80, 60))
    assert result.getexif().get(PIL.ExifTags.Base.Orientation.value, 1) == 1
    seen = np.asarray(result.convert("L")).astype(int)
    bright = [seen[height // 4, width // 4], seen[height // 4, 3 * width // 4], seen[3 * height // 4, width // 4]]
    assert bright[0] > 240
    assert max(bright[1:]) < 15


@pytest.mark.parametrize("angle", [90, 30])
def test_frames_and_their_times_survive_turning(angle: int, tmp_path: Path) -> None:
    result = through(builtin_tools()["rotate"], FILES["gif"], tmp_path, angle=angle)
    assert result.n_frames == 3
    times = []
    for frame in range(3):
        result.seek(frame)
        times.append(result.info["duration"])
    assert times == [100, 200, 300]


def test_a_large_file_streams_through_each_tool_that_says_so(tmp_path: Path) -> None:
    data = saved(noise(700, 900), "JPEG", quality=95)
    settings: dict[str, list[dict[str, Any]]] = {
        "resize": [{"width": 300}, {"width": 900}, {"width": 690}, {"width": 300, "height": 300}],
        "crop": [{"left": 9, "top": 700, "width": 99, "height": 99}, {"shape": "circle"}],
        "watermark-text": [{"text": "x", "fontSize": 500, "rotation": 20}, {"text": "x", "tile": True}],
    }
    for name, calls in settings.items():
        tool = builtin_tools()[name]
        assert tool.sequential
        for asked in calls:
            streamed = use(tool, opened(data, tmp_path, sequential=True), **asked).pixels.numpy()
            random = use(tool, opened(data, tmp_path, sequential=False), **asked).pixels.numpy()
            assert (streamed == random).all()
