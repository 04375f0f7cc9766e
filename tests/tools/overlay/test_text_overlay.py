"""Text overlay: place, box, shadow and colour of a caption, on every kind of picture."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, gradient, noise, opened, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.overlay.text_overlay import text_overlay

GREY = np.full((300, 400, 3), 128, np.uint8)
PLAIN = {"text": "Hxg", "fontSize": 40, "shadow": False}


def written(array: np.ndarray = GREY, **asked: Any) -> np.ndarray:
    return array_of(use(text_overlay, picture(array), **{**PLAIN, **asked}))


def box_of(changed: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of what is true."""
    rows, columns = np.nonzero(changed)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def ink_box(after: np.ndarray, before: np.ndarray = GREY) -> tuple[int, int, int, int]:
    return box_of((after != before).any(axis=-1))


def test_without_a_position_it_stands_below_in_the_middle_one_type_size_from_the_edge() -> None:
    left, top, right, bottom = ink_box(written())
    assert abs(left + right - 400) <= 1
    assert bottom == 260
    assert 30 <= bottom - top <= 50


def test_position_moves_it_up_and_down_only() -> None:
    boxes = {position: ink_box(written(position=position)) for position in ("top", "center", "bottom")}
    assert len({(box[0], box[2]) for box in boxes.values()}) == 1
    assert boxes["top"][1] == 40
    assert abs(boxes["center"][1] + boxes["center"][3] - 300) <= 1
    assert boxes["bottom"][3] == 260


@pytest.mark.parametrize("position", ["top", "bottom"])
def test_x_and_y_win_over_position(position: str) -> None:
    assert ink_box(written(x=30, y=71, position=position))[:2] == (30, 71)


def test_x_alone_and_y_alone_leave_the_other_direction() -> None:
    left, _, right, _ = middle = ink_box(written())
    assert ink_box(written(x=7))[0] == 7
    assert ink_box(written(x=7))[3] == middle[3]
    assert ink_box(written(y=9))[1] == 9
    assert (ink_box(written(y=9))[0], ink_box(written(y=9))[2]) == (left, right)


@given(st.floats(-60, 250), st.floats(-60, 160))
def test_x_and_y_are_the_corner_of_the_box(x: float, y: float) -> None:
    paper = np.zeros((150, 240, 3), np.uint8)
    asked = {"text": "█", "fontSize": 20, "color": "#FFFFFF", "background": "#FFFFFF", "padding": 3}
    result = use(text_overlay, picture(paper), **asked, shadow=False, x=x, y=y)
    seen = array_of(result)[..., 0] > 0
    whole = box_of(written(paper, **asked, x=5, y=5)[..., 0] > 0)
    width, height = whole[2] - 5, whole[3] - 5
    left, top = int(np.floor(x + 3 + 0.5)) - 3, int(np.floor(y + 3 + 0.5)) - 3
    wanted = np.zeros_like(seen)
    wanted[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)] = True
    assert (seen == wanted).all()
    inside = left >= 0 and top >= 0 and left + width <= 240 and top + height <= 150
    assert bool(result.warnings) != inside


@pytest.mark.parametrize(
    ("asked", "color"),
    [
        ({"background": "#102030"}, (16, 32, 48)),
        ({"background": True}, (0, 0, 0)),
        ({"background": "true"}, (0, 0, 0)),
        ({"backgroundBox": True}, (0, 0, 0)),
        ({"backgroundBox": True, "backgroundColor": "#102030"}, (16, 32, 48)),
        ({"background": True, "backgroundColor": "#102030"}, (16, 32, 48)),
        ({"backgroundColor": "#102030"}, (16, 32, 48)),
        ({"background": False}, None),
        ({"background": "false", "backgroundBox": True}, None),
        ({"backgroundBox": False, "backgroundColor": "#102030"}, None),
        ({}, None),
    ],
)
def test_the_box_may_be_asked_for_in_several_ways(asked: Any, color: Any) -> None:
    got = written(**asked)
    left, top, right, bottom = ink_box(written())
    around = got[top - 12 : bottom + 12, left - 12 : right + 12]
    if color is None:
        assert (got == written()).all()
        return
    assert (around[:12] == color).all()
    assert (around[:, :12] == color).all()
    assert ink_box(got) == (left - 12, top - 12, right + 12, bottom + 12)


