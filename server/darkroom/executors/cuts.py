"""Cuts plans at their generative steps."""

import itertools
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Final

from darkroom_tools.base import Attachment, Generation, Tool
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

__all__ = ["ancestors", "generation_of", "part", "shares"]

ASK_WEIGHT: Final = 20.0
LOCAL_WEIGHT: Final = 3.0
"""Shares of the progress: engines take nearly all of the time."""


def generation_of(tool: Tool, step: Step) -> Generation:
    """What a generative step asks for."""
    if tool.function is None:
        raise TypeError(f"{tool.id} has no function")
    arguments: dict[str, Any] = {}
    for wanted in tool.inputs:
        given = [Attachment(ref) for ref in step.images.get(wanted.name, ())]
        if given or wanted.required:
            arguments[wanted.parameter] = given if wanted.many else given[0]
    generation: Generation = tool.function(**arguments, settings=tool.settings.parse(step.settings))
    return generation


def ancestors(plan: Plan, refs: Iterable[str], stop: Collection[str]) -> list[Step]:
    """The steps that lead to `refs`, in the plan's order, not beyond the references in `stop`."""
    by_ref = {step_ref(step.id): step for step in plan.steps}
    needed: set[str] = set()
    open_refs = [ref for ref in refs if ref not in stop]
    while open_refs:
        ref = open_refs.pop()
        if ref in by_ref and ref not in needed:
            needed.add(ref)
            open_refs += [r for group in by_ref[ref].images.values() for r in group if r not in stop]
    return [step for step in plan.steps if step_ref(step.id) in needed]


def part(
    plan: Plan, wanted: str, known: Collection[str], then: Callable[[str], Step] | None = None
) -> tuple[Plan, list[str]]:
    """The part of a plan from known references to the wanted one, and the references that are its inputs.

    Args:
        plan: The whole.
        wanted: What the part is to make.
        known: References that need no more work.
        then: From the reference of what was made to a last step of our own.
    """
    steps = ancestors(plan, [wanted], known)
    if then is not None:
        steps = [*steps, then(wanted)]
    used = dict.fromkeys(r for step in steps for group in step.images.values() for r in group if r in known)
    inputs = list(used)
    renamed = {ref: input_ref(number) for number, ref in enumerate(inputs)}
    moved = (
        replace(step, images={name: [renamed.get(r, r) for r in refs] for name, refs in step.images.items()})
        for step in steps
    )
    return Plan(tuple(moved)), inputs


def shares(asked: int) -> list[tuple[float, float]]:
    """The parts of the progress for each question, and for what comes after the last."""
    total = asked * ASK_WEIGHT + LOCAL_WEIGHT
    ends = [n * ASK_WEIGHT / total for n in range(asked + 1)]
    return [*itertools.pairwise(ends), (ends[-1], 1.0)]
