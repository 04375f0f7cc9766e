"""Renditions on the disk: made once, found again after a restart, gone with the bytes that they show."""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from darkroom.store.blobs import mapped_errors

__all__ = ["RenditionCache"]

MOST_BYTES: Final = 1_000_000_000
ROOM_AFTER_EVICTION: Final = 0.8
ABANDONED_SECONDS: Final = 3600.0


class RenditionCache:
    """Files `root/ab/<digest>.<kind>`. All methods block; call them from a thread.

    Args:
        root: Folder of the cache, made if missing.
        most_bytes: What all of it may take; those that were not asked for for the longest time go first.
    """

    def __init__(self, root: Path, most_bytes: int = MOST_BYTES) -> None:
        self._root = root
        self._most = most_bytes
        self._grown = 0

    def find(self, digest: str, kind: str) -> Path | None:
        """The rendition of these bytes, None if there is none; it counts as used just now."""
        path = self._path(digest, kind)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def put(self, digest: str, kind: str, data: bytes) -> Path:
        """Store a rendition: it is whole when it appears.

        Raises:
            StorageFull: The disk is full or read-only.
        """
        path = self._path(digest, kind)
        with mapped_errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = path.with_name(f".{secrets.token_hex(8)}")
            try:
                with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                made.replace(path)
            finally:
                made.unlink(missing_ok=True)
        self._grown += len(data)
        if self._grown > self._most * (1 - ROOM_AFTER_EVICTION):
            self.sweep(lambda _: True)
        return path

    def drop(self, digest: str) -> None:
        """Remove all renditions of these bytes."""
        for path in self._path(digest, "*").parent.glob(f"{digest}.*"):
            path.unlink(missing_ok=True)

    def sweep(self, is_needed: Callable[[str], bool]) -> int:
        """Remove renditions of bytes that are not needed, and the oldest of those that are too many; how many.

        Args:
            is_needed: Whether bytes with that digest are still there.
        """
        self._grown = 0
        removed, used, kept = 0, 0, []
        for path in self._root.glob("??/*"):
            with suppress(FileNotFoundError):
                facts = path.stat()
                abandoned = path.name.startswith(".")
                old = facts.st_mtime < time.time() - ABANDONED_SECONDS
                if (abandoned and old) or (not abandoned and not is_needed(path.name.partition(".")[0])):
                    path.unlink()
                    removed += 1
                elif not abandoned:
                    used += facts.st_size
                    kept.append((facts.st_mtime, facts.st_size, path))
        if used > self._most:
            for _, size, path in sorted(kept):
                if used <= self._most * ROOM_AFTER_EVICTION:
                    break
                path.unlink(missing_ok=True)
                used -= size
                removed += 1
        return removed

    def _path(self, digest: str, kind: str) -> Path:
        return self._root / digest[:2] / f"{digest}.{kind}"
