"""`darkroom mcp`: joins the server of its data directory, or starts one, and relays bytes.

Ten editor windows then share one engine. This module is on the path that every client waits for, so it takes
the standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from darkroom import __version__
from darkroom.paths import DataDir

__all__ = ["connect", "copy_stdio", "default_roots", "hello", "relay"]

START_SECONDS = 60.0
DRAIN_SECONDS = 1.0
AGAIN_SECONDS = 0.3
CHUNK = 256 * 1024

TYPE_CHECKING = False  # importing typing takes too long where every client waits
if TYPE_CHECKING:
    from subprocess import Popen


def connect(where: DataDir, *, start: bool = True) -> socket.socket:
    """A connection to the server of the data directory; starts one if none answers.

    Args:
        where: The data directory.
        start: Whether a server may be started.

    Raises:
        ConnectionError: The server could not be started; its last words are in the text. Or there is none.
    """
    try:
        return _dial(where)
    except OSError as error:
        if not start:
            raise ConnectionError("no server answers") from error
        where.create()
    log_start = where.log.stat().st_size if where.log.exists() else 0
    server = _start(where)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return _dial(where)
        except OSError:
            if server.poll() == 0:
                # It found another server: one that another relay just started, or one that is ending.
                time.sleep(AGAIN_SECONDS)
                server = _start(where)
            elif server.poll() is not None:
                break
            time.sleep(0.02)
    with where.log.open("rb") as log:
        log.seek(log_start)
        last_words = log.read().decode(errors="replace").strip()[-2000:]
    raise ConnectionError(last_words or f"the server did not answer within {START_SECONDS:.0f} s")


def hello(roots: Sequence[Path]) -> bytes:
    """The first line on a connection: who calls, and which folders it may name."""
    said = {"darkroom": __version__, "roots": [str(root) for root in roots]}
    return json.dumps(said).encode() + b"\n"


def default_roots() -> list[Path]:
    """The working directory, unless that is the whole disk or the whole home."""
    here = Path.cwd()
    return [] if here in (Path(here.anchor), Path.home()) else [here]


def relay(where: DataDir, roots: Sequence[Path]) -> int:
    """Relay standard input and output until the client closes its side; the exit status."""
    try:
        link = connect(where)
    except OSError as error:
        sys.stderr.write(f"darkroom: no server could be started: {error}\n")
        return 1
    link.sendall(hello(roots))
    copy_stdio(link, 0, 1).wait()
    return 0


def copy_stdio(link: socket.socket, source: int, target: int) -> threading.Event:
    """Copy bytes from the descriptor `source` to the link and from the link to `target`, in the background.

    The event is set once the far side has closed, or shortly after the near side has: the server answers what it
    still can, but a client that is gone keeps nobody.
    """
    done = threading.Event()
    outward = threading.Thread(target=_copy_out, args=(link, target, done), daemon=True)
    inward = threading.Thread(target=_copy_in, args=(link, source, outward, done), daemon=True)
    outward.start()
    inward.start()
    return done


def _start(where: DataDir) -> Popen[bytes]:
    from subprocess import DEVNULL, Popen  # slow to import, and a server mostly runs already

    command = [sys.executable, "-m", "darkroom", "serve", "--background", "--data-dir", str(where.root)]
    with where.log.open("ab") as log:
        return Popen(  # noqa: S603 - our own interpreter and module
            command, stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=where.root
        )


def _dial(where: DataDir) -> socket.socket:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        link.connect(str(where.socket))
    except OSError:
        link.close()
        raise
    return link


def _copy_in(link: socket.socket, source: int, outward: threading.Thread, done: threading.Event) -> None:
    try:
        while chunk := os.read(source, CHUNK):
            link.sendall(chunk)
        link.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    outward.join(DRAIN_SECONDS)
    done.set()


def _copy_out(link: socket.socket, target: int, done: threading.Event) -> None:
    try:
        while chunk := link.recv(CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[os.write(target, view) :]
    except OSError:
        pass
    done.set()
