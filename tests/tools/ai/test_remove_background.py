"""Cutting out by colour and by model, and what is put behind."""

from typing import Any

import numpy as np
import PIL.Image
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, encoded_as, noise, picture

from darkroom_tools.ai.remove_background import remove_background
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, ModelNotInstalled
from darkroom_tools.models import best_installed, card

RNG = np.random.default_rng(5)
DOWN, ACROSS = np.mgrid[0:120, 0:160]
SUBJECT = (((DOWN - 62) / 35) ** 2 + ((ACROSS - 82) / 45) ** 2 < 1) | ((abs(DOWN - 90) < 30) & (abs(ACROSS - 82) < 15))
BACKGROUNDS = {
    "plain": np.full((120, 160, 3), 235.0) + RNG.normal(0, 4, (120, 160, 3)),
    "graded": np.stack([60 + DOWN * 1.2, 120 + ACROSS * 0.6, 200 - DOWN * 0.6], -1) + RNG.normal(0, 3, (120, 160, 3)),
    "blurred": np.stack([120 + 60 * np.sin(ACROSS / 20) + 30 * np.cos(DOWN / 15)] * 3, -1) + [20, 0, -20],
}
CLUTTER = np.kron(RNG.uniform(0, 255, (24, 32, 3)), np.ones((5, 5, 1)))


def scene(background: np.ndarray) -> np.ndarray:
    """A red subject with blue stripes."""
    seen, random = background.copy(), np.random.default_rng(6)
    seen[SUBJECT] = np.array([200, 60, 40]) + random.normal(0, 10, (int(SUBJECT.sum()), 3))
    seen[SUBJECT & ((ACROSS // 6) % 3 == 0)] = [40, 90, 170]
    return np.clip(seen, 0, 255).astype(np.uint8)


def cut(image: Image, run: DirectRun | None = None, other: Image | None = None, **settings: Any) -> Image:
    parsed = remove_background.settings.parse(settings)
    assert remove_background.settings.parse(parsed.to_wire()) == parsed
    assert remove_background.function is not None
    result = remove_background.function(image, parsed, run or DirectRun(), other)
    assert isinstance(result, Image)
    return result


def overlap(mask: np.ndarray) -> float:
    """Intersection over union with the true subject."""
    found = mask > 127
    return float((found & SUBJECT).sum() / (found | SUBJECT).sum())


def luminance(array: np.ndarray) -> list[np.ndarray]:
    """A model whose mask is the brightness of its normalised input."""
    return [array.mean(axis=1, keepdims=True)]


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_the_subject_is_found_without_a_model(kind: str) -> None:
    result = cut(picture(scene(BACKGROUNDS[kind])))
    assert overlap(array_of(result)[..., 3]) > (0.85 if kind == "blurred" else 0.97)
    assert result.facts["method"] == "color-cut"
    assert result.facts["confidence"] >= 0.4
    assert result.warnings == ()


def test_clutter_is_admitted_to_be_hard() -> None:
    result = cut(picture(scene(CLUTTER)))
    assert result.facts["confidence"] < 0.2
    assert "darkroom models pull" in result.warnings[0]


def test_a_doubtful_cut_says_so() -> None:
    result = cut(picture(data.chelsea()))
    assert 0.02 < result.facts["confidence"] < 0.4
    assert "look at it" in result.warnings[0]


def test_a_cup_of_coffee_is_cut_from_its_table() -> None:
    alpha = array_of(cut(picture(data.coffee())))[..., 3]
    assert alpha[60:180, 200:360].min() > 200  # the cup, with its white inside
    assert alpha[250:330, 60:120].mean() > 60  # half of this box is saucer
    assert alpha[:60, :120].max() < 40  # wood
    assert alpha[300:, 520:].max() < 40


def test_a_picture_without_a_subject_is_kept_whole() -> None:
    result = cut(picture(np.full((60, 80, 3), 128, np.uint8)))
    assert array_of(result)[..., 3].min() == 255
    assert "nothing was cut" in result.warnings[0]


def test_the_same_picture_gives_the_same_pixels() -> None:
    image = picture(scene(BACKGROUNDS["graded"]))
    assert np.array_equal(array_of(cut(image)), array_of(cut(image)))


def test_colours_inside_the_subject_stay_and_hidden_ones_are_erased() -> None:
    seen = scene(BACKGROUNDS["plain"])
    result = array_of(cut(picture(seen)))
    inside = result[..., 3] == 255
    assert np.array_equal(result[inside][:, :3], seen[inside])
    assert not result[result[..., 3] == 0].any()


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 1, 3), np.uint8), ((1, 2000, 3), np.uint8), ((7, 5, 2), np.uint8), ((40, 50, 1), np.uint8)]
    + [((40, 50, 4), np.uint8), ((40, 50, 3), np.uint16)],
)
def test_odd_pictures_keep_their_size_and_depth(shape: tuple[int, int, int], kind: Any) -> None:
    height, width, bands = shape
    result = array_of(cut(picture(noise(width, height, bands, kind))))
    assert result.shape == (height, width, 2 if bands < 3 else 4)
    assert result.dtype == kind


