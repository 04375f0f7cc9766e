"""How a pixel worker asks for models: many requests under way, answered in any order, taken in the order of asking."""

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from darkroom.engine.channel import close_all
from darkroom.engine.messages import Failed
from darkroom_tools.base import Inference
from darkroom_tools.errors import Cancelled

if TYPE_CHECKING:
    import numpy as np

__all__ = ["MOST_UNDER_WAY", "Ask", "Asking", "Pending", "answers_in_order"]

MOST_UNDER_WAY: Final = 16
"""Requests of one loop that are under way together: enough to fill a batch while the one before it is put together."""

FIRST_UNDER_WAY: Final = 4
"""As long as nobody knows how large an answer is."""

LEAST_UNDER_WAY: Final = 2
"""However large they are: the next one is on its way while the last answer is used."""

BYTES_UNDER_WAY: Final = 64 * 1024 * 1024
"""Most bytes of requests under way and their answers, which a worker has to hold."""

Send = Callable[[dict[str, Any], Sequence[int]], None]


class Pending:
    """A request that was sent; made by `Asking.ask`."""

    def __init__(self, drop: Callable[[], None]) -> None:
        self.future: Future[Inference] = Future()
        self._drop = drop

    def result(self) -> Inference:
        """Wait for the answer.

        Raises:
            DarkroomError: What the engine answered, or that the work was cancelled.
        """
        return self.future.result()

    def drop(self) -> None:
        """Give the request up; harmless once it is answered."""
        self._drop()


Ask = Callable[[str, "Sequence[np.ndarray]", bool], Pending]
"""Sends a request; see `Asking.ask`."""


class Asking:
    """The requests of one plan. Any thread may call any method.

    Args:
        send: Sends a message with descriptors to the server.
    """

    _numbers = itertools.count()  # of all plans of this process: a late answer must not meet another plan's request

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._open: dict[int, Pending] = {}
        self._cancelled = False

    def ask(self, model: str, inputs: "Sequence[np.ndarray]", many: bool) -> Pending:
        """Send a request.

        Args:
            model: What is to run.
            inputs: Its arrays.
            many: One of many for a picture, so it can be made smaller where the memory is short.

        Raises:
            Cancelled: The plan was cancelled.
            LimitExceeded: An array is too large to go to a model.
            ProcessingFailed: An array is of a type that does not go to a model.
        """
        from darkroom.engine.shared import write_array

        number = next(Asking._numbers)
        pending = Pending(lambda: self._drop(number))
        metas: list[dict[str, Any]] = []
        fds: list[int] = []
        try:
            for array in inputs:
                meta, fd = write_array(array)
                metas.append(meta)
                fds.append(fd)
            with self._lock:
                if self._cancelled:
                    raise _stopped()
                self._open[number] = pending
            request = {"model": model, "inputs": metas, "many": many}
            self._send({"type": "infer", "id": number, "request": request}, fds)
        finally:
            close_all(fds)
        return pending

    def take(self, message: Mapping[str, Any], fds: Sequence[int]) -> None:
        """Give an answer of the server to whoever waits for it; the descriptors are closed."""
        with self._lock:
            pending = self._open.pop(message["id"], None)
        try:
            if pending is not None:
                _settle(pending.future, message, fds)
        finally:
            close_all(fds)

    def cancel(self) -> None:
        """Fail all requests, those to come too, with `Cancelled`."""
        with self._lock:
            self._cancelled = True
            waiting = list(self._open.values())
            self._open.clear()
        for pending in waiting:
            pending.future.set_exception(_stopped())

    def _drop(self, number: int) -> None:
        with self._lock:
            if self._open.pop(number, None) is None:
                return
        self._send({"type": "drop", "id": number}, ())


def answers_in_order(
    model: str, requests: "Iterable[Sequence[np.ndarray]]", ask: Ask, ready: Callable[[], None]
) -> Iterator[Inference]:
    """Ask for each of the requests and yield the answers in their order.

    Requests are drawn only as far as they may be under way. A caller that stops early gives up the others.

    Args:
        model: What all of them are for.
        requests: Arrays of each.
        ask: Sends one.
        ready: Called before each request and each answer; what it raises ends the iteration.
    """
    source = iter(requests)
    waiting: deque[tuple[Pending, int]] = deque()
    held = next(source, None)
    growth = 1.0
    answered = False
    try:
        while True:
            while held is not None:
                size = sum(array.nbytes for array in held)
                most = MOST_UNDER_WAY if answered else FIRST_UNDER_WAY
                under_way = (1 + growth) * (size + sum(bytes_ for _, bytes_ in waiting))
                if len(waiting) >= (most if under_way <= BYTES_UNDER_WAY else LEAST_UNDER_WAY):
                    break
                ready()
                waiting.append((ask(model, held, True), size))
                held = next(source, None)
            if not waiting:
                return
            ready()
            pending, size = waiting.popleft()
            answer = pending.result()
            answered = True
            growth = max(growth, sum(array.nbytes for array in answer.outputs) / max(size, 1))
            yield answer
    finally:
        for pending, _ in waiting:
            pending.drop()


def _settle(future: "Future[Inference]", message: Mapping[str, Any], fds: Sequence[int]) -> None:
    try:
        future.set_result(_inference(message, fds))
    except Exception as error:  # noqa: BLE001 (whoever waits gets it)
        future.set_exception(error)


def _inference(message: Mapping[str, Any], fds: Sequence[int]) -> Inference:
    from darkroom.engine.shared import read_array

    if "error" in message:
        raise Failed.model_validate(message["error"]).exception()
    reply = message["reply"]
    # Copies: tools may keep more of them than a worker may have descriptors, and may work in place.
    outputs = [read_array(meta, fd, copy=True) for meta, fd in zip(reply["outputs"], fds, strict=True)]
    return Inference(outputs, str(reply["device"]), tuple(map(str, reply.get("notes", ()))))


def _stopped() -> Cancelled:
    return Cancelled("The work was cancelled.")
