"""Many requests for models from one plan: in order, under way together, and nothing stays behind."""

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from support.pictures import gradient
from support.pool_room import odd_pool, one_step, result_of

from darkroom.engine.asking import (
    BYTES_UNDER_WAY,
    FIRST_UNDER_WAY,
    LEAST_UNDER_WAY,
    MOST_UNDER_WAY,
    Asking,
    Pending,
    answers_in_order,
)
from darkroom.engine.pool import Pool, WorkerDied
from darkroom.engine.shared import read_array, write_array
from darkroom_tools.base import Inference
from darkroom_tools.errors import Cancelled, OutOfMemory, ProcessingCrashed, ProcessingFailed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "small"
    Image.fromarray(gradient(40, 30)).save(path, "JPEG")
    return path


class Adder:
    """Stands for the model service: adds one once it is told to, the last request first.

    Attributes:
        most: Most requests that were under way together.
        fail_at: The request for this number fails for want of memory.
    """

    def __init__(self, *, held: bool = False) -> None:
        self.waiting: list[asyncio.Event] = []
        self.held = held
        self.most = 0
        self.asked = 0
        self.given_up = 0
        self.fail_at: float | None = None
        self.notes: list[str] = []
        self.devices = ["test"]

    def installed(self) -> dict[str, object]:
        return {"adder": None}

    def runtime_installed(self) -> bool:
        return True

    async def infer(self, request: dict[str, Any], fds: list[int], job: str) -> tuple[dict[str, Any], list[int]]:
        array = np.array(read_array(request["inputs"][0], fds[0]))
        turn = asyncio.Event()
        self.waiting.append(turn)
        device = self.devices[self.asked % len(self.devices)]
        self.asked += 1
        self.most = max(self.most, len(self.waiting))
        asyncio.get_running_loop().call_later(0.01, self._let_last_go)
        try:
            await turn.wait()
        except asyncio.CancelledError:
            self.given_up += 1
            self.waiting.remove(turn)
            raise
        if array.flat[0] == self.fail_at:
            raise OutOfMemory("No.")
        meta, fd = write_array(array + 1)
        return {"outputs": [meta], "device": device, "notes": self.notes}, [fd]

    def _let_last_go(self) -> None:
        if self.waiting and not self.held:
            self.waiting.pop().set()


def open_here() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def settled(pool: Pool) -> None:
    while pool._background:
        await asyncio.wait(pool._background)


async def test_answers_come_in_order_whatever_order_they_are_ready_in(tmp_path: Path, photo: Path) -> None:
    models = Adder()
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=50), [photo])
        assert outcome.report == {"values": {"got": [n + 1.0 for n in range(50)], "drawn": 50, "after": None}}
        assert outcome.facts == {"device": "test"}
        assert models.most == MOST_UNDER_WAY
        assert open_here() == before


async def test_a_tool_that_stops_early_gives_up_the_rest_and_goes_on(tmp_path: Path, photo: Path) -> None:
    models = Adder()
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=50, stop=3), [photo])
        assert outcome.report is not None
        values = outcome.report["values"]
        assert (values["got"], values["after"]) == ([1.0, 2.0, 3.0], 1.0)
        assert values["drawn"] < 50
        assert models.waiting == []
        assert models.given_up > 0
        assert open_here() == before


async def test_an_error_in_the_middle_reaches_the_tool_and_the_rest_is_given_up(tmp_path: Path, photo: Path) -> None:
    models = Adder()
    models.fail_at = 5
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        with pytest.raises(OutOfMemory):
            await result_of(pool, one_step("add-to-each", requests=50), [photo])
        assert models.waiting == []
        assert models.asked < 50
        models.fail_at = None
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=5), [photo])
        assert outcome.report is not None
        assert outcome.report["values"]["got"] == [1, 2, 3, 4, 5]
        assert open_here() == before
        assert pool.stats()["deaths"] == 0


async def test_cancelling_with_many_under_way_keeps_the_worker_and_closes_everything(
    tmp_path: Path, photo: Path
) -> None:
    models = Adder(held=True)
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        job = asyncio.ensure_future(result_of(pool, one_step("add-to-each", requests=50), [photo]))
        with anyio.fail_after(60):
            while models.asked < FIRST_UNDER_WAY:
                await asyncio.sleep(0.01)
        job.cancel()
        with anyio.fail_after(1), pytest.raises(asyncio.CancelledError):
            await job
        assert models.waiting == []
        assert models.given_up == models.asked
        await settled(pool)
        assert open_here() == before
        models.held = False
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=3), [photo])
        assert outcome.report is not None
        assert outcome.report["values"]["got"] == [1, 2, 3]
        assert pool.stats()["killed"] == 0


