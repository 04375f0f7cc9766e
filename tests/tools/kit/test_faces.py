"""Faces: found where there are some, none where there are none, and read rightly from a network's maps."""

import functools
from typing import Any

import numpy as np
import pytest
import pyvips
from skimage import data
from support.pictures import DirectRun, gradient, noise, picture

from darkroom_tools.errors import Cancelled
from darkroom_tools.kit import faces
from darkroom_tools.kit.faces import FACE_MODELS, Face, find_faces

ASTRONAUT = data.astronaut()
EYES = ((204, 102), (247, 102))
"""The pupils, read off the photo by hand."""


@functools.cache
def turned(degrees: int) -> np.ndarray:
    return np.asarray(pyvips.Image.new_from_array(ASTRONAUT[20:220, 110:310]).rotate(degrees).numpy())


def faces_in(array: np.ndarray, sensitivity: float = 0.5, run: DirectRun | None = None) -> tuple[Face, ...]:
    return find_faces(picture(array).pixels, sensitivity, run or DirectRun()).found


def test_the_face_of_a_photo_is_found_with_both_eyes() -> None:
    found = find_faces(picture(ASTRONAUT).pixels, 0.5, DirectRun())
    assert (found.method, found.estimated, len(found.found)) == ("lbp-cascade", True, 1)
    (face,) = found.found
    for seen, true in zip(face.landmarks[:2], EYES, strict=True):
        assert np.hypot(seen[0] - true[0], seen[1] - true[1]) < 5
    assert 0.5 < face.score <= 1


@pytest.mark.parametrize(
    "change", ["mirrored", "dark", "bright", "warm", "cool", "half", "double", "grey", "16 bit", "alpha"]
)
def test_the_same_face_is_found_however_the_photo_was_changed(change: str) -> None:
    crop = ASTRONAUT[:300, 60:360]
    changed: dict[str, Any] = {
        "mirrored": lambda: crop[:, ::-1],
        "dark": lambda: crop // 3,
        "bright": lambda: np.clip(crop.astype(int) + 40, 0, 255).astype(np.uint8),
        "warm": lambda: np.clip(crop * [1.25, 1, 0.65], 0, 255).astype(np.uint8),
        "cool": lambda: np.clip(crop * [0.75, 1, 1.3], 0, 255).astype(np.uint8),
        "half": lambda: crop[::2, ::2],
        "double": lambda: np.kron(crop, np.ones((2, 2, 1), np.uint8)),
        "grey": lambda: crop[..., 1],
        "16 bit": lambda: crop.astype(np.uint16) * 257,
        "alpha": lambda: np.dstack([crop, np.full(crop.shape[:2], 9, np.uint8)]),
    }
    (face,) = faces_in(np.ascontiguousarray(changed[change]()))
    by = {"half": 0.5, "double": 2.0}.get(change, 1.0)
    middle = (300 - 165) if change == "mirrored" else 165
    assert abs(face.center[0] / by - middle) < 10
    assert abs(face.center[1] / by - 117) < 12
    assert 75 < face.width / by < 115


@pytest.mark.parametrize("degrees", [-20, 15, 20])
def test_a_tilted_face_is_found_and_its_eyes_tell_the_tilt(degrees: int) -> None:
    (face,) = faces_in(turned(degrees))
    (right, left) = face.landmarks[:2]
    assert np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])) == pytest.approx(degrees, abs=9)


@pytest.mark.parametrize("name", ["coffee", "chelsea", "rocket", "gravel", "text"])
def test_a_photo_without_a_face_has_none(name: str) -> None:
    seen = getattr(data, name)()
    assert faces_in(np.ascontiguousarray(seen[::3, ::3])) == ()


def test_more_sensitivity_finds_no_fewer_faces() -> None:
    crop = np.ascontiguousarray(ASTRONAUT[20:220, 110:310])
    counts = [len(faces_in(crop, sensitivity)) for sensitivity in (0.0, 0.5, 1.0)]
    assert counts == sorted(counts)
    assert counts[-1] >= 1


def test_high_sensitivity_looks_for_tilted_faces_beside_upright_ones_too() -> None:
    scene = np.full((260, 500, 3), 200, np.uint8)
    scene[20:220, 20:220] = ASTRONAUT[20:220, 110:310]
    tilted = turned(20)[20:240, 20:240]
    scene[20:240, 250:470] = np.where(tilted.max(2, keepdims=True) > 0, tilted, 200)
    assert len(faces_in(scene, 0.5)) == 1
    assert len(faces_in(scene, 0.8)) == 2


def test_high_sensitivity_finds_small_faces_in_large_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "WORKING_SIDE", 150)  # as a picture of 12 megapixels is to the usual side
    crop = np.ascontiguousarray(ASTRONAUT[20:320, 60:360][::2, ::2])
    scene = np.full((300, 450, 3), 180, np.uint8)
    scene[100:250, 250:400] = crop
    assert faces_in(scene, 0.5) == ()
    (face,) = faces_in(scene, 0.8)
    assert face.center == pytest.approx((330, 147), abs=6)


def test_two_faces_come_the_larger_first() -> None:
    crop = ASTRONAUT[20:190, 120:300]
    scene = np.full((360, 560, 3), 200, np.uint8)
    scene[150:320, 20:200] = crop
    scene[10:350, 210:560] = np.kron(crop, np.ones((2, 2, 1), np.uint8))[:340, :350]
    first, second = faces_in(scene)
    assert first.width > 1.5 * second.width
    assert first.center[0] > 210 > second.center[0]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 400, 1), (400, 1, 4), (23, 23, 3), (24, 24, 2)])
def test_pictures_too_small_for_a_face_have_none(shape: tuple[int, int, int]) -> None:
    assert faces_in(noise(shape[1], shape[0], shape[2])) == ()


