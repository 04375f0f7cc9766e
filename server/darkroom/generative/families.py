"""What the models behind the Images API take, by the family that their name tells.

Source: the API reference of POST /v1/images/generations and /v1/images/edits (sizes, qualities and formats of
`gpt-image-*` and `dall-e-*`); vLLM-Omni, LocalAI and stable-diffusion.cpp for engines of one's own, which take any size
as `WIDTHxHEIGHT`, have no `auto`, and hand out base64 only if asked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from darkroom_tools.generation import LONGER_SIDE, Generation, differs

__all__ = ["Family", "family_of"]

STEP: Final = 16
"""Sides of a free size are multiples of it."""

STEEPEST: Final = 3.0
"""The longest picture that models with free sizes make."""


@dataclass(frozen=True, slots=True)
class Family:
    """How to ask models of one kind.

    Attributes:
        sizes: The sizes there are; empty if any is made.
        least_pixels: The smallest picture of a free size.
        auto: Whether the model can choose the size itself.
        qualities: What it calls ours; empty if there is nothing to choose.
        defaults: Fields that are sent always.
        chooses: Whether it knows `background` and `output_format`.
        fidelity: Whether it knows `input_fidelity`.
        edits: Whether it can start from pictures.
        quiet: Whether `auto` is better left out than sent: unknown engines may not know the word.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    least_pixels: int = 0
    auto: bool = True
    qualities: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    chooses: bool = True
    fidelity: bool = False
    edits: bool = True
    quiet: bool = False

    def size(self, wanted: Generation, first: tuple[int, int] | None) -> tuple[int, int] | None:
        """The size to ask for, nearest to what is wanted; None leaves it to the model.

        Args:
            wanted: The request.
            first: Size of the first picture that it starts from.
        """
        ratio = wanted.ratio(first)
        if ratio is None and self.auto:
            return None
        longer = LONGER_SIDE[wanted.image_size]
        ratio = ratio or 1.0
        if not self.sizes:
            return _free(min(max(ratio, 1 / STEEPEST), STEEPEST), longer, self.least_pixels)
        return min(self.sizes, key=lambda size: (differs(size[0] / size[1], ratio), differs(max(size), longer)))

    def fields(self, wanted: Generation) -> dict[str, Any]:
        """Everything but prompt, model, size and pictures, as the model calls it."""
        fields: dict[str, Any] = {"n": 1, **self.defaults}
        if self.qualities and not (self.quiet and wanted.quality == "auto"):
            fields["quality"] = self.qualities[wanted.quality]
        if self.chooses:
            fields["output_format"] = "png"
            if not (self.quiet and wanted.background == "auto"):
                fields["background"] = wanted.background
        if self.fidelity and wanted.images and wanted.fidelity != "auto":
            fields["input_fidelity"] = wanted.fidelity
        return fields


def _free(ratio: float, longer: int, least: int) -> tuple[int, int]:
    """The size in multiples of 16 with that ratio and longer side; larger where it would have too few pixels."""
    scale = max(1.0, math.sqrt(least * max(ratio, 1 / ratio) / longer**2))
    long = math.ceil(longer * scale / STEP) * STEP
    round_to_step = math.ceil if scale > 1 else round
    short = max(STEP, round_to_step(long / max(ratio, 1 / ratio) / STEP) * STEP)
    return (long, short) if ratio >= 1 else (short, long)


_SAME: Final = {name: name for name in ("auto", "low", "medium", "high")}
_AS_BASE64: Final = {"response_format": "b64_json"}
_GPT_1: Final = Family(sizes=((1024, 1024), (1536, 1024), (1024, 1536)), qualities=_SAME, fidelity=True)
_GPT_2: Final = Family(least_pixels=655_360, qualities=_SAME)
_DALL_E_3: Final = Family(
    sizes=((1024, 1024), (1792, 1024), (1024, 1792)),
    auto=False,
    qualities={"auto": "standard", "low": "standard", "medium": "standard", "high": "hd"},
    defaults=_AS_BASE64,
    chooses=False,
    edits=False,
)
_DALL_E_2: Final = Family(sizes=((256, 256), (512, 512), (1024, 1024)), auto=False, defaults=_AS_BASE64, chooses=False)
_OWN: Final = Family(auto=False, qualities=_SAME, defaults=_AS_BASE64, quiet=True)


def family_of(model: str) -> Family:
    """The family of a model's id; a provider's name in front (`openai/gpt-image-1`) plays no part."""
    name = model.rpartition("/")[2].lower()
    if name.startswith(("gpt-image-1", "chatgpt-image")):
        return _GPT_1
    for start, family in (("gpt-image-", _GPT_2), ("dall-e-3", _DALL_E_3), ("dall-e-2", _DALL_E_2)):
        if name.startswith(start):
            return family
    return _OWN
