"""A loaded model: what it accepts, and running it for one request or for several together.

Only the model process imports this.
"""

import logging
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from darkroom.engine.devices import CPU, DEVICES
from darkroom_tools.errors import DarkroomError, ModelInvalid, OutOfMemory, ProcessingFailed

__all__ = ["Answer", "Arrays", "Session"]

logger = logging.getLogger(__name__)

Arrays = Sequence[np.ndarray]
Answer = Arrays | DarkroomError

DTYPES: Final = {"float": "float32", "double": "float64"}
"""ONNX Runtime's names of element types where NumPy has others."""

CAST: Final = frozenset({"float16", "float32"})
"""Element types of which a model is given the one that it wants, and callers get `float32` for `float32`."""

MEMORY_WORDS: Final = ("bad_alloc", "failed to allocate", "out of memory", "available memory of", "alloc_failed")
"""As libstdc++, ONNX Runtime's arenas, the CUDA runtime and cuBLAS put it."""

HEAVY: Final = frozenset(
    {"Conv", "ConvTranspose", "FusedConv", "NhwcConv", "MatMul", "FusedMatMul", "Gemm", "FusedGemm", "LSTM", "GRU"}
    | {"Attention", "MultiHeadAttention", "DeformConv", "QLinearConv", "QLinearMatMul", "MatMulInteger"}
)
"""Operators that take the time of a model; what works on shapes runs on the CPU beside every device."""

LARGE_BYTES: Final = 8 * 1024 * 1024
"""Inputs over which a run gives its memory back at once; otherwise a session keeps what its largest run took."""

SMALLEST_PIECE: Final = 128
"""Pixels of a side below which a picture is not worth cutting further for a device that lacks the memory."""

TOLERANCE: Final = 0.01
"""How much of the largest value a shared run may differ: rounding is far below it, rows that mix are above it."""


