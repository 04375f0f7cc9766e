"""Cropping around subject and faces, and trimming."""

from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from support.pictures import DirectRun, array_of, noise, picture, use

from darkroom_tools.ai import smart_crop as module
from darkroom_tools.ai.smart_crop import smart_crop
from darkroom_tools.base import Image
from darkroom_tools.errors import Cancelled, InvalidSettings, OutputTooLarge
from darkroom_tools.kit.faces import Face, Faces


def crop(image: Image, run: DirectRun | None = None, **settings: Any) -> Image:
    result = use(smart_crop, image, run=run, **settings)
    assert isinstance(result, Image)
    return result


def seeing(monkeypatch: pytest.MonkeyPatch, width: int, *boxes: tuple[float, float, float]) -> None:
    """Have faces (left, top, side) of a picture of that width found, whatever size is searched."""

    def find(pixels: Any, sensitivity: float, run: Any) -> Faces:
        scale = pixels.width / width
        found = [Face(x * scale, y * scale, s * scale, s * scale, 0.9, ((0.0, 0.0),) * 5) for x, y, s in boxes]
        return Faces(tuple(sorted(found, key=lambda face: -face.height)), "drawn", False)

    monkeypatch.setattr(module, "find_faces", find)


def spotted(x: int, y: int, width: int = 300, height: int = 200) -> np.ndarray:
    seen = np.full((height, width, 3), 128, np.uint8)
    seen[y - 15 : y + 15, x - 15 : x + 15] = [230, 60, 20]
    return seen


@pytest.mark.parametrize("strategy", ["attention", "entropy"])
@pytest.mark.parametrize("x", [40, 150, 260])
def test_the_subject_is_kept(monkeypatch: pytest.MonkeyPatch, strategy: str, x: int) -> None:
    seeing(monkeypatch, 300)
    result = crop(picture(spotted(x, 100)), width=80, height=80, strategy=strategy)
    box = result.facts["box"]
    assert (box["width"], box["height"], box["top"]) == (200, 200, 0)
    assert box["left"] <= x - 15 and x + 15 <= box["left"] + 200
    assert result.facts["method"] == strategy
    assert (result.width, result.height) == (80, 80)
    assert result.warnings == ()


def test_the_subject_is_in_the_middle_where_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 300)
    box = crop(picture(spotted(170, 100)), width=50, height=100).facts["box"]
    assert box["left"] + box["width"] / 2 == pytest.approx(170, abs=4)


@settings(max_examples=50)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from(["subject", "face"]),
    st.sampled_from(["attention", "entropy"]),
    st.lists(st.tuples(st.floats(-20, 90), st.floats(-20, 90), st.floats(3, 60)), max_size=3),
)
def test_the_result_has_the_size_and_the_box_is_inside(
    width: int,
    height: int,
    across: int,
    down: int,
    mode: str,
    strategy: str,
    faces: list[tuple[float, float, float]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        seeing(patch, width, *faces)
        result = crop(picture(noise(width, height)), width=across, height=down, mode=mode, strategy=strategy)
    assert (result.width, result.height) == (across, down)
    box = result.facts["box"]
    assert 0 <= box["left"] <= box["left"] + box["width"] <= width
    assert 0 <= box["top"] <= box["top"] + box["height"] <= height


@pytest.mark.parametrize(("x", "y"), [(5, 40), (120, 10), (230, 130)])
@pytest.mark.parametrize(("width", "height"), [(70, 140), (140, 70)])
def test_a_face_is_never_cut(monkeypatch: pytest.MonkeyPatch, x: int, y: int, width: int, height: int) -> None:
    seeing(monkeypatch, 300, (x, y, 60))
    result = crop(picture(spotted(150, 100)), width=width, height=height)
    box = result.facts["box"]
    assert box["left"] <= x and x + 60 <= box["left"] + box["width"]
    assert box["top"] <= y and y + 60 <= box["top"] + box["height"]
    assert result.facts["method"] == "attention+drawn"
    assert result.facts["faces"] == [{"x": x, "y": y, "w": 60, "h": 60}]


@pytest.mark.parametrize(
    ("preset", "side"), [("closeup", 90), ("close-up", 90), ("head-shoulders", 140), ("upper-body", 225)]
)
def test_a_preset_is_so_many_heights_of_the_face(monkeypatch: pytest.MonkeyPatch, preset: str, side: int) -> None:
    seeing(monkeypatch, 600, (270, 150, 50))
    result = crop(picture(noise(600, 500)), mode="face", facePreset=preset, width=60, height=60)
    box = result.facts["box"]
    assert (box["width"], box["height"]) == (side, side)
    assert box["left"] + box["width"] / 2 == pytest.approx(295, abs=1)
    assert 150 - 0.3 * 50 >= box["top"]
    assert result.facts["method"] == "drawn"


def test_all_people_are_framed_and_a_bystander_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 900, (300, 200, 80), (440, 220, 60), (20, 200, 30))
    result = crop(picture(noise(900, 600)), mode="face", facePreset="close-up", width=100, height=100)
    box = result.facts["box"]
    assert 50 < box["left"] <= 300
    assert box["left"] + box["width"] >= 500
    assert len(result.facts["faces"]) == 3


def test_padding_gives_a_face_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 600, (270, 200, 50))
    tight, wide = (
        crop(picture(noise(600, 500)), mode="face", width=60, height=60, padding=p).facts["box"] for p in (0, 25)
    )
    assert (tight["width"], wide["width"]) == (140, 210)


