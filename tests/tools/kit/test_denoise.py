"""Noise removal against ground truth: noise that the tests added themselves."""

from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
import skimage.metrics
from support.pictures import DirectRun, noise, picture

from darkroom_tools.errors import Cancelled
from darkroom_tools.kit import denoise_dct
from darkroom_tools.kit.denoise import NOTHING, denoised, noise_level
from darkroom_tools.kit.denoise_dct import TIERS, Noise, Shrinkage, Stage, cosine_basis, shrunk
from darkroom_tools.kit.denoise_noise import measured_noise

PHOTO = skimage.data.coffee()[80:240, 160:352]
TIER_NAMES = ["fast", "balanced", "best", "maximum"]


def noisy(clean: np.ndarray, deviation: float, seed: int = 1) -> np.ndarray:
    top = np.iinfo(clean.dtype).max
    added = np.random.default_rng(seed).normal(0, deviation * top / 255, clean.shape)
    return np.clip(np.round(clean + added), 0, top).astype(clean.dtype)


def cleaned(array: np.ndarray, run: Any = None, **how: Any) -> np.ndarray:
    pixels, _ = denoised(picture(array).pixels, run or DirectRun(), lambda share: None, **how)
    return pixels.numpy().reshape(array.shape)


def quality(result: np.ndarray, clean: np.ndarray) -> float:
    return float(skimage.metrics.peak_signal_noise_ratio(clean, result))


@pytest.mark.parametrize("deviation", [10, 25])
def test_each_tier_is_better_than_the_one_before_and_than_its_class_in_opencv(deviation: int) -> None:
    given_picture = noisy(PHOTO, deviation)
    bilateral = cv2.bilateralFilter(given_picture, 9, deviation * 3, deviation * 0.1 + 1)
    means = cv2.fastNlMeansDenoisingColored(given_picture, None, deviation * 0.8, deviation * 0.8, 7, 21)
    fast, balanced, best = (quality(cleaned(given_picture, tier=tier), PHOTO) for tier in TIER_NAMES[:3])
    assert fast > quality(bilateral, PHOTO) + 0.15
    assert balanced > max(fast, quality(means, PHOTO)) + 0.15
    assert best > balanced + 0.15


