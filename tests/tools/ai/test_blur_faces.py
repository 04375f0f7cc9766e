"""Blurring faces: what is hidden cannot be brought back, and the reply never claims more than was done."""

from typing import Any

import numpy as np
import pytest
from skimage import data
from support.pictures import DirectRun, array_of, noise, picture, use

from darkroom_tools.ai import blur_faces as module
from darkroom_tools.ai.blur_faces import blur_faces
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings
from darkroom_tools.kit.faces import Face, Faces

ASTRONAUT = data.astronaut()[:300, 60:360]
EYES = (slice(95, 110), slice(140, 195))
"""Where the eyes are in the crop."""


def given(*boxes: tuple[float, float, float, float]) -> Faces:
    return Faces(tuple(Face(*box, 1.0, ((0.0, 0.0),) * 5) for box in boxes), "given", False)


def hide(image: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    result = use(blur_faces, image, run=run, **settings)
    assert isinstance(result, Image)
    return result


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the details of two pieces, without their means."""
    return float(
        np.corrcoef(np.diff(one.astype(float), axis=1).ravel(), np.diff(other.astype(float), axis=1).ravel())[0, 1]
    )


def test_the_face_of_a_photo_is_hidden_and_the_rest_untouched() -> None:
    result = hide(picture(ASTRONAUT))
    seen = array_of(result)
    assert result.facts["facesDetected"] == 1
    (box,) = result.facts["faces"]
    assert abs(box["x"] + box["w"] / 2 - 160) < 12
    assert abs(box["y"] + box["h"] / 2 - 115) < 14
    assert abs(alike(seen[EYES], ASTRONAUT[EYES])) < 0.3
    assert np.array_equal(seen[200:], ASTRONAUT[200:])
    assert np.array_equal(seen[:, 260:], ASTRONAUT[:, 260:])
    assert result.facts["method"] == "lbp-cascade"


def test_without_a_model_the_reply_says_which_faces_may_have_been_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = hide(picture(ASTRONAUT)).warnings
    assert "towards the camera" in warning
    assert "darkroom models pull yunet-2023mar" in warning
    seen = Faces(given((20, 20, 60, 60)).found, "yunet-2023mar", False)
    monkeypatch.setattr(module, "find_faces", lambda *_: seen)
    assert hide(picture(noise(100, 100))).warnings == ()


def test_a_picture_without_faces_is_left_and_the_reply_says_that_nothing_was_hidden() -> None:
    seen = data.coffee()[::3, ::3]
    result = hide(picture(seen))
    assert np.array_equal(array_of(result), seen)
    assert result.facts["facesDetected"] == 0
    assert "nothing was hidden" in result.warnings[0]


def test_nothing_of_the_face_is_finer_than_a_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_faces", lambda *_: given((20, 20, 60, 60)))
    one, other = noise(100, 100, seed=1), noise(100, 100, seed=2)
    results = [array_of(hide(picture(seen), blurRadius=100))[35:65, 35:65].astype(float) for seen in (one, other)]
    assert np.ptp(results[0]) < 60
    assert abs(alike(results[0], one[35:65, 35:65])) < 0.1
    assert np.abs(np.diff(results[0], axis=1)).max() < 8


def test_the_radius_counts_by_the_size_of_the_face(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = noise(120, 120, seed=3)
    spreads = []
    for size in (20, 80):
        box = (60 - size / 2, 60 - size / 2, size, size)
        monkeypatch.setattr(module, "find_faces", lambda *_, box=box: given(box))
        middle = array_of(hide(picture(scene), blurRadius=30))[54:66, 54:66].astype(float)
        spreads.append(np.abs(np.diff(middle, axis=1)).mean())
    assert spreads[0] > 2 * spreads[1]


def test_a_weak_blur_is_warned_of() -> None:
    assert "recognised" in hide(picture(ASTRONAUT), blurRadius=5).warnings[-1]


def test_faces_of_neighbouring_frames_are_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.stack([noise(60, 60, seed=n) for n in range(4)])
    found = iter([given((20, 20, 20, 20)), given(), given(), given()])
    monkeypatch.setattr(module, "find_faces", lambda *_: next(found))
    result = hide(picture(frames, "gif", delay=[50] * 4))
    seen = array_of(result)
    changed = [not np.array_equal(seen[n], frames[n]) for n in range(4)]
    assert changed == [True, True, False, False]
    assert result.facts["faces"] == [{"x": 20, "y": 20, "w": 20, "h": 20, "frame": 0}]


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_every_kind_of_picture_keeps_its_bands_and_depth(
    bands: int, depth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_faces", lambda *_: given((10, 10, 20, 20)))
    seen = noise(60, 40, bands, depth)
    result = array_of(hide(picture(seen)))
    assert (result.shape, result.dtype) == (seen.shape, seen.dtype)
    assert np.array_equal(result[:, 45:], seen[:, 45:])
    assert not np.array_equal(result[15:25, 15:25], seen[15:25, 15:25])


def test_hidden_colour_under_transparency_does_not_bleed_into_the_blur(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_faces", lambda *_: given((10, 10, 40, 40)))
    seen = np.zeros((60, 60, 4), np.uint8)
    seen[..., 0] = 255  # red where nobody sees it
    seen[:, 30:] = (0, 0, 255, 255)
    result = array_of(hide(picture(seen)))
    visible = result[..., 3] > 100
    assert result[visible][:, 0].max() < 20


def test_a_face_over_the_border_of_the_picture_is_hidden_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_faces", lambda *_: given((-20, -20, 40, 40), (500, 500, 20, 20)))
    seen = noise(60, 60)
    result = array_of(hide(picture(seen)))
    assert not np.array_equal(result[:10, :10], seen[:10, :10])
    assert np.array_equal(result[40:, 40:], seen[40:, 40:])


def test_a_cancelled_call_stops() -> None:
    with pytest.raises(Cancelled):
        hide(picture(ASTRONAUT), DirectRun(cancel_at=0))


@pytest.mark.parametrize("settings", [{"blurRadius": 0}, {"blurRadius": 101}, {"sensitivity": 1.1}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=next(iter(settings))):
        blur_faces.settings.parse(settings)
