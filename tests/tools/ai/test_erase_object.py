"""Erasing: what the mask says, in whatever form it comes, and nothing else."""

import base64
import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
import pyvips
from PIL.PngImagePlugin import PngInfo
from support.pictures import DirectRun, array_of, gradient, noise, picture, use

from darkroom_tools.ai.erase_object import erase_object
from darkroom_tools.base import Image
from darkroom_tools.errors import InvalidSettings, ModelNotInstalled

SPOT = np.zeros((60, 80), np.uint8)
SPOT[20:40, 30:50] = 255


def scene_with_a_thing() -> np.ndarray:
    scene = gradient(80, 60)
    scene[SPOT > 0] = (255, 0, 0)
    return scene


def encoded(mask: np.ndarray, format: str = "PNG", **options: Any) -> str:
    buffer = io.BytesIO()
    PIL.Image.fromarray(mask).save(buffer, format, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def erase(image: Image, *masks: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    result = use(erase_object, image, *masks, run=run, **settings)
    assert isinstance(result, Image)
    return result


def test_the_thing_under_the_mask_is_gone_and_the_rest_untouched() -> None:
    scene = scene_with_a_thing()
    result = erase(picture(scene), picture(SPOT))
    erased = array_of(result)
    assert np.abs(erased[SPOT > 0].astype(int) - gradient(80, 60)[SPOT > 0]).max() < 12
    assert np.array_equal(erased[SPOT == 0], scene[SPOT == 0])
    assert result.facts == {"erasedPixels": 400, "erasedPercent": 8.33, "method": "exemplar"}
    assert result.warnings == ()


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_a_mask_inside_the_settings_does_the_same(prefix: str) -> None:
    image = picture(scene_with_a_thing())
    given = array_of(erase(image, picture(SPOT)))
    assert np.array_equal(array_of(erase(image, maskData=prefix + encoded(SPOT))), given)


def masks() -> dict[str, np.ndarray]:
    clear = np.zeros((60, 80, 4), np.uint8)
    white, black = clear.copy(), clear.copy()
    white[SPOT > 0], black[SPOT > 0] = 255, (0, 0, 0, 255)
    return {
        "grey": SPOT,
        "colour": np.dstack([SPOT] * 3),
        "16 bit": SPOT.astype(np.uint16) * 257,
        "white on clear": white,
        "black strokes on clear": black,
        "grey with alpha": np.dstack([SPOT, np.full_like(SPOT, 255)]),
        "twice the size": np.kron(SPOT, np.ones((2, 2), np.uint8)),
        "half the size": SPOT[::2, ::2],
    }


@pytest.mark.parametrize("kind", masks())
def test_every_kind_of_mask_means_the_same(kind: str) -> None:
    scene = scene_with_a_thing()
    result = erase(picture(scene), picture(masks()[kind]))
    assert result.facts["erasedPixels"] == 400
    assert np.array_equal(array_of(result)[SPOT == 0], scene[SPOT == 0])


def test_the_threshold_decides_about_grey() -> None:
    image, mask = picture(noise(80, 60)), picture((SPOT > 0) * np.uint8(100))
    assert erase(image, mask).facts["erasedPixels"] == 0
    assert erase(image, mask, maskThreshold=100).facts["erasedPixels"] == 400
    assert erase(image, mask, maskThreshold=101).facts["erasedPixels"] == 0


def test_a_mask_without_white_changes_nothing_and_says_so() -> None:
    scene = noise(80, 60)
    result = erase(picture(scene), picture(SPOT * 0))
    assert np.array_equal(array_of(result), scene)
    assert "nothing was erased" in result.warnings[0]


def test_a_mask_over_everything_changes_nothing_and_says_so() -> None:
    scene = noise(80, 60)
    result = erase(picture(scene), picture(SPOT * 0 + 255))
    assert np.array_equal(array_of(result), scene)
    assert "covers the whole picture" in result.warnings[0]


def test_a_call_without_a_mask_says_how_to_give_one() -> None:
    with pytest.raises(InvalidSettings, match="maskData"):
        erase(picture(noise(80, 60)))


@pytest.mark.parametrize(
    "value",
    ["", "not base64!", "aGVsbG8=", encoded(SPOT)[:60], encoded(SPOT, "GIF"), base64.b64encode(b"<svg/>").decode()],
    ids=["empty", "text", "no picture", "cut off", "gif", "svg"],
)
def test_a_mask_that_cannot_be_read_is_refused_by_name(value: str) -> None:
    with pytest.raises(InvalidSettings, match="maskData") as caught:
        erase(picture(noise(80, 60)), maskData=value)
    assert caught.value.details["field"] == "maskData"


def test_text_inside_a_mask_never_reaches_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    decode, seen = pyvips.Image.new_from_buffer, []

    def spy(data: bytes, *rest: Any, **options: Any) -> pyvips.Image:
        seen.append(data)
        return decode(data, *rest, **options)

    monkeypatch.setattr(pyvips.Image, "new_from_buffer", spy)
    text = PngInfo()
    text.add_text("Comment", "A" * 10_000, zip=True)
    value = encoded(SPOT, pnginfo=text)
    assert b"zTXtComment" in base64.b64decode(value)
    assert erase(picture(noise(80, 60)), maskData=value).facts["erasedPixels"] == 400
    assert seen == [base64.b64decode(encoded(SPOT))]


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA"])
def test_a_png_of_any_kind_is_a_mask(mode: str) -> None:
    buffer = io.BytesIO()
    PIL.Image.fromarray(SPOT).convert(mode).save(buffer, "PNG")
    value = base64.b64encode(buffer.getvalue()).decode()
    assert erase(picture(noise(80, 60)), maskData=value).facts["erasedPixels"] == 400


def test_a_huge_mask_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidSettings, match="maskData"):
        erase_object.settings.parse({"maskData": "A" * 2_000_001})


def test_a_network_is_used_where_one_is_installed_and_asked_for_by_name() -> None:
    def grey(image: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
        return [np.full_like(image, 77)]

    image, run = picture(scene_with_a_thing()), DirectRun({"lama": grey})
    result = erase(image, picture(SPOT), run=run)
    assert result.facts["method"] == "lama"
    assert (array_of(result)[SPOT > 0] == 77).all()
    assert erase(image, picture(SPOT), run=run, model="exemplar").facts["method"] == "exemplar"
    with pytest.raises(ModelNotInstalled) as caught:
        erase(image, picture(SPOT), model="lama")
    assert caught.value.details["command"] == "darkroom models pull lama"


def test_a_large_hole_is_warned_of_unless_a_network_fills_it() -> None:
    large = np.zeros((60, 80), np.uint8)
    large[10:50, 10:60] = 255
    assert "pull lama" in erase(picture(noise(80, 60)), picture(large)).warnings[0]


def test_alpha_is_filled_too() -> None:
    scene = np.dstack([gradient(80, 60), np.zeros((60, 80), np.uint8)])
    scene[SPOT > 0] = 255
    assert not array_of(erase(picture(scene), picture(SPOT)))[..., 3].any()


def test_of_an_animation_the_first_frame_is_changed() -> None:
    result = erase(picture(np.stack([noise(80, 60)] * 2), "gif", delay=[50, 50]), picture(SPOT))
    assert result.frames == 1
    assert "first of 2 frames" in result.warnings[0]


def test_the_wanted_format_and_quality_reach_the_file() -> None:
    result = erase(picture(noise(80, 60)), picture(SPOT), format="jpg", quality=70)
    assert (result.encoding.format, result.encoding.quality) == ("jpeg", 70)
