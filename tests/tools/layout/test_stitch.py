"""Stitch: every picture in its place, at the size that the mode promises."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import DirectRun, array_of, noise, opened, picture, use

from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, OutputTooLarge
from darkroom_tools.layout.stitch import stitch

ONE, TWO, THREE = noise(40, 30, seed=1), noise(20, 60, seed=2), noise(50, 10, seed=3)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def made(*arrays: np.ndarray, **asked: Any) -> Image:
    result = use(stitch, [picture(array) for array in arrays], **asked)
    assert isinstance(result, Image)
    return result


def joined(*arrays: np.ndarray, **asked: Any) -> np.ndarray:
    return array_of(made(*arrays, **asked))


def plain(width: int, height: int, color: tuple[int, ...]) -> np.ndarray:
    return np.full((height, width, len(color)), color, np.uint8)


def pasted(size: tuple[int, int], background: str, *placed: tuple[np.ndarray, int, int]) -> np.ndarray:
    """The same sheet made by Pillow."""
    sheet = PIL.Image.new("RGB", size, background)
    for array, left, top in placed:
        sheet.paste(PIL.Image.fromarray(array), (left, top))
    return np.asarray(sheet)


@pytest.mark.parametrize(("alignment", "tops"), [("start", (4, 4, 4)), ("center", (19, 4, 29)), ("end", (34, 4, 54))])
def test_a_row_of_original_sizes_is_what_pasting_makes(alignment: str, tops: tuple[int, int, int]) -> None:
    asked: dict[str, Any] = {"resizeMode": "original", "gap": 5, "border": 4, "backgroundColor": "#336699"}
    got = joined(ONE, TWO, THREE, alignment=alignment, **asked)
    lefts = (4, 49, 74)
    wanted = pasted((128, 68), "#336699", *zip((ONE, TWO, THREE), lefts, tops, strict=True))
    assert (got == wanted).all()


@pytest.mark.parametrize(("alignment", "lefts"), [("start", (0, 0, 0)), ("center", (5, 15, 0)), ("end", (10, 30, 0))])
def test_a_column_of_original_sizes_is_what_pasting_makes(alignment: str, lefts: tuple[int, int, int]) -> None:
    got = joined(ONE, TWO, THREE, direction="vertical", resizeMode="original", alignment=alignment)
    wanted = pasted((50, 100), "#FFFFFF", *zip((ONE, TWO, THREE), lefts, (0, 30, 90), strict=True))
    assert (got == wanted).all()


def test_a_grid_fills_rows_from_equal_boxes() -> None:
    got = joined(ONE, TWO, THREE, direction="grid", resizeMode="original", gap=2, alignment="start")
    assert (got == pasted((102, 122), "#FFFFFF", (ONE, 0, 0), (TWO, 52, 0), (THREE, 0, 62))).all()


def test_a_grid_is_no_wider_than_its_pictures() -> None:
    pictures = [plain(10, 10, RED)] * 3
    assert joined(*pictures, direction="grid", gridColumns=7).shape == (10, 30, 3)
    assert joined(*pictures, direction="grid", gridColumns=2, border=3, gap=1).shape == (27, 27, 3)


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=2, max_size=7),
    st.sampled_from(["horizontal", "vertical", "grid"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(2, 4),
)
def test_original_pictures_never_touch_and_lose_no_pixel(
    sizes: list[tuple[int, int]], direction: str, gap: int, border: int, columns: int
) -> None:
    arrays = [plain(width, height, (n + 1, 0, 0)) for n, (width, height) in enumerate(sizes)]
    asked = {"direction": direction, "gap": gap, "border": border, "gridColumns": columns, "resizeMode": "original"}
    got = joined(*arrays, backgroundColor="#00FF00", **asked)
    for n, (width, height) in enumerate(sizes):
        rows, cols = np.nonzero((got == (n + 1, 0, 0)).all(axis=-1))
        assert len(rows) == width * height
        assert (np.ptp(cols) + 1, np.ptp(rows) + 1) == (width, height)
        assert min(rows.min(), cols.min()) >= border
        assert min(got.shape[0] - rows.max(), got.shape[1] - cols.max()) > border


@pytest.mark.parametrize(
    ("direction", "mode", "size"),
    [
        # 40 × 30, 20 × 60 and 50 × 10
        ("horizontal", "fit", (13 + 3 + 50, 10)),
        ("horizontal", "stretch", (40 + 20 + 50, 10)),
        ("horizontal", "crop", (60, 10)),
        ("vertical", "fit", (20, 15 + 60 + 4)),
        ("vertical", "stretch", (20, 100)),
        ("vertical", "crop", (20, 30)),
        ("grid", "fit", (80, 60)),
        ("grid", "stretch", (80, 60)),
        ("grid", "crop", (80, 60)),
    ],
)
def test_sizes_of_each_mode(direction: str, mode: str, size: tuple[int, int]) -> None:
    got = made(ONE, TWO, THREE, direction=direction, resizeMode=mode)
    assert (got.width, got.height) == size


@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_fit_scales_down_to_the_smallest_without_bars(direction: str) -> None:
    got = joined(plain(40, 20, RED), plain(10, 10, GREEN), direction=direction, backgroundColor="#FF00FF")
    assert got.shape == ((10, 30, 3) if direction == "horizontal" else (15, 10, 3))
    first, last = (got[:, :20], got[:, 20:]) if direction == "horizontal" else (got[:5], got[5:])
    assert (first == RED).all()
    assert (last == GREEN).all()


def test_scaling_agrees_with_another_library() -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((300, 200))
    small = plain(10, 50, RED)
    got = joined(np.asarray(photo), small)[:, :75].astype(int)
    assert np.abs(got - np.asarray(photo.resize((75, 50), PIL.Image.Resampling.LANCZOS))).mean() < 1.5


@pytest.mark.parametrize(("alignment", "kept"), [("start", RED), ("center", GREEN), ("end", BLUE)])
def test_crop_keeps_the_part_that_alignment_names(alignment: str, kept: tuple[int, int, int]) -> None:
    bands = np.hstack([plain(20, 20, color) for color in (RED, GREEN, BLUE)])
    got = joined(bands, plain(20, 20, (9, 9, 9)), resizeMode="crop", alignment=alignment)
    assert got.shape == (20, 40, 3)
    assert (got[:, :20] == kept).all()


def test_one_tiny_picture_makes_not_the_whole_grid_tiny() -> None:
    got = joined(plain(60, 40, RED), plain(60, 40, GREEN), plain(3, 2, BLUE), direction="grid")
    assert got.shape == (80, 120, 3)
    assert (got == BLUE).all(axis=-1).sum() == 6


def test_corners_of_the_result_are_round_and_transparent() -> None:
    got = joined(ONE, ONE, cornerRadius=12)
    large = PIL.Image.new("L", (80 * 16, 30 * 16))
    PIL.ImageDraw.Draw(large).rounded_rectangle((0, 0, 80 * 16 - 1, 30 * 16 - 1), 12 * 16, fill=255)
    assert np.abs(got[..., 3].astype(int) - np.asarray(large.reduce(16))).max() <= 12
    assert (got[15, :, :3] == np.hstack([ONE, ONE])[15]).all()


def test_where_the_format_has_no_alpha_corners_have_the_background() -> None:
    got = made(ONE, ONE, cornerRadius=12, format="jpg", backgroundColor="#FF8800")
    assert (got.encoding.format, got.encoding.background, got.encoding.quality) == ("jpeg", "#FF8800", 90)


@pytest.mark.parametrize(("format", "quality"), [("png", None), ("webp", 90), ("avif", 90), ("jpeg", 90)])
def test_quality_90_holds_for_lossy_formats(format: str, quality: int | None) -> None:
    assert made(ONE, TWO, format=format).encoding.quality == quality
    assert made(ONE, TWO).encoding.format == "png"


def test_a_transparent_background_keeps_transparency() -> None:
    clear = np.zeros((10, 10, 4), np.uint8)
    clear[5:] = (1, 2, 3, 128)
    got = joined(clear, plain(10, 20, RED), backgroundColor="transparent", resizeMode="original", alignment="start")
    assert (got[:10, :10] == clear).all()
    assert (got[10:, :10] == 0).all()
    assert (got[:, 10:] == (*RED, 255)).all()


def test_pictures_with_alpha_lie_on_the_background() -> None:
    half = plain(10, 10, (200, 100, 0, 128))
    got = joined(half, half, backgroundColor="#0000FF").astype(int)
    assert np.abs(got[5, 5] - (100.4, 50.2, 127)).max() <= 1


@pytest.mark.parametrize("first", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_all_bands_and_depths_meet_in_srgb(first: int, dtype: Any) -> None:
    top = np.iinfo(dtype).max
    got = joined(np.full((10, 10, first), top, dtype), plain(10, 10, RED), backgroundColor="#000000")
    assert got.dtype == np.uint8
    assert (got[:, :10] == 255).all()
    assert (got[:, 10:] == RED).all()


def test_16_bits_stay_where_all_pictures_have_them() -> None:
    one, two = noise(10, 10, 3, np.uint16), noise(10, 10, 4, np.uint16) | np.uint16(0xFFFF) * np.array([0, 0, 0, 1])
    got = joined(one, two.astype(np.uint16), gap=1, backgroundColor="#102030")
    assert got.dtype == np.uint16
    assert (got[:, :10] == one).all()
    assert (got[:, 11:] == two[..., :3]).all()
    assert (got[:, 10] == (0x1010, 0x2020, 0x3030)).all()


def test_of_an_animation_the_first_frame_is_used_with_a_warning() -> None:
    frames = np.stack([plain(10, 10, RED), plain(10, 10, GREEN)])
    got = use(stitch, [picture(frames, "gif", delay=[10, 20]), picture(plain(10, 10, BLUE))])
    assert got.frames == 1
    assert (array_of(got) == np.hstack([plain(10, 10, RED), plain(10, 10, BLUE)])).all()
    assert got.warnings == ("Only the first frame of an animation was used.",)


def test_warnings_of_every_picture_reach_the_caller_once() -> None:
    images = [picture(ONE).warn("Odd."), picture(ONE).warn("Odd."), picture(ONE).warn("Odder.")]
    assert use(stitch, images).warnings == ("Odd.", "Odder.")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_files_are_read_once_as_streams(format: str, tmp_path: Path) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut())
    images = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        buffer = io.BytesIO()
        photo.rotate(90 * number).save(buffer, format, quality=95)
        images.append(opened(buffer.getvalue(), folder, sequential=stitch.sequential))
    small = picture(plain(60, 100, RED))
    got = array_of(use(stitch, [*images, small], direction="grid", resizeMode="crop"))
    assert got.shape == (1024, 1024, 3)
    assert np.abs(got[:512, :512].astype(int) - np.asarray(photo)).mean() < 4
    assert np.abs(got[512:, :512].astype(int) - np.asarray(photo.rotate(180))).mean() < 4


def test_pixels_that_are_lines_are_joined() -> None:
    assert joined(noise(1, 1), noise(9000, 1), noise(1, 1)).shape == (1, 9002, 3)
    assert joined(noise(1, 1), noise(1, 9000), direction="vertical").shape == (9001, 1, 3)


def test_a_result_over_the_limits_is_refused_before_any_work() -> None:
    with pytest.raises(OutputTooLarge):
        joined(noise(9000, 1), noise(9000, 1))
    with pytest.raises(OutputTooLarge):
        joined(*[plain(200, 200, RED)] * 90, direction="grid", gridColumns=10, gap=1000)


def test_progress_is_told_and_cancelling_stops() -> None:
    run = DirectRun(cancel_at=0.5)
    with pytest.raises(Cancelled):
        use(stitch, [picture(ONE)] * 4, run=run)
    assert run.reports == [(0.0, "Picture 1 of 4"), (0.25, "Picture 2 of 4"), (0.5, "Picture 3 of 4")]


def test_one_picture_is_too_few() -> None:
    with pytest.raises(InvalidSettings, match="at least 2"):
        stitch.parse({"images": ["img_1"]})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"direction": "diagonal"}, "horizontal"),
        ({"gap": -1}, "gap"),
        ({"gap": 1001}, "gap"),
        ({"alignment": "middle"}, "center"),
        ({"gridColumns": 1}, "gridColumns"),
        ({"resizeMode": "fil"}, "fit"),
        ({"border": 501}, "border"),
        ({"backgroundColor": "white"}, "#RRGGBB"),
        ({"format": "gif"}, "format"),
        ({"quality": 101}, "quality"),
        ({"columns": 3}, "gridColumns"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        stitch.settings.parse(asked)
    assert words in refused.value.message


def test_looks_as_it_did_when_somebody_looked(golden: Any) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut())
    parts = [photo.crop((100, 0, 400, 260)), photo.crop((0, 150, 200, 500)), photo.crop((250, 200, 500, 400))]
    arrays = [np.asarray(part.resize((part.width // 3, part.height // 3))) for part in parts]
    asked: dict[str, Any] = {"direction": "grid", "gap": 6, "border": 8, "cornerRadius": 16}
    golden(joined(*arrays, backgroundColor="#F4E8D0", **asked), "stitch-grid", 2)
