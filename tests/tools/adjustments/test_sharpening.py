"""Sharpening: each mode against SciPy, NumPy or Pillow; flat areas stay flat, alpha and hidden colour stay out of it."""

from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageFilter
import pytest
import scipy.ndimage
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.codec import bytes_of, opened
from support.pictures import array_of, noise, picture, use

from darkroom_tools.adjustments.sharpening import sharpening
from darkroom_tools.errors import InvalidSettings

PHOTO = skimage.data.astronaut()[100:180, 180:290]
LUMA = np.array([0.2126, 0.7152, 0.0722])
MODES = [{"mode": "adaptive"}, {"mode": "unsharp", "amount": 150}, {"mode": "highpass"}, {"denoise": "light"}]


def sharpened(array: np.ndarray, **asked: Any) -> np.ndarray:
    return array_of(use(sharpening, picture(array), **asked))


def blurred(array: np.ndarray, sigma: float) -> np.ndarray:
    """By SciPy, which cuts the bell off later."""
    return scipy.ndimage.gaussian_filter(array.astype(float), (sigma, sigma, 0)[: array.ndim], mode="nearest")


def limited(values: np.ndarray, white: int = 255) -> np.ndarray:
    return np.clip(values, 0, white)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize(("radius", "amount"), [(0.1, 200), (0.5, 100), (1, 100), (2, 150), (5, 60)])
def test_unsharp_adds_the_difference_from_the_blur(bands: int, radius: float, amount: float) -> None:
    photo = PHOTO[..., :bands]
    wanted = photo + amount / 100 * (photo - blurred(photo, radius))
    got = sharpened(photo, mode="unsharp", radius=radius, amount=amount)
    assert np.abs(got - limited(wanted)).max() <= 2
    assert np.abs(got - limited(wanted)).mean() <= 0.4


def test_unsharp_looks_like_that_of_pillow() -> None:
    theirs = PIL.Image.fromarray(PHOTO).filter(PIL.ImageFilter.UnsharpMask(radius=2, percent=120, threshold=4))
    ours = sharpened(PHOTO, mode="unsharp", radius=2, amount=120, threshold=4)
    changed = np.abs(PHOTO.astype(int) - np.asarray(theirs)).mean()
    assert np.abs(ours.astype(int) - np.asarray(theirs)).mean() < changed / 8


@pytest.mark.parametrize("threshold", [0, 5, 40.5, 255])
def test_differences_up_to_the_threshold_stay(threshold: float) -> None:
    difference = PHOTO - blurred(PHOTO, 1)
    got = sharpened(PHOTO, mode="unsharp", amount=300, threshold=threshold)
    surely_below = np.abs(difference) < threshold - 0.3
    surely_above = np.abs(difference) > threshold + 0.3
    assert (got[surely_below] == PHOTO[surely_below]).all()
    wanted = limited(PHOTO + 3 * difference)
    assert np.abs(got - wanted)[surely_above].max(initial=0) <= 2


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("strength", [10, 50, 100])
def test_highpass_adds_the_difference_from_the_mean(size: int, strength: float) -> None:
    mean = scipy.ndimage.uniform_filter(PHOTO.astype(float), (size, size, 1), mode="nearest")
    got = sharpened(PHOTO, mode="highpass", kernelSize=size, strength=strength)
    assert np.abs(got - limited(PHOTO + strength / 50 * (PHOTO - mean))).max() <= 0.51


def curve(difference: np.ndarray, m1: float, m2: float, x1: float, y2: float, y3: float) -> np.ndarray:
    """The published curve of libvips' sharpen, by cases."""
    steep = np.where(difference > 0, (difference - x1) * m2 + x1 * m1, (difference + x1) * m2 - x1 * m1)
    return np.clip(np.where(np.abs(difference) < x1, difference * m1, steep), -y3, y2)


