"""Whether a file is the model that a card describes: the digests that its publisher pins, and what goes in and out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from darkroom.engine.model_store import CHUNK, ModelFile, Trust, verify_file
from darkroom.engine.onnx_file import Declared, declared_arrays
from darkroom_tools.errors import ModelInvalid
from darkroom_tools.models import Card, Tensor

__all__ = ["Digests", "check_file", "digests_of", "judge", "misfit", "recognise"]

ALIKE = {"float16": "float32"}
"""Element types that the engine casts by itself."""

Digests = tuple[str, str]
"""SHA-256 and MD5 of a file, hexadecimal."""


def digests_of(path: Path) -> Digests:
    """Both digests of a file in one reading."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
    return sha256.hexdigest(), md5.hexdigest()


def recognise(path: Path, cards: Sequence[Card]) -> Card | None:
    """The card of a file, by a digest or else by the file's name; None if there is none.

    Raises:
        ModelInvalid: The file cannot be read.
    """
    try:
        sha256, md5 = digests_of(path)
    except OSError as error:
        raise ModelInvalid("The file could not be read. Check its name.") from error
    known = [card for card in cards if card.sha256 == sha256 or (card.sha256 is None and card.md5 == md5)]
    return next(iter([*known, *(card for card in cards if card.file == path.name)]), None)


def judge(card: Card, path: Path) -> Trust:
    """Why the file is believed to be the card's model.

    Where the publisher pins no digest, its size and its arrays must be those of the card.

    Raises:
        ModelInvalid: It is another file.
    """
    sha256, md5 = digests_of(path)
    for kind, pinned, found in (("SHA-256", card.sha256, sha256), ("MD5", card.md5, md5)):
        if pinned is not None and pinned != found:
            raise ModelInvalid(
                f"The file is not {card.file}, the model {card.id!r}: its {kind} is {found}, but its publisher pins "
                f"{pinned}. Do not use it.",
                model=card.id,
                expected=pinned,
                got=found,
            )
    if card.sha256 is not None or card.md5 is not None:
        return "sha256" if card.sha256 is not None else "md5"
    if card.bytes is not None and path.stat().st_size != card.bytes:
        raise ModelInvalid(
            f"The file is not {card.file}, the model {card.id!r}: it has {path.stat().st_size:,} bytes instead of "
            f"{card.bytes:,}. Do not use it.",
            model=card.id,
        )
    if problem := misfit(card, path):
        raise ModelInvalid(
            f"The file is not the model {card.id!r}: {problem}. Give the file that its publisher calls {card.file}.",
            model=card.id,
        )
    return "first-use"


def check_file(card: Card | None, file: ModelFile) -> None:
    """Make sure that an installed file is unchanged, and the one that its card means.

    Raises:
        ModelInvalid: It is not.
    """
    verify_file(file.path, file.sha256, file.id)
    if card is not None:
        judge(card, file.path)


def misfit(card: Card, path: Path) -> str | None:
    """What goes in or out of a file that is not as the card says, in words; None if all fits.

    Raises:
        ModelInvalid: It is no ONNX file.
    """
    inputs, outputs = declared_arrays(path)
    if len(inputs) == len(card.inputs) or not card.inputs:
        pairs = [*zip(card.inputs, inputs, strict=False), *zip(card.outputs, outputs, strict=False)]
        if len(outputs) >= len(card.outputs) and all(_fits(tensor, found) for tensor, found in pairs):
            return None
    return f"it takes {_words(inputs)} and gives {_words(outputs)}"


def _fits(tensor: Tensor, found: Declared) -> bool:
    """Whether an array may be the card's: what is fixed on both sides is the same; its name may be another."""
    if found.dtype and ALIKE.get(found.dtype, found.dtype) != ALIKE.get(tensor.dtype, tensor.dtype):
        return False
    if found.shape is None:
        return True
    return len(found.shape) == len(tensor.shape) and all(
        isinstance(side, str) or other is None or side == other
        for side, other in zip(tensor.shape, found.shape, strict=True)
    )


def _words(arrays: Sequence[Declared]) -> str:
    def one(array: Declared) -> str:
        sides = "any" if array.shape is None else "×".join(str(side or "any") for side in array.shape)
        return f"{array.dtype or 'other values'} [{sides}]"

    return " and ".join(map(one, arrays)) or "nothing"
