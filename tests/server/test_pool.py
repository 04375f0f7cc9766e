import asyncio
import os
import select
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import anyio
import numpy as np
import pytest
from PIL import Image
from support.pictures import gradient
from support.pool_room import odd_pool, one_step, result_of

from darkroom.engine.channel import BadMessage, close_all
from darkroom.engine.forkserver import ForkServer
from darkroom.engine.limits import Limits
from darkroom.engine.messages import Done, PictureFacts, Written
from darkroom.engine.outcome import Outcome, Picture, Progress
from darkroom.engine.pool import Pool, WorkerDied
from darkroom.engine.shared import read_array, write_array
from darkroom.engine.slot import Slot
from darkroom.errors import Overloaded
from darkroom_tools.errors import (
    InvalidImage,
    InvalidSettings,
    LimitExceeded,
    ModelNotInstalled,
    OutOfMemory,
    ProcessingFailed,
    ProcessingTimeout,
    RuntimeNotInstalled,
)
from darkroom_tools.plan import Plan, Step, input_ref, step_ref

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def pool(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pool]:
    async with odd_pool(tmp_path_factory.mktemp("pool") / "run") as pool:
        yield pool


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "small"
    Image.fromarray(gradient(400, 300)).save(path, "JPEG")
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "large"
    Image.fromarray(gradient(3000, 2000)).save(path, "JPEG")
    return path


async def usable(pool: Pool, photo: Path) -> None:
    """The one worker is free again, or another has taken its place, and it works."""
    with anyio.fail_after(30):
        assert (await pool.inspect(photo)).width == 400


async def leftovers(pool: Pool) -> list[str]:
    while pool._background:
        await asyncio.wait(pool._background)
    return [str(path) for path in pool._run_dir.rglob("*") if path.is_file()]


async def test_a_plan_comes_back_with_its_picture_and_facts(pool: Pool, photo: Path):
    outcome, files = await result_of(pool, one_step("pass-on"), [photo])
    assert outcome.inputs == [Picture("jpeg", "image/jpeg", photo.stat().st_size, 400, 300, 1)]
    assert outcome.facts == {"passed": True}
    assert outcome.warnings == ["nothing was done"]
    assert [output.picture.format for output in outcome.outputs] == ["jpeg"]
    assert outcome.outputs[0].picture.bytes == len(files[0])
    assert Image.open(BytesIO(files[0])).size == (400, 300)
    assert not outcome.outputs[0].path.exists()
    await usable(pool, photo)
    assert await leftovers(pool) == []


async def test_a_plan_without_steps_describes_its_inputs(pool: Pool, photo: Path, large: Path):
    outcome, files = await result_of(pool, Plan(), [photo, large, photo])
    assert [picture.width for picture in outcome.inputs] == [400, 3000, 400]
    assert (outcome.outputs, files, outcome.report) == ([], [], None)


async def test_progress_rises_and_its_text_is_clean(pool: Pool, photo: Path, large: Path):
    seen: list[Progress] = []
    await result_of(pool, one_step("blur-much", rounds=4), [large], seen.append)
    fractions = [progress.fraction for progress in seen]
    assert len(fractions) > 2
    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)

    seen.clear()
    await result_of(pool, one_step("count"), [photo], seen.append)
    assert seen[0].message == "at 0.2[31m"


@pytest.mark.parametrize("plan", [one_step("median"), one_step("median", inside=True)])
async def test_cancelling_stops_native_work_at_once_and_keeps_the_worker(pool: Pool, photo: Path, large: Path, plan):
    before = pool.stats()
    started = asyncio.Event()
    job = asyncio.ensure_future(result_of(pool, plan, [large], lambda _: started.set(), 600))
    with anyio.fail_after(60):
        await started.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await usable(pool, photo)
    after = pool.stats()
    assert after["cancelled"] == before["cancelled"] + 1
    assert after["killed"] == before["killed"]
    assert await leftovers(pool) == []


async def test_work_that_does_not_listen_is_killed_when_cancelled(pool: Pool, photo: Path):
    before = pool.stats()["killed"]
    started = asyncio.Event()
    job = asyncio.ensure_future(result_of(pool, one_step("hang"), [photo], lambda _: started.set(), 600))
    with anyio.fail_after(60):
        await started.wait()
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await usable(pool, photo)
    assert pool.stats()["killed"] == before + 1
    assert await leftovers(pool) == []


