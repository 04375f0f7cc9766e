"""The REST face under load, against bare Starlette with pyvips: resize 12 MP to 800 px, a cached GET, a batch of 200."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from benchmarks.measure import phone_photo, process_tree, pss_mb
from benchmarks.noop import listening

CONNECTIONS = (1, 8, 64)
SECONDS = 10.0
BATCH = 200
PASSWORD = "Correct-horse-1"
PEER = """
import sys, anyio, pyvips, uvicorn
from starlette.applications import Starlette
from starlette.responses import FileResponse, Response
from starlette.routing import Route
pyvips.cache_set_max(0)
def small(data, width, height):
    return pyvips.Image.thumbnail_buffer(data, width, height=height, crop="centre").jpegsave_buffer(Q=80)
async def resize(request):
    async with request.form() as form:
        data = await form["file"].read()
        made = await anyio.to_thread.run_sync(small, data, int(form["width"]), int(form["height"]))
    return Response(made, media_type="image/jpeg")
async def cached(request): return FileResponse(sys.argv[1])
routes = [Route("/resize", resize, methods=["POST"]), Route("/cached", cached)]
uvicorn.run(Starlette(routes=routes), port=int(sys.argv[2]), http="h11", log_level="error")
"""

Ask = Callable[[], bytes]
"""Makes the next request, head and body."""


@dataclass(frozen=True)
class Load:
    """What a run of some seconds came to."""

    per_second: float
    p50: float
    p99: float
    health_p99: float

    def __str__(self) -> str:
        health = f"  health p99 {self.health_p99:6.0f}" if self.health_p99 else ""
        return f"{self.per_second:7.1f}/s  p50 {self.p50:7.1f}  p99 {self.p99:7.1f} ms{health}"


async def under_load(url: str, ask: Ask, connections: int, seconds: float, health: bytes = b"") -> Load:
    """Send one request after the other on each connection, and ask for the health meanwhile."""
    times: list[float] = []
    healths: list[float] = []
    end = time.perf_counter() + seconds
    senders = [_send(url, ask, times, end) for _ in range(connections)]
    if health:
        senders.append(_send(url, lambda: health, healths, end, pause=0.05))
    started = time.perf_counter()
    await asyncio.gather(*senders)
    took = time.perf_counter() - started
    return Load(len(times) / took, _percentile(times, 50), _percentile(times, 99), _percentile(healths, 99))


async def _send(url: str, ask: Ask, times: list[float], end: float, pause: float = 0.0) -> None:
    host = urlsplit(url)
    reader, writer = await asyncio.open_connection(host.hostname, host.port)
    while time.perf_counter() < end:
        request = ask()
        started = time.perf_counter()
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{head[:60]!r}")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        times.append(1000 * (time.perf_counter() - started))
        if pause:
            await asyncio.sleep(pause)
    writer.close()


def get(path: str, key: str = "") -> bytes:
    """A GET as it goes over the wire."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}\r\n".encode()


def post(path: str, data: dict[str, str], photo: bytes, key: str = "") -> bytes:
    """A form with a photo as it goes over the wire."""
    built = httpx2.Request("POST", f"http://127.0.0.1{path}", data=data, files={"file": ("p.jpg", photo)})
    body = built.read()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {built.headers['content-type']}"]
    lines += [f"Content-Length: {len(body)}", *([f"Authorization: Bearer {key}"] if key else [])]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


def varied() -> Iterator[tuple[int, int]]:
    """Sizes about 800 × 600, never the same one twice: what was asked before would need no work."""
    for n in count():
        yield 790 + n // 40, 580 + n % 40


