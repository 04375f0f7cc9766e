"""Files by the SHA-256 of their bytes, on the local disk; what a call returned for survives a power loss."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from darkroom.errors import StorageFull

__all__ = ["GRACE_SECONDS", "BlobStore", "mapped_errors"]

GRACE_SECONDS = 3600.0
"""A blob that nothing refers to is left alone for so long: its row may be on the way."""

MIB = 1024 * 1024
DIGEST = re.compile(r"[0-9a-f]{64}")
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class BlobStore:
    """Immutable files under `root/ab/cd/<digest>`; equal bytes are stored once.

    A file is complete when it appears: it is written to `root/tmp`, synced, renamed, and its folder synced.
    Everything belongs to the server's user alone. All methods block; call them from a thread.

    Args:
        root: Folder of the store, made if missing, on a local disk.
        floor_bytes: Free space that stays free; 2 % of the disk if that is less.
    """

    def __init__(self, root: Path, *, floor_bytes: int = 512 * MIB) -> None:
        self._root = root
        self._temporary = root / "tmp"
        self._floor = floor_bytes
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._temporary.mkdir(mode=0o700, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the bytes with this digest are, or would be.

        Raises:
            ValueError: It is no SHA-256 in lower-case hexadecimal digits.
        """
        if not DIGEST.fullmatch(digest):
            raise ValueError("a digest has 64 hexadecimal digits")
        return self._root / digest[:2] / digest[2:4] / digest

    def exists(self, digest: str) -> bool:
        """Whether the bytes are here."""
        return self.path(digest).exists()

    def put(self, data: bytes) -> str:
        """Store bytes; their digest.

        Raises:
            StorageFull: The disk is at its floor, full or read-only; nothing is left behind.
        """
        digest = hashlib.sha256(data).hexdigest()
        with mapped_errors():
            if not self._has(digest, len(data)):
                self.check_space(len(data))
                with self.temporary() as path:
                    path.write_bytes(data)
                    self._move_in(path, digest)
        return digest

    def adopt(self, path: Path) -> str:
        """Move a finished file into the store; its digest. The file is gone from `path` whatever happens.

        The name is moved before it is read, so nobody who can write in its old folder can swap it meanwhile.

        Raises:
            ValueError: It is a link, or no regular file, or has a second name.
            StorageFull: The disk is full or read-only.
        """
        with mapped_errors(), self.temporary() as here:
            _move(path, here)
            digest, size = _inspect(here)
            self.keep(here, digest, size)
        return digest

    def keep(self, temporary: Path, digest: str, size: int) -> None:
        """Store a file that `temporary` gave, under the digest of what was written to it.

        Raises:
            StorageFull: The disk is full or read-only.
        """
        with mapped_errors():
            if not self._has(digest, size):
                self._move_in(temporary, digest)

    def delete(self, digest: str) -> None:
        """Remove the bytes if they are here."""
        self.path(digest).unlink(missing_ok=True)

    def sweep(self, keep: Collection[str], older_than: float = GRACE_SECONDS) -> int:
        """Remove every blob that is not in `keep` and was last stored over `older_than` seconds ago; how many."""
        limit = time.time() - older_than
        removed = 0
        for file in self._root.glob("??/??/*"):
            with suppress(FileNotFoundError):
                if file.name not in keep and file.stat().st_mtime < limit:
                    file.unlink()
                    removed += 1
        return removed

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """An empty file in the store's file system, for `keep`; removed at the end if it is still there."""
        path = self._temporary / secrets.token_hex(16)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def remove_temporary(self, older_than: float = 0.0) -> int:
        """Remove what a killed server left half written, if last touched over so many seconds ago; how many files."""
        limit = time.time() - older_than
        removed = 0
        for file in self._temporary.iterdir():
            with suppress(FileNotFoundError):
                if file.lstat().st_mtime <= limit:
                    file.unlink()
                    removed += 1
        return removed

    def check_space(self, needed: int = 0) -> None:
        """Refuse work while the disk has too little room.

        Raises:
            StorageFull: Storing `needed` bytes would leave less than the floor.
        """
        disk = os.statvfs(self._root)
        floor = min(self._floor, disk.f_blocks * disk.f_frsize // 50)
        free = disk.f_bavail * disk.f_frsize
        if free - needed < floor:
            raise StorageFull(
                f"The server's disk has {free // MIB} MB free and keeps {floor // MIB} MB in reserve, so nothing was "
                "stored. Delete images that are no longer needed, or free some space.",
                freeMB=free // MIB,
                reserveMB=floor // MIB,
            )

    def _has(self, digest: str, size: int) -> bool:
        """Whether the whole blob is here; then it counts as stored just now."""
        path = self.path(digest)
        try:
            if path.stat().st_size != size:
                return False
            os.utime(path)
            _sync(path.parent)  # whoever stored it may be between rename and sync
        except FileNotFoundError:
            return False
        return True

    def _move_in(self, temporary: Path, digest: str) -> None:
        path = self.path(digest)
        _sync(temporary)
        fresh = _make_folder(path.parent)
        temporary.rename(path)
        for folder in (path.parent, *fresh):
            _sync(folder)


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder and its parent; the folders that got a new entry and must be synced."""
    changed = []
    for each in (folder.parent, folder):
        with suppress(FileExistsError):
            each.mkdir(mode=0o700)
            changed.append(each.parent)
    return changed


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        try:
            shutil.copyfile(source, target, follow_symlinks=False)
        finally:
            source.unlink()


def _inspect(path: Path) -> tuple[str, int]:
    """Digest and size of a regular file with one name."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise ValueError("only regular files can be stored") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_nlink != 1:
            raise ValueError("only regular files can be stored")
        os.fchmod(descriptor, 0o600)
        os.utime(descriptor)
        return hashlib.file_digest(file, "sha256").hexdigest(), facts.st_size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if hasattr(fcntl, "F_FULLFSYNC"):  # macOS: past the disk's own cache
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        else:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def mapped_errors() -> Iterator[None]:
    """What a full or read-only disk says, as the error that callers may see."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise StorageFull(
                "The server's disk is full or read-only, so nothing was stored. Free some space and try again."
            ) from error
        raise
