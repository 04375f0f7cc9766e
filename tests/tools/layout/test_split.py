"""Split: every pixel in exactly one tile, tiles of the promised size and name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import DirectRun, encoded_as, gradient, noise, opened, picture, use

from darkroom.engine.codec import open_image
from darkroom.engine.limits import Limits
from darkroom_tools.base import Archive
from darkroom_tools.errors import Cancelled, InvalidSettings, OutputTooLarge
from darkroom_tools.layout.split import split

PHOTO = noise(90, 60)


def tiles_of(archive: Archive) -> dict[tuple[int, int], np.ndarray]:
    """The tiles as Pillow reads them, by row and column from 1."""
    found = {}
    for entry in archive.entries:
        row, column = (int(part[1:]) for part in entry.name.rpartition(".")[0].split("_")[-2:])
        found[row, column] = np.asarray(PIL.Image.open(io.BytesIO(entry.read())))
    return found


def joined(archive: Archive) -> np.ndarray:
    """The picture that the tiles make when they are laid side by side."""
    tiles = tiles_of(archive)
    rows, columns = max(row for row, _ in tiles), max(column for _, column in tiles)
    return np.vstack([np.hstack([tiles[row + 1, column + 1] for column in range(columns)]) for row in range(rows)])


def cut(array: np.ndarray, format: str = "png", **asked: Any) -> Archive:
    archive = use(split, picture(array, format), **asked)
    assert isinstance(archive, Archive)
    return archive


@given(st.data())
def test_the_tiles_laid_side_by_side_are_the_picture(data: st.DataObject) -> None:
    array = noise(data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    asked: dict[str, Any] = {"mode": data.draw(st.sampled_from(["grid", "rows", "cols"]))}
    asked |= {"rows": data.draw(st.integers(1, 4)), "cols": data.draw(st.integers(1, 4))}
    for side in ("tileWidth", "tileHeight"):
        if data.draw(st.booleans()):
            asked[side] = data.draw(st.integers(10, 45))
    assert (joined(cut(array, **asked)) == array).all()


@pytest.mark.parametrize(
    ("asked", "widths", "heights"),
    [
        ({}, [30, 30, 30], [20, 20, 20]),
        ({"rows": 2, "cols": 4}, [22, 22, 22, 24], [30, 30]),
        ({"rows": 7, "columns": 1}, [90], [8, 8, 8, 8, 8, 8, 12]),
        ({"mode": "rows", "rows": 2}, [90], [30, 30]),
        ({"mode": "cols", "cols": 2}, [45, 45], [60]),
        ({"tileWidth": 40, "tileHeight": 25}, [40, 40, 10], [25, 25, 10]),
        ({"tileWidth": 40, "tileHeight": 25, "rows": 9, "mode": "rows"}, [40, 40, 10], [25, 25, 10]),
        ({"tileWidth": 90, "tileHeight": 60}, [90], [60]),
        ({"tileWidth": 500, "tileHeight": 500}, [90], [60]),
        ({"tileHeight": 25, "mode": "rows"}, [90], [25, 25, 10]),
    ],
)
def test_the_last_row_and_column_take_what_remains(asked: Any, widths: list[int], heights: list[int]) -> None:
    archive = cut(PHOTO, **asked)
    sizes = {place: tile.shape[:2] for place, tile in tiles_of(archive).items()}
    wanted = {(r + 1, c + 1): (high, wide) for r, high in enumerate(heights) for c, wide in enumerate(widths)}
    assert sizes == wanted
    assert archive.facts == {
        "rows": len(heights),
        "cols": len(widths),
        "tileWidth": widths[0],
        "tileHeight": heights[0],
    }


@pytest.mark.parametrize(
    ("name", "stem"),
    [("holiday.jpeg", "holiday"), ("a.b.png", "a.b"), ("noext", "noext"), (".png", ".png"), ("", "image")],
)
def test_tiles_are_named_after_the_file_row_by_row(name: str, stem: str, tmp_path: Path) -> None:
    path = tmp_path / "input"
    PIL.Image.fromarray(PHOTO).save(path, "PNG")
    archive = use(split, open_image(path, Limits(), sequential=split.sequential, name=name), rows=2, cols=2)
    names = [entry.name for entry in archive.entries]
    assert names == [f"{stem}_r{row}_c{column}.png" for row in (1, 2) for column in (1, 2)]
    assert (joined(archive) == PHOTO).all()


@pytest.mark.parametrize(
    ("source", "asked", "written", "extension"),
    [
        ("png", "original", "PNG", "png"),
        ("jpeg", "original", "JPEG", "jpg"),
        ("gif", "original", "GIF", "gif"),
        ("tiff", "original", "TIFF", "tiff"),
        ("bmp", "original", "PNG", "png"),
        ("heic", "original", "JPEG", "jpg"),
        ("png", "jpeg", "JPEG", "jpg"),
        ("png", "jpg", "JPEG", "jpg"),
        ("jpeg", "webp", "WEBP", "webp"),
        ("jpeg", "avif", "AVIF", "avif"),
        ("jpeg", "png", "PNG", "png"),
    ],
)
def test_tiles_have_the_format_of_the_picture_unless_another_is_asked_for(
    source: str, asked: str, written: str, extension: str
) -> None:
    for entry in cut(PHOTO, source, rows=1, cols=2, outputFormat=asked).entries:
        assert PIL.Image.open(io.BytesIO(entry.read())).format == written
        assert entry.name.endswith(f".{extension}")


def test_a_conversion_before_it_counts_as_the_format_of_the_picture() -> None:
    archive = use(split, encoded_as(picture(PHOTO, "jpeg"), "png"), rows=1, cols=2)
    assert (joined(archive) == PHOTO).all()


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_quality_90_is_the_default_and_less_makes_smaller_tiles(format: str) -> None:
    def size(**asked: Any) -> int:
        return sum(len(e.read()) for e in cut(gradient(200, 100), outputFormat=format, rows=1, cols=2, **asked).entries)

    assert size() == size(quality=90)
    assert size(quality=20) < size()


def test_quality_costs_a_png_no_colours() -> None:
    assert (joined(cut(PHOTO, rows=1, cols=2, quality=10)) == PHOTO).all()


def test_the_quality_of_a_step_before_holds_unless_another_is_given() -> None:
    softened = picture(gradient(200, 100), "jpeg").encode_as(quality=15)
    small = [entry.read() for entry in use(split, softened, cols=2, rows=1).entries]
    assert small == [entry.read() for entry in cut(gradient(200, 100), "jpeg", cols=2, rows=1, quality=15).entries]
    large = [entry.read() for entry in use(split, softened, cols=2, rows=1, quality=90).entries]
    assert len(large[0]) > len(small[0])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_grey_colour_and_alpha_survive(bands: int) -> None:
    array = noise(31, 23, bands)
    assert (joined(cut(array, rows=2, cols=2)) == (array[..., 0] if bands == 1 else array)).all()


def test_16_bits_survive() -> None:
    array = noise(31, 23, 1, np.uint16)
    assert (joined(cut(array, rows=2, cols=2)) == array[..., 0]).all()


def test_a_photo_turned_by_exif_is_cut_upright(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright = np.asarray(PIL.Image.fromarray(skimage.data.astronaut()).resize((60, 90)))
    PIL.Image.fromarray(np.rot90(upright)).save(buffer, "JPEG", quality=95, subsampling=0, exif=exif)
    archive = use(split, opened(buffer.getvalue(), tmp_path, sequential=split.sequential), rows=3, cols=2)
    got = joined(archive)
    assert got.shape == upright.shape
    assert np.abs(got.astype(int) - upright).mean() < 4


@pytest.mark.parametrize("format", ["gif", "webp"])
def test_tiles_of_an_animation_are_animations(format: str) -> None:
    frames = np.stack([np.full((30, 40, 3), value, np.uint8) for value in (50, 120, 250)])
    archive = use(split, picture(frames, format, delay=[100, 200, 300]), rows=2, cols=2)
    for entry in archive.entries:
        seen = PIL.Image.open(io.BytesIO(entry.read()))
        assert (seen.size, seen.n_frames) == ((20, 15), 3)
        seen.seek(1)
        assert abs(int(np.asarray(seen.convert("RGB"))[5, 5, 0]) - 120) < 8
        assert seen.info["duration"] == 200


def test_a_picture_of_fewer_pixels_than_tiles_is_cut_into_pixels_with_a_warning() -> None:
    archive = cut(noise(2, 1), rows=3, cols=3)
    assert [entry.name for entry in archive.entries] == ["image_r1_c1.png", "image_r1_c2.png"]
    assert len(archive.warnings) == 2
    assert "2 were cut instead of 3" in archive.warnings[1]
    assert cut(noise(3, 3), rows=3, cols=3).warnings == ()


def test_warnings_of_the_picture_reach_the_caller() -> None:
    assert use(split, picture(PHOTO).warn("Was told before.")).warnings == ("Was told before.",)


def test_a_very_long_picture_is_cut() -> None:
    assert tiles_of(cut(noise(20_000, 1), mode="cols", cols=4))[1, 4].shape == (1, 5000, 3)


@pytest.mark.parametrize("asked", [{"rows": 23, "cols": 22}, {"tileWidth": 10, "tileHeight": 10}])
def test_more_than_500_tiles_are_refused_before_any_work(asked: Any) -> None:
    with pytest.raises(OutputTooLarge) as refused:
        cut(np.zeros((300, 300, 3), np.uint8), **asked)
    assert refused.value.code == "TOO_MANY_OUTPUTS"
    assert refused.value.status == 400
    assert "500" in refused.value.message


def test_500_tiles_are_made() -> None:
    assert len(cut(np.zeros((20, 25, 3), np.uint8), rows=20, cols=25).entries) == 500


def test_pixels_are_read_once_even_from_a_stream(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise(300, 2000)).save(buffer, "PNG")
    archive = use(split, opened(buffer.getvalue(), tmp_path, sequential=True), rows=4, cols=2)
    assert (joined(archive) == noise(300, 2000)).all()


def test_tiles_report_progress_and_stop_when_cancelled() -> None:
    run = DirectRun(cancel_at=0.5)
    archive = use(split, picture(PHOTO), rows=2, cols=2, run=run)
    first, second, third, _ = archive.entries
    first.read()
    second.read()
    with pytest.raises(Cancelled):
        third.read()
    assert run.reports[1] == (0.25, "Tile 2 of 4")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"rows": 0}, "rows"),
        ({"cols": 101}, "cols"),
        ({"tileWidth": 9}, "tileWidth"),
        ({"mode": "columns"}, "cols"),
        ({"outputFormat": "gif"}, "outputFormat"),
        ({"quality": 0}, "quality"),
        ({"colums": 3}, "cols"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        split.settings.parse(asked)
    assert words in refused.value.message