async def test_a_worker_that_dies_with_requests_under_way_leaves_none_behind(tmp_path: Path, photo: Path) -> None:
    models = Adder(held=True)
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        job = asyncio.ensure_future(result_of(pool, one_step("add-to-each", requests=50), [photo]))
        with anyio.fail_after(60):
            while models.asked < FIRST_UNDER_WAY:
                await asyncio.sleep(0.01)
        child = pool._slots[0]._child
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            await job
        assert models.given_up == models.asked
        await settled(pool)
        assert open_here() == before


async def test_tiles_of_one_job_share_runs_of_a_real_model(tmp_path: Path, photo: Path) -> None:
    pytest.importorskip("onnxruntime")
    from support import onnx_models as onnx

    async with onnx.serving(tmp_path, {"adder": onnx.times(3)}) as models:
        async with odd_pool(tmp_path / "run", models=models) as pool:
            outcome, _ = await result_of(pool, one_step("add-to-each", requests=300), [photo])
        stats = models.stats()
    assert outcome.report is not None
    assert outcome.report["values"]["got"] == [3.0 * n for n in range(300)]
    assert outcome.facts == {"device": "cpu"}
    assert stats["loads"] == 1
    assert max(map(int, stats["batchSizes"])) > 1


async def test_a_model_process_that_dies_in_the_middle_fails_the_plan_and_not_the_worker(
    tmp_path: Path, photo: Path
) -> None:
    pytest.importorskip("onnxruntime")
    from support import onnx_models as onnx

    async with (
        onnx.serving(tmp_path, {"adder": onnx.times(3)}) as models,
        odd_pool(tmp_path / "run", models=models) as pool,
    ):
        begun = asyncio.Event()
        plan = one_step("add-to-each", requests=1_000_000)
        job = asyncio.ensure_future(result_of(pool, plan, [photo], lambda _: begun.set()))
        with anyio.fail_after(60):
            await begun.wait()
        process = models._process
        assert process is not None
        process._process.kill()
        with pytest.raises(ProcessingCrashed):
            await job
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=3), [photo])
        assert outcome.report is not None
        assert outcome.report["values"]["got"] == [0, 3, 6]
        assert (pool.stats()["deaths"], models.stats()["inFlight"]) == (0, 0)


@pytest.mark.parametrize(
    ("requests", "devices", "told"),
    [(0, ["cuda"], "cpu"), (8, ["cuda"], "cuda"), (8, ["cpu"], "cpu"), (8, ["cpu", "cuda"], "cuda, cpu")],
)
async def test_the_reply_says_what_ran_the_models(
    tmp_path: Path, photo: Path, requests: int, devices: list[str], told: str
) -> None:
    models = Adder()
    models.devices = devices
    async with odd_pool(tmp_path / "run", models=models) as pool:
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=requests), [photo])
    assert outcome.facts == {"device": told}


async def test_what_the_engine_notes_of_a_run_becomes_one_warning(tmp_path: Path, photo: Path) -> None:
    models = Adder()
    models.notes = ["It ran slowly."]
    async with odd_pool(tmp_path / "run", models=models) as pool:
        outcome, _ = await result_of(pool, one_step("add-to-each", requests=5), [photo])
    assert outcome.warnings == ["It ran slowly."]


@pytest.mark.parametrize("kind", ["ask twice", "ask much"])
async def test_a_worker_that_asks_for_too_much_at_once_is_replaced(tmp_path: Path, photo: Path, kind: str) -> None:
    models = Adder(held=True)
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await pool.inspect(photo)
        await settled(pool)
        before = open_here()
        with pytest.raises(WorkerDied):
            await result_of(pool, one_step("lie", kind=kind), [photo])
        await settled(pool)
        assert models.given_up == models.asked
        assert open_here() == before


class Answers:
    """Answers requests at once, and remembers how many were under way."""

    def __init__(self, outputs: int = 1) -> None:
        self.outputs = outputs
        self.under_way: list[Pending] = []
        self.dropped = 0
        self.seen: list[int] = []

    def ask(self, model: str, inputs: Sequence[np.ndarray], many: bool) -> Pending:
        pending = Pending(self._count)
        self.under_way.append(pending)
        return pending

    def ready(self) -> None:
        """Called before an answer is waited for: answer what is under way."""
        for pending in self.under_way:
            if not pending.future.done():
                pending.future.set_result(Inference([np.zeros(self.outputs, np.uint8)], "cpu"))

    def _count(self) -> None:
        self.dropped += 1