async def test_the_wall_clock_kills_and_the_error_names_the_limit(pool: Pool, photo: Path):
    before = pool.stats()["timeouts"]
    with pytest.raises(ProcessingTimeout, match="0.3 seconds") as caught:
        await result_of(pool, one_step("hang"), [photo], seconds=0.3)
    assert caught.value.details == {"seconds": 0.3}
    await usable(pool, photo)
    assert pool.stats()["timeouts"] == before + 1
    assert await leftovers(pool) == []


@pytest.mark.parametrize("by", ["segv", "kill", "exit", "abort"])
async def test_a_death_fails_only_its_own_job(pool: Pool, photo: Path, by, capfd):
    before = pool.stats()["deaths"]
    with pytest.raises(WorkerDied):
        await result_of(pool, one_step("die", by=by), [photo])
    await usable(pool, photo)
    assert pool.stats()["deaths"] == before + 1
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("victim", ["pid", "parent"])
async def test_an_idle_worker_or_fork_server_that_dies_is_replaced_before_a_job_meets_it(
    pool: Pool, photo: Path, victim
):
    outcome, _ = await result_of(pool, one_step("process"), [photo])
    assert await leftovers(pool) == []
    child = pool._slots[0]._child
    assert outcome.report is not None
    assert child is not None
    os.kill(outcome.report["values"][victim], signal.SIGKILL)
    with anyio.fail_after(30):
        await asyncio.wait([child.ended])
    assert await leftovers(pool) == []
    await usable(pool, photo)


@pytest.mark.parametrize("kind", ["traversal", "missing", "folder", "nonsense", "huge", "junk"])
async def test_a_worker_that_lies_is_replaced_and_gets_nothing(pool: Pool, photo: Path, kind):
    with pytest.raises(WorkerDied):
        await result_of(pool, one_step("lie", kind=kind), [photo])
    await usable(pool, photo)
    assert photo.exists()
    assert await leftovers(pool) == []


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "fifo", "large"])
async def test_a_result_that_is_no_plain_file_of_the_worker_is_refused(tmp_path: Path, kind):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    out = tmp_path / "slot" / "out"
    out.mkdir(parents=True)
    (tmp_path / "slot" / "taken").mkdir()
    match kind:
        case "symlink":
            (out / "x").symlink_to(secret)
        case "hardlink":
            (out / "x").hardlink_to(secret)
        case "fifo":
            os.mkfifo(out / "x")
        case "large":
            (out / "x").write_bytes(b"12345")
    slot = Slot(tmp_path / "slot", Limits(written_bytes=4), ForkServer(tmp_path))
    facts = PictureFacts(format="png", media_type="image/png", bytes=1)
    done = Done(type="done", inputs=[], outputs=[Written(name="x", picture=facts)])
    with pytest.raises(BadMessage):
        await slot.collect(done, lambda _: pytest.fail("it was used"))


async def test_a_public_error_crosses_whole_and_a_private_one_stays_in_the_log(pool: Pool, photo: Path):
    with pytest.raises(InvalidSettings, match="^too blue$") as caught:
        await result_of(pool, one_step("refuse", text="too blue"), [photo])
    assert caught.value.details == {"field": "text"}
    with pytest.raises(ProcessingFailed) as hidden:
        await result_of(pool, one_step("raise-text", text="/home/ann/secret"), [photo])
    assert "secret" not in str(hidden.value.to_wire())
    assert hidden.value.code == "PROCESSING_FAILED"


async def test_an_error_code_of_a_shared_class_keeps_its_status(tmp_path: Path, photo: Path):
    async with odd_pool(tmp_path / "run", file_bytes=10) as pool:
        with pytest.raises(LimitExceeded) as caught:
            await pool.inspect(photo)
    assert (caught.value.code, caught.value.status) == ("FILE_TOO_LARGE", 413)


async def test_damaged_and_foreign_bytes_are_the_senders_fault(pool: Pool, large: Path, tmp_path: Path):
    cut = tmp_path / "cut"
    cut.write_bytes(large.read_bytes()[:-20_000])
    with pytest.raises(InvalidImage):
        await result_of(pool, one_step("pass-on"), [cut])


@pytest.mark.parametrize("side", [1, 80_000])
async def test_too_much_memory_is_an_error_of_its_own(pool: Pool, photo: Path, side):
    with pytest.raises(OutOfMemory):
        await result_of(pool, one_step("eat", side=side), [photo])
    await usable(pool, photo)


