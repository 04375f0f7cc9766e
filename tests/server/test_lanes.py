"""The inside of the model process, with sessions that do what the test says."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from darkroom.engine import lanes as lanes_module
from darkroom.engine.channel import Channel, close_all
from darkroom.engine.devices import CPU, Choice, Device
from darkroom.engine.lanes import Lanes
from darkroom.engine.sessions import Model
from darkroom.engine.shared import read_array, write_array
from darkroom_tools.errors import DarkroomError, OutOfMemory, ProcessingFailed

CUDA = Device("cuda", "CUDAExecutionProvider", max_rows=16, memory="cuda")
UNUSED = "The NVIDIA GPU of this machine is not used."

Answers = Callable[[Sequence[Any]], list[Any]]


def doubled(calls: Sequence[Any]) -> list[Any]:
    return [[2 * call[0]] for call in calls]


def no_memory(calls: Sequence[Any]) -> list[Any]:
    return [OutOfMemory("No.") for _ in calls]


class Loaded:
    """Stands for a session on a device."""

    mergeable = True
    most_rows = 1_000_000
    too_large = 0
    note = ""

    def __init__(self, device: str, answers: Answers, *, shrinks: bool = False) -> None:
        self.device = device
        self.shrinks = shrinks
        self.calls: list[int] = []
        self.warm: list[int] = []
        self._answers = answers

    def check(self, model: str, arrays: Any) -> None:
        pass

    def can_shrink(self, arrays: Any) -> bool:
        return self.shrinks

    def bytes_within(self, seconds: float) -> float:
        return float("inf")

    def warm_up(self, side: int) -> None:
        self.warm.append(side)

    def answers(self, calls: Sequence[Any], options: Any) -> list[Any]:
        self.calls.append(len(calls))
        return self._answers(calls)


class Loader:
    """Stands for `Sessions`: one session per device."""

    loads = evictions = used_bytes = budget = 0

    def __init__(self, *sessions: Loaded) -> None:
        self.leased: list[tuple[str, str]] = []
        self.kept: list[str] = []
        self._sessions = {session.device: session for session in sessions}

    def __len__(self) -> int:
        return len(self._sessions)

    def keep(self, model: Model) -> None:
        self.kept.append(model.id)

    @contextlib.contextmanager
    def lease(self, model: Model, device: Device, threads: int) -> Iterator[Loaded]:
        self.leased.append((model.id, device.name))
        yield self._sessions[device.name]


class Client:
    """The server's end of the channel."""

    def __init__(self, choice: Choice, *sessions: Loaded, keep: Sequence[Model] = ()) -> None:
        ours, theirs = socket.socketpair()
        self.loader = Loader(*sessions)
        self.stats: dict[str, Any] = {}
        self._channel = Channel(ours)
        self._numbers = iter(range(1_000))
        lanes = Lanes(Channel(theirs), choice, self.loader)  # type: ignore[arg-type]
        self._serving = threading.Thread(target=lanes.serve, args=(keep,), daemon=True)
        self._serving.start()

    def ask(self, value: float = 1.0, *, job: str = "job", many: bool = False, half: str | None = None) -> int:
        number = next(self._numbers)
        meta, fd = write_array(np.full((1, 3, 4, 4), value, np.float32))
        wire = {"id": "m", "path": "m.onnx", "sha256": "0", "bytes": 1}
        wire["half"] = {**wire, "id": half} if half else None
        self._channel.send({"id": number, "model": wire, "inputs": [meta], "many": many, "job": job}, [fd])
        close_all([fd])
        return number

    def cancel(self, number: int) -> None:
        self._channel.send({"cancel": number})

    def answer(self) -> dict[str, Any]:
        """The next message, with the first value of its output as `value`."""
        message, fds = self._channel.receive()
        self.stats = message.get("stats", self.stats)
        if fds:
            message["value"] = float(read_array(message["outputs"][0], fds[0]).flat[0])
        close_all(fds)
        return message

    def settle(self) -> None:
        """Wait until all that was sent is taken in: a malformed request is refused at once, after what came before."""
        _, fd = write_array(np.zeros(1, np.float32))
        wire = {"id": "m", "path": "m.onnx", "sha256": "0", "bytes": 1, "half": None}
        self._channel.send({"id": -1, "model": wire, "inputs": [{"dtype": "object", "shape": [1]}], "job": "x"}, [fd])
        close_all([fd])
        assert self.answer()["id"] == -1

    def error(self) -> DarkroomError:
        return DarkroomError.from_wire(self.answer()["error"])

    def close(self) -> None:
        self._channel._socket.shutdown(socket.SHUT_RDWR)
        self._serving.join(timeout=30)
        self._channel.close()


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(choice: Choice, *sessions: Loaded, keep: Sequence[Model] = ()) -> Client:
        made.append(Client(choice, *sessions, keep=keep))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_request_that_the_gpu_has_no_memory_for_is_run_by_the_cpu_with_a_note(client: Any) -> None:
    server = client(Choice(CUDA, {}), Loaded("cuda", no_memory), Loaded("cpu", doubled))
    server.ask(3)
    answer = server.answer()
    assert (answer["device"], answer["value"]) == ("cpu", 6)
    assert answer["notes"] == [
        "The cuda device ran out of memory (DARKROOM_MODEL_MEMORY_MB), so the CPU ran this part."
    ]
    assert server.stats["outOfMemory"] == {"batches": 0, "toCpu": 1, "failed": 0}