def test_without_a_face_the_subject_is_kept_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 300)
    result = crop(picture(spotted(250, 100)), mode="face", width=50, height=50)
    assert result.facts["method"] == "attention"
    assert "No face was found" in result.warnings[0]
    assert result.facts["box"]["left"] + 200 >= 265


def test_the_astronaut_keeps_her_head() -> None:
    seen = np.asarray(PIL.Image.fromarray(data.astronaut()).resize((256, 256)))
    result = crop(picture(seen), width=200, height=85)
    box = result.facts["box"]
    assert box["top"] <= 8
    assert box["top"] + box["height"] >= 100
    assert result.facts["method"].startswith("attention+")
    face = crop(picture(seen), mode="face", width=100, height=100).facts["box"]
    assert face["left"] + face["width"] / 2 == pytest.approx(111, abs=8)
    assert 100 <= face["width"] <= 160


def test_the_pixels_are_those_of_the_box(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 300)
    seen = np.asarray(PIL.Image.fromarray(data.coffee()).resize((300, 200)))
    result = crop(picture(seen), width=100, height=100)
    box = result.facts["box"]
    area = (box["left"], box["top"], box["left"] + box["width"], box["top"] + box["height"])
    expected = PIL.Image.fromarray(seen).resize((100, 100), PIL.Image.Resampling.LANCZOS, box=area)
    assert np.abs(array_of(result).astype(int) - np.asarray(expected)).mean() < 1


def test_what_is_smaller_than_asked_is_enlarged_and_said() -> None:
    result = crop(picture(noise(30, 20)), width=90, height=40, strategy="entropy")
    assert (result.width, result.height) == (90, 40)
    assert "enlarged" in result.warnings[0]


def test_all_frames_are_cropped_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    seeing(monkeypatch, 160)
    frames = np.stack([spotted(60, 100, 160, 140), spotted(100, 100, 160, 140)])
    result = crop(picture(frames, delay=[50, 70]), width=40, height=60)
    assert (result.frames, result.width, result.height) == (2, 40, 60)


@pytest.mark.parametrize("mode", ["subject", "face", "trim"])
@pytest.mark.parametrize(
    ("shape", "kind"),
    [((1, 1, 3), np.uint8), ((1, 900, 3), np.uint8), ((7, 5, 2), np.uint8), ((40, 50, 1), np.uint8)]
    + [((40, 50, 4), np.uint8), ((40, 50, 3), np.uint16)],
)
def test_odd_pictures_keep_their_bands_and_depth(shape: tuple[int, int, int], kind: Any, mode: str) -> None:
    height, width, bands = shape
    result = array_of(crop(picture(noise(width, height, bands, kind)), width=20, height=16, mode=mode))
    assert result.shape[:2] == (16, 20)
    assert result.shape[2] in (bands, 3)
    assert result.dtype == kind