def test_noise_of_light_and_of_jpeg_is_removed_too() -> None:
    random = np.random.default_rng(2)
    shot = np.clip(random.poisson(PHOTO / 255 * 60) / 60 * 255, 0, 255).astype(np.uint8)
    stored = cv2.imdecode(cv2.imencode(".jpg", shot, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    blotches = cv2.GaussianBlur(random.normal(0, 30, PHOTO.shape), (0, 0), 0.9)
    coarse = np.clip(PHOTO + blotches, 0, 255).astype(np.uint8)
    for given_picture, least in ((shot, 6), (stored, 1.4), (coarse, 2)):
        assert quality(cleaned(given_picture), PHOTO) > quality(given_picture, PHOTO) + least


def test_the_measure_tells_brightness_and_frequency() -> None:
    random = np.random.default_rng(0)
    wedge = np.linspace(30, 220, 400)[None, :] * np.ones((300, 1))
    lit = measured_noise(
        np.round(wedge + random.normal(0, 1, wedge.shape) * np.sqrt(wedge))[..., None].astype(np.uint8), 255
    )
    curve = lit[0].curve
    assert curve[200] / curve[50] == pytest.approx(2, rel=0.15)
    coarse = cv2.GaussianBlur(random.normal(0, 30, wedge.shape), (0, 0), 0.9)
    spectrum = measured_noise(np.clip(wedge + coarse, 0, 255).astype(np.uint8)[..., None], 255)[0].spectrum
    assert spectrum[1, 1] > 4 * spectrum[5, 5]
    white = measured_noise(np.clip(wedge + random.normal(0, 9, wedge.shape), 0, 255).astype(np.uint8)[..., None], 255)[
        0
    ]
    assert np.abs(white.spectrum.ravel()[1:] / 9 - 1).max() < 0.35
    assert white.level == pytest.approx(9, rel=0.06)


def test_structure_is_kept_as_well_as_noise_is_removed() -> None:
    clean = PHOTO.astype(float) @ [0.299, 0.587, 0.114]
    before, after = (
        skimage.metrics.structural_similarity(clean, array @ [0.299, 0.587, 0.114], data_range=255)
        for array in (noisy(PHOTO, 15), cleaned(noisy(PHOTO, 15)))
    )
    assert after > 0.88
    assert before < 0.72


@pytest.mark.parametrize("deviation", [2, 5, 10, 25])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_level_is_what_was_added(deviation: float, dtype: Any) -> None:
    scale = np.iinfo(dtype).max // 255
    clean = cv2.GaussianBlur(PHOTO, (0, 0), 2).astype(dtype) * scale
    assert noise_level(picture(noisy(clean, deviation)).pixels) == pytest.approx(deviation, rel=0.1, abs=0.35)


def test_the_level_of_a_grey_picture_is_that_of_its_one_channel() -> None:
    grey = cv2.GaussianBlur(PHOTO[..., 1], (0, 0), 2)
    assert noise_level(picture(noisy(grey, 8)).pixels) == pytest.approx(8, rel=0.08)


@pytest.mark.parametrize("tier", TIER_NAMES)
def test_a_picture_without_noise_stays_the_very_same(tier: Any) -> None:
    down, across = np.mgrid[0:70, 0:90]
    for clean in (
        np.full((70, 90, 3), 130, np.uint8),
        ((down // 9 + across // 9) % 2 * 200).astype(np.uint8),
        np.stack([down, across, down + across], -1).astype(np.uint8),
    ):
        pixels = picture(clean).pixels
        made, method = denoised(pixels, DirectRun(), lambda share: None, tier=tier)
        assert method == NOTHING
        assert made is pixels


def test_no_strength_does_nothing() -> None:
    pixels = picture(noisy(PHOTO, 20)).pixels
    assert denoised(pixels, DirectRun(), lambda share: None, strength=0) == (pixels, NOTHING)


def test_strength_grows_with_what_is_removed() -> None:
    given_picture = noisy(PHOTO, 15)
    changes = [np.abs(cleaned(given_picture, strength=s) - given_picture.astype(int)).mean() for s in (0.2, 0.5, 1)]
    assert changes[0] < changes[1] < changes[2]


def test_colour_noise_is_left_where_colour_is_zero() -> None:
    given_picture = noisy(PHOTO, 15)
    kept, usual = cleaned(given_picture, color=0).astype(float), cleaned(given_picture, color=0.3).astype(float)
    difference = (kept - given_picture)[10:-10, 10:-10]
    assert np.ptp(difference, axis=-1).mean() < 0.8
    assert np.abs(difference).mean() > 4
    tints = [np.diff(array, axis=-1).std() for array in (kept, usual)]
    assert tints[1] < tints[0] - 1


def test_detail_brings_texture_back_and_leaves_flat_areas_clean() -> None:
    clean = np.full((96, 192), 120.0)
    clean[:, 96:] += 40 * np.sin(np.arange(96) * 2.1) * np.sin(np.arange(96) * 1.7)[:, None]
    given_picture = noisy(np.round(clean).astype(np.uint8), 12)
    plain, detailed = (cleaned(given_picture, detail=d).astype(float) for d in (0, 1))
    change = np.abs(detailed - plain)
    assert change[8:-8, 8:80].mean() < 0.3
    assert change[8:-8, 112:-8].mean() > 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("bands", [2, 4])
def test_alpha_stays_and_hidden_colour_neither_shows_nor_changes(dtype: Any, bands: int) -> None:
    one = noise(60, 40, bands, dtype)
    one[5:25, 8:40, -1] = 0
    other = one.copy()
    other[5:25, 8:40, :-1] = np.iinfo(dtype).max - other[5:25, 8:40, :-1]
    first, second = cleaned(one), cleaned(other)
    hidden = one[..., -1] == 0
    assert (first[..., -1] == one[..., -1]).all()
    assert (first[hidden] == one[hidden]).all()
    assert (first[~hidden] == second[~hidden]).all()
    assert (first[~hidden] != one[~hidden]).any()


def test_16_bits_are_what_8_bits_are_but_finer() -> None:
    eight = noisy(PHOTO, 12)
    deep = cleaned(eight.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - cleaned(eight)).max() <= 0.51
    assert len(np.unique(deep % 257)) > 200


@pytest.mark.parametrize("tier", TIER_NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4), (2, 2, 1), (9, 8, 3), (130, 515, 1)])
def test_pictures_of_any_shape_work(tier: Any, shape: tuple[int, ...]) -> None:
    assert cleaned(noise(shape[1], shape[0], shape[2]), tier=tier).shape == shape


@pytest.mark.parametrize("tier", TIER_NAMES)
def test_what_lies_beyond_its_reach_changes_nothing(tier: str) -> None:
    how = TIERS[tier]
    reach, cut = how.reach, 48  # a multiple of all blocks, so that grids stay where they are
    plane = np.random.default_rng(3).normal(100, 20, (cut + 60, cut + 70)).astype(np.float32)
    whole, _ = shrunk(plane, Noise.white(20), how)
    part, _ = shrunk(np.ascontiguousarray(plane[cut:, cut:]), Noise.white(20), how)
    assert np.abs(whole[cut + reach :, cut + reach :] - part[reach:, reach:]).max() < 1e-3


def test_the_transform_is_the_cosine_transform_of_opencv() -> None:
    block = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    basis = cosine_basis(8)
    assert np.abs(basis @ block @ basis.T - cv2.dct(block)).max() < 1e-5


def test_one_block_keeps_what_rises_above_the_noise() -> None:
    basis = cosine_basis(8)
    coefficients = np.zeros((8, 8), np.float32)
    coefficients[0, 0], coefficients[2, 3], coefficients[5, 1] = 800, 28, 26
    plane = basis.T @ coefficients @ basis
    once = Shrinkage(Stage(8, ((0, 0),)))
    made, structure = shrunk(plane, Noise.white(10), once)
    coefficients[5, 1] = 0
    assert np.abs(made - basis.T @ coefficients @ basis).max() < 1e-3
    assert structure == pytest.approx(1 - 0.5 / 0.75, abs=1e-4)
    assert denoise_dct.THRESHOLD == 2.7


def test_a_caller_that_gives_up_stops_the_work_within_a_tile() -> None:
    run = DirectRun(cancel_at=0.4)
    with pytest.raises(Cancelled):
        denoised(picture(noise(1200, 300)).pixels, run, run.progress)
    assert 0.4 <= run.reports[-1][0] < 0.6


def test_a_network_is_taken_where_it_is_installed_and_only_from_best_on() -> None:
    given_picture = noisy(PHOTO, 10)[:96, :128]
    shapes: list[tuple[int, ...]] = []

    def grey(array: np.ndarray) -> list[np.ndarray]:
        shapes.append(array.shape)
        assert array.dtype == np.float32
        assert 0.9 < array.max() <= 1
        return [np.full_like(array, 0.5)]

    run = DirectRun({"scunet": grey})
    pixels = picture(given_picture).pixels
    made, method = denoised(pixels, run, lambda share: None, tier="best")
    assert method == "scunet"
    assert all(rows % 64 == columns % 64 == 0 for _, _, rows, columns in shapes)
    assert np.abs(made.numpy().astype(int) - 128).max() <= 1
    half = denoised(pixels, run, lambda share: None, tier="maximum", strength=0.25)[0].numpy()
    assert np.abs(half - (given_picture + 127.5) / 2).max() <= 1
    assert denoised(pixels, run, lambda share: None, tier="balanced")[1] == "dct-balanced"


@pytest.mark.parametrize("bands", [1, 2])
def test_a_network_sees_grey_as_colour_and_grey_stays_grey(bands: int) -> None:
    run = DirectRun({"nafnet": lambda array: [array * 0.5]})
    given_picture = noise(40, 30, bands, np.uint16)
    made, method = denoised(picture(given_picture).pixels, run, lambda share: None, tier="maximum")
    got = made.numpy()
    assert method == "nafnet"
    assert got.dtype == np.uint16
    seen = given_picture[..., -1] > 0 if bands == 2 else np.ones((30, 40), bool)
    got, first = got.reshape(30, 40, bands), given_picture
    assert np.abs(got[..., 0][seen] - first[..., 0][seen] / 2).max() <= 1
