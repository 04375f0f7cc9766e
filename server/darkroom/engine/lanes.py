"""The inside of the model process: takes requests from the channel, runs them in lanes, answers in any order.

Only the model process imports this.
"""

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import onnxruntime

from darkroom.engine.batching import FairQueue, Request
from darkroom.engine.channel import Channel, ChannelClosed, close_all
from darkroom.engine.devices import CPU, Device, cores
from darkroom.engine.inference import Answer
from darkroom.engine.sessions import Model, Sessions
from darkroom.engine.shared import read_array, write_array
from darkroom_tools.errors import Cancelled, DarkroomError, ProcessingFailed

__all__ = ["Lanes"]

logger = logging.getLogger(__name__)

STOPPED: Final = Cancelled("The work was cancelled.")


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for."""

    model: Model
    arrays: Sequence[Any]


@dataclass(eq=False, slots=True)
class Run:
    """Requests that a lane works on together."""

    requests: list[Request]
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    def stop_if_unwanted(self) -> None:
        """End the run at its next node once nobody waits for it; a run that somebody waits for goes on."""
        self.options.terminate |= all(request.cancelled for request in self.requests)


class Lanes:
    """Runs the requests of a channel until it closes.

    On the CPU there are as many lanes as cores over one session whose threads they share: a run that is alone has all
    of them. Other devices have one lane.

    Args:
        channel: Where requests come from and answers go.
        device: What runs the models.
        sessions: The loaded models.
    """

    def __init__(self, channel: Channel, device: Device, sessions: Sessions) -> None:
        self._channel = channel
        self._device = device
        self._sessions = sessions
        self._queue = FairQueue()
        self._lock = threading.Lock()
        self._open: dict[int, Request] = {}
        self._runs: set[Run] = set()
        self._batches: Counter[int] = Counter()
        self._lanes = cores() if device is CPU else 1

    def serve(self) -> None:
        """Answer until the other side is gone."""
        for number in range(self._lanes):
            threading.Thread(target=self._lane, name=f"lane-{number}", daemon=True).start()
        with contextlib.suppress(ChannelClosed):
            while True:
                message, fds = self._channel.receive()
                try:
                    if "cancel" in message:
                        self._cancel(int(message["cancel"]))
                    else:
                        self._accept(message, fds)
                finally:
                    close_all(fds)
        self._queue.close()

    def _accept(self, message: Mapping[str, Any], fds: Sequence[int]) -> None:
        wire = message["model"]
        model = Model(wire["id"], Path(wire["path"]), wire["sha256"], wire["bytes"])
        try:
            arrays = [read_array(meta, fd) for meta, fd in zip(message["inputs"], fds, strict=True)]
        except DarkroomError as error:
            self._send({"id": message["id"], "error": error.to_wire()})
            return
        rows = {array.shape[0] if array.ndim else 0 for array in arrays}
        same = tuple((array.dtype.name, array.shape[1:]) for array in arrays) if len(rows) == 1 else message["id"]
        cost = 1 + sum(array.nbytes for array in arrays)
        key = (model.sha256, same)
        request = Request(message["id"], message["job"], key, max(rows, default=0), cost, Call(model, arrays))
        with self._lock:
            self._open[request.id] = request
        self._queue.put(request)

    def _cancel(self, number: int) -> None:
        with self._lock:
            if number in self._open:
                self._open[number].cancelled = True
            for run in self._runs:
                run.stop_if_unwanted()
        for request in self._queue.remove(lambda request: request.id == number):
            self._answer(request, STOPPED, self._device.name)

    def _lane(self) -> None:
        while self._serve_next():
            pass

    def _serve_next(self) -> bool:
        first = self._queue.take()
        if first is None:
            return False
        run = Run([first])
        with self._lock:
            self._runs.add(run)
            run.stop_if_unwanted()
        try:
            self._run(run)
        except DarkroomError as error:
            self._answer_all(run, [error] * len(run.requests), self._device.name)
        except Exception:
            logger.exception("a lane met an unexpected error")
            failed = ProcessingFailed("The model failed on this input.")
            self._answer_all(run, [failed] * len(run.requests), self._device.name)
        return True

    def _run(self, run: Run) -> None:
        first: Call = run.requests[0].payload
        with self._sessions.lease(first.model, self._device, cores()) as session:
            session.check(first.model.id, first.arrays)
            if session.mergeable:
                with self._lock:
                    run.requests += self._queue.fill(
                        run.requests[0], self._device.max_rows, self._device.max_bytes, self._lanes
                    )
            with self._lock:
                self._batches[len(run.requests)] += 1
            answers = session.answers([request.payload.arrays for request in run.requests], run.options)
            self._answer_all(run, answers, session.device)

    def _answer_all(self, run: Run, answers: Sequence[Answer], device: str) -> None:
        with self._lock:
            self._runs.discard(run)
        for request, answer in zip(run.requests, answers, strict=True):
            self._answer(request, STOPPED if request.cancelled else answer, device)

    def _answer(self, request: Request, answer: Answer, device: str) -> None:
        with self._lock:
            self._open.pop(request.id, None)
        metas: list[dict[str, Any]] = []
        fds: list[int] = []
        try:
            for array in () if isinstance(answer, DarkroomError) else answer:
                meta, fd = write_array(array)
                metas.append(meta)
                fds.append(fd)
        except DarkroomError as error:
            answer = error
        if isinstance(answer, DarkroomError):
            self._send({"id": request.id, "error": answer.to_wire()})
        else:
            self._send({"id": request.id, "outputs": metas, "device": device}, fds)
        close_all(fds)

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        # Without a reader there is nobody to tell; `serve` ends by itself.
        with contextlib.suppress(ChannelClosed):
            self._channel.send({**message, "stats": self._stats()}, fds)

    def _stats(self) -> dict[str, Any]:
        with self._lock:
            sizes = sorted(self._batches.items())
            running = sum(len(run.requests) for run in self._runs)
        return {
            "device": self._device.name,
            "sessions": len(self._sessions),
            "memoryBytes": self._sessions.used_bytes,
            "loads": self._sessions.loads,
            "evictions": self._sessions.evictions,
            "batches": sum(count for _, count in sizes),
            "batchSizes": {str(size): count for size, count in sizes},
            "queued": len(self._queue),
            "running": running,
        }