@pytest.mark.parametrize("padding", [0, 5, 33.4])
def test_padding_is_the_room_between_ink_and_edge_of_the_box(padding: float) -> None:
    asked = {"background": "#000000", "position": "center", "padding": padding}
    box, ink = ink_box(written(**asked)), ink_box(written(position="center"))
    gap = int(padding + 0.5)
    assert box == (ink[0] - gap, ink[1] - gap, ink[2] + gap, ink[3] + gap)


def test_the_boxs_corners_are_round() -> None:
    got = written(background="#000000", borderRadius=15)
    left, top, right, bottom = ink_box(written(background="#000000"))
    width, height = right - left, bottom - top
    down, across = np.mgrid[0:height, 0:width] + 0.5
    far_x = np.maximum(np.maximum(15 - across, across - width + 15), 0)
    far_y = np.maximum(np.maximum(15 - down, down - height + 15), 0)
    outside = np.hypot(far_x, far_y)
    shown = got[top:bottom, left:right, 0]
    assert (shown[outside > 15.8] == 128).all()
    assert (shown[:10, 15:-15] == 0).all()
    assert (shown[(outside < 14.2) & (down < 12)] == 0).all()


@pytest.mark.parametrize("radius", [60, 200])
def test_a_radius_beyond_half_the_box_makes_a_pill(radius: float) -> None:
    assert (written(background=True, borderRadius=radius) == written(background=True, borderRadius=31.5)).mean() > 0.99


def test_the_default_shadow_is_dark_under_light_text_and_light_under_dark_text() -> None:
    on, off = written(shadow=True), written()
    assert (on <= off).all()
    assert (on < off).any()
    dark = {"color": "#000000"}
    assert (written(shadow=True, **dark) >= written(**dark)).all()
    assert (array_of(use(text_overlay, picture(GREY), text="Hxg", fontSize=40)) == on).all()


def test_the_shadow_is_soft_and_stays_near_the_letters() -> None:
    on, off = ink_box(written(shadow=True)), ink_box(written())
    assert all(0 <= abs(a - b) <= 40 * (1 / 16 + 3 / 20) + 1 for a, b in zip(on, off, strict=True))
    assert on[2] > off[2]
    assert on[3] > off[3]
    assert len(np.unique(written(np.full_like(GREY, 200), shadow=True, text="█"))) > 20


def test_the_letters_have_exactly_the_colour_asked_for() -> None:
    got = written(text="█", color="#C80064", shadow=True)
    left, top, right, bottom = ink_box(written(text="█"))
    assert (got[top + 1 : bottom - 1, left + 1 : right - 1] == (200, 0, 100)).all()


def test_nothing_outside_the_caption_changes() -> None:
    photo = noise(400, 300)
    got = written(photo, background="#000000", shadow=True)
    left, top, right, bottom = ink_box(written(background="#000000", shadow=True))
    keep = np.ones((300, 400), bool)
    keep[top:bottom, left:right] = False
    assert (got[keep] == photo[keep]).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", ["#808080", "#FF0000"])