@contextmanager
def serving(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Our server's process, address and the admin's key."""
    chosen = {"DARKROOM_ADMIN_PASSWORD": PASSWORD, "DARKROOM_RATE_LIMIT": "0", "DARKROOM_QUEUE_LENGTH": "1000"}
    before = {name: os.environ.get(name) for name in (*chosen, "DARKROOM_AUTH")}
    os.environ.update({**chosen, "DARKROOM_AUTH": "on"})
    try:
        with listening(["-m", "darkroom", "serve", "--data-dir", str(folder), "--port"]) as (pid, url):
            command = [sys.executable, "-m", "darkroom", "keys", "create", "benchmark", "--data-dir", str(folder)]
            key = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
            yield pid, url.removesuffix("/mcp"), key
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


async def resizes(url: str, key: str, peer: str, photo: bytes) -> None:
    """12 MP to 800 px, side by side."""
    print(f"POST of a 12 MP photo, resized to about 800 px, {SECONDS:g} s each")
    ours_next, peer_next = varied(), varied()
    for connections in CONNECTIONS:

        def ask_ours() -> bytes:
            width, height = next(ours_next)
            settings = f'{{"width": {width}, "height": {height}, "fit": "cover"}}'
            return post("/api/v1/tools/resize", {"settings": settings}, photo, key)

        def ask_peer() -> bytes:
            width, height = next(peer_next)
            return post("/resize", {"width": str(width), "height": str(height)}, photo)

        mine = await under_load(url, ask_ours, connections, SECONDS, get("/api/health"))
        theirs = await under_load(peer, ask_peer, connections, SECONDS)
        print(f"  {connections:2} connections  darkroom  {mine}")
        print(f"  {'':2}              bare      {theirs}   ratio {mine.per_second / theirs.per_second:.2f}")


async def cached(url: str, key: str, path: str, peer: str) -> None:
    """A thumbnail that is made already, against a file."""
    print(f"GET of a cached thumbnail, {SECONDS:g} s each")
    for connections in CONNECTIONS:
        mine = await under_load(url, lambda: get(path, key), connections, SECONDS, get("/api/health"))
        theirs = await under_load(peer, lambda: get("/cached"), connections, SECONDS)
        print(f"  {connections:2} connections  darkroom  {mine}")
        print(f"  {'':2}              bare      {theirs}   ratio {mine.per_second / theirs.per_second:.2f}")


async def batch(pid: int, url: str, key: str, photos: Sequence[bytes]) -> None:
    """200 photos in one request: time, memory of all processes, health meanwhile."""
    files = [("files", (f"{n}.jpg", photo)) for n, photo in enumerate(photos)]
    idle = pss_mb(process_tree(pid))
    done = asyncio.Event()
    most, healths = [idle], []
    headers = {"authorization": f"Bearer {key}"}

    async def watch() -> None:
        async with httpx2.AsyncClient() as http:
            while not done.is_set():
                started = time.perf_counter()
                await http.get(f"{url}/api/health")
                healths.append(1000 * (time.perf_counter() - started))
                most.append(await asyncio.to_thread(pss_mb, process_tree(pid)))
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), 0.1)

    watching = asyncio.create_task(watch())
    started = time.perf_counter()
    async with httpx2.AsyncClient(headers=headers, timeout=600) as http:
        answer = await http.post(f"{url}/api/v1/tools/resize/batch", files=files, data={"settings": '{"width": 800}'})
    took = time.perf_counter() - started
    done.set()
    await watching
    answer.raise_for_status()
    print(f"batch of {len(photos)} photos of 12 MP, {sum(map(len, photos)) / 1e6:.0f} MB in one request")
    print(f"  {took:.1f} s, {len(photos) / took:.1f}/s, ZIP of {len(answer.content) / 1e6:.1f} MB")
    print(
        f"  memory of all processes {idle:.0f} MB before, {max(most):.0f} MB at most; health p99 {_percentile(healths, 99):.0f} ms"
    )


def _percentile(values: Collection[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = phone_photo(folder / "photo.jpg").read_bytes()
        with serving(folder / "data") as (pid, url, key):
            headers = {"authorization": f"Bearer {key}"}
            sent = httpx2.post(f"{url}/api/v1/upload", files={"files": ("p.jpg", photo)}, headers=headers, timeout=60)
            path = f"/api/v1/files/{sent.raise_for_status().json()['files'][0]['id']}/thumbnail"
            small = folder / "thumbnail.jpg"
            small.write_bytes(httpx2.get(url + path, headers=headers, timeout=60).raise_for_status().content)
            with listening(["-c", PEER, str(small)]) as (_, peer_url):
                peer = peer_url.removesuffix("/mcp")
                asyncio.run(resizes(url, key, peer, photo))
                asyncio.run(cached(url, key, path, peer))
            # Bytes after the end of a JPEG make it another file, not another picture.
            photos = [photo + n.to_bytes(4) for n in range(BATCH)]
            asyncio.run(batch(pid, url, key, photos))


if __name__ == "__main__":
    main()