class Session:
    """One ONNX Runtime session.

    Args:
        raw: The session, which recorded what its nodes were assigned to.
        memory: ONNX Runtime's name of the memory that inputs and outputs are put into; None to leave that to it.
        note: Sentence for every caller about how the model runs.

    Attributes:
        device: Name of what runs it: of most of its heavy operators.
        mergeable: Whether requests may share a run. False where an input or output has no free first axis, and once
            a shared run turned out to differ from the same requests run alone.
        most_rows: Most rows that had the memory to share a run.
        too_large: Shared runs that had not.
        seconds_per_byte: Time of a run over the size of its inputs; 0 before the first.
        note: As given.
    """

    def __init__(self, raw: onnxruntime.InferenceSession, *, memory: str | None = None, note: str = "") -> None:
        self.device = _runs_on(raw)
        self.most_rows = sys.maxsize
        self.too_large = 0
        self.seconds_per_byte = 0.0
        self.note = note
        self._raw = raw
        self._memory = memory if self.device != CPU.name or memory == "cpu" else None
        self._inputs = raw.get_inputs()
        values = (*self._inputs, *raw.get_outputs())
        self.mergeable = all(value.shape and not isinstance(value.shape[0], int) for value in values)
        self._proven = False

    def check(self, model: str, arrays: Arrays) -> None:
        """Compare arrays with what the model declares.

        Raises:
            ModelInvalid: Other number, element type, axes or sizes: the file is not the model that the tool expects.
        """
        declared = self._declared()
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
        started = time.perf_counter()
        found = self._answers(calls, options)
        speed = (time.perf_counter() - started) / max(1, sum(array.nbytes for call in calls for array in call))
        # Other work on the machine only ever makes a run longer.
        self.seconds_per_byte = min(speed, 1.1 * self.seconds_per_byte or speed)
        return found

    def bytes_within(self, seconds: float) -> float:
        """Inputs that a run takes so long for."""
        return seconds / self.seconds_per_byte if self.seconds_per_byte else math.inf

    def _answers(self, calls: Sequence[Arrays], options: onnxruntime.RunOptions) -> list[Answer]:
        if len(calls) > 1 and self.mergeable and (self._proven or self._prove(calls[0], options)):
            together = self._together(calls, options)
            if isinstance(together, OutOfMemory):
                self.too_large += 1
                self.most_rows = max(1, sum(len(call[0]) for call in calls) // 2)
            elif together is not None:
                return list(together)
        return [self._run(call, options) for call in calls]

    def can_shrink(self, arrays: Arrays) -> bool:
        """Whether the model would take the same picture in smaller pieces: its height and width are free."""
        spatial = [
            (shape, array) for (_, shape), array in zip(self._declared(), arrays, strict=True) if len(shape) == 4
        ]
        free = all(not isinstance(side, int) for shape, _ in spatial for side in shape[2:])
        return free and any(min(array.shape[2:]) > SMALLEST_PIECE for _, array in spatial)

    def warm_up(self, side: int = 0) -> None:
        """Run on zeros, so that what is done once only is done; not where the sizes cannot be known.

        Args:
            side: Of free axes but the first; 0 if nobody knows.
        """
        arrays = []
        for dtype, shape in self._declared():
            sizes = [axis if isinstance(axis, int) else 1 if n == 0 else side for n, axis in enumerate(shape)]
            if not all(size > 0 for size in sizes) or dtype == "string":
                return
            arrays.append(np.zeros(sizes, dtype))
        options = onnxruntime.RunOptions()
        self._run(arrays, options)
        if self.mergeable and not self._proven:
            self._prove(arrays, options)

    def _declared(self) -> list["Declared"]:
        return [(_dtype(value.type), list(value.shape)) for value in self._inputs]

    def _prove(self, call: Arrays, options: onnxruntime.RunOptions) -> bool:
        """Try out once whether the rows of a run are independent of one another.

        A model may mix its rows (a normalisation over the whole batch), and nobody's result may depend on who else
        asks at the same time. So a call and a variation of it run together and alone, and must come out the same.
        """
        pair: list[Arrays] = [call, [_varied(part) for part in call]]
        together = self._together(pair, options)
        alone = [self._run(each, options) for each in pair]
        if not options.terminate and not isinstance(together, OutOfMemory):
            self._proven = together is not None and all(map(_agree, together, alone))
            self.mergeable = self._proven
            if not self._proven:
                logger.warning("the rows of a model's batch depend on one another; its requests run one by one")
        return self._proven

    def _together(self, calls: Sequence[Arrays], options: onnxruntime.RunOptions) -> list[Arrays] | OutOfMemory | None:
        """One run for all calls; None if it failed or did not answer row by row."""
        outputs = self._run([np.concatenate(parts) for parts in zip(*calls, strict=True)], options)
        ends = np.cumsum([len(call[0]) for call in calls])
        if isinstance(outputs, OutOfMemory):
            return outputs
        if isinstance(outputs, DarkroomError) or any(not output.ndim or len(output) != ends[-1] for output in outputs):
            return None
        return list(zip(*(np.split(output, ends[:-1]) for output in outputs), strict=True))

    def _run(self, arrays: Arrays, options: onnxruntime.RunOptions) -> Answer:
        wanted = [_dtype(value.type) for value in self._inputs]
        feed = {
            value.name: array.astype(dtype, copy=False) if dtype in CAST else array
            for value, dtype, array in zip(self._inputs, wanted, arrays, strict=True)
        }
        if self.device == CPU.name and sum(array.nbytes for array in arrays) > LARGE_BYTES:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            outputs = self._raw.run(None, feed, options) if self._memory is None else self._run_bound(feed, options)
        except Exception as error:
            logger.info("a model run failed", exc_info=error)
            if isinstance(error, MemoryError) or any(words in str(error).lower() for words in MEMORY_WORDS):
                return OutOfMemory("The model needs more memory for this image than there is. Use a smaller image.")
            return ProcessingFailed("The model failed on this input.")
        if not all(isinstance(output, np.ndarray) for output in outputs):
            return ProcessingFailed("The model answers with something else than arrays, which is not supported.")
        full = any(array.dtype == np.float32 for array in arrays)
        return [output.astype(np.float32) if full and output.dtype == np.float16 else output for output in outputs]

    def _run_bound(self, feed: Mapping[str, np.ndarray], options: onnxruntime.RunOptions) -> list[np.ndarray]:
        """Run with inputs copied to the device once, and outputs copied from it once.

        The copies lie in the session's own arena, so its limit counts them too.
        """
        binding = self._raw.io_binding()
        for name, array in feed.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(array))
        for output in self._raw.get_outputs():
            binding.bind_output(output.name, self._memory, 0)
        binding.synchronize_inputs()
        self._raw.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
        return list(binding.copy_outputs_to_cpu())


def _runs_on(raw: onnxruntime.InferenceSession) -> str:
    """The device of most heavy nodes, or of most nodes where none is heavy; a session may leave all to the CPU."""
    nodes: Counter[tuple[bool, str]] = Counter()
    for part in raw.get_provider_graph_assignment_info():
        nodes.update((node.op_type in HEAVY, part.ep_name) for node in part.get_nodes())
    heavy = {provider: count for (is_heavy, provider), count in nodes.items() if is_heavy}
    every = heavy or {provider: count for (_, provider), count in nodes.items()}
    most = max(every, key=lambda provider: every[provider], default=raw.get_providers()[0])
    return next(device.name for device in DEVICES if device.provider == most)


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
    if (dtype != got and not {dtype, got} <= CAST) or len(shape) != len(sides):
        return False
    return all(b == a if isinstance(a, int) else b > 0 for a, b in zip(shape, sides, strict=True))


def _words(arrays: Sequence[Declared]) -> str:
    def sides(shape: Sequence[Any]) -> str:
        return "×".join(str(side) if isinstance(side, int) else "any" for side in shape)

    return " and ".join(f"{dtype} [{sides(shape)}]" for dtype, shape in arrays) or "nothing"
