"""Composition: every blend mode by the published formulas, on every kind of picture, wherever the overlay lies."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, gradient, noise, opened, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.overlay.compose import compose

Values = np.ndarray


def hard_light(below: Values, above: Values) -> Values:
    return np.where(above <= 0.5, 2 * below * above, 1 - (1 - below) * (2 - 2 * above))


def soft_light(below: Values, above: Values) -> Values:
    bend = np.where(below <= 0.25, ((16 * below - 12) * below + 4) * below, np.sqrt(below))
    return np.where(
        above <= 0.5, below - (1 - 2 * above) * below * (1 - below), below + (2 * above - 1) * (bend - below)
    )


FORMULAS: Mapping[str, Callable[[Values, Values], Values]] = {
    "over": lambda below, above: above,
    "multiply": lambda below, above: below * above,
    "screen": lambda below, above: 1 - (1 - below) * (1 - above),
    "overlay": lambda below, above: hard_light(above, below),
    "darken": np.minimum,
    "lighten": np.maximum,
    "hard-light": hard_light,
    "soft-light": soft_light,
    "difference": lambda below, above: np.abs(below - above),
    "exclusion": lambda below, above: below + above - 2 * below * above,
}
every_blend = pytest.mark.parametrize("blend", FORMULAS)


def parted(array: Values, bands: int) -> tuple[Values, Values]:
    """Colour with that many bands, and alpha, both 0 to 1."""
    shares = array / np.iinfo(array.dtype).max
    alpha = shares[..., -1:] if array.shape[-1] in (2, 4) else np.ones((*array.shape[:-1], 1))
    color = shares[..., : 1 if array.shape[-1] < 3 else 3]
    return np.broadcast_to(color, (*array.shape[:-1], bands)), alpha


def by_the_book(base: Values, upper: Values, blend: str, opacity: float) -> Values:
    """W3C Compositing and Blending Level 1: section 5.1 over the result of section 10, in the base's bands."""
    bands = 3 if max(base.shape[-1], upper.shape[-1]) > 2 else 1
    (below, alpha_below), (above, alpha_above) = parted(base, bands), parted(upper, bands)
    alpha_above = alpha_above * opacity
    mixed = (1 - alpha_below) * above + alpha_below * FORMULAS[blend](below, above)
    alpha = alpha_above + alpha_below * (1 - alpha_above)
    color = alpha_above * mixed + alpha_below * below * (1 - alpha_above)
    color = np.divide(color, alpha, out=np.zeros_like(color), where=alpha > 0)
    result = np.concatenate([color, alpha], -1) if base.shape[-1] in (2, 4) else color
    return result * np.iinfo(base.dtype).max


def laid(base: Values, upper: Values, **asked: Any) -> Values:
    return array_of(use(compose, picture(base), picture(upper), **asked))


@every_blend
@pytest.mark.parametrize("bands", [(3, 3), (3, 4), (4, 4), (1, 2), (2, 1), (1, 4), (4, 2)])
@pytest.mark.parametrize(("dtype", "opacity"), [(np.uint8, 100), (np.uint8, 35), (np.uint16, 60)])
def test_every_pixel_is_what_the_formulas_say(blend: str, bands: tuple[int, int], dtype: Any, opacity: float) -> None:
    base, upper = noise(30, 30, bands[0], dtype, seed=1), noise(30, 30, bands[1], dtype, seed=2)
    got = laid(base, upper, blend=blend, opacity=opacity)
    wanted = by_the_book(base, upper, blend, opacity / 100)
    assert got.dtype == dtype
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= (1.25 if dtype == np.uint8 else 0.6)


@every_blend
def test_black_white_and_grey_pixels_meet_as_published(blend: str) -> None:
    levels = np.array([0, 64, 128, 191, 255], np.uint8)
    base = np.repeat(levels, 5).reshape(5, 5, 1)
    upper = base.transpose(1, 0, 2).copy()
    assert np.abs(laid(base, upper, blend=blend) - by_the_book(base, upper, blend, 1)).max() <= 0.5


