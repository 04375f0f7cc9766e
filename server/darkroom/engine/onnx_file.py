"""What a model file may be: one whole ONNX file that needs nothing but itself.

An ONNX file can name other files as the place of its weights and operators that only a native library brings. Both
are refused before ONNX Runtime sees the file. The file is walked as protobuf wire format (onnx.proto, field numbers
below), weights are skipped, so that neither the onnx package nor ONNX Runtime is needed to say no.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from darkroom_tools.errors import ModelInvalid

__all__ = ["MAX_MODEL_BYTES", "Declared", "check_onnx", "declared_arrays"]

MAX_MODEL_BYTES: Final = 2**31 - 1
"""Largest protobuf message, hence the largest model without external data."""

DOMAINS: Final = frozenset({b"", b"ai.onnx", b"ai.onnx.ml", b"com.microsoft"})
"""Operator domains that ONNX Runtime itself implements."""

MAX_FIELDS: Final = 5_000_000
MAX_DEPTH: Final = 64
MAX_NAME: Final = 200

Kind = Literal["model", "graph", "node", "attribute", "tensor", "sparse", "function", "training"]

CHILDREN: Final[dict[Kind, dict[int, Kind]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
IR_VERSION, GRAPH, OPSET = 1, 7, 8
OP_TYPE, NODE_DOMAIN, FUNCTION_DOMAIN = 4, 7, 10
EXTERNAL_DATA, DATA_LOCATION = 13, 14

INITIALIZER, INPUT, OUTPUT = 5, 11, 12
VALUE_NAME, VALUE_TYPE, TENSOR_NAME = 1, 2, 8
TENSOR_TYPE, ELEMENT_TYPE, SHAPE, DIMENSION, DIMENSION_VALUE = 1, 1, 2, 1, 1

DTYPES: Final = (
    *("", "float32", "uint8", "int8", "uint16", "int16", "int32"),
    *("int64", "", "bool", "float16", "float64", "uint32", "uint64"),
)
"""NumPy's names of the element types by their number in TensorProto.DataType."""

DAMAGED: Final = "The file is no ONNX model, or it is cut short. Give a complete .onnx file."


def check_onnx(path: Path) -> None:
    """Accept a file that ONNX Runtime may open.

    Raises:
        ModelInvalid: It is no ONNX model, is cut short or over 2 GiB, keeps weights in other files, or needs
            operators of a custom library.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if len(data) > MAX_MODEL_BYTES:
                raise ModelInvalid("The model file is over 2 GiB. Give a model whose weights fit into one ONNX file.")
            _Walk(data).check()
    except (OSError, ValueError) as error:
        raise ModelInvalid(DAMAGED) from error


@dataclass(frozen=True, slots=True)
class Declared:
    """An array that a model's graph takes or gives.

    Attributes:
        name: In the graph.
        dtype: NumPy's name of its element type; empty for one that NumPy lacks.
        shape: Sizes of its axes, None for a free one; None where the graph does not say.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


