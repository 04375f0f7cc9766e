"""Text watermark: where the ink goes, in which colour, on every kind of picture."""

from typing import Any

import numpy as np
import PIL.ImageFont
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, noise, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.text import _file
from darkroom_tools.overlay.watermark_text import watermark_text

WHITE = np.full((300, 400, 3), 255, np.uint8)


def written(array: np.ndarray = WHITE, **asked: Any) -> np.ndarray:
    return array_of(use(watermark_text, picture(array), **{"text": "Hxg", "fontSize": 40, "opacity": 100, **asked}))


def ink_box(array: np.ndarray, paper: int = 255) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of what is not paper."""
    rows, columns = np.nonzero((array != paper).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    ("position", "left", "top", "right", "bottom"),
    [
        ("top-left", 40, 40, None, None),
        ("top", None, 40, None, None),
        ("top-right", None, 40, 360, None),
        ("left", 40, None, None, None),
        ("right", None, None, 360, None),
        ("bottom-left", 40, None, None, 260),
        ("bottom", None, None, None, 260),
        ("bottom-right", None, None, 360, 260),
        ("center", None, None, None, None),
    ],
)
def test_the_ink_is_one_type_size_from_its_edges_and_centred_otherwise(
    position: str, left: int | None, top: int | None, right: int | None, bottom: int | None
) -> None:
    box = ink_box(written(position=position))
    for got, wanted in zip(box, (left, top, right, bottom), strict=True):
        assert wanted is None or abs(got - wanted) <= 1
    if left is None and right is None:
        assert abs(box[0] + box[2] - 400) <= 2
    if top is None and bottom is None:
        assert abs(box[1] + box[3] - 300) <= 2


@pytest.mark.parametrize("font", ["sans-serif", "serif", "monospace"])
@pytest.mark.parametrize("size", [12, 40, 61.5])
def test_the_type_is_as_large_as_an_independent_rendering(font: str, size: float) -> None:
    left, top, right, bottom = ink_box(written(font=font, fontSize=size))
    theirs = PIL.ImageFont.truetype(_file(font), size).getmask("Hxg").getbbox()
    assert abs((right - left) - (theirs[2] - theirs[0])) <= 3
    assert abs((bottom - top) - (theirs[3] - theirs[1])) <= 3


def test_the_three_fonts_differ() -> None:
    assert len({written(font=font).tobytes() for font in ("sans-serif", "serif", "monospace")}) == 3


@pytest.mark.parametrize(("opacity", "grey"), [(100, 0), (50, 127.5), (20, 204), (1, 252.45), (0, 255)])
def test_opacity_is_in_percent(opacity: float, grey: float) -> None:
    assert abs(int(written(opacity=opacity, text="█").min()) - grey) <= 1


def test_the_default_is_black_48_pixels_half_opaque_in_the_middle() -> None:
    plain = array_of(use(watermark_text, picture(WHITE), text="Hxg"))
    asked = {"font": "sans-serif", "fontSize": 48, "color": "#000000", "opacity": 50, "position": "center"}
    assert (plain == written(**asked)).all()


def test_nothing_but_the_ink_changes() -> None:
    photo = noise(400, 300)
    got = written(photo, color="#FF0000", text="█")
    left, top, right, bottom = ink_box(written(text="█"))
    inside = np.zeros((300, 400), bool)
    inside[top:bottom, left:right] = True
    assert (got[~inside] == photo[~inside]).all()
    assert (got[top + 2 : bottom - 2, left + 2 : right - 2] == (255, 0, 0)).all()


def test_half_opaque_ink_is_the_mean_of_ink_and_picture() -> None:
    got = written(np.full((100, 100, 3), 40, np.uint8), text="█", color="#C80064", opacity=50)
    assert np.abs(got[50, 50].astype(int) - (120, 20, 70)).max() <= 1


@pytest.mark.parametrize("quarter", [-360, -270, -180, -90, 90, 180, 270, 360])
def test_text_in_the_middle_turns_about_the_middle(quarter: int) -> None:
    square = np.full((301, 301, 3), 255, np.uint8)
    straight, turned = ink_box(written(square)), ink_box(written(square, rotation=quarter))
    sides = (straight[2] - straight[0], straight[3] - straight[1])
    wanted = sides if quarter % 180 == 0 else sides[::-1]
    assert (turned[2] - turned[0], turned[3] - turned[1]) == wanted
    assert abs(turned[0] + turned[2] - 301) <= 2
    assert abs(turned[1] + turned[3] - 301) <= 2


@pytest.mark.parametrize(("rotation", "left", "top"), [(90, -1, 0), (180, -1, -1), (270, 0, -1)])
def test_text_in_a_corner_turns_clockwise_about_that_corner(rotation: int, left: int, top: int) -> None:
    wide = np.full((600, 600, 3), 255, np.uint8)
    text = {"text": "█", "fontSize": 200, "position": "top-left"}
    straight = ink_box(written(wide, **text))
    width, height = straight[2] - straight[0], straight[3] - straight[1]
    across, down = (height, width) if rotation % 180 else (width, height)
    got = ink_box(written(wide, **text, rotation=rotation))
    assert abs(got[0] - max(0, 200 + left * across)) <= 1
    assert abs(got[1] - max(0, 200 + top * down)) <= 1


def test_a_small_angle_turns_clockwise() -> None:
    got = written(text="████████", rotation=20, fontSize=20) < 128
    assert np.nonzero(got[:, 170])[0].mean() < 145
    assert np.nonzero(got[:, 230])[0].mean() > 155


def test_tiles_stand_6_by_4_type_sizes_apart() -> None:
    got = written(np.full((400, 600, 3), 255, np.uint8), text="x", fontSize=10, position="tiled")
    assert (got[:, :-60] == got[:, 60:]).all()
    assert (got[:-40] == got[40:]).all()
    assert ink_box(got[:40, :60])[2] > 0
    dots = ((got[:, :, 0] < 128).reshape(10, 40, 10, 60).sum(axis=(1, 3))) > 0
    assert dots.all()


def test_tile_is_another_way_to_say_position_tiled() -> None:
    assert (written(tile=True) == written(position="tiled")).all()
    assert (written(tile=True, position="left") == written(position="tiled")).all()


def test_tiles_never_touch_each_other() -> None:
    got = written(np.full((400, 900, 3), 255, np.uint8), text="a rather long text", fontSize=20, tile=True)
    columns = (got < 255).any(axis=(0, 2))
    gaps = np.diff(np.nonzero(np.diff(columns.astype(int)))[0])
    assert gaps.max() >= 19


def test_at_most_500_tiles_still_cover_the_whole_picture() -> None:
    got = written(np.full((1500, 2000, 3), 255, np.uint8), text="█", fontSize=8, tile=True)[..., 0] < 128
    starts = got & ~np.roll(got, 1, 0) & ~np.roll(got, 1, 1)
    tiles = int((starts & ~np.roll(starts, 1, 1)).sum())
    assert 300 <= tiles <= 500
    assert got[-200:, -200:].any()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", ["#808080", "#FF0000"])
def test_depth_and_alpha_survive(bands: int, dtype: Any, color: str) -> None:
    top = np.iinfo(dtype).max
    got = written(np.full((90, 90, bands), top, dtype), text="█", color=color)
    alpha = bands in (2, 4)
    assert got.dtype == dtype
    assert got.shape[2] == (1 if bands < 3 and color == "#808080" else 3) + alpha
    ink = (128, 128, 128) if color == "#808080" else (255, 0, 0)
    assert np.abs(got[45, 45, : got.shape[2] - alpha] / top * 255 - ink[: got.shape[2] - alpha]).max() < 0.01
    assert (got[0, 0] == top).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_ink_on_a_transparent_picture_is_visible_and_pure(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    clear = np.zeros((90, 90, 4), dtype)
    clear[..., 1] = top
    got = written(clear, text="x", color="#FF0000", fontSize=60, opacity=50)
    assert abs(int(got[..., 3].max()) - top / 2) <= top / 200
    assert (got[got[..., 3] > top // 20][:, :3] == (top, 0, 0)).all()
    assert (got[0, 0, 3] == 0).all()


def test_laying_over_half_transparent_pixels_follows_the_over_operator() -> None:
    got = written(np.full((90, 90, 4), (0, 0, 200, 128), np.uint8), text="█", color="#FF0000", opacity=50)[45, 45]
    over, below = 0.5, 128 / 255
    alpha = over + below * (1 - over)
    wanted = [255 * over / alpha, 0, 200 * below * (1 - over) / alpha, 255 * alpha]
    assert np.abs(got - np.array(wanted)).max() <= 1


def test_every_frame_gets_the_text() -> None:
    frames = np.stack([np.full((60, 90, 3), value, np.uint8) for value in (100, 170, 255)])
    got = use(watermark_text, picture(frames, "gif", delay=[10, 20, 30]), text="x", fontSize=30, opacity=100)
    boxes = [ink_box(frame, int(frame[0, 0, 0])) for frame in array_of(got)]
    assert boxes[0] == boxes[1] == boxes[2]
    assert got.pixels.get("delay") == [10, 20, 30]


@pytest.mark.parametrize("text", ["a < b & c > d", "<b>bold</b>", "</span>", "&amp;", "100 %", "%s", "tab\there"])
def test_signs_of_markup_are_drawn_as_they_are(text: str) -> None:
    left, _, right, _ = ink_box(written(text=text, font="monospace", fontSize=10))
    letters = len(text) + (8 - text.index("\t") % 8 - 1 if "\t" in text else 0)
    assert abs((right - left) - letters * 10 * 0.602) <= 10


def test_several_lines_are_aligned_to_their_side() -> None:
    for position, side in (("left", 0), ("right", 2)):
        got = written(text="████\n█", position=position, fontSize=30)
        upper, lower = got[:150], got[150:]
        assert abs(ink_box(upper)[side] - ink_box(lower)[side]) <= 1


@pytest.mark.parametrize("asked", [{"text": "W" * 500}, {"text": "W\n" * 250}, {"text": "W" * 500, "rotation": 33}])
def test_text_far_larger_than_the_picture_is_clipped_and_said(asked: Any) -> None:
    got = use(watermark_text, picture(WHITE), **asked, fontSize=1000, opacity=100)
    assert 0.2 < (array_of(got) < 128).mean() < 0.8
    assert "outside the picture" in got.warnings[0]


def test_text_that_fits_is_no_reason_for_a_warning() -> None:
    assert use(watermark_text, picture(WHITE), text="Привет, café", fontSize=20).warnings == ()


def test_characters_that_the_font_lacks_are_named() -> None:
    assert "'ሀለ'" in use(watermark_text, picture(WHITE), text="a ሀለ 苹果 ✓", fontSize=20).warnings[0]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4)])
@pytest.mark.parametrize("position", ["center", "bottom-right", "tiled"])
def test_degenerate_pictures_work(shape: tuple[int, ...], position: str) -> None:
    assert written(np.full(shape, 255, np.uint8), position=position, rotation=10).shape == shape


@given(st.text(min_size=1, max_size=30), st.floats(8, 90), st.floats(-360, 360), st.booleans())
def test_any_text_is_drawn_or_refused_in_words(text: str, size: float, rotation: float, tile: bool) -> None:
    try:
        got = written(np.full((40, 60, 3), 255, np.uint8), text=text, fontSize=size, rotation=rotation, tile=tile)
    except InvalidSettings as refused:
        assert "text" in refused.message
    else:
        assert got.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n\u200b"}, "visible"),
        ({"text": "x" * 501}, "500"),
        ({"text": "x", "font": "Arial"}, "sans-serif, serif, monospace"),
        ({"text": "x", "font": "sansserif"}, "sans-serif"),
        ({"text": "x", "fontSize": 7}, "fontSize"),
        ({"text": "x", "fontSize": 1001}, "fontSize"),
        ({"text": "x", "color": "red"}, "color"),
        ({"text": "x", "color": "#FF000080"}, "color"),
        ({"text": "x", "opacity": 0.5}, "50"),
        ({"text": "x", "opacity": 101}, "opacity"),
        ({"text": "x", "position": "middle"}, "center"),
        ({"text": "x", "rotation": 361}, "rotation"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        watermark_text.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    photo = skimage.data.astronaut()[:200:, 130:330]
    asked = {"text": "© Darkroom\n2026", "fontSize": 22, "position": "bottom-right", "color": "#FFFFFF"}
    golden(written(photo, **asked, opacity=80), "watermark-corner", tolerance=24)
    tiles = {"text": "draft", "fontSize": 14, "tile": True, "rotation": -30, "font": "serif", "color": "#003366"}
    golden(written(photo, **tiles, opacity=60), "watermark-tiled", tolerance=24)
