"""The cascade: its data are those of its origin, and all windows at once are judged as each would be alone."""

import functools
import json
import xml.etree.ElementTree as ET
from importlib import resources
from typing import Any

import numpy as np
import pytest
from skimage import data
from skimage.transform import resize

from darkroom_tools.kit.faces_cascade import SIDE, search

FACE = np.round(data.astronaut()[40:200, 140:300] @ [0.299, 0.587, 0.114]).astype(np.uint8)
"""A crop with a face of about 95 pixels in its middle."""


@functools.cache
def origin() -> Any:
    return ET.parse(data.lbp_frontal_face_cascade_filename()).getroot()[0]


def numbers(text: str | None) -> list[str]:
    return (text or "").split()


def test_our_data_are_those_of_the_origin() -> None:
    ours = json.loads(
        resources.files("darkroom_tools").joinpath("data", "faces", "lbpcascade_frontalface.json").read_text("utf-8")
    )
    assert ours["side"] == int(origin().find("height").text)
    assert ours["features"] == [[int(n) for n in numbers(rect.find("rect").text)] for rect in origin().find("features")]
    stages = origin().find("stages")
    assert len(ours["stages"]) == len(stages)
    for (threshold, trees), stage in zip(ours["stages"], stages, strict=True):
        assert threshold == pytest.approx(float(stage.find("stageThreshold").text), abs=1e-6)
        for (block, mask, inside, outside), tree in zip(trees, stage.find("weakClassifiers"), strict=True):
            nodes = [int(n) for n in numbers(tree.find("internalNodes").text)]
            assert block == nodes[2]
            assert np.frombuffer(bytes.fromhex(mask), "<i4").tolist() == nodes[3:]
            assert [inside, outside] == pytest.approx(
                [float(n) for n in numbers(tree.find("leafValues").text)], abs=1e-6
            )


def judged_alone(window: np.ndarray) -> float | None:
    """What the cascade says of one window, as OpenCV's documentation has it; None for no face."""
    features = [[int(n) for n in numbers(rect.find("rect").text)] for rect in origin().find("features")]
    margin = 0.0
    for stage in origin().find("stages"):
        votes = 0.0
        for tree in stage.find("weakClassifiers"):
            nodes = [int(n) for n in numbers(tree.find("internalNodes").text)]
            x, y, w, h = features[nodes[2]]
            sums = window[y : y + 3 * h, x : x + 3 * w].astype(int).reshape(3, h, 3, w).sum((1, 3))
            around = [sums[at] for at in ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))]
            code = sum((value >= sums[1, 1]) << (7 - n) for n, value in enumerate(around))
            inside = nodes[3 + code // 32] >> (code % 32) & 1
            votes += float(numbers(tree.find("leafValues").text)[0 if inside else 1])
        threshold = float(stage.find("stageThreshold").text)
        if votes < threshold:
            return None
        margin += votes - threshold
    return margin


def test_all_windows_at_once_are_judged_as_each_alone() -> None:
    small = np.round(resize(FACE, (42, 42), anti_aliasing=True, preserve_range=True)).astype(np.uint8)
    found = search(small, largest=SIDE, report=lambda _: None)
    ours = {
        (int(top), int(left)): float(margin)
        for top, left, margin in zip(found.top, found.left, found.margin, strict=True)
    }
    every_second = range(0, 42 - SIDE + 1, 2)
    alone = {
        (top, left): judged_alone(small[top : top + SIDE, left : left + SIDE])
        for top in every_second
        for left in every_second
    }
    assert ours == pytest.approx({at: margin for at, margin in alone.items() if margin is not None}, abs=1e-4)
    assert ours, "the face is among them"


def test_windows_are_as_large_as_asked_for_and_lie_on_the_face() -> None:
    found = search(FACE, smallest=60, largest=130, report=lambda _: None)
    assert len(found.side) > 5
    assert found.side.min() >= 59
    assert found.side.max() <= 131
    best = np.argmax(found.margin)
    middle = found.left[best] + found.side[best] / 2, found.top[best] + found.side[best] / 2
    assert middle == pytest.approx((81, 75), abs=8)


@pytest.mark.parametrize("shape", [(23, 400), (400, 23), (1, 1)])
def test_what_is_smaller_than_a_window_has_none(shape: tuple[int, int]) -> None:
    found = search(np.zeros(shape, np.uint8), report=lambda _: None)
    assert [len(values) for values in (found.left, found.top, found.side, found.margin)] == [0] * 4


def test_an_even_picture_has_none() -> None:
    assert len(search(np.full((60, 60), 128, np.uint8), report=lambda _: None).side) == 0
