"""How a download looks to the person who waits for it: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Callable
from typing import Final

from darkroom.run import ProgressBar

__all__ = ["PullProgress", "human_size"]

UNITS: Final = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
REDRAW_SECONDS: Final = 0.1
TENTHS: Final = 10


def human_size(count: int | None) -> str:
    """Bytes in the unit that suits them, `?` where nobody knows."""
    if count is None:
        return "?"
    unit, size = next(((unit, size) for unit, size in UNITS if count >= size), ("B", 1.0))
    return f"{count / size:.1f} {unit}" if size > 1 and count / size < 10 else f"{count / size:.0f} {unit}"


class PullProgress:
    """Tells how far a download is: bytes, share, speed and time left.

    Args:
        label: What is downloaded.
        clock: Seconds that only grow.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._label = label
        self._clock = clock
        self._bar = ProgressBar(label)
        self._terminal = sys.stderr.isatty()
        self._start: tuple[float, int] | None = None
        self._drawn = -1.0
        self._told = 0

    def say(self, text: str) -> None:
        """A line of its own; what is measured starts anew."""
        self.clear()
        self._start = None
        sys.stderr.write(f"{self._label}: {text}\n")
        sys.stderr.flush()

    def __call__(self, done: int, total: int | None) -> None:
        """Hear that so many bytes are there, of how many if that is known."""
        now = self._clock()
        if self._start is None:
            self._start, self._told = (now, done), 0
        if self._terminal:
            if now - self._drawn >= REDRAW_SECONDS or done == total:
                self._drawn = now
                self._bar(done / total if total else 0.0, self._words(done, total, now))
        elif total and done * TENTHS // total > self._told:
            self._told = done * TENTHS // total
            sys.stderr.write(f"{self._label}: {done / total:.0%}, {self._words(done, total, now)}\n")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave an empty line for what comes next."""
        self._bar.clear()

    def _words(self, done: int, total: int | None, now: float) -> str:
        start, at_start = self._start or (now, done)
        words = f"{human_size(done)} of {human_size(total)}" if total else human_size(done)
        if now <= start or done <= at_start:
            return words
        speed = (done - at_start) / (now - start)
        words += f", {human_size(round(speed))}/s"
        return f"{words}, {_seconds((total - done) / speed)} left" if total and done < total else words


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
