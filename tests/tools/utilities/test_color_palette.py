"""Color Palette: exact where colours are few, near an exhaustive search where they are many."""

import itertools
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.codec import bytes_of, opened
from support.pictures import noise, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.palette import main_colors, oklab
from darkroom_tools.utilities.color_palette import Palette, color_palette

FIVE = [((200, 30, 40), 40), ((20, 160, 70), 25), ((30, 60, 200), 20), ((250, 240, 10), 10), ((5, 5, 5), 5)]
"""Colours, each with the number of rows out of a hundred."""


def stripes(colors: list[tuple[tuple[int, ...], int]], width: int = 30) -> np.ndarray:
    rows = itertools.chain.from_iterable([color] * count for color, count in colors)
    return np.repeat(np.array(list(rows), np.uint8)[:, None], width, axis=1)


def palette(array: np.ndarray, **asked: Any) -> Palette:
    found = use(color_palette, picture(array), **asked)
    assert isinstance(found, Palette)
    assert found.count == len(found.colors) == len(found.shares)
    return found


def rgb(found: Palette) -> np.ndarray:
    return np.array([list(bytes.fromhex(color[1:])) if isinstance(color, str) else color for color in found.colors])


@pytest.mark.parametrize("count", [5, 8, 32])
def test_five_colours_are_found_exactly_with_their_shares(count: int) -> None:
    found = palette(stripes(FIVE), count=count)
    assert found.colors == ["#C81E28", "#14A046", "#1E3CC8", "#FAF00A", "#050505"]
    assert found.shares == [0.4, 0.25, 0.2, 0.1, 0.05]


def test_rgb_triplets_on_demand() -> None:
    found = palette(stripes(FIVE), count=5, format="rgb")
    assert found.model_dump(mode="json", by_alias=True)["colors"] == [list(color) for color, _ in FIVE]


def test_flat_colours_stay_exact_where_more_are_there_than_asked_for() -> None:
    # Soft edges, as anti-aliasing leaves them, are no colours of their own.
    soft = np.asarray(PIL.Image.fromarray(stripes(FIVE, 100)).resize((150, 151), PIL.Image.Resampling.BICUBIC))
    assert len(np.unique(soft.reshape(-1, 3), axis=0)) > 8
    found = palette(soft, count=5)
    assert {tuple(color) for color in rgb(found)} == {color for color, _ in FIVE}
    assert np.allclose(found.shares, [0.4, 0.25, 0.2, 0.1, 0.05], atol=0.02)


def test_large_pictures_are_sampled_evenly() -> None:
    large = np.repeat(np.repeat(stripes(FIVE), 13, axis=0), 41, axis=1)
    found = palette(large, count=5)
    assert {tuple(color) for color in rgb(found)} == {color for color, _ in FIVE}
    assert np.allclose(found.shares, [0.4, 0.25, 0.2, 0.1, 0.05], atol=0.01)


def test_noise_about_few_colours_gives_few_colours() -> None:
    grain = np.random.default_rng(1).normal(0, 2, (100, 300, 3))
    rough = np.clip(stripes(FIVE, 300) + grain, 0, 255).astype(np.uint8)
    found = palette(rough, count=16)
    assert found.count == 5
    assert np.abs(np.sort(rgb(found), axis=0) - np.sort([color for color, _ in FIVE], axis=0)).max() <= 3
    assert sum(found.shares) == pytest.approx(1, abs=0.001)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=32, unique=True))
def test_no_more_colours_than_asked_means_all_of_them(colors: list[tuple[int, int, int]]) -> None:
    counts = range(len(colors), 0, -1)
    found = palette(stripes(list(zip(colors, counts, strict=True)), 1), count=32)
    assert [tuple(color) for color in rgb(found).tolist()] == colors
    assert np.allclose(found.shares, [count / sum(counts) for count in counts], atol=6e-5)


def test_one_colour_is_the_mean_or_the_majority() -> None:
    found = palette(noise(100, 100), count=1)
    assert np.abs(rgb(found) - 127.5).max() <= 3
    most = stripes([((10, 20, 30), 60), ((200, 0, 0), 40)])
    assert palette(most, count=1).colors == ["#0A141E"]


