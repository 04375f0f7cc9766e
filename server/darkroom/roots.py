"""Files by path, inside the folders that the caller may name and nowhere else.

A path is made real first, so links inside a root may point inside a root. Then every folder on the way is opened
by descriptor without following links: what is swapped for a link in the meantime is refused, not followed.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from darkroom.errors import PathNotAllowed
from darkroom.principal import Principal
from darkroom_tools.kit.clean import clean_text

__all__ = ["Place", "folder", "is_folder", "locate", "open_file", "refused"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Place:
    """A spot inside a root; nothing says that something is there.

    Attributes:
        root: The real path of the root.
        parts: Names below it, without `..`; the last is the file. None for the root itself.
        first: Whether it is the caller's first root, which relative paths start from.
    """

    root: Path
    parts: tuple[str, ...]
    first: bool

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.parts[-1]

    @property
    def shown(self) -> str:
        """The path as callers see it: relative to their first root, absolute in another."""
        return "/".join(self.parts) if self.first else str(self.root.joinpath(*self.parts))

    def below(self, name: str) -> "Place":
        """The file `name` in this folder."""
        return replace(self, parts=(*self.parts, name))

    def renamed(self, name: str) -> "Place":
        """The file `name` beside this one."""
        return replace(self, parts=(*self.parts[:-1], name))


def refused(value: str, field: str = "path") -> PathNotAllowed:
    """The one answer for a path that is missing, forbidden or no regular file."""
    got = clean_text(value, 200)
    return PathNotAllowed(
        f"{got!r} is not a file that may be used here. Give a path inside an allowed folder, absolute or relative "
        "to the first one; folders, devices and links that lead outside are refused.",
        field=field,
        got=got,
    )


def locate(principal: Principal, value: str, field: str = "path", *, follow: bool = True) -> Place:
    """Where `value` points: an absolute path, `~/…`, a `file://` URL, or a path relative to the first root.

    Symbolic links of its folders are resolved here, and that of the file itself if `follow`.

    Raises:
        PathNotAllowed: It points outside of all roots of `principal`, or cannot be a path.
    """
    if not principal.roots:
        raise PathNotAllowed("File paths cannot be used here: no folder is allowed.", field=field)
    if not value:
        raise refused(value, field)
    try:
        real = _real(principal.roots[0] / Path(_plain(value)).expanduser(), follow)
        for root in principal.roots:
            base = Path(os.path.realpath(root))
            if real.is_relative_to(base):
                return Place(base, real.relative_to(base).parts, root == principal.roots[0])
    except (OSError, ValueError, RuntimeError) as error:
        raise refused(value, field) from error
    raise refused(value, field)


def _real(path: Path, follow: bool) -> Path:
    if follow:
        return Path(os.path.realpath(path))
    if path.name in ("", ".."):
        raise ValueError("no file name")
    return Path(os.path.realpath(path.parent)) / path.name


def _plain(value: str) -> str:
    if not value.lower().startswith("file:"):
        return value
    url = urlsplit(value)
    if url.netloc not in ("", "localhost") or url.query or url.fragment:
        raise ValueError("no local file URL")
    return unquote(url.path, errors="strict")


@contextlib.contextmanager
def folder(place: Place) -> Iterator[int]:
    """The folder that holds `place`, as an open descriptor.

    Raises:
        OSError: It is missing, or something on the way is no folder, such as a link.
    """
    current = os.open(place.root, _FOLDER)
    try:
        for part in place.parts[:-1]:
            below = os.open(part, _FOLDER, dir_fd=current)
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def is_folder(place: Place) -> bool:
    """Whether a folder is there."""
    if not place.parts:
        return True
    try:
        with folder(place) as parent:
            return stat.S_ISDIR(os.stat(place.name, dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False


@contextlib.contextmanager
def open_file(principal: Principal, value: str, field: str) -> Iterator[tuple[int, Place]]:
    """The regular file at `value`, as a descriptor for reading; it blocks the calling thread.

    Raises:
        PathNotAllowed: Missing, unreadable, outside the roots, a folder, device, pipe or link: all the same to see.
    """
    place = locate(principal, value, field)
    if not place.parts:
        raise refused(value, field)
    try:
        with folder(place) as parent:
            descriptor = os.open(place.name, _FILE, dir_fd=parent)
    except OSError as error:
        raise refused(value, field) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise refused(value, field)
        yield descriptor, place
    finally:
        os.close(descriptor)
