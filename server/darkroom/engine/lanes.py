"""The inside of the model process: takes requests from the channel, runs them in lanes, answers in any order.

Only the model process imports this.
"""

import contextlib
import logging
import math
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnxruntime

from darkroom.engine.batching import FairQueue, QueueFull, Request
from darkroom.engine.channel import Channel, ChannelClosed, close_all
from darkroom.engine.counters import Counters
from darkroom.engine.devices import CPU, Choice, Device, cores
from darkroom.engine.gpu import VideoMemory
from darkroom.engine.inference import Answer
from darkroom.engine.sessions import Model, Sessions
from darkroom.engine.shared import read_array, write_array
from darkroom.errors import Overloaded
from darkroom_tools.errors import Cancelled, DarkroomError, OutOfMemory, ProcessingFailed

__all__ = ["Lanes"]

logger = logging.getLogger(__name__)

MOST_WAITING: Final = 4096
MOST_WAITING_BYTES: Final = 2 * 1024**3
"""What may wait in shared memory; more is refused at once."""

LONGEST_RETRY: Final = 60

SECONDS_BETWEEN_STATS: Final = 0.05

STOPPED: Final = Cancelled("The work was cancelled.")

NO_MEMORY: Final = "The {device} device ran out of memory (DARKROOM_MODEL_MEMORY_MB), so the CPU ran this part."


@dataclass(eq=False, slots=True)
class Call:
    """What a request asks for.

    Attributes:
        model: The model.
        arrays: Its inputs.
        many: One of many requests for a picture, which the caller can make smaller.
        note: Sentence for the caller about how it ran.
    """

    model: Model
    arrays: Sequence[Any]
    many: bool = False
    note: str = ""


@dataclass(eq=False, slots=True)
class Run:
    """Requests that a lane works on together."""

    requests: list[Request]
    options: onnxruntime.RunOptions = field(default_factory=onnxruntime.RunOptions)

    def stop_if_unwanted(self) -> None:
        """End the run at its next node once nobody waits for it; a run that somebody waits for goes on."""
        self.options.terminate |= all(request.cancelled for request in self.requests)


@dataclass(frozen=True, slots=True)
class Track:
    """A device with the requests that wait for it."""

    device: Device
    lanes: int
    queue: FairQueue


