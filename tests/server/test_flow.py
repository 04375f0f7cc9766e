"""Pictures between the steps of a plan: computed once, and their own masters."""

import gc

import numpy as np
import pytest
import pyvips

from darkroom.engine.flow import Flow
from darkroom.engine.toolset import known_tools
from darkroom.engine.work import Work
from darkroom_tools.image import Image, Source
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

TURNED = Plan(
    (
        Step("a", "rotate", {"angle": 90}, {"image": (input_ref(0),)}),
        Step("b", "rotate", {"angle": 90}, {"image": (step_ref("a"),)}),
    )
)


def no_model(*_: object) -> None:
    raise AssertionError("no tool here asks a model")


@pytest.mark.parametrize("shape", [(200, 300, 3), (1, 1, 1), (64, 64, 4)])
def test_a_rendered_picture_outlives_the_memory_it_came_from(shape: tuple[int, int, int]) -> None:
    # libvips hands memory that is not its own on as it is, and pyvips then forgets whose it was.
    height, width, bands = shape
    work = Work(lambda _fraction, _message: None, no_model)  # type: ignore[arg-type]
    for level in range(20):
        flow = Flow(TURNED, known_tools([]), work)
        file = pyvips.Image.black(1, 1)
        pixels = pyvips.Image.new_from_memory(np.full(shape, level, np.uint8).tobytes(), width, height, bands, "uchar")
        made = flow.render(TURNED.steps[0], Image(pixels, Source("png", 1, file)), 0.0, 0.5, "Rotate")
        del pixels
        gc.collect()
        overwritten = [np.full(shape, 255, np.uint8) for _ in range(8)]
        assert made.pixels.avg() == level
        del overwritten


def test_what_a_lazy_result_reads_is_kept_until_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.engine.flow.RENDERED_BYTES", 100)
    work = Work(lambda _fraction, _message: None, no_model)  # type: ignore[arg-type]
    flow = Flow(TURNED, known_tools([]), work)
    file = pyvips.Image.black(1, 1)
    level = np.full((200, 300, 3), 7, np.uint8).tobytes()
    first = Image(pyvips.Image.new_from_memory(level, 300, 200, 3, "uchar"), Source("png", 1, file))
    flow.held[input_ref(0)] = first
    # As some tools do: the memory of the picture that came in, under another name.
    shared = first.with_pixels(first.pixels.copy_memory())
    flow.hold(TURNED.steps[0], flow.render(TURNED.steps[0], shared, 0.0, 0.5, "Rotate"))
    del level, first
    gc.collect()
    overwritten = [np.full((200, 300, 3), 255, np.uint8) for _ in range(8)]
    assert shared.pixels.avg() == 7
    del overwritten


def test_a_warning_is_told_once_however_many_steps_come_after_it() -> None:
    work = Work(lambda _fraction, _message: None, no_model)  # type: ignore[arg-type]
    flow = Flow(TURNED, known_tools([]), work)
    black = pyvips.Image.black(8, 8)
    flow.hold(TURNED.steps[0], Image(black, Source("png", 1, black)).warn("The picture was enlarged."))
    assert flow.held[step_ref("a")].warnings == ()
