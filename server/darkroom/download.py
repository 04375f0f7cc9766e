"""Large files over HTTPS into a folder: what broke off goes on where it stopped.

A part lies beside a note with its address and the server's tag for that version of the file. It goes on only where
the server says that it is still the same version; else it starts anew.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2

from darkroom.engine.onnx_file import MAX_MODEL_BYTES
from darkroom.errors import Conflict, StorageFull

__all__ = ["NOTE", "RESERVE_BYTES", "DownloadFailed", "Part", "Unreachable", "Watch", "download", "is_allowed"]

Watch = Callable[[int, int | None], None]
"""Hears how many bytes are there, and of how many if that is known."""

RESERVE_BYTES: Final = 512 * 1024 * 1024
"""Disk space that a download leaves free: below it the server accepts nothing."""

NOTE: Final = "~"
"""Ending of the note's name; no part ends so."""

REDIRECTS: Final = 5
TRIES: Final = 5
"""Connections to one address, as long as each brings something."""

TIMEOUT: Final = httpx2.Timeout(30.0, connect=10.0)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


class DownloadFailed(Exception):
    """This address gives no file; the text says why, as the end of a sentence about the host."""


class Unreachable(DownloadFailed):
    """Nobody answers there, or not to the end; what came so far is kept."""


class Part:
    """A download that may go on later. A context manager: only one process at a time works on it.

    Args:
        path: The file; it and its note are hidden in the folder of the finished one.

    Raises:
        Conflict: On entering: another process is downloading it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}{NOTE}")
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        """Open it, with what was there before."""
        file = self.path.open("ab", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise Conflict("Another process is downloading this file. Wait until it is done.") from error
        self._file = file
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Let go; a part that is empty, or has become the finished file, leaves nothing behind."""
        assert self._file is not None  # noqa: S101 - it was entered
        self._file.close()
        if not self.path.exists() or self.path.stat().st_size == 0:
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    @property
    def size(self) -> int:
        """How much is there."""
        return self.path.stat().st_size

    @property
    def note(self) -> dict[str, Any]:
        """What the part is of: `url`, `etag` and `bytes`; empty if that is not known."""
        with contextlib.suppress(OSError, ValueError):
            said = json.loads(self._note.read_text("utf-8"))
            return said if isinstance(said, dict) else {}
        return {}

    def describe(self, url: str, etag: str, total: int | None) -> None:
        """Note what the part is of."""
        self._note.write_text(json.dumps({"url": url, "etag": etag, "bytes": total}), "utf-8")

    def cut(self, length: int = 0) -> None:
        """Forget all bytes from there on."""
        os.truncate(self.path, length)

    def write(self, chunk: bytes) -> None:
        """Add bytes at the end.

        Raises:
            StorageFull: The disk is.
        """
        assert self._file is not None  # noqa: S101 - it was entered
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StorageFull("The disk is full. Free some space; the same command then goes on.") from error


def is_allowed(url: httpx2.URL, *, loopback: bool) -> bool:
    """Whether files are taken from there: over HTTPS, or from this machine if the caller says so."""
    if not url.host or url.userinfo:
        return False
    return url.scheme == "https" or (loopback and url.scheme == "http" and url.host in LOOPBACK)


def download(
    client: httpx2.Client,
    url: str,
    part: Part,
    *,
    size: int | None = None,
    loopback: bool = False,
    reserve_bytes: int = RESERVE_BYTES,
    watch: Watch = lambda _done, _total: None,
) -> None:
    """Bring all bytes of an address into the part, going on where an earlier try stopped.

    Args:
        client: Opens the connections; follows no redirects by itself.
        url: Over HTTPS; redirects lead to HTTPS only.
        part: Entered.
        size: What the file must have, if that is known.
        loopback: Also over HTTP from this machine.
        reserve_bytes: Disk space to leave free.
        watch: Hears how far it is.

    Raises:
        DownloadFailed: The address has no such file.
        Unreachable: It did not answer, or broke off.
        StorageFull: There is no room for the file.
    """
    for _ in range(TRIES):
        before = _known(part, url)
        try:
            if before == 0 or before != part.note.get("bytes"):
                _receive(client, url, part, before, size, loopback, reserve_bytes, watch)
            return
        except _OtherVersion:
            part.cut()
        except httpx2.TransportError as error:
            if _known(part, url) <= before:
                raise Unreachable(_words(error)) from error
    raise Unreachable("broke off again and again")