def declared_arrays(path: Path) -> tuple[tuple[Declared, ...], tuple[Declared, ...]]:
    """What a model's graph takes and gives, in its order; weights that stand among the inputs are left out.

    Raises:
        ModelInvalid: The file is no ONNX model, or it is cut short.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Walk(data).declared()
    except (OSError, ValueError) as error:
        raise ModelInvalid(DAMAGED) from error


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._fields = 0
        self._seen: set[int] = set()
        self._used: set[bytes] = set()
        self._defined: set[bytes] = set()

    def check(self) -> None:
        waiting: list[tuple[Kind, int, int, int]] = [("model", 0, len(self._data), 0)]
        while waiting:
            kind, start, end, depth = waiting.pop()
            if depth > MAX_DEPTH:
                raise ModelInvalid("The model nests graphs too deeply. Export it with plain control flow.")
            for number, wire, value, stop in self._message(start, end):
                if kind == "model":
                    self._seen.add(number)
                child = CHILDREN[kind].get(number)
                if child is not None and wire == BYTES:
                    waiting.append((child, value, stop, depth + 1))
                else:
                    self._note(kind, number, wire, value, stop)
        if not {IR_VERSION, GRAPH, OPSET} <= self._seen:
            raise ModelInvalid(DAMAGED)
        if foreign := self._used - DOMAINS - self._defined:
            raise ModelInvalid(
                "The model needs operators of a custom library, which is never loaded. Export it with standard ONNX "
                "operators.",
                domains=sorted(name.decode(errors="replace") for name in foreign)[:10],
            )

    def declared(self) -> tuple[tuple[Declared, ...], tuple[Declared, ...]]:
        """Inputs and outputs of the graph."""
        weights: set[str] = set()
        found: dict[int, list[Declared]] = {INPUT: [], OUTPUT: []}
        for _, start, end in self._parts(0, len(self._data), GRAPH):
            for number, value, stop in self._parts(start, end, INITIALIZER, INPUT, OUTPUT):
                if number == INITIALIZER:
                    weights |= {self._text(a, b) for _, a, b in self._parts(value, stop, TENSOR_NAME)}
                else:
                    found[number].append(self._value(value, stop))
        return tuple(part for part in found[INPUT] if part.name not in weights), tuple(found[OUTPUT])

    def _value(self, start: int, end: int) -> Declared:
        """A ValueInfoProto; a value that is no tensor has neither dtype nor shape."""
        name, dtype, shape = "", "", None
        for number, value, stop in self._parts(start, end, VALUE_NAME, VALUE_TYPE):
            if number == VALUE_NAME:
                name = self._text(value, stop)
                continue
            for _, inner, inner_end in self._parts(value, stop, TENSOR_TYPE):
                for number_of, wire, given, given_end in self._message(inner, inner_end):
                    if number_of == ELEMENT_TYPE and wire == VARINT:
                        dtype = DTYPES[given] if given < len(DTYPES) else ""
                    elif number_of == SHAPE and wire == BYTES:
                        shape = tuple(self._side(a, b) for _, a, b in self._parts(given, given_end, DIMENSION))
        return Declared(name, dtype, shape)

    def _side(self, start: int, end: int) -> int | None:
        given = [
            value for number, wire, value, _ in self._message(start, end) if (number, wire) == (DIMENSION_VALUE, VARINT)
        ]
        return given[-1] if given and given[-1] > 0 else None

    def _parts(self, start: int, end: int, *wanted: int) -> Iterator[tuple[int, int, int]]:
        """Number and span of the messages and texts of some fields."""
        for number, wire, value, stop in self._message(start, end):
            if wire == BYTES and number in wanted:
                yield number, value, stop

    def _text(self, start: int, end: int) -> str:
        return self._data[start : min(end, start + MAX_NAME)].decode(errors="replace")

    def _note(self, kind: Kind, number: int, wire: int, value: int, stop: int) -> None:
        if kind == "tensor" and (number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0)):
            raise ModelInvalid(
                "The model keeps its weights in other files. Save it as one ONNX file with the weights inside."
            )
        if wire != BYTES or kind not in ("node", "function"):
            return
        name = self._data[value : min(stop, value + MAX_NAME)]
        if kind == "function":
            self._defined |= {name} if number == FUNCTION_DOMAIN else set()
        elif number == NODE_DOMAIN:
            self._used.add(name)
        elif number == OP_TYPE and name == b"EPContext":
            raise ModelInvalid("The model is compiled for one device. Give the ONNX file that it was compiled from.")

    def _message(self, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Fields of one message: number, wire type, then the value of a varint or the span of bytes."""
        while position < end:
            self._fields += 1
            if self._fields > MAX_FIELDS:
                raise ModelInvalid("The model has too many parts. Simplify it before the import.")
            key, position = self._varint(position, end)
            number, wire = key >> 3, key & 7
            value = position
            if wire == VARINT:
                value, position = self._varint(position, end)
            elif wire == BYTES:
                length, value = self._varint(position, end)
                position = value + length
            elif wire in (FIXED32, FIXED64):
                position += 4 if wire == FIXED32 else 8
            else:
                raise ModelInvalid(DAMAGED)
            if position > end or number == 0:
                raise ModelInvalid(DAMAGED)
            yield number, wire, value, position

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if position >= end:
                raise ModelInvalid(DAMAGED)
            byte = self._data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
        raise ModelInvalid(DAMAGED)
