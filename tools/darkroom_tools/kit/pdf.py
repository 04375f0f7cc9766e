"""Writes PDF files of pictures: one page each, equal bytes for equal contents.

Source: ISO 32000-1:2008 (PDF 1.7), sections 7.5 (file structure), 8.3 (coordinates), 8.9 (images).
"""

import zlib
from dataclasses import dataclass
from typing import Final

__all__ = ["MOST_POINTS", "PdfPicture", "PdfWriter", "Rectangle"]

MOST_POINTS: Final = 14_400
"""The longest side of a page that common readers accept."""

CATALOG, PAGES = 1, 2
# Of each EXIF orientation: where the unit square of the stored picture goes, as s = u·a + v·b + c and likewise t.
_TURNS: Final = {
    1: ((1, 0, 0), (0, 1, 0)),
    2: ((-1, 0, 1), (0, 1, 0)),
    3: ((-1, 0, 1), (0, -1, 1)),
    4: ((1, 0, 0), (0, -1, 1)),
    5: ((0, -1, 1), (-1, 0, 1)),
    6: ((0, 1, 0), (-1, 0, 1)),
    7: ((0, 1, 0), (1, 0, 0)),
    8: ((0, -1, 1), (1, 0, 0)),
}


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle on a page in points, counted from its lower left corner."""

    left: float
    bottom: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class PdfPicture:
    """A picture as PDF stores it.

    Attributes:
        width: Stored pixels across, before `orientation` is applied.
        height: Stored pixels down.
        components: Samples a pixel: 1 for grey or a palette, 3 for RGB, 4 for CMYK.
        data: The compressed pixels.
        filter: `DCTDecode` for a JPEG file, `FlateDecode` for zlib.
        bits: Bits a sample.
        predicted: Whether rows begin with the number of a PNG filter.
        inverted: Whether 0 means full ink, as Adobe's CMYK files have it.
        palette: RGB triples, where samples are their numbers.
        profile: ICC profile of the samples, or of the palette; without one they are sRGB.
        mask: Alpha as a grey picture of the same size.
        orientation: EXIF orientation 1 to 8 that a reader of the page has to apply.
        exact: Whether the pixels are those of the source file, bit for bit.
    """

    width: int
    height: int
    components: int
    data: bytes
    filter: str = "FlateDecode"
    bits: int = 8
    predicted: bool = False
    inverted: bool = False
    palette: bytes | None = None
    profile: bytes | None = None
    mask: "PdfPicture | None" = None
    orientation: int = 1
    exact: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """Width and height as the picture is seen."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class PdfWriter:
    """Collects pages; `finish` gives the file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._offsets: dict[int, int] = {CATALOG: 0, PAGES: 0}
        self._pages: list[int] = []
        self._profiles: dict[bytes, int] = {}
        # The second line tells programs that copy files that this one is binary.
        self._put(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")

    def add_page(self, width: float, height: float, picture: PdfPicture, place: Rectangle, clip: Rectangle) -> None:
        """Add a page of that many points with one picture.

        Args:
            width: Of the page.
            height: Of the page.
            picture: What is shown.
            place: Where all of the upright picture goes.
            clip: What of the page it may cover.
        """
        image = self._picture(picture)
        (a, c, e), (b, d, f) = _TURNS[picture.orientation]
        matrix = (
            *(place.width * a, place.height * b, place.width * c, place.height * d),
            *(place.left + place.width * e, place.bottom + place.height * f),
        )
        box = (clip.left, clip.bottom, clip.width, clip.height)
        drawing = f"q {_numbers(*box)} re W n {_numbers(*matrix)} cm /P Do Q"
        content = self._stream("", drawing.encode())
        self._pages.append(
            self._object(
                f"<< /Type /Page /Parent {PAGES} 0 R /MediaBox [{_numbers(0, 0, width, height)}] "
                f"/Resources << /XObject << /P {image} 0 R >> >> /Contents {content} 0 R >>"
            )
        )

    def finish(self) -> bytes:
        """The whole file; nothing can be added afterwards."""
        kids = " ".join(f"{page} 0 R" for page in self._pages)
        self._object(f"<< /Type /Pages /Count {len(self._pages)} /Kids [{kids}] >>", PAGES)
        self._object(f"<< /Type /Catalog /Pages {PAGES} 0 R >>", CATALOG)
        start, count = self._size, len(self._offsets) + 1
        rows = "".join(f"{self._offsets[number]:010} 00000 n \n" for number in range(1, count))
        self._put(f"xref\n0 {count}\n0000000000 65535 f \n{rows}".encode())
        self._put(f"trailer\n<< /Size {count} /Root {CATALOG} 0 R >>\nstartxref\n{start}\n%%EOF\n".encode())
        return b"".join(self._parts)

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def _object(self, body: str, number: int | None = None) -> int:
        number = number or len(self._offsets) + 1
        self._offsets[number] = self._size
        self._put(f"{number} 0 obj\n{body}\nendobj\n".encode())
        return number

    def _stream(self, entries: str, data: bytes) -> int:
        number = len(self._offsets) + 1
        self._offsets[number] = self._size
        self._put(f"{number} 0 obj\n<< {entries} /Length {len(data)} >>\nstream\n".encode())
        self._put(data)
        self._put(b"\nendstream\nendobj\n")
        return number

    def _picture(self, picture: PdfPicture) -> int:
        mask = f"/SMask {self._picture(picture.mask)} 0 R" if picture.mask is not None else ""
        rows = f"/Colors {picture.components} /BitsPerComponent {picture.bits} /Columns {picture.width}"
        parameters = f"/DecodeParms << /Predictor 15 {rows} >>" if picture.predicted else ""
        decode = f"/Decode [{'1 0 ' * picture.components}]" if picture.inverted else ""
        return self._stream(
            f"/Type /XObject /Subtype /Image /Width {picture.width} /Height {picture.height} "
            f"/ColorSpace {self._color_space(picture)} /BitsPerComponent {picture.bits} "
            f"/Filter /{picture.filter} {parameters} {decode} {mask}",
            picture.data,
        )

    def _color_space(self, picture: PdfPicture) -> str:
        samples = 3 if picture.palette is not None else picture.components
        space = {1: "/DeviceGray", 3: "/DeviceRGB", 4: "/DeviceCMYK"}[samples]
        if picture.profile is not None:
            space = f"[/ICCBased {self._profile(picture.profile, samples)} 0 R]"
        if picture.palette is None:
            return space
        return f"[/Indexed {space} {len(picture.palette) // 3 - 1} <{picture.palette.hex()}>]"

    def _profile(self, profile: bytes, samples: int) -> int:
        """The object of a profile; pages share it."""
        if profile not in self._profiles:
            self._profiles[profile] = self._stream(f"/N {samples} /Filter /FlateDecode", zlib.compress(profile))
        return self._profiles[profile]


def _numbers(*values: float) -> str:
    """Numbers as PDF writes them: no exponent, no more digits than a page has use for."""
    return " ".join(f"{value:.4f}".rstrip("0").rstrip(".") for value in values)
