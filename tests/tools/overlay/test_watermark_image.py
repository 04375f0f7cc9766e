"""Image watermark: its size, its place and its opacity, on every kind of picture."""

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, gradient, opened, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.overlay.watermark_image import watermark_image

GREY = np.full((300, 400, 3), 100, np.uint8)
RED = np.full((10, 20, 3), (255, 0, 0), np.uint8)


def marked(base: np.ndarray = GREY, mark: np.ndarray = RED, **asked: Any) -> np.ndarray:
    return array_of(use(watermark_image, picture(base), picture(mark), **{"opacity": 100, **asked}))


def changed_box(before: np.ndarray, after: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of what changed."""
    rows, columns = np.nonzero((before != after).any(axis=-1))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(
    ("position", "box"),
    [
        ("top-left", (20, 20, 120, 70)),
        ("top-right", (280, 20, 380, 70)),
        ("bottom-left", (20, 230, 120, 280)),
        ("bottom-right", (280, 230, 380, 280)),
        ("center", (150, 125, 250, 175)),
    ],
)
def test_a_quarter_of_the_width_20_pixels_from_its_corner(position: str, box: tuple[int, ...]) -> None:
    got = marked(position=position)
    assert changed_box(GREY, got) == box
    assert (got[box[1] : box[3], box[0] : box[2]] == (255, 0, 0)).all()


def test_the_default_is_half_opaque_at_the_bottom_right() -> None:
    plain = array_of(use(watermark_image, picture(GREY), picture(RED)))
    assert (plain == marked(opacity=50, position="bottom-right", scale=25, padding=20)).all()
    assert np.abs(plain[250, 300].astype(int) - (178, 50, 50)).max() <= 1


@pytest.mark.parametrize(("padding", "box"), [(0, (300, 250, 400, 300)), (7.5, (292, 242, 392, 292))])
def test_padding_is_the_distance_from_both_edges(padding: float, box: tuple[int, ...]) -> None:
    assert changed_box(GREY, marked(padding=padding)) == box


@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.floats(1, 100),
    st.sampled_from(["center", "top-left", "top-right", "bottom-left", "bottom-right"]),
    st.floats(0, 40),
)
def test_all_of_the_watermark_is_in_the_picture_in_its_own_ratio(
    base: tuple[int, int], mark: tuple[int, int], scale: float, position: str, padding: float
) -> None:
    paper = np.zeros((base[1], base[0], 3), np.uint8)
    asked = {"scale": scale, "position": position, "padding": padding}
    result = use(
        watermark_image, picture(paper), picture(np.full((mark[1], mark[0], 3), 255, np.uint8)), opacity=100, **asked
    )
    left, top, right, bottom = changed_box(paper, array_of(result))
    width, height = right - left, bottom - top
    wanted = max(1, np.floor(base[0] * scale / 100 + 0.5))
    free = wanted * mark[1] / mark[0]
    if free <= base[1]:
        assert width == wanted
        assert abs(height - free) <= 0.5 or height == 1
    else:
        assert height == base[1]
        assert abs(width - base[1] * mark[0] / mark[1]) <= 0.5 + 1e-9 or width in (1, wanted)
    gap = int(np.floor(padding + 0.5))
    if position == "center":
        assert abs(left - (base[0] - right)) <= 1
        assert abs(top - (base[1] - bottom)) <= 1
    else:
        assert (left if "left" in position else base[0] - right) == min(gap, base[0] - width)
        assert (top if "top" in position else base[1] - bottom) == min(gap, base[1] - height)
        tight = gap > min(base[0] - width, base[1] - height)
        assert any("no room" in text for text in result.warnings) == tight


def test_one_too_high_is_made_to_fit_and_that_is_said() -> None:
    tall = np.full((400, 100, 3), 255, np.uint8)
    result = use(watermark_image, picture(GREY), picture(tall), opacity=100, scale=50, padding=0)
    assert changed_box(GREY, array_of(result)) == (325, 0, 400, 300)
    assert result.warnings == ("The watermark was made 75×300 pixels, as more does not fit into the picture.",)


def test_padding_gives_way_to_size_and_that_is_said() -> None:
    result = use(watermark_image, picture(GREY), picture(RED), opacity=100, scale=100)
    assert changed_box(GREY, array_of(result)) == (0, 80, 400, 280)
    assert result.warnings == ("There was no room for a padding of 20 pixels beside the watermark.",)


def test_what_fits_is_no_reason_for_a_warning() -> None:
    assert use(watermark_image, picture(GREY), picture(RED)).warnings == ()


@pytest.mark.parametrize("size", [(120, 60), (31, 16)])
def test_it_is_scaled_as_well_as_an_independent_library_does(size: tuple[int, int]) -> None:
    disc = skimage.data.astronaut()[:256, 128:384]
    got = marked(np.zeros((size[0], size[0], 3), np.uint8), disc, scale=50, padding=0, position="top-left")
    side = round(size[0] / 2 + 1e-9)
    theirs = np.asarray(PIL.Image.fromarray(disc).resize((side, side), PIL.Image.Resampling.LANCZOS))
    assert np.abs(got[:side, :side].astype(float) - theirs).mean() < 2


def test_hidden_colour_never_shows_at_its_edges() -> None:
    logo = np.zeros((64, 64, 4), np.uint8)
    logo[..., 1] = 255
    logo[16:48, 16:48] = (255, 0, 0, 255)
    got = marked(np.zeros((100, 100, 3), np.uint8), logo, scale=37)
    assert got[..., 0].max() > 250
    assert got[..., 1].max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_of_both_pictures_follows_the_over_operator(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    base = np.full((40, 40, 4), (0, 0, top * 4 // 5, top // 2), dtype)
    mark = np.full((40, 40, 4), (top, 0, 0, top // 2), dtype)
    got = marked(base, mark, opacity=40, scale=50)[18, 18] / top
    over, below = mark[0, 0, 3] / top * 0.4, base[0, 0, 3] / top
    alpha = over + below * (1 - over)
    wanted = [over / alpha, 0, base[0, 0, 2] / top * below * (1 - over) / alpha, alpha]
    assert np.abs(got - wanted).max() < 1 / 255


def test_on_a_transparent_picture_the_watermark_keeps_its_own_alpha() -> None:
    got = marked(np.zeros((40, 40, 4), np.uint8), np.full((5, 5, 4), (10, 200, 30, 120), np.uint8), scale=50, padding=0)
    assert np.abs(got[30, 30].astype(int) - (10, 200, 30, 120)).max() <= 1
    assert (got[:20, :20] == 0).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mark", [np.full((4, 4, 1), 200, np.uint8), RED, np.full((4, 4, 3), 40_000, np.uint16)])
def test_depth_and_alpha_of_the_picture_survive(bands: int, dtype: Any, mark: np.ndarray) -> None:
    top = np.iinfo(dtype).max
    got = marked(np.full((80, 80, bands), top, dtype), mark)
    color = 1 if bands < 3 and mark.shape[2] == 1 else 3
    assert got.dtype == dtype
    assert got.shape[2] == color + (bands in (2, 4))
    assert np.abs(got[50, 50, :color] / top - mark[0, 0] / np.iinfo(mark.dtype).max).max() < 0.003
    assert (got[0, 0] == top).all()


def test_every_frame_is_marked() -> None:
    frames = np.stack([np.full((60, 90, 3), value, np.uint8) for value in (0, 100, 200)])
    result = use(watermark_image, picture(frames, "gif", delay=[10, 20, 30]), picture(RED), opacity=100, padding=5)
    got = array_of(result)
    assert {changed_box(before, after) for before, after in zip(frames, got, strict=True)} == {(62, 43, 85, 55)}
    assert result.pixels.get("delay") == [10, 20, 30]


def test_of_an_animated_watermark_the_first_frame_is_used_and_that_is_said() -> None:
    frames = np.stack([np.full((10, 20, 3), value, np.uint8) for value in (200, 10)])
    result = use(watermark_image, picture(GREY), picture(frames, "gif"), opacity=100)
    assert changed_box(GREY, array_of(result)) == (280, 230, 380, 280)
    assert (array_of(result)[250, 300] == 200).all()
    assert result.warnings == ("Only the first frame of the watermark was used.",)


def test_a_large_watermark_is_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    mark = tmp_path / "mark.jpg"
    PIL.Image.fromarray(gradient(1600, 800)).save(mark, quality=95)
    (tmp_path / "open").mkdir()
    watermark = opened(mark.read_bytes(), tmp_path / "open")
    asked: list[float] = []
    reload = watermark.reload
    assert reload is not None
    object.__setattr__(watermark, "reload", lambda scale: asked.append(scale) or reload(scale))
    got = array_of(use(watermark_image, picture(GREY), watermark, opacity=100))[230:280, 280:380]
    theirs = np.asarray(PIL.Image.open(mark).resize((100, 50), PIL.Image.Resampling.LANCZOS)).astype(float)
    assert asked == [1 / 16]
    assert np.abs(got - theirs).mean() < 2


@pytest.mark.parametrize("position", ["top-left", "bottom-right"])
def test_pictures_that_stream_are_read_in_order(position: str, tmp_path: Path) -> None:
    # libvips closes what it has passed by about a thousand lines.
    base = gradient(200, 3000)
    PIL.Image.fromarray(base).save(tmp_path / "base.png")
    PIL.Image.fromarray(RED).save(tmp_path / "mark.png")
    (tmp_path / "open").mkdir()
    lower = opened((tmp_path / "base.png").read_bytes(), tmp_path)
    upper = opened((tmp_path / "mark.png").read_bytes(), tmp_path / "open")
    got = array_of(use(watermark_image, lower, upper, position=position, padding=0, scale=10))
    wanted = base.astype(float)
    place = (slice(10), slice(20)) if position == "top-left" else (slice(-10, None), slice(-20, None))
    wanted[place] = (wanted[place] + (255, 0, 0)) / 2
    assert np.abs(got - wanted).max() <= 1.25


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2000, 3), (2000, 1, 4), (3, 3, 1)])
@pytest.mark.parametrize("mark", [(1, 1, 3), (1, 300, 4), (300, 1, 2)])
@pytest.mark.parametrize("position", ["center", "bottom-right"])
def test_degenerate_pictures_work(shape: tuple[int, ...], mark: tuple[int, ...], position: str) -> None:
    got = marked(np.zeros(shape, np.uint8), np.full(mark, 255, np.uint8), position=position, scale=100)
    assert got.shape[:2] == shape[:2]
    assert got.max() == 255


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"opacity": 0.5}, "Did you mean 50?"),
        ({"opacity": 101}, "opacity"),
        ({"scale": 0.5}, "scale"),
        ({"scale": 101}, "scale"),
        ({"padding": -1}, "padding"),
        ({"padding": 1001}, "padding"),
        ({"position": "top"}, "top-left"),
        ({"size": 3}, "scale"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        watermark_image.settings.parse(asked)
    assert words in refused.value.message


def test_both_pictures_are_required() -> None:
    assert [(i.name, i.required) for i in watermark_image.inputs] == [("image", True), ("watermark", True)]
    assert not watermark_image.pipeline_step


def test_what_it_looks_like(golden: Any) -> None:
    down, across = np.mgrid[0:120, 0:200]
    inside = np.clip(8 - np.abs(np.hypot(across - 100, (down - 60) * 1.6) - 50), 0, 1)
    logo = np.stack([np.full_like(inside, 255)] * 3 + [inside * 255], -1).astype(np.uint8)
    photo = skimage.data.astronaut()[:200, 130:330]
    golden(marked(photo, logo, scale=60, opacity=70, padding=10), "watermark-image-corner", tolerance=2)
