"""Bulk Rename."""

import re
from typing import Annotated, Final

from pydantic import Field, field_validator

from darkroom_tools.base import Archive, Entry, Original, Settings, tool
from darkroom_tools.kit.clean import clean_name
from darkroom_tools.kit.metadata.reading import read_exif
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

PLACEHOLDERS: Final = ("n", "date", "original", "index", "padded")
UNDATED: Final = "undated"
# Extensions by format: the first is what a file gets, the others stay where a file has them.
ENDINGS: Final = {
    "jpeg": ("jpg", "jpeg", "jpe", "jfif"),
    "png": ("png", "apng"),
    "tiff": ("tiff", "tif"),
    "heif": ("heif", "heic", "hif"),
}
OTHER_ENDINGS: Final = frozenset({"avif", "bmp", "gif", "ico", "jxl", "pdf", "psd", "svg", "webp"})
LOADERS: Final = {
    "jpeg": "jpegload_buffer",
    "png": "pngload_buffer",
    "webp": "webpload_buffer",
    "avif": "heifload_buffer",
    "heif": "heifload_buffer",
}
_DAY: Final = re.compile(r"(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
_PART: Final = re.compile(r"\{\{(\w*)\}\}|\{(\w*)\}|([{}])")


class BulkRename(Settings):
    """What the new names are made of."""

    pattern: Annotated[str, Field(min_length=1, max_length=1000)] = "image-{n}"
    """{n} number, {date} day taken, {original} old name; no extension"""

    start_index: Annotated[int, Field(ge=0, le=10**9)] = 1
    """First {n}"""

    padding: Annotated[int, Field(ge=0, le=10)] = 0
    """Least digits of {n}"""

    @field_validator("pattern")
    @classmethod
    def _known_placeholders(cls, value: str) -> str:
        allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        for found in _PART.finditer(value):
            if (found[1] or found[2]) not in PLACEHOLDERS:
                raise ValueError(f"'pattern' has {found[0]!r}, which is no placeholder. Allowed: {allowed}.")
        return value


def _shape(_: BulkRename, shapes: Shapes) -> Shape:
    return Shape(0, 0, format="zip", files=len(shapes["files"]))


@tool(title="Bulk Rename", named=True, example={"pattern": "photo-{n}", "padding": 3}, shape=_shape)
def bulk_rename(files: list[Original], settings: BulkRename) -> Archive:
    """Give files new names by a pattern, in a ZIP; the files themselves stay as they are."""
    digits = max(settings.padding, len(str(settings.start_index + len(files) - 1)))
    wants_date = any("date" in found.groups() for found in _PART.finditer(settings.pattern))
    entries, undated, mistaken = [], [], []
    for index, file in enumerate(files):
        stem, ending, honest = _split(file)
        number = str(settings.start_index + index)
        date = _date_taken(file) if wants_date else None
        if wants_date and date is None:
            undated.append(index + 1)
        if not honest:
            mistaken.append(index + 1)
        values = {
            "n": number.zfill(settings.padding),
            "index": number.zfill(settings.padding),
            "padded": number.zfill(digits),
            "date": date or UNDATED,
            "original": stem,
        }
        entries.append(Entry(f"{_fill(settings.pattern, values)}.{ending}", file.read))
    warnings = []
    if undated:
        warnings.append(f"No date taken in file {_listed(undated)}: {{date}} became {UNDATED!r}.")
    if mistaken:
        warnings.append(f"The extension of file {_listed(mistaken)} did not fit its contents and was changed.")
    return Archive(entries, warnings=tuple(warnings), kept=("everything",) if files else ())


def _fill(pattern: str, values: dict[str, str]) -> str:
    """The pattern with its placeholders replaced once, so that an old name with braces stays text."""
    filled = _PART.sub(lambda found: values[found[1] or found[2]], pattern)
    # A new name makes no folders.
    return clean_name(re.sub(r"[/\\]", "_", filled))


def _split(file: Original) -> tuple[str, str, bool]:
    """Old name without extension, the extension for the new name, and whether the old one fitted the contents."""
    fitting = ENDINGS.get(file.format, (file.format,))
    stem, dot, ending = file.name.rpartition(".")
    if dot and ending.lower() in fitting:
        return stem, ending.lower(), True
    if dot and (ending.lower() in OTHER_ENDINGS or any(ending.lower() in known for known in ENDINGS.values())):
        return stem, fitting[0], False
    return file.name, fitting[0], True


def _date_taken(file: Original) -> str | None:
    """The day on which a photo was taken, `YYYY-MM-DD`, None where the file does not tell."""
    if file.format == "tiff":
        block = file.read()  # a TIFF file is built as an EXIF block is
    elif file.format in LOADERS:
        header = getattr(pyvips.Image, LOADERS[file.format])(file.read(), access="sequential")
        block = header.get("exif-data") if header.get_typeof("exif-data") else b""
    else:
        return None
    facts = read_exif(block).facts
    found = _DAY.match(str(facts.get("DateTimeOriginal") or facts.get("DateTimeDigitized")))
    return found[0] if found else None


def _listed(numbers: list[int]) -> str:
    """Numbers for a sentence: the first ten."""
    shown = ", ".join(map(str, numbers[:10]))
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
