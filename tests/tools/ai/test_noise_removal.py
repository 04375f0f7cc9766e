"""The settings, facts and formats of noise removal; its quality is tested with the kit."""

from typing import Any

import numpy as np
import pytest
import skimage.data
from support.pictures import DirectRun, array_of, encoded_as, noise, picture, use

from darkroom_tools.ai.noise_removal import noise_removal
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.models import cards_for

PHOTO = skimage.data.chelsea()[60:160, 90:230]
NOISY = np.clip(PHOTO + np.random.default_rng(4).normal(0, 12, PHOTO.shape), 0, 255).astype(np.uint8)


def test_noise_goes_and_the_reply_tells_method_and_levels() -> None:
    result = use(noise_removal, picture(NOISY))
    assert np.mean((array_of(result) - PHOTO.astype(float)) ** 2) < np.mean((NOISY - PHOTO.astype(float)) ** 2) / 2.5
    assert result.facts["method"] == "dct-balanced"
    assert result.facts["noiseLevel"]["before"] == pytest.approx(12, rel=0.15)
    assert result.facts["noiseLevel"]["after"] < 4
    assert not result.warnings


@pytest.mark.parametrize("tier", ["fast", "balanced", "best", "maximum"])
def test_each_tier_is_named_in_the_reply(tier: str) -> None:
    result = use(noise_removal, picture(NOISY), quality=tier)
    assert result.facts["method"] == f"dct-{tier}"
    assert array_of(result).shape == NOISY.shape


def test_a_clean_picture_comes_back_untouched_and_the_reply_says_so() -> None:
    image = picture(np.full((40, 50, 3), 90, np.uint8))
    result = use(noise_removal, image)
    assert result.pixels is image.pixels
    assert result.facts == {"method": "none", "noiseLevel": {"before": 0, "after": 0}}
    assert "No noise" in result.warnings[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"tier": "quick"}, {"quality": "fast"}),
        ({"quality": "quality"}, {"quality": "best"}),
        ({"strength": 0.8}, {"strength": 80}),
        ({"colorNoise": True}, {"colorNoise": 30}),
        ({"colorNoise": False}, {"colorNoise": 0}),
        ({"preserveDetail": True}, {"detailPreservation": 50}),
        ({"preserveDetail": False, "detailPreservation": 90}, {"detailPreservation": 0}),
        ({"quality": 85}, {"outputQuality": 85}),
    ],
)
def test_other_spellings_mean_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    first, second = (use(noise_removal, picture(NOISY), **settings) for settings in (one, other))
    assert (array_of(first) == array_of(second)).all()
    assert first.encoding == second.encoding


@pytest.mark.parametrize(
    ("settings", "format", "quality"),
    [
        ({}, None, None),
        ({"format": "jpg"}, "jpeg", 90),
        ({"format": "webp", "outputQuality": 70}, "webp", 70),
        ({"format": "png"}, "png", None),
        ({"format": "png", "outputQuality": 70}, "png", None),
    ],
)
def test_the_format_is_as_asked(settings: dict[str, Any], format: str | None, quality: int | None) -> None:
    result = use(noise_removal, picture(NOISY), **settings)
    assert (result.encoding.format, result.encoding.quality) == (format, quality)


def test_what_an_earlier_step_said_of_the_file_holds() -> None:
    earlier = encoded_as(picture(NOISY), "webp").encode_as(quality=55)
    result = use(noise_removal, earlier)
    assert (result.encoding.format, result.encoding.quality) == ("webp", 55)


def test_a_quality_alone_is_that_of_the_source_format() -> None:
    assert use(noise_removal, picture(NOISY, "jpeg"), quality=77).encoding.quality == 77


def test_frames_are_cleaned_one_by_one_and_progress_covers_them_all() -> None:
    frames = np.stack([noise(40, 30, seed=n) for n in range(3)])
    run = DirectRun()
    result = use(noise_removal, picture(frames, "gif", delay=[50, 60, 70]), run=run)
    assert result.pixels.get("delay") == [50, 60, 70]
    for frame, still in zip(array_of(result), frames, strict=True):
        assert (frame == array_of(use(noise_removal, picture(still)))).all()
    assert run.reports[-1][0] == 1


def test_a_network_of_its_card_is_run_and_named() -> None:
    for found in cards_for("denoise"):
        result = use(noise_removal, picture(NOISY), run=DirectRun({found.id: lambda array: [array]}), quality="best")
        assert result.facts["method"] == found.id
        assert (array_of(result) == NOISY).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quality": "ultra"}, "maximum"),
        ({"quality": 101}, "outputQuality"),
        ({"quality": True}, "maximum"),
        ({"strength": 101}, "strength"),
        ({"strength": -1}, "strength"),
        ({"colorNoise": 101}, "colorNoise"),
        ({"detailPreservation": 101}, "detailPreservation"),
        ({"format": "gif"}, "webp"),
        ({"strenght": 5}, "Did you mean 'strength'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        noise_removal.settings.parse(settings)


def test_what_it_looks_like(golden: Any) -> None:
    golden(array_of(use(noise_removal, picture(NOISY))), "noise-removal-balanced", tolerance=2)
