"""Scratches: what was drawn into photographs is found, and what belongs to them is not."""

import cv2
import numpy as np
import pytest
from skimage import data
from support.pictures import gradient, noise, picture

from darkroom_tools.errors import Cancelled
from darkroom_tools.kit import scratches
from darkroom_tools.kit.scratches import Care, Damage, damage_of, outside_of


def found(array: np.ndarray, care: Care = "auto") -> Damage:
    return damage_of(picture(array).pixels, care, lambda _: None)


def scratched(photo: np.ndarray, width: int, value: int, lines: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A photo with long, slightly bent scratches, and where they are."""
    height, across = photo.shape[:2]
    mask = np.zeros((height, across), np.uint8)
    for number in range(lines):
        y = np.linspace(0.05, 0.9, 12) * height
        x = across * (number + 0.7) / lines + (number - 1.5) * 0.06 * (y - y.mean()) + 3 * np.sin(y / 90)
        cv2.polylines(mask, [np.round(np.stack([x, y], 1) * 16).astype(np.int32)], False, 255, width, cv2.LINE_AA, 4)
    share = mask[..., None] / 255
    return np.round(photo * (1 - share) + value * share).astype(np.uint8), mask > 64


def shares(damage: Damage, truth: np.ndarray) -> tuple[float, float]:
    """Recall, and precision with a margin of two pixels."""
    near = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return float(damage.mask[truth].mean()), float(near[damage.mask].mean())


CHELSEA = data.chelsea()
CAMERA = data.camera()[:256, :320, None]


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "camera", "rocket", "brick", "gravel", "page"])
def test_photos_without_damage_have_none(name: str) -> None:
    photo = getattr(data, name)()
    photo = (photo if photo.ndim == 3 else photo[..., None])[:400, :400]
    assert not found(photo).mask.any()


@pytest.mark.parametrize(("width", "value"), [(1, 250), (2, 10), (3, 240), (5, 245)])
def test_scratches_are_found(width: int, value: int) -> None:
    damaged, truth = scratched(CHELSEA, width, value)
    recall, precision = shares(found(damaged), truth)
    assert recall > 0.78
    assert precision > 0.6


def test_scratches_of_a_faded_photo_are_found() -> None:
    damaged, truth = scratched(CHELSEA, 3, 250)
    recall, _ = shares(found((damaged * 0.5 + 60).astype(np.uint8)), truth)
    assert recall > 0.6


def test_scratches_on_a_grey_photo_are_found() -> None:
    damaged, truth = scratched(CAMERA, 2, 250)
    recall, precision = shares(found(damaged), truth)
    assert recall > 0.7
    assert precision > 0.6


def test_light_takes_no_more_than_auto_and_heavy_no_less() -> None:
    damaged, _ = scratched(CHELSEA[:200, :260], 2, 245, lines=3)
    light, auto, heavy = (found(damaged, care).coverage for care in ("light", "auto", "heavy"))
    assert 0 < light <= auto <= heavy


def test_a_crease_is_found() -> None:
    damaged, truth = scratched(data.coffee()[100:300, 100:400], 8, 245, lines=3)
    assert shares(found(damaged), truth)[0] > 0.8


def dusty(count: int) -> tuple[np.ndarray, np.ndarray]:
    sky = gradient(320, 240, 3) // 4 + 90
    mask = np.zeros((240, 320), np.uint8)
    places = np.random.default_rng(5).integers(12, 228, (count, 2))
    for number, (x, y) in enumerate(places):
        cv2.ellipse(mask, ((float(x), float(y)), (3 + number % 3, 4), 30), 255, -1, cv2.LINE_AA)
    values = np.where(mask[..., None] > 0, np.uint8(250), sky)
    return values, mask > 0


def test_dust_in_smooth_places_is_found() -> None:
    damaged, truth = dusty(60)
    damage = found(damaged)
    recall, precision = shares(damage, truth)
    assert recall > 0.85
    assert precision > 0.8
    assert damage.specks > 30


def test_a_few_specks_belong_to_the_picture_unless_all_is_asked_for() -> None:
    damaged, truth = dusty(8)
    assert not found(damaged).mask.any()
    assert shares(found(damaged, "heavy"), truth)[0] > 0.85


def test_a_large_photo_is_looked_at_reduced_and_masked_at_its_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratches, "WORKING_SIDE", 300)
    damaged, truth = scratched(CHELSEA, 3, 248)
    damage = found(damaged)
    recall, precision = shares(damage, truth)
    assert damage.mask.shape == truth.shape
    assert recall > 0.9
    assert precision > 0.6


def test_what_is_transparent_is_not_damaged() -> None:
    damaged, _ = scratched(CHELSEA, 3, 245)
    alpha = np.full((*damaged.shape[:2], 1), 255, np.uint8)
    alpha[:, :200] = 0
    mask = found(np.concatenate([damaged, alpha], -1)).mask
    assert mask[:, 200:].any()
    assert not mask[:, :200].any()


def test_16_bits_are_judged_as_8_bits_are() -> None:
    damaged, _ = scratched(CHELSEA, 3, 245)
    shallow, deep = found(damaged), found(damaged.astype(np.uint16) * 257)
    assert (shallow.mask != deep.mask).mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (300, 1, 1), (20, 20, 4), (30, 9, 2)])
def test_pictures_too_small_for_scratches_have_none(shape: tuple[int, ...]) -> None:
    height, width, bands = shape
    assert not found(noise(width, height, bands)).mask.any()


def test_who_gives_up_is_heard() -> None:
    def stop(done: float) -> None:
        if done > 0.2:
            raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        damage_of(picture(CHELSEA).pixels, "auto", stop)


def test_what_lies_within_a_face_is_no_damage_but_a_scratch_across_it_is() -> None:
    mask = np.zeros((60, 80), bool)
    mask[30:33, 40:46] = True  # teeth
    mask[10] = True  # a scratch
    mask[50, 5:9] = True  # dust beside the face
    left = outside_of(mask, [(20.0, 5.0, 40.0, 40.0), (-10.0, 70.0, 30.0, 30.0)])
    assert not left[30:33].any()
    assert left[10].all()
    assert left[50, 5:9].all()
