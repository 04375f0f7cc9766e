"""Pictures as tools see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self, cast

from darkroom_tools.kit.metadata.changes import MetadataChange
from darkroom_tools.native import pyvips

__all__ = ["Archive", "Encoding", "Entry", "File", "Format", "Image", "Original", "Palette", "Source"]

Format = Literal["jpeg", "png", "webp", "avif", "tiff", "gif", "heif"]
"""Formats that the core reads and writes. `heif` is AV1 in a HEIF container."""


@dataclass(frozen=True, slots=True)
class Original:
    """A file as it came, not decoded: what tools that work on bytes take instead of a picture.

    Attributes:
        format: Type by the leading bytes, such as `jpeg`, `svg` or `pdf`.
        size: Bytes of the file.
        read: Reads the whole file.
        name: The file name as the caller gave it, cleaned; empty unless the tool is `named`.
    """

    format: str
    size: int
    read: Callable[[], bytes]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Facts of the file a picture came from, before anything was applied to it.

    Attributes:
        format: Type by the leading bytes, such as `jpeg`.
        bytes: Size of the file.
        header: The file as opened, header only: original bands, orientation, profile and metadata fields.
        orientation: EXIF orientation 1 to 8; it is already applied to `Image.pixels`.
        profile: Description of the embedded ICC profile, None without one.
        metadata: Which of `exif`, `gps`, `xmp`, `iptc`, `icc` the file holds.
        original: The file itself.
        pixels: The picture as it was decoded, before any tool.
    """

    format: str
    bytes: int
    header: "pyvips.Image"
    orientation: int = 1
    profile: str | None = None
    metadata: frozenset[str] = frozenset()
    original: Original | None = None
    pixels: "pyvips.Image | None" = None


