"""Following jobs over HTTP, as dialect 001 has it: streams, clients that come early or go, cancelling."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from support.forms import file, photo, run, size_of
from support.web_room import Web, web_room

from darkroom.faces.rest import common
from darkroom.faces.rest.snapotter import progress, runs

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("room")) as room:
        yield room


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


@pytest.fixture
async def listener(web: Web) -> AsyncIterator[httpx.AsyncClient]:
    """What `httpx_sse` wants."""
    headers = {"authorization": f"Bearer {web.user}"}
    async with httpx.AsyncClient(base_url=web.url, headers=headers, timeout=PATIENCE) as client:
        yield client


@pytest.fixture
async def gate(web: Web, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """While it is closed, no work goes on behind it."""
    opened, work = asyncio.Event(), web.room.executor.run

    async def held(*arguments: Any, **named: Any) -> Any:
        await opened.wait()
        return await work(*arguments, **named)

    monkeypatch.setattr(web.room.executor, "run", held)
    yield opened
    opened.set()


async def frames(listener: httpx.AsyncClient, job: str, **headers: str) -> AsyncIterator[ServerSentEvent]:
    async with aconnect_sse(listener, "GET", f"/api/v1/jobs/{job}/progress", headers=headers) as source:
        async for event in source.aiter_sse():
            yield event


async def all_frames(listener: httpx.AsyncClient, job: str, **headers: str) -> list[dict[str, Any]]:
    return [event.json() async for event in frames(listener, job, **headers)]


async def started(client: httpx2.AsyncClient, width: int, **form: Any) -> str:
    answer = await run(
        client, "resize", file(photo()), settings={"width": width}, headers={"prefer": "respond-async"}, **form
    )
    assert answer.status_code == 202, answer.text
    return str(answer.json()["jobId"])


async def test_a_stream_tells_each_state_and_then_the_end(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event
) -> None:
    job = await started(ann, 41)
    events = frames(listener, job)
    first = await anext(events)
    assert (first.event, first.id) == ("message", "1")
    assert first.json() | {"message": ""} == {
        "jobId": job,
        "type": "single",
        "status": "processing",
        "phase": "processing",
        "progress": 0,
        "percent": 0,
        "message": "",
    }
    gate.set()
    rest = [event async for event in events]
    assert [int(event.id) for event in rest] == list(range(2, len(rest) + 2))
    last = rest[-1].json()
    assert (last["progress"], last["status"], last["phase"]) == (100, "completed", "complete")
    assert size_of((await ann.get(last["result"]["downloadUrl"])).content) == (41, 27)


async def test_whoever_comes_late_is_told_the_end(ann: httpx2.AsyncClient, listener: httpx.AsyncClient) -> None:
    job = (await run(ann, "resize", file(photo()), settings={"width": 42})).headers["x-job-id"]
    told = await all_frames(listener, job)
    assert [frame["status"] for frame in told] == ["completed"]
    assert (await ann.get(f"/api/v1/jobs/{job}")).json() == told[0]


async def test_a_dropped_stream_is_taken_up_again(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event
) -> None:
    job = await started(ann, 43)
    events = frames(listener, job)
    seen = await anext(events)
    await events.aclose()  # type: ignore[attr-defined] # it is a generator
    again = frames(listener, job, **{"Last-Event-ID": seen.id})
    assert (await anext(again)).json()["status"] == "processing"
    gate.set()
    assert [event async for event in again][-1].json()["status"] == "completed"


async def test_a_batch_tells_how_many_files_are_done(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event
) -> None:
    sent = [file(photo(50 + n, 40), f"{n}.jpg", "files") for n in range(3)] + [file(b"none", "bad.jpg", "files")]
    settings = {"settings": json.dumps({"width": 20})}
    answer = await ann.post(
        "/api/v1/tools/resize/batch", files=sent, data=settings, headers={"prefer": "respond-async"}
    )
    events = frames(listener, answer.json()["jobId"])
    first = (await anext(events)).json()
    assert (first["type"], first["totalFiles"]) == ("batch", 4)
    gate.set()
    last = [event async for event in events][-1].json()
    counts = {key: last[key] for key in ("totalFiles", "completedFiles", "failedFiles")}
    assert counts == {"totalFiles": 4, "completedFiles": 3, "failedFiles": 1}
    assert last["errors"][0]["code"] == "UNSUPPORTED_FORMAT"
    assert last["result"]["downloadUrl"].endswith("/result.zip")
    assert (await ann.get(last["result"]["downloadUrl"])).headers["content-type"] == "application/zip"


async def test_a_job_that_fails_says_why_in_its_last_frame(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient
) -> None:
    answer = await run(
        ann, "crop", file(photo()), settings={"left": 900, "top": 0, "width": 5, "height": 5},
        headers={"prefer": "respond-async"},
    )  # fmt: skip
    last = (await all_frames(listener, answer.json()["jobId"]))[-1]
    assert last["status"] == "failed"
    assert last["error"] == last["message"] != ""
    assert last["code"].isupper()
    assert "result" not in last
    failed = await ann.get(answer.json()["downloadUrl"])
    assert (failed.json()["error"], failed.json()["code"]) == (last["error"], last["code"])


async def test_progress_is_watched_under_an_id_that_the_client_chose(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient
) -> None:
    chosen = str(uuid.uuid4())
    answer = await run(ann, "resize", file(photo()), settings={"width": 44}, clientJobId=chosen.upper())
    told = await all_frames(listener, chosen)
    assert told[-1]["jobId"] == answer.headers["x-job-id"]
    assert (await ann.get(f"/api/v1/jobs/{chosen.replace('-', '')}")).json()["status"] == "completed"
    assert (await ann.get(f"/api/v1/download/{chosen}/result")).content == answer.content


async def test_whoever_watches_before_the_call_comes_waits_for_it(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient
) -> None:
    chosen = str(uuid.uuid4())
    async with listener.stream("GET", f"/api/v1/jobs/{chosen}/progress") as early:
        lines = early.aiter_lines()
        assert early.status_code == 200
        assert await anext(lines) == ": waiting for the call"
        answer = await run(ann, "resize", file(photo()), settings={"width": 45}, clientJobId=chosen)
        data = [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]
    assert data[-1]["status"] == "completed"
    assert data[-1]["jobId"] == answer.headers["x-job-id"]


async def test_whoever_waits_for_a_call_that_is_refused_is_told_why(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient
) -> None:
    chosen = str(uuid.uuid4())
    async with listener.stream("GET", f"/api/v1/jobs/{chosen}/progress") as early:
        lines = early.aiter_lines()
        await anext(lines)
        answer = await run(ann, "resize", file(photo()), settings={"wdth": 45}, clientJobId=chosen)
        data = [json.loads(line[6:]) async for line in lines if line.startswith("data: ")]
    assert [(frame["status"], frame["code"], frame["error"]) for frame in data] == [
        ("failed", "VALIDATION_ERROR", answer.json()["error"])
    ]


async def test_whoever_waits_for_a_call_that_never_comes_is_told_so(
    listener: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PING_SECONDS", 0.01)
    [told] = await all_frames(listener, str(uuid.uuid4()))
    assert (told["status"], told["code"]) == ("failed", "NOT_FOUND")


async def test_an_id_chosen_by_somebody_else_is_another_job(
    web: Web, ann: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = str(uuid.uuid4())
    await run(ann, "resize", file(photo()), settings={"width": 46}, clientJobId=chosen)
    monkeypatch.setattr(progress, "PING_SECONDS", 0.01)
    async with httpx.AsyncClient(base_url=web.url, headers={"authorization": f"Bearer {web.other}"}) as ben:
        assert [told["code"] for told in await all_frames(ben, chosen)] == ["NOT_FOUND"]


async def test_jobs_of_somebody_else_are_not_there(web: Web, ann: httpx2.AsyncClient) -> None:
    job = (await run(ann, "resize", file(photo()), settings={"width": 47})).headers["x-job-id"]
    async with web.client(web.other) as ben:
        for address in (f"jobs/{job}/progress", f"jobs/{job}", f"download/{job}/result"):
            foreign = await ben.get(f"/api/v1/{address}")
            missing = await ben.get(f"/api/v1/{address.replace(job, f'job_{chr(97) * 26}')}")
            assert foreign.status_code == missing.status_code == 404
            assert foreign.json()["error"] == missing.json()["error"]
        assert (await ben.post(f"/api/v1/jobs/{job}/cancel")).status_code == 404


async def test_a_job_is_cancelled_and_its_call_answers_so(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event
) -> None:
    chosen = str(uuid.uuid4())
    events = frames(listener, chosen)
    call = asyncio.create_task(run(ann, "resize", file(photo()), settings={"width": 48}, clientJobId=chosen))
    job = (await anext(events)).json()["jobId"]
    told = (await ann.post(f"/api/v1/jobs/{job}/cancel")).json()
    assert told == {"ok": True, "jobId": job, "status": "failed", "canceled": True}
    answer = await call
    assert (answer.status_code, answer.json()["code"]) == (409, "CANCELED")
    last = [event async for event in events][-1].json()
    assert (last["status"], last["code"]) == ("failed", "CANCELED")
    again = (await ann.post(f"/api/v1/jobs/{chosen}/cancel")).json()
    assert again == told


async def test_a_client_that_goes_away_finds_its_result_later(
    web: Web, ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event
) -> None:
    chosen = str(uuid.uuid4())
    events = frames(listener, chosen)
    async with web.client(web.user) as leaving:
        call = asyncio.create_task(run(leaving, "resize", file(photo()), settings={"width": 49}, clientJobId=chosen))
        await anext(events)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    gate.set()
    assert [event async for event in events][-1].json()["status"] == "completed"
    assert size_of((await ann.get(f"/api/v1/download/{chosen}/result")).content) == (49, 33)


async def test_a_call_that_takes_too_long_goes_on_as_a_job(
    ann: httpx2.AsyncClient, listener: httpx.AsyncClient, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def impatient(room: Any, principal: Any, job: Any) -> Any:
        return await common.finished(room, principal, job, 0.0)

    monkeypatch.setattr(runs, "finished", impatient)
    answer = await run(ann, "resize", file(photo()), settings={"width": 50})
    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers
    early = await ann.get(answer.json()["downloadUrl"])
    assert (early.status_code, early.json()["code"], early.headers["retry-after"]) == (409, "CONFLICT", "1")
    gate.set()
    assert (await all_frames(listener, answer.json()["jobId"]))[-1]["status"] == "completed"
    assert size_of((await ann.get(answer.json()["downloadUrl"])).content) == (50, 33)


async def test_what_is_no_id_is_not_there(ann: httpx2.AsyncClient) -> None:
    for text in ("nothing", "job_", "0" * 500, "%00"):
        assert (await ann.get(f"/api/v1/jobs/{text}/progress")).status_code == 404
    wrong = await run(ann, "resize", file(photo()), settings={"width": 5}, clientJobId="mine")
    assert (wrong.status_code, wrong.json()["details"]["field"]) == (400, "clientJobId")
