"""Text as pixels, in the fonts that come with the package."""

import html
import unicodedata
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, Literal

from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.native import pyvips
from darkroom_tools.settings import nearest

__all__ = ["FONTS", "find_font", "has_ink", "missing_glyphs", "text_mask"]

Align = Literal["low", "centre", "high"]

FONTS: Final[Mapping[str, tuple[str, str]]] = {
    "sans-serif": ("DejaVu Sans", "DejaVuSans.ttf"),
    "serif": ("DejaVu Serif", "DejaVuSerif.ttf"),
    "monospace": ("DejaVu Sans Mono", "DejaVuSansMono.ttf"),
}
"""Font names that callers may use: family and file. The system's fonts are never looked at for these."""

SMALLEST: Final = 4.0
# Latin, Greek and Cyrillic are whole in every bundled font.
SURELY_DRAWN: Final = 0x0500


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
    """The characters of the text that the font lacks, each once."""
    unsure = [c for c in dict.fromkeys(text) if ord(c) >= SURELY_DRAWN and unicodedata.category(c)[0] not in "CZ"]
    if not unsure:
        return ""
    from PIL import ImageFont

    face = ImageFont.truetype(_file(font), 16)
    box = bytes(face.getmask("\U0010ffff"))
    return "".join(c for c in unsure if bytes(face.getmask(c)) == box)


def _file(font: str) -> str:
    return str(files("darkroom_tools").joinpath("data", "fonts", FONTS[font][1]))
