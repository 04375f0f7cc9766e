"""The tools that plans may name."""

import importlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from darkroom.engine.limits import Limits
from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.plan import Plan
from darkroom_tools.registry import builtin_tools

__all__ = ["known_tools", "needs_vector", "wall_seconds_of"]


def known_tools(extra: Sequence[str] = ()) -> Mapping[str, Tool]:
    """The built-in tools by id, and those held by the modules named in `extra`."""
    tools = dict(builtin_tools())
    for name in extra:
        held = vars(importlib.import_module(name)).values()
        tools |= {value.id: value for value in held if isinstance(value, Tool)}
    return MappingProxyType(tools)


def needs_vector(plan: Plan, tools: Mapping[str, Tool]) -> bool:
    """Whether a step of the plan parses SVG or PDF."""
    return any(step.tool in tools and tools[step.tool].worker == "vector" for step in plan.steps)


def wall_seconds_of(plan: Plan, tools: Mapping[str, Tool], limits: Limits) -> float:
    """The clock limit of a plan by its kind.

    Raises:
        InvalidSettings: It names a tool that there is not.
    """
    if not plan.steps:
        return limits.inspect_seconds
    for step in plan.steps:
        if step.tool not in tools:
            raise InvalidSettings(f"There is no tool {step.tool!r}.", field="tool", got=step.tool)
    uses_models = any(tools[step.tool].models for step in plan.steps)
    return limits.model_seconds if uses_models else limits.tool_seconds
