"""A portrait before a plain colour."""

import math

import numpy as np
import pytest
from support.pictures import DirectRun, noise, picture

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.geometry import Box
from darkroom_tools.kit.portrait import Landmarks, Placement, Point
from darkroom_tools.kit.portrait_backdrop import Studio, expected, studio

HEAD = 100.0
CENTER = (200.0, 150.0)


def marks(degrees: float = 0) -> Landmarks:
    angle = math.radians(degrees)

    def at(aside: float, below: float) -> Point:
        x, y = aside * HEAD, below * HEAD
        cosine, sine = math.cos(angle), math.sin(angle)
        return CENTER[0] + cosine * x - sine * y, CENTER[1] + sine * x + cosine * y

    return Landmarks(at(-0.15, 0), at(0.15, 0), at(0, 0.52), at(0, -0.35), at(0, -0.48), at(0, 0.2), CENTER[0])


def take(pixels: np.ndarray, place: Placement, color: str = "#FFFFFF") -> Studio:
    return studio(picture(pixels).pixels, marks(), place, color, DirectRun(), lambda done, said: None)


@pytest.mark.parametrize("degrees", [-12.0, 0.0, 12.0])
def test_a_person_is_expected_where_head_and_shoulders_are(degrees: float) -> None:
    face = marks(degrees)
    likely = expected(face, Box(0, 0, 320, 300))
    assert likely.shape == (300, 320)
    assert 0 <= likely.min() <= likely.max() <= 1
    axis = np.array(face.chin) - face.crown

    def at(below: float) -> float:
        x, y = np.array(face.crown) + axis * below
        return float(likely[int(y), int(x)])

    assert min(at(0.3), at(0.6), at(0.9), at(1.3), at(1.9)) > 0.85
    assert 0.3 < at(-0.08) < 0.85
    assert at(-0.9) < 0.1
    assert likely[140, 5] < 0.1 > likely[140, 315]


def test_the_expectation_is_the_same_at_any_size() -> None:
    large = expected(marks(), Box(100, 50, 200, 200))
    moved = expected(marks(), Box(0, 0, 400, 400))
    assert large[100, 100] == pytest.approx(moved[120, 160], abs=0.05)


@pytest.mark.parametrize(
    ("target", "edges"),
    [((60, 60), set()), ((250, 60), {"left"}), ((60, 190), {"top"}), ((-150, 60), {"right"}), ((60, -70), {"bottom"})],
)
def test_what_the_photo_lacks_is_known_by_edge(target: Point, edges: set[str]) -> None:
    place = Placement(120, 140, 1.0, 0.0, CENTER, target)
    assert set(take(np.full((300, 400, 3), 255, np.uint8), place).missing) == edges


def test_a_plain_background_of_the_colour_is_kept() -> None:
    place = Placement(120, 140, 1.0, 0.1, CENTER, (60, 60))
    seen = np.full((300, 400, 3), [212, 212, 212], np.uint8)
    assert take(seen, place, "#D4D4D4").subject is None
    assert take(seen, place, "#FFFFFF").subject is not None
    assert take(noise(400, 300), place, "#808080").subject is not None


def test_a_face_outside_the_picture_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="outside the picture"):
        take(noise(400, 300), Placement(50, 50, 1.0, 0.0, (900, 900), (25, 25)))
