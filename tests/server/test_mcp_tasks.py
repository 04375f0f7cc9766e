"""The Tasks extension with real clients: who gets a task, what it tells, and that nobody else sees it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import mcp_types as types
import pytest
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from support.mcp_room import FAST, Bench, open_bench, png, serving_http, socket_transport

from darkroom.engine.outcome import Progress
from darkroom.errors import DarkroomError
from darkroom.faces.mcp.server import build_server
from darkroom.faces.mcp.tasks import TASKS
from darkroom.jobs.record import ItemResult
from darkroom.principal import LOCAL, Principal
from darkroom_tools.errors import NoFace

pytestmark = pytest.mark.anyio

METHODS = ("tasks/get", "tasks/update", "tasks/cancel")
PATIENCE = 20


class Created(types.Result):
    """A task as this client reads it."""

    result_type: Literal["task"] = "task"
    task_id: str
    status: str
    created_at: str
    last_updated_at: str
    ttl_ms: int | None
    poll_interval_ms: int


class TaskParams(types.RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(types.Request[TaskParams, str]):
    name_param = "taskId"


class Anything(types.Result, extra="allow"):
    pass


class KnowsTasks(ClientExtension):
    """Keeps every task that it was answered with."""

    identifier = TASKS

    def __init__(self) -> None:
        self.tasks: list[Created] = []

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Created, resolve=self._resolve)]

    async def _resolve(self, created: Created, _ctx: ClaimContext) -> types.CallToolResult:
        self.tasks.append(created)
        return types.CallToolResult(content=[], structured_content={})


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with open_bench(tmp_path) as made:
        yield made


Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(params=["stream", "http"])
def connect(request: pytest.FixtureRequest, bench: Bench) -> Connect:
    """A client of the bench over either transport."""

    @asynccontextmanager
    async def opened(*extensions: ClientExtension, moment: float = 0, **options: Any) -> AsyncIterator[Client]:
        server = build_server(replace(bench.room, pace=replace(FAST, moment=moment)))
        principal = Principal(LOCAL.id, (bench.folder,))
        if request.param == "http":
            async with serving_http(server) as address, Client(address, extensions=extensions, **options) as client:
                yield client
        else:
            transport = socket_transport(server, principal, bench.folder)
            async with Client(transport, extensions=extensions, **options) as client:
                yield client

    return opened


async def ask(client: Client, method: str, task: str, **more: Any) -> dict[str, Any]:
    params = TaskParams.model_validate({"taskId": task, **more})
    answer = await client.session.send_request(TaskRequest(method=method, params=params), Anything)
    return answer.model_dump(by_alias=True, mode="json", exclude_none=True)


async def ended(client: Client, task: str) -> dict[str, Any]:
    with anyio.fail_after(PATIENCE):
        while (facts := await ask(client, "tasks/get", task))["status"] == "working":
            await anyio.lowlevel.checkpoint()
    return facts


def held_back(bench: Bench, error: DarkroomError | None = None) -> anyio.Event:
    """Jobs wait for this event, and then succeed or fail."""
    go = anyio.Event()

    async def work(image: str, emit: Any) -> ItemResult:
        emit(Progress(0.5, "Resizing"))
        await go.wait()
        if error is not None:
            raise error
        return await bench.jobs.resize_nothing(image, emit)

    bench.jobs.work = work
    return go


async def begun(bench: Bench, client: Client, knows: KnowsTasks) -> Created:
    source = await bench.store.add(png(40, 30))
    await client.call_tool("resize", {"image": source, "width": 20})
    return knows.tasks[-1]


async def test_a_call_that_outlasts_the_first_moment_is_a_task_until_it_is_done(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        assert (task.task_id, task.status) == (bench.jobs.jobs[0].id, "working")
        assert (task.poll_interval_ms, task.ttl_ms) == (1000, 86_400_000)
        facts = await ask(client, "tasks/get", task.task_id)
        assert (facts["status"], facts["statusMessage"]) == ("working", "Resizing")
        assert facts["createdAt"] == task.created_at
        assert not facts.keys() & {"result", "error", "inputRequests"}
        go.set()
        facts = await ended(client, task.task_id)
        assert (facts["status"], facts["resultType"]) == ("completed", "complete")
        assert facts["result"]["structuredContent"]["width"] == 40
        assert types.CallToolResult.model_validate(facts["result"], by_name=False).content[0].type == "text"


async def test_what_is_done_at_once_is_answered_at_once(bench: Bench, connect: Connect) -> None:
    knows = KnowsTasks()
    source = await bench.store.add(png(40, 30))
    async with connect(knows, moment=PATIENCE) as client:
        answer = await client.call_tool("resize", {"image": source, "width": 20})
    assert (answer.structured_content["source"], knows.tasks) == (source, [])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_who_does_not_know_tasks_is_served_as_before(bench: Bench, connect: Connect, mode: str) -> None:
    go = held_back(bench)
    async with connect(mode=mode) as client, anyio.create_task_group() as tasks:
        answers: list[types.CallToolResult] = []

        async def call() -> None:
            source = await bench.store.add(png(40, 30))
            answers.append(await client.call_tool("resize", {"image": source, "width": 20}))

        tasks.start_soon(call)
        with anyio.fail_after(PATIENCE):
            while not bench.jobs.jobs:
                await anyio.lowlevel.checkpoint()
        go.set()
    assert answers[0].structured_content["width"] == 40


async def test_a_legacy_client_that_asks_for_tasks_gets_plain_answers(bench: Bench, connect: Connect) -> None:
    knows = KnowsTasks()
    source = await bench.store.add(png(40, 30))
    async with connect(knows, mode="legacy") as client:
        assert TASKS not in (client.server_capabilities.extensions or {})
        answer = await client.call_tool("resize", {"image": source, "width": 20})
        with pytest.raises(MCPError) as caught:
            await ask(client, "tasks/get", bench.jobs.jobs[0].id)
    assert (answer.structured_content["source"], caught.value.code) == (source, types.METHOD_NOT_FOUND)


async def test_the_capability_is_declared(bench: Bench, connect: Connect) -> None:
    async with connect() as client:
        assert client.server_capabilities.extensions == {TASKS: {}}


async def test_who_did_not_declare_tasks_is_told_what_is_missing(bench: Bench, connect: Connect) -> None:
    async with connect() as client:
        for method in METHODS:
            with pytest.raises(MCPError) as caught:
                await ask(client, method, "job_x", inputResponses={})
            assert caught.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
            assert caught.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}


async def test_a_task_of_somebody_else_is_as_unknown_as_one_that_never_was(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        bench.jobs._jobs[task.task_id] = replace(bench.jobs._jobs[task.task_id], owner="ben")
        said = set()
        for method in METHODS:
            for name in (task.task_id, "job_never"):
                with pytest.raises(MCPError) as caught:
                    await ask(client, method, name, inputResponses={})
                said.add((caught.value.code, caught.value.error.message))
    go.set()
    assert said == {(types.INVALID_PARAMS, "There is no such task, or it is no longer kept.")}


async def test_cancelling_is_acknowledged_and_the_task_ends_cancelled(bench: Bench, connect: Connect) -> None:
    held_back(bench)
    knows = KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        for _ in range(2):
            acknowledged = await ask(client, "tasks/cancel", task.task_id)
            assert acknowledged.keys() - {"_meta"} == {"resultType"}
        facts = await ended(client, task.task_id)
    assert facts["status"] == "cancelled"
    assert not facts.keys() & {"result", "error"}
    assert bench.jobs.jobs[0].state == "canceled"


async def test_an_answer_that_nobody_asked_for_is_acknowledged(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        acknowledged = await ask(client, "tasks/update", task.task_id, inputResponses={"x": {"action": "accept"}})
        assert acknowledged.keys() - {"_meta"} == {"resultType"}
        go.set()
        assert (await ended(client, task.task_id))["status"] == "completed"


async def test_a_tool_that_fails_completes_its_task_with_an_error_that_teaches(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench, NoFace("No face was found.")), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        go.set()
        facts = await ended(client, task.task_id)
    assert (facts["status"], facts["result"]["isError"]) == ("completed", True)
    assert facts["result"]["structuredContent"]["code"] == "NO_FACE"


async def test_a_task_fails_only_where_something_of_ours_broke(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench, DarkroomError("Something went wrong inside the server.")), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
        go.set()
        facts = await ended(client, task.task_id)
    assert facts["status"] == "failed"
    assert facts["error"]["code"] == types.INTERNAL_ERROR
    assert facts["error"]["message"] == "Something went wrong inside the server."
    assert "result" not in facts


async def test_a_task_survives_its_connection_and_its_server(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench), KnowsTasks()
    async with connect(knows) as client:
        task = await begun(bench, client, knows)
    async with connect(knows) as client:
        assert (await ask(client, "tasks/get", task.task_id))["status"] == "working"
        go.set()
        assert (await ended(client, task.task_id))["status"] == "completed"


async def test_no_progress_is_told_of_a_task(bench: Bench, connect: Connect) -> None:
    go, knows, heard = held_back(bench), KnowsTasks(), []

    async def told(progress: float, _total: float | None, _message: str | None) -> None:
        heard.append(progress)

    source = await bench.store.add(png(40, 30))
    async with connect(knows) as client:
        await client.call_tool("resize", {"image": source, "width": 20}, progress_callback=told)
        go.set()
        await ended(client, knows.tasks[0].task_id)
    assert heard == []


async def test_a_batch_is_one_task(bench: Bench, connect: Connect) -> None:
    go, knows = held_back(bench), KnowsTasks()
    images = [await bench.store.add(png(40 + n, 30)) for n in range(3)]
    async with connect(knows) as client:
        steps = [{"tool": "resize", "settings": {"width": 20}}]
        await client.call_tool("run_pipeline", {"steps": steps, "images": images})
        go.set()
        facts = await ended(client, knows.tasks[0].task_id)
    assert facts["result"]["structuredContent"]["total"] == 3


@pytest.mark.parametrize("header", [None, "job_other"])
async def test_over_http_the_header_must_name_the_task(bench: Bench, header: str | None) -> None:
    version = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {"extensions": {TASKS: {}}},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tasks/get", "params": {"taskId": "job_x", "_meta": meta}}
    headers = {"mcp-protocol-version": version, "mcp-method": "tasks/get"} | ({"mcp-name": header} if header else {})
    headers |= {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    async with serving_http(build_server(bench.room)) as address, httpx2.AsyncClient() as web:
        answer = await web.post(address, content=json.dumps(body), headers=headers)
    assert answer.status_code == 400
    assert str(types.HEADER_MISMATCH) in answer.text
