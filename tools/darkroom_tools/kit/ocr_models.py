"""The networks that read text, used as rapidocr does: where lines are, which way up they are, and what they say.

Its pre- and post-processing runs here; the networks run in the engine, so its sessions, downloads and files are never
reached. It is imported at first use, which takes 2 seconds, once per worker.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from types import SimpleNamespace
from typing import Any, Final

from darkroom_tools.base import Run
from darkroom_tools.errors import ModelInvalid, RuntimeNotInstalled
from darkroom_tools.models import card
from darkroom_tools.native import np

__all__ = ["CLASSIFIER", "Script", "alphabet", "classified", "cropped", "detected", "recognised"]

CLASSIFIER: Final = "ppocrv2-cls-mobile"
ALPHABET_OF: Final = "ppocrv6-rec-small"

LINE_HEIGHT: Final = 48
LEAST_WIDTH: Final = 320
MOST_WIDTH: Final = 3200
BATCH_WIDTH: Final = 3200
"""Columns of all lines of a batch together, which bounds its answer to 30 MB."""
CLASSIFIER_SIZE: Final = (48, 192)
CLASSIFIER_BATCH: Final = 16

Script = str
"""`any`, or the letters that a language is written with: `latin`."""


@dataclass(frozen=True, slots=True)
class _Alphabet:
    """What the columns of a recogniser's answer stand for, and which of them are not of a script."""

    decode: Any
    foreign: "np.ndarray"
    size: int


@functools.cache
def library() -> Any:
    """The parts of rapidocr, and OpenCV.

    Raises:
        RuntimeNotInstalled: They are missing.
    """
    try:
        import cv2
        from rapidocr.ch_ppocr_cls.utils import ClsPostProcess
        from rapidocr.ch_ppocr_det.utils import DBPostProcess, DetPreProcess
        from rapidocr.ch_ppocr_rec.utils import CTCLabelDecode
        from rapidocr.utils.process_img import get_rotate_crop_image
    except ImportError as error:
        raise RuntimeNotInstalled(
            'Reading text needs rapidocr, which is not installed. Install it with: uv tool install "darkroom-mcp[ai]" '
            "(in a checkout: uv sync --extra ai)."
        ) from error
    cv2.setNumThreads(1)
    return SimpleNamespace(
        cv2=cv2,
        classes=ClsPostProcess(["0", "180"]),
        prepared=DetPreProcess(1 << 30, "max"),
        boxes=DBPostProcess(thresh=0.3, box_thresh=0.5, unclip_ratio=1.6, use_dilation=True),
        decoder=CTCLabelDecode,
        crop=get_rotate_crop_image,
    )


def detected(picture: "np.ndarray", shape: tuple[int, int], run: Run, model: str) -> "np.ndarray":
    """The corners of lines of text: n × 4 × 2, pixels of a picture of another `shape` (height, width).

    Args:
        picture: Height × width × 3, 8 bits, BGR; sides of at least 16.
        shape: Of the picture that the corners are wanted for.
        run: Runs the detector.
        model: Its id.
    """
    kit = library()
    heat = run.infer(model, [kit.prepared(picture)]).outputs[0]
    if heat.ndim != 4 or heat.shape[:2] != (1, 1):
        raise _another_shape(model)
    boxes, _ = kit.boxes(np.asarray(heat), shape)
    return np.asarray(boxes, np.float32).reshape(-1, 4, 2)


def cropped(picture: "np.ndarray", corners: "np.ndarray") -> "tuple[np.ndarray, bool]":
    """A line cut out straight, and whether it was much higher than wide and so was turned to the left."""
    sides = [np.linalg.norm(corners[n] - corners[(n + 1) % 4]) for n in range(4)]
    across, down = int(max(sides[0], sides[2])), int(max(sides[1], sides[3]))
    crop = library().crop(picture, np.ascontiguousarray(corners, np.float32))
    return np.ascontiguousarray(crop), down / across >= 1.5


def classified(crops: "Sequence[np.ndarray]", run: Run) -> "np.ndarray":
    """How sure it is that each line stands on its head, 0..1."""
    down, across = CLASSIFIER_SIZE
    batches = [crops[n : n + CLASSIFIER_BATCH] for n in range(0, len(crops), CLASSIFIER_BATCH)]
    arrays = ([np.stack([_normalised(crop, down, across, across) for crop in batch])] for batch in batches)
    answers = [np.asarray(answer.outputs[0]) for answer in run.infer_each(CLASSIFIER, arrays)]
    if any(answer.ndim != 2 or answer.shape[1] != 2 for answer in answers):
        raise _another_shape(CLASSIFIER)
    named = [found for answer in answers for found in library().classes(answer)]
    return np.array([score if label == "180" else 1 - score for label, score in named], np.float32)