@dataclass(frozen=True, slots=True)
class Palette:
    """How the colours of a GIF are chosen. Where no frame has more than 255 colours, effort 4 without dither and
    without tolerance writes every pixel as it is.

    Attributes:
        colors: At most so many; the power of two below counts.
        dither: 0 for none to 1.
        effort: 1 to 10, the time spent on choosing.
        tolerance: How far colours may move for a frame to share the palette of the frame before it, in levels.
        frame_tolerance: How far a pixel may be from the frame before it to be left as it was there, in levels.
    """

    colors: int = 256
    dither: float = 1.0
    effort: int = 3
    tolerance: float = 3.0
    frame_tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the result will be written; carried to the one final encode, so it is no pixel step.

    Attributes:
        format: None keeps the format of the source.
        quality: 1 to 100, None for the format's default (JPEG 80, WebP 80, AVIF 50). For PNG and GIF less than
            100 means a palette.
        target_bytes: Largest wanted size; the encoder searches the best quality that fits and says if none does.
        background: `#RRGGBB` under transparent pixels where the format has no alpha.
        formats: Candidates, instead of `format`: of those that can hold the picture, the one with the smallest file
            is written. PNG is lossless among them.
        effort: Time spent on a smaller file. `tight` gives a JPEG tables of its own, 1 to 7 % smaller for twice the
            time; `small` takes mozjpeg's settings, and WebP's effort 4.
        progressive: Whether a JPEG shows coarsely before all of it is there; an interlaced PNG would be much larger.
        never_larger: Where a picture of the source's size would grow, the source's own bytes are written, with its
            metadata changed as asked. The reply tells both sizes.
        metadata: What to do with metadata, in order. A file whose pixels nobody touched keeps them byte by byte.
        carry_metadata: Whether the source's metadata goes into a file that is encoded anew.
        losses: Warnings about what decoding loses; they are true only of a file that is encoded anew.
        palette: How a GIF's colours are chosen; None for the default, or what `quality` says.
        density: Pixels an inch that a JPEG, PNG or TIFF says it has, for print; None to say nothing of it.
    """

    format: Format | None = None
    quality: int | None = None
    target_bytes: int | None = None
    background: str = "#FFFFFF"
    formats: tuple[Format, ...] = ()
    effort: Literal["fast", "tight", "small"] = "fast"
    progressive: bool = False
    never_larger: bool = False
    metadata: tuple[MetadataChange, ...] = ()
    carry_metadata: bool = False
    losses: tuple[str, ...] = ()
    palette: Palette | None = None
    density: float | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: lazy pixels with what is known of it. Immutable; tools answer with a new one.

    Attributes:
        pixels: Grey or sRGB, 8 or 16 bits a band, alpha (not premultiplied) last; upright. The frames of an
            animation stand below one another, as libvips stacks them (`page-height`, `delay`, `loop`).
        source: The file it came from.
        encoding: How the result is to be written.
        facts: JSON-ready results beside the picture, such as `similarity`; the reply shows them.
        warnings: Sentences for the caller.
        reload: Set on a freshly decoded picture only: opens the file again at a scale in 0..1 or a little above,
            where the decoder can skip detail cheaply. Use `reduced`.
    """

    pixels: "pyvips.Image"
    source: Source
    encoding: Encoding = field(default_factory=Encoding)
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reload: "Callable[[float], pyvips.Image] | None" = None

    @property
    def width(self) -> int:
        """Pixels across."""
        return int(self.pixels.width)

    @property
    def height(self) -> int:
        """Pixels down, of one frame."""
        return int(self.pixels.get_page_height())

    @property
    def frames(self) -> int:
        """Number of frames; 1 for a still."""
        return int(self.pixels.height) // self.height

    @property
    def has_alpha(self) -> bool:
        """Whether the last band is alpha."""
        return bool(self.pixels.hasalpha())

    @property
    def original(self) -> Original | None:
        """The file that holds exactly this picture; None once pixels or what is wanted of the file differ from it."""
        return None if self.encoding.metadata else self.stored

    @property
    def stored(self) -> Original | None:
        """The file that holds these pixels encoded as wanted, though its metadata may have to change; else None."""
        plain = Encoding()
        wanted = replace(
            self.encoding, background=plain.background, metadata=(), carry_metadata=False, losses=plain.losses
        )
        same = wanted in (plain, Encoding(format=cast(Format, self.source.format)))
        return self.source.original if same and self.pixels is self.source.pixels else None

    def reduced(self, scale: float) -> "pyvips.Image":
        """The pixels for a reduction to `scale` (0..1): at least twice that size, and cheaper to decode if possible."""
        return self.reload(scale) if self.reload is not None else self.pixels

    def with_pixels(self, pixels: "pyvips.Image", *, frame_height: int | None = None) -> Self:
        """The same picture with other pixels; `frame_height` where the frames of an animation changed height."""
        if self.frames > 1:
            pixels = pixels.copy()
            pixels.set_type(pyvips.GValue.gint_type, "page-height", frame_height or self.height)
        return replace(self, pixels=pixels, reload=None)

    def map_frames(self, change: "Callable[[pyvips.Image], pyvips.Image]") -> Self:
        """Apply `change` to each frame; all results must have one size."""
        if self.frames == 1:
            return replace(self, pixels=change(self.pixels), reload=None)
        height = self.height
        changed = [change(self.pixels.crop(0, n * height, self.width, height)) for n in range(self.frames)]
        stacked = pyvips.Image.arrayjoin(changed, across=1).copy()
        for name in ("delay", "loop", "n-pages"):
            if self.pixels.get_typeof(name):
                stacked.set_type(self.pixels.get_typeof(name), name, self.pixels.get(name))
        return self.with_pixels(stacked, frame_height=changed[0].height)

    def encode_as(self, **changes: Any) -> Self:
        """Change how the result will be written: any field of `Encoding`. A format ends a choice among several."""
        if "format" in changes:
            changes = {"formats": (), **changes}
        return replace(self, encoding=replace(self.encoding, **changes))

    def change_metadata(self, change: MetadataChange) -> Self:
        """Add a change of metadata to those that are carried out when the file is written."""
        changed = self.encode_as(metadata=(*self.encoding.metadata, change))
        if self.stored is None or self.encoding.metadata:
            return changed
        return replace(changed, warnings=(), encoding=replace(changed.encoding, losses=self.warnings))

    def with_facts(self, **facts: Any) -> Self:
        """Add results that the reply shows beside the picture."""
        return replace(self, facts={**self.facts, **facts})

    def warn(self, text: str) -> Self:
        """Add a sentence that the reply shows as a warning."""
        return replace(self, warnings=(*self.warnings, text))


@dataclass(frozen=True, slots=True)
class File:
    """Bytes that are a result as they are: PDF, SVG, or a picture that is encoded already.

    Attributes:
        data: The whole file.
        media_type: IANA media type.
        extension: Without the dot; the server names the file.
        facts: JSON-ready results beside it.
        warnings: Sentences for the caller.
        kept: Kinds of metadata that the source had and the file has.
        removed: Kinds of metadata that the source had and the file has not.
    """

    data: bytes
    media_type: str
    extension: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive.

    Attributes:
        name: File name, `/` between folders; the writer cleans it and makes it unique.
        read: Makes the bytes, when they are written.
    """

    name: str
    read: Callable[[], bytes | memoryview]


@dataclass(frozen=True, slots=True)
class Archive:
    """Several files in one ZIP, written one after the other so that they are never in memory together.

    Attributes:
        entries: The files in order.
        facts: JSON-ready results beside it; the reply adds `fileCount` and the first names as `files`.
        warnings: Sentences for the caller.
        kept: Kinds of metadata that the sources had and the files have.
        removed: Kinds of metadata that the sources had and the files have not.
    """

    entries: Sequence[Entry]
    facts: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
