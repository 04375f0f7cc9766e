import asyncio
import hashlib
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import anyio
import pytest
from PIL import Image
from support.pictures import gradient
from support.pool_room import odd_pool, one_step

from darkroom.engine.outcome import Progress
from darkroom.engine.pool import Pool
from darkroom.executors.local import LocalExecutor
from darkroom_tools.errors import InvalidSettings, ProcessingCrashed

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with odd_pool(tmp_path_factory.mktemp("pool") / "run") as pool:
        yield pool


class Store:
    """Files by their SHA-256, and what became of the bytes that killed workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dead: list[str] = []

    def put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def adopt(self, path: Path) -> str:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(self.folder / digest)
        return digest

    async def died(self, digest: str) -> None:
        self.dead.append(digest)

    async def is_dead(self, digest: str) -> bool:
        return digest in self.dead


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def executor(pool: Pool, store: Store) -> LocalExecutor:
    return LocalExecutor(
        pool,
        path_of=store.folder.joinpath,
        adopt=store.adopt,
        on_death=store.died,
        is_quarantined=store.is_dead,
    )


def photo() -> bytes:
    data = BytesIO()
    Image.fromarray(gradient(300, 200)).save(data, "JPEG")
    return data.getvalue()


async def test_outputs_are_stored_under_their_digests(executor: LocalExecutor, store: Store):
    source = store.put(photo())
    finished = await executor.run(one_step("twice"), [source])
    assert len(finished.digests) == 2
    for digest, output in zip(finished.digests, finished.outcome.outputs, strict=True):
        data = store.folder.joinpath(digest).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        assert len(data) == output.picture.bytes


async def test_a_rendering_stores_nothing(executor: LocalExecutor, store: Store):
    source = store.put(photo())
    data, picture = await executor.render(one_step("pass-on"), [source])
    assert Image.open(BytesIO(data)).size == (picture.width, picture.height) == (300, 200)
    assert [path.name for path in store.folder.iterdir()] == [source]


async def test_a_plan_whose_worker_dies_is_tried_once_more_in_a_fresh_one(executor: LocalExecutor, store: Store, pool):
    source = store.put(photo())
    seen: list[Progress] = []
    before = pool.stats()["deaths"]
    finished = await executor.run(one_step("die-if-used"), [source], seen.append)
    assert pool.stats()["deaths"] - before <= 1
    assert finished.outcome.facts == {"jobs": 1}
    again = await executor.run(one_step("die-if-used"), [source], seen.append)
    assert again.outcome.facts == {"jobs": 1}
    assert pool.stats()["deaths"] - before >= 1
    assert [progress.fraction for progress in seen] == sorted(progress.fraction for progress in seen)
    assert store.dead == []


async def test_bytes_that_kill_two_workers_are_quarantined(executor: LocalExecutor, store: Store, pool: Pool):
    bad, other = store.put(photo()), store.put(photo() + b"x")
    before = pool.stats()["deaths"]
    with pytest.raises(ProcessingCrashed):
        await executor.run(one_step("die"), [bad])
    assert store.dead == [bad]
    assert pool.stats()["deaths"] == before + 2
    with pytest.raises(ProcessingCrashed, match="not tried again") as caught:
        await executor.run(one_step("pass-on"), [bad])
    assert caught.value.details == {"quarantined": True}
    assert pool.stats()["deaths"] == before + 2
    assert (await executor.run(one_step("pass-on"), [other])).digests


async def test_an_ordinary_error_is_not_tried_again(executor: LocalExecutor, store: Store, pool: Pool):
    source = store.put(photo())
    before = pool.stats()["runs"]
    with pytest.raises(InvalidSettings):
        await executor.run(one_step("refuse", text="no"), [source])
    assert pool.stats()["runs"] == before + 1


async def test_a_cancelled_plan_stores_nothing(executor: LocalExecutor, store: Store):
    source = store.put(photo())
    started = asyncio.Event()
    job = asyncio.ensure_future(executor.run(one_step("hang"), [source], lambda _: started.set(), 600))
    with anyio.fail_after(60):
        await started.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert (await executor.run(one_step("pass-on"), [source])).digests
    assert len(list(store.folder.iterdir())) == 2


async def test_the_wall_clock_is_passed_on(executor: LocalExecutor, store: Store):
    source = store.put(photo())
    with pytest.raises(Exception, match=r"0\.2 seconds"):
        await executor.run(one_step("hang"), [source], wall_seconds=0.2)
