"""Searches the best way to write a picture that fits a number of bytes."""

import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyvips

__all__ = ["Fitted", "Step", "Watch", "fit", "tiles"]

Watch = Callable[[pyvips.Image], None]
"""Attaches progress and cancel to an image that is about to be evaluated."""

_TILE, _TILES_ACROSS = 192, 4
# From here on trials on tiles are much cheaper than trials on the picture.
_SAMPLED_PIXELS = 2 * (_TILE * _TILES_ACROSS) ** 2
_NEAR = 0.97
_GUIDED_ENCODES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One way to write a picture: options of the saver, and how the reply names them."""

    options: Mapping[str, Any]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Fitted:
    """The file found, with the facts of its step, `bytes`, `reached` and `encodes`."""

    data: bytes
    facts: dict[str, Any] = field(default_factory=dict)


def fit(
    pixels: pyvips.Image,
    ladder: Sequence[Step],
    target: int,
    save: Callable[[pyvips.Image, Mapping[str, Any]], bytes],
    watch: Watch,
) -> Fitted:
    """Write `pixels` by the highest step of `ladder` whose file has at most `target` bytes.

    The pixels are computed once. Guesses come from the sizes of a sample of tiles, corrected by each real encode
    and kept inside a shrinking bracket; a file within 3 % below the target ends the search early. Where no step
    fits, the smallest file found is the answer and `reached` is False.

    Args:
        pixels: What to write.
        ladder: Steps from the smallest file to the largest.
        target: Bytes.
        save: Encodes an image with a step's options.
        watch: Called before each evaluation of the pixels.
    """
    watch(pixels)
    pixels = pixels.copy_memory()
    guess = _Guess(pixels, ladder, target, save)
    low, high, encodes = 0, len(ladder) - 1, 0
    best: tuple[bytes, int] | None = None
    smallest: tuple[bytes, int] | None = None
    while low <= high:
        level = guess.within(low, high) if encodes < _GUIDED_ENCODES else (low + high) // 2
        attempt = pixels.copy()
        watch(attempt)
        data = save(attempt, ladder[level].options)
        encodes += 1
        guess.learn(level, len(data))
        if smallest is None or len(data) < len(smallest[0]):
            smallest = data, level
        if len(data) > target:
            high = level - 1
            continue
        best = data, level
        if len(data) >= _NEAR * target:
            break
        low = level + 1
    data, level = best or smallest or (b"", 0)
    facts = {**ladder[level].facts, "bytes": len(data), "reached": best is not None, "encodes": encodes}
    return Fitted(data, facts)


class _Guess:
    """Predicts which step fits, from a sample of a large picture; for a small one it halves the bracket."""

    def __init__(
        self,
        pixels: pyvips.Image,
        ladder: Sequence[Step],
        target: int,
        save: Callable[[pyvips.Image, Mapping[str, Any]], bytes],
    ) -> None:
        single = pixels.get_page_height() == pixels.height
        large = single and pixels.width * pixels.height >= _SAMPLED_PIXELS
        self._sample = tiles(pixels, _TILE, _TILES_ACROSS) if large else None
        self._ladder, self._target, self._save = ladder, target, save
        self._sizes: dict[int, int] = {}
        self._ratio = pixels.width * pixels.height / (_TILE * _TILES_ACROSS) ** 2

    def within(self, low: int, high: int) -> int:
        """The highest level of `low..high` that should fit, `low` if none should."""
        sample = self._sample
        if sample is None:
            return (low + high) // 2

        def predict(level: int) -> int:
            return round(self._sampled(sample, level) * self._ratio)

        fitting = bisect.bisect_right(range(low, high + 1), self._target, key=predict)
        return low + max(0, fitting - 1)

    def learn(self, level: int, size: int) -> None:
        """Correct the prediction by a real encode."""
        if self._sample is not None:
            self._ratio = size / self._sampled(self._sample, level)

    def _sampled(self, sample: pyvips.Image, level: int) -> int:
        if level not in self._sizes:
            self._sizes[level] = len(self._save(sample, self._ladder[level].options))
        return self._sizes[level]


def tiles(pixels: pyvips.Image, side: int, across: int) -> pyvips.Image:
    """`across` × `across` square tiles spread evenly over a picture in memory, joined; all of a small picture."""
    width, height = min(side, pixels.width), min(side, pixels.height)
    cut = [
        pixels.crop(
            (pixels.width - width) * x // (across - 1), (pixels.height - height) * y // (across - 1), width, height
        )
        for y in range(across)
        for x in range(across)
    ]
    return pyvips.Image.arrayjoin(cut, across=across)