def test_depth_and_alpha_survive(bands: int, dtype: Any, color: str) -> None:
    top = np.iinfo(dtype).max
    got = written(np.full((90, 90, bands), top, dtype), text="█", color=color, background="#000000", shadow=True)
    alpha = bands in (2, 4)
    ink = [128] if bands < 3 and color == "#808080" else [128] * 3 if color == "#808080" else [255, 0, 0]
    assert got.dtype == dtype
    assert got.shape[2] == len(ink) + alpha
    left, _, right, bottom = box_of((got[..., : len(ink)] != top).any(axis=-1))
    assert np.abs(got[bottom - 20, (left + right) // 2, : len(ink)] / top * 255 - ink).max() < 0.01
    assert (got[0, 0] == top).all()


def test_on_a_transparent_picture_the_caption_is_visible() -> None:
    got = written(np.zeros((100, 120, 4), np.uint8), text="█", background="#0000FF", shadow=False, borderRadius=5)
    left, top, _, bottom = box_of(got[..., 3] > 0)
    assert (got[top + 8 : bottom - 8, left + 3] == (0, 0, 255, 255)).all()
    assert (got[got[..., 3] == 0] == 0).all()


def test_every_frame_gets_the_caption() -> None:
    frames = np.stack([np.full((60, 90, 3), value, np.uint8) for value in (100, 170, 200)])
    result = use(text_overlay, picture(frames, "gif", delay=[10, 20, 30]), text="x", fontSize=20, background="#112233")
    got = array_of(result)
    for before, after in zip(frames, got, strict=True):
        assert ink_box(after, before) == ink_box(got[0], frames[0])
        assert (after == got[0])[ink_box(after, before)[1] + 3].any()
    assert result.pixels.get("delay") == [10, 20, 30]


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "W" * 500},
        {"text": "W\n" * 250},
        {"x": -5},
        {"y": 290},
        {"x": 1e300, "y": -1e300},
        {"text": "Hxg", "fontSize": 40, "background": True, "x": 310, "y": 1},
    ],
)
def test_what_is_outside_is_cut_off_and_said(asked: Any) -> None:
    result = use(text_overlay, picture(GREY), **{"text": "W", "fontSize": 200, **asked})
    assert array_of(result).shape == GREY.shape
    assert "outside the picture" in result.warnings[0]


def test_what_fits_is_no_reason_for_a_warning() -> None:
    assert use(text_overlay, picture(GREY), text="Привет, café\n<b>&</b>", fontSize=20, background=True).warnings == ()


def test_lines_are_centred_unless_x_is_given() -> None:
    lines = {"text": "████\n█", "fontSize": 30, "position": "center"}
    for asked, side in (({}, None), ({"x": 40}, 40)):
        got = written(**lines, **asked)
        upper, lower = ink_box(got[:150], GREY[:150]), ink_box(got[150:], GREY[150:])
        if side is None:
            assert abs((upper[0] + upper[2]) - (lower[0] + lower[2])) <= 2
        else:
            assert upper[0] == lower[0] == side


@pytest.mark.parametrize("position", ["top", "bottom"])
def test_a_picture_that_streams_is_read_in_order(position: str, tmp_path: Path) -> None:
    # libvips closes what it has passed by about a thousand lines.
    tall = gradient(150, 3000)
    PIL.Image.fromarray(tall).save(tmp_path / "tall.png")
    streamed = opened((tmp_path / "tall.png").read_bytes(), tmp_path)
    asked = {**PLAIN, "position": position, "background": "#336699", "shadow": True}
    assert (array_of(use(text_overlay, streamed, **asked)) == written(tall, **asked)).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2000, 3), (2000, 1, 4), (1, 1, 1)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    result = use(text_overlay, picture(np.full(shape, 255, np.uint8)), text="x", background=True, borderRadius=5)
    assert (result.height, result.width) == shape[:2]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": " \n\u200b"}, "visible"),
        ({"text": "x" * 501}, "500"),
        ({"text": "x", "font": "Comic Sans"}, "sans-serif, serif, monospace"),
        ({"text": "x", "fontSize": 7}, "fontSize"),
        ({"text": "x", "fontSize": 201}, "fontSize"),
        ({"text": "x", "color": "red"}, "#RRGGBB"),
        ({"text": "x", "background": "red"}, "#RRGGBB"),
        ({"text": "x", "background": 5}, "'background' is #RRGGBB, true or false"),
        ({"text": "x", "backgroundColor": "#12"}, "#RRGGBB"),
        ({"text": "x", "position": "left"}, "center"),
        ({"text": "x", "padding": 201}, "padding"),
        ({"text": "x", "borderRadius": -1}, "borderRadius"),
        ({"text": "x", "colour": "#000000"}, "Did you mean 'color'?"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        text_overlay.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    photo = skimage.data.astronaut()[:200:, 130:330]
    boxed = {"text": "Eileen Collins\n1999", "fontSize": 18, "background": "#102A56", "borderRadius": 10}
    golden(written(photo, **boxed, shadow=True), "text-overlay-box", tolerance=24)
    golden(
        written(photo, text="Commander", fontSize=30, shadow=True, position="top"), "text-overlay-shadow", tolerance=24
    )
