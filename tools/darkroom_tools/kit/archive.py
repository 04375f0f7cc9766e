"""ZIP files of results: safe unique names, equal bytes for equal contents."""

import zipfile
from collections.abc import Iterable, Sequence
from typing import IO, Final

from darkroom_tools.image import Entry
from darkroom_tools.kit.clean import clean_name

__all__ = ["unique_names", "write_zip"]

# The oldest moment that ZIP can hold: a real one would make equal archives differ.
EPOCH: Final = (1980, 1, 1, 0, 0, 0)
UNIX: Final = 3
MOST_FOLDERS: Final = 4


def write_zip(target: IO[bytes], entries: Iterable[Entry]) -> list[str]:
    """Write entries one after the other, and answer with their names inside.

    Pictures are compressed already, so they are stored as they are.
    """
    names = []
    taken = _Names()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for entry in entries:
            name = taken.add(entry.name)
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system = UNIX
            member.external_attr = 0o644 << 16
            archive.writestr(member, entry.read())
            names.append(name)
    return names


def unique_names(names: Sequence[str]) -> list[str]:
    """The names made safe, and unlike one another whatever their case: a second `a.jpg` becomes `a_1.jpg`.

    No name is that of a folder of another one, so that every unpacker can write all of them.
    """
    taken = _Names()
    return [taken.add(name) for name in names]


class _Names:
    """The names of one archive: files and folders, without regard to case."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def add(self, path: str) -> str:
        """Make a name safe and unique, and remember it."""
        *folders, name = _clean_parts(path)
        folder = ""
        for part in folders:
            folder = self._folder(f"{folder}{part}") + "/"
        stem, dot, extension = name.rpartition(".")
        if not dot:
            stem, extension = name, ""
        free = self._free(f"{folder}{stem}", f"{dot}{extension}")
        self._files.add(free.casefold())
        return free

    def _folder(self, path: str) -> str:
        """The folder under the name that it was given first."""
        known = self._folders.get(path.casefold())
        if known is None:
            known = self._free(path, "") if path.casefold() in self._files else path
            self._folders |= {path.casefold(): known, known.casefold(): known}
        return known

    def _free(self, stem: str, ending: str) -> str:
        """The name itself, or with the first number that makes it new."""
        wanted = f"{stem}{ending}".casefold()
        if not self._is_taken(wanted):
            return f"{stem}{ending}"
        # Counting goes on where it stopped: hundreds of equal names must not each be tried from 1.
        number = self._numbers.get(wanted, 0) + 1
        while self._is_taken(f"{stem}_{number}{ending}".casefold()):
            number += 1
        self._numbers[wanted] = number
        return f"{stem}_{number}{ending}"

    def _is_taken(self, folded: str) -> bool:
        return folded in self._files or folded in self._folders


def _clean_parts(path: str) -> list[str]:
    """Folders and name, each safe by itself."""
    *folders, name = path.replace("\\", "/").rstrip("/").split("/")
    kept = [clean_name(folder, "folder") for folder in folders if folder.strip(". ")]
    return [*kept[:MOST_FOLDERS], clean_name(name)]
