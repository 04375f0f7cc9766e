"""Picture files as the parts they are made of, so that metadata can be changed while every pixel byte stays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Container", "Damaged", "Part"]


class Damaged(ValueError):
    """The container does not follow its format's rules; who wants the picture has to decode it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes of a file.

    Attributes:
        raw: The bytes as they stand in the file.
        kind: Kind of metadata, None for what decoding needs.
        body: Content of an `exif`, `xmp` or `iptc` block without its wrapping; None where it is not the main one.
        bare: What stays when the kind is taken away, for a part that decoding needs too.
        name: Keyword of a text, in lower case.
        reach: Where offsets in the part count to what stands behind the picture's end: bytes from here to there.
    """

    raw: bytes | memoryview
    kind: str | None = None
    body: bytes | None = None
    bare: bytes = b""
    name: str = ""
    reach: int = 0


@dataclass(frozen=True, slots=True)
class Container:
    """How one format is taken apart and put together.

    Attributes:
        holds: Which of `exif`, `xmp` and `iptc` it can hold.
        parse: The parts of a file in order; raises `Damaged`.
        make: A part from kind and body, with the old part of that kind if there is one; ValueError if it is too long.
        place: Index in a list of parts where a new part belongs.
        join: A file from parts.
    """

    holds: frozenset[str]
    parse: Callable[[bytes], list[Part]]
    make: Callable[[str, bytes, Part | None], Part]
    place: Callable[[Sequence[Part], str], int]
    join: Callable[[Sequence[Part]], bytes]