def test_a_border_is_trimmed_and_nothing_else_happens() -> None:
    result = crop(picture(spotted(100, 60)), mode="content")
    assert array_of(result).shape == (30, 30, 3)
    assert result.facts == {
        "method": "border-color",
        "box": {"left": 85, "top": 45, "width": 30, "height": 30},
    }


def test_padding_around_content_stays_inside_the_picture() -> None:
    assert crop(picture(spotted(100, 60)), mode="trim", padding=50).facts["box"] == {
        "left": 70,
        "top": 30,
        "width": 60,
        "height": 60,
    }
    edge = crop(picture(spotted(20, 60)), mode="trim", padding=50).facts["box"]
    assert (edge["left"], edge["width"]) == (0, 50)


def test_content_is_padded_to_a_square() -> None:
    seen = spotted(100, 60)
    seen[50:60, 60:140] = [10, 20, 200]
    result = array_of(crop(picture(seen), mode="trim", padToSquare=True, padColor="#00FF00"))
    assert result.shape == (80, 80, 3)
    assert result[0, 40].tolist() == [0, 255, 0]
    assert np.array_equal(result[25:55], seen[45:75, 60:140])


def test_a_square_is_scaled_to_the_size_that_is_asked_for() -> None:
    result = crop(picture(spotted(100, 60)), mode="trim", targetSize=200)
    assert (result.width, result.height) == (200, 200)
    assert "enlarged" in result.warnings[0]


def test_trimmed_content_fits_into_a_box_that_was_given() -> None:
    result = crop(picture(spotted(100, 60)), mode="trim", width=60, height=20)
    assert array_of(result).shape == (20, 60, 3)
    assert array_of(result)[10, 3].tolist() == [255, 255, 255]
    assert np.abs(array_of(result)[10, 30].astype(int) - [230, 60, 20]).max() <= 2
    assert array_of(crop(picture(spotted(100, 60)), mode="trim", height=20)).shape == (20, 20, 3)


def test_transparent_borders_are_trimmed_and_stay_transparent() -> None:
    seen = np.dstack([spotted(100, 60), np.zeros((200, 300), np.uint8)])
    seen[50:70, 80:120, 3] = 255
    result = crop(picture(seen), mode="trim", padToSquare=True)
    assert result.facts["method"] == "alpha"
    assert array_of(result).shape == (40, 40, 4)
    assert array_of(result)[0].max() == 0
    colored = array_of(crop(picture(seen), mode="trim", padToSquare=True, padColor="#FFFFFF"))
    assert colored[0].min() == 255


def test_one_colour_is_not_trimmed_and_said() -> None:
    result = crop(picture(np.full((20, 30, 3), 7, np.uint8)), mode="trim")
    assert (result.width, result.height) == (30, 20)
    assert "nothing was trimmed" in result.warnings[0]


def test_quality_is_that_of_the_file() -> None:
    assert (
        crop(picture(spotted(100, 60), "jpeg"), width=20, height=20, strategy="entropy", quality=42).encoding.quality
        == 42
    )


def test_a_caller_that_gives_up_stops_the_work() -> None:
    with pytest.raises(Cancelled):
        crop(picture(noise(100, 80)), DirectRun(cancel_at=0.5), width=20, height=20)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "faces"}, "subject"),
        ({"facePreset": "portrait"}, "upper-body"),
        ({"padding": 51}, "50"),
        ({"sensitivity": 1.1}, "1"),
        ({"threshold": 256}, "255"),
        ({"width": 0}, "1"),
        ({"padColor": "white"}, "#RRGGBB"),
        ({"quality": 0}, "1"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        smart_crop.settings.parse(wrong)


@pytest.mark.parametrize("mode", ["subject", "trim"])
def test_a_result_over_the_limits_is_refused(mode: str) -> None:
    with pytest.raises(OutputTooLarge):
        crop(picture(spotted(100, 60)), mode=mode, width=20_000, height=20_000)