@pytest.mark.parametrize(("blend", "value"), [("over", 200), ("multiply", 78), ("difference", 100), ("screen", 222)])
def test_a_pixel_worked_out_by_hand(blend: str, value: int) -> None:
    assert laid(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1, 3), 200, np.uint8), blend=blend).tolist() == [
        [[value] * 3]
    ]


@every_blend
def test_a_transparent_overlay_changes_nothing(blend: str) -> None:
    base, clear = noise(30, 20), noise(30, 20, 4)
    clear[..., 3] = 0
    assert (laid(base, clear, blend=blend) == base).all()


@every_blend
def test_on_a_transparent_picture_the_overlay_is_as_it_was(blend: str) -> None:
    clear, upper = noise(30, 20, 4), noise(30, 20, 4, seed=3)
    clear[..., 3], upper[..., 3] = 0, 255
    assert (laid(clear, upper, blend=blend) == upper).all()


@pytest.mark.parametrize(("base", "upper"), [(np.uint8, np.uint16), (np.uint16, np.uint8)])
def test_the_overlay_takes_the_depth_of_the_picture(base: Any, upper: Any) -> None:
    above = noise(30, 20, 4, upper)
    above[..., 3] = np.iinfo(upper).max
    got = laid(np.zeros((20, 30, 4), base), above)
    wanted = above.astype(float) * (np.iinfo(base).max / np.iinfo(upper).max)
    assert got.dtype == base
    assert np.abs(got - wanted).max() <= 0.5


@given(st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 4]))
def test_only_the_overlap_changes_wherever_the_overlay_lies(
    x: int, y: int, width: int, height: int, bands: int
) -> None:
    base, upper = noise(30, 20, bands), noise(width, height, seed=5)
    canvas = np.pad(base, ((100, 100), (100, 100), (0, 0)))
    part = canvas[100 + y : 100 + y + height, 100 + x : 100 + x + width]
    part[..., :3] = upper
    part[..., 3:] = 255
    result = use(compose, picture(base), picture(upper), x=x, y=y)
    assert (array_of(result) == canvas[100:120, 100:130]).all()
    apart = x >= 30 or y >= 20 or x + width <= 0 or y + height <= 0
    assert bool(result.warnings) == apart


def test_an_overlay_that_misses_leaves_the_picture_as_it_is_and_says_so() -> None:
    base = picture(noise(30, 20, 1))
    result = use(compose, base, picture(noise(5, 5)), x=30, y=0)
    assert result.pixels is base.pixels
    assert result.warnings == (
        "Nothing changed: the overlay of 5×5 pixels at x 30, y 0 lies outside the picture of 30×20.",
    )


def test_far_away_is_no_error() -> None:
    assert (laid(noise(5, 5), noise(5, 5), x=10**12, y=-(10**12)) == noise(5, 5)).all()


def test_an_invisible_overlay_leaves_the_picture_as_it_is() -> None:
    base = picture(noise(30, 20, 1))
    assert use(compose, base, picture(noise(5, 5)), opacity=0).pixels is base.pixels


def test_every_frame_of_an_animation_gets_the_overlay() -> None:
    frames = np.stack([noise(30, 20, 4, seed=n) for n in range(3)])
    upper = noise(12, 9, 4, seed=9)
    result = use(compose, picture(frames, "gif", delay=[10, 20, 30]), picture(upper), x=25, y=-2, blend="screen")
    got = array_of(result)
    for before, after in zip(frames, got, strict=True):
        wanted = before.astype(float)
        wanted[:7, 25:] = by_the_book(before[:7, 25:], upper[2:, :5], "screen", 1)
        assert np.abs(after - wanted).max() <= 0.51
    assert result.pixels.get("delay") == [10, 20, 30]


