"""A loaded model: what it accepts, and running it for one request or for several together.

Only the model process imports this.
"""

import logging
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from darkroom.engine.devices import DEVICES
from darkroom_tools.errors import DarkroomError, ModelInvalid, OutOfMemory, ProcessingFailed

__all__ = ["Answer", "Arrays", "Session"]

logger = logging.getLogger(__name__)

Arrays = Sequence[np.ndarray]
Answer = Arrays | DarkroomError

DTYPES: Final = {"float": "float32", "double": "float64"}
MEMORY_WORDS: Final = ("bad_alloc", "failed to allocate", "out of memory")

TOLERANCE: Final = 0.01
"""How much of the largest value a shared run may differ: rounding is far below it, rows that mix are above it."""


class Session:
    """One ONNX Runtime session.

    Attributes:
        device: Name of what runs it.
        mergeable: Whether requests may share a run. False where an input or output has no free first axis, and once
            a shared run turned out to differ from the same requests run alone.
    """

    def __init__(self, raw: onnxruntime.InferenceSession) -> None:
        self._raw = raw
        first = raw.get_providers()[0]
        self.device = next(device.name for device in DEVICES if device.provider == first)
        self._inputs = raw.get_inputs()
        values = (*self._inputs, *raw.get_outputs())
        self.mergeable = all(value.shape and not isinstance(value.shape[0], int) for value in values)
        self._proven = False

    def check(self, model: str, arrays: Arrays) -> None:
        """Compare arrays with what the model declares.

        Raises:
            ModelInvalid: Other number, element type, axes or sizes: the file is not the model that the tool expects.
        """
        declared = [(_dtype(value.type), list(value.shape)) for value in self._inputs]
        given = [(array.dtype.name, list(array.shape)) for array in arrays]
        if len(declared) == len(given) and all(map(_matches, declared, given)):
            return
        raise ModelInvalid(
            f"The model {model!r} takes {_words(declared)}, but was given {_words(given)}: its file is not the one "
            f"that this tool is made for. Import the right file with `darkroom models import {model} FILE`.",
            model=model,
            expected=_words(declared),
            got=_words(given),
        )

    def answers(self, calls: Sequence[Arrays], options: onnxruntime.RunOptions) -> list[Answer]:
        """Run each call, all of them in one run where the model allows it; an answer or an error for each."""
        if len(calls) > 1 and self.mergeable and (self._proven or self._prove(calls[0], options)):
            together = self._together(calls, options)
            if together is not None:
                return list(together)
        return [self._run(call, options) for call in calls]

    def _prove(self, call: Arrays, options: onnxruntime.RunOptions) -> bool:
        """Try out once whether the rows of a run are independent of one another.

        A model may mix its rows (a normalisation over the whole batch), and nobody's result may depend on who else
        asks at the same time. So a call and a variation of it run together and alone, and must come out the same.
        """
        pair: list[Arrays] = [call, [_varied(part) for part in call]]
        together = self._together(pair, options)
        alone = [self._run(each, options) for each in pair]
        if not options.terminate:
            self._proven = together is not None and all(map(_agree, together, alone))
            self.mergeable = self._proven
            if not self._proven:
                logger.warning("the rows of a model's batch depend on one another; its requests run one by one")
        return self._proven

    def _together(self, calls: Sequence[Arrays], options: onnxruntime.RunOptions) -> list[Arrays] | None:
        """One run for all calls; None if it failed or did not answer row by row."""
        outputs = self._run([np.concatenate(parts) for parts in zip(*calls, strict=True)], options)
        ends = np.cumsum([len(call[0]) for call in calls])
        if isinstance(outputs, DarkroomError) or any(len(output) != ends[-1] for output in outputs):
            return None
        return list(zip(*(np.split(output, ends[:-1]) for output in outputs), strict=True))

    def _run(self, arrays: Arrays, options: onnxruntime.RunOptions) -> Answer:
        feed = {value.name: array for value, array in zip(self._inputs, arrays, strict=True)}
        try:
            outputs = self._raw.run(None, feed, options)
        except Exception as error:
            logger.info("a model run failed", exc_info=error)
            if isinstance(error, MemoryError) or any(words in str(error).lower() for words in MEMORY_WORDS):
                return OutOfMemory("The model needs more memory for this image than there is. Use a smaller image.")
            return ProcessingFailed("The model failed on this input.")
        if not all(isinstance(output, np.ndarray) for output in outputs):
            return ProcessingFailed("The model answers with something else than arrays, which is not supported.")
        return list(outputs)


def _varied(part: np.ndarray) -> np.ndarray:
    """Other values of the same type and size, with another extent and another mean."""
    return ~part if part.dtype == bool else part + part + part.dtype.type(1)


def _agree(one: Arrays, other: Answer) -> bool:
    return not isinstance(other, DarkroomError) and all(map(_close, one, other))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype.kind != "f":
        return np.array_equal(one, other)
    scale = float(np.max(np.abs(other), initial=0.0, where=np.isfinite(other)))
    return np.allclose(one, other, rtol=0.0, atol=TOLERANCE * scale, equal_nan=True)


def _dtype(declared: str) -> str:
    """NumPy's name for an element type that ONNX Runtime writes as `tensor(float)`."""
    name = declared.removeprefix("tensor(").removesuffix(")")
    return DTYPES.get(name, name)


Declared = tuple[str, list[Any]]


def _matches(declared: Declared, given: Declared) -> bool:
    (dtype, shape), (got, sides) = declared, given
    if dtype != got or len(shape) != len(sides):
        return False
    return all(b == a if isinstance(a, int) else b > 0 for a, b in zip(shape, sides, strict=True))


def _words(arrays: Sequence[Declared]) -> str:
    def sides(shape: Sequence[Any]) -> str:
        return "×".join(str(side) if isinstance(side, int) else "any" for side in shape)

    return " and ".join(f"{dtype} [{sides(shape)}]" for dtype, shape in arrays) or "nothing"