def test_alpha_that_was_there_is_never_raised() -> None:
    seen = np.concatenate([scene(BACKGROUNDS["plain"]), (ACROSS[..., None]).astype(np.uint8)], -1)
    assert (array_of(cut(picture(seen)))[..., 3] <= seen[..., 3]).all()


def test_only_the_first_frame_of_an_animation_is_cut_and_said_so() -> None:
    result = cut(picture(np.stack([scene(BACKGROUNDS["plain"])] * 3), delay=[50, 50, 50]))
    assert result.frames == 1
    assert "first of 3 frames" in result.warnings[0]


@pytest.mark.parametrize(("source", "written"), [("jpeg", "png"), ("gif", "png"), ("png", None), ("webp", None)])
def test_transparency_is_written_in_a_format_that_has_it(source: Any, written: str | None) -> None:
    result = cut(picture(scene(BACKGROUNDS["plain"]), source))
    assert result.encoding.format == written


def test_a_format_that_was_asked_for_is_kept_if_it_has_alpha() -> None:
    image = encoded_as(picture(scene(BACKGROUNDS["plain"]), "jpeg"), "webp")
    assert cut(image).encoding.format == "webp"


def test_the_mask_is_the_alpha_in_grey() -> None:
    image = picture(scene(BACKGROUNDS["plain"]))
    mask = cut(image, returnMask=True)
    assert np.array_equal(array_of(mask)[..., 0], array_of(cut(image))[..., 3])
    assert mask.encoding.format == "png"


def test_a_colour_stands_behind_the_subject() -> None:
    seen = scene(BACKGROUNDS["plain"])
    result = array_of(cut(picture(seen), backgroundColor="#102030"))
    assert tuple(result[2, 2]) == (16, 32, 48)
    assert np.array_equal(result[62, 82], seen[62, 82])


def test_transparent_is_a_background_colour_too() -> None:
    assert cut(picture(scene(BACKGROUNDS["plain"])), backgroundColor="transparent").has_alpha


@pytest.mark.parametrize(("angle", "dark", "light"), [(180, (0, 80), (119, 80)), (90, (60, 0), (60, 159))])
def test_a_gradient_runs_the_way_its_angle_says(angle: float, dark: tuple[int, int], light: tuple[int, int]) -> None:
    colours = {"gradientColor1": "#000000", "gradientColor2": "#FFFFFF", "gradientAngle": angle}
    result = array_of(cut(picture(scene(BACKGROUNDS["plain"])), **colours)).astype(int)
    assert result[dark].max() < 8
    assert angle != 90 or result[light].min() > 247