def test_of_an_animated_overlay_the_first_frame_is_used_and_that_is_said() -> None:
    frames = np.stack([noise(8, 6, seed=n) for n in range(3)])
    result = use(compose, picture(noise(30, 20)), picture(frames, "gif"), x=3, y=4)
    assert (array_of(result)[4:10, 3:11] == frames[0]).all()
    assert result.frames == 1
    assert result.warnings == ("Only the first frame of the overlay was used.",)


def test_what_was_lost_of_the_overlay_is_said() -> None:
    upper = picture(noise(8, 6)).warn("The file has 3 pages; only the first is used.")
    result = use(compose, picture(noise(30, 20)), upper)
    assert result.warnings == ("Overlay: The file has 3 pages; only the first is used.",)


def test_nothing_of_the_overlays_metadata_reaches_the_result(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x010F] = "Maker"
    profile = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()
    upper = tmp_path / "upper.png"
    PIL.Image.fromarray(noise(30, 20)).save(upper, exif=exif, icc_profile=profile)
    pixels = use(compose, picture(noise(30, 20)), opened(upper.read_bytes(), tmp_path), blend="screen").pixels
    assert not {"exif-data", "icc-profile-data", "exif-ifd0-Make"} & set(pixels.get_fields())


@pytest.mark.parametrize(("asked", "top"), [({}, 0), ({"blend": "multiply", "y": 40}, 40), ({"y": -60}, -60)])
def test_pictures_that_stream_are_read_in_order(asked: Any, top: int, tmp_path: Path) -> None:
    # libvips closes what it has passed by about a thousand lines.
    base, upper = gradient(200, 3000), noise(30, 100, 4)
    for name, array in (("base", base), ("upper", upper)):
        PIL.Image.fromarray(array).save(tmp_path / f"{name}.png")
        (tmp_path / name).mkdir()
    lower = opened((tmp_path / "base.png").read_bytes(), tmp_path / "base")
    above = opened((tmp_path / "upper.png").read_bytes(), tmp_path / "upper")
    got = array_of(use(compose, lower, above, x=5, **asked))
    wanted = base.astype(float)
    seen = upper[max(0, -top) :]
    place = slice(max(0, top), max(0, top) + len(seen)), slice(5, 35)
    wanted[place] = by_the_book(base[place], seen, asked.get("blend", "over"), 1)
    assert np.abs(got - wanted).max() <= 1.01


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2000, 3), (2000, 1, 4), (1, 1, 1)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    base = np.full(shape, 200, np.uint8)
    got = laid(base, base, blend="difference").reshape(shape)
    assert np.abs(got - by_the_book(base, base, "difference", 1)).max() <= 0.51
    assert laid(noise(5, 5), base).shape == (5, 5, 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"opacity": 0.5}, "Did you mean 50?"),
        ({"opacity": 101}, "opacity"),
        ({"opacity": -1}, "opacity"),
        ({"blend": "colour-burn"}, "multiply"),
        ({"blend": "softlight"}, "Did you mean 'soft-light'?"),
        ({"x": 1.5}, "x"),
        ({"left": 3}, "x, y, opacity, blend"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        compose.settings.parse(asked)
    assert words in refused.value.message


def test_blend_mode_is_another_name_for_blend() -> None:
    assert compose.settings.parse({"blendMode": "screen"}) == compose.settings.parse({"blend": "screen"})


def test_both_pictures_are_required() -> None:
    assert [(i.name, i.required) for i in compose.inputs] == [("image", True), ("overlay", True)]
    assert not compose.pipeline_step


def test_what_it_looks_like(golden: Any) -> None:
    photo = skimage.data.astronaut()[:150, 150:300]
    light = gradient(60, 60, 4)
    for n, blend in enumerate(("over", "multiply", "screen", "soft-light")):
        photo = laid(photo, light, x=-10 + n % 2 * 85, y=10 + n // 2 * 75, blend=blend)
    golden(photo, "compose-blends", tolerance=2)