class Lanes:
    """Runs the requests of a channel until it closes.

    On the CPU there are as many lanes as cores over one session whose threads they share: a run that is alone has all
    of them. Other devices have one lane, and the CPU one more for what they lack the memory for.

    Args:
        channel: Where requests come from and answers go.
        choice: What runs the models.
        sessions: The loaded models.
    """

    def __init__(self, channel: Channel, choice: Choice, sessions: Sessions) -> None:
        self._channel = channel
        self._choice = choice
        self._sessions = sessions
        device = choice.device
        waiting = FairQueue(MOST_WAITING, MOST_WAITING_BYTES)
        self._main = Track(device, cores() if device is CPU else 1, waiting)
        self._rescue = Track(CPU, 1, FairQueue())
        self._lock = threading.Lock()
        self._open: dict[int, Request] = {}
        self._runs: set[Run] = set()
        self._counters = Counters()
        self._told_at = float("-inf")
        self._video = VideoMemory() if device.memory == "cuda" else None

    def serve(self, keep: Iterable[Model] = ()) -> None:
        """Answer until the other side is gone.

        Args:
            keep: Models to load at once and to drop last of all.
        """
        for track in (self._main,) if self._main.device is CPU else (self._main, self._rescue):
            for number in range(track.lanes):
                name = f"{track.device.name}-{number}"
                threading.Thread(target=self._lane, args=(track,), name=name, daemon=True).start()
        threading.Thread(target=self._warm_up, args=(list(keep),), name="warm-up", daemon=True).start()
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
        self._main.queue.close()
        self._rescue.queue.close()

    def _warm_up(self, models: Sequence[Model]) -> None:
        for model in models:
            file = model.for_device(self._main.device)
            try:
                self._sessions.keep(file)
                with self._sessions.lease(file, self._main.device, cores()) as session:
                    session.warm_up(model.side)
            except Exception:
                logger.exception("the model %s could not be loaded ahead", model.id)
        if models:
            self._send({})

    def _accept(self, message: Mapping[str, Any], fds: Sequence[int]) -> None:
        model = Model.from_wire(message["model"])
        try:
            arrays = [read_array(meta, fd) for meta, fd in zip(message["inputs"], fds, strict=True)]
        except DarkroomError as error:
            self._send({"id": message["id"], "error": error.to_wire()})
            return
        rows = {array.shape[0] if array.ndim else 0 for array in arrays}
        same = tuple((array.dtype.name, array.shape[1:]) for array in arrays) if len(rows) == 1 else message["id"]
        cost = 1 + sum(array.nbytes for array in arrays)
        call = Call(model, arrays, many=bool(message.get("many")))
        request = Request(message["id"], message["job"], (model.sha256, same), max(rows, default=0), cost, call)
        with self._lock:
            self._open[request.id] = request
        try:
            self._main.queue.put(request)
        except QueueFull:
            self._counters.happened("refused")
            self._answer(request, self._overloaded())

    def _overloaded(self) -> Overloaded:
        waiting = len(self._main.queue)
        seconds = math.ceil(waiting * self._counters.seconds_per_request() / self._main.lanes)
        return Overloaded(
            f"{waiting} requests for models wait already. Try again later.",
            retryAfter=max(1, min(seconds, LONGEST_RETRY)),
        )

    def _cancel(self, number: int) -> None:
        with self._lock:
            if number in self._open:
                self._open[number].cancelled = True
            for run in self._runs:
                run.stop_if_unwanted()
        for track in (self._main, self._rescue):
            for request in track.queue.remove(lambda request: request.id == number):
                self._answer(request, STOPPED)

    def _lane(self, track: Track) -> None:
        while self._serve_next(track):
            pass  # with no local that would keep the last request's arrays

    def _serve_next(self, track: Track) -> bool:
        first = track.queue.take()
        if first is None:
            return False
        run = Run([first])
        with self._lock:
            self._runs.add(run)
            run.stop_if_unwanted()
        try:
            self._run(run, track)
        except DarkroomError as error:
            self._answer_all(run, [error] * len(run.requests))
        except Exception:
            logger.exception("a lane met an unexpected error")
            failed = ProcessingFailed("The model failed on this input.")
            self._answer_all(run, [failed] * len(run.requests))
        return True

    def _run(self, run: Run, track: Track) -> None:
        first: Call = run.requests[0].payload
        device = track.device
        with self._sessions.lease(first.model.for_device(device), device, cores()) as session:
            session.check(first.model.id, first.arrays)
            if session.mergeable:
                rows = min(device.max_rows, session.most_rows)
                size = min(device.max_bytes, session.bytes_within(device.max_seconds))
                with self._lock:
                    # A run that was told to end would take the others with it.
                    if not run.options.terminate:
                        run.requests += track.queue.fill(run.requests[0], rows, size, track.lanes)
            started, too_large = time.perf_counter(), session.too_large
            answers = session.answers([request.payload.arrays for request in run.requests], run.options)
            self._counters.ran(first.model.id, len(run.requests), time.perf_counter() - started)
            self._counters.happened("batch too large", session.too_large - too_large)
            if session.device != CPU.name:
                answers = self._rescued(run, answers, session.device, shrinks=session.can_shrink(first.arrays))
            self._answer_all(run, answers, session.device, session.note)

    def _rescued(self, run: Run, answers: Sequence[Answer], device: str, *, shrinks: bool) -> list[Answer]:
        """Leave to the CPU what the device lacked the memory for; the answers to the requests that stay.

        Of a picture in tiles the caller makes the tiles smaller first: that is faster than the CPU.
        """
        stay: list[tuple[Request, Answer]] = []
        for request, answer in zip(run.requests, answers, strict=True):
            lacking = isinstance(answer, OutOfMemory) and not request.cancelled
            if not lacking or (request.payload.many and shrinks):
                stay.append((request, answer))
                continue
            self._counters.happened("to the CPU")
            request.payload.note = NO_MEMORY.format(device=device)
            self._rescue.queue.put(request)
        with self._lock:
            run.requests = [request for request, _ in stay]
        return [answer for _, answer in stay]

    def _answer_all(self, run: Run, answers: Sequence[Answer], device: str = CPU.name, note: str = "") -> None:
        with self._lock:
            self._runs.discard(run)
        for request, answer in zip(run.requests, answers, strict=True):
            self._answer(request, STOPPED if request.cancelled else answer, device, note)

    def _answer(self, request: Request, answer: Answer, device: str = CPU.name, note: str = "") -> None:
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
            self._counters.happened("out of memory", isinstance(answer, OutOfMemory))
            self._send({"id": request.id, "error": answer.to_wire()})
        else:
            unused = self._choice.unused if device == CPU.name else ""
            notes = [said for said in (request.payload.note, note, unused) if said]
            self._send({"id": request.id, "outputs": metas, "device": device, "notes": notes}, fds)
        close_all(fds)

    def _send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        # Without a reader there is nobody to tell; `serve` ends by itself.
        with contextlib.suppress(ChannelClosed):
            self._channel.send({**message, **self._news()}, fds)

    def _news(self) -> dict[str, Any]:
        """The counters, with the answer after which nothing is under way, and every now and then."""
        now = time.monotonic()
        with self._lock:
            if self._open and now - self._told_at < SECONDS_BETWEEN_STATS:
                return {}
            self._told_at = now
        return {"stats": self._stats()}

    def _stats(self) -> dict[str, Any]:
        with self._lock:
            running = sum(len(run.requests) for run in self._runs)
        return {
            "device": self._choice.device.name,
            "tried": dict(self._choice.tried),
            "unusedGpu": self._choice.unused or None,
            "vram": self._video.stats() if self._video is not None else None,
            "sessions": len(self._sessions),
            "memoryBytes": self._sessions.used_bytes,
            "budgetBytes": self._sessions.budget,
            "loads": self._sessions.loads,
            "evictions": self._sessions.evictions,
            "queued": len(self._main.queue) + len(self._rescue.queue),
            "queuedBytes": self._main.queue.cost + self._rescue.queue.cost,
            "running": running,
            **self._counters.stats(),
        }