async def test_a_report_larger_than_a_reply_is_a_plain_error(pool: Pool, photo: Path):
    before = pool.stats()["deaths"]
    with pytest.raises(ProcessingFailed, match="KB"):
        await result_of(pool, one_step("report-much"), [photo])
    assert pool.stats()["deaths"] == before


async def test_a_worker_is_replaced_after_its_number_of_plans(tmp_path: Path, photo: Path):
    async with odd_pool(tmp_path / "run", jobs_per_worker=2) as pool:
        pids = []
        for _ in range(4):
            outcome, _ = await result_of(pool, one_step("process"), [photo])
            assert outcome.report is not None
            pids.append(outcome.report["values"]["pid"])
        assert pids[0] == pids[1] != pids[2] == pids[3]
        assert pool.stats()["replaced"] >= 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is watched through /proc")
async def test_a_worker_whose_memory_grew_is_replaced(tmp_path: Path, photo: Path):
    async with odd_pool(tmp_path / "run", grown_bytes=1) as pool:
        await result_of(pool, one_step("blur-much"), [photo])
        await usable(pool, photo)
        assert pool.stats()["replaced"] >= 1


async def test_waiting_plans_are_served_in_order_and_a_given_up_one_is_skipped(pool: Pool, photo: Path):
    order: list[int] = []

    async def one(number: int) -> None:
        def collect(_: Outcome) -> None:
            order.append(number)

        await pool.run(Plan(), [photo], collect)

    jobs = [asyncio.ensure_future(one(number)) for number in range(6)]
    await asyncio.sleep(0)
    jobs[3].cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert order == [0, 1, 2, 4, 5]
    await usable(pool, photo)


async def test_the_loop_turns_while_eight_jobs_run(tmp_path: Path, large: Path):
    finished = 0
    pings = []

    async with odd_pool(tmp_path / "run", workers=2) as pool:

        async def ping() -> None:
            while True:
                pings.append(finished)
                await asyncio.sleep(0.005)

        async def job() -> None:
            nonlocal finished
            await result_of(pool, one_step("blur-much", rounds=2), [large], seconds=100)
            finished += 1

        pinging = asyncio.ensure_future(ping())
        await asyncio.gather(*(job() for _ in range(8)))
        pinging.cancel()
    assert len(set(pings)) >= 4
    assert len(pings) > 100


async def test_inputs_are_found_whatever_they_are_called(pool: Pool, tmp_path: Path, photo: Path):
    odd = tmp_path / "x.png[shrink=8]"
    odd.write_bytes(photo.read_bytes())
    assert (await pool.inspect(odd)).width == 400


async def test_steps_feed_one_another_and_share_images(pool: Pool, photo: Path, large: Path):
    plan = Plan(
        (
            Step("soft", "blur-much", {}, {"image": [input_ref(0)]}),
            Step("pair", "beside", {}, {"images": [step_ref("soft"), input_ref(0), step_ref("soft")]}),
        )
    )
    _, files = await result_of(pool, plan, [photo])
    assert Image.open(BytesIO(files[0])).size == (1200, 300)


async def test_pictures_and_files_come_back_in_order(pool: Pool, photo: Path):
    outcome, files = await result_of(pool, one_step("twice"), [photo])
    first, second = (np.asarray(Image.open(BytesIO(data)), int) for data in files)
    assert abs(first + second - 255).mean() < 3

    outcome, files = await result_of(pool, one_step("as-file"), [photo])
    assert [output.picture for output in outcome.outputs] == [
        Picture("png", "image/png", len(files[0]), 400, 300, 1),
        Picture("txt", "text/plain", 4),
    ]
    assert outcome.facts == {"made": "png"}
    assert Image.open(BytesIO(files[0])).size == (400, 300)


