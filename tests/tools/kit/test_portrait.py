"""Landmarks, and the similarity that puts a face into a photo."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import noise, picture

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.density import pixels_of
from darkroom_tools.kit.passports import passport_specs
from darkroom_tools.kit.portrait import Landmarks, Placement, Point, placed, rendered

SPECS = list(passport_specs().values())
DEGREES = st.floats(-15, 15)


def face(center: Point, head: float, degrees: float) -> Landmarks:
    """A face with its eyes at `center`, `head` pixels from chin to crown, leaning clockwise."""
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)

    def at(aside: float, below: float) -> Point:
        x, y = aside * head, below * head
        return center[0] + cosine * x - sine * y, center[1] + sine * x + cosine * y

    return Landmarks(at(-0.15, 0), at(0.15, 0), at(0, 0.52), at(0, -0.35), at(0, -0.48), at(0, 0.2), center[0])


@given(st.sampled_from(SPECS), DEGREES, st.floats(0.5, 3), st.sampled_from([72, 300, 1200]), st.floats(30, 3000))
def test_head_and_eyes_are_where_the_rules_want_them(
    spec: Any, degrees: float, zoom: float, dpi: int, head: float
) -> None:
    marks = face((800, 600), head, degrees)
    width, height = pixels_of(spec.width_mm, dpi), pixels_of(spec.height_mm, dpi)
    place = placed(marks, width, height, spec.head_ratio * zoom, spec.eye_from_bottom)
    left, right, chin, crown = (place.to_photo(p) for p in (marks.left_eye, marks.right_eye, marks.chin, marks.crown))
    assert left[1] == pytest.approx(right[1], abs=1e-6)
    assert (left[0] + right[0]) / 2 == pytest.approx(width / 2, abs=1e-6)
    assert height - left[1] == pytest.approx(spec.eye_from_bottom * height, abs=1e-6)
    assert chin[1] - crown[1] == pytest.approx(spec.head_ratio * zoom * height, abs=1e-6)


@given(DEGREES, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_a_shift_moves_the_face_right_and_down_in_sides_of_the_photo(degrees: float, right: float, down: float) -> None:
    marks = face((300, 200), 150, degrees)
    still, moved = (placed(marks, 400, 500, 0.7, 0.6, shift) for shift in ((0.0, 0.0), (right, down)))
    before, after = still.to_photo(marks.eye_center), moved.to_photo(marks.eye_center)
    assert (after[0] - before[0], after[1] - before[1]) == pytest.approx((right * 400, down * 500), abs=1e-6)


@given(st.floats(-3, 3), st.floats(0.05, 20), st.tuples(st.floats(-500, 500), st.floats(-500, 500)))
def test_places_come_back_from_the_photo(roll: float, scale: float, point: Point) -> None:
    place = Placement(200, 300, scale, roll, (40, 70), (100, 120))
    assert place.to_picture(place.to_photo(point)) == pytest.approx(point, abs=1e-6)


def test_the_middle_of_the_face_is_centred_if_it_is_not_between_the_eyes() -> None:
    marks = Landmarks((80, 100), (120, 100), (105, 180), (105, 60), (105, 40), (105, 130), 106.0)
    place = placed(marks, 200, 200, 0.5, 0.5)
    assert place.to_photo((106, 100)) == pytest.approx((100, 100))


@pytest.mark.parametrize("degrees", [0.0, 11.0, -14.0])
@pytest.mark.parametrize("scale", [0.11, 0.37, 0.9, 1.0, 2.6])
def test_what_is_rendered_lies_where_the_placement_says(degrees: float, scale: float) -> None:
    dots = [(300.5, 260.5), (520.5, 300.5), (410.5, 560.5)]
    spread = max(2.0, 1.2 / scale)
    down, across = np.mgrid[0:800, 0:900] + 0.5
    seen = sum(np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * spread**2)) for x, y in dots)
    place = Placement(
        max(60, int(420 * scale)),
        max(60, int(460 * scale)),
        scale,
        math.radians(degrees),
        (400, 400),
        (210 * scale, 230 * scale),
    )
    result = rendered(picture((255 * seen).astype(np.uint8)).pixels, place).numpy().astype(float)
    assert result.shape == (place.height, place.width)
    for dot in dots:
        x, y = place.to_photo(dot)
        low, high = (max(0, int(v - 5 * spread * scale)) for v in (y, x))
        part = result[low : int(y + 5 * spread * scale) + 1, high : int(x + 5 * spread * scale) + 1]
        rows, columns = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
        weight = np.clip(part - 20, 0, None)
        found = (weight * columns).sum() / weight.sum() + high + 0.5, (weight * rows).sum() / weight.sum() + low + 0.5
        assert found == pytest.approx((x, y), abs=0.25)


def test_a_placement_without_turn_and_scale_is_a_crop() -> None:
    seen = noise(60, 50)
    place = Placement(20, 30, 1.0, 0.0, (10, 10), (0, 0))
    assert np.array_equal(rendered(picture(seen).pixels, place).numpy(), seen[10:40, 10:30])


def test_fine_lines_do_not_become_moire() -> None:
    lines = np.where(np.arange(1200) % 2, 0, 255).astype(np.uint8)[None, :].repeat(1200, 0)
    place = Placement(150, 150, 0.173, math.radians(7), (600, 600), (75, 75))
    result = rendered(picture(lines).pixels, place).numpy().astype(int)
    assert np.abs(result - 127.5).max() < 4


def test_beyond_the_picture_its_edge_goes_on() -> None:
    seen = np.full((20, 20, 3), [10, 200, 30], np.uint8)
    result = rendered(picture(seen).pixels, Placement(50, 50, 1.0, 0.3, (10, 10), (25, 25))).numpy()
    assert np.abs(result.astype(int) - [10, 200, 30]).max() <= 1


def test_landmarks_go_to_the_wire_and_back() -> None:
    marks = face((300, 200), 150, 9)
    wire = marks.to_wire(640, 480)
    assert set(wire) == {"leftEye", "rightEye", "eyeCenter", "chin", "forehead", "crown", "nose", "faceCenterX"}
    again = Landmarks.from_wire(wire, 640, 480)
    for one, other in zip(
        (marks.left_eye, marks.chin, marks.crown), (again.left_eye, again.chin, again.crown), strict=True
    ):
        assert one == pytest.approx(other, abs=0.01)
    assert again.center_x == pytest.approx(marks.center_x, abs=0.01)


def test_the_crown_follows_from_the_forehead() -> None:
    shares = {"leftEye": [0.6, 0.4], "rightEye": [0.4, 0.4], "chin": [0.5, 0.7], "forehead": [0.5, 0.3]}
    marks = Landmarks.from_wire(shares, 100, 200)
    assert marks.crown == pytest.approx((50, 60 - 0.15 * 80))
    assert marks.left_eye == (40, 80)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chin": None}, "lacks chin"),
        ({"crown": None}, "lacks crown"),
        ({"chin": [0.5]}, "no place for chin"),
        ({"chin": "low"}, "no place for chin"),
        ({"chin": {"x": 0.5}}, "no place for chin"),
        ({"chin": [0.5, float("inf")]}, "no place for chin"),
        ({"chin": [0.5, 7]}, "no place for chin"),
        ({"chin": [True, 0.5]}, "no place for chin"),
        ({"chin": [0.5, 0.2]}, "below them"),
        ({"crown": [0.5, 0.9]}, "above the eyes"),
    ],
)
def test_landmarks_that_make_no_face_are_refused(change: dict[str, Any], said: str) -> None:
    shares = {"leftEye": [0.4, 0.4], "rightEye": [0.6, 0.4], "chin": [0.5, 0.7], "crown": [0.5, 0.2], **change}
    with pytest.raises(InvalidSettings, match=said):
        placed(Landmarks.from_wire(shares, 100, 100), 100, 100, 0.7, 0.6)
