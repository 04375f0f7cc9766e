"""What a worker is asked to do: steps over input images, as plain data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Plan", "Step", "input_ref", "step_ref"]


def input_ref(index: int) -> str:
    """The reference to the plan's input image number `index`, counted from 0."""
    return f"input:{index}"


def step_ref(step_id: str) -> str:
    """The reference to the image that the step `step_id` made."""
    return f"step:{step_id}"


@dataclass(frozen=True, slots=True)
class Step:
    """One tool with its settings.

    Attributes:
        id: Name of the step, unique in its plan; `[a-z0-9_-]+`.
        tool: Tool id in kebab-case, such as `watermark-text`.
        settings: Validated settings in wire form (camelCase, JSON values).
        images: For each image parameter of the tool the references of what goes in (`input:0`, `step:cutout`).
        written: Whether the steps after it take its result as it is in a file, written and read again: what two calls
            one after the other do. Without it pixels go on as they are.
    """

    id: str
    tool: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Sequence[str]] = field(default_factory=dict)
    written: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in an order in which every reference points backwards; the result is that of the last step.

    A plan without steps only inspects its inputs.
    """

    steps: tuple[Step, ...] = ()

    def to_wire(self) -> list[dict[str, Any]]:
        """The plan as JSON values."""
        return [
            {
                "id": step.id,
                "tool": step.tool,
                "settings": dict(step.settings),
                "images": {name: list(refs) for name, refs in step.images.items()},
                **({"written": True} if step.written else {}),
            }
            for step in self.steps
        ]

    @staticmethod
    def from_wire(wire: Sequence[Mapping[str, Any]]) -> "Plan":
        """The plan that `to_wire` wrote."""
        return Plan(
            tuple(Step(str(s["id"]), str(s["tool"]), s["settings"], s["images"], bool(s.get("written"))) for s in wire)
        )

    def digest(self, inputs: Sequence[str]) -> str:
        """SHA-256 over the steps and the digests of the input bytes: equal calls have equal digests."""
        canonical = json.dumps([self.to_wire(), list(inputs)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()
