"""Convert: only the encoding changes."""

from typing import Any

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
