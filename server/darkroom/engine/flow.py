"""Pictures on their way through a plan: each is computed once, and held only as long as a step needs it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from darkroom.engine.fields import without
from darkroom.engine.work import Work
from darkroom_tools.base import Image, Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.stamp import STREAMED
from darkroom_tools.plan import Plan, Step, step_ref

__all__ = ["Flow"]

RENDERED_BYTES = 256 * 1024 * 1024
"""Results up to this size are computed at once: 85 megapixels in 8 bits."""


class Flow:
    """What the steps of a plan take, by reference.

    The result of a step is computed before the next one takes it. Left lazy, libvips would compute it again for each
    area that a filter reads twice and for each step that takes it: ten steps took twice the time, and a picture that
    doubles with every step an exponential one. Large results of which each pixel is read once stay lazy and stream.
    What nobody takes any more is let go.

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
        self._read_later: set[str] = set()

    @property
    def streams(self) -> bool:
        """Whether all pixels are read once, from top to bottom, so that files need not be decoded as a whole."""
        return all(len(takers) == 1 and takers[0].sequential for takers in self._takers.values())

    def is_last(self, step: Step) -> bool:
        """Whether it makes the result of the plan, which is computed as it is written."""
        return step is self._last

    def hold(self, step: Step, result: Any) -> None:
        """Keep what a step made for those after it, and forget what none of them takes any more.

        Its warnings are told already. What a result that stayed lazy was made of stays: libvips does not know whose
        memory it reads.
        """
        self.held[step_ref(step.id)] = replace(result, warnings=()) if isinstance(result, Image) else result
        for ref in _refs(step):
            self._left[ref] -= 1
            if self._left[ref] == 0 and ref not in self._read_later:
                gone = self.held.pop(ref, None)
                if isinstance(gone, Image):
                    self._work.let_go(gone.pixels)

    def render(self, step: Step, image: Image, low: float, high: float, message: str) -> Image:
        """The result of a step with its pixels computed, as the part `low`..`high` of the plan.

        A picture that is still as it was decoded stays so, and one of which much memory would be needed stays lazy
        unless several steps take it.
        """
        lazy = image.pixels
        size = lazy.width * lazy.height * lazy.bands * (2 if lazy.format == "ushort" else 1)
        alone = len(self._takers.get(step_ref(step.id), ())) <= 1
        if lazy is image.source.pixels:
            return image
        if alone and size > RENDERED_BYTES:
            self._read_later.update(_refs(step))
            return image
        # What is in memory already comes back from `copy_memory` as itself, with the signal of a watcher that is gone: the
        # next evaluation would call it, and the process would end.
        watched = lazy.copy()
        self._work.watch(watched, low, high, message)
        pixels = without(watched.copy_memory(), STREAMED)
        self._work.let_go(watched)
        self._work.stop_on_cancel(pixels)
        # Without the decoded picture, whose memory can go now.
        return replace(image, pixels=pixels, source=replace(image.source, pixels=None))


def _refs(step: Step) -> list[str]:
    return [ref for refs in step.images.values() for ref in refs]