def recognised(
    crops: "Sequence[np.ndarray]", run: Run, model: str, script: Script = "any"
) -> Iterator[tuple[int, str, float]]:
    """The number, the text and the confidence 0..1 of each line, as they are read."""
    order = sorted(range(len(crops)), key=lambda n: _width(crops[n]))
    batches = list(_batches(order, [_width(crop) for crop in crops]))

    def arrays() -> "Iterator[list[np.ndarray]]":
        for batch in batches:
            wide = max(LEAST_WIDTH, *(_width(crops[n]) for n in batch))
            yield [np.stack([_normalised(crops[n], LINE_HEIGHT, _width(crops[n]), wide) for n in batch])]

    known = alphabet(script)
    for batch, answer in zip(batches, run.infer_each(model, arrays()), strict=True):
        chances = np.asarray(answer.outputs[0])
        if chances.ndim != 3 or chances.shape[2] != known.size:
            raise _another_shape(model)
        if len(known.foreign):
            chances = chances.copy()
            chances[..., known.foreign] = 0
        read, _ = known.decode(chances)
        yield from ((n, text, float(score)) for n, (text, score) in zip(batch, read, strict=True))


@functools.cache
def alphabet(script: Script) -> _Alphabet:
    """The alphabet of the recognisers, which stands in the metadata of the one that rapidocr carries."""
    package, _, inside = (card(ALPHABET_OF).packaged or "").partition("/")
    data = resources.files(package).joinpath(inside).read_bytes()
    characters = _metadata(data)[b"character"].decode("utf-8").splitlines()
    decode = library().decoder(character=list(characters))
    foreign = [n + 1 for n, character in enumerate(characters) if script == "latin" and _is_east_asian(character)]
    return _Alphabet(decode, np.array(foreign, np.intp), len(characters) + 2)


def _is_east_asian(character: str) -> bool:
    return any(
        "\u2e80" <= letter <= "\ufaff" or "\uff00" <= letter <= "\uffef" or letter > "\U00020000"
        for letter in character
    )


def _metadata(model: bytes) -> dict[bytes, bytes]:
    """The `metadata_props` of an ONNX file (field 14 of ModelProto), without loading the rest of it."""
    pairs = [dict(_fields(body)) for number, body in _fields(model) if number == 14]
    return {pair[1]: pair[2] for pair in pairs}


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and body of each field of a protobuf message that has a length; numbers are passed over."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        value, at = _varint(message, at)
        if key & 7 == 2:
            yield key >> 3, message[at : at + value] if value < 1 << 20 else b""
            at += value
        elif key & 7:
            raise ModelInvalid("The recogniser that rapidocr carries cannot be read. Install rapidocr anew.")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _width(crop: "np.ndarray") -> int:
    """Of a line at the height that recognisers take."""
    height, width = crop.shape[:2]
    return min(MOST_WIDTH, max(1, -(-LINE_HEIGHT * int(width) // int(height))))


def _batches(order: Iterable[int], widths: Sequence[int]) -> Iterator[list[int]]:
    """Lines of much the same width together."""
    batch: list[int] = []
    for n in order:
        wide = max(LEAST_WIDTH, widths[n])
        if batch and (len(batch) + 1) * wide > BATCH_WIDTH:
            yield batch
            batch = []
        batch.append(n)
    if batch:
        yield batch


def _normalised(crop: "np.ndarray", height: int, width: int, padded: int) -> "np.ndarray":
    """3 × height × padded in -1..1: the line at the left in at most that width, 0 beside it."""
    cv2 = library().cv2
    width = min(width, max(1, -(-height * crop.shape[1] // crop.shape[0])))
    kernel = cv2.INTER_AREA if crop.shape[0] > 2 * height else cv2.INTER_LINEAR
    line = cv2.resize(crop, (width, height), interpolation=kernel)
    result = np.zeros((3, height, padded), np.float32)
    result[:, :, :width] = line.transpose(2, 0, 1) / np.float32(127.5) - 1
    return result


def _another_shape(model: str) -> ModelInvalid:
    return ModelInvalid(
        f"The model {model!r} answers with another shape than its kind does. Import the right file.", model=model
    )
