"""What a generative tool answers with: a request for a picture, which the server carries out at an image engine."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

__all__ = ["LONGER_SIDE", "RATIOS", "AspectRatio", "Attachment", "Generation", "ImageSize", "differs"]

AspectRatio = Literal["auto", "1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]
ImageSize = Literal["1K", "2K"]

RATIOS: Final[Mapping[str, float]] = MappingProxyType(
    {
        name: int(name.partition(":")[0]) / int(name.partition(":")[2])
        for name in ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
    }
)
"""Width by height."""

LONGER_SIDE: Final[Mapping[str, int]] = MappingProxyType({"1K": 1024, "2K": 2048})
"""Pixels of the longer side."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture that a generative tool passes on without seeing it.

    Attributes:
        ref: The plan's reference to it, such as `input:0` or `step:cutout`.
    """

    ref: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A request for one picture.

    Attributes:
        prompt: What it shows, or what is to change.
        images: Pictures to start from, in the order in which the prompt counts them.
        mask: White where the first picture may change.
        aspect_ratio: `auto` is that of the first picture; without one the engine decides.
        image_size: Length of the longer side.
        quality: `auto`, `low`, `medium` or `high`; more costs more.
        background: `auto`, `opaque` or `transparent`.
        fidelity: How closely faces and patterns of `images` are kept: `auto`, `low` or `high`.
        variant: Another number asks for another picture.
    """

    prompt: str
    images: tuple[Attachment, ...] = ()
    mask: Attachment | None = None
    aspect_ratio: AspectRatio = "auto"
    image_size: ImageSize = "1K"
    quality: str = "auto"
    background: str = "auto"
    fidelity: str = "auto"
    variant: int = 0

    def ratio(self, first: tuple[int, int] | None = None) -> float | None:
        """Width by height of what is wanted; `first` is the size of the first picture. None leaves it open."""
        if self.aspect_ratio != "auto":
            return RATIOS[self.aspect_ratio]
        return first[0] / first[1] if first is not None else None

    def to_wire(self) -> dict[str, Any]:
        """All but the pictures as JSON values: equal requests are equal here."""
        return {
            "prompt": self.prompt,
            "images": len(self.images),
            "mask": self.mask is not None,
            "aspectRatio": self.aspect_ratio,
            "imageSize": self.image_size,
            "quality": self.quality,
            "background": self.background,
            "fidelity": self.fidelity,
            "variant": self.variant,
        }


def differs(ratio: float, other: float) -> float:
    """How far two ratios are apart: 0 for equal ones, 0.1 for one tenth."""
    return abs(math.log(ratio / other))