def test_the_background_is_blurred_and_the_subject_is_not() -> None:
    rows = np.where((DOWN // 2) % 2, 220.0, 240.0)[..., None] * np.ones(3)
    seen = scene(rows)
    result = array_of(cut(picture(seen), blurEnabled=True)).astype(int)
    assert np.ptp(result[5:30, 5]) < 6 < np.ptp(seen[5:30, 5].astype(int))
    assert np.array_equal(result[62, 80:85], seen[62, 80:85])


def test_another_picture_covers_the_background() -> None:
    other = picture(np.full((50, 400, 3), [10, 200, 30], np.uint8))
    result = array_of(cut(picture(scene(BACKGROUNDS["plain"])), None, other))
    assert result.shape == (120, 160, 3)
    assert np.abs(result[3, 3].astype(int) - [10, 200, 30]).max() <= 1


def test_a_shadow_darkens_what_lies_below_the_subject() -> None:
    image = picture(scene(BACKGROUNDS["plain"]))
    lit = array_of(cut(image, backgroundColor="#FFFFFF")).astype(int)
    shaded = array_of(cut(image, backgroundColor="#FFFFFF", shadowEnabled=True, shadowOpacity=80)).astype(int)
    below = (DOWN > 96) & (DOWN < 100) & (abs(ACROSS - 112) < 3)
    assert (shaded <= lit).all()
    assert shaded[5, 5].min() == 255
    assert (lit - shaded)[below | (DOWN == 119)].max() > 20


def test_a_shadow_without_a_background_is_part_of_the_alpha() -> None:
    image = picture(scene(BACKGROUNDS["plain"]))
    plain, shaded = array_of(cut(image))[..., 3], array_of(cut(image, shadowEnabled=True))[..., 3]
    assert (shaded >= plain).all()
    assert shaded.sum() > plain.sum()


def test_matting_leaves_alone_what_the_mask_is_sure_of() -> None:
    image = picture(scene(BACKGROUNDS["plain"]))
    result = cut(image, alphaMattingForeground=200)
    alpha = array_of(result)[..., 3]
    assert result.facts["matting"] == "guided-filter"
    assert overlap(alpha) > 0.95
    assert alpha[62, 82] == 255


@pytest.mark.parametrize("model", ["u2net", "isnet-general-use", "birefnet-general"])
def test_a_model_gets_the_picture_in_its_own_convention(model: str) -> None:
    seen = scene(BACKGROUNDS["graded"])
    given: list[np.ndarray] = []

    def answer(array: np.ndarray) -> list[np.ndarray]:
        given.append(array)
        return luminance(array)

    result = cut(picture(seen), DirectRun({model: answer}), model=model)
    contract = card(model)
    side = int(contract.inputs[0].shape[-1])
    assert given[0].shape == (1, 3, side, side)
    assert given[0].dtype == np.float32
    restored = given[0][0].transpose(1, 2, 0) * contract.deviation + contract.mean
    assert restored.max() == pytest.approx(1, abs=1e-5)
    small = np.asarray(PIL.Image.fromarray(seen).resize((side, side), PIL.Image.Resampling.LANCZOS))
    assert np.abs(restored - small / small.max()).mean() < 0.05
    assert result.facts["method"] == model


def test_the_mask_of_a_model_is_its_output_scaled_to_its_own_range() -> None:
    ramp = np.linspace(-3, 9, 320, dtype=np.float32)[None, None, None, :].repeat(320, 2)
    result = cut(picture(scene(BACKGROUNDS["plain"])), DirectRun({"u2net": lambda _: [ramp]}), returnMask=True)
    mask = array_of(result)[..., 0].astype(int)
    expected = np.linspace(0, 255, 320).reshape(160, 2).mean(1)
    assert np.abs(mask[100] - expected).max() <= 2


def test_logits_go_through_a_sigmoid_first() -> None:
    plane = np.full((1, 1, 1024, 1024), -8, np.float32)
    plane[..., 512:] = 8
    plane[..., 0, 0] = 0
    run = DirectRun({"birefnet-general": lambda _: [plane]})
    mask = array_of(cut(picture(noise(64, 64)), run, returnMask=True))[..., 0]
    assert mask[32, 8] <= 1
    assert mask[32, 56] >= 254


def test_a_model_that_is_not_there_is_an_error_only_if_it_was_named() -> None:
    image = picture(scene(BACKGROUNDS["plain"]))
    with pytest.raises(ModelNotInstalled):
        cut(image, DirectRun(), model="u2net")
    assert cut(image, DirectRun(), model="auto").facts["method"] == "color-cut"


@pytest.mark.parametrize(
    ("installed", "best"),
    [({"u2net", "birefnet-general"}, "birefnet-general"), ({"silueta", "u2netp"}, "silueta"), (set(), None)],
)
def test_the_best_installed_model_is_taken(installed: set[str], best: str | None) -> None:
    found = best_installed("cutout", installed.__contains__)
    assert (found and found.id) == best


def test_a_caller_that_gives_up_stops_the_work() -> None:
    with pytest.raises(Cancelled):
        cut(picture(scene(BACKGROUNDS["plain"])), DirectRun(cancel_at=0.2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"backgroundType": "color"}, "backgroundColor"),
        ({"backgroundType": "gradient", "gradientColor1": "#000000"}, "gradientColor2"),
        ({"alphaMattingForeground": 5, "alphaMattingBackground": 10}, "below"),
        ({"backgroundColor": "red"}, "#RRGGBB"),
        ({"model": "u2nett"}, "Did you mean 'u2net'"),
        ({"alphaMattingForeground": 256}, "255"),
        ({"blurIntensity": 101}, "100"),
        ({"backgroundColour": "#FFFFFF"}, "Did you mean 'backgroundColor'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        remove_background.settings.parse(settings)
