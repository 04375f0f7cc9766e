"""What engines made lately: a job that a dead server left is done again without paying twice."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from darkroom.store.blobs import GRACE_SECONDS

__all__ = ["Memory"]


class Memory:
    """Digests of pictures by the request that they were made for, kept as long as their bytes are left alone.

    All methods block.

    Args:
        folder: One small file for each request; made if missing.
        clock: Seconds since the epoch.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    @staticmethod
    def key(job: str, step: str, request: Any, pictures: Sequence[bytes]) -> str:
        """What a picture is remembered under: one step of one item of a job, with all that was sent for it."""
        said = json.dumps([job, step, request], sort_keys=True, separators=(",", ":"))
        digests = [hashlib.sha256(data).hexdigest() for data in pictures]
        return hashlib.sha256("\n".join([said, *digests]).encode()).hexdigest()

    def find(self, key: str) -> str | None:
        """The digest of the picture made for this request before, None if there is none."""
        with suppress(FileNotFoundError):
            path = self._folder / key
            digest = path.read_text(encoding="ascii", errors="replace")
            if self._clock() - path.stat().st_mtime < GRACE_SECONDS and re.fullmatch(r"[0-9a-f]{64}", digest):
                return digest
        return None

    def keep(self, key: str, digest: str) -> None:
        """Remember a picture that was stored, and forget old ones."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.iterdir():
            with suppress(FileNotFoundError):
                if self._clock() - path.stat().st_mtime >= GRACE_SECONDS:
                    path.unlink()
        (self._folder / key).write_text(digest, encoding="ascii")
