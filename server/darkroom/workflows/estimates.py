"""What a result will weigh and how long it will take, by what was measured (`benchmarks/estimates.py`): always a range."""

import functools
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

__all__ = [
    "AROUND",
    "OTHER_MACHINES",
    "Range",
    "Weight",
    "file_bytes",
    "reading_seconds",
    "tool_seconds",
    "writing_seconds",
]

DEFAULT_QUALITY: Final[Mapping[str, int]] = {"jpeg": 80, "webp": 80, "avif": 50, "heif": 50}
LIKE: Final[Mapping[str, str]] = {"heif": "avif", "heic": "avif"}
"""Formats that are written and read by the codec of another one."""

OTHER_MACHINES: Final = (0.5, 2.5)
"""How far the CPU of another machine, or a busy one, is from the one that was measured."""

OTHER_PHOTOS: Final = (0.8, 1.25)
"""How much further a file may be from what nine in ten of the measured photographs came to."""

AROUND: Final = (0.003, 0.06)
"""Seconds that a job takes around its work: recording it, a worker, and the files."""

ANIMATED: Final = 0.1
"""Least share of a still's bytes that each frame of an animation takes: what does not move costs nothing."""

FEWEST_BYTES: Final = 100


@dataclass(frozen=True, slots=True)
class Range:
    """From the least to the most that is likely; `high` is infinite where nobody can say."""

    low: float = 0.0
    high: float = 0.0

    def __add__(self, other: "Range") -> "Range":
        return Range(self.low + other.low, self.high + other.high)

    def widened(self, low: float, high: float) -> "Range":
        """Each end times a factor of its own."""
        return Range(self.low * low, self.high * high)

    def to_wire(self, *, whole: bool = False) -> list[float | int | None]:
        """Both ends in two significant digits; null for no upper end."""
        rounded = [_two_digits(value) if math.isfinite(value) else None for value in (self.low, self.high)]
        return [int(value) if whole and value is not None else value for value in rounded]


@dataclass(frozen=True, slots=True)
class Weight:
    """How heavy a source file is for its pixels, which tells how much detail it has.

    Attributes:
        format: Of the file.
        bytes: Of the file.
        pixels: Width × height × frames.
    """

    format: str
    bytes: int
    pixels: int

    @property
    def density(self) -> float:
        """Logarithm of bytes a pixel."""
        return math.log(max(1, self.bytes) / max(1, self.pixels))


def file_bytes(
    format: str,
    pixels: int,
    *,
    frames: int = 1,
    quality: int | None = None,
    source: Weight | None = None,
    scale: float = 1.0,
) -> Range | None:
    """Bytes of a picture's file; None for a format that was not measured.

    Args:
        format: In which it is written.
        pixels: Width × height of one frame.
        frames: Number of frames.
        quality: 1 to 100, None for the format's default.
        source: The file that the picture comes from, None if that is not known.
        scale: By how much its sides were scaled: detail moves together when a picture is reduced.
    """
    measured = _data()["bytes"].get(LIKE.get(format, format))
    if measured is None:
        return None
    quality = quality or DEFAULT_QUALITY.get(format, 100)
    kind = source.format if source is not None and source.format in ("jpeg", "png") else "other"
    constant, by_source, by_scale, low, high = _between(measured, kind, quality)
    density = source.density if source is not None else 0.0
    middle = constant + by_source * density + by_scale * math.log(min(4.0, max(scale, 0.05)))
    ends = zip((low, high), OTHER_PHOTOS, strict=True)
    least, most = (math.exp(middle + end) * further * pixels * frames for end, further in ends)
    return Range(max(FEWEST_BYTES, least * (ANIMATED if frames > 1 else 1.0)), max(FEWEST_BYTES, most))


def reading_seconds(format: str, megapixels: float) -> Range:
    """CPU seconds to decode a file; pictures that are only reduced need not be read in full."""
    per = _data()["decode"].get(LIKE.get(format, format), _data()["decode"]["png"])
    return Range(per * megapixels * 0.2, per * megapixels)


def writing_seconds(format: str, megapixels: float) -> Range:
    """CPU seconds to encode a file."""
    per = _data()["encode"].get(LIKE.get(format, format), 0.0)
    return Range(per * megapixels * 0.5, per * megapixels * 1.5)


def tool_seconds(tool: str, megapixels: float) -> Range:
    """CPU seconds of a tool between reading and writing; without an upper end for one that was never measured.

    Args:
        tool: Its id.
        megapixels: Of its images or its results, whichever are more.
    """
    measured = _data()["tools"].get(tool)
    if measured is None:
        return Range(0.0, math.inf)
    calls, each = measured["call"], measured["megapixel"]
    return Range(calls[0] + each[0] * megapixels, calls[1] + each[1] * megapixels)


def _between(measured: Mapping[str, Any], kind: str, quality: int) -> Sequence[float]:
    """The coefficients at a quality: those of the two measured ones beside it, mixed."""
    known = sorted(map(int, measured))
    below = max((each for each in known if each <= quality), default=known[0])
    above = min((each for each in known if each >= quality), default=known[-1])
    share = (quality - below) / (above - below) if above > below else 0.0
    pairs = zip(measured[str(below)][kind], measured[str(above)][kind], strict=True)
    return [one + (other - one) * min(1.0, max(0.0, share)) for one, other in pairs]


def _two_digits(value: float) -> float:
    return float(f"{value:.2g}")


@functools.cache
def _data() -> Mapping[str, Any]:
    text = resources.files("darkroom").joinpath("data", "estimates.toml").read_text("utf-8")
    return tomllib.loads(text)
