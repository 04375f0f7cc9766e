"""An image engine on this machine: speaks the OpenAI Images API, draws, and misbehaves as it is told to.

```python
with serving_images() as engine:
    config = Config(data_dir=folder, **engine.settings)
```
"""

import base64
import email.parser
import email.policy
import hashlib
import io
import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import PIL.Image
import PIL.PngImagePlugin

__all__ = ["Asked", "ImageEngine", "Misbehaviour", "Part", "drawn", "error_body", "serving_images"]

KEY = "sk-test-0123456789abcdef"
MODEL = "gpt-image-1"
USAGE = {"input_tokens": 50, "output_tokens": 1_000, "total_tokens": 1_050}


@dataclass(frozen=True)
class Part:
    """One file of a form."""

    name: str
    filename: str
    media_type: str
    data: bytes

    def opened(self) -> PIL.Image.Image:
        return PIL.Image.open(io.BytesIO(self.data))


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    fields: dict[str, Any]
    files: list[Part]

    @property
    def images(self) -> list[Part]:
        return [part for part in self.files if part.name in ("image", "image[]")]


@dataclass(frozen=True)
class Misbehaviour:
    """What is answered instead of a picture.

    Attributes:
        status: Of the response; 0 closes the connection without one.
        body: Of the response.
        headers: Further ones.
        breaks: Bytes of the body after which the connection ends, None for the whole.
        data: A picture to answer with instead of a drawn one.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    breaks: int | None = None
    data: bytes | None = None


def error_body(message: str = "no", code: str | None = None, type: str = "error", param: str | None = None) -> bytes:
    """An error as the API writes it."""
    return json.dumps({"error": {"message": message, "type": type, "code": code, "param": param}}).encode()


@dataclass
class ImageEngine:
    """What the engine does and was asked.

    Attributes:
        url: To configure.
        model: It answers to.
        key: It wants; empty for none.
        asked: Every request in order.
        next: What the next requests get instead of a picture; after these it is well behaved again.
        gate: Requests wait here; shut it to hold them.
        waiting: How many wait at the gate, and how many gave up.
        as_url: Answer with an address on this server instead of base64; a text is the address itself.
        usage: Of each answer.
    """

    url: str = ""
    model: str = MODEL
    key: str = KEY
    asked: list[Asked] = field(default_factory=list)
    next: deque[Misbehaviour] = field(default_factory=deque)
    gate: threading.Event = field(default_factory=threading.Event)
    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: int = 0
    most_waiting: int = 0
    abandoned: int = 0
    as_url: bool | str = False
    usage: dict[str, int] | None = field(default_factory=lambda: dict(USAGE))
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `Config`."""
        return {"images_url": self.url, "images_model": self.model, "images_key": self.key}

    def wait_for(self, waiting: int = 1, abandoned: int = 0) -> None:
        """Block until so many requests wait at the gate and so many were given up by their callers."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.waiting >= waiting and self.abandoned >= abandoned, 30):
                raise AssertionError(f"{self.waiting} requests wait, {self.abandoned} were given up")


def drawn(asked: Asked) -> bytes:
    """A picture that depends on nothing but the request: its words as a colour, its pictures in the middle."""
    wanted = str(asked.fields.get("size", "auto"))
    size = (int(wanted.partition("x")[0]), int(wanted.partition("x")[2])) if "x" in wanted else (1024, 1024)
    words = list(hashlib.sha256(str(asked.fields["prompt"]).encode()).digest()[:3])
    clear = asked.fields.get("background") == "transparent"
    canvas = PIL.Image.new("P", size, 0)
    canvas.putpalette(words * 2)
    if asked.images:
        canvas = canvas.convert("RGB")
    for number, part in enumerate(asked.images):
        with part.opened() as picture:
            inner = picture.convert("RGB")
            inner.thumbnail((size[0] // 2, size[1] // 2))
            canvas.paste(inner, (number * size[0] // 8, size[1] // 4))
    # What engines really put in: text chunks with the prompt and the seed, which must not reach a result.
    notes = PIL.PngImagePlugin.PngInfo()
    notes.add_text("parameters", f"{asked.fields['prompt']} seed 42")
    buffer = io.BytesIO()
    canvas.save(
        buffer, "PNG", compress_level=1, pnginfo=notes, **({"transparency": 0} if clear and not asked.images else {})
    )
    return buffer.getvalue()


def _form(media_type: str, body: bytes) -> tuple[dict[str, Any], list[Part]]:
    head = f"Content-Type: {media_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    fields: dict[str, Any] = {}
    files: list[Part] = []
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if part.get_filename() is not None:
            files.append(Part(name, str(part.get_filename()), part.get_content_type(), data))
        else:
            fields[name] = data.decode()
    return fields, files


class _Handler(BaseHTTPRequestHandler):
    engine: ImageEngine

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        data = self.engine.files.get(self.path)
        self._answer(200 if data is not None else 404, data or b"", media_type="image/png")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        media_type = self.headers.get("Content-Type", "")
        fields, files = _form(media_type, body) if "multipart" in media_type else (json.loads(body), [])
        asked = Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, fields, files)
        self.engine.asked.append(asked)
        if not self._passed_gate():
            return
        other = self.engine.next.popleft() if self.engine.next else None
        if other is not None and other.status == 0:
            self.close_connection = True
        elif other is not None and (other.body or other.status != 200):
            self._answer(other.status, other.body, other.headers, other.breaks)
        elif self.engine.key and self.headers.get("Authorization") != f"Bearer {self.engine.key}":
            wrong = self.headers.get("Authorization", "")
            self._answer(401, error_body(f"Incorrect API key provided: {wrong}", "invalid_api_key"))
        elif fields.get("model") != self.engine.model:
            self._answer(404, error_body("no such model", "model_not_found"))
        else:
            self._answer(200, self._picture(asked, other), breaks=other.breaks if other else None)

    def _passed_gate(self) -> bool:
        """Wait at the gate; False once the caller has closed the connection."""
        engine = self.engine
        with engine.changed:
            engine.waiting += 1
            engine.most_waiting = max(engine.most_waiting, engine.waiting)
            engine.changed.notify_all()
        self.connection.settimeout(0.005)
        try:
            while not engine.gate.is_set():
                with suppress(TimeoutError):
                    if self.connection.recv(1) == b"":
                        engine.abandoned += 1
                        return False
            return True
        except OSError:
            engine.abandoned += 1
            return False
        finally:
            self.connection.settimeout(None)
            with engine.changed:
                engine.waiting -= 1
                engine.changed.notify_all()

    def _picture(self, asked: Asked, other: Misbehaviour | None) -> bytes:
        data = other.data if other is not None and other.data is not None else drawn(asked)
        item: dict[str, str] = {}
        if isinstance(self.engine.as_url, str):
            item["url"] = self.engine.as_url
        elif self.engine.as_url:
            path = f"/generated-images/{len(self.engine.files)}.png"
            self.engine.files[path] = data
            item["url"] = self.engine.url.removesuffix("/v1") + path
        else:
            item["b64_json"] = base64.b64encode(data).decode()
        answer = {"created": 1, "data": [item], **({"usage": self.engine.usage} if self.engine.usage else {})}
        return json.dumps(answer).encode()

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        breaks: int | None = None,
        media_type: str = "application/json",
    ) -> None:
        with suppress(OSError):
            self.send_response(status)
            for name, value in {"Content-Type": media_type, **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if breaks is None else body[:breaks])


@contextmanager
def serving_images(**attributes: Any) -> Iterator[ImageEngine]:
    """An engine until the block ends; attributes are those of `ImageEngine`."""
    engine = ImageEngine(**attributes)
    engine.gate.set()
    handler = type("Handler", (_Handler,), {"engine": engine})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        engine.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield engine
        finally:
            engine.gate.set()
            server.shutdown()
            thread.join()
