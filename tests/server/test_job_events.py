"""A job over HTTP as server-sent events: the newest state first, rising, one end; only its owner, and not too many."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.types import Message
from support.jobs_room import PATIENCE, Room, open_room, tint

from darkroom import streams
from darkroom.asgi import Access, build_web
from darkroom.engine.outcome import Progress
from darkroom.errors import Unauthorized
from darkroom.faces.files.events import event_routes
from darkroom.jobs.progress import ProgressBus
from darkroom.jobs.record import Status
from darkroom.principal import Principal
from darkroom.streams import Streams
from darkroom_tools.errors import ProcessingFailed

pytestmark = pytest.mark.anyio

TOKEN = "0123456789abcdef"


@pytest.fixture
async def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Room]:
    monkeypatch.setattr(streams, "INTERVAL", 0.0)
    async with open_room(tmp_path, gate=False) as opened:
        yield opened


def web(room: Room, **limits: int) -> Any:
    async def identify(token: str) -> Principal:
        secret, _, owner = token.partition(" ")
        if secret != TOKEN:
            raise Unauthorized("No such key.")
        return Principal(owner)

    return build_web(event_routes(room.jobs, Streams(**limits)), health=dict, access=Access(identify=identify))


def client(app: Any, owner: str = "ann") -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {TOKEN} {owner}"}
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers, timeout=PATIENCE)


class Listener:
    """Reads a stream frame by frame, as a browser does."""

    def __init__(self, app: Any, job_id: str, owner: str = "ann") -> None:
        self.frames: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.status = 0
        self._task = asyncio.create_task(self._listen(app, job_id, owner))

    async def next(self) -> tuple[str, dict[str, Any]]:
        async with asyncio.timeout(PATIENCE):
            return await self.frames.get()

    async def leave(self) -> None:
        self.gone.set()
        async with asyncio.timeout(PATIENCE):
            await self._task

    async def _listen(self, app: Any, job_id: str, owner: str) -> None:
        path = f"/jobs/{job_id}/events"
        headers = [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {TOKEN} {owner}".encode()),
        ]
        scope: dict[str, Any] = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b""}
        scope |= {"asgi": {"spec_version": "2.3", "version": "3.0"}, "http_version": "1.1", "scheme": "http"}
        asked = False

        async def receive() -> Message:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            for frame in message.get("body", b"").decode().split("\n\n")[:-1]:
                fields = dict(line.split(": ", 1) for line in frame.splitlines())
                if "event" in fields:
                    self.frames.put_nowait((fields["event"], json.loads(fields["data"])))

        await app(scope, receive, send)


async def test_a_late_listener_sees_the_newest_state_first_then_each_and_one_end(closed: Room) -> None:
    job = await closed.tint()
    await closed.executor.has_run(1)
    closed.executor.emits[0](Progress(0.4, "Tile 2 of 5"))
    listener = Listener(web(closed), job.id)
    event, first = await listener.next()
    assert event == "progress"
    assert {key: first[key] for key in ("job", "state", "stage", "percent", "part", "done", "total")} == {
        "job": job.id, "state": "running", "stage": "Tile 2 of 5", "percent": 40, "part": [2, 5], "done": 0, "total": 1,
    }  # fmt: skip
    closed.executor.emits[0](Progress(0.8, "Encoding"))
    assert (await listener.next())[1]["percent"] == 80
    closed.executor.gate.set()
    done = await listener.next()
    assert (done[0], done[1]["state"], done[1]["percent"]) == ("progress", "succeeded", 100)
    event, end = await listener.next()
    ended = await closed.jobs.get(closed.ann, job.id)
    assert ended.result
    assert (event, end["state"], end["images"]) == ("end", "succeeded", ended.result.images())


async def test_a_listener_of_an_ended_job_gets_its_end_at_once(closed: Room) -> None:
    closed.executor.gate.set()
    closed.executor.fail = lambda data: ProcessingFailed("Broken.")
    job = await closed.done(await closed.tint())
    async with client(web(closed)) as http:
        answer = await http.get(f"/jobs/{job.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    last = answer.text.strip().split("\n\n")[-1]
    assert "\nevent: end\n" in last
    assert json.loads(last.partition("data: ")[2])["error"]["code"] == "PROCESSING_FAILED"


async def test_a_waiting_job_says_that_it_waits_and_a_cancelled_one_that_it_ended(tmp_path: Path) -> None:
    async with open_room(tmp_path, slots=1, gate=False) as room:
        await room.tint("running")
        waiting = await room.tint("waiting")
        listener = Listener(web(room), waiting.id)
        assert (await listener.next())[1]["state"] == "queued"
        await room.jobs.cancel(room.ann, waiting.id)
        frames = [await listener.next(), await listener.next()]
        assert [(event, data["state"]) for event, data in frames] == [("progress", "canceled"), ("end", "canceled")]


async def test_only_its_owner_may_listen_and_only_with_the_token(closed: Room) -> None:
    job = await closed.tint()
    async with client(web(closed), "ben") as http:
        theirs = await http.get(f"/jobs/{job.id}/events")
        nobodys = await http.get("/jobs/job_nothing/events")
        assert (theirs.status_code, theirs.json()["error"]) == (404, nobodys.json()["error"])
        del http.headers["authorization"]
        assert (await http.get(f"/jobs/{job.id}/events")).status_code == 401


async def test_streams_are_limited_for_each_owner_and_in_all_and_those_that_end_make_room(closed: Room) -> None:
    mine = await closed.tint()
    theirs = await closed.jobs.accept(closed.ben, tint, {"image": closed.picture("b")})
    app = web(closed, most=3, most_of_owner=2)
    open_now = [Listener(app, mine.id), Listener(app, mine.id)]
    for listener in open_now:
        await listener.next()
    async with client(app) as ann, client(app, "ben") as ben:
        refused = await ann.get(f"/jobs/{mine.id}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
        assert int(refused.headers["retry-after"]) > 0
        bens = Listener(app, theirs.id, "ben")
        await bens.next()
        refused = await ben.get(f"/jobs/{theirs.id}/events")
        assert (refused.status_code, refused.json()["code"]) == (503, "OVERLOADED")
        await open_now.pop().leave()
        again = Listener(app, mine.id)
        await again.next()
        assert again.status == 200
        for listener in (*open_now, bens, again):
            await listener.leave()


async def test_what_was_done_never_becomes_less_for_a_listener() -> None:
    bus = ProgressBus()
    bus.begin("job", "ann")
    async with bus.watch("job") as states:
        bus.publish("job", Status("running", 0.6, "Encoding"))
        bus.publish("job", Status("running", 0.0, "Decoding"))
        assert await anext(states) == Status("running", 0.6, "Decoding")
