"""Changes the metadata in a file's bytes and leaves every byte of its pixels as it is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.kit.metadata.blocks import Blocks, apply, exif_kinds
from darkroom_tools.kit.metadata.changes import MetadataChange
from darkroom_tools.kit.metadata.containers import Container, Part
from darkroom_tools.kit.metadata.gif import GIF
from darkroom_tools.kit.metadata.jpeg import JPEG
from darkroom_tools.kit.metadata.png import PNG
from darkroom_tools.kit.metadata.webp import WEBP

__all__ = ["CONTAINERS", "Rewritten", "rewrite"]

CONTAINERS: Final[Mapping[str, Container]] = {"jpeg": JPEG, "png": PNG, "webp": WEBP, "gif": GIF}
"""Formats whose metadata is changed without touching pixels."""

BLOCKS: Final = ("exif", "xmp", "iptc")
# How a place is told in texts and packets that are not taken apart.
PLACE: Final = re.compile(rb"gps|latitude|longitude", re.IGNORECASE)
EXIF_OR_XMP: Final = re.compile(rb"Exif\0\0|http://ns\.adobe\.com/xap/")
# Keywords of PNG texts that are named like a field.
FIELDS_IN_TEXT: Final = frozenset({"title", "description", "author", "copyright", "software"})


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A file with other metadata.

    Attributes:
        data: The file.
        before: Kinds of metadata that the old file held.
        after: Kinds that the new one holds.
        warnings: Sentences for the caller.
    """

    data: bytes
    before: frozenset[str]
    after: frozenset[str]
    warnings: tuple[str, ...] = ()


def rewrite(data: bytes, format: str, changes: Sequence[MetadataChange], carried: Blocks | None = None) -> Rewritten:
    """A file with its metadata changed.

    Args:
        data: A file of one of the `CONTAINERS`.
        format: Its format.
        changes: What to do, in order.
        carried: Blocks from elsewhere to put in first, instead of the file's own.

    Raises:
        Damaged: The file does not follow its format.
        ProcessingFailed: A block becomes too long for the format.
    """
    container = CONTAINERS[format]
    parts = container.parse(data)
    own = {kind: _main(parts, kind) for kind in BLOCKS}
    old = {kind: part.body for kind, part in own.items() if part is not None}
    blocks = carried or Blocks(exif=old.get("exif"), xmp=old.get("xmp"), iptc=old.get("iptc"))
    apply(blocks, changes, container.holds)
    new = {"exif": blocks.exif, "xmp": blocks.xmp, "iptc": blocks.iptc}
    changed = {kind for kind in BLOCKS if new[kind] != old.get(kind)}
    if any(part.kind == "other" and _tells_too_much(part, blocks.dropped) for part in parts):
        blocks.dropped.add("other")
    kept = [bare for part in parts for bare in _kept(part, blocks, changed)]
    for kind in BLOCKS:
        body = new[kind]
        if body and (kind in changed or kind in blocks.dropped) and kind in container.holds:
            part = _made(container, format, kind, body, None if kind in blocks.dropped else own[kind])
            kept.insert(container.place(kept, kind), part)
    return Rewritten(container.join(kept), _kinds(parts), _kinds(kept), tuple(blocks.warnings))


def _main(parts: Sequence[Part], kind: str) -> Part | None:
    """The first part that holds the block of a kind."""
    return next((part for part in parts if part.kind == kind and part.body is not None), None)


def _kept(part: Part, blocks: Blocks, changed: set[str]) -> Sequence[Part]:
    """What stays of a part."""
    kind = part.kind
    if kind is None:
        return (part,)
    replaced = kind in changed and (part.body is not None or kind == "exif")
    if kind in blocks.dropped or replaced or _tells_too_much(part, blocks.dropped):
        return (Part(part.bare),) if part.bare else ()
    if kind == "text" and part.name in blocks.retitled & FIELDS_IN_TEXT:
        return ()
    return (part,)


def _tells_too_much(part: Part, dropped: set[str]) -> bool:
    """Whether a part that is not taken apart holds what had to go."""
    if not dropped & {"exif", "gps", "xmp"}:
        return False
    if part.kind == "other":
        return EXIF_OR_XMP.search(part.raw) is not None
    if part.kind == "text" or (part.kind == "xmp" and part.body is None):
        return "gps" in dropped and PLACE.search(part.raw) is not None
    return False


def _made(container: Container, format: str, kind: str, body: bytes, old: Part | None) -> Part:
    try:
        return container.make(kind, body, old)
    except ValueError as error:
        raise ProcessingFailed(
            f"The {kind.upper()} block would have {len(body)} bytes, which is more than a {format.upper()} holds. "
            "Write shorter texts, or strip the metadata first."
        ) from error


def _kinds(parts: Sequence[Part]) -> frozenset[str]:
    """Kinds of metadata in a file."""
    found: set[str] = set()
    for part in parts:
        if part.kind == "exif" and part.body is not None:
            found |= exif_kinds(part.body)
        elif part.kind is not None:
            found.add(part.kind)
        if part.kind == "xmp" and part.body is not None and PLACE.search(part.body):
            found.add("gps")
    return frozenset(found)
