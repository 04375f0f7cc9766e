"""Border: exact frames, smooth corners, a shadow where light would leave one."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFilter
import PIL.ImageOps
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, encoded_as, gradient, noise, opened, picture, use

from darkroom_tools.errors import InvalidSettings, OutputTooLarge
from darkroom_tools.layout.border import border

PHOTO = noise(90, 60)


def framed(array: np.ndarray, format: str = "png", **asked: Any) -> np.ndarray:
    return array_of(use(border, picture(array, format), **asked))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 30), st.integers(0, 30))
def test_padding_and_border_add_twice_their_width(width: int, height: int, line: int, pad: int) -> None:
    array = noise(width, height)
    got = framed(array, width=line, color="#102030", padding=pad, paddingColor="#FFEEDD")
    theirs = PIL.ImageOps.expand(PIL.Image.fromarray(array), pad, "#FFEEDD") if pad else PIL.Image.fromarray(array)
    theirs = PIL.ImageOps.expand(theirs, line, "#102030") if line else theirs
    assert (got == np.asarray(theirs)).all()


def test_the_default_is_ten_black_pixels() -> None:
    assert (framed(PHOTO) == np.asarray(PIL.ImageOps.expand(PIL.Image.fromarray(PHOTO), 10, "#000000"))).all()


def test_a_fraction_of_a_pixel_is_rounded() -> None:
    assert framed(PHOTO, width=2.5).shape == (66, 96, 3)


def test_no_border_and_no_padding_change_nothing() -> None:
    assert (framed(PHOTO, width=0) == PHOTO).all()


@pytest.mark.parametrize(("names", "same"), [("borderWidth", "width"), ("borderColor", "color")])
def test_other_names_are_taken(names: str, same: str) -> None:
    value: Any = 7 if same == "width" else "#FF0000"
    assert border.settings.parse({names: value}) == border.settings.parse({same: value})
    assert border.settings.parse({"cornerRadius": 3}) == border.settings.parse({"borderRadius": 3})


@pytest.mark.parametrize(
    ("angle", "start", "end"),
    [(180, (0, 50), (-1, 50)), (0, (-1, 50), (0, 50)), (90, (30, 0), (30, -1)), (270, (30, -1), (30, 0))],
)
def test_a_gradient_runs_from_color_to_color2_across_the_whole_frame(
    angle: float, start: tuple[int, int], end: tuple[int, int]
) -> None:
    got = framed(PHOTO, style="gradient", color="#FF0000", color2="#0000FF", angle=angle).astype(int)
    assert np.abs(got[start] - (255, 0, 0)).max() <= 3
    assert np.abs(got[end] - (0, 0, 255)).max() <= 3
    assert (got[10:-10, 10:-10] == PHOTO).all()


def test_a_gradient_at_an_angle_is_linear_between_opposite_corners() -> None:
    got = framed(PHOTO, style="gradient", color="#000000", color2="#FFFFFF", angle=135, width=6)[..., 0].astype(float)
    height, width = got.shape
    down, across = np.mgrid[0:height, 0:width] + 0.5
    wanted = 255 * (across + down - 0.0) / (width + height)
    ring = np.ones((height, width), bool)
    ring[6:-6, 6:-6] = False
    assert np.abs(got - wanted)[ring].max() <= 0.51


def test_checks_are_as_wide_as_half_the_border() -> None:
    got = framed(np.full((60, 100, 3), 128, np.uint8), width=10, style="pattern", pattern="checks")
    down, across = np.mgrid[0:80, 0:120] // 5
    wanted = np.where((down + across) % 2 == 1, 255, 0)
    assert (got[:10, :, 0] == wanted[:10]).all()
    assert (got[-10:, :, 0] == wanted[-10:]).all()
    assert (got[:, :10, 0] == wanted[:, :10]).all()
    assert (got[:, -10:, 0] == wanted[:, -10:]).all()
    assert (got[10:-10, 10:-10] == 128).all()


def test_dots_are_whole_at_every_side_and_in_the_second_colour() -> None:
    got = framed(np.zeros((57, 83, 3), np.uint8), width=12, style="pattern", pattern="dots", color2="#FF8000")
    ring = got[..., 0].astype(float) / 255
    assert (ring == ring[::-1]).all()
    assert (ring == ring[:, ::-1]).all()
    assert ring[:12].sum() == pytest.approx(round(107 / 12) * math.pi * 3**2, rel=0.08)
    assert (got[ring > 0.99] == (255, 128, 0)).all()


def test_stripes_lean_and_cover_half_the_border() -> None:
    got = framed(np.zeros((100, 200, 3), np.uint8), width=20, style="pattern")[..., 0].astype(float) / 255
    assert got[:20].mean() == pytest.approx(0.5, abs=0.02)
    assert np.abs(got[:19, 1:] - got[1:20, :-1]).max() < 0.1
    assert (got[:20] > 0.99).any()


@pytest.mark.parametrize("radius", [4, 10, 21, 500])
def test_outer_corners_agree_with_ones_drawn_large_and_reduced(radius: int) -> None:
    got = framed(PHOTO, width=5, borderRadius=radius)
    large = PIL.Image.new("L", (100 * 16, 70 * 16))
    PIL.ImageDraw.Draw(large).rounded_rectangle((0, 0, 100 * 16 - 1, 70 * 16 - 1), min(radius, 35) * 16, fill=255)
    assert np.abs(got[..., 3].astype(int) - np.asarray(large.reduce(16))).max() <= 12
    assert (got[got[..., 3] == 0] == 0).all()


def test_the_border_is_equally_wide_around_a_corner() -> None:
    got = framed(np.full((80, 120, 3), 255, np.uint8), width=10, borderRadius=30, color="#FF0000").astype(int)
    for angle in np.radians((10, 30, 45, 60, 80)):
        place = [(30 - far * math.sin(angle), 30 - far * math.cos(angle)) for far in (28, 22, 18)]
        outer, inner, picture_inside = (got[int(y), int(x)] for y, x in place)
        assert (outer[:3] == (255, 0, 0)).all()
        assert (inner[:3] == (255, 0, 0)).all()
        assert (picture_inside[:3] == 255).all()


@pytest.mark.parametrize("style", ["gradient", "pattern"])
def test_a_drawn_border_goes_on_in_round_inner_corners(style: str) -> None:
    asked: dict[str, Any] = {"style": style, "width": 10, "color": "#FF0000", "color2": "#0000FF", "pattern": "dots"}
    got = framed(np.full((80, 120, 3), (0, 255, 0), np.uint8), borderRadius=40, **asked)
    straight = framed(np.full((80, 120, 3), (0, 255, 0), np.uint8), **asked)
    assert (got[11, 70] == (0, 255, 0, 255)).all()
    assert got[13, 20, 1] < 10
    assert (got[2, 70, :3] == straight[2, 70]).all()


def shadow_by_pillow(width: int, height: int, blur: int) -> np.ndarray:
    """A rectangle with twice the blur around it, blurred at full size by another library; 0 to 1."""
    canvas = PIL.Image.new("L", (width + 4 * blur, height + 4 * blur))
    canvas.paste(255, (2 * blur, 2 * blur, 2 * blur + width, 2 * blur + height))
    return np.asarray(canvas.filter(PIL.ImageFilter.GaussianBlur(blur))) / 255


@pytest.mark.parametrize(("blur", "x", "y", "opacity"), [(15, 0, 5, 40), (4, -6, 3, 100), (25, 40, -30, 70)])
def test_the_shadow_is_that_of_a_gaussian_blur(blur: int, x: int, y: int, opacity: int) -> None:
    asked = {"shadowBlur": blur, "shadowOffsetX": x, "shadowOffsetY": y, "shadowOpacity": opacity}
    got = framed(noise(140, 100), shadow=True, width=0, **asked)
    assert got.shape == (100 + 4 * blur, 140 + 4 * blur, 4)
    left, top = 2 * blur - x, 2 * blur - y
    picture_there = np.zeros(got.shape[:2], bool)
    picture_there[max(0, top) : max(0, top) + 100, max(0, left) : max(0, left) + 140] = True
    soft = shadow_by_pillow(140, 100, blur) * (255 * opacity / 100)
    assert np.abs(got[..., 3].astype(float) - soft)[~picture_there].max() <= 6
    assert (got[picture_there][:, 3] == 255).all()


def test_the_picture_stands_unchanged_on_its_shadow() -> None:
    got = framed(PHOTO, width=4, color="#336699", shadow=True, shadowBlur=6, shadowOffsetY=5)
    wanted = np.asarray(PIL.ImageOps.expand(PIL.Image.fromarray(PHOTO), 4, "#336699"))
    assert got.shape == (60 + 8 + 24, 90 + 8 + 24, 4)
    assert (got[7 : 7 + 68, 12 : 12 + 98, :3] == wanted).all()
    assert (got[7 : 7 + 68, 12 : 12 + 98, 3] == 255).all()


def test_a_shift_beyond_the_blur_makes_room_for_it() -> None:
    got = framed(PHOTO, width=0, shadow=True, shadowBlur=1, shadowOffsetX=50, shadowOffsetY=-50)
    assert got.shape == (60 + 52, 90 + 52, 4)
    assert (got[52:, :90, :3] == PHOTO).all()
    assert abs(int(got[30, 120, 3]) - 102) <= 1


def test_the_shadow_has_its_colour() -> None:
    got = framed(PHOTO, width=0, shadow=True, shadowColor="#8000FF", shadowOpacity=90, shadowBlur=5)
    below = got[-8, 50]
    assert (below[:3] == (128, 0, 255)).all()
    assert 20 < below[3] < 230


def test_a_round_corner_mixes_picture_and_shadow_as_the_over_operator_does() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    asked: dict[str, Any] = {"width": 0, "borderRadius": 30, "shadowBlur": 4, "shadowOffsetY": 0, "shadowOpacity": 100}
    got = framed(white, shadow=True, **asked).astype(float)
    cut = framed(white, width=0, borderRadius=30).astype(float)[..., 3] / 255
    disc = PIL.Image.new("L", (76 * 8, 76 * 8))
    PIL.ImageDraw.Draw(disc).ellipse((8 * 8, 8 * 8, 68 * 8 - 1, 68 * 8 - 1), fill=255)
    soft = np.asarray(disc.reduce(8).filter(PIL.ImageFilter.GaussianBlur(4))) / 255
    above = np.zeros((76, 76))
    above[8:68, 8:68] = cut
    alpha = above + soft * (1 - above)
    assert np.abs(got[..., 3] - alpha * 255).max() <= 8
    edge = (above > 0.2) & (above < 0.8)
    assert edge.sum() > 50
    assert np.abs(got[..., 0] - 255 * above / np.maximum(alpha, 1e-9))[edge].max() <= 12


def test_a_shadow_follows_the_visible_part_of_a_picture() -> None:
    clear = np.zeros((60, 90, 4), np.uint8)
    clear[20:40, 30:60] = (200, 100, 50, 255)
    got = framed(clear, width=0, shadow=True, shadowBlur=4, shadowOffsetY=0, shadowOpacity=100)
    assert got.shape == (76, 106, 4)
    assert (got[8 + 30, 8 + 45] == (200, 100, 50, 255)).all()
    assert got[8 + 30, 8 + 27, 3] > 40
    assert got[8 + 5, 8 + 10, 3] == 0


def test_asking_for_its_look_asks_for_a_shadow_unless_it_is_switched_off() -> None:
    assert (framed(PHOTO, shadowBlur=9) == framed(PHOTO, shadowBlur=9, shadow=True)).all()
    assert framed(PHOTO, shadowBlur=9, shadow=False).shape == (80, 110, 3)


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_and_alpha_survive(bands: int, dtype: Any) -> None:
    top = np.iinfo(dtype).max
    got = framed(np.full((20, 30, bands), top, dtype), width=3, color="#FF0000", padding=2, paddingColor="#808080")
    assert got.dtype == dtype
    assert got.shape == (30, 40, 3 + (bands in (2, 4)))
    assert (got[0, 0, :3] == (top, 0, 0)).all()
    assert np.abs(got[4, 4, :3] / top * 255 - 128).max() < 0.01
    assert (got[15, 15] == top).all()
    assert bands in (1, 3) or (got[..., 3] == top).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_corners_and_shadow_keep_the_depth(bands: int, dtype: Any) -> None:
    top = np.iinfo(dtype).max
    array = np.full((40, 50, bands), top, dtype)
    got = framed(array, width=3, style="pattern", borderRadius=12, shadow=True, shadowBlur=3, shadowOpacity=100)
    assert got.dtype == dtype
    assert got.shape == (46 + 12, 56 + 12, 4)
    assert (got[30, 30] == top).all()
    assert (got[0, 0] < top / 100).all()


def test_a_grey_picture_stays_grey_in_a_grey_frame() -> None:
    assert framed(np.full((20, 30, 1), 99, np.uint8), color="#404040").shape == (40, 50, 1)


def test_transparency_inside_stays_and_hidden_colour_never_shows() -> None:
    hidden = np.zeros((60, 60, 4), np.uint8)
    hidden[..., 1] = 255
    got = framed(hidden, width=8, color="#FF0000", borderRadius=30)
    assert got[38, 38, 3] == 0
    seen = got[got[..., 3] > 20]
    assert (seen[:, 0] > 240).all()
    assert (seen[:, 1] < 15).all()


@pytest.mark.parametrize("asked", [{}, {"borderRadius": 9}, {"style": "gradient"}])
def test_every_frame_is_framed(asked: Any) -> None:
    frames = np.stack([np.full((30, 40, 3), value, np.uint8) for value in (50, 120, 250)])
    got = use(border, picture(frames, "gif", delay=[10, 20, 30]), width=4, color="#0000FF", **asked)
    assert array_of(got).shape == (3, 38, 48, 4 if "borderRadius" in asked else 3)
    assert [int(frame[19, 24, 0]) for frame in array_of(got)] == [50, 120, 250]
    assert got.pixels.get("delay") == [10, 20, 30]
    assert got.encoding.format is None


def test_an_animation_with_a_soft_shadow_becomes_webp() -> None:
    frames = np.stack([np.full((30, 40, 4), value, np.uint8) for value in (50, 255)])
    got = use(border, picture(frames, "gif", delay=[10, 20]), shadow=True, shadowBlur=5)
    assert (got.frames, got.encoding.format) == (2, "webp")
    assert got.pixels.get("delay") == [10, 20]
    assert got.warnings == ("Written as WEBP: GIF cannot hold a soft shadow.",)


@pytest.mark.parametrize(
    ("format", "asked", "written"),
    [
        ("jpeg", {}, None),
        ("jpeg", {"borderRadius": 5}, "png"),
        ("jpeg", {"shadow": True}, "png"),
        ("webp", {"shadow": True}, None),
        ("avif", {"borderRadius": 5}, None),
        ("gif", {"borderRadius": 5}, None),
        ("gif", {"shadow": True}, "png"),
    ],
)
def test_the_format_changes_only_where_it_cannot_hold_the_result(format: str, asked: Any, written: str | None) -> None:
    got = use(border, picture(PHOTO, format), **asked)
    assert got.encoding.format == written
    assert bool(got.warnings) == (written is not None)


def test_a_wanted_format_without_alpha_becomes_png_too() -> None:
    assert use(border, encoded_as(picture(PHOTO), "jpeg"), shadow=True).encoding.format == "png"


def test_a_choice_among_formats_is_left_to_the_encoder() -> None:
    several = picture(PHOTO, "jpeg").encode_as(formats=("webp", "png"))
    assert use(border, several, shadow=True).encoding.formats == ("webp", "png")


@pytest.mark.parametrize("style", ["solid", "gradient", "pattern"])
@pytest.mark.parametrize("pattern", ["stripes", "dots", "checks"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2, 3)])
def test_tiny_and_thin_pictures_are_framed(style: str, pattern: str, size: tuple[int, int]) -> None:
    array = noise(*size[::-1])
    got = framed(array, width=3, style=style, pattern=pattern, borderRadius=2000, shadowBlur=2, shadowOffsetY=0)
    assert got.shape[:2] == (size[0] + 6 + 8, size[1] + 6 + 8)
    assert framed(array, width=1, style=style, pattern=pattern).shape[:2] == (size[0] + 2, size[1] + 2)


@pytest.mark.parametrize("asked", [{"style": "pattern"}, {"style": "gradient", "shadow": True}, {"padding": 9}])
def test_a_streamed_file_gives_the_same_pixels(asked: Any, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    array = gradient(300, 2000)
    PIL.Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    streamed = opened(buffer.getvalue(), tmp_path, sequential=border.sequential)
    got = array_of(use(border, streamed, borderRadius=120, **asked))
    assert (got == framed(array, borderRadius=120, **asked)).all()


def test_a_result_over_the_limits_is_refused_before_any_work() -> None:
    with pytest.raises(OutputTooLarge):
        framed(np.zeros((10, 14_000, 3), np.uint8), width=2000)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"width": -1}, "width"),
        ({"width": 2001}, "width"),
        ({"color": "red"}, "#RRGGBB"),
        ({"paddingColor": "#FFF"}, "#RRGGBB"),
        ({"style": "patern"}, "pattern"),
        ({"pattern": "dot"}, "dots"),
        ({"padding": 201}, "padding"),
        ({"shadowBlur": 0}, "shadowBlur"),
        ({"shadowOffsetX": 51}, "shadowOffsetX"),
        ({"shadowOpacity": 101}, "shadowOpacity"),
        ({"borderRadii": 3}, "borderRadius"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        border.settings.parse(asked)
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("border-mat", {"width": 6, "padding": 8, "color": "#5B3A1E"}),
        ("border-gradient", {"width": 14, "style": "gradient", "color": "#FF0080", "color2": "#00C0FF", "angle": 120}),
        ("border-dots", {"width": 14, "style": "pattern", "pattern": "dots", "color": "#203040", "color2": "#FFC000"}),
        ("border-shadow", {"width": 6, "borderRadius": 24, "color": "#FFFFFF", "shadow": True, "shadowBlur": 8}),
    ],
)
def test_looks_as_it_did_when_somebody_looked(name: str, asked: Any, golden: Any) -> None:
    photo = np.asarray(PIL.Image.fromarray(skimage.data.astronaut()).resize((130, 130)))
    golden(framed(photo, **asked), name, 2)
