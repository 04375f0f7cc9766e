"""How the server answers the models' requests of one plan: each in a task of its own, none outlives the plan."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from darkroom.engine.channel import AsyncChannel, BadMessage, ChannelClosed, close_all
from darkroom.engine.messages import Asked, failure
from darkroom_tools.errors import DarkroomError, ProcessingFailed

__all__ = ["Answering", "Infer"]

log = logging.getLogger(__name__)

Infer = Callable[[dict[str, Any], list[int]], Awaitable[tuple[dict[str, Any], list[int]]]]
"""Runs a model: from a request with the inputs' memory to a reply with the outputs' memory."""

MOST_OPEN: Final = 64
"""Requests of one plan under way together; more, or more descriptors in all of them, break the protocol."""


class Answering:
    """Requests of one plan that are under way.

    Args:
        channel: The worker's.
        infer: Runs a model. The request's descriptors stay ours to close, those of the reply become so.
    """

    def __init__(self, channel: AsyncChannel, infer: Infer) -> None:
        self._channel = channel
        self._infer = infer
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._held = 0

    def take(self, asked: Asked, fds: Sequence[int]) -> None:
        """Begin to answer a request; its descriptors are closed in the end.

        Raises:
            BadMessage: The number is taken, or too much is under way; the descriptors are still the caller's.
        """
        if asked.id in self._tasks or len(self._tasks) >= MOST_OPEN or self._held + len(fds) > MOST_OPEN:
            raise BadMessage("the worker asked for too much at once")
        task = asyncio.create_task(self._answer(asked, list(fds)))
        self._tasks[asked.id] = task
        self._held += len(fds)

        def ended(_: object) -> None:
            close_all(fds)
            self._held -= len(fds)
            self._tasks.pop(asked.id, None)

        # A task that is cancelled before it began runs nothing of its own, not even a `finally`.
        task.add_done_callback(ended)

    def drop(self, number: int) -> None:
        """Give up a request; harmless if it is answered."""
        if number in self._tasks:
            self._tasks[number].cancel()

    async def close(self) -> None:
        """Give up all requests."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _answer(self, asked: Asked, fds: list[int]) -> None:
        answer: dict[str, Any]
        arrays: list[int] = []
        try:
            reply, arrays = await self._infer(dict(asked.request), fds)
            answer = {"reply": reply}
        except DarkroomError as error:
            answer = {"error": failure(error)}
        except Exception:
            log.exception("a model could not be run")
            answer = {"error": failure(ProcessingFailed("The model could not be run on this image."))}
        try:
            await self._channel.send({"type": "inferred", "id": asked.id, **answer}, arrays)
        except ChannelClosed:
            pass  # whoever reads the channel sees the same end
        finally:
            close_all(arrays)
