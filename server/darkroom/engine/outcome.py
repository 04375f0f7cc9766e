"""What comes back from a pixel worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "Output", "Picture", "Progress"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work is.

    Attributes:
        fraction: 0..1, never falling.
        message: The stage for people, at most 120 characters.
    """

    fraction: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Facts of an image file; width and height are those of an upright frame, None for other files."""

    format: str
    media_type: str
    bytes: int
    width: int | None = None
    height: int | None = None
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Output:
    """A result file in the worker's folder, there until the worker is released."""

    path: Path
    picture: Picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """The whole answer of one plan.

    Attributes:
        inputs: Facts of each input, in order.
        outputs: The files made; none for a report or an inspection.
        report: The report of a tool that answers with facts.
        facts: Results beside the picture, such as `similarity`, `quality`, `reached`, `method`, `device`.
        kept: Metadata that the result still has, such as `icc`.
        removed: Metadata that the source had and the result has not, such as `exif`, `gps`.
        warnings: Sentences for the caller.
    """

    inputs: Sequence[Picture]
    outputs: Sequence[Output] = ()
    report: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    kept: Sequence[str] = ()
    removed: Sequence[str] = ()
    warnings: Sequence[str] = ()
