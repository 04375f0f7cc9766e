"""Colorization: colour from the network, lightness from the picture."""

from typing import Any

import numpy as np
import pytest
import skimage.color
from skimage import data
from support.pictures import DirectRun, array_of, gradient, noise, picture, use

from darkroom_tools.ai.colorize import colorize
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, ModelNotInstalled
from darkroom_tools.kit.colorizing import is_grey
from darkroom_tools.models import card

PHOTO = data.astronaut()[40:168, 160:288]
"""A face and an orange suit, 128 × 128."""

LAB = skimage.color.rgb2lab(PHOTO)


def grey_of(light: np.ndarray) -> np.ndarray:
    lab = np.stack([light, 0 * light, 0 * light], -1)
    return np.round(skimage.color.lab2rgb(lab) * 255).astype(np.uint8)[..., :1]


GREY = grey_of(LAB[..., 0])


def larger(plane: np.ndarray, side: int) -> np.ndarray:
    return np.repeat(np.repeat(plane, side // 128, 0), side // 128, 1)


def true_chroma(_: np.ndarray) -> list[np.ndarray]:
    return [larger(LAB[..., 1:], 512).transpose(2, 0, 1)[None].astype(np.float32)]


def flat_chroma(a: float, b: float, side: int = 512) -> Any:
    return lambda _: [np.stack([np.full((side, side), value, np.float32) for value in (a, b)])[None]]


def colored(image: Image, models: dict[str, Any], **settings: Any) -> Image:
    result = use(colorize, image, run=DirectRun(models), **settings)
    assert isinstance(result, Image)
    return result


def lightness(array: np.ndarray) -> np.ndarray:
    return np.asarray(skimage.color.rgb2lab(array)[..., 0])


def test_the_photos_own_colours_bring_the_photo_back() -> None:
    result = colored(picture(GREY), {"ddcolor": true_chroma})
    seen = array_of(result).astype(int)
    assert seen.shape == PHOTO.shape
    assert np.abs(seen - PHOTO).mean() < 2
    assert result.facts == {"method": "ddcolor", "isGrayscale": True}
    assert result.warnings == ()


@pytest.mark.parametrize(("a", "b"), [(0, 0), (25, -30), (90, 80), (-120, 110), (60, -127)])
def test_lightness_stays_whatever_the_network_says(a: float, b: float) -> None:
    wedge = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 8, 0)
    seen = array_of(colored(picture(wedge), {"ddcolor": flat_chroma(a, b)}))
    assert np.abs(lightness(seen) - lightness(np.repeat(wedge, 3, -1))).max() < 0.45


def test_colours_inside_the_gamut_are_those_of_scikit_image() -> None:
    seen = array_of(colored(picture(np.full((4, 4, 1), 119, np.uint8)), {"ddcolor": flat_chroma(30, -20)}))
    light = skimage.color.rgb2lab(np.full((1, 1, 3), 119, np.uint8))[0, 0, 0]
    expected = skimage.color.lab2rgb([[[light, 30, -20]]])[0, 0] * 255
    assert np.abs(seen[0, 0] - expected).max() <= 1


def test_intensity_weighs_the_colour() -> None:
    half = array_of(colored(picture(GREY), {"ddcolor": flat_chroma(20, 10)}, intensity=0.5))
    whole = array_of(colored(picture(GREY), {"ddcolor": flat_chroma(10, 5)}))
    none = array_of(colored(picture(GREY), {"ddcolor": flat_chroma(20, 10)}, intensity=0))
    assert np.array_equal(half, whole)
    assert np.abs(none.astype(int) - GREY).max() <= 1


def test_the_network_sees_the_lightness_as_grey() -> None:
    seen: list[np.ndarray] = []

    def look(array: np.ndarray) -> list[np.ndarray]:
        seen.append(array)
        return flat_chroma(0, 0)(array)

    colored(picture(PHOTO), {"ddcolor": look})
    (array,) = seen
    assert array.shape == (1, 3, 512, 512)
    assert array.dtype == np.float32
    assert np.array_equal(array[:, 0], array[:, 1])
    assert np.array_equal(array[:, 0], array[:, 2])
    assert np.abs(array[0, 0] - larger(GREY[..., 0], 512) / 255).mean() < 0.02


def test_networks_that_answer_with_a_picture_give_its_chroma() -> None:
    seen: list[float] = []

    def sepia(array: np.ndarray) -> list[np.ndarray]:
        seen.append(float(array.max()))
        return [array * np.array([1, 0.8, 0.6], np.float32).reshape(1, 3, 1, 1)]

    result = array_of(colored(picture(GREY), {"deoldify": sepia}))
    assert seen[0] == pytest.approx(float(GREY.max()), abs=3)
    assert np.abs(lightness(result) - LAB[..., 0]).max() < 0.6
    lab = skimage.color.rgb2lab(result)
    assert lab[..., 2].mean() > 8


def test_the_older_network_takes_lightness_from_0_to_100() -> None:
    seen: list[np.ndarray] = []

    def look(array: np.ndarray) -> list[np.ndarray]:
        seen.append(array)
        return flat_chroma(30, 0, 256)(array)

    result = colored(picture(GREY), {"colorization-eccv16": look}, model="opencv")
    assert result.facts["method"] == "colorization-eccv16"
    assert seen[0].shape == (1, 1, 256, 256)
    assert np.abs(seen[0][0, 0] - larger(LAB[..., 0], 256)).mean() < 2


@pytest.mark.parametrize(
    ("name", "installed", "method"),
    [
        ("auto", ["deoldify-stable", "ddcolor"], "ddcolor"),
        ("ddcolor", ["ddcolor-artistic"], "ddcolor-artistic"),
        ("ddcolor-artistic", ["ddcolor", "ddcolor-artistic"], "ddcolor-artistic"),
        ("opencv", ["ddcolor", "colorization-eccv16"], "colorization-eccv16"),
    ],
)
def test_the_wanted_model_is_used(name: str, installed: list[str], method: str) -> None:
    models = {model: flat_chroma(0, 0, int(str(card(model).inputs[0].shape[2]))) for model in installed}
    assert colored(picture(GREY), models, model=name).facts["method"] == method


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("auto", "darkroom models pull ddcolor"),
        ("ddcolor", "darkroom models pull ddcolor"),
        ("deoldify", "darkroom models pull deoldify"),
        ("opencv", "darkroom models import colorization-eccv16 FILE"),
    ],
)
def test_a_missing_model_is_told_with_its_command(name: str, command: str) -> None:
    with pytest.raises(ModelNotInstalled) as caught:
        colored(picture(GREY), {}, model=name)
    assert caught.value.details["command"] == command
    assert command in caught.value.message


