"""A server with three teams' worth of people, and a workflow of `ann` in two versions."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from support.web_room import Web, web_room

from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.service import Saved

REMOVAL = {
    "name": "Background Removal",
    "author": "Ann",
    "components": [
        {"type": "input", "label": "input"},
        {"type": "resize", "label": "Small", "settings": {"width": "${{ inputs.width }}"}},
        {"type": "export", "label": "export", "settings": {"targetFormat": "PNG", "targetMode": "RGBA"}},
    ],
    "inputs": {"width": {"type": "number", "default": 40, "minimum": 8, "maximum": 400, "title": "Width"}},
}


@dataclass(frozen=True)
class Versions:
    """A workflow of `ann`."""

    old: Saved
    new: Saved


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("autoretouch")) as running:
        yield running


@pytest.fixture(scope="module")
async def removal(web: Web) -> Versions:
    plain = {**REMOVAL, "components": [REMOVAL["components"][0], REMOVAL["components"][-1]], "inputs": {}}
    old = await web.room.workflows.save(web.ann, WorkflowDocument.model_validate(plain))
    new = await web.room.workflows.save(web.ann, WorkflowDocument.model_validate(REMOVAL))
    return Versions(old, new)


@pytest.fixture
async def ann(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.user) as client:
        yield client


@pytest.fixture
async def ben(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    async with web.client(web.other) as client:
        yield client


class Worker:
    """Stands before the real workers: holds them back, or fails in their place."""

    def __init__(self, web: Web) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._executor = web.room.executor
        self._run = self._executor.run

    @contextmanager
    def placed(self) -> Iterator["Worker"]:
        self._executor.run = self.run  # type: ignore[method-assign]
        try:
            yield self
        finally:
            del self._executor.run
            self.gate.set()

    async def run(self, plan: Any, *rest: Any, **more: Any) -> Any:
        if plan.steps:
            await self.gate.wait()
            if self.error is not None:
                raise self.error
        return await self._run(plan, *rest, **more)


@pytest.fixture
async def worker(web: Web) -> AsyncIterator[Worker]:
    with Worker(web).placed() as placed:
        yield placed
