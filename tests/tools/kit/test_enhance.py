"""Analysis and correction against ground truth: photographs that the tests damaged."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.color
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import gradient, noise, picture

from darkroom_tools.kit.enhance_analysis import Analysis, analyzed, scene_weights
from darkroom_tools.kit.enhance_paper import evened
from darkroom_tools.kit.enhance_tone import Levels, Look, levels_of, look_steps
from darkroom_tools.kit.tone import apply_point_steps

ASTRONAUT = np.ascontiguousarray(skimage.data.astronaut()[::2, ::2])
COFFEE = np.ascontiguousarray(skimage.data.coffee()[::2, ::2])
CAT = np.ascontiguousarray(skimage.data.chelsea()[::2, ::2])
PAGE = np.ascontiguousarray(skimage.data.page())

DAMAGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a gamma": lambda x: x**1.8,
    "half the light": lambda x: x * 0.5,
    "too much light": lambda x: x * 1.4,
    "half the contrast": lambda x: 0.5 + 0.5 * (x - 0.5),
    "haze": lambda x: x * 0.55 + np.array([0.38, 0.40, 0.42]),
    "dark and warm": lambda x: (x * 0.6) ** 1.3 * [1.2, 1, 0.8],
}


def damaged(photo: np.ndarray, how: str) -> np.ndarray:
    return np.round(np.clip(DAMAGES[how](photo / 255), 0, 1) * 255).astype(np.uint8)


def judged(array: np.ndarray) -> Analysis:
    return analyzed(picture(array).pixels)


def enhanced(array: np.ndarray) -> np.ndarray:
    pixels = picture(array).pixels
    found = analyzed(pixels)
    made = found.corrections
    look = Look(made.brightness, made.contrast, made.temperature, made.tint, made.saturation)
    return apply_point_steps(pixels, look_steps(look, found.levels, 3)).numpy()


def distance(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (skimage.color.rgb2lab(array[::2, ::2]) for array in (one, other))
    return float(skimage.color.deltaE_ciede2000(first, second).mean())


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_photos_come_closer_to_what_they_were(how: str) -> None:
    before, after = [], []
    for photo in (ASTRONAUT, COFFEE, CAT):
        bad = damaged(photo, how)
        before.append(distance(bad, photo))
        after.append(distance(enhanced(bad), photo))
        assert after[-1] < before[-1] + 0.5
    assert sum(after) < 0.9 * sum(before)


@pytest.mark.parametrize("gains", [(1.2, 1, 0.8), (0.9, 1.15, 0.9)])
def test_a_colour_cast_is_taken_away(gains: tuple[float, ...]) -> None:
    bad = np.clip(ASTRONAUT * np.array(gains), 0, 255).astype(np.uint8)
    assert distance(enhanced(bad), ASTRONAUT) < 0.65 * distance(bad, ASTRONAUT)
    assert judged(bad).scores.white_balance < judged(ASTRONAUT).scores.white_balance - 20


@pytest.mark.parametrize("photo", [ASTRONAUT, COFFEE])
def test_a_good_photo_hardly_changes(photo: np.ndarray) -> None:
    assert distance(enhanced(photo), photo) < 1.5
    assert judged(photo).issues == ()


def test_a_white_ground_is_not_too_much_light() -> None:
    product = np.full((200, 200, 3), 255, np.uint8)
    product[60:140, 60:140] = CAT[20:100, 60:140]
    assert judged(product).corrections.brightness == 0


def test_scores_of_flat_pictures_are_known() -> None:
    white = judged(np.full((50, 50, 3), 255, np.uint8))
    assert (white.scores.exposure, white.scores.contrast, white.scores.saturation) == (100, 0, 0)
    black = judged(np.zeros((50, 50, 3), np.uint8)).scores
    assert (black.exposure, black.contrast) == (0, 0)
    red = judged(np.full((50, 50, 3), [200, 0, 0], np.uint8)).scores
    assert (red.exposure, red.saturation) == (pytest.approx(100 * 0.2126 * 200 / 255, abs=0.1), 100)


def test_issues_are_named_at_their_thresholds() -> None:
    dark = np.clip(noise(80, 80) * 0.3, 0, 255).astype(np.uint8)
    assert {"underexposed", "noisy"} <= set(judged(dark).issues)
    assert "overexposed" in judged(200 + CAT // 6).issues
    assert "low contrast" in judged(120 + CAT // 8).issues
    assert "low saturation" in judged(np.round(CAT * 0.3 + CAT.mean(2, keepdims=True) * 0.7).astype(np.uint8)).issues
    assert "color cast" in judged(np.clip(ASTRONAUT * [1.25, 1, 0.7], 0, 255).astype(np.uint8)).issues
    assert "soft" in judged(cv2.GaussianBlur(ASTRONAUT, (0, 0), 2)).issues


def test_sharpness_falls_with_blur_and_asks_for_sharpening() -> None:
    photo = skimage.data.astronaut()[100:300, 100:400]
    scores = [judged(cv2.GaussianBlur(photo, (0, 0), sigma) if sigma else photo) for sigma in (0, 0.7, 1, 2)]
    assert all(a.scores.sharpness > b.scores.sharpness for a, b in itertools.pairwise(scores))
    assert scores[0].corrections.sharpness == 0
    assert scores[3].corrections.sharpness == 50


@pytest.mark.parametrize(("deviation", "denoise"), [(0, 0), (7, 3), (14, 5)])
def test_noise_asks_for_removal_in_two_steps(deviation: float, denoise: float) -> None:
    smooth = cv2.GaussianBlur(CAT, (0, 0), 1.5)
    rough = np.clip(smooth + np.random.default_rng(0).normal(0, deviation, CAT.shape), 0, 255).astype(np.uint8)
    assert judged(rough).corrections.denoise == denoise


def test_grey_gets_no_colour_and_16_bits_the_same_verdict() -> None:
    grey = CAT[..., 1]
    found = judged(grey)
    assert (found.corrections.temperature, found.corrections.saturation) == (0, 0)
    assert "low saturation" not in found.issues
    deep = judged(grey.astype(np.uint16) * 257)
    assert deep == found


def test_what_is_transparent_does_not_count() -> None:
    framed = np.zeros((200, 300, 4), np.uint8)
    framed[40:190, 30:255, :3], framed[40:190, 30:255, 3] = CAT[:150, :225], 255
    alone, found = judged(CAT[:150, :225]).scores, judged(framed).scores
    for name in ("exposure", "contrast", "white_balance", "saturation"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name), abs=3)


@pytest.mark.parametrize(
    ("array", "scene"),
    [
        (np.where(noise(90, 90, 1) < 25, 30, 240).astype(np.uint8)[..., 0], "document"),
        (ASTRONAUT // 4, "low-light"),
        (np.full((40, 40, 3), [70, 120, 200], np.uint8), "landscape"),
        (np.full((40, 40, 3), [220, 170, 140], np.uint8), "portrait"),
        (np.full((40, 40, 3), [220, 120, 40], np.uint8), "food"),
        (CAT[..., 1], "auto"),
    ],
)
def test_the_scene_is_guessed_from_colours(array: np.ndarray, scene: str) -> None:
    assert judged(array).suggested_mode == scene


def test_weights_of_scenes_are_those_that_were_published() -> None:
    assert set(scene_weights("auto").values()) == {1}
    assert scene_weights("low-light")["brightness"] == 1.8
    assert scene_weights("document")["saturation"] == 0
    assert scene_weights("portrait")["tint"] == scene_weights("portrait")["temperature"] == 1.2


looks = st.builds(
    Look,
    st.floats(-240, 240),
    st.floats(-160, 160),
    st.floats(-60, 60),
    st.floats(-60, 60),
)
some_levels = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(lambda v: Levels(*sorted(v)))


@given(looks, some_levels)
@settings(max_examples=60)
def test_every_curve_rises_from_black_to_white_and_cuts_nothing_off(look: Look, levels: Levels) -> None:
    ramp = np.linspace(0, 1, 1001, dtype=np.float32)
    for step in look_steps(look, levels, 3):
        for plane in step.change([ramp] * 3, 1.0):
            assert (np.diff(plane) >= -1e-5).all()
            assert plane.min() >= -1e-5
            assert plane.max() <= 1 + 1e-5
            assert np.isfinite(plane).all()


def test_each_number_does_what_it_says() -> None:
    levels = levels_of(np.linspace(0, 1, 256, dtype=np.float32)[:, None])
    middle = np.array([0.25], np.float32)
    bright = look_steps(Look(brightness=60), Levels(0, 0.25, 1), 1)[0].change([middle], 1.0)[0]
    assert bright == pytest.approx(0.5, abs=0.01)
    steep = look_steps(Look(contrast=40), Levels(0.25, 0.5, 0.75), 1)[0].change([np.float32([0.4, 0.6])], 1.0)[0]
    assert steep == pytest.approx([0.3, 0.7], abs=0.01)
    red, _, blue = look_steps(Look(temperature=30), levels, 3)[0].change([middle] * 3, 1.0)
    assert (red / blue)[0] == pytest.approx(1.5, rel=0.01)
    red, green, blue = look_steps(Look(tint=30), levels, 3)[0].change([middle] * 3, 1.0)
    assert (red / green)[0] == pytest.approx(1.3, rel=0.01)
    assert look_steps(Look(), levels, 3) == []


def test_halved_light_is_given_back_by_a_gain_not_by_a_gamma() -> None:
    levels = Levels(0, 0.25, 0.5)
    dark = np.float32([0.1, 0.2, 0.4])
    brighter = look_steps(Look(brightness=60), levels, 1)[0].change([dark], 1.0)[0]
    assert brighter == pytest.approx(dark * 1.96, rel=0.06)


def test_unevenly_lit_paper_becomes_evenly_white_and_ink_stays() -> None:
    light = np.linspace(0.45, 1, PAGE.shape[1])[None, :, None] * np.array([1, 0.92, 0.75])
    ink = np.full((120, 384), 235.0)
    ink[20:100:12, 20:360] = np.where(np.arange(340) % 5 < 3, 40, 235)
    photo = np.round(ink[..., None] * light).astype(np.uint8)
    got = evened(picture(photo).pixels, 1).numpy().astype(int)
    paper = ink > 200
    assert got[paper].min() >= 235
    assert got[~paper].max() < 90
    half = evened(picture(photo).pixels, 0.5).numpy().astype(int)
    unclipped = got < 255
    assert np.abs(half - (photo + got) / 2)[unclipped].max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 1), (3000, 1, 4), (2, 2, 2), (5, 7, 3)])
def test_pictures_of_any_shape_work(shape: tuple[int, ...], dtype: Any) -> None:
    array = noise(shape[1], shape[0], shape[2], dtype)
    pixels = picture(array).pixels
    analyzed(pixels)
    made = evened(pixels, 1)
    assert (made.height, made.width, made.bands, made.format) == (*shape, pixels.format)
    if shape[2] in (2, 4):
        assert (made.numpy().reshape(shape)[..., -1] == array[..., -1]).all()


def test_a_smooth_wedge_stays_smooth() -> None:
    wedge = gradient(256, 40)
    assert np.abs(np.diff(enhanced(wedge // 2 + 20).astype(int), axis=1)).max() <= 8
