"""A web server on this machine that hands out files, and misbehaves as it is told to."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class FileServer:
    """What is served, how, and what was asked for.

    Attributes:
        url: Of the folder of all files.
        files: Bytes by name.
        statuses: Names that are answered with a status instead.
        redirects: Names that lead elsewhere.
        etags: Whether files have tags; a weak one of "W".
        ranges: Whether parts can be asked for.
        lengths: Whether it says how long a file is.
        breaks: How many bytes of the body the next answers send before the connection ends.
        hold: Wait with the end of the connection, after those bytes, until this is set.
        asked: Name, Range and If-Range of each request.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    etags: str = "yes"
    ranges: bool = True
    lengths: bool = True
    breaks: list[int] = field(default_factory=list)
    hold: threading.Event | None = None
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    def etag(self, name: str) -> str:
        return {"yes": "", "W": "W/"}[self.etags] + f'"{hashlib.sha256(self.files[name]).hexdigest()[:16]}"'


class _Handler(BaseHTTPRequestHandler):
    shown: FileServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        asked = self.headers.get("Range"), self.headers.get("If-Range")
        self.shown.asked.append((name, *asked))
        if name in self.shown.redirects:
            self.send_response(302)
            self.send_header("Location", self.shown.redirects[name])
            self.end_headers()
        elif name in self.shown.statuses or name not in self.shown.files:
            self.send_response(self.shown.statuses.get(name, 404))
            self.end_headers()
        else:
            self._send(name, *asked)

    def _send(self, name: str, span: str | None, same: str | None) -> None:
        body, etag = self.shown.files[name], self.shown.etag(name) if self.shown.etags else None
        found = re.fullmatch(r"bytes=(\d+)-", span or "")
        start = int(found[1]) if found and self.shown.ranges and same in (None, etag) else 0
        if start >= len(body) > 0:
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.shown.lengths:
            self.send_header("Content-Length", str(len(body) - start))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        rest = body[start:]
        if self.shown.breaks:
            rest = rest[: self.shown.breaks.pop(0)]
        self.wfile.write(rest)
        self.wfile.flush()
        if self.shown.hold is not None:
            self.shown.hold.wait(60)


@contextmanager
def serving_files(**files: bytes) -> Iterator[FileServer]:
    """A server with these files until the block ends."""
    shown = FileServer(files=dict(files))
    handler = type("Handler", (_Handler,), {"shown": shown})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        shown.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield shown
        finally:
            if shown.hold is not None:
                shown.hold.set()
            server.shutdown()
            thread.join()
