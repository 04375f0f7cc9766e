"""GIF tools: frames, delays and loops as Pillow reads them, and bytes that stay where no pixel changes."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageSequence
from support.codec import photo
from support.pictures import DirectRun, array_of, encoded_as, noise, opened, picture, use

from darkroom.engine.codec import encode_image
from darkroom.engine.limits import Limits
from darkroom_tools.base import Archive, File, Image
from darkroom_tools.errors import Cancelled, InvalidSettings, ProcessingFailed
from darkroom_tools.formats.gif_tools import gif_tools
from darkroom_tools.image import Original

DELAYS = [50, 60, 70, 80]


def drawn(count: int = 4, width: int = 60, height: int = 40) -> list[Pillow.Image]:
    """A bar that wanders over a few colours, so that every frame has a palette of its own without loss."""
    frames = []
    for number in range(count):
        array = np.zeros((height, width, 3), np.uint8)
        array[:, :, 1] = np.arange(height)[:, None] * 4
        array[:, 10 * number : 10 * number + 8] = (200, 30 * number, 255)
        frames.append(Pillow.fromarray(array))
    return frames


def animation(frames: Sequence[Pillow.Image], format: str = "gif", delays: Any = None, **options: Any) -> bytes:
    buffer = io.BytesIO()
    options = {"loop": 0, "duration": delays or DELAYS[: len(frames)]} | options
    frames[0].save(buffer, format, save_all=True, append_images=frames[1:], **options)
    return buffer.getvalue()


def read(data: bytes) -> tuple[list[np.ndarray], list[int], int | None]:
    """Frames, delays and repetitions as Pillow sees them."""
    image = Pillow.open(io.BytesIO(data))
    frames, delays = [], []
    for frame in ImageSequence.Iterator(image):
        frames.append(np.asarray(frame.convert("RGB")).astype(int))
        delays.append(int(frame.info.get("duration", 0)))
    return frames, delays, Pillow.open(io.BytesIO(data)).info.get("loop")


def made(data: bytes, folder: Path, **asked: Any) -> Any:
    return use(gif_tools, opened(data, folder, sequential=False), **asked)


def written(result: Any, folder: Path) -> bytes:
    """The bytes of a result, as the engine would write it."""
    if isinstance(result, File):
        return result.data
    path = encode_image(result, folder, "written", Limits(), lambda _: None).output.path
    data = path.read_bytes()
    path.unlink()
    return data


def apart(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> int:
    assert len(one) == len(other)
    return max(int(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("format", ["gif", "webp"])
@pytest.mark.parametrize(
    ("factor", "delays"),
    [
        (2, {"gif": [30, 30, 40, 40], "webp": [25, 30, 35, 40]}),
        (0.5, {"gif": [100, 120, 140, 160], "webp": [100, 120, 140, 160]}),
        (10, {"gif": [20] * 4, "webp": [20] * 4}),
        (1, {"gif": DELAYS, "webp": DELAYS}),
    ],
)
def test_speed_changes_delays_and_no_other_byte(tmp_path: Path, format: str, factor: float, delays: Any) -> None:
    data = animation(drawn(), format, lossless=True) if format == "webp" else animation(drawn())
    result = made(data, tmp_path, action="speed", speedFactor=factor)
    assert isinstance(result, File)
    frames, got, loop = read(result.data)
    assert got == delays[format]
    assert loop == 0
    assert apart(frames, read(data)[0]) == 0
    assert len(result.data) == len(data)
    assert sum(a != b for a, b in zip(result.data, data, strict=True)) <= 2 * len(DELAYS)
    assert result.facts["frames"] == 4
    assert result.facts["durationMs"] == sum(delays[format])
    assert result.media_type == f"image/{format}"


def test_what_players_show_for_100_ms_counts_as_100(tmp_path: Path) -> None:
    data = animation(drawn(), delays=[0, 10, 20, 200])
    assert read(made(data, tmp_path, action="speed", speedFactor=2).data)[1] == [50, 50, 20, 100]


def test_frames_without_a_delay_get_one(tmp_path: Path) -> None:
    data = animation(drawn(2), delays=[0, 0], loop=None)
    bare = data.replace(b"\x21\xf9\x04", b"\x21\xfe\x04")  # a comment in place of each control block
    result = made(bare, tmp_path, action="speed", speedFactor=0.5, loop=0)
    assert read(result.data)[1] == [200, 200]
    assert apart(read(result.data)[0], read(bare)[0]) == 0


@pytest.mark.parametrize("format", ["gif", "webp"])
@pytest.mark.parametrize("loop", [0, 1, 2, 100])
def test_loop_is_how_often_it_plays(tmp_path: Path, format: str, loop: int) -> None:
    result = made(animation(drawn(), format, loop=4), tmp_path, action="speed", loop=loop)
    # A GIF counts the repetitions after the first, and without the block it plays once.
    stored = {0: 0, 1: None}.get(loop, loop - 1) if format == "gif" else loop
    assert read(result.data)[2] == stored
    assert result.facts["loop"] == loop
    again = opened(result.data, tmp_path, sequential=False)
    assert again.pixels.get("loop") == loop


def test_a_file_that_is_patched_loses_its_texts(tmp_path: Path) -> None:
    data = animation(drawn(), comment=b"Taken at home")
    result = made(data, tmp_path, action="speed", speedFactor=2)
    assert b"Taken at home" not in result.data
    assert result.removed == ("comments",)


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_reverse_turns_the_order_of_frames_with_their_delays(tmp_path: Path, format: str) -> None:
    data = animation(drawn(), format, lossless=True) if format == "webp" else animation(drawn())
    frames, delays, _ = read(written(made(data, tmp_path, action="reverse", loop=3), tmp_path))
    assert delays == DELAYS[::-1]
    expected = read(data)[0][::-1]
    if format == "gif":
        assert apart(frames, expected) == 0
    assert max(np.abs(got - want).mean() for got, want in zip(frames, expected, strict=True)) < 8


def test_frames_that_stand_alone_are_moved_as_they_are(tmp_path: Path) -> None:
    for format in ("gif", "webp"):
        frames = [photo().rotate(angle, fillcolor=(angle, 9, 9)) for angle in (0, 50, 100, 150)]
        data = animation(frames, format, **({"quality": 70, "kmin": 0, "kmax": 1} if format == "webp" else {}))
        result = made(data, tmp_path, action="reverse", loop=2)
        assert isinstance(result, File)
        got, delays, loop = read(result.data)
        assert apart(got, read(data)[0][::-1]) == 0
        assert (delays, loop) == (DELAYS[::-1], 1 if format == "gif" else 2)
        assert len(result.data) == len(data)


@given(count=st.integers(2, 6), seed=st.integers(0, 99))
def test_twice_reversed_is_as_before(tmp_path: Path, count: int, seed: int) -> None:
    colours = np.random.default_rng(seed).integers(0, 256, (40, 3), np.uint8)
    picks = np.random.default_rng(seed + 1).integers(0, 40, (count, 12, 16))
    data = animation([Pillow.fromarray(colours[pick]) for pick in picks], delays=[20 * (n + 1) for n in range(count)])
    once = written(made(data, tmp_path, action="reverse"), tmp_path)
    twice = written(made(once, tmp_path, action="reverse"), tmp_path)
    assert apart(read(twice)[0], read(data)[0]) == 0
    assert read(twice)[1] == read(data)[1]


@pytest.mark.parametrize(
    ("asked", "turned"),
    [
        ({"angle": 90}, lambda a: np.rot90(a, -1)),
        ({"angle": 180}, lambda a: np.rot90(a, 2)),
        ({"angle": 270}, lambda a: np.rot90(a, 1)),
        ({"flipH": True}, lambda a: a[:, ::-1]),
        ({"flipV": True}, lambda a: a[::-1]),
        ({"angle": 90, "flipH": True}, lambda a: np.rot90(a, -1)[:, ::-1]),
    ],
)
def test_rotate_moves_every_pixel_of_every_frame(tmp_path: Path, asked: Any, turned: Any) -> None:
    data = animation(drawn())
    frames, delays, loop = read(written(made(data, tmp_path, action="rotate", **asked), tmp_path))
    assert apart(frames, [turned(frame) for frame in read(data)[0]]) == 0
    assert (delays, loop) == (DELAYS, 0)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"width": 30}, (30, 20)),
        ({"height": 10}, (15, 10)),
        ({"width": 30, "height": 30}, (30, 20)),
        ({"width": 300, "height": 10}, (15, 10)),
        ({"percentage": 50}, (30, 20)),
        ({"percentage": 150, "width": 5}, (90, 60)),
        ({"percentage": 1}, (1, 1)),
        ({"width": 60}, (60, 40)),
    ],
)
def test_resize_scales_all_frames(tmp_path: Path, asked: Any, size: tuple[int, int]) -> None:
    data = animation(drawn())
    result = made(data, tmp_path, **asked)
    assert (result.width, result.height, result.frames) == (*size, 4)
    frames, delays, _ = read(written(result, tmp_path))
    assert frames[0].shape[:2] == size[::-1]
    assert sum(delays) == sum(DELAYS)
    expected = [Pillow.fromarray(f.astype(np.uint8)).resize(size, Pillow.Resampling.LANCZOS) for f in read(data)[0]]
    # Frames that have become alike are written as one.
    for got, want in zip(frames, expected, strict=size != (1, 1)):
        assert np.abs(got - np.asarray(want).astype(int)).mean() < 12


def test_optimize_never_answers_with_a_larger_file(tmp_path: Path) -> None:
    rich = animation([photo().rotate(angle) for angle in (0, 20, 40, 60)])
    for data in (rich, animation(drawn())):
        small = written(made(data, tmp_path, action="optimize", colors=16), tmp_path)
        assert len(small) <= len(data)
        assert read(small)[1] == DELAYS
    assert len(written(made(rich, tmp_path, action="optimize", colors=16), tmp_path)) < 0.7 * len(rich)


@pytest.mark.parametrize(("colors", "most"), [(2, 2), (16, 16), (100, 64)])
def test_optimize_keeps_to_the_number_of_colours(tmp_path: Path, colors: int, most: int) -> None:
    data = animation([photo().rotate(angle) for angle in (0, 20)])
    frames, _, _ = read(written(made(data, tmp_path, action="optimize", colors=colors, dither=0), tmp_path))
    assert len(np.unique(frames[0].reshape(-1, 3), axis=0)) <= most


def test_optimize_takes_what_was_asked_of_the_palette() -> None:
    result = use(gif_tools, picture(noise(8, 8), "gif"), action="optimize", colors=64, dither=0.5, effort=9)
    palette = result.encoding.palette
    assert (palette.colors, palette.dither, palette.effort) == (64, 0.5, 9)
    webp = use(gif_tools, picture(noise(8, 8), "webp"), action="optimize")
    assert (webp.encoding.effort, webp.encoding.never_larger) == ("small", True)
    with pytest.raises(ProcessingFailed, match="compress"):
        use(gif_tools, picture(noise(8, 8), "jpeg"), action="optimize")


@pytest.mark.parametrize("format", ["png", "webp"])
def test_a_single_frame_comes_as_a_picture(tmp_path: Path, format: str) -> None:
    data = animation(drawn())
    result = made(data, tmp_path, action="extract", frameNumber=2, extractFormat=format)
    assert isinstance(result, Image)
    assert (result.frames, result.encoding.format) == (1, format)
    assert (array_of(result)[:, :, :3] == read(data)[0][2]).all()
    shown = Pillow.open(io.BytesIO(written(result, tmp_path)))
    assert getattr(shown, "n_frames", 1) == 1
    assert shown.format == format.upper()


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"extractMode": "all"}, [0, 1, 2, 3]),
        ({"extractMode": "range", "frameStart": 1, "frameEnd": 2}, [1, 2]),
        ({"extractMode": "range", "frameStart": 3}, [3]),
    ],
)
def test_several_frames_come_in_an_archive(tmp_path: Path, asked: Any, numbers: list[int]) -> None:
    data = animation(drawn())
    result = made(data, tmp_path, action="extract-frames", **asked)
    assert isinstance(result, Archive)
    assert [entry.name for entry in result.entries] == [f"frame_{number + 1:03}.png" for number in numbers]
    for entry, number in zip(result.entries, numbers, strict=True):
        frame = np.asarray(Pillow.open(io.BytesIO(bytes(entry.read()))).convert("RGB"))
        assert (frame == read(data)[0][number]).all()


def test_extraction_reports_and_stops_on_demand(tmp_path: Path) -> None:
    run = DirectRun(cancel_at=0.5)
    image = opened(animation(drawn()), tmp_path, sequential=False)
    entries = use(gif_tools, image, action="extract-frames", extractMode="all", run=run).entries
    entries[0].read()
    with pytest.raises(Cancelled):
        entries[2].read()


@pytest.mark.parametrize("asked", [{"frameNumber": 4}, {"extractMode": "range", "frameStart": 1, "frameEnd": 9}])
def test_a_frame_that_is_not_there_is_named(tmp_path: Path, asked: Any) -> None:
    with pytest.raises(ProcessingFailed, match="4 frames, counted from 0 to 3"):
        made(animation(drawn()), tmp_path, action="extract-frames", **asked)


def test_text_stands_on_every_frame_and_nowhere_else(tmp_path: Path) -> None:
    data = animation(drawn(width=90, height=80))
    asked = {"text": "Hi", "fontSize": 20, "color": "#FF0000", "position": "bottom"}
    frames, delays, _ = read(written(made(data, tmp_path, action="add-text", **asked), tmp_path))
    assert delays == DELAYS
    for got, before in zip(frames, read(data)[0], strict=True):
        assert np.abs(got - before)[:25].max() == 0
        changed = np.abs(got - before)[25:].max(axis=-1) > 60
        assert changed.sum() > 30
        assert (got[25:][changed][:, 0] > 150).any()


def test_a_step_after_another_encodes_anew(tmp_path: Path) -> None:
    """What was changed before has no file whose bytes could be patched."""
    small = made(animation(drawn()), tmp_path, percentage=50)
    fast = use(gif_tools, small, action="speed", speedFactor=2)
    assert isinstance(fast, Image)
    assert read(written(fast, tmp_path))[1] == [30, 30, 40, 40]
    as_webp = encoded_as(opened(animation(drawn()), tmp_path, sequential=False), "webp")
    fine = use(gif_tools, as_webp, action="speed", speedFactor=2)
    assert fine.pixels.get("delay") == [25, 30, 35, 40]


def test_a_damaged_container_is_encoded_anew(tmp_path: Path) -> None:
    image = opened(animation(drawn()), tmp_path, sequential=False)
    broken = Original("gif", 10, lambda: b"GIF89a\1\0\1\0\0\0\0!")
    result = use(gif_tools, replace(image, source=replace(image.source, original=broken)), action="speed")
    assert isinstance(result, Image)
    assert read(written(result, tmp_path))[1] == DELAYS


@pytest.mark.parametrize("action", ["speed", "reverse"])
def test_a_still_has_no_order_and_no_speed(action: str) -> None:
    with pytest.raises(ProcessingFailed, match="still"):
        use(gif_tools, picture(noise(8, 8), "gif"), action=action)


@pytest.mark.parametrize("shape", [(1, 1, 3), (40, 50, 1), (40, 50, 2), (40, 50, 4), (1, 3000, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_stills_of_every_kind_are_animations_of_one_frame(shape: Any, dtype: Any) -> None:
    image = picture(noise(shape[1], shape[0], shape[2], dtype))
    assert use(gif_tools, image, action="rotate", angle=90).width == shape[0]
    assert use(gif_tools, image, percentage=50).frames == 1
    assert use(gif_tools, image, action="extract-frames").width == shape[1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "'width', 'height' or 'percentage'"),
        ({"action": "rotate"}, "'angle'"),
        ({"action": "rotate", "angle": 45}, "angle"),
        ({"action": "add-text"}, "'text'"),
        ({"action": "add-text", "text": " \n"}, "'text'"),
        ({"action": "add-text", "text": "x", "font": "Comic"}, "sans-serif"),
        ({"action": "explode"}, "action"),
        ({"action": "speed", "speedFactor": 0.05}, "speedFactor"),
        ({"action": "optimize", "colors": 1}, "colors"),
        ({"action": "speed", "loop": 101}, "loop"),
        ({"action": "extract", "extractMode": "range", "frameStart": 3, "frameEnd": 2}, "before"),
        ({"width": 0}, "width"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        gif_tools.settings.parse(asked)
    assert words in refused.value.message


def test_other_names_are_accepted_and_not_published() -> None:
    assert gif_tools.settings.parse({"mode": "extract"}).to_wire() == {"action": "extract-frames"}
    assert not {"mode", "dither", "font"} & set(gif_tools.input_schema()["properties"])
