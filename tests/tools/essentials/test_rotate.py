"""Rotate & Flip: exact right angles, nothing cut off, honest corners."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.ndimage
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, encoded_as, gradient, noise, picture, use

from darkroom_tools.errors import InvalidSettings, OutputTooLarge
from darkroom_tools.essentials.rotate import rotate

PHOTO = noise(50, 30)


def turned(array: np.ndarray, format: str = "png", **asked: Any) -> np.ndarray:
    return array_of(use(rotate, picture(array, format), **asked))


@pytest.mark.parametrize("array", [PHOTO, noise(50, 30, 4), noise(50, 30, 1, np.uint16)], ids=["rgb", "rgba", "grey16"])
@pytest.mark.parametrize("angle", [-360, -270, -180, -90, 0, 90, 180, 270, 360])
def test_right_angles_move_pixels_exactly_clockwise(angle: int, array: np.ndarray) -> None:
    assert (turned(array, angle=angle) == np.rot90(array, -angle // 90)).all()


@pytest.mark.parametrize(("flip", "axes"), [("none", ()), ("horizontal", (1,)), ("vertical", (0,)), ("both", (0, 1))])
def test_flipping_mirrors_exactly(flip: str, axes: tuple[int, ...]) -> None:
    assert (turned(PHOTO, flip=flip) == np.flip(PHOTO, axes)).all()


def test_turning_comes_before_flipping() -> None:
    assert (turned(PHOTO, angle=90, flip="horizontal") == np.rot90(PHOTO, -1)[:, ::-1]).all()


shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))


@given(shapes, st.sampled_from([-270, -90, 90, 270]))
def test_four_right_angles_change_nothing(shape: tuple[int, int], angle: int) -> None:
    array = noise(*shape)
    image = picture(array)
    for _ in range(4):
        image = use(rotate, image, angle=angle)
    assert (array_of(image) == array).all()


@given(shapes, st.sampled_from(["horizontal", "vertical", "both"]), st.sampled_from([0, 180]))
def test_the_same_flip_twice_changes_nothing(shape: tuple[int, int], flip: str, angle: int) -> None:
    array = noise(*shape)
    once = use(rotate, picture(array), flip=flip, angle=angle)
    assert (array_of(use(rotate, once, flip=flip, angle=angle)) == array).all()


@given(st.integers(2, 60), st.integers(2, 60), st.floats(-360, 360))
def test_the_canvas_grows_to_hold_every_corner(width: int, height: int, angle: float) -> None:
    got = use(rotate, picture(gradient(width, height)), angle=angle)
    sine, cosine = abs(math.sin(math.radians(angle))), abs(math.cos(math.radians(angle)))
    assert -1e-5 <= got.width - (width * cosine + height * sine) < 1
    assert -1e-5 <= got.height - (width * sine + height * cosine) < 1


@pytest.mark.parametrize("size", [(40, 40), (41, 30)])
@pytest.mark.parametrize("angle", [0.5, 30, 45, -75, 200.5])
def test_the_middle_stays_the_middle_and_no_area_is_lost(angle: float, size: tuple[int, int]) -> None:
    alpha = turned(np.full((*size, 3), 200, np.uint8), angle=angle)[..., 3].astype(float)
    down, across = np.mgrid[0 : alpha.shape[0], 0 : alpha.shape[1]]
    assert (alpha * across).sum() / alpha.sum() == pytest.approx((alpha.shape[1] - 1) / 2, abs=0.02)
    assert (alpha * down).sum() / alpha.sum() == pytest.approx((alpha.shape[0] - 1) / 2, abs=0.02)
    assert alpha.sum() / 255 == pytest.approx(size[0] * size[1], rel=0.01)


@pytest.mark.parametrize("angle", [30, -75, 200.5])
def test_other_angles_agree_with_an_independent_rotation(angle: float) -> None:
    photo = skimage.data.astronaut()[100:300, 50:200]
    ours = turned(photo, "jpeg", angle=angle, background="#808080").astype(float)
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    back = np.array([[cosine, -sine], [sine, cosine]])
    offset = (np.array(photo.shape[:2]) - 1) / 2 - back @ (np.array(ours.shape[:2]) - 1) / 2
    theirs = np.stack(
        [
            scipy.ndimage.affine_transform(photo[..., band].astype(float), back, offset, ours.shape[:2], cval=128)
            for band in range(3)
        ],
        axis=-1,
    )
    assert np.abs(ours - theirs).mean() < 1.5


@pytest.mark.parametrize(
    ("format", "background", "corner"),
    [
        ("png", None, (0, 0, 0, 0)),
        ("jpeg", None, (255, 255, 255)),
        ("jpeg", "#102030", (16, 32, 48)),
        ("png", "#102030", (16, 32, 48)),
        ("png", "#10203080", (16, 32, 48, 128)),
        ("jpeg", "#FFFFFF", (255, 255, 255)),
    ],
)
def test_new_corners_have_the_background(format: str, background: str | None, corner: tuple[int, ...]) -> None:
    asked = {} if background is None else {"background": background}
    got = turned(np.full((40, 60, 3), 200, np.uint8), format, angle=45, **asked)
    assert tuple(got[0, 0]) == corner
    assert tuple(got[got.shape[0] // 2, got.shape[1] // 2][:3]) == (200, 200, 200)


def test_the_default_corner_follows_the_format_that_will_be_written() -> None:
    image = encoded_as(picture(np.zeros((20, 20, 3), np.uint8), "png"), "jpeg")
    assert tuple(array_of(use(rotate, image, angle=45))[0, 0]) == (255, 255, 255)


def test_edges_fade_into_transparency_without_a_dark_seam() -> None:
    got = turned(np.full((40, 40, 3), 250, np.uint8), angle=30)
    visible = got[got[..., 3] > 8]
    assert visible[:, :3].min() >= 248
    assert len(np.unique(got[..., 3])) > 20


def test_hidden_colour_never_bleeds_into_visible_edges() -> None:
    array = np.zeros((40, 40, 4), np.uint8)
    array[:, :20] = (255, 0, 0, 255)
    array[:, 20:] = (0, 255, 0, 0)
    got = turned(array, angle=20)
    assert got[got[..., 3] > 8][:, 1].max() <= 2


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_survives_any_angle(bands: int, dtype: Any) -> None:
    top = np.iinfo(dtype).max
    got = turned(np.full((30, 30, bands), top // 2, dtype), angle=45)
    assert got.dtype == dtype
    assert got.shape[2] == (2 if bands < 3 else 4)
    assert abs(int(got[21, 21, 0]) - top // 2) <= 1
    coloured = turned(np.full((30, 30, bands), top // 2, dtype), angle=45, background="#FF0000")
    assert tuple(coloured[0, 0][:3]) == (top, 0, 0)
    assert coloured.shape[2] == (4 if bands in (2, 4) else 3)


@pytest.mark.parametrize(("angle", "size"), [(90, (20, 40)), (45, (42, 42))])
def test_every_frame_is_turned(angle: int, size: tuple[int, int]) -> None:
    frames = np.stack([np.full((20, 40, 3), value, np.uint8) for value in (10, 120, 250)])
    got = use(rotate, picture(frames, "gif", delay=[40, 50, 60]), angle=angle)
    assert got.frames == 3
    assert abs(got.width - size[0]) <= 1
    assert [int(frame[frame.shape[0] // 2, frame.shape[1] // 2, 0]) for frame in array_of(got)] == [10, 120, 250]
    assert got.pixels.get("delay") == [40, 50, 60]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 3000, 3), (3000, 1, 4)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    array = np.full(shape, 99, np.uint8)
    assert turned(array, angle=90).shape[:2] == (shape[1], shape[0])
    assert turned(array, angle=33).size


@pytest.mark.parametrize(
    ("switches", "flip"),
    [
        ({"horizontal": True}, "horizontal"),
        ({"vertical": True}, "vertical"),
        ({"horizontal": True, "vertical": True}, "both"),
        ({"horizontal": False, "vertical": False}, "none"),
        ({"horizontal": True, "flip": "horizontal"}, "horizontal"),
    ],
)
def test_two_switches_are_taken_for_flip(switches: Any, flip: str) -> None:
    assert rotate.settings.parse(switches) == rotate.settings.parse({"flip": flip})


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"angle": 361}, "360"),
        ({"angle": "right"}, "angle"),
        ({"flip": "sideways"}, "horizontal"),
        ({"background": "white"}, "background"),
        ({"background": "#12345"}, "background"),
        ({"background": "#1234567"}, "background"),
        ({"horizontal": "yes"}, "horizontal"),
        ({"horizontal": True, "flip": "vertical"}, "not both"),
        ({"angel": 5}, "angle"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        rotate.settings.parse(asked)
    assert words in refused.value.message


def test_a_canvas_over_the_limit_is_refused() -> None:
    with pytest.raises(OutputTooLarge):
        use(
            rotate,
            picture(np.zeros((2, 16384, 1), np.uint8)).map_frames(lambda p: p.embed(0, 0, 16384, 9000)),
            angle=45,
        )


def test_what_it_looks_like(golden: Any) -> None:
    cat = skimage.data.chelsea()[20:160, 100:240]
    golden(turned(cat, angle=15), "rotate-15-transparent", tolerance=2)
    golden(turned(cat, angle=-40, flip="horizontal", background="#FFCC00"), "rotate-40-yellow", tolerance=2)
