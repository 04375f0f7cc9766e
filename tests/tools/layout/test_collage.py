"""Collage: every layout tiles its canvas, every picture fills its area."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageOps
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import DirectRun, array_of, noise, opened, picture, use

from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings
from darkroom_tools.kit.templates import canvas_size, collage_templates
from darkroom_tools.layout.collage import collage

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255), (9, 9, 9)]
COLORS += [(128, 0, 0), (0, 128, 0)]
FOUR = {"template": "4-grid", "gap": 0}
QUARTERS = {"aspectRatio": "4:3", **FOUR}


def plain(number: int, width: int = 40, height: int = 30) -> np.ndarray:
    return np.full((height, width, 3), COLORS[number], np.uint8)


def made(*arrays: np.ndarray, **asked: Any) -> Image:
    result = use(collage, [picture(array) for array in arrays], **asked)
    assert isinstance(result, Image)
    return result


def box_of(array: np.ndarray, color: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Left, top, width and height of all pixels of a colour, which must fill that box."""
    rows, columns = np.nonzero((array[..., : len(color)] == color).all(axis=-1))
    left, top, width, height = columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1
    assert len(rows) == width * height
    return int(left), int(top), int(width), int(height)


def test_there_are_more_than_25_templates_named_after_their_number_of_pictures() -> None:
    assert len(collage_templates()) >= 25
    for name, template in collage_templates().items():
        assert len(template.areas) == int(name[0])
    assert {len(template.areas) for template in collage_templates().values()} == set(range(2, 10))


@pytest.mark.parametrize("name", collage_templates())
def test_areas_cover_the_grid_once_and_read_from_top_left(name: str) -> None:
    template = collage_templates()[name]
    grid = np.zeros((len(template.rows), len(template.columns)), int)
    for left, right, top, bottom in template.areas:
        grid[top:bottom, left:right] += 1
    assert (grid == 1).all()
    assert template.areas[0][0] == template.areas[0][2] == 0


@given(
    st.sampled_from(sorted(collage_templates())),
    st.integers(0, 9),
    st.sampled_from(["free", "1:1", "4:3", "3:2", "16:9", "9:16", "4:5"]),
)
def test_areas_are_a_gap_apart_from_one_another_and_from_the_edge(name: str, gap: int, ratio: str) -> None:
    template = collage_templates()[name]
    width, height = (side // 7 for side in canvas_size(ratio))
    boxes = template.boxes(width, height, gap)
    assert boxes
    covered = np.zeros((height, width), np.uint8)
    for box in boxes:
        covered[box.top : box.top + box.height, box.left : box.left + box.width] += 1
        down = slice(max(0, box.top - gap), box.top + box.height + gap)
        covered[down, max(0, box.left - gap) : box.left + box.width + gap] += 10
    assert covered.min() >= 10, "a gap is wider than asked"
    assert set(np.unique(covered % 10)) <= {0, 1}, "areas overlap"
    assert min(box.left for box in boxes) == min(box.top for box in boxes) == gap
    assert max(box.left + box.width for box in boxes) == width - gap
    assert max(box.top + box.height for box in boxes) == height - gap


@pytest.mark.parametrize(
    ("ratio", "size"),
    [
        ("free", (2400, 1800)),
        ("1:1", (2400, 2400)),
        ("4:3", (2400, 1800)),
        ("3:2", (2400, 1600)),
        ("16:9", (2400, 1350)),
        ("9:16", (1350, 2400)),
        ("4:5", (1920, 2400)),
    ],
)
def test_the_long_side_of_the_canvas_is_2400(ratio: str, size: tuple[int, int]) -> None:
    got = made(plain(0), plain(1), aspectRatio=ratio)
    assert (got.width, got.height) == size


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("2-h-left-large", [(0, 0, 1600, 1800), (1600, 0, 800, 1800)]),
        ("3-left-large", [(0, 0, 1600, 1800), (1600, 0, 800, 900), (1600, 900, 800, 900)]),
        ("3-bottom-large", [(0, 0, 1200, 600), (1200, 0, 1200, 600), (0, 600, 2400, 1200)]),
        ("4-right-large", [(0, 0, 800, 600), (0, 600, 800, 600), (0, 1200, 800, 600), (800, 0, 1600, 1800)]),
        ("7-mosaic", [(0, 0, 1600, 600), (1600, 0, 800, 600), *[(x, 600, 800, 600) for x in (0, 800, 1600)]]),
    ],
)
def test_pictures_fill_their_areas_in_order(name: str, wanted: list[tuple[int, int, int, int]]) -> None:
    count = len(collage_templates()[name].areas)
    got = array_of(made(*(plain(n) for n in range(count)), template=name, gap=0))
    found = [box_of(got[::4, ::4], COLORS[n]) for n in range(len(wanted))]
    assert [tuple(4 * side for side in box) for box in found] == wanted


