"""The composition root: builds the parts, gives each what it needs, and owns their lifespan."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from darkroom import __version__
from darkroom.accounts.credits import Credits
from darkroom.catalog import Catalog
from darkroom.config import Config, wrong_variables
from darkroom.engine import attaching
from darkroom.engine.limits import MEGA, MIB, Limits
from darkroom.engine.models import ModelService
from darkroom.engine.pool import Pool
from darkroom.executors.local import LocalExecutor
from darkroom.executors.segments import SegmentedExecutor
from darkroom.export import Exporter
from darkroom.fetch import Fetcher, FetchLimits
from darkroom.generative.client import ImagesClient
from darkroom.generative.memory import Memory
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
from darkroom.webhooks.courier import Courier
from darkroom.webhooks.registry import Webhooks
from darkroom.webhooks.signing import secret_of
from darkroom.workflows.service import Workflows
from darkroom_tools.errors import DarkroomError
from darkroom_tools.registry import builtin_tools

__all__ = ["Darkroom", "open_darkroom", "open_database"]

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0
GB = 1_000_000_000
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
        self.database = _database(config)
        self.blobs = BlobStore(where.blobs)
        self.models = ModelService(where.models, memory_bytes=config.model_memory_mb * MIB, keep=config.warm_models)
        self.pool = Pool(
            workers=config.workers,
            run_dir=where.run / "workers",
            limits=self.limits,
            models=self.models,
            require_sandbox=config.require_sandbox,
            extra_tools=[attaching.MODULE],
        )
        self.vector = Pool(
            workers=1,
            run_dir=where.run / "vector",
            limits=self.limits,
            require_sandbox=config.require_sandbox,
            extra_tools=[attaching.MODULE],
            kind="vector",
            forks=self.pool.forks,
        )
        self.engine = _image_engine(config)
        self.executor = self._make_executor()
        self.library = Library(self.database, self.blobs)
        fetcher = Fetcher(FetchLimits(bytes=file_bytes)) if config.fetch else None
        self.intake = Intake(self.blobs, file_bytes, self.library.resolve, fetcher)
        self.uploads = Uploads(self.database, self.blobs, self.intake, self.library, self.executor)
        self.exporter = Exporter(self.blobs)
        self.workflows = Workflows(self.database)
        self.catalog = Catalog(self.workflows)
        self.links = Links.from_file(where.root / "links.key")
        self.credits = Credits(self.database, on=config.credits, free=config.free_credits)
        insiders = Fetcher(FetchLimits(), allowed_hosts=config.webhook_hosts)
        self.webhooks = Webhooks(self.database, insiders.may_be_private)
        self.courier = Courier(
            self.database,
            insiders,
            own_secret=lambda organisation: secret_of(self.links.derive(f"webhooks of {organisation}")),
            link=lambda handle: self.links.url(handle, handle),
        )
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
            credits=self.credits,
            engine=self.executor.check,
            inside=insiders.may_be_private,
            alone=alone,
        )

    def _make_executor(self) -> SegmentedExecutor:
        """What runs plans: this machine's workers, and the image engine for generative steps."""
        quarantine = Quarantine(self.database)
        local = LocalExecutor(
            self.pool,
            path_of=self.blobs.path,
            adopt=self.blobs.adopt,
            on_death=quarantine.add,
            is_quarantined=quarantine.holds,
            vector=self.vector,
        )
        return SegmentedExecutor(
            local,
            self.engine,
            tools=builtin_tools(),
            temporary=self.blobs.temporary,
            stored=self.blobs.exists,
            memory=Memory(self.where.root / "generated"),
            at_once=self.config.images_at_once,
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
        """Forget old jobs, drop bytes that nothing needs, check the books, after the start, then daily; never returns.

        Where pictures may only take so much room it is done every hour.
        """
        most = self.config.keep_gb
        await asyncio.sleep(FIRST_SWEEP_SECONDS)
        while True:
            try:
                await self.jobs.prune(self.config.keep_days * DAY_SECONDS, int(most * GB) if most else None)
                for problem in await self.credits.verify():
                    log.error("the credits ledger: %s", problem)
            except (DarkroomError, OSError):
                log.exception("the clean-up failed")
            await asyncio.sleep(HOUR_SECONDS if most else DAY_SECONDS)

    def _model_digests(self) -> dict[str, str]:
        if not self.models.runtime_installed():
            return {}
        return {name: file.sha256 for name, file in self.models.installed().items()}


def _database(config: Config) -> Database:
    return Database(config.database_url or f"sqlite:///{data_dir(config.data_dir).database}")


@asynccontextmanager
async def open_database(chosen_data_dir: str | None) -> AsyncIterator[tuple[Database, Config]]:
    """The database of a data directory, also while its server runs, for commands that look after accounts.

    Raises:
        DarkroomError: A variable is wrong, or the database cannot be opened.
    """
    try:
        config = Config() if chosen_data_dir is None else Config(data_dir=Path(chosen_data_dir))
    except ValidationError as error:
        raise DarkroomError(wrong_variables(error), code="CONFIGURATION_INVALID") from error
    async with _database(config) as database:
        yield database, config


def _image_engine(config: Config) -> ImagesClient | None:
    """The engine behind generative tools, None where none is configured."""
    if not config.images_url or not config.images_model:
        return None
    most = config.max_file_mb * MIB
    return ImagesClient(
        config.images_url,
        config.images_model,
        config.images_key,
        seconds=config.images_timeout,
        fetcher=Fetcher(FetchLimits(bytes=most)),
        picture_bytes=most,
    )


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
        running.push_async_callback(room.models.aclose)
        room.models.start()
        if room.engine is not None:
            await running.enter_async_context(room.engine)
        await running.enter_async_context(room.pool)
        await running.enter_async_context(room.vector)
        await running.enter_async_context(room.jobs)
        for upkeep in (room.keep_house(), room.courier.run()):
            running.callback(asyncio.create_task(upkeep).cancel)
        yield room
