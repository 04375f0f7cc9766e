"""One server per data directory: who holds its lock, and how to end it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from darkroom.paths import DataDir

__all__ = ["AlreadyRunning", "end_server", "hold_lock", "running_pid"]

STOP_SECONDS = 40.0
PAUSE = 0.02
TRIES = 5

TYPE_CHECKING = False  # importing typing takes too long where every client waits
if TYPE_CHECKING:
    from typing import TextIO


class AlreadyRunning(RuntimeError):
    """Another server holds the data directory; the text says which, and what to do."""


@contextmanager
def hold_lock(where: DataDir) -> Iterator[None]:
    """Be the one server of the data directory.

    Raises:
        AlreadyRunning: Somebody else is.
        OSError: The folder cannot be used.
    """
    where.create()
    with where.lock.open("a+", encoding="ascii") as file:
        for tries_left in reversed(range(TRIES)):
            if _try_lock(file, fcntl.LOCK_EX):
                break
            if tries_left == 0:
                raise AlreadyRunning(
                    f"Process {_told(where)} already serves this data directory. End it with `darkroom stop`, or "
                    "choose another folder with --data-dir."
                )
            time.sleep(PAUSE)  # whoever only looks holds it for a moment
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def running_pid(where: DataDir) -> int | None:
    """The process that serves the data directory, None if there is none."""
    try:
        with where.lock.open("r", encoding="ascii") as file:
            return None if _try_lock(file, fcntl.LOCK_SH) else _told(where)
    except FileNotFoundError:
        return None


def end_server(where: DataDir) -> tuple[int | None, bool]:
    """Ask the server of the data directory to end and wait for it; its process, and whether it is gone."""
    pid = running_pid(where)
    if pid is None:
        return None, True
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if running_pid(where) != pid:
            return pid, True
        time.sleep(PAUSE)
    return pid, False


def _try_lock(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def _told(where: DataDir) -> int | None:
    said = where.lock.read_text(encoding="ascii")
    return int(said) if said.isdigit() else None
