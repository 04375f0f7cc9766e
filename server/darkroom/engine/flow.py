"""Pictures on their way through a plan: each is computed once, and held only as long as a step needs it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyvips

from darkroom.engine.fields import without
from darkroom.engine.work import Work
from darkroom_tools.base import Image, Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.stamp import STREAMED
from darkroom_tools.plan import Plan, Step, step_ref

__all__ = ["Flow"]


class Flow:
    """What the steps of a plan take, by reference.

    Pixels stream from step to step, read once from top to bottom, wherever one tool alone takes them and reads them so.
    What several steps take, or one that reads it in any order, is computed once and kept in memory; what it was computed
    from is let go.

    Args:
        plan: Steps whose references point backwards.
        tools: By id.
        work: What surrounds the plan.

    Raises:
        InvalidSettings: The plan names a tool that there is not.

    Attributes:
        held: What can be taken now.
    """

    def __init__(self, plan: Plan, tools: Mapping[str, Tool], work: Work) -> None:
        self.held: dict[str, Any] = {}
        self._last = plan.steps[-1] if plan.steps else None
        self._work = work
        self._takers: dict[str, list[Tool]] = {}
        for step in plan.steps:
            if step.tool not in tools:
                raise InvalidSettings(f"There is no tool {step.tool!r}.", field="tool", got=step.tool)
            for ref in _refs(step):
                self._takers.setdefault(ref, []).append(tools[step.tool])
        self._left = {ref: len(takers) for ref, takers in self._takers.items()}

    def streams(self, ref: str) -> bool:
        """Whether the pixels of a picture are read once, from top to bottom."""
        takers = self._takers.get(ref, ())
        return len(takers) <= 1 and all(tool.sequential for tool in takers)

    def renders(self, step: Step) -> bool:
        """Whether the result of a step is computed as soon as the step is done."""
        return step is not self._last and not self.streams(step_ref(step.id))

    def take(self, step: Step) -> None:
        """Forget what no step after this one takes; for the last one all stays until its result is written."""
        if step is self._last:
            return
        for ref in _refs(step):
            self._left[ref] -= 1
            if self._left[ref] == 0 and isinstance(gone := self.held.pop(ref, None), Image):
                self._work.let_go(gone.pixels)

    def render(self, image: Image, low: float, high: float, message: str) -> Image:
        """The picture with its pixels in memory, so that they can be read in any order and as often as wanted.

        Computing them is the part `low`..`high` of the plan.
        """
        lazy = image.pixels
        as_decoded = lazy is image.source.pixels
        if as_decoded and not lazy.get_typeof(STREAMED):
            return image
        self._work.let_go(lazy)
        self._work.watch(lazy, low, high, message)
        pixels = _in_memory(lazy)
        self._work.let_go(lazy)
        self._work.stop_on_cancel(pixels)
        reload = image.reload
        return replace(
            image,
            pixels=pixels,
            source=replace(image.source, pixels=pixels if as_decoded else None),
            reload=(lambda scale: _in_memory(reload(scale))) if reload is not None else None,
        )


def _refs(step: Step) -> list[str]:
    return [ref for refs in step.images.values() for ref in refs]


def _in_memory(pixels: pyvips.Image) -> pyvips.Image:
    return without(pixels.copy_memory(), STREAMED)
