"""Lanczos, the colours under transparency, and arrays that become pictures."""

import numpy as np
import PIL.Image
import pytest
from support.pictures import noise, picture

from darkroom_tools.kit.enlarge import lanczos, uncovered
from darkroom_tools.kit.pixels import picture_of


def kernel(length: int, factor: int) -> np.ndarray:
    """Weights of every pixel for each place of the enlargement: Lanczos with three lobes, cut off at the edges."""
    places = (np.arange(length * factor) + 0.5) / factor - 0.5
    distance = np.abs(places[:, None] - np.arange(length)[None])
    weights = np.where(distance < 3, np.sinc(distance) * np.sinc(distance / 3), 0)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lanczos_has_three_lobes_about_the_middle(factor: int, dtype: type[np.generic]) -> None:
    # Without overshoots: eight bits are cut off and rounded between the two directions as well.
    white = int(np.iinfo(dtype).max)
    seen = (noise(13, 9, 3, dtype) // 4 + white // 3).astype(dtype)
    expected = np.einsum("yi,xj,ijc->yxc", kernel(9, factor), kernel(13, factor), seen.astype(float))
    found = lanczos(picture(seen).pixels, 13 * factor, 9 * factor).numpy()
    assert np.abs(found - np.clip(expected, 0, white)).max() <= 1.6


def test_what_is_plain_stays_plain() -> None:
    seen = np.full((3, 5, 4), [1, 2, 65535, 300], np.uint16)
    assert (lanczos(picture(seen).pixels, 20, 12).numpy() == [1, 2, 65535, 300]).all()


def test_hidden_pixels_take_the_colour_of_the_nearest_visible_ones() -> None:
    seen = np.zeros((64, 96, 4), np.uint8)
    seen[..., 1] = 255
    seen[:, :32] = [200, 0, 0, 255]
    seen[:, 80:] = [0, 0, 200, 255]
    found = uncovered(picture(seen).pixels).numpy()
    assert found.shape == (64, 96, 3)
    assert not found[..., 1].any(), "nothing of the hidden green is left"
    assert (found[:, 34] == [200, 0, 0]).all()
    assert (found[:, 77] == [0, 0, 200]).all()
    assert np.array_equal(found[:, :32], seen[:, :32, :3])


@pytest.mark.parametrize("opacity", [1, 128, 255])
def test_visible_colours_stay_as_they_are(opacity: int) -> None:
    seen = noise(20, 10, 4)
    seen[..., 3] = opacity
    assert np.array_equal(uncovered(picture(seen).pixels).numpy(), seen[..., :3])


def test_one_visible_pixel_lends_its_colour_to_its_neighbours() -> None:
    seen = np.zeros((5, 5, 2), np.uint16)
    seen[2, 2] = [40000, 65535]
    found = uncovered(picture(seen).pixels).numpy().reshape(5, 5)
    assert found[2, 2] == 40000
    assert np.abs(found[1:4, 1:4].astype(int) - 40000).max() <= 1


def test_a_picture_without_alpha_is_left_alone() -> None:
    pixels = picture(noise(4, 4)).pixels
    assert uncovered(pixels) is pixels


def test_an_array_becomes_a_picture_with_the_fields_of_another() -> None:
    import pyvips

    like = picture(noise(4, 3, 3, np.uint16)).pixels.copy()
    like.set_type(pyvips.GValue.blob_type, "icc-profile-data", b"profile")
    array = noise(8, 6, 3, np.uint16, seed=1)
    made = picture_of(array, like)
    assert np.array_equal(made.numpy(), array)
    assert (made.interpretation, made.get("icc-profile-data")) == ("rgb16", b"profile")


def test_one_band_stays_one_band() -> None:
    seen = noise(6, 6, 1)
    expected = PIL.Image.fromarray(seen[..., 0]).resize((12, 12), PIL.Image.Resampling.LANCZOS)
    found = lanczos(picture(seen).pixels, 12, 12)
    assert (found.bands, found.interpretation) == (1, "b-w")
    assert np.array_equal(found.numpy(), np.asarray(expected))