def arrays(count: int, size: int, drawn: list[int]) -> Iterator[list[np.ndarray]]:
    for n in range(count):
        drawn.append(n)
        yield [np.broadcast_to(np.uint8(0), (size,))]


@pytest.mark.parametrize(
    ("size", "outputs", "first", "later"),
    [
        (1, 1, FIRST_UNDER_WAY, MOST_UNDER_WAY),
        (BYTES_UNDER_WAY // 20, 1, FIRST_UNDER_WAY, 10),
        (BYTES_UNDER_WAY * 2, 1, LEAST_UNDER_WAY, LEAST_UNDER_WAY),
        (BYTES_UNDER_WAY // 64, BYTES_UNDER_WAY // 8, FIRST_UNDER_WAY, 7),
    ],
    ids=["small", "of some size", "huge", "with large answers"],
)
def test_as_many_are_under_way_as_the_worker_can_hold(size: int, outputs: int, first: int, later: int) -> None:
    answers, drawn = Answers(outputs), list[int]()
    found = answers_in_order("model", arrays(60, size, drawn), answers.ask, answers.ready)

    next(found)
    assert len(answers.under_way) == first
    next(found)
    assert len(answers.under_way) - 1 == later
    assert len(drawn) == len(answers.under_way) + 1
    assert sum(1 for _ in found) == 58


def test_no_request_is_no_answer() -> None:
    answers = Answers()
    assert list(answers_in_order("model", iter(()), answers.ask, answers.ready)) == []


def test_requests_that_fail_to_be_made_give_up_those_before() -> None:
    def broken() -> Iterator[list[np.ndarray]]:
        yield [np.zeros(1)]
        yield [np.zeros(1)]
        raise ValueError("no more")

    answers = Answers()
    with pytest.raises(ValueError, match="no more"):
        list(answers_in_order("model", broken(), answers.ask, lambda: None))
    assert answers.dropped == len(answers.under_way) == 2


class Sent:
    """What a worker sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def __call__(self, message: dict[str, Any], fds: Sequence[int]) -> None:
        self.messages.append(message)


def test_an_answer_that_nobody_waits_for_is_closed() -> None:
    sent = Sent()
    asking = Asking(sent)
    pending = asking.ask("model", [np.zeros(1)], False)
    pending.drop()
    pending.drop()
    before = open_here()
    meta, fd = write_array(np.zeros(1))

    asking.take({"id": sent.messages[0]["id"], "reply": {"outputs": [meta], "device": "cpu"}}, [fd])

    assert open_here() == before
    assert [message["type"] for message in sent.messages] == ["infer", "drop"]


def test_an_answer_of_an_earlier_plan_does_not_meet_a_request_of_the_next() -> None:
    first, second = Sent(), Sent()
    Asking(first).ask("model", [np.zeros(1)], False)
    later = Asking(second)
    pending = later.ask("model", [np.zeros(1)], False)

    later.take({"id": first.messages[0]["id"], "error": {}}, [])

    assert not pending.future.done()


def test_a_malformed_answer_is_an_error_of_its_request() -> None:
    sent = Sent()
    asking = Asking(sent)
    pending = asking.ask("model", [np.zeros(1)], False)

    asking.take({"id": sent.messages[0]["id"], "reply": {"outputs": [{}], "device": "cpu"}}, [])

    with pytest.raises(ValueError, match="shorter"):
        pending.result()


def test_a_cancel_ends_every_wait_and_every_later_request() -> None:
    asking = Asking(Sent())
    pending = [asking.ask("model", [np.zeros(1)], False) for _ in range(3)]
    before = open_here()

    asking.cancel()

    for each in pending:
        with pytest.raises(Cancelled):
            each.result()
    with pytest.raises(Cancelled):
        asking.ask("model", [np.zeros(1)], False)
    assert open_here() == before


def test_arrays_that_cannot_cross_are_refused_and_leave_nothing_open() -> None:
    asking = Asking(Sent())
    before = open_here()
    with pytest.raises(ProcessingFailed):
        asking.ask("model", [np.zeros(1), np.array([{}])], False)
    assert open_here() == before