def test_what_the_gpu_answers_stays_there_beside_what_it_lacks_the_memory_for(client: Any) -> None:
    def large_ones_fail(calls: Sequence[Any]) -> list[Any]:
        return [OutOfMemory("No.") if call[0].flat[0] > 1 else [call[0]] for call in calls]

    server = client(Choice(CUDA, {}), Loaded("cuda", large_ones_fail), Loaded("cpu", doubled))
    asked = {server.ask(value): value for value in (1, 5, 1, 5)}
    found = {answer["id"]: (answer["device"], answer["value"]) for answer in (server.answer() for _ in asked)}
    assert found == {number: ("cuda", 1) if value == 1 else ("cpu", 10) for number, value in asked.items()}


def test_of_a_picture_in_tiles_the_tiles_are_made_smaller_before_the_cpu_takes_over(client: Any) -> None:
    cpu = Loaded("cpu", doubled)
    server = client(Choice(CUDA, {}), Loaded("cuda", no_memory, shrinks=True), cpu)
    server.ask(many=True)
    assert isinstance(server.error(), OutOfMemory)
    assert cpu.calls == []
    server.ask(many=False)
    assert server.answer()["device"] == "cpu"


def test_too_little_memory_on_the_cpu_is_the_callers_to_know(client: Any) -> None:
    server = client(Choice(CPU, {}), Loaded("cpu", no_memory))
    server.ask()
    assert isinstance(server.error(), OutOfMemory)
    assert server.stats["outOfMemory"]["failed"] == 1


def test_a_cancel_reaches_what_waits_for_the_cpu(client: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(calls: Sequence[Any]) -> list[Any]:
        begun.set()
        go_on.wait(30)
        return doubled(calls)

    server = client(Choice(CUDA, {}), Loaded("cuda", no_memory), Loaded("cpu", slow))
    first = server.ask(job="first")
    assert begun.wait(30)
    second = server.ask(job="second")
    while server.loader.leased.count(("m", "cuda")) < 2:
        pass
    server.cancel(second)
    refused = server.answer()
    go_on.set()
    assert (refused["id"], refused["error"]["code"]) == (second, "CANCELLED")
    assert server.answer()["id"] == first


def test_a_run_that_was_cancelled_takes_no_other_request_with_it(client: Any) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Ending(Loaded):
        """Fails a run that was told to end, as ONNX Runtime does; the first run waits before others may join it."""

        def check(self, model: str, arrays: Any) -> None:
            begun.set()
            assert go_on.wait(30)

        def answers(self, calls: Sequence[Any], options: Any) -> list[Any]:
            if options.terminate:
                return [ProcessingFailed("Ended.") for _ in calls]
            return super().answers(calls, options)

    server = client(Choice(CUDA, {}), Ending("cuda", doubled))
    first = server.ask(job="first")
    assert begun.wait(30)
    server.cancel(first)
    second = server.ask(3.0, job="second")
    server.settle()
    go_on.set()
    answers = {message["id"]: message for message in (server.answer(), server.answer())}
    assert answers[first]["error"]["code"] == "CANCELLED"
    assert answers[second]["value"] == 6.0


def test_a_gpu_that_is_there_but_not_used_is_told_with_every_answer_of_the_cpu(client: Any) -> None:
    server = client(Choice(CPU, {"cuda": "not available"}, UNUSED), Loaded("cpu", doubled))
    server.ask()
    assert server.answer()["notes"] == [UNUSED]
    assert (server.stats["unusedGpu"], server.stats["tried"]) == (UNUSED, {"cuda": "not available"})


def test_more_than_may_wait_is_refused_at_once_with_a_time_to_come_back(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_module, "MOST_WAITING", 3)
    begun, go_on = threading.Event(), threading.Event()

    def slow(calls: Sequence[Any]) -> list[Any]:
        begun.set()
        go_on.wait(30)
        return doubled(calls)

    server = client(Choice(CUDA, {}), Loaded("cuda", slow), Loaded("cpu", doubled))
    server.ask()
    assert begun.wait(30)
    numbers = [server.ask() for _ in range(4)]
    refused = server.answer()
    assert refused["id"] == numbers[-1]
    assert refused["error"]["code"] == "OVERLOADED"
    assert refused["error"]["details"]["retryAfter"] >= 1
    go_on.set()
    assert sorted(server.answer()["id"] for _ in range(4)) == [0, *numbers[:-1]]
    assert server.stats["refused"] == 1


def test_the_half_precision_file_runs_on_a_gpu_and_the_full_one_on_the_cpu(client: Any) -> None:
    server = client(Choice(CUDA, {}), Loaded("cuda", no_memory), Loaded("cpu", doubled))
    server.ask(half="m-half")
    server.answer()
    assert server.loader.leased == [("m-half", "cuda"), ("m", "cpu")]


def test_models_to_keep_are_loaded_and_warm_before_anybody_asks(client: Any) -> None:
    model = Model("kept", Path("kept.onnx"), "0", 1, side=96)
    session = Loaded("cpu", doubled)
    server = client(Choice(CPU, {}), session, keep=[model])
    assert "stats" in server.answer()
    assert (server.loader.kept, session.warm) == (["kept"], [96])


def test_the_counters_tell_what_ran_and_for_how_long(client: Any) -> None:
    server = client(Choice(CPU, {}), Loaded("cpu", doubled))
    for _ in range(3):
        server.ask()
        server.answer()
    assert server.stats["requests"] == 3
    assert server.stats["modelRequests"] == {"m": 3}
    assert server.stats["modelSeconds"]["m"] >= 0
    assert server.stats["batchSizes"] == {"1": 3}
    assert (server.stats["queued"], server.stats["queuedBytes"], server.stats["running"]) == (0, 0, 0)
