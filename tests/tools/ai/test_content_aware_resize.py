"""Content-aware resize: exact sizes, background goes first, subjects and faces stay."""

from typing import Any

import numpy as np
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, noise, picture

from darkroom_tools.ai import content_aware_resize as module
from darkroom_tools.ai.content_aware_resize import content_aware_resize
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, OutputTooLarge
from darkroom_tools.kit.faces import Face, Faces


def carve(image: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    assert content_aware_resize.function is not None
    result = content_aware_resize.function(image, content_aware_resize.settings.parse(settings), run or DirectRun())
    assert isinstance(result, Image)
    return result


def thing_on_background(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Soft noise with a sharp thing in it, and the thing."""
    scene = np.full((height, width, 3), 120, np.uint8) + noise(width, height) // 128
    thing = noise(width // 4, height // 2, seed=7)
    top, left = height // 4, width // 3
    scene[top : top + height // 2, left : left + width // 4] = thing
    return scene, thing


def stands_in(thing: np.ndarray, scene: np.ndarray) -> bool:
    """Whether the thing is somewhere in the scene, pixel for pixel."""
    rows, columns = thing.shape[:2]
    places = np.argwhere((scene[: len(scene) - rows + 1, : scene.shape[1] - columns + 1] == thing[0, 0]).all(-1))
    return any(np.array_equal(scene[y : y + rows, x : x + columns], thing) for y, x in places)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"width": 100}, (100, 80)),
        ({"width": 150}, (150, 80)),
        ({"height": 60}, (120, 60)),
        ({"width": 90, "height": 100}, (90, 100)),
        ({"square": True}, (80, 80)),
        ({"square": True, "width": 90}, (90, 90)),
        ({"square": True, "height": 70}, (70, 70)),
        ({"width": 1}, (1, 80)),
        ({"width": 300}, (300, 80)),
    ],
)
def test_the_result_has_exactly_the_wanted_size(settings: dict[str, Any], size: tuple[int, int]) -> None:
    result = carve(picture(noise(120, 80)), **settings)
    assert (result.width, result.height) == size
    assert result.facts["method"] == "seam-carving"


@pytest.mark.parametrize("settings", [{"width": 90}, {"height": 75}, {"width": 85, "height": 70}, {"width": 150}])
def test_the_thing_stays_and_the_background_goes(settings: dict[str, Any]) -> None:
    scene, thing = thing_on_background(120, 100)
    assert stands_in(thing, array_of(carve(picture(scene), protectFaces=False, **settings)))


@pytest.mark.parametrize("settings", [{"width": 230}, {"height": 165}])
def test_a_picture_over_the_working_size_keeps_its_things_pixel_for_pixel(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORKING_PIXELS", 7_000)
    scene, thing = thing_on_background(300, 200)
    inner = thing[6:-6, 6:-6]  # the reduced picture blurs the border of the thing
    assert stands_in(inner, array_of(carve(picture(scene), protectFaces=False, **settings)))


def test_a_face_keeps_its_width_only_if_it_is_protected(monkeypatch: pytest.MonkeyPatch) -> None:
    scene, thing = thing_on_background(120, 100)
    flat = np.full_like(thing, 118)
    scene[25 : 25 + len(flat), 40 : 40 + flat.shape[1]] = flat
    scene[:, ::3] += 60
    face = Face(left=44.0, top=30.0, width=22.0, height=36.0, score=1.0, landmarks=((0.0, 0.0),) * 5)
    monkeypatch.setattr(module, "find_faces", lambda *_: Faces((face,), "given", False))
    columns = np.arange(120, dtype=np.uint8)
    scene[40, :, 1] = columns

    kept = carve(picture(scene), width=70)
    bent = carve(picture(scene), width=70, protectFaces=False)

    assert kept.facts["facesProtected"] == 1
    assert set(range(44, 66)) <= set(array_of(kept)[40, :, 1].tolist())
    assert not set(range(44, 66)) <= set(array_of(bent)[40, :, 1].tolist())
    assert "facesProtected" not in bent.facts


def test_the_face_on_a_real_photo_is_found_and_kept() -> None:
    scene = data.astronaut()[20:220, 100:400]
    result = carve(picture(scene), width=200)
    assert result.facts["facesProtected"] == 1
    assert stands_in(scene[70:150, 90:155], array_of(result))


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_every_kind_of_picture_keeps_its_bands_and_depth(bands: int, depth: Any) -> None:
    seen = noise(30, 20, bands, depth)
    result = array_of(carve(picture(seen), width=22))
    assert result.shape == (20, 22, bands)
    assert result.dtype == depth
    assert {tuple(pixel) for pixel in result.reshape(-1, bands)} <= {tuple(pixel) for pixel in seen.reshape(-1, bands)}


def test_all_frames_of_an_animation_lose_the_same_seams() -> None:
    frame = noise(24, 16)
    image = picture(np.stack([frame, 255 - frame, frame]), "gif", delay=[40, 50, 60])
    result = carve(image, width=17)
    assert (result.frames, result.width, result.height) == (3, 17, 16)
    first, second, third = array_of(result).reshape(3, 16, 17, 3)
    assert np.array_equal(first, third)
    assert np.array_equal(second, 255 - first)
    assert result.pixels.get("delay") == [40, 50, 60]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 40), (40, 1), (2, 2)])
def test_the_smallest_pictures_shrink_and_grow(width: int, height: int) -> None:
    image = picture(noise(width, height))
    grown = carve(image, width=width + 3, height=height + 2)
    assert (grown.width, grown.height) == (width + 3, height + 2)
    least = carve(image, width=1, height=1)
    assert (least.width, least.height) == (1, 1)


def test_a_picture_of_that_size_is_left_alone() -> None:
    seen = noise(30, 20)
    result = carve(picture(seen), width=30)
    assert np.array_equal(array_of(result), seen)
    assert "already" in result.warnings[0]


def test_losing_more_than_half_is_told() -> None:
    assert "More than half" in carve(picture(noise(40, 30)), width=10).warnings[0]
    assert carve(picture(noise(40, 30)), width=30).warnings == ()


def test_the_same_picture_gives_the_same_pixels() -> None:
    image = picture(data.coffee()[::5, ::5])
    assert np.array_equal(array_of(carve(image, square=True)), array_of(carve(image, square=True)))


def test_a_cancelled_call_stops_between_seams() -> None:
    run = DirectRun(cancel_at=0.3)
    with pytest.raises(Cancelled):
        carve(picture(noise(90, 60)), run, width=40)
    assert run.reports[-1][0] < 0.7


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "at least one of"),
        ({"width": 0}, "width"),
        ({"width": 20_000}, "width"),
        ({"blurRadius": 21, "width": 5}, "blurRadius"),
        ({"sobelThreshold": 0, "width": 5}, "sobelThreshold"),
        ({"square": True, "width": 5, "height": 6}, "contradicts"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        content_aware_resize.settings.parse(settings)


def test_a_result_over_the_limits_is_refused_before_any_work() -> None:
    run = DirectRun()
    with pytest.raises(OutputTooLarge):
        carve(picture(noise(30, 20)), run, width=16_000, height=16_000)
    assert run.reports == []
