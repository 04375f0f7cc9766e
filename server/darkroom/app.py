"""The composition root: builds the parts, gives each what it needs, and owns their lifespan."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from darkroom import __version__
from darkroom.accounts.credits import Credits
from darkroom.accounts.devices import Devices
from darkroom.accounts.identity import Identity
from darkroom.accounts.keys import Keys
from darkroom.accounts.oauth import ExternalIssuer
from darkroom.accounts.passwords import Passwords
from darkroom.accounts.sessions import Sessions
from darkroom.accounts.site import Site
from darkroom.accounts.teams import Teams
from darkroom.accounts.throttle import Requests, Tries
from darkroom.accounts.users import Users
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
from darkroom.library.arriving import Arrivals
from darkroom.library.files import Files
from darkroom.library.library import Library
from darkroom.library.projects import Projects
from darkroom.library.quota import Quota
from darkroom.library.rendition_cache import RenditionCache
from darkroom.library.renditions import Renditions
from darkroom.library.uploads import Uploads
from darkroom.links import Links
from darkroom.metrics import families, render
from darkroom.paths import data_dir
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom.store.database import Database
from darkroom.store.quarantine import Quarantine
from darkroom.store.queue import QueueLimits
from darkroom.streams import Streams
from darkroom.webhooks.courier import Courier
from darkroom.webhooks.registry import Webhooks
from darkroom.webhooks.signing import secret_of
from darkroom.workflows.service import Workflows
from darkroom_tools.errors import DarkroomError
from darkroom_tools.plan import Plan
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
        self.where = data_dir(config.data_dir)
        self.where.create()
        file_bytes = config.max_file_mb * MIB
        self.limits = replace(Limits(), file_bytes=file_bytes, pixels=config.max_megapixels * MEGA)
        self.database = _database(config)
        self.blobs = BlobStore(self.where.blobs)
        self.links = Links.from_file(self.where.root / "links.key")
        self.credits = Credits(self.database, on=config.credits, free=config.free_credits)
        self.streams = Streams()
        self._make_engine()
        self._make_library()
        self._make_catalog()
        self._make_accounts()
        self._make_jobs(alone=alone)

    def _make_engine(self) -> None:
        """What decodes, computes and encodes."""
        config, run = self.config, self.where.run
        where = self.where.models
        self.models = ModelService(where, memory_bytes=config.model_memory_mb * MIB, keep=config.warm_models)
        self.pool = Pool(
            workers=config.workers,
            run_dir=run / "workers",
            limits=self.limits,
            models=self.models,
            require_sandbox=config.require_sandbox,
            extra_tools=[attaching.MODULE],
        )
        self.vector = Pool(
            workers=1,
            run_dir=run / "vector",
            limits=self.limits,
            require_sandbox=config.require_sandbox,
            extra_tools=[attaching.MODULE],
            kind="vector",
            forks=self.pool.forks,
        )
        self.engine = _image_engine(config)
        self.executor = self._make_executor()

    def _make_library(self) -> None:
        """Pictures, and every door through which they come and go."""
        config, most = self.config, self.limits.file_bytes
        self._rendered = RenditionCache(self.where.root / "renditions")
        self.library = Library(self.database, self.blobs, self._rendered.drop)
        fetcher = Fetcher(FetchLimits(bytes=most)) if config.fetch else None
        self.intake = Intake(self.blobs, most, self.library.resolve, fetcher, self.links.image_at)
        self._quota = Quota(config.user_mb * 1_000_000)
        arrivals = Arrivals(self.blobs, self.executor, self._quota)
        self.uploads = Uploads(self.database, self.intake, self.library, arrivals)
        self.files = Files(self.database, self.library, arrivals)
        self.projects = Projects(self.database)
        self.exporter = Exporter(self.blobs)

    def _make_catalog(self) -> None:
        """What can be called, and what the admins switched off."""
        self.workflows = Workflows(self.database)
        self.site = Site(self.database, self.executor)
        self.site.on_change(self.workflows.announce)
        self.catalog = Catalog(self.workflows, self.site.disabled)

    def _make_jobs(self, *, alone: bool) -> None:
        """What runs calls, and who hears of their ends."""
        config = self.config
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
            quota=self._quota,
            engine=self._check_plan,
            inside=insiders.may_be_private,
            alone=alone,
        )
        self.renditions = Renditions(self.library, self.blobs, self._rendered, self.jobs.render)

    def _make_accounts(self) -> None:
        """Who may sign in, with what, and how often they may ask."""
        config, passwords = self.config, Passwords(Tries(self.site.login_attempts))
        self.users = Users(self.database, passwords, most=config.max_users)
        self.teams = Teams(self.database)
        self.sessions = Sessions(self.database, passwords)
        self.devices = Devices(self.database, self.sessions)
        self.keys = Keys(self.database)
        token = config.token.get_secret_value() if config.token else None
        self.identity = Identity(self.database, token, self._issuer())
        self.requests = Requests(config.rate_limit)

    def _issuer(self) -> Callable[[str], Awaitable[Principal]] | None:
        """Who knows the access tokens of an external issuer, where there is one."""
        config = self.config
        if config.oauth_issuer is None:
            return None
        audience = config.oauth_audience
        made_for = (lambda: audience) if audience else lambda: f"{self.links.base}/mcp"
        return ExternalIssuer(self.database, config.oauth_issuer, made_for, config.max_users).principal_of

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
        """Remove what passed through, forget old jobs, drop bytes that nothing needs, check the books; never returns.

        The first of it is done every hour, the rest after the start and daily, or hourly where pictures may only take
        so much room.
        """
        most = self.config.keep_gb
        await asyncio.sleep(FIRST_SWEEP_SECONDS)
        for hour in itertools.count():
            try:
                await self.jobs.clear_unlisted(self.config.workspace_hours * HOUR_SECONDS)
                await self.renditions.sweep()
                if most or hour % 24 == 0:
                    await self.jobs.prune(self.config.keep_days * DAY_SECONDS, int(most * GB) if most else None)
                    for problem in await self.credits.verify():
                        log.error("the credits ledger: %s", problem)
            except (DarkroomError, OSError):
                log.exception("the clean-up failed")
            await asyncio.sleep(HOUR_SECONDS)

    def _check_plan(self, plan: Plan) -> str:
        self.site.check(plan)
        return self.executor.check(plan)

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
        await room.site.refresh()
        running.push_async_callback(room.models.aclose)
        room.models.start()
        if room.engine is not None:
            await running.enter_async_context(room.engine)
        await running.enter_async_context(room.pool)
        await running.enter_async_context(room.vector)
        await running.enter_async_context(room.jobs)
        for upkeep in (room.keep_house(), room.courier.run(), room.site.run()):
            running.callback(asyncio.create_task(upkeep).cancel)
        yield room
