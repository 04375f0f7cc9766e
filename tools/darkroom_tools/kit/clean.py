"""Text from outside made safe to show: in replies, logs, file names and to models."""

import re
import unicodedata
from typing import Final

__all__ = ["clean_name", "clean_text"]

NAME_BYTES: Final = 200
_SUFFIX_BYTES: Final = 12
_DROPPED: Final = frozenset({"Cc", "Cf", "Cs", "Cn"})
_LINE_BREAKS: Final = re.compile("\r\n?|[\u2028\u2029]")
# Not of a dropped category, but invisible: the grapheme joiner and both blocks of variation selectors.
_INVISIBLE: Final = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_FORBIDDEN_IN_NAMES: Final = re.compile(r'[<>:"|?*]')
_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)


def clean_text(text: str, limit: int) -> str:
    """`text` in NFC without what cannot be seen, at most `limit` characters.

    Control characters (but newline and tab), bidirectional overrides, zero-width and tag characters, variation
    selectors and lone surrogates are dropped: they hide text from people that a model or a terminal still reads.
    A cut is marked by a final ….
    """
    # Canonical ordering takes quadratic time in the worst case: what will be cut off must not be normalised.
    visible = _INVISIBLE.sub("", _LINE_BREAKS.sub("\n", text[: 4 * limit + 64]))
    kept = "".join(c for c in visible if c in "\n\t" or unicodedata.category(c) not in _DROPPED)[: 2 * limit + 1]
    normal = unicodedata.normalize("NFC", kept)
    return normal if len(normal) <= limit else normal[: limit - 1] + "…"


def clean_name(name: str, fallback: str = "image") -> str:
    """A file name for people and downloads, at most 200 bytes of UTF-8; never used as a path by the server.

    The last part of a path, on one line, without characters that some file system forbids, without a leading dot,
    dash or space, without a trailing dot or space, and no reserved DOS name. A cut keeps the extension.
    """
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1] if name else ""
    line = " ".join(clean_text(last, 4 * NAME_BYTES).split())
    safe = _FORBIDDEN_IN_NAMES.sub("_", line).lstrip(".- ").rstrip(". ")
    if _RESERVED.match(safe):
        safe = f"_{safe}"
    return _shorten(safe) or fallback


def _shorten(name: str) -> str:
    if len(name.encode()) <= NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > _SUFFIX_BYTES:
        stem, suffix = name, ""
    ending = f".{suffix}" if suffix else ""
    return stem.encode()[: NAME_BYTES - len(ending.encode())].decode(errors="ignore").rstrip(". ") + ending