class _OtherVersion(Exception):
    """The server has other bytes than those that the part begins with."""


def _known(part: Part, url: str) -> int:
    """Bytes from which the download of this address can go on."""
    note = part.note
    return part.size if note.get("url") == url and note.get("etag") else 0


def _receive(
    client: httpx2.Client,
    url: str,
    part: Part,
    start: int,
    size: int | None,
    loopback: bool,
    reserve_bytes: int,
    watch: Watch,
) -> None:
    headers = {"Range": f"bytes={start}-", "If-Range": str(part.note["etag"])} if start else {}
    with _opened(client, url, headers, loopback) as response:
        if response.status_code == 416 and start:
            raise _OtherVersion
        start, total = _position(response, start)
        if total is not None and (total > MAX_MODEL_BYTES or (size is not None and total != size)):
            wanted = f"instead of {size:,}" if size is not None else "which is over the limit of 2 GiB"
            raise DownloadFailed(f"has a file of {total:,} bytes {wanted}")
        _check_room(part.path.parent, (total or 0) - start, reserve_bytes)
        part.cut(start)
        etag = response.headers.get("etag", "")
        part.describe(url, "" if etag.startswith("W/") else etag, total)
        done = start
        for chunk in response.iter_raw():
            done += len(chunk)
            if done > MAX_MODEL_BYTES:
                part.cut()
                raise DownloadFailed("sends more than 2 GiB")
            part.write(chunk)
            watch(done, total)
        if total is not None and done != total:
            raise httpx2.RemoteProtocolError("it ended early")


def _position(response: httpx2.Response, start: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin in the file, and how long the file is if that is said."""
    if response.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise DownloadFailed("sends the file compressed although it was asked not to")
    length = response.headers.get("content-length", "")
    if response.status_code == 200:
        return 0, int(length) if length.isdecimal() else None
    found = _RANGE.fullmatch(response.headers.get("content-range", ""))
    if response.status_code != 206 or not start or not found or int(found[1]) != start:
        raise DownloadFailed(f"answers with status {response.status_code}")
    return start, int(found[2]) if found[2].isdecimal() else None


@contextlib.contextmanager
def _opened(client: httpx2.Client, url: str, headers: dict[str, str], loopback: bool) -> Iterator[httpx2.Response]:
    """The answer to a request, at whatever allowed address it is in the end."""
    try:
        here = httpx2.URL(url)
        for _ in range(REDIRECTS + 1):
            if not is_allowed(here, loopback=loopback):
                raise DownloadFailed("leads to an address that is not HTTPS")
            with client.stream("GET", here, headers={"Accept-Encoding": "identity", **headers}) as response:
                if response.status_code not in _MOVED:
                    yield response
                    return
                here = here.join(response.headers.get("location", ""))
    except httpx2.InvalidURL as error:
        raise DownloadFailed("leads to an address that is no URL") from error
    raise DownloadFailed(f"redirects more than {REDIRECTS} times")


def _check_room(folder: Path, more: int, reserve_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free - more < reserve_bytes:
        raise StorageFull(
            f"The file needs {max(more, 0) / 1e6:,.0f} MB more, and {reserve_bytes / 1e6:,.0f} MB must stay free, but the "
            f"disk has {free / 1e6:,.0f} MB. Free some space and try again.",
        )


def _words(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "took too long to answer"
    if isinstance(error, httpx2.ProxyError):
        return "cannot be reached: the proxy refuses"
    if isinstance(error, httpx2.ConnectError):
        return "cannot be reached"
    return "broke off in the middle of the file"
