"""Metadata of a result: changed in the source's own bytes where no pixel was touched, else written anew."""

from dataclasses import dataclass, field, replace
from typing import Any, cast

import pyvips

from darkroom.engine import fields
from darkroom.engine.colour import read_profile
from darkroom_tools.image import Encoding, Image, Source
from darkroom_tools.kit.metadata.blocks import Blocks, apply, exif_kinds, upright
from darkroom_tools.kit.metadata.changes import Edit, Strip
from darkroom_tools.kit.metadata.containers import Damaged
from darkroom_tools.kit.metadata.iptc import of_photoshop
from darkroom_tools.kit.metadata.rewrite import CONTAINERS, Rewritten, rewrite

__all__ = ["KEEP_PROFILE", "Stamp", "anew", "in_place", "stamp"]

KEEP_NOTHING, KEEP_EXIF, KEEP_XMP, KEEP_IPTC, KEEP_PROFILE = 0, 1, 2, 4, 8
"""libvips' flags of what a saver writes beside the pixels."""

# What libvips writes into formats whose bytes are not rewritten here.
_HELD = {
    "tiff": frozenset({"xmp", "iptc"}),
    "avif": frozenset({"exif", "xmp"}),
    "heif": frozenset({"exif", "xmp"}),
}
# Nobody asked for a smaller file, so a second encoding should cost little of the picture.
_QUALITY_ANEW = {"jpeg": 95, "webp": 95, "avif": 85, "heif": 85}
_PHOTOSHOP = b"Photoshop 3.0\0"


def in_place(image: Image) -> Rewritten | None:
    """The source's own bytes with the wanted metadata; None where the pixels have to be encoded anew.

    Raises:
        ProcessingFailed: The metadata is too long for the format.
    """
    stored = image.stored
    if stored is None or stored.format not in CONTAINERS or _colours_would_change(image):
        return None
    try:
        return rewrite(stored.read(), stored.format, image.encoding.metadata)
    except Damaged:
        return None


def _colours_would_change(image: Image) -> bool:
    """Whether a profile is to go that says something else than sRGB."""
    profile = fields.field(image.source.header, fields.ICC)
    if profile is None or not _strips_profile(image.encoding):
        return False
    facts = read_profile(profile)
    return facts is not None and not facts.is_srgb


def _strips_profile(encoding: Encoding) -> bool:
    return any(isinstance(change, Strip) and "icc" in change.kinds for change in encoding.metadata)


def anew(image: Image, warnings: list[str]) -> Image:
    """The picture to encode where only its metadata was to change, at a quality that costs little of it."""
    encoding = image.encoding
    if not encoding.metadata or image.stored is None:
        return image
    format = image.source.format
    if format in CONTAINERS and _colours_would_change(image):
        warnings.append("The profile was not sRGB, so the pixels were converted to sRGB and encoded anew.")
    elif format != "gif":
        warnings.append(
            f"The metadata of this {format.upper()} cannot be changed in place; its pixels were encoded anew."
        )
    quality = _QUALITY_ANEW.get(format)
    return replace(image, encoding=replace(encoding, quality=quality, carry_metadata=True))


@dataclass
class Stamp:
    """The metadata that goes into a file that is encoded.

    Attributes:
        pixels: With the blocks attached that the saver writes.
        keep: libvips' flags for the saver.
        held: Kinds that the saver writes.
        carried: Blocks to write into the encoded bytes; None where there is nothing to write.
    """

    pixels: pyvips.Image
    keep: int = KEEP_PROFILE
    held: set[str] = field(default_factory=set)
    carried: Blocks | None = None


def stamp(pixels: pyvips.Image, format: str, image: Image, warnings: list[str]) -> Stamp:
    """Decide what is written beside the pixels.

    Args:
        pixels: As the format can hold them.
        format: What is written.
        image: The picture, with what is wanted.
        warnings: Sentences for the caller are added here.
    """
    encoding = image.encoding
    made = Stamp(pixels, KEEP_NOTHING if _strips_profile(encoding) else KEEP_PROFILE)
    if not encoding.carry_metadata and not any(isinstance(change, Edit) for change in encoding.metadata):
        return made
    blocks = _blocks(image.source) if encoding.carry_metadata else Blocks()
    held = CONTAINERS[format].holds if format in CONTAINERS else _HELD[format]
    apply(blocks, encoding.metadata, held)
    warnings += blocks.warnings
    if format in CONTAINERS:
        made.carried = blocks
        return made
    if format == "tiff" and any(isinstance(change, Edit) for change in encoding.metadata):
        warnings.append("In TIFF the fields are written as XMP, not as EXIF.")
    made.pixels, bare = _without_fields(pixels)
    if not bare:
        held -= {"exif"}
        warnings.append("EXIF could not be carried over beside the texts of this PNG, which are not in UTF-8.")
    for name, body, flag in (
        ("exif", blocks.exif and b"Exif\0\0" + blocks.exif, KEEP_EXIF),
        ("xmp", blocks.xmp, KEEP_XMP),
        ("iptc", blocks.iptc, KEEP_IPTC),
    ):
        if body and name in held:
            made.pixels.set_type(pyvips.GValue.blob_type, f"{name}-data", cast(Any, body))
            made.keep |= flag
            made.held.add(name)
    if "exif" in made.held and blocks.exif:
        made.held = made.held - {"exif"} | exif_kinds(blocks.exif)
    return made


def _without_fields(pixels: pyvips.Image) -> tuple[pyvips.Image, bool]:
    """The pixels without metadata, and whether that is so for the single EXIF fields, which savers put into blocks."""
    blocks = ("exif-data", "xmp-data", "iptc-data")
    try:
        names = [name for name in pixels.get_fields() if name.startswith("exif-")]
    except UnicodeDecodeError:
        # pyvips reads the names of all fields as UTF-8, but the keyword of a PNG text chunk is Latin-1.
        return fields.without(pixels, *blocks).copy(), False
    return fields.without(pixels, *blocks, *names).copy(), True


def _blocks(source: Source) -> Blocks:
    """The metadata of the source as it fits pixels that are upright and encoded anew."""
    header = source.header
    exif, iptc = fields.field(header, "exif-data"), fields.field(header, "iptc-data")
    if iptc is not None and iptc.startswith(_PHOTOSHOP):
        iptc = of_photoshop(iptc.removeprefix(_PHOTOSHOP))
    blocks = Blocks(
        exif=exif.removeprefix(b"Exif\0\0") if exif is not None else None,
        xmp=fields.field(header, "xmp-data"),
        iptc=iptc,
    )
    upright(blocks)
    return blocks
