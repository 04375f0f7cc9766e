"""ZIP files of results: safe unique names, equal bytes for equal contents."""

import zipfile
from collections.abc import Iterable, Sequence
from typing import IO, Final

from darkroom_tools.image import Entry
from darkroom_tools.kit.clean import clean_name

__all__ = ["unique_names", "write_zip"]

# The oldest moment that ZIP can hold: a real one would make equal archives differ.
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
MOST_FOLDERS: Final = 4


def write_zip(target: IO[bytes], entries: Iterable[Entry]) -> list[str]:
    """Write entries one after the other, and answer with their names inside.

    Pictures are compressed already, so they are stored as they are.
    """
    names = []
    taken: set[str] = set()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries:
            name = _unique(_clean_path(entry.name), taken)
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = 0o644 << 16
            archive.writestr(member, entry.read())
            names.append(name)
    return names


def unique_names(names: Sequence[str]) -> list[str]:
    """The names made safe, and unlike one another whatever their case: a second `a.jpg` becomes `a_1.jpg`."""
    taken: set[str] = set()
    return [_unique(_clean_path(name), taken) for name in names]


def _clean_path(path: str) -> str:
    *folders, name = path.split("/")
    kept = [clean_name(folder, "folder") for folder in folders if folder.strip(". ")]
    return "/".join([*kept[:MOST_FOLDERS], clean_name(name)])


def _unique(name: str, taken: set[str]) -> str:
    folder, slash, last = name.rpartition("/")
    stem, dot, extension = last.rpartition(".")
    if not dot:
        stem, extension = last, ""
    unique, number = name, 0
    while unique.casefold() in taken:
        number += 1
        unique = f"{folder}{slash}{stem}_{number}{dot}{extension}"
    taken.add(unique.casefold())
    return unique