@pytest.mark.parametrize("count", [4, 8, 16])
def test_it_describes_a_photo_better_than_pillows_median_cut(count: int) -> None:
    photo = PIL.Image.fromarray(skimage.data.coffee()).resize((240, 160))
    flat = oklab(np.asarray(photo).reshape(-1, 3))

    def error(colors: np.ndarray) -> float:
        distances = ((flat[:, None] - oklab(colors)[None]) ** 2).sum(axis=-1)
        return float(distances.min(axis=1).mean())

    theirs = photo.quantize(count, PIL.Image.Quantize.MEDIANCUT).getpalette()
    assert theirs is not None
    ours = rgb(palette(np.asarray(photo), count=count))
    assert error(ours) < error(np.reshape(theirs[: 3 * count], (-1, 3)))


def test_oklab_is_that_of_its_publication() -> None:
    # XYZ (0.950, 1, 1.089) is (1, 0, 0); sRGB red as computed with the author's code.
    white, red, grey = oklab(np.array([[255, 255, 255], [255, 0, 0], [119, 119, 119]]))
    assert np.allclose(white, [1, 0, 0], atol=1e-3)
    assert np.allclose(red, [0.62796, 0.22486, 0.12585], atol=1e-4)
    assert np.allclose(grey[1:], 0, atol=1e-6)


def test_the_same_picture_has_the_same_palette_whatever_the_order_of_its_pixels() -> None:
    pixels = skimage.data.coffee()[::4, ::4].reshape(-1, 3)
    shuffled = np.random.default_rng(0).permutation(pixels)
    assert main_colors(pixels, 8) == main_colors(shuffled, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_transparent_pixels_do_not_count(dtype: Any) -> None:
    scale = np.iinfo(dtype).max // 255
    array = np.zeros((10, 10, 4), dtype)
    array[:, :2] = np.multiply((255, 0, 0, 255), scale)
    array[:, 2:8] = np.multiply((0, 255, 0, 100), scale)
    array[:, 8:] = np.multiply((0, 0, 255, 128), scale)
    found = palette(array)
    assert (set(found.colors), found.shares) == ({"#FF0000", "#0000FF"}, [0.5, 0.5])


def test_nothing_visible_has_no_colours() -> None:
    found = palette(np.zeros((5, 5, 4), np.uint8))
    assert (found.colors, found.count, found.shares) == ([], 0, [])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pictures_have_grey_colours(dtype: Any) -> None:
    array = np.full((10, 10, 1), 51 * (np.iinfo(dtype).max // 255), dtype)
    assert palette(array).colors == ["#333333"]


def test_all_frames_of_an_animation_count() -> None:
    frames = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 128, 255)])
    found = use(color_palette, picture(frames, "gif"))
    assert set(found.colors) == {"#000000", "#808080", "#FFFFFF"}


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 200_000, 3), (300_000, 1, 4), (1, 1, 2)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    assert palette(np.full(shape, 255, np.uint8)).colors == ["#FFFFFF"]


def test_a_stream_gives_what_a_picture_in_memory_gives(tmp_path: Any) -> None:
    photo = skimage.data.astronaut()
    (tmp_path / "photo").write_bytes(bytes_of(PIL.Image.fromarray(photo)))
    assert use(color_palette, opened(tmp_path / "photo", sequential=True)) == palette(photo)


def test_a_reduced_jpeg_has_the_colours_of_the_whole(tmp_path: Any) -> None:
    photo = PIL.Image.fromarray(skimage.data.coffee()).resize((2400, 1600))
    (tmp_path / "photo").write_bytes(bytes_of(photo, "jpeg"))
    fast, whole = use(color_palette, opened(tmp_path / "photo")), palette(np.asarray(photo))
    distances = np.abs(rgb(fast)[:, None].astype(int) - rgb(whole)[None]).max(axis=-1).min(axis=1)
    assert np.median(distances) <= 8


@pytest.mark.parametrize(
    ("asked", "words"),
    [({"count": 0}, "count"), ({"count": 33}, "32"), ({"format": "hsl"}, "rgb"), ({"colors": 5}, "count")],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        color_palette.settings.parse(asked)
    assert words in refused.value.message
