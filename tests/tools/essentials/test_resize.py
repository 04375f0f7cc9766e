"""Resize: exact sizes, faithful pixels, every kind of picture."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, encoded_as, gradient, noise, picture, use

from darkroom_tools.errors import InvalidSettings, OutputTooLarge, ProcessingFailed
from darkroom_tools.essentials.resize import resize
from darkroom_tools.kit.presets import social_presets

sides = st.integers(1, 60)


def size_of(image: Any) -> tuple[int, int]:
    return image.width, image.height


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ({"width": 50}, (50, 33)),
        ({"height": 50}, (75, 50)),
        ({"width": 1}, (1, 1)),
        ({"percentage": 50}, (150, 100)),
        ({"percentage": 0.1}, (1, 1)),
        ({"percentage": 50, "width": 7, "height": 7}, (150, 100)),
        ({"width": 100, "height": 100}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "contain"}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "cover"}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "fill"}, (100, 100)),
        ({"width": 100, "height": 100, "fit": "inside"}, (100, 67)),
        ({"width": 100, "height": 100, "fit": "outside"}, (150, 100)),
        ({"width": 600}, (600, 400)),
        ({"width": 600, "withoutEnlargement": True}, (300, 200)),
        ({"percentage": 200, "withoutEnlargement": True}, (300, 200)),
        ({"width": 600, "height": 100, "fit": "fill", "withoutEnlargement": True}, (300, 100)),
        ({"width": 600, "height": 600, "fit": "inside", "withoutEnlargement": True}, (300, 200)),
        ({"width": 600, "height": 100, "fit": "outside", "withoutEnlargement": True}, (300, 200)),
        ({"width": 600, "height": 600, "fit": "contain", "withoutEnlargement": True}, (600, 600)),
        ({"width": 600, "height": 100, "fit": "cover", "withoutEnlargement": True}, (300, 100)),
        ({"preset": "Instagram/Post (Square)"}, (1080, 1080)),
        ({"preset": "instagram / story/reel"}, (1080, 1920)),
        ({"preset": "YouTube/Thumbnail", "fit": "inside"}, (1080, 720)),
        ({"preset": "YouTube/Thumbnail", "fit": "contain"}, (1280, 720)),
        ({"preset": "WhatsApp/Profile Picture", "width": 250}, (250, 500)),
    ],
)
def test_a_picture_of_300_by_200_becomes_exactly_the_size_asked_for(asked: Any, got: tuple[int, int]) -> None:
    assert size_of(use(resize, picture(gradient(300, 200)), **asked)) == got


@pytest.mark.parametrize(("numerator", "rounded_up"), [(3, 2), (5, 3), (1, 1)])
def test_halves_round_up(numerator: int, rounded_up: int) -> None:
    assert size_of(use(resize, picture(gradient(2, numerator)), width=1)) == (1, rounded_up)


def test_all_23_presets_give_their_size() -> None:
    assert len(social_presets()) == 23
    for name, size in social_presets().items():
        assert size_of(use(resize, picture(gradient(4, 3)), preset=name)) == size


@given(sides, sides, sides, sides, st.booleans())
def test_inside_never_leaves_the_box_and_touches_it(w: int, h: int, box_w: int, box_h: int, limit: bool) -> None:
    asked = {"width": box_w, "height": box_h, "fit": "inside", "withoutEnlargement": limit}
    got_w, got_h = size_of(use(resize, picture(gradient(w, h)), **asked))
    assert got_w <= box_w
    assert got_h <= box_h
    if not limit:
        assert got_w == box_w or got_h == box_h
    elif w <= box_w and h <= box_h:
        assert (got_w, got_h) == (w, h)


@given(sides, sides, sides, sides)
def test_every_fit_keeps_its_promise_about_the_box(w: int, h: int, box_w: int, box_h: int) -> None:
    image = picture(gradient(w, h))
    for fit in ("contain", "cover", "fill"):
        got = use(resize, image, width=box_w, height=box_h, fit=fit)
        assert size_of(got) == (box_w, box_h)
        assert array_of(got).shape[:2] == (box_h, box_w)
    outside = size_of(use(resize, image, width=box_w, height=box_h, fit="outside"))
    assert outside[0] >= box_w
    assert outside[1] >= box_h
    assert outside[0] == box_w or outside[1] == box_h


@given(sides, sides, sides)
def test_one_side_keeps_the_ratio_to_half_a_pixel(w: int, h: int, wanted: int) -> None:
    assert size_of(use(resize, picture(gradient(w, h)), width=wanted)) == (
        wanted,
        max(1, math.floor(h * wanted / w + 0.5)),
    )


def test_pixels_agree_with_an_independent_lanczos() -> None:
    photo = skimage.data.astronaut()
    ours = array_of(use(resize, picture(photo), width=200, height=150, fit="fill"))
    theirs = np.asarray(PIL.Image.fromarray(photo).resize((200, 150), PIL.Image.Resampling.LANCZOS))
    error = ours.astype(float) - theirs
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 45
    assert abs(error.mean()) < 0.2


def test_cover_cuts_both_ends_alike_and_fills_the_box() -> None:
    array = np.zeros((100, 300, 3), np.uint8)
    array[:, 100:200] = (255, 0, 0)
    covered = array_of(use(resize, picture(array), width=50, height=50, fit="cover"))
    assert np.abs(covered[:, 4:-4].astype(int) - (255, 0, 0)).max() <= 2
    assert (covered == covered[:, ::-1]).all()


def test_contain_pads_white_where_the_format_has_no_alpha() -> None:
    padded = array_of(use(resize, picture(np.zeros((50, 100, 3), np.uint8), "jpeg"), width=100, height=100))
    assert padded.shape == (100, 100, 3)
    assert (padded[:25] == 255).all()
    assert (padded[75:] == 255).all()
    assert (padded[25:75] == 0).all()


@pytest.mark.parametrize("format", ["png", "webp", "avif", "gif", "tiff"])
def test_contain_pads_transparent_where_the_format_has_alpha(format: str) -> None:
    padded = array_of(use(resize, picture(np.full((50, 100, 3), 9, np.uint8), format), width=100, height=100))
    assert padded.shape == (100, 100, 4)
    assert (padded[:25, :, 3] == 0).all()
    assert (padded[25:75] == (9, 9, 9, 255)).all()


def test_contain_follows_the_format_that_will_be_written() -> None:
    source = picture(np.zeros((5, 10, 3), np.uint8), "png")
    assert array_of(use(resize, encoded_as(source, "jpeg"), width=10, height=10)).shape[2] == 3


def test_grey_stays_grey_and_pads_in_its_own_white() -> None:
    padded = array_of(use(resize, picture(np.zeros((10, 20), np.uint16), "jpeg"), width=20, height=20))
    assert padded.dtype == np.uint16
    assert padded.shape == (20, 20, 1)
    assert padded[0, 0] == 65535


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_and_bands_survive(bands: int, dtype: Any) -> None:
    array = gradient(64, 48, bands, dtype)
    smaller = array_of(use(resize, picture(array), width=32))
    assert smaller.dtype == dtype
    assert smaller.shape == (24, 32, bands)
    means = array.reshape(-1, 2, array.shape[1], bands)[..., -1].mean(), smaller[..., -1].mean()
    assert means[0] == pytest.approx(means[1], rel=0.01)


def test_16_bit_keeps_more_than_256_levels() -> None:
    assert len(np.unique(array_of(use(resize, picture(gradient(3000, 2, 1, np.uint16)), width=1500)))) > 1000


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hidden_colour_never_bleeds_into_visible_edges(dtype: Any) -> None:
    top = np.iinfo(dtype).max
    array = np.zeros((40, 40, 4), dtype)
    array[:, :20] = (top, 0, 0, top)
    array[:, 20:] = (0, top, 0, 0)
    for width in (13, 90):
        got = array_of(use(resize, picture(array), width=width))
        visible = got[got[..., 3] > top // 50]
        assert visible[:, 1].max() <= top // 100
        assert visible[:, 0].min() >= top - top // 50


def test_every_frame_of_an_animation_is_scaled_alone() -> None:
    frames = np.stack([np.full((20, 40, 3), value, np.uint8) for value in (0, 128, 255)])
    got = use(resize, picture(frames, "gif", delay=[40, 50, 60]), width=10, height=10, fit="cover")
    assert (got.frames, got.width, got.height) == (3, 10, 10)
    assert [frame.min() for frame in array_of(got)] == [frame.max() for frame in array_of(got)] == [0, 128, 255]
    assert got.pixels.get("delay") == [40, 50, 60]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4), (1, 1, 1)])
@pytest.mark.parametrize("fit", ["contain", "cover", "fill", "inside", "outside"])
def test_degenerate_pictures_work(shape: tuple[int, ...], fit: str) -> None:
    image = picture(np.full(shape, 77, np.uint8))
    if fit == "outside" and max(shape) == 3000:
        with pytest.raises(OutputTooLarge):
            use(resize, image, width=64, height=64, fit=fit)
        return
    got = array_of(use(resize, image, width=64, height=64, fit=fit))
    assert (got == 77).any()


def test_a_line_that_cannot_cover_a_large_box_is_refused() -> None:
    line = picture(np.zeros((1, 32768, 3), np.uint8))
    with pytest.raises(ProcessingFailed) as refused:
        use(resize, line, width=9999, height=9999, fit="cover")
    assert "32768×1" in refused.value.message


def test_the_cheaper_decode_is_asked_for_and_the_size_is_still_exact() -> None:
    asked: list[float] = []
    array = gradient(400, 300)

    def reload(scale: float) -> Any:
        asked.append(scale)
        return picture(array[::2, ::2]).pixels

    got = use(resize, replace(picture(array), reload=reload), width=101, height=77, fit="cover")
    assert asked == [pytest.approx(103 / 400, abs=0.002)]
    assert array_of(got).shape == (77, 101, 3)
    assert got.reload is None
    use(resize, replace(picture(array), reload=reload), width=500)
    assert len(asked) == 1, "an enlargement needs all pixels"


def test_nothing_to_do_changes_no_pixel() -> None:
    array = noise(40, 30, 4)
    assert (array_of(use(resize, picture(array), width=40)) == array).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "at least one of 'width'"),
        ({"fit": "cover"}, "at least one of 'width'"),
        ({"width": 0}, "width"),
        ({"width": 16385}, "16384"),
        ({"percentage": 0}, "percentage"),
        ({"percentage": float("inf")}, "percentage"),
        ({"width": 5, "fit": "stretch"}, "fit"),
        ({"preset": "Instagram/Post"}, "Instagram/Post (Square)"),
        ({"preset": "nowhere"}, "Pinterest/Pin"),
        ({"width": 5, "contentAware": True}, "contentAware"),
        ({"width": 5, "contentAware": "no"}, "contentAware"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        resize.settings.parse(asked)
    assert words in refused.value.message


def test_content_aware_switched_off_is_accepted() -> None:
    assert resize.settings.parse({"width": 5, "contentAware": False}) == resize.settings.parse({"width": 5})


@pytest.mark.parametrize(
    "asked",
    [{"percentage": 1e300}, {"percentage": 10_000}, {"width": 16384, "height": 16384}, {"width": 16000}],
)
def test_results_over_the_limits_are_refused_before_any_pixel_is_made(asked: Any) -> None:
    def reload(scale: float) -> Any:
        raise AssertionError("pixels were asked for")

    with pytest.raises(OutputTooLarge) as refused:
        use(resize, replace(picture(gradient(300, 200)), reload=reload), **asked)
    assert "16384" in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    photo = skimage.data.chelsea()
    golden(array_of(use(resize, picture(photo), width=160, height=160)), "resize-contain", tolerance=2)
    golden(array_of(use(resize, picture(photo), width=120, height=160, fit="cover")), "resize-cover", tolerance=2)
