"""Strip by strip: every row once, with its neighbours, whatever the sizes."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import noise, picture

from darkroom_tools.kit import strips
from darkroom_tools.kit.strips import by_strips


@given(
    st.integers(1, 40),
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 4]),
    st.integers(0, 12),
    st.integers(1, 200),
    st.sampled_from([np.uint8, np.uint16]),
)
def test_strips_with_their_margins_make_up_the_padded_picture(
    width: int, height: int, bands: int, margin: int, strip_pixels: int, dtype: type[np.generic]
) -> None:
    array = noise(width, height, bands, dtype)
    padded = np.pad(array, ((margin, margin), (0, 0), (0, 0)), mode="edge")
    seen = 0

    def change(strip: np.ndarray, result: np.ndarray) -> None:
        nonlocal seen
        assert (strip == padded[seen : seen + len(result) + 2 * margin]).all()
        seen += len(result)
        result[...] = ~strip[margin : margin + len(result)]

    with mock.patch.object(strips, "STRIP_PIXELS", strip_pixels):
        made = by_strips(picture(array).pixels, change, margin=margin)
    assert seen == height
    assert (made.numpy().reshape(array.shape) == ~array).all()


@pytest.mark.parametrize(("bands", "made", "space"), [(3, 1, "b-w"), (4, 2, "b-w"), (3, 3, "srgb"), (1, 1, "b-w")])
def test_a_result_of_one_or_two_bands_is_grey(bands: int, made: int, space: str) -> None:
    pixels = picture(noise(5, 4, bands)).pixels
    pixels = by_strips(pixels, lambda strip, result: result.fill(7), bands=made)
    assert (pixels.bands, pixels.interpretation, pixels.hasalpha()) == (made, space, made == 2)
    assert (pixels.min(), pixels.max()) == (7, 7)