class Adder:
    """Stands for the model service: sums in this process."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.hold = asyncio.Event()
        self.asked = asyncio.Event()

    def installed(self) -> dict[str, object]:
        return {"adder": None}

    def runtime_installed(self) -> bool:
        return True

    async def infer(self, request, fds, job):
        self.jobs.append(job)
        self.asked.set()
        await self.hold.wait()
        array = read_array(request["inputs"][0], fds[0]) + 1
        meta, fd = write_array(array)
        return {"outputs": [meta], "device": "test"}, [fd]


async def test_a_model_is_asked_through_shared_memory(tmp_path: Path, photo: Path):
    models = Adder()
    models.hold.set()
    async with odd_pool(tmp_path / "run", models=models) as pool:
        await usable(pool, photo)
        before = len(list(Path("/dev/fd").iterdir()))
        outcome, _ = await result_of(pool, one_step("add-one"), [photo])
        assert outcome.report == {"values": {"sum": 21.0, "device": "test", "installed": True}}
        assert len(list(Path("/dev/fd").iterdir())) == before


async def test_cancelling_while_a_model_runs_frees_the_worker_alive(tmp_path: Path, photo: Path):
    models = Adder()
    async with odd_pool(tmp_path / "run", models=models) as pool:
        job = asyncio.ensure_future(result_of(pool, one_step("add-one"), [photo]))
        with anyio.fail_after(60):
            await models.asked.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        models.hold.set()
        outcome, _ = await result_of(pool, one_step("add-one"), [photo])
        assert outcome.report is not None
        assert outcome.report["values"]["sum"] == 21.0
        assert pool.stats()["killed"] == 0


async def test_without_models_a_tool_that_needs_one_says_what_to_install(pool: Pool, photo: Path):
    with pytest.raises(RuntimeNotInstalled, match="install"):
        await result_of(pool, one_step("add-one"), [photo])


async def test_an_error_of_the_model_service_reaches_the_caller(tmp_path: Path, photo: Path):
    class Empty(Adder):
        async def infer(self, request, fds, job):
            raise ModelNotInstalled("Install it with: darkroom models install adder", model="adder")

    async with odd_pool(tmp_path / "run", models=Empty()) as pool:
        with pytest.raises(ModelNotInstalled, match="darkroom models") as caught:
            await result_of(pool, one_step("add-one"), [photo])
    assert caught.value.details == {"model": "adder"}


async def test_what_a_dead_server_left_is_removed_and_nothing_stays(tmp_path: Path, photo: Path):
    run_dir = tmp_path / "run"
    (run_dir / "worker-0" / "in").mkdir(parents=True)
    (run_dir / "worker-0" / "in" / "old").write_text("old")
    (run_dir / "results-9").mkdir()
    async with odd_pool(run_dir) as pool:
        await usable(pool, photo)
        assert await leftovers(pool) == []
        assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700
        assert not (run_dir / "results-9").exists()
    assert not run_dir.exists()


async def test_no_process_survives_the_pool(tmp_path: Path, photo: Path):
    async with odd_pool(tmp_path / "run") as pool:
        outcome, _ = await result_of(pool, one_step("process"), [photo])
    assert outcome.report is not None
    for name in ("pid", "parent"):
        with pytest.raises(ProcessLookupError):
            os.kill(outcome.report["values"][name], 0)
    with pytest.raises(Overloaded):
        await pool.inspect(photo)


NO_LANDLOCK = ("landlockpy.py", "AccessFS = Ruleset = Scope = None\ndef supported(): return False\n")
NO_SECCOMP = ("pyseccomp.py", "raise RuntimeError('no libseccomp')\n")


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
@pytest.mark.parametrize(
    ("missing", "level", "words"),
    [
        ([NO_LANDLOCK], "partial", "Landlock"),
        ([NO_SECCOMP], "partial", "seccomp"),
        ([NO_LANDLOCK, NO_SECCOMP], "none", ";"),
    ],
)
async def test_a_weaker_sandbox_is_told_and_refused_where_a_full_one_is_required(
    tmp_path: Path, photo: Path, monkeypatch, missing, level, words
):
    folder = tmp_path / "site"
    folder.mkdir()
    for name, text in missing:
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    async with odd_pool(tmp_path / "run") as pool:
        await usable(pool, photo)
        assert pool.sandbox == pool.stats()["sandbox"] == level
        assert words in "; ".join(pool.lacking)
    with pytest.raises(Overloaded, match=f"full sandbox is required, but here it is {level}"):
        async with Pool(workers=1, run_dir=tmp_path / "run", limits=Limits(), require_sandbox=True):
            pass
    assert not (tmp_path / "run").exists()


async def test_a_worker_that_was_idle_for_long_after_a_job_is_replaced(tmp_path: Path, photo: Path, monkeypatch):
    monkeypatch.setattr("darkroom.engine.pool.IDLE_SECONDS", 0)
    async with odd_pool(tmp_path / "run") as pool:
        outcome, _ = await result_of(pool, one_step("process"), [photo])
        assert outcome.report is not None
        child = pool._slots[0]._child
        assert child is not None
        with anyio.fail_after(30):
            await asyncio.wait([child.ended])
        assert pool.stats()["replaced"] == 1
        assert pool.stats()["deaths"] == 0


async def test_workers_that_cannot_start_are_refused_to_the_caller_instead_of_waited_for(tmp_path: Path, photo: Path):
    async with odd_pool(tmp_path / "run", memory_bytes=1) as pool:
        with anyio.fail_after(60), pytest.raises(Overloaded, match="darkroom doctor"):
            await pool.inspect(photo)


@pytest.mark.skipif(sys.platform != "linux", reason="needs pidfd")
def test_no_worker_outlives_a_server_that_is_killed(tmp_path: Path, photo: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HANGING_SERVER, str(tmp_path / "run"), str(photo)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            watched = [os.pidfd_open(int(pid)) for pid in server.stdout.readline().split()]
        finally:
            server.kill()
    assert len(watched) == 3
    for fd in watched:
        assert select.select([fd], [], [], 30)[0] == [fd]
    close_all(watched)


HANGING_SERVER = """
import asyncio, sys
from pathlib import Path
from support.pool_room import odd_pool, one_step, result_of

