"""Restoring faces: laid on the template, given to the network as it expects, and put back in place."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data
from skimage.transform import SimilarityTransform
from support.pictures import DirectRun, noise, picture

from darkroom_tools.kit.face_restore import TEMPLATE, _placement, restored
from darkroom_tools.kit.faces import Face
from darkroom_tools.models import card

GFPGAN = card("gfpgan-1.4")
POINTS = ((204.0, 102.0), (247.0, 102.0), (226.0, 127.0), (207.0, 147.0), (245.0, 147.0))
FACE = Face(174, 68, 93, 93, 1.0, POINTS)


def identity(array: np.ndarray) -> list[np.ndarray]:
    return [array]


def restore(array: np.ndarray, model: object, face: Face = FACE, strength: float = 1.0) -> np.ndarray:
    run = DirectRun({"gfpgan-1.4": model})
    heard: list[float] = []
    made = restored(picture(array).pixels, [face], run, model=GFPGAN, strength=strength, report=heard.append)
    assert heard == [1.0]
    return np.asarray(made.numpy()).reshape(array.shape if array.ndim == 3 else (*array.shape, 1))


def smooth(height: int = 300, width: int = 400) -> np.ndarray:
    down, across = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(across / 31 + n) * np.cos(down / 23 - n) for n in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


@given(
    st.floats(0.2, 5), st.floats(-math.pi, math.pi), st.floats(-300, 300), st.floats(-300, 300), st.integers(0, 10_000)
)
def test_landmarks_are_laid_on_the_template_with_the_least_error(
    scale: float, angle: float, x: float, y: float, seed: int
) -> None:
    moved = SimilarityTransform(scale=100 * scale, rotation=angle, translation=(x, y))(np.array(TEMPLATE))
    points = moved + np.random.default_rng(seed).normal(0, scale, (5, 2))
    oracle = SimilarityTransform.from_estimate(points, np.array(TEMPLATE))
    u, v = _placement([tuple(point) for point in points]).to_square(*points.T)
    assert np.stack([u, v], -1) == pytest.approx(oracle(points), abs=1e-6)


def test_a_network_that_changes_nothing_leaves_the_picture_as_it_was_but_for_resampling() -> None:
    scene = smooth()
    result = restore(scene, identity)
    inside = (slice(80, 160), slice(180, 270))
    assert np.abs(result[inside].astype(int) - scene[inside]).max() <= 3
    assert np.array_equal(result[250:], scene[250:])
    assert np.array_equal(result[:, 350:], scene[:, 350:])


def test_the_network_sees_the_face_upright_at_its_size_and_range() -> None:
    seen: list[np.ndarray] = []

    def look(array: np.ndarray) -> list[np.ndarray]:
        seen.append(array)
        return [array]

    scene = np.zeros((300, 400, 3), np.uint8)
    for x, y in POINTS:
        scene[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] = (255, 0, 128)
    restore(scene, look)
    (array,) = seen
    assert (array.shape, array.dtype) == ((1, 3, 512, 512), np.float32)
    assert (array.min(), array.max()) == (-1.0, 1.0)
    for u, v in TEMPLATE:
        x, y = int(u * 512), int(v * 512)
        assert array[0, 0, y, x] > 0.9, "red"
        assert array[0, 1, y, x] == -1, "green"


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_strength_blends_what_the_network_gives_with_the_picture(strength: float) -> None:
    white = [np.ones((1, 3, 512, 512), np.float32)]
    scene = np.full((300, 400, 3), 100, np.uint8)
    result = restore(scene, lambda _: white, strength=strength)
    assert result[125, 226].tolist() == [round(100 + 155 * strength)] * 3
    assert result[5, 5].tolist() == [100] * 3
    rows = result[125, 226:400, 0].astype(int)
    assert (np.diff(rows) <= 0).all(), "it fades out"


def test_a_network_that_weighs_likeness_is_given_the_fidelity() -> None:
    weights: list[np.ndarray] = []

    def network(array: np.ndarray, weight: np.ndarray) -> list[np.ndarray]:
        weights.append(weight)
        return [array]

    run = DirectRun({"codeformer": network})
    restored(
        picture(smooth()).pixels, [FACE], run, model=card("codeformer"), strength=1, fidelity=0.3, report=lambda _: None
    )
    assert (weights[0].dtype, weights[0].tolist()) == (np.float64, [0.3])


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_alpha_bands_and_depth_stay(bands: int, depth: type) -> None:
    scene = noise(400, 300, bands, depth)
    result = restore(scene, lambda array: [-array])
    assert result.dtype == depth
    if bands in (2, 4):
        assert np.array_equal(result[..., -1], scene[..., -1])
    assert not np.array_equal(result[100:130, 200:250], scene[100:130, 200:250])


@pytest.mark.parametrize("move", [(-230, -110), (180, 190), (-600, 0)])
def test_a_face_over_the_border_changes_only_what_is_in_the_picture(move: tuple[int, int]) -> None:
    face = Face(0, 0, 93, 93, 1.0, tuple((x + move[0], y + move[1]) for x, y in POINTS))
    assert restore(smooth(), identity, face).shape == (300, 400, 3)


def test_a_large_face_is_shrunk_for_the_network_and_enlarged_again() -> None:
    scene = np.kron(smooth(), np.ones((4, 4, 1), np.uint8))
    face = Face(0, 0, 372, 372, 1.0, tuple((4 * x, 4 * y) for x, y in POINTS))
    inside = (slice(360, 600), slice(760, 1040))
    result = restore(scene, identity, face)
    assert np.abs(result[inside].astype(int) - scene[inside]).mean() < 3


def test_the_face_of_a_photo_lies_where_the_template_wants_it() -> None:
    seen: list[np.ndarray] = []
    restore(data.astronaut(), lambda array: [seen.append(array) or array])
    dark = seen[0][0].mean(0)
    eyes = [
        dark[int(v * 512) - 8 : int(v * 512) + 8, int(u * 512) - 8 : int(u * 512) + 8].mean() for u, v in TEMPLATE[:2]
    ]
    assert max(eyes) < dark[150:200, 200:310].mean(), "pupils are darker than the forehead"
