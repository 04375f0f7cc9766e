"""A plan under way: its progress, its cancellation and its access to models."""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from darkroom.engine.asking import Ask, answers_in_order
from darkroom_tools.base import File, Image, Inference
from darkroom_tools.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np
    import pyvips

__all__ = ["Stage", "Work"]

SECONDS_BETWEEN_REPORTS = 0.1
LONGEST_MESSAGE = 120


class Work:
    """What surrounds one plan in a worker. Any thread may cancel it.

    Args:
        report: Takes the progress of the whole plan, at most ten times a second and never falling.
        ask: Sends a request for a model.
        installed: Ids of the models that can run.

    Attributes:
        encode: Encodes a picture for a tool; whoever runs the plan sets it.
        within: Where in the plan the work is, such as `Step 2 of 5`; told before what is being done.
        devices: What ran models so far.
        notes: Sentences of the engine about how models ran, each once.
    """

    encode: Callable[[Image], File]

    def __init__(
        self,
        report: Callable[[float, str], None],
        ask: Ask,
        installed: Collection[str] = (),
    ) -> None:
        self.installed = frozenset(installed)
        self.within = ""
        self.devices: set[str] = set()
        self.notes: list[str] = []
        self._ask = ask
        self._report = report
        self._reached = 0.0
        self._reported_at = float("-inf")
        self._lock = threading.Lock()
        self._cancelled = False
        self._images: list[pyvips.Image] = []

    def cancel(self) -> None:
        """Stop native work at its next tile, and everything else at its next progress call."""
        with self._lock:
            self._cancelled = True
            for image in self._images:
                image.set_kill(True)

    def check(self) -> None:
        """Raises `Cancelled` once the work is cancelled."""
        if self._cancelled:
            raise Cancelled("The work was cancelled.")

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how much of the plan is done, 0..1; a smaller fraction than before counts as the same.

        Raises:
            Cancelled: The work was cancelled.
        """
        self.check()
        self._move(fraction, message)

    def _move(self, fraction: float, message: str) -> None:
        self._reached = max(self._reached, min(fraction, 1.0))
        now = time.monotonic()
        if now - self._reported_at >= SECONDS_BETWEEN_REPORTS:
            self._reported_at = now
            told = ": ".join(part for part in (self.within, message) if part)
            self._report(self._reached, told[:LONGEST_MESSAGE])

    def infer(self, model: str, inputs: "Sequence[np.ndarray]") -> Inference:
        """Run a model."""
        self.check()
        return self._noted(self._ask(model, inputs, False).result())

    def infer_each(self, model: str, requests: "Iterable[Sequence[np.ndarray]]") -> Iterator[Inference]:
        """Run a model on many inputs, several of them under way; answers come in their order."""
        for answer in answers_in_order(model, requests, self._ask, self.check):
            yield self._noted(answer)

    def _noted(self, answer: Inference) -> Inference:
        self.devices.add(answer.device)
        self.notes += [note for note in answer.notes if note not in self.notes]
        return answer

    def stop_on_cancel(self, image: "pyvips.Image") -> None:
        """Make every evaluation that reads this image fail once the work is cancelled."""
        with self._lock:
            self._images.append(image)
            if self._cancelled:
                image.set_kill(True)

    def let_go(self, image: "pyvips.Image") -> None:
        """Forget an image that is done with, so that its pixels can go before the plan ends."""
        with self._lock:
            self._images = [held for held in self._images if held is not image]

    def watch(self, image: "pyvips.Image", low: float, high: float, message: str) -> None:
        """Follow the evaluation of an image as the part `low`..`high` of the plan."""
        self.stop_on_cancel(image)
        image.set_progress(True)
        image.signal_connect("eval", lambda _, done: self._move(low + (high - low) * done.percent / 100, message))

    def forget(self) -> None:
        """Let go of the plan's images: a watched one and this object hold each other, and pixels are much memory."""
        with self._lock:
            self._images.clear()

    def stage(self, low: float, high: float) -> "Stage":
        """The part `low`..`high` of the plan, as a tool sees it."""
        return Stage(self, low, high)


class Stage:
    """The `Run` of one step."""

    def __init__(self, work: Work, low: float, high: float) -> None:
        self._work = work
        self._low = low
        self._span = high - low

    def progress(self, fraction: float, message: str = "") -> None:
        """Report how much of this step is done, 0..1."""
        self._work.progress(self._low + self._span * max(0.0, min(1.0, fraction)), message[:LONGEST_MESSAGE])

    def installed(self, model: str) -> bool:
        """Whether the model's file and ONNX Runtime are there."""
        return model in self._work.installed

    def encode(self, image: Image) -> File:
        """Encode a picture now, by its `encoding`."""
        self._work.check()
        return self._work.encode(image)

    def infer(self, model: str, inputs: "Sequence[np.ndarray]") -> Inference:
        """Run a model on input arrays in its own order."""
        return self._work.infer(model, inputs)

    def infer_each(self, model: str, requests: "Iterable[Sequence[np.ndarray]]") -> Iterator[Inference]:
        """Run a model on many inputs, several of them under way; answers come in their order."""
        return self._work.infer_each(model, requests)