PRESETS = {
    "light": (0.5, 0.5, 1.5, 2, 8, 15),
    "medium": (1, 1, 3, 2, 12, 20),
    "strong": (1.5, 1.5, 5, 2, 15, 25),
    "portrait": (1, 0, 2.5, 3, 8, 15),
    "landscape": (0.8, 1, 4, 1.5, 12, 20),
    "detail": (0.5, 2, 5, 1, 15, 25),
    "print": (1.5, 1.5, 3.5, 2, 15, 25),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_adaptive_adds_a_curve_of_the_difference_in_lightness(preset: str) -> None:
    sigma, *rest = PRESETS[preset]
    luma = PHOTO @ LUMA
    added = 2.55 * curve((luma - blurred(luma, sigma)) / 2.55, *rest)
    got = sharpened(PHOTO, preset=preset)
    wanted = limited(PHOTO + added[..., None])
    assert np.abs(got - wanted).max() <= 2.5
    assert np.abs(got - wanted).mean() <= 0.5


def test_adaptive_by_default_is_the_medium_preset_and_single_values_override() -> None:
    medium = sharpened(PHOTO, preset="medium")
    assert (sharpened(PHOTO) == medium).all()
    numbers = dict(zip(("sigma", "m1", "m2", "x1", "y2", "y3"), PRESETS["strong"], strict=True))
    assert (sharpened(PHOTO, **numbers) == sharpened(PHOTO, preset="strong")).all()
    tamed = sharpened(PHOTO, preset="strong", y2=0, y3=0)
    assert (tamed == PHOTO).all()


def test_adaptive_looks_like_libvips_own_in_lab() -> None:
    theirs = picture(PHOTO).pixels.sharpen(sigma=1, m1=1, m2=3, x1=2, y2=12, y3=20).numpy().astype(int)
    ours = sharpened(PHOTO).astype(int)
    assert np.abs(ours - theirs).mean() < np.abs(PHOTO - theirs).mean() / 3


def test_adaptive_keeps_differences_of_colour() -> None:
    muted = 100 + PHOTO // 8
    got = sharpened(muted, preset="strong").astype(int)
    assert np.abs((got[..., 0] - got[..., 1]) - (muted[..., 0].astype(int) - muted[..., 1])).max() <= 1
    assert (got != muted).any()


@pytest.mark.parametrize(("word", "size"), [("light", 3), ("medium", 5), ("strong", 7)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_denoise_is_the_median(word: str, size: int, dtype: Any) -> None:
    rough = noise(41, 23, 3, dtype)
    wanted = scipy.ndimage.median_filter(rough, (size, size, 1), mode="nearest")
    assert (sharpened(rough, mode="unsharp", amount=0, denoise=word) == wanted).all()


def test_denoise_comes_first() -> None:
    speck = np.full((21, 21, 3), 90, np.uint8)
    speck[10, 10] = 255
    assert (sharpened(speck, denoise="light", preset="strong") == 90).all()
    assert (sharpened(speck, preset="strong") != 90).any()


@pytest.mark.parametrize("asked", MODES)
@given(value=st.integers(0, 255))
def test_flat_stays_flat(asked: dict[str, Any], value: int) -> None:
    flat = np.full((9, 13, 3), value, np.uint8)
    assert (sharpened(flat, **asked) == flat).all()


@pytest.mark.parametrize("asked", MODES[:3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_edges_gain_energy_and_halos_do_not_wrap(asked: dict[str, Any], dtype: Any) -> None:
    white = int(np.iinfo(dtype).max)
    edge = np.full((20, 20, 3), white // 20, dtype)
    edge[:, 10:] = white - white // 20
    got = sharpened(edge, **asked).astype(int)
    assert got[10, 9, 0] < edge[10, 9, 0]
    assert got[10, 10, 0] > edge[10, 10, 0]
    assert (np.diff(got[10, 8:12, 0])[[0, 2]] <= 0).all()


@pytest.mark.parametrize("asked", MODES)
def test_16_bits_are_what_8_bits_are_but_finer(asked: dict[str, Any]) -> None:
    deep = sharpened(PHOTO.astype(np.uint16) * 257, **asked)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - sharpened(PHOTO, **asked)).max() <= 0.51


@pytest.mark.parametrize("asked", MODES)
@pytest.mark.parametrize("bands", [2, 4])
def test_alpha_stays_and_hidden_colour_never_shows(asked: dict[str, Any], bands: int) -> None:
    one = noise(30, 20, bands)
    one[5:15, 8:20, -1] = 0
    other = one.copy()
    other[5:15, 8:20, :-1] = 255 - other[5:15, 8:20, :-1]
    first, second = sharpened(one, **asked), sharpened(other, **asked)
    assert (first[..., -1] == one[..., -1]).all()
    seen = one[..., -1] > 0
    assert (first[seen] == second[seen]).all()


@pytest.mark.parametrize("asked", MODES)
def test_an_opaque_alpha_changes_nothing(asked: dict[str, Any]) -> None:
    opaque = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    assert (sharpened(opaque, **asked)[..., :3] == sharpened(PHOTO, **asked)).all()


def test_a_flat_cutout_has_no_halo() -> None:
    cutout = np.full((20, 20, 4), 120, np.uint8)
    cutout[..., 3] = 255
    cutout[:, :10] = 0
    for asked in MODES:
        assert (sharpened(cutout, **asked) == cutout).all()


@pytest.mark.parametrize("asked", MODES)
def test_frames_do_not_see_each_other(asked: dict[str, Any]) -> None:
    frames = np.stack([noise(20, 10, seed=n) for n in range(3)])
    got = use(sharpening, picture(frames, "gif", delay=[50, 60, 70]), **asked)
    assert got.pixels.get("delay") == [50, 60, 70]
    for frame, still in zip(array_of(got), frames, strict=True):
        assert (frame == sharpened(still, **asked)).all()


@pytest.mark.parametrize("asked", [*MODES, {"mode": "unsharp", "radius": 5}, {"denoise": "strong", "sigma": 10}])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20_000, 3), (3000, 1, 4), (2, 2, 1), (70, 33, 3)])
def test_pictures_of_any_shape_work(asked: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert sharpened(noise(shape[1], shape[0], shape[2]), **asked).shape == shape


def test_a_stream_gives_what_a_picture_in_memory_gives(tmp_path: Any) -> None:
    photo = skimage.data.astronaut()
    (tmp_path / "photo").write_bytes(bytes_of(PIL.Image.fromarray(photo)))
    for asked in (*MODES, {"sigma": 4, "denoise": "light"}):
        streamed = opened(tmp_path / "photo", sequential=True)
        assert (array_of(use(sharpening, streamed, **asked)) == sharpened(photo, **asked)).all()


@pytest.mark.parametrize("asked", [{"mode": "unsharp", "amount": 0}, {"strength": 0, "mode": "highpass"}])
def test_nothing_to_do_leaves_the_very_pixels(asked: dict[str, Any]) -> None:
    image = picture(PHOTO)
    assert use(sharpening, image, **asked).pixels is image.pixels


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"amount": 150}, {"mode": "unsharp", "amount": 150}),
        ({"radius": 2, "threshold": 3}, {"method": "unsharp-mask", "radius": 2, "threshold": 3}),
        ({"strength": 80}, {"mode": "high-pass", "strength": 80}),
        ({"m2": 5}, {"mode": "adaptive", "m2": 5}),
    ],
)
def test_the_mode_follows_from_the_settings_that_are_given(short: dict[str, Any], long: dict[str, Any]) -> None:
    got = use(sharpening, picture(PHOTO), **short)
    assert (array_of(got) == sharpened(PHOTO, **long)).all()
    assert got.warnings == ()


def test_settings_that_the_mode_does_not_use_are_named() -> None:
    got = use(sharpening, picture(PHOTO), mode="adaptive", amount=150, kernelSize=5)
    assert got.warnings == ("Mode 'adaptive' does not use 'amount', 'kernelSize'.",)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"mode": "soft"}, "highpass"),
        ({"preset": "mild"}, "medium"),
        ({"preset": "light", "mode": "unsharp"}, "adaptive"),
        ({"preset": "light", "mode": "high-pass"}, "highpass"),
        ({"amount": 1001}, "amount"),
        ({"radius": 0}, "radius"),
        ({"threshold": 256}, "threshold"),
        ({"strength": 101}, "strength"),
        ({"kernelSize": 4}, "kernelSize"),
        ({"denoise": "much"}, "medium"),
        ({"sigma": 0.4}, "sigma"),
        ({"y3": 51}, "y3"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        sharpening.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    cat = skimage.data.chelsea()[20:140, 90:210]
    golden(sharpened(cat, preset="strong"), "sharpening-adaptive", tolerance=1)
    golden(sharpened(cat, mode="unsharp", radius=2, amount=200), "sharpening-unsharp", tolerance=1)
