"""The composition root: builds the parts, gives each what it needs, and owns their lifespan."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from darkroom import __version__
from darkroom.catalog import Catalog
from darkroom.config import Config
from darkroom.engine.limits import MEGA, MIB, Limits
from darkroom.engine.models import ModelService
from darkroom.engine.pool import Pool
from darkroom.executors.local import LocalExecutor
from darkroom.export import Exporter
from darkroom.fetch import Fetcher, FetchLimits
from darkroom.intake import Intake
from darkroom.jobs.service import Jobs
from darkroom.library.library import Library
from darkroom.library.uploads import Uploads
from darkroom.links import Links
from darkroom.metrics import families, render
from darkroom.paths import data_dir
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.quarantine import Quarantine
from darkroom.store.queue import QueueLimits
from darkroom.workflows.service import Workflows
from darkroom_tools.errors import DarkroomError

__all__ = ["Darkroom", "open_darkroom"]

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
FIRST_SWEEP_SECONDS = 60.0


class Darkroom:
    """All parts of one Darkroom. They run once `open_darkroom` has started them.

    Args:
        config: The configuration.
        alone: Nobody else uses the data directory, so what a dead server left is taken over at once.
    """

    def __init__(self, config: Config, *, alone: bool) -> None:
        self.config = config
        self.where = where = data_dir(config.data_dir)
        where.create()
        file_bytes = config.max_file_mb * MIB
        self.limits = replace(Limits(), file_bytes=file_bytes, pixels=config.max_megapixels * MEGA)
        self.database = Database(config.database_url or f"sqlite:///{where.database}")
        self.blobs = BlobStore(where.blobs)
        self.models = ModelService(where.models, memory_bytes=config.model_memory_mb * MIB, keep=config.warm_models)
        self.pool = Pool(
            workers=config.workers,
            run_dir=where.run / "workers",
            limits=self.limits,
            models=self.models,
            require_sandbox=config.require_sandbox,
        )
        self.vector = Pool(
            workers=1,
            run_dir=where.run / "vector",
            limits=self.limits,
            require_sandbox=config.require_sandbox,
            kind="vector",
            forks=self.pool.forks,
        )
        quarantine = Quarantine(self.database)
        self.executor = LocalExecutor(
            self.pool,
            path_of=self.blobs.path,
            adopt=self.blobs.adopt,
            on_death=quarantine.add,
            is_quarantined=quarantine.holds,
            vector=self.vector,
        )
        self.library = Library(self.database, self.blobs)
        fetcher = Fetcher(FetchLimits(bytes=file_bytes)) if config.fetch else None
        self.intake = Intake(self.blobs, file_bytes, self.library.resolve, fetcher)
        self.uploads = Uploads(self.database, self.blobs, self.intake, self.library, self.executor)
        self.exporter = Exporter(self.blobs)
        self.workflows = Workflows(self.database)
        self.catalog = Catalog(self.workflows)
        self.links = Links.from_file(where.root / "links.key")
        self.jobs = Jobs(
            self.database,
            self.blobs,
            self.executor,
            self.intake,
            self.library,
            slots=config.workers,
            limits=self.limits,
            queue_limits=QueueLimits(queued=config.queue_length),
            models=self._model_digests,
            alone=alone,
        )

    def health(self) -> dict[str, Any]:
        """What `/api/health` says; asks nobody who might be busy."""
        workers = {"workers": self.pool.stats(), "vectorWorkers": self.vector.stats()}
        return {"status": "ok", "version": __version__, "sandbox": self.pool.sandbox, **workers}

    async def metrics(self) -> str:
        """The text of `/metrics`."""
        pools = {"pixels": self.pool.stats(), "vector": self.vector.stats()}
        return render(families(__version__, pools, await self.jobs.counts(), self.models.stats()))

    async def keep_house(self) -> None:
        """Forget old jobs and drop bytes that nothing needs, soon after the start and then daily; never returns."""
        await asyncio.sleep(FIRST_SWEEP_SECONDS)
        while True:
            try:
                await self.jobs.prune(self.config.keep_days * DAY_SECONDS)
            except (DarkroomError, OSError):
                log.exception("the daily clean-up failed")
            await asyncio.sleep(DAY_SECONDS)

    def _model_digests(self) -> dict[str, str]:
        if not self.models.runtime_installed():
            return {}
        return {name: file.sha256 for name, file in self.models.installed().items()}


@asynccontextmanager
async def open_darkroom(config: Config | None = None, *, alone: bool = True) -> AsyncIterator[Darkroom]:
    """A running Darkroom on its data directory.

    Args:
        config: From the environment if None.
        alone: As for `Darkroom`; true for whoever holds the directory's lock.
    """
    room = Darkroom(config or Config(), alone=alone)
    async with AsyncExitStack() as running:
        await running.enter_async_context(room.database)
        await room.workflows.load()
        running.push_async_callback(room.models.aclose)
        room.models.start()
        await running.enter_async_context(room.pool)
        await running.enter_async_context(room.vector)
        await running.enter_async_context(room.jobs)
        keeping = asyncio.create_task(room.keep_house())
        running.callback(keeping.cancel)
        yield room
