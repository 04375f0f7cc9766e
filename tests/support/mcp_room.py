"""A room for the MCP face over the real library, workflows and catalog, with jobs that a test controls."""

import asyncio
import io
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import PIL.Image
import uvicorn
from mcp.client._transport import TransportStreams
from mcp.server import Server
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter

from darkroom.accounts.credits import Credits
from darkroom.catalog import Catalog
from darkroom.engine.models import ModelService
from darkroom.engine.outcome import Picture, Progress
from darkroom.errors import NotFound
from darkroom.export import Exporter
from darkroom.faces.mcp.room import Pace, Room
from darkroom.faces.mcp.stream import serve_stream
from darkroom.jobs.record import ItemResult, Job, Result, Status
from darkroom.jobs.terms import Terms
from darkroom.library.library import Library, insert_result, insert_source
from darkroom.links import Links
from darkroom.principal import LOCAL, Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.ids import new_id
from darkroom.workflows.service import Workflows
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.plan import Plan

Work = Callable[[str, Callable[[Progress], None]], Awaitable[ItemResult]]


class ScriptedJobs:
    """Accepts and validates like the real service; what happens next is up to the test's `work`."""

    def __init__(self, library: "Store", tasks: anyio.abc.TaskGroup) -> None:
        self.store = library
        self.work: Work = self.resize_nothing
        self.stopping = False
        self.accepted: list[tuple[Tool, dict[str, Any]]] = []
        self.terms: list[Terms] = []
        self._tasks = tasks
        self._jobs: dict[str, Job] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._changed: dict[str, anyio.Event] = {}

    async def resize_nothing(self, image: str, emit: Callable[[Progress], None]) -> ItemResult:
        made = await self.store.add_result(image)
        return ItemResult(sources=[image], images=[made], kept=["icc"], removed=["exif", "gps"])

    async def accept(
        self,
        principal: Principal,
        tool: Tool,
        arguments: Mapping[str, Any],
        *,
        each: str | None = None,
        archive: bool = False,
        terms: Terms = Terms(),  # noqa: B008 - immutable
    ) -> Job:
        values = [dict(arguments, **{each: value}) for value in arguments[each]] if each else [dict(arguments)]
        images: list[str] = []
        for value in values:
            found, settings = tool.parse(value)
            tool.plan(settings, {name: [f"input:{n}" for n in range(len(of))] for name, of in found.items()})
            images.append(next(iter(found.values()), [""])[0])
        self.accepted.append((tool, dict(arguments)))
        self.terms.append(terms)
        job = Job(
            new_id("job"), principal.id, tool.id, "queued", 0.0, "", len(images), 0, None, None, time.time(), None, None
        )
        self._jobs[job.id] = job
        self._changed[job.id] = anyio.Event()
        self._tasks.start_soon(self._run, job.id, images)
        return job

    async def _run(self, job_id: str, images: list[str]) -> None:
        self._update(job_id, state="running")

        def emit(progress: Progress) -> None:
            self._update(job_id, progress=progress.fraction, message=progress.message)

        results = []
        with anyio.CancelScope() as scope:
            self._scopes[job_id] = scope
            for image in images:
                try:
                    results.append(await self.work(image, emit))
                except DarkroomError as error:
                    results.append(ItemResult(sources=[image], error=error.to_wire()))
        if scope.cancelled_caught:
            self._update(job_id, state="canceled", finished_at=time.time())
            return
        failed = [result.error for result in results if result.error]
        state, error = ("failed", failed[0]) if len(failed) == len(results) else ("succeeded", None)
        result = Result(tuple(results))
        ended = {"done": len(results), "finished_at": time.time()}
        self._update(job_id, state=state, error=error, progress=1.0, result=result, **ended)

    def _update(self, job_id: str, **changes: Any) -> None:
        self._jobs[job_id] = replace(self._jobs[job_id], **changes)
        changed, self._changed[job_id] = self._changed[job_id], anyio.Event()
        changed.set()

    async def get(self, principal: Principal, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.owner != principal.id:
            raise NotFound(f"There is no job {job_id!r}.")
        return job

    async def wait(self, principal: Principal, job_id: str, seconds: float | None) -> Job:
        with anyio.move_on_after(seconds):
            while not (await self.get(principal, job_id)).ended:
                await self._changed[job_id].wait()
        return await self.get(principal, job_id)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[AsyncIterator[Status]]:
        async def events() -> AsyncIterator[Status]:
            while True:
                job, changed = self._jobs[job_id], self._changed[job_id]
                yield job.status
                if job.ended:
                    return
                await changed.wait()

        yield events()

    async def cancel(self, principal: Principal, job_id: str) -> Job:
        await self.get(principal, job_id)
        if job_id in self._scopes:
            self._scopes[job_id].cancel()
            await self.wait(principal, job_id, 5)
        return await self.get(principal, job_id)

    @property
    def jobs(self) -> list[Job]:
        return list(self._jobs.values())

    async def render(self, principal: Principal, handle: str, plan: Plan) -> tuple[bytes, Picture]:
        fit, encode = plan.steps
        with PIL.Image.open(io.BytesIO(await self.store.library.read(principal, handle))) as image:
            image = image.convert("RGB")
            image.thumbnail((fit.settings["width"], fit.settings["height"]))
            encoded = io.BytesIO()
            image.save(encoded, "webp", quality=encode.settings["quality"])
        data = encoded.getvalue()
        return data, Picture("webp", "image/webp", len(data), image.width, image.height)


class Store:
    """Puts images into the real library without a worker."""

    def __init__(self, database: Database, blobs: BlobStore, library: Library) -> None:
        self.database, self.blobs, self.library = database, blobs, library

    async def add(self, data: bytes, name: str = "photo.png", owner: str = LOCAL.id) -> str:
        handle, digest = new_id("img"), self.blobs.put(data)
        picture = _picture_of(data)
        await self.database.write(lambda c: insert_source(c, owner, handle, digest, picture, name))
        return handle

    async def add_result(self, parent: str, owner: str = LOCAL.id) -> str:
        """A result with the bytes of its parent; callers that gave no handle get a small picture."""
        data = png(8, 6)
        if parent.startswith("img_"):
            data = await self.library.read(Principal(owner), parent)
        handle, digest, picture = new_id("img"), self.blobs.put(data), _picture_of(data)
        known = parent if parent.startswith("img_") else None
        await self.database.write(
            lambda c: insert_result(c, owner, handle, known, digest, picture, "resize", [], {}, "result.png")
        )
        return handle


class OneUpload:
    """Gives out one fixed upload address."""

    async def create(self, _principal: Principal) -> Any:
        return SimpleNamespace(id=new_id("upl"), token="one-time-token", expires_at=time.time() + 600)


@dataclass(frozen=True)
class Bench:
    """What a test works with."""

    room: Room
    jobs: ScriptedJobs
    store: Store
    links: Links
    folder: Path


FAST = Pace(wait=20.0, interval=0.01, heartbeat=0.05)


@asynccontextmanager
async def open_bench(
    folder: Path,
    *,
    pace: Pace = FAST,
    docs: str = "# Darkroom\n",
    credits: Callable[[Database], Credits] = Credits,
) -> AsyncIterator[Bench]:
    """A room on an empty database in `folder`; paths inside it may be named."""
    blobs, links = BlobStore(folder / "blobs"), Links(b"k" * 32)
    async with Database(f"sqlite:///{folder / 'test.db'}") as database, anyio.create_task_group() as tasks:
        library, workflows = Library(database, blobs), Workflows(database)
        store = Store(database, blobs, library)
        jobs = ScriptedJobs(store, tasks)
        principal = Principal(LOCAL.id, (folder,))
        room = Room(
            version="1.2.3",
            catalog=Catalog(workflows),
            workflows=workflows,
            jobs=jobs,  # type: ignore[arg-type]
            library=library,
            uploads=OneUpload(),  # type: ignore[arg-type]
            exporter=Exporter(blobs),
            links=links,
            models=ModelService(folder / "models", memory_bytes=2**30),
            models_dir=folder / "models",
            credits=credits(database),
            http_principal=lambda _ctx: principal,
            fetch=True,
            docs=lambda: docs,
            pace=pace,
        )
        yield Bench(room, jobs, store, links, folder)
        tasks.cancel_scope.cancel()


def png(width: int, height: int, *, noise: bool = False) -> bytes:
    """A PNG of one colour, or of incompressible noise."""
    size = (width, height)
    image = PIL.Image.effect_noise(size, 80).convert("RGB") if noise else PIL.Image.new("RGB", size, "teal")
    encoded = io.BytesIO()
    image.save(encoded, "png")
    return encoded.getvalue()


def _picture_of(data: bytes) -> Picture:
    with PIL.Image.open(io.BytesIO(data)) as image:
        format = str(image.format).lower()
        return Picture(format, f"image/{format}", len(data), image.width, image.height)


@asynccontextmanager
async def socket_transport(
    server: Server[Any], principal: Principal, folder: Path, **options: Any
) -> AsyncIterator[TransportStreams]:
    """A client's transport over a Unix socket on which the server serves one connection."""
    path = folder / "s.sock"
    served = anyio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve_stream(server, reader, writer, principal, **options)
        finally:
            served.set()

    async with await asyncio.start_unix_server(serve, path):
        reader, writer = await asyncio.open_unix_connection(path, limit=2**24)
        to_client, incoming = anyio.create_memory_object_stream[SessionMessage | Exception]()
        outgoing, from_client = anyio.create_memory_object_stream[SessionMessage]()

        async def read() -> None:
            async with to_client:
                while line := await reader.readline():
                    await to_client.send(SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False)))

        async def write() -> None:
            async with from_client:
                async for message in from_client:
                    writer.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                    await writer.drain()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(write)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()
                writer.close()
                with anyio.CancelScope(shield=True), anyio.fail_after(10):
                    await served.wait()


@asynccontextmanager
async def serving_http(server: Server[Any]) -> AsyncIterator[str]:
    """The server's address over HTTP on this machine."""
    config = uvicorn.Config(server.streamable_http_app(), port=0, http="h11", log_level="warning")
    listener = config.bind_socket()
    web = uvicorn.Server(config)
    listener.listen()  # connections wait until the server takes them
    with listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listener])
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            web.should_exit = True
