"""Red eyes: the red of pupils goes, and of nothing else."""

from typing import Any

import numpy as np
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, noise, picture, use

from darkroom_tools.ai.red_eye_removal import red_eye_removal
from darkroom_tools.base import Image
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.red_eye import red_pupil

ASTRONAUT = data.astronaut()[20:220, 110:310]
PUPILS = ((94, 82), (137, 82))
"""Columns and rows of the pupils in the crop, read off by hand."""


def flashed(red: tuple[int, int, int] = (190, 40, 40), radius: float = 2.6) -> tuple[np.ndarray, np.ndarray]:
    """The photo with red pupils, each with a glint, and which pixels are red."""
    seen = ASTRONAUT.copy()
    down, across = np.mgrid[:200, :200]
    shining = np.zeros(seen.shape[:2], bool)
    for x, y in PUPILS:
        shining |= np.hypot(across - x, down - y) <= radius
    seen[shining] = red
    for x, y in PUPILS:
        seen[y - 1, x - 1] = 250
        shining[y - 1, x - 1] = False
    return seen, shining


def mend(image: Image, **settings: Any) -> Image:
    result = use(red_eye_removal, image, run=DirectRun(), **settings)
    assert isinstance(result, Image)
    return result


def test_red_pupils_turn_grey_and_every_other_pixel_stays() -> None:
    seen, shining = flashed()
    result = mend(picture(seen), strength=100)
    mended = array_of(result)
    assert result.facts["eyesCorrected"] == 2
    assert result.warnings == ()
    assert np.array_equal(mended[~shining], seen[~shining])
    assert (np.ptp(mended[shining].astype(int), axis=1) == 0).all()
    assert mended[shining].max() < 40


def test_strength_says_how_much_of_the_red_goes() -> None:
    seen, shining = flashed()
    reds = [array_of(mend(picture(seen), strength=strength))[shining][:, 0].mean() for strength in (20, 70, 100)]
    assert reds == sorted(reds, reverse=True)
    assert reds[1] == pytest.approx(190 + 0.7 * (40 * 0.85 - 190), abs=1)


def test_sensitivity_decides_about_weak_red() -> None:
    seen, _ = flashed((130, 62, 62))
    assert mend(picture(seen), sensitivity=20).facts["eyesCorrected"] == 0
    assert mend(picture(seen), sensitivity=100).facts["eyesCorrected"] == 2


def test_fractions_are_percent() -> None:
    parse = red_eye_removal.settings.parse
    assert parse({"sensitivity": 0.5, "strength": 0.9}) == parse({"sensitivity": 50, "strength": 90})


def test_healthy_eyes_lips_and_skin_are_left_alone() -> None:
    result = mend(picture(ASTRONAUT), sensitivity=100)
    assert np.array_equal(array_of(result), ASTRONAUT)
    assert "No red eye" in result.warnings[0]


def test_red_things_without_a_face_are_left_alone() -> None:
    seen = data.coffee()[::3, ::3]
    result = mend(picture(seen), sensitivity=100)
    assert np.array_equal(array_of(result), seen)
    assert "No face" in result.warnings[0]


def test_alpha_and_16_bits_stay() -> None:
    seen, shining = flashed()
    deep = np.dstack([seen, np.full(seen.shape[:2], 77, np.uint8)]).astype(np.uint16) * 257
    result = array_of(mend(picture(deep), strength=100))
    assert result.dtype == np.uint16
    assert np.array_equal(result[~shining], deep[~shining])
    assert np.array_equal(result[..., 3], deep[..., 3])
    assert result[shining][:, 0].max() < 40 * 257


def test_a_grey_picture_has_none() -> None:
    seen = noise(30, 20, 1)
    result = mend(picture(seen))
    assert np.array_equal(array_of(result), seen)
    assert "grey" in result.warnings[0]


@pytest.mark.parametrize(
    ("shape", "found"),
    [("disc", True), ("bar", False), ("large", False), ("far", False), ("dot", False)],
)
def test_only_a_round_spot_of_the_right_size_near_the_eye_is_a_pupil(shape: str, found: bool) -> None:
    scene = np.full((200, 200, 3), (190, 150, 130), np.uint8)
    down, across = np.mgrid[:200, :200]
    marks = {
        "disc": np.hypot(across - 103, down - 98) < 8,
        "bar": (abs(across - 100) < 20) & (abs(down - 100) < 3),
        "large": np.hypot(across - 100, down - 100) < 22,
        "far": np.hypot(across - 150, down - 100) < 8,
        "dot": np.hypot(across - 100, down - 100) < 1,
    }
    scene[marks[shape]] = (200, 30, 40)
    places = red_pupil(scene, (100, 100), 100, 0.5)
    assert (places is not None) == found
    if places is not None:
        assert len(places[0]) == marks[shape].sum()


def test_the_wanted_format_and_quality_reach_the_file() -> None:
    result = mend(picture(ASTRONAUT), format="jpg", quality=55)
    assert (result.encoding.format, result.encoding.quality) == ("jpeg", 55)
    assert mend(picture(ASTRONAUT, "png"), quality=55).encoding.quality is None


@pytest.mark.parametrize("settings", [{"sensitivity": 101}, {"strength": -1}, {"format": "gif"}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        red_eye_removal.settings.parse(settings)
