"""What tools cost: `data/prices.toml`, read once."""

import functools
import itertools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from darkroom.workflows.document import Component, WorkflowDocument
from darkroom.workflows.overrides import IMAGE_SIZE
from darkroom.workflows.references import places
from darkroom_tools.base import Tool
from darkroom_tools.plan import Plan
from darkroom_tools.registry import builtin_tools

__all__ = ["Prices", "load_prices"]


_EXPORT = {"export": "convert"}
SHAPING = ("crop", "resize")
"""Steps that give the result the shape and the size that a call asks for."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Credits of one run on one image.

    Attributes:
        kinds: By kind of tool: `plain`, `report`, `model`, `generative`.
        tools: By tool id, where a tool costs something else than its kind.
        factors: By tool id and setting: for values of it what the price is multiplied with.
    """

    kinds: Mapping[str, int]
    tools: Mapping[str, int]
    factors: Mapping[str, Mapping[str, Mapping[str, float]]]

    def of_step(self, tool: str, settings: Mapping[str, Any]) -> int:
        """What one step costs; nothing where the tool is none of ours.

        Args:
            tool: Tool id in kebab-case.
            settings: Settings by wire name; those left out have no say.
        """
        price = float(self.tools[tool] if tool in self.tools else self._of_kind(tool))
        for name, factors in self.factors.get(tool, {}).items():
            price *= factors.get(str(settings.get(name)), 1)
        return math.ceil(price)

    def of_plan(self, plan: Plan) -> int:
        """What all steps cost together."""
        return sum(self.of_step(step.tool, step.settings) for step in plan.steps)

    def of_document(self, document: WorkflowDocument) -> int:
        """What the components of a workflow cost together, with the settings that stand there already."""
        types = [_EXPORT.get(component.type, component.type.replace("_", "-")) for component in document.components]
        pairs = zip(types, document.components, strict=True)
        return sum(self.of_step(tool, component.settings) for tool, component in pairs)

    def span_of_document(self, document: WorkflowDocument, *, shaped: bool) -> tuple[int, int]:
        """The least and the most that they may cost together, whatever a call hands in.

        Args:
            shaped: Whether a call may ask for shape and size of the result, which takes further steps.
        """
        spans = [self._span(component) for component in document.components]
        further = sum(self.of_step(tool, {}) for tool in SHAPING) if shaped else 0
        return sum(low for low, _ in spans), sum(high for _, high in spans) + further

    def _span(self, component: Component) -> tuple[int, int]:
        tool = _EXPORT.get(component.type, component.type.replace("_", "-"))
        said = {name: value for name, value in component.settings.items() if not any(places(value))}
        opened = [name for name in {*component.settings, IMAGE_SIZE} - {*said} if name in self.factors.get(tool, {})]
        choices = itertools.product(*([None, *self.factors[tool][name]] for name in opened))
        prices = [self.of_step(tool, {**said, **dict(zip(opened, each, strict=True))}) for each in choices]
        return min(prices), max(prices)

    def _of_kind(self, tool: str) -> int:
        found = builtin_tools().get(tool)
        return self.kinds[_kind(found)] if found is not None else 0


@functools.cache
def load_prices() -> Prices:
    """The price list that comes with Darkroom."""
    text = files("darkroom").joinpath("data", "prices.toml").read_text(encoding="utf-8")
    return Prices(**tomllib.loads(text))


def _kind(tool: Tool) -> str:
    if tool.generative:
        return "generative"
    if tool.models:
        return "model"
    return "report" if tool.read_only else "plain"
