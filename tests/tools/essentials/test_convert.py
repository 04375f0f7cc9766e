"""Convert: only the encoding changes."""

from typing import Any

import numpy as np
import pytest
from support.pictures import array_of, noise, picture, use

from darkroom_tools.errors import InvalidSettings, UnsupportedFormat
from darkroom_tools.essentials.convert import convert


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "tiff", "gif", "heif"])
def test_the_format_is_carried_to_the_encode_and_no_pixel_changes(format: str) -> None:
    array = noise(20, 10, 4)
    got = use(convert, picture(array), format=format, quality=33)
    assert (got.encoding.format, got.encoding.quality) == (format, 33)
    assert (array_of(got) == array).all()


def test_without_quality_the_encoder_decides_and_an_earlier_step_is_forgotten() -> None:
    earlier = picture(noise(5, 5)).encode_as(quality=10, target_bytes=999)
    got = use(convert, earlier, format="webp")
    assert (got.encoding.quality, got.encoding.target_bytes) == (None, None)


def test_jpg_means_jpeg() -> None:
    assert convert.settings.parse({"format": "jpg"}) == convert.settings.parse({"format": "jpeg"})


def test_heic_is_refused_and_avif_is_named() -> None:
    with pytest.raises(UnsupportedFormat) as refused:
        convert.settings.parse({"format": "heic"})
    assert refused.value.status == 415
    assert "'avif'" in refused.value.message


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "format"),
        ({"format": "bmp"}, "webp"),
        ({"format": "pgn"}, "png"),
        ({"format": "png", "quality": 0}, "quality"),
        ({"format": "png", "quality": 101}, "quality"),
        ({"format": "png", "quality": 50.5}, "quality"),
        ({"format": "png", "qualty": 50}, "quality"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        convert.settings.parse(asked)
    assert words in refused.value.message


def test_a_mode_settles_alpha_and_colour() -> None:
    array = np.array([[[255, 0, 0, 255], [0, 0, 255, 0], [0, 255, 0, 128]]], np.uint8)
    opaque = array_of(use(convert, picture(array), format="png", mode="RGB"))
    assert opaque.tolist() == [[[255, 0, 0], [255, 255, 255], [127, 255, 127]]]
    assert (array_of(use(convert, picture(array), format="webp", mode="RGBA")) == array).all()
    added = array_of(use(convert, picture(array[:, :, :3]), format="png", mode="RGBA"))
    assert (added == np.dstack([array[:, :, :3], np.full((1, 3), 255)])).all()
    grey = use(convert, picture(array), format="png", mode="L")
    assert (grey.pixels.bands, grey.pixels.interpretation, grey.has_alpha) == (1, "b-w", False)
    assert array_of(grey).ravel()[1] == 255


def test_a_mode_that_the_picture_has_already_leaves_its_file_alone() -> None:
    for bands, mode in ((3, "RGB"), (4, "RGBA"), (1, "L")):
        image = picture(noise(8, 6, bands))
        assert use(convert, image, format="png", mode=mode).pixels is image.pixels


def test_a_mode_goes_for_deep_grey_and_moving_pictures() -> None:
    deep = picture(noise(6, 5, 2, np.uint16))
    made = use(convert, deep, format="png", mode="RGBA")
    assert (made.pixels.bands, made.pixels.format, made.pixels.interpretation) == (4, "ushort", "rgb16")
    moving = picture(np.stack([noise(6, 5, 4), noise(6, 5, 4)]))
    flat = use(convert, moving, format="gif", mode="L")
    assert (flat.frames, flat.width, flat.height, flat.pixels.bands) == (2, 6, 5, 1)


def test_alpha_is_not_forced_on_a_format_without() -> None:
    image = picture(noise(4, 4, 3))
    assert use(convert, image, format="jpeg", mode="RGBA").pixels.bands == 3


def test_auto_keeps_the_format_and_takes_a_quality_where_that_has_one() -> None:
    png, jpeg = picture(noise(4, 4, 3)), picture(noise(4, 4, 3), format="jpeg")
    assert use(convert, png, format="auto", quality=30).encoding.quality is None
    got = use(convert, jpeg, format="auto", quality=30)
    assert (got.encoding.format, got.encoding.quality) == (None, 30)