def test_searching_stops_when_the_caller_is_gone() -> None:
    with pytest.raises(Cancelled):
        faces_in(ASTRONAUT, run=DirectRun(cancel_at=0))


# What a network of the real contract answers: scores and shapes of the twelve maps for 640 × 640 pixels.

STRIDES = (8, 16, 32)


def maps(*faces: tuple[int, int, int, float, tuple[float, float, float, float]]) -> list[np.ndarray]:
    """The maps with faces of (stride, row, column, score, (x, y, w, h) in pixels of the network)."""
    answer = [np.zeros((1, (640 // s) ** 2, size), np.float32) for size in (1, 1, 4, 10) for s in STRIDES]
    for stride, row, column, score, (x, y, w, h) in faces:
        n, cell = STRIDES.index(stride), row * (640 // stride) + column
        answer[n][0, cell] = answer[3 + n][0, cell] = score
        middle = ((x + w / 2) / stride - column, (y + h / 2) / stride - row)
        answer[6 + n][0, cell] = (*middle, np.log(w / stride), np.log(h / stride))
        points = [(x + w * a, y + h * b) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))]
        answer[9 + n][0, cell] = [v for a, b in points for v in (a / stride - column, b / stride - row)]
    return answer


def test_boxes_and_points_of_a_network_are_read_in_pixels_of_the_picture() -> None:
    seen: list[np.ndarray] = []

    def network(array: np.ndarray) -> list[np.ndarray]:
        seen.append(array)
        return maps((16, 10, 12, 0.95, (180.0, 140.0, 40.0, 60.0))) if len(seen) == 1 else maps()

    array = gradient(1280, 320)
    found = find_faces(picture(array).pixels, 0.5, DirectRun({"yunet-2023mar": network}))

    assert (found.method, found.estimated) == ("yunet-2023mar", False)
    (face,) = found.found
    assert (face.left, face.top, face.width, face.height) == pytest.approx((360, 280, 80, 120), rel=1e-4)
    assert face.score == pytest.approx(0.95)
    assert face.landmarks[0] == pytest.approx((360 + 0.3 * 80, 280 + 0.4 * 120), rel=1e-4)
    given = seen[0]
    assert given.shape == (1, 3, 640, 640)
    assert not given[0, :, 160:].any()  # a picture half as high leaves the rest of the square empty
    halves = array.reshape(160, 2, 640, 2, 3).mean((1, 3))
    assert np.abs(given[0, :, :160] - halves[..., ::-1].transpose(2, 0, 1)).max() <= 1, "blue first"


def test_of_boxes_on_one_face_the_surest_stays() -> None:
    answer = maps(
        (8, 20, 20, 0.9, (150.0, 150.0, 40.0, 40.0)),
        (8, 20, 21, 0.99, (152.0, 151.0, 40.0, 40.0)),
        (32, 15, 15, 0.8, (460.0, 460.0, 90.0, 90.0)),
    )
    found = seen_by(lambda array: answer if array[..., 300:, 300:].any() else maps(), noise(640, 640))
    assert [round(face.score, 2) for face in found] == [0.8, 0.99]


def seen_by(network: Any, array: np.ndarray, sensitivity: float = 0.5) -> tuple[Face, ...]:
    return find_faces(picture(array).pixels, sensitivity, DirectRun({"yunet-2023mar": network})).found


def brightest(array: np.ndarray) -> list[np.ndarray]:
    """A network that sees a face in each white patch of 10 to 300 pixels, as the real one is trained."""
    rows, columns = np.nonzero(array[0, 1] > 200)
    if len(rows) == 0 or not 10 <= np.ptp(columns) + 1 <= 300:
        return maps()
    left, top, side = int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1
    return maps((8, (top + side // 2) // 8, (left + side // 2) // 8, 0.9, (left, top, side, np.ptp(rows) + 1)))


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        ((1500, 900, 24), (1200, 1600)),  # 10 pixels of the whole picture in the network, 18 of a tile
        ((780, 590, 20), (1200, 1600)),  # where tiles overlap
        ((100, 60, 900), (1200, 1600)),  # 360 pixels of the network
        ((10, 5, 40), (60, 60)),
    ],
)
def test_faces_much_smaller_or_larger_than_the_network_knows_are_found_once(
    box: tuple[int, int, int], shape: tuple[int, int]
) -> None:
    left, top, side = box
    scene = np.zeros((*shape, 3), np.uint8)
    scene[top : top + side, left : left + side] = 255
    (face,) = seen_by(brightest, scene)
    assert (face.left, face.top, face.width) == pytest.approx((left, top, side), abs=4, rel=0.1)


def test_damaged_maps_make_no_endless_faces() -> None:
    def network(_: np.ndarray) -> list[np.ndarray]:
        answer = maps((8, 5, 5, 0.9, (30.0, 30.0, 30.0, 30.0)), (16, 20, 20, 0.9, (300.0, 300.0, 60.0, 60.0)))
        answer[6][...], answer[7][0, :, 2:] = np.nan, 1e9
        return answer

    found = seen_by(network, noise(64, 64))
    assert all(face.width <= 160 and np.isfinite(face.landmarks).all() for face in found)


def test_sensitivity_is_the_least_score_of_a_network() -> None:
    run = DirectRun({"yunet-2023mar": lambda _: maps((8, 5, 5, 0.55, (30.0, 30.0, 30.0, 30.0)))})
    image = picture(noise(64, 64)).pixels
    assert len(find_faces(image, 0.5, run).found) == 0
    assert len(find_faces(image, 0.6, run).found) >= 1


def test_the_models_for_faces_may_be_used_commercially() -> None:
    assert FACE_MODELS == ("yunet-2023mar",)
