"""Writing a stored image to a path that the caller names, inside the caller's roots."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

import anyio.to_thread

from darkroom.errors import Conflict, NotFound, PathNotAllowed, StorageFull
from darkroom.principal import Principal
from darkroom.roots import Place, folder, is_folder, locate
from darkroom.store.blobs import BlobStore
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_name, clean_text

__all__ = ["Exporter"]

# The first is what a name without an extension gets; other formats are their own extension.
_EXTENSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "jpeg": ("jpg", "jpeg"),
    "tiff": ("tiff", "tif"),
    "heif": ("heif", "hif"),
}
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Exporter:
    """Copies stored files out, whole or not at all."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def export(
        self, principal: Principal, sha256: str, format: str, name: str, path: str, *, overwrite: bool = False
    ) -> str:
        """Write stored bytes to `path` and answer the path as the caller sees it.

        Args:
            sha256: Digest of the bytes.
            format: Their type, which decides the extension: `path` has it, or none and gets it.
            name: The file name to take if `path` is a folder.
            overwrite: Whether an existing file may be replaced.

        Raises:
            PathNotAllowed: Outside of the roots, in a folder that is missing, or on something that is no file.
            InvalidSettings: The extension is of another format.
            Conflict: The file exists and `overwrite` is false.
            StorageFull: The disk is full or read-only.
        """
        write = partial(self._write, principal, sha256, format, name, path, overwrite)
        return await anyio.to_thread.run_sync(write)

    def _write(self, principal: Principal, sha256: str, format: str, name: str, path: str, overwrite: bool) -> str:
        place = _place(principal, path, format, name)
        source = self._blobs.path(sha256)
        if not self._blobs.exists(sha256):
            raise NotFound("The file of this image is gone. Hand the picture in again.")
        try:
            with folder(place) as parent:
                _refuse_existing(parent, place, path, overwrite)
                _write_whole(source, parent, place.name, overwrite)
        except FileExistsError as error:
            raise _exists(place) from error
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise StorageFull("The disk is full or read-only, so nothing was written. Free some space.") from error
            raise _cannot_write(path) from error
        return place.shown


def _place(principal: Principal, path: str, format: str, name: str) -> Place:
    into = locate(principal, path)
    if path.endswith("/") or is_folder(into):
        return into.below(_with_extension(PurePosixPath(clean_name(name)).stem, format))
    # A link must be seen as what it is: it is never written through.
    file = locate(principal, path, follow=False)
    return file.renamed(_with_extension(file.name, format))


def _with_extension(name: str, format: str) -> str:
    allowed = _EXTENSIONS.get(format, (format,))
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        return f"{name}.{allowed[0]}"
    if extension.lower() in allowed:
        return name
    better = clean_text(f"{stem}.{allowed[0]}", 200)
    raise InvalidSettings(
        f"The image is {format}, but the path ends in .{clean_text(extension, 20)}. Use {better!r}, or convert it first.",
        field="path",
        allowed=list(allowed),
        nearest=better,
    )


def _refuse_existing(parent: int, place: Place, path: str, overwrite: bool) -> None:
    try:
        found = os.stat(place.name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise _cannot_write(path)
    if not overwrite:
        raise _exists(place)


def _write_whole(source: Path, parent: int, name: str, overwrite: bool) -> None:
    """Copy into a new file of the same folder, then give it its name; whoever looks sees all of it or nothing."""
    temporary = f".darkroom-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with source.open("rb") as reader:
        descriptor = os.open(temporary, flags, 0o666, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "wb") as writer:
                shutil.copyfileobj(reader, writer, 1024 * 1024)
                writer.flush()
                os.fsync(writer.fileno())
            if overwrite:
                os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
            else:
                _rename_to_new(temporary, parent, name)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=parent)
            raise
    os.fsync(parent)


def _rename_to_new(temporary: str, parent: int, name: str) -> None:
    """Rename without replacing anything: a hard link is refused where the name is taken, a rename would not be."""
    try:
        os.link(temporary, name, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)  # FAT and the like know no links
    else:
        os.unlink(temporary, dir_fd=parent)


def _exists(place: Place) -> Conflict:
    shown = clean_text(place.shown, 200)
    return Conflict(f"{shown!r} exists. Choose another path, or pass overwrite=true to replace it.", field="path")


def _cannot_write(path: str) -> PathNotAllowed:
    got = clean_text(path, 200)
    return PathNotAllowed(
        f"{got!r} cannot be written. The folder must exist inside an allowed folder, and links, devices and folders "
        "are never replaced.",
        field="path",
        got=got,
    )
