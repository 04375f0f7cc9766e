"""Text as pixels, in the fonts that come with the package."""

import functools
import html
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import AfterValidator, Field

from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.native import pyvips
from darkroom_tools.settings import nearest

__all__ = [
    "FONTS",
    "FontName",
    "VisibleText",
    "find_font",
    "fonts_conf",
    "has_ink",
    "missing_glyphs",
    "prepare_fonts",
    "text_mask",
]

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Align = Literal["low", "centre", "high"]

FONTS: Final[Mapping[str, tuple[str, str]]] = {
    "sans-serif": ("DejaVu Sans", "DejaVuSans.ttf"),
    "serif": ("DejaVu Serif", "DejaVuSerif.ttf"),
    "monospace": ("DejaVu Sans Mono", "DejaVuSansMono.ttf"),
}
"""Font names that callers may use: family and file."""

SMALLEST: Final = 4.0
# Latin, Greek and Cyrillic are whole in every base font.
SURELY_DRAWN: Final = 0x0500
VARIATION_SELECTORS: Final = range(0xFE00, 0xFE10)


def fonts_conf() -> str:
    """The configuration of fontconfig under which text is drawn in the packaged fonts alone.

    It is for the environment (`FONTCONFIG_FILE`) before the first text of a process. Where fontconfig has started
    without it, the system's fonts stand in for glyphs that the chosen font lacks.
    """
    return str(_folder().joinpath("fonts.conf"))


def prepare_fonts(text: str, font: str = "sans-serif") -> None:
    """Make the fonts of further scripts known if the text has characters that `font` lacks.

    Chinese, Japanese, Korean, Thai, Devanagari and emoji; text in an SVG finds them too. It takes a third of a second,
    once a process.
    """
    if _lacking(text, _file(font)):
        _load_fallback_fonts()


@functools.cache
def _load_fallback_fonts() -> None:
    for file in _fallback_files():
        pyvips.Image.text("x", fontfile=file, dpi=72)


def find_font(name: str) -> str:
    """The font's exact name, whatever the case of `name`.

    Raises:
        ValueError: There is no such font; the text holds the list.
    """
    folded = name.strip().casefold()
    if folded in FONTS:
        return folded
    near = nearest(name, list(FONTS))
    hint = f" Did you mean {near!r}?" if near else ""
    raise ValueError(f"Unknown font {name[:80]!r}.{hint} Allowed: {', '.join(FONTS)}.")


def has_ink(text: str) -> bool:
    """Whether the text holds a character that can be seen."""
    return any(unicodedata.category(character)[0] not in "CZ" for character in text)


def _visible(text: str) -> str:
    if not has_ink(text):
        raise ValueError("'text' holds no visible character.")
    return text


FontName = Annotated[str, AfterValidator(find_font)]
"""A setting that names a font, in any case."""

VisibleText = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_visible)]
"""A setting of text that leaves ink."""


def text_mask(text: str, font: str, size: float, align: Align = "low") -> "pyvips.Image":
    """The ink of a text as an 8-bit mask, cut to its outline; lines break at newlines only.

    Args:
        text: Plain text; markup signs are shown as they are.
        font: A name of `FONTS`.
        size: Height of the type in pixels.
        align: How several lines stand to each other.

    Raises:
        ProcessingFailed: Nothing can be drawn.
    """
    family = FONTS[font][0]
    plain = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    prepare_fonts(plain, font)
    drawn = size
    while drawn >= SMALLEST:
        try:
            mask = pyvips.Image.text(
                html.escape(plain, quote=False), font=f"{family} {drawn:g}", fontfile=_file(font), dpi=72, align=align
            )
        except pyvips.Error:
            # Pango draws at most 32767 pixels a side: a longer line is drawn smaller and enlarged.
            drawn /= 2
        else:
            scaled = mask if drawn == size else mask.resize(size / drawn)
            return scaled.copy(interpretation="b-w")
    raise ProcessingFailed("The text has no character that can be drawn in this font.")


def missing_glyphs(text: str, font: str) -> str:
    """The characters of the text that no packaged font has, each once."""
    missing = _lacking(text, _file(font))
    for file in (*(_file(name) for name in FONTS), *_fallback_files()):
        missing = _lacking(missing, file)
    return missing


def _lacking(text: str, file: str) -> str:
    """The characters of the text that a font file has no glyph for, each once."""
    unsure = [c for c in dict.fromkeys(text) if ord(c) >= SURELY_DRAWN and not _unseen(c)]
    if not unsure:
        return ""
    face, box = _face(file)
    return "".join(c for c in unsure if bytes(face.getmask(c)) == box)


def _unseen(character: str) -> bool:
    return unicodedata.category(character)[0] in "CZ" or ord(character) in VARIATION_SELECTORS


@functools.cache
def _face(file: str) -> "tuple[FreeTypeFont, bytes]":
    """A font of Pillow's, and how it draws a character that it lacks."""
    from PIL import ImageFont

    face = ImageFont.truetype(file, 16)
    return face, bytes(face.getmask("\U0010ffff"))


def _folder() -> Traversable:
    return files("darkroom_tools").joinpath("data", "fonts")


def _file(font: str) -> str:
    return str(_folder().joinpath("base", FONTS[font][1]))


@functools.cache
def _fallback_files() -> tuple[str, ...]:
    return tuple(sorted(str(file) for file in _folder().joinpath("fallback").iterdir() if file.name.endswith(".ttf")))
