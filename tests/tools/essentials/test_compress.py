"""Compress: what is asked of the encoder."""

from typing import Any

import pytest
from support.pictures import array_of, noise, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.essentials.compress import compress
from darkroom_tools.image import Encoding


def test_the_default_is_quality_80_in_the_same_format() -> None:
    array = noise(20, 10)
    got = use(compress, picture(array, "jpeg"))
    assert got.encoding == Encoding(format=None, quality=80, effort="tight")
    assert (array_of(got) == array).all()


def test_quality_and_format_are_carried_to_the_encode() -> None:
    assert use(compress, picture(noise(5, 5)), quality=35, format="jpg").encoding == Encoding(
        "jpeg", 35, effort="tight"
    )


def test_a_format_chosen_by_an_earlier_step_is_kept() -> None:
    assert use(compress, picture(noise(5, 5)).encode_as(format="webp"), quality=35).encoding.format == "webp"


@pytest.mark.parametrize("name", ["targetSizeKB", "targetSizeKb"])
@pytest.mark.parametrize("mode", [{}, {"mode": "targetSize"}])
def test_a_target_size_counts_1024_bytes_and_needs_no_mode(name: str, mode: Any) -> None:
    got = use(compress, picture(noise(5, 5)).encode_as(quality=7), **{name: 1.5}, **mode)
    assert got.encoding == Encoding(target_bytes=1536)
    assert not got.warnings


def test_mode_quality_wins_over_a_target_size_and_says_so() -> None:
    got = use(compress, picture(noise(5, 5)), mode="quality", targetSizeKB=10)
    assert got.encoding == Encoding(quality=80, effort="tight")
    assert "targetSizeKB" in got.warnings[0]


def test_quality_forgets_the_target_of_an_earlier_step() -> None:
    assert use(compress, picture(noise(5, 5)).encode_as(target_bytes=5)).encoding.target_bytes is None


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"mode": "targetSize"}, "targetSizeKB"),
        ({"targetSizeKB": 0}, "targetSizeKB"),
        ({"quality": 0}, "quality"),
        ({"quality": 101}, "quality"),
        ({"format": "heic"}, "format"),
        ({"mode": "size"}, "targetSize"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        compress.settings.parse(asked)
    assert words in refused.value.message
