"""One server per data directory: who holds its lock, and how to end it."""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from darkroom.paths import DataDir

__all__ = ["AlreadyRunning", "end_server", "hold_lock", "running_pid"]

STOP_SECONDS = 40.0


class AlreadyRunning(RuntimeError):
    """Another server holds the data directory."""


@contextmanager
def hold_lock(where: DataDir) -> Iterator[None]:
    """Be the one server of the data directory.

    Raises:
        AlreadyRunning: Somebody else is.
    """
    where.create()
    with where.lock.open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise AlreadyRunning from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def running_pid(where: DataDir) -> int | None:
    """The process that serves the data directory, None if there is none."""
    try:
        with hold_lock(where):
            return None
    except AlreadyRunning:
        said = where.lock.read_text(encoding="ascii")
        return int(said) if said.isdigit() else None


def end_server(where: DataDir) -> tuple[int | None, bool]:
    """Ask the server of the data directory to end and wait for it; its process, and whether it is gone."""
    pid = running_pid(where)
    if pid is None:
        return None, True
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if running_pid(where) != pid:
            return pid, True
        time.sleep(0.02)
    return pid, False
