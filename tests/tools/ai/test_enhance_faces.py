"""Face enhancement: which model, which faces, and what the reply says."""

from typing import Any

import numpy as np
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, noise, picture, use

from darkroom_tools.ai import enhance_faces as module
from darkroom_tools.ai.enhance_faces import enhance_faces
from darkroom_tools.base import Image
from darkroom_tools.errors import InvalidSettings, ModelNotInstalled
from darkroom_tools.kit.faces import Face, Faces

POINTS = ((0.31, 0.37), (0.69, 0.37), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))


def face_at(left: float, top: float, side: float) -> Face:
    return Face(left, top, side, side, 1.0, tuple((left + x * side, top + y * side) for x, y in POINTS))


def inverted(array: np.ndarray, *_: np.ndarray) -> list[np.ndarray]:
    return [-array]


def enhance(image: Image, *models: str, **settings: Any) -> Image:
    result = use(enhance_faces, image, run=DirectRun(dict.fromkeys(models, inverted)), **settings)
    assert isinstance(result, Image)
    return result


@pytest.fixture
def two_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "find_faces", lambda *_: Faces((face_at(10, 10, 40), face_at(80, 40, 30)), "given", False)
    )


def test_the_face_of_a_photo_is_changed_and_the_rest_untouched() -> None:
    scene = data.astronaut()[:300, 60:360]
    result = enhance(picture(scene), "gfpgan-1.4", strength=1)
    seen = array_of(result)
    assert result.facts["facesDetected"] == 1
    assert result.facts["method"] == "gfpgan-1.4"
    inside = (slice(90, 140), slice(140, 190))
    assert np.abs(seen[inside].astype(int) - (255 - scene[inside].astype(int))).mean() < 12
    assert np.array_equal(seen[:, 290:], scene[:, 290:])


@pytest.mark.usefixtures("two_faces")
def test_all_faces_are_enhanced_or_only_the_one_nearest_the_middle() -> None:
    scene = noise(160, 120)
    both = array_of(enhance(picture(scene), "gfpgan-1.4"))
    one = enhance(picture(scene), "gfpgan-1.4", centerFace=True)
    assert not np.array_equal(both[20:40, 20:40], scene[20:40, 20:40])
    assert np.array_equal(array_of(one)[20:30, 20:30], scene[20:30, 20:30])
    assert one.facts["faces"] == [{"x": 80, "y": 40, "w": 30, "h": 30}]


@pytest.mark.usefixtures("two_faces")
@pytest.mark.parametrize(
    ("name", "installed", "method"),
    [
        ("auto", ["gfpgan-1.2", "gfpgan-1.4"], "gfpgan-1.4"),
        ("auto", ["restoreformer-plus-plus", "codeformer"], "restoreformer-plus-plus"),
        ("gfpgan", ["gfpgan-1.3"], "gfpgan-1.3"),
        ("codeformer", ["codeformer", "gfpgan-1.4"], "codeformer"),
        ("gpen-bfr-512", ["gpen-bfr-512"], "gpen-bfr-512"),
    ],
)
def test_the_wanted_model_is_used(name: str, installed: list[str], method: str) -> None:
    assert enhance(picture(noise(160, 120)), *installed, model=name).facts["method"] == method


@pytest.mark.parametrize(
    ("name", "installed", "command"),
    [
        ("auto", [], "darkroom models pull gfpgan-1.4"),
        ("auto", ["codeformer"], "darkroom models pull gfpgan-1.4"),
        ("gfpgan", ["codeformer"], "darkroom models pull gfpgan-1.4"),
        ("codeformer", ["gfpgan-1.4"], "darkroom models pull codeformer"),
    ],
)
def test_a_missing_model_is_told_with_its_command_and_never_replaced_by_a_non_commercial_one(
    name: str, installed: list[str], command: str
) -> None:
    with pytest.raises(ModelNotInstalled) as caught:
        enhance(picture(noise(60, 60)), *installed, model=name)
    assert caught.value.details["command"] == command


def test_a_picture_without_faces_is_left_alone() -> None:
    scene = noise(80, 60)
    result = enhance(picture(scene), "gfpgan-1.4")
    assert np.array_equal(array_of(result), scene)
    assert "nothing was changed" in result.warnings[0]


@pytest.mark.usefixtures("two_faces")
def test_of_an_animation_the_first_frame_is_enhanced() -> None:
    result = enhance(picture(np.stack([noise(160, 120)] * 2), "gif", delay=[50, 50]), "gfpgan-1.4")
    assert result.frames == 1
    assert "first of 2 frames" in result.warnings[0]


@pytest.mark.parametrize("settings", [{"model": "gfpgan2"}, {"strength": 1.5}, {"sensitivity": -1}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        enhance_faces.settings.parse(settings)
