import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image
from support.pictures import gradient
from support.pool_room import odd_pool, one_step, result_of

from darkroom.engine.limits import Limits
from darkroom.engine.pool import Pool

pytestmark = pytest.mark.anyio

PERMITTED = {"write its output", "write its tmp", "read its input", "start a thread", "import a module late"}


@pytest.fixture(scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with odd_pool(tmp_path_factory.mktemp("pool") / "run", workers=2) as pool:
        yield pool


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo"
    Image.fromarray(gradient(400, 300)).save(path, "JPEG")
    return path


async def needs_full_sandbox(pool: Pool, photo: Path) -> None:
    await pool.inspect(photo)
    if pool.sandbox != "full":
        pytest.skip(f"the sandbox is {pool.sandbox} here")


async def test_a_worker_may_do_its_work_and_nothing_else(pool: Pool, photo: Path):
    await needs_full_sandbox(pool, photo)
    mode = photo.stat().st_mode
    outcome, _ = await result_of(pool, one_step("try-forbidden"), [photo])
    assert outcome.report is not None
    happened = outcome.report["values"]
    assert {name for name, result in happened.items() if result == "allowed"} == PERMITTED
    refused = {result for name, result in happened.items() if name not in PERMITTED and name != "load an SVG"}
    assert refused == {"PermissionError"}
    assert photo.stat().st_mode == mode


async def test_the_sandbox_holds_for_the_threads_of_libvips_too(pool: Pool, photo: Path):
    await needs_full_sandbox(pool, photo)
    outcome, _ = await result_of(pool, one_step("process"), [photo])
    assert outcome.report is not None
    tasks = list(Path(f"/proc/{outcome.report['values']['pid']}/task").iterdir())
    assert len(tasks) > 2
    for task in tasks:
        status = (task / "status").read_text()
        assert "Seccomp:\t2" in status
        assert "NoNewPrivs:\t1" in status


async def test_a_worker_sees_neither_our_environment_nor_our_input(pool: Pool, photo: Path, monkeypatch):
    monkeypatch.setenv("DARKROOM_TOKEN", "secret")
    async with odd_pool(photo.parent / "run") as other:
        outcome, _ = await result_of(other, one_step("process"), [photo])
    assert outcome.report is not None
    values = outcome.report["values"]
    assert "secret" not in str(values["environment"])
    assert values["environment"]["VIPS_BLOCK_UNTRUSTED"] == "1"
    assert values["environment"]["MALLOC_ARENA_MAX"] == "2"
    assert values["environment"]["TMPDIR"] == str(photo.parent / "run" / "worker-0" / "tmp")
    assert values["input"] == ""


async def test_a_worker_has_the_resource_limits_of_the_pool(pool: Pool, photo: Path):
    outcome, _ = await result_of(pool, one_step("process"), [photo])
    assert outcome.report is not None
    limits, wanted = outcome.report["values"]["limits"], Limits()
    assert limits["RLIMIT_AS"] == wanted.memory_bytes
    assert limits["RLIMIT_FSIZE"] == wanted.written_bytes
    assert limits["RLIMIT_NOFILE"] == wanted.open_files
    assert limits["RLIMIT_CORE"] == 0
    assert limits["RLIMIT_CPU"] != resource.RLIM_INFINITY