async def main(run_dir, photo):
    async with odd_pool(run_dir, workers=2) as pool:
        await pool.inspect(photo)
        while pool.idle < 2:
            await asyncio.sleep(0.01)
        children = [slot._child.pid for slot in pool._slots]
        pids = lambda _: print(*children, pool.forks._process.pid, flush=True)
        await result_of(pool, one_step("hang"), [photo], pids, 600)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""

SERVER = """
import asyncio, sys
from pathlib import Path
from support.pool_room import odd_pool, one_step, result_of

async def main(run_dir, photo):
    async with odd_pool(run_dir) as pool:
        outcome, files = await result_of(pool, one_step("blur-much"), [photo])
        assert files[0][:2] == b"\\xff\\xd8"
        parent = (await result_of(pool, one_step("process"), [photo]))[0].report["values"]["parent"]
        for pid in ("self", parent):
            maps = Path(f"/proc/{pid}/maps").read_text()
            print([word for word in ("vips", "numpy", "onnxruntime", "pdfium", "zxing") if word in maps])
            print(len(list(Path(f"/proc/{pid}/task").iterdir())) if pid != "self" else 1)
    print([name for name in ("pyvips", "numpy", "onnxruntime", "PIL") if name in sys.modules])

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_neither_the_server_nor_the_fork_server_loads_a_codec(tmp_path: Path, photo: Path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path / "run"), str(photo)],
        capture_output=True,
        check=False,
        text=True,
        env=environment,
        timeout=100,
    )
    assert ran.stderr == ""
    assert ran.stdout.split("\n") == ["[]", "1", "[]", "1", "[]", ""]


async def test_closing_the_pool_ends_what_runs_and_starts_nothing_new(tmp_path: Path, photo: Path):
    started = asyncio.Event()
    async with odd_pool(tmp_path / "run") as pool:
        running = asyncio.ensure_future(result_of(pool, one_step("hang"), [photo], lambda _: started.set(), 600))
        waiting = asyncio.ensure_future(pool.inspect(photo))
        with anyio.fail_after(60):
            await started.wait()
    with pytest.raises(WorkerDied):
        await running
    with pytest.raises(Overloaded):
        await waiting
    assert pool._background == set()
    assert not (tmp_path / "run").exists()


async def test_a_stored_file_that_is_gone_fails_its_job_and_keeps_the_worker(pool: Pool, photo: Path, tmp_path: Path):
    await usable(pool, photo)
    before = pool.stats()["deaths"]
    child = pool._slots[0]._child
    with pytest.raises(FileNotFoundError):
        await pool.inspect(tmp_path / "gone")
    await usable(pool, photo)
    assert pool._slots[0]._child is child
    assert pool.stats()["deaths"] == before


async def test_a_plan_with_an_unknown_tool_is_refused_before_a_worker_is_taken(pool: Pool, photo: Path):
    before = pool.stats()["runs"]
    with pytest.raises(InvalidSettings, match="'levitate'"):
        await result_of(pool, one_step("levitate"), [photo], seconds=3)
    assert pool.stats()["runs"] == before