def test_a_colour_picture_gets_new_colours_with_a_warning() -> None:
    result = colored(picture(PHOTO), {"ddcolor": flat_chroma(0, 0)})
    assert result.facts["isGrayscale"] is False
    assert "replaced" in result.warnings[0]
    assert np.ptp(array_of(result).astype(int), axis=-1).max() <= 1


def test_alpha_and_16_bits_stay() -> None:
    deep = gradient(40, 30, 2, np.uint16)
    seen = array_of(colored(picture(deep), {"ddcolor": flat_chroma(0, 0)}))
    assert seen.dtype == np.uint16
    assert seen.shape == (30, 40, 4)
    assert np.array_equal(seen[..., 3], deep[..., 1])
    assert np.abs(seen[..., :3].astype(int) - deep[..., :1]).max() <= 8


def test_of_an_animation_the_first_frame_is_colourised() -> None:
    frames = np.stack([noise(20, 16, 3)] * 2)
    result = colored(picture(frames, "gif", delay=[50, 50]), {"ddcolor": flat_chroma(0, 0)})
    assert result.frames == 1
    assert "first of 2 frames" in result.warnings[0]


def test_the_smallest_picture_is_colourised() -> None:
    seen = array_of(colored(picture(np.full((1, 1, 1), 128, np.uint8)), {"ddcolor": flat_chroma(40, 0)}))
    assert seen[0, 0, 0] > 128 > seen[0, 0, 1]


@pytest.mark.parametrize(
    ("array", "grey"),
    [
        (GREY, True),
        (np.repeat(GREY, 3, -1), True),
        (np.round(GREY * [1.0, 0.85, 0.65]).astype(np.uint8), True),
        (PHOTO, False),
        (data.coffee()[::4, ::4], False),
        (np.repeat(GREY, 3, -1) + np.eye(128, dtype=np.uint8)[..., None], True),
    ],
    ids=["one band", "three bands", "sepia", "a face", "coffee", "a hair"],
)
def test_grey_is_told_from_colour(array: np.ndarray, grey: bool) -> None:
    assert is_grey(picture(array).pixels) is grey


def test_who_gives_up_is_heard() -> None:
    with pytest.raises(Cancelled):
        use(colorize, picture(GREY), run=DirectRun({"ddcolor": true_chroma}, cancel_at=0.5))


@pytest.mark.parametrize("settings", [{"model": "ddcolour"}, {"intensity": 1.5}, {"intensity": -0.1}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        colorize.settings.parse(settings)