def test_gap_and_background() -> None:
    got = array_of(made(plain(0), plain(1), template="2-v-equal", gap=10, backgroundColor="#102030"))
    assert box_of(got, COLORS[0]) == (10, 10, 2380, 885)
    assert box_of(got, COLORS[1]) == (10, 905, 2380, 885)
    assert (got[:10] == (16, 32, 48)).all()
    assert (got[895:905] == (16, 32, 48)).all()


def test_a_picture_is_scaled_and_cropped_to_the_middle_as_another_library_does() -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((1500, 1500))
    got = array_of(made(np.asarray(photo), plain(0), **QUARTERS))[:900, :1200].astype(int)
    wanted = np.asarray(PIL.ImageOps.fit(photo, (1200, 900), PIL.Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(got - wanted).mean() < 1


def marked(width: int = 400, height: int = 100) -> np.ndarray:
    """Red at the left edge, green at the right edge, grey between."""
    array = np.full((height, width, 3), 100, np.uint8)
    array[:, : width // 8], array[:, -width // 8 :] = COLORS[0], COLORS[1]
    return array


def quarter(array: np.ndarray, **cell: Any) -> np.ndarray:
    """The first area, 1200 × 900, of a collage whose first cell has these settings."""
    cells = [{"imageIndex": 0, **cell}]
    return array_of(made(array, plain(2), cells=cells, backgroundColor="#FF00FF", **QUARTERS))[:900, :1200]


def test_pan_shows_the_edge_that_it_names() -> None:
    middle, left, right = (quarter(marked(), panX=pan) for pan in (0, -100, 100))
    assert (middle[450, [5, -5]] == 100).all()
    assert (left[450, 5] == COLORS[0]).all()
    assert (left[450, -5] == 100).all()
    assert (right[450, -5] == COLORS[1]).all()
    assert (quarter(marked(), panY=100) == middle).all()
    tall = np.rot90(marked(), -1)
    assert (quarter(tall, panY=-100)[5, 600] == COLORS[0]).all()
    assert (quarter(tall, panY=100)[-5, 600] == COLORS[1]).all()


def test_zoom_enlarges_about_the_middle() -> None:
    dot = np.full((90, 120, 3), 255, np.uint8)
    dot[40:50, 50:70] = 0
    once, twice = ((quarter(dot, zoom=zoom)[..., 0] < 128) for zoom in (1, 2))
    assert once.sum() == pytest.approx(200 * 100, rel=0.02)
    assert twice.sum() == pytest.approx(400 * 100 * 2, rel=0.02)
    rows, columns = np.nonzero(twice)
    assert abs(rows.mean() - 449.5) <= 1
    assert abs(columns.mean() - 599.5) <= 1


@pytest.mark.parametrize(
    ("cell", "box"),
    [({}, (0, 300, 1200, 300)), ({"panY": 100}, (0, 600, 1200, 300)), ({"panY": -100, "panX": 50}, (0, 0, 1200, 300))],
)
def test_contain_shows_all_of_the_picture(cell: Any, box: tuple[int, int, int, int]) -> None:
    got = quarter(np.full((10, 40, 3), COLORS[6], np.uint8), objectFit="contain", **cell)
    assert box_of(got, COLORS[6]) == box


def test_contain_with_zoom_is_cut_at_its_area() -> None:
    got = array_of(
        made(plain(0, 40, 10), plain(1), cells=[{"imageIndex": 0, "objectFit": "contain", "zoom": 10}], **QUARTERS)
    )
    assert box_of(got, COLORS[0]) == (0, 0, 1200, 900)


def test_cells_choose_pictures_by_number_and_as_often_as_they_like() -> None:
    cells = [{"imageIndex": 1}, {"imageIndex": 0}, {"imageIndex": 1}]
    got = array_of(made(plain(0), plain(1), cells=cells, **QUARTERS))
    assert (got[10, 10] == COLORS[1]).all()
    assert (got[10, 1300] == COLORS[0]).all()
    assert (got[1000, 10] == COLORS[1]).all()
    assert (got[1000, 1300] == 255).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_streamed_file_may_fill_several_areas(format: str, tmp_path: Path) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut()).resize((900, 1300))
    images = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        buffer = io.BytesIO()
        photo.rotate(180 * number).save(buffer, format, quality=95, compress_level=1)
        images.append(opened(buffer.getvalue(), tmp_path / str(number), sequential=collage.sequential))
    cells = [{"imageIndex": 0}, {"imageIndex": 1}, {"imageIndex": 0}, {"imageIndex": 0, "zoom": 3}]
    got = array_of(use(collage, images, cells=cells, **QUARTERS)).astype(int)
    assert (got[:900, :1200] == got[900:, :1200]).all()
    for place, shown in (((0, 0), photo), ((0, 1200), photo.rotate(180))):
        wanted = np.asarray(PIL.ImageOps.fit(shown, (300, 225))).astype(int)
        part = got[place[0] : place[0] + 900, place[1] : place[1] + 1200].reshape(225, 4, 300, 4, 3)
        assert np.abs(part.mean(axis=(1, 3)) - wanted).mean() < 4


def test_fewer_pictures_leave_areas_empty() -> None:
    got = array_of(made(plain(0), plain(1), backgroundColor="#123456", **FOUR))
    assert (got[900:] == (0x12, 0x34, 0x56)).all()


def test_more_pictures_are_ignored_with_a_warning() -> None:
    got = made(*(plain(n) for n in range(4)), template="2-h-equal")
    assert got.warnings == ("Not in the collage, which has 2 areas: picture 3, 4.",)
    assert (array_of(got) != COLORS[2]).any(axis=-1).all()


@pytest.mark.parametrize(
    ("sizes", "name"),
    [
        ([(400, 300)] * 4, "4-grid"),
        ([(400, 600), (400, 600)], "2-h-equal"),
        ([(800, 300), (800, 300)], "2-v-equal"),
        ([(300, 600)] * 3, "3-h-equal"),
        ([(800, 900), *[(400, 300)] * 3], "4-left-large"),
        ([*[(400, 300)] * 3, (800, 900)], "4-right-large"),
        ([(400, 600)] * 5, "5-center-large"),
        ([(400, 300)] * 12, "9-grid"),
    ],
)
def test_without_a_template_the_one_that_crops_least_is_taken(sizes: list[tuple[int, int]], name: str) -> None:
    got = made(*(np.zeros((height, width, 1), np.uint8) for width, height in sizes), template="auto")
    assert got.facts == {"template": name}


def test_a_template_is_found_by_both_names_of_the_setting() -> None:
    assert collage.settings.parse({"templateId": " 9-Grid "}) == collage.settings.parse({"template": "9-grid"})
    assert collage.settings.parse({"cornerRadius": 3}) == collage.settings.parse({"borderRadius": 3})


def test_each_picture_has_round_corners() -> None:
    got = array_of(made(plain(0), plain(1), template="2-h-equal", gap=20, borderRadius=100))
    large = PIL.Image.new("L", (1600, 1600))
    PIL.ImageDraw.Draw(large).ellipse((0, 0, 3199, 3199), fill=255)
    corner = 255 - np.asarray(large.reduce(16)).astype(int)
    part = got[20:1780, 20:1190, 1].astype(int)
    for turned in (part, part[::-1], part[:, ::-1], part[::-1, ::-1]):
        assert np.abs(turned[:100, :100] - corner).max() <= 12
    assert (part[100:-100] == 0).all()
    assert (got[20, 1215] == 255).all()


def test_a_transparent_background() -> None:
    got = array_of(made(plain(0), plain(1), template="2-h-equal", backgroundColor="transparent", borderRadius=50))
    assert got.shape[2] == 4
    assert (got[:8] == 0).all()
    assert (got[8, 8] == 0).all()
    assert (got[900, 100] == (255, 0, 0, 255)).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_of_all_bands_and_depths_meet(bands: int, dtype: Any) -> None:
    half = np.full((30, 40, bands), np.iinfo(dtype).max, dtype)
    if bands in (2, 4):
        half[..., -1] //= 2
    got = array_of(made(half, plain(1), template="2-h-equal", gap=0, backgroundColor="#000000"))
    assert got.dtype == np.uint8
    assert np.abs(got[900, 600].astype(int) - (127 if bands in (2, 4) else 255)).max() <= 1
    assert (got[900, 1800] == COLORS[1]).all()


def test_16_bits_stay_where_all_pictures_have_them() -> None:
    deep = np.full((30, 40, 3), (1000, 20000, 65535), np.uint16)
    got = array_of(made(deep, deep, backgroundColor="#010101"))
    assert got.dtype == np.uint16
    assert (got[900, 600] == (1000, 20000, 65535)).all()
    assert (got[0, 0] == 257).all()


def test_of_an_animation_the_first_frame_is_used_with_a_warning() -> None:
    frames = np.stack([plain(0), plain(2)])
    got = use(collage, [picture(frames, "gif", delay=[10, 20]), picture(plain(1))], template="2-h-equal", gap=0)
    assert got.frames == 1
    assert box_of(array_of(got), COLORS[0]) == (0, 0, 1200, 1800)
    assert "Only the first frame of an animation was used." in got.warnings


def test_single_pixels_and_lines_fill_their_areas() -> None:
    got = array_of(made(plain(0, 1, 1), plain(1, 20_000, 1), plain(2, 1, 3_000), plain(3), **QUARTERS))
    assert [box_of(got[::4, ::4], COLORS[n])[2:] for n in range(4)] == [(300, 225)] * 4


@pytest.mark.parametrize(
    ("asked", "format", "quality"),
    [
        ({}, "png", None),
        ({"outputFormat": "jpg"}, "jpeg", 90),
        ({"outputFormat": "webp", "quality": 5}, "webp", 5),
        ({"outputFormat": "avif"}, "avif", 90),
    ],
)
def test_format_and_quality(asked: Any, format: str, quality: int | None) -> None:
    got = made(plain(0), plain(1), backgroundColor="#ABCDEF", **asked)
    assert (got.encoding.format, got.encoding.quality, got.encoding.background) == (format, quality, "#ABCDEF")


def test_a_line_of_20000_pixels_covers_a_tall_area_at_any_zoom() -> None:
    line = np.full((1, 20_000, 3), 200, np.uint8)
    line[0, 9_999:10_001] = 0
    cells = [{"imageIndex": 0, "zoom": 10}, {"imageIndex": 0, "zoom": 10, "panX": 100}]
    got = array_of(made(line, plain(1), template="2-h-equal", gap=0, cells=cells))[::30, :, 0]
    assert (got[:, :1200] < 20).all()
    assert (got[:, 1200:] == 200).all()


def test_a_gap_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="Use a smaller 'gap'"):
        made(*(plain(n) for n in range(9)), template="9-grid", aspectRatio="9:16", gap=500)


def test_progress_is_told_and_cancelling_stops() -> None:
    run = DirectRun(cancel_at=0.5)
    with pytest.raises(Cancelled):
        use(collage, [picture(plain(n)) for n in range(4)], run=run)
    assert [text for _, text in run.reports] == [f"Picture {n} of 4" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"template": "3-lef-large"}, "Did you mean '3-left-large'?"),
        ({"template": "zzz"}, "8-mosaic, 9-grid"),
        ({"gap": 501}, "gap"),
        ({"backgroundColor": "clear"}, "#RRGGBB"),
        ({"borderRadius": -1}, "borderRadius"),
        ({"cells": [{"imageIndex": -1}]}, "cells.0.imageIndex"),
        ({"cells": [{"panX": 0}]}, "imageIndex"),
        ({"cells": [{"imageIndex": 0, "panX": 101}]}, "panX"),
        ({"cells": [{"imageIndex": 0, "zoom": 0.5}]}, "zoom"),
        ({"cells": [{"imageIndex": 0, "objectFit": "fill"}]}, "cover"),
        ({"cells": [{"imageIndex": 0, "spin": 1}]}, "spin"),
        ({"aspectRatio": "2:1"}, "16:9"),
        ({"outputFormat": "tiff"}, "outputFormat"),
        ({"quality": 0}, "quality"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        collage.settings.parse(asked)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("cells", "words"),
    [([{"imageIndex": 2}], "counted from 0"), ([{"imageIndex": 0}] * 5, "4-grid has 4 areas")],
)
def test_cells_that_do_not_match_are_refused(cells: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        made(plain(0), plain(1), cells=cells, **FOUR)


def test_looks_as_it_did_when_somebody_looked(golden: Any) -> None:
    photo = PIL.Image.fromarray(skimage.data.astronaut())
    parts = [photo.crop((100, 0, 400, 260)), photo.crop((0, 150, 200, 500)), photo.crop((250, 200, 500, 400))]
    asked: dict[str, Any] = {"template": "3-left-large", "gap": 60, "borderRadius": 120, "aspectRatio": "4:3"}
    got = array_of(made(*map(np.asarray, parts), backgroundColor="#304050", **asked))
    golden(np.asarray(PIL.Image.fromarray(got).reduce(12)), "collage-3-left-large", 2)


def test_random_pictures_fill_random_areas() -> None:
    got = array_of(made(*(noise(30 + n, 40 - n, seed=n) for n in range(5)), gap=0, backgroundColor="transparent"))
    assert (got[..., 3] == 255).all()
