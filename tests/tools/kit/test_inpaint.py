"""Inpainting: only the hole changes, thin holes better than the classics fill them, textures with real pixels."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from support.pictures import DirectRun, gradient, noise, picture

from darkroom_tools.errors import Cancelled
from darkroom_tools.kit.diffusion import carried_in
from darkroom_tools.kit.exemplar import sources
from darkroom_tools.kit.inpaint import inpainted
from darkroom_tools.kit.seamless import corrections


def quiet(_: float) -> None:
    """Nobody listens."""


def fill(array: np.ndarray, mask: np.ndarray, run: DirectRun | None = None, **options: Any) -> tuple[np.ndarray, str]:
    made, method = inpainted(picture(array).pixels, mask, run or DirectRun(), quiet, **options)
    return np.asarray(made.numpy()).reshape(array.shape), method


def scratches(height: int, width: int, thickness: int) -> np.ndarray:
    random = np.random.default_rng(3)
    mask = np.zeros((height, width), np.uint8)
    for _ in range(6):
        at = random.integers(0, [width, height]).astype(float)
        angle, points = random.uniform(0, 6.28), []
        for _ in range(8):
            points.append(at.copy())
            angle += random.normal(0, 0.2)
            at += np.array([np.cos(angle), np.sin(angle)]) * height / 8
        cv2.polylines(mask, [np.array(points, np.int32)], False, 255, thickness)
    return mask > 0


def psnr(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((one.astype(float) - other)[where] ** 2).mean()))


@pytest.mark.parametrize("thickness", [1, 4])
def test_what_stood_in_a_thin_hole_plays_no_part_in_its_filling(thickness: int) -> None:
    scene = data.coffee()[100:180, 100:220].astype(np.float32)
    mask = scratches(80, 120, thickness)
    white, black = (np.where(mask[..., None], value, scene).astype(np.float32) for value in (255, 0))
    assert np.array_equal(carried_in(white, mask, quiet), carried_in(black, mask, quiet))


@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea"])
@pytest.mark.parametrize("thickness", [3, 7])
def test_scratches_are_filled_better_than_by_telea_and_navier_stokes(name: str, thickness: int) -> None:
    scene = getattr(data, name)()[100:260, 100:340]
    mask = scratches(160, 240, thickness)
    damaged = scene.copy()
    damaged[mask] = 255
    filled, method = fill(damaged, mask)
    classics = [cv2.inpaint(damaged, mask.astype(np.uint8), 4, kind) for kind in (cv2.INPAINT_TELEA, cv2.INPAINT_NS)]
    assert method == "diffusion"
    assert psnr(filled, scene, mask) > max(psnr(other, scene, mask) for other in classics) + 0.3
    assert np.array_equal(filled[~mask], damaged[~mask])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_hole_in_a_slope_is_filled_with_the_slope(bands: int, depth: Any) -> None:
    scene = gradient(80, 60, bands, depth)
    mask = np.zeros((60, 80), bool)
    mask[20:24, 10:70] = True
    damaged = scene.copy()
    damaged[mask] = 0
    filled, _ = fill(damaged, mask)
    unit = np.iinfo(depth).max / 255
    assert np.abs(filled[mask].astype(float) - scene[mask]).max() < 5 * unit
    assert np.array_equal(filled[~mask], scene[~mask])


def test_a_texture_is_continued_with_pixels_of_its_own() -> None:
    tile = noise(8, 8, seed=4)
    scene = np.tile(tile, (12, 14, 1))
    mask = np.zeros(scene.shape[:2], bool)
    mask[30:60, 40:75] = True
    damaged = scene.copy()
    damaged[mask] = 0
    filled, method = fill(damaged, mask)
    assert method == "exemplar"
    assert np.array_equal(filled, scene), "a repeating pattern can be continued without a fault"


def test_a_large_hole_is_filled_as_sharply_as_its_surroundings() -> None:
    small = data.grass()[:200, :200]
    scene = np.kron(np.dstack([small] * 3), np.ones((3, 3, 1), np.uint8))
    mask = np.zeros(scene.shape[:2], bool)
    mask[200:400, 200:400] = True
    damaged = scene.copy()
    damaged[mask] = 128
    filled, _ = fill(damaged, mask)
    inside, around = filled[230:370, 230:370].astype(float), scene[230:370, 20:160].astype(float)
    assert inside.std() > 0.6 * around.std()
    assert np.abs(np.diff(inside, axis=1)).mean() > 0.6 * np.abs(np.diff(around, axis=1)).mean()
    assert np.array_equal(filled[~mask], scene[~mask])


def test_pieces_join_without_a_step() -> None:
    scene = gradient(120, 90)
    mask = np.zeros((90, 120), bool)
    mask[25:65, 35:85] = True
    filled, _ = fill(np.where(mask[..., None], 0, scene).astype(np.uint8), mask)
    assert np.abs(np.diff(filled.astype(int), axis=1)).max() < 9
    assert np.abs(np.diff(filled.astype(int), axis=0)).max() < 9


def test_thin_and_thick_holes_are_each_filled_by_their_own_method() -> None:
    mask = np.zeros((100, 140), bool)
    mask[10:13] = True
    mask[40:80, 50:90] = True
    assert fill(noise(140, 100), mask)[1] == "diffusion + exemplar"


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 1000))
def test_any_mask_on_any_picture_changes_the_hole_only(height: int, width: int, share: float, seed: int) -> None:
    scene = noise(width, height, seed=seed)
    mask = np.random.default_rng(seed).random((height, width)) < share
    filled, method = fill(scene, mask)
    assert np.array_equal(filled[~mask], scene[~mask])
    assert method in ("none", "diffusion", "exemplar", "diffusion + exemplar")


def test_the_same_hole_is_filled_the_same() -> None:
    mask = np.zeros((80, 90), bool)
    mask[20:60, 30:70] = True
    scene = data.coffee()[100:180, 200:290]
    assert np.array_equal(fill(scene, mask)[0], fill(scene, mask)[0])


def test_nothing_to_fill_is_nothing_done() -> None:
    scene = noise(20, 20)
    assert fill(scene, np.zeros((20, 20), bool))[1] == "none"


# By a network: LaMa's contract.


def mean_of_the_known(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """A network that fills with the mean of what it sees."""
    assert (image.shape, mask.shape) == ((1, 3, 512, 512), (1, 1, 512, 512))
    assert image.dtype == mask.dtype == np.float32
    assert image.min() >= 0
    assert image.max() <= 1
    assert set(np.unique(mask)) == {0.0, 1.0}
    assert not image[0][:, mask[0, 0] == 1].any(), "what is missing is black"
    mean = image[0][:, mask[0, 0] == 0].mean(1)
    return [np.broadcast_to(255 * mean[None, :, None, None], image.shape).copy()]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_network_sees_the_surroundings_and_fills_only_the_hole(bands: int, depth: Any) -> None:
    white = np.iinfo(depth).max
    scene = np.full((300, 400, bands), white // 5, depth)
    mask = np.zeros((300, 400), bool)
    mask[100:180, 150:260] = True
    scene[mask] = white
    filled, method = fill(scene, mask, DirectRun({"lama": mean_of_the_known}))
    colors = bands - (bands in (2, 4))
    assert method == "lama"
    assert np.abs(filled[mask][:, :colors].astype(int) - white // 5).max() <= white // 120
    assert np.array_equal(filled[~mask], scene[~mask])


def test_a_network_is_left_out_where_pieces_are_wanted() -> None:
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    assert fill(noise(60, 60), mask, DirectRun({"lama": mean_of_the_known}), model="exemplar")[1] == "exemplar"


# The parts.


def test_diffusion_carries_an_edge_across_a_gap() -> None:
    scene = np.zeros((40, 60, 1), np.float32)
    scene[:, 30:] = 200
    hole = np.zeros((40, 60), bool)
    hole[17:23] = True
    filled = carried_in(np.where(hole[..., None], 99, scene), hole, quiet)[..., 0]
    assert filled[20, :27].max() < 30
    assert filled[20, 33:].min() > 170


def test_sources_are_known_pixels() -> None:
    hole = np.zeros((50, 60), bool)
    hole[15:35, 20:45] = True
    places = sources(noise(60, 50).astype(np.float32), hole, quiet)
    assert not hole[places[..., 0], places[..., 1]].any()
    assert np.array_equal(places[~hole], np.argwhere(~hole))


def test_corrections_remove_the_step_between_two_pieces() -> None:
    ramp = np.broadcast_to(np.arange(30, dtype=np.float32)[None, :, None], (20, 30, 1)).copy()
    unknown = np.zeros((20, 30), bool)
    unknown[8:12, 10:20] = True
    places = np.indices((20, 30)).transpose(1, 2, 0).copy()
    places[8:12, 10:15] -= (6, 8)  # eight levels too dark
    places[8:12, 15:20] += (6, 5)  # five too bright
    made = ramp[places[..., 0], places[..., 1]] + corrections(ramp, unknown, places)
    assert np.abs(made - ramp).max() < 0.05


@pytest.mark.parametrize("size", [3, 30])
def test_filling_stops_when_the_caller_is_gone(size: int) -> None:
    mask = np.zeros((80, 80), bool)
    mask[20 : 20 + size, 20:60] = True

    def gone(_: float) -> None:
        raise Cancelled("The caller gave up.")

    with pytest.raises(Cancelled):
        inpainted(picture(noise(80, 80)).pixels, mask, DirectRun(), gone)
