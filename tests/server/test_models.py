import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_models as onnx
from support.onnx_models import SECONDS, SLOW_INPUT, infer, serving, until, until_stats

pytest.importorskip("onnxruntime")

from darkroom.engine import models
from darkroom.engine.devices import cores
from darkroom.engine.model_process import ModelProcess
from darkroom.engine.model_store import import_model, installed_models
from darkroom.engine.models import ModelService
from darkroom_tools.errors import (
    Cancelled,
    ModelInvalid,
    ModelNotInstalled,
    OutOfMemory,
    ProcessingCrashed,
    ProcessingFailed,
    RuntimeNotInstalled,
)

pytestmark = pytest.mark.anyio
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def model_processes() -> list[int]:
    """The model processes of this test run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, status = (folder / "cmdline").read_bytes(), (folder / "status").read_text()
        except OSError:
            continue
        if b"darkroom.engine.model_worker" in command and f"\nPPid:\t{os.getpid()}\n" in status:
            found.append(int(folder.name))
    return found


def batch_sizes(service: ModelService) -> dict[int, int]:
    return {int(size): count for size, count in service.stats()["batchSizes"].items()}


class Busy:
    """Occupies every lane until `free`."""

    def __init__(self, service: ModelService) -> None:
        self._service = service
        self._tasks = [asyncio.create_task(infer(service, "slow", SLOW_INPUT, job=f"busy-{n}")) for n in range(cores())]

    async def free(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def busy(service: ModelService) -> Busy:
    """All lanes at work on something that takes minutes, and nothing waiting."""
    await infer(service, "slow", SLOW_INPUT[:, :, :8, :8])
    lanes = Busy(service)
    await until_stats(service, "slow", queued=0, running=cores())
    return lanes


async def test_a_model_answers_like_numpy(tmp_path: Path) -> None:
    picture = np.random.default_rng(3).random((1, 3, 320, 320), np.float32)
    async with serving(tmp_path, {"u2net": onnx.luminance()}) as service:
        (mask,) = await infer(service, "u2net", picture)

    assert mask.shape == (1, 1, 320, 320)
    np.testing.assert_allclose(mask[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=1e-6)


async def test_requests_of_many_jobs_merge_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    pictures = [random.random((1, 3, 32, 32), np.float32) for _ in range(4 * cores())]
    models = {"slow": onnx.slow(), "mask": onnx.luminance(side=32)}
    async with serving(tmp_path, models) as service:
        lanes = await busy(service)
        waiting = [
            asyncio.create_task(infer(service, "mask", picture, job=f"job-{n}")) for n, picture in enumerate(pictures)
        ]
        await until_stats(service, "mask", queued=len(pictures))
        await lanes.free()
        answers = await asyncio.gather(*waiting)
        await until_stats(service, "mask", queued=0, running=0)
        sizes = batch_sizes(service)

    for picture, (mask,) in zip(pictures, answers, strict=True):
        np.testing.assert_allclose(mask[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=1e-6)
    assert max(sizes) >= 4


async def test_a_model_with_a_fixed_batch_runs_its_requests_one_by_one(tmp_path: Path) -> None:
    models = {"slow": onnx.slow(), "fixed": onnx.identity(1, 4)}
    async with serving(tmp_path, models) as service:
        lanes = await busy(service)
        before = batch_sizes(service)
        waiting = [
            asyncio.create_task(infer(service, "fixed", np.full((1, 4), n, np.float32), job=f"job-{n}"))
            for n in range(4 * cores())
        ]
        await until_stats(service, "fixed", queued=len(waiting))
        await lanes.free()
        answers = await asyncio.gather(*waiting)
        await until_stats(service, "fixed", queued=0, running=0)
        sizes = batch_sizes(service)

    assert [float(answer[0][0, 0]) for answer in answers] == list(range(4 * cores()))
    assert set(sizes) == {1}
    assert sizes[1] - before.get(1, 0) >= len(waiting)


async def test_a_job_with_many_requests_does_not_starve_another(tmp_path: Path) -> None:
    megabyte = np.zeros((1, 2**18), np.float32)
    async with serving(tmp_path, {"slow": onnx.slow(), "fixed": onnx.identity(1, 2**18)}) as service:
        lanes = await busy(service)
        finished: list[str] = []

        async def one(job: str) -> None:
            await infer(service, "fixed", megabyte, job=job)
            finished.append(job)

        many = [asyncio.create_task(one("greedy")) for _ in range(100 + cores())]
        await until_stats(service, "fixed", queued=len(many))
        last = asyncio.create_task(one("modest"))
        await until_stats(service, "fixed", queued=len(many) + 1)
        await lanes.free()
        await asyncio.gather(*many, last)

    # It is the second to be taken; a lane may be slow to answer, but not for half of the others.
    assert finished.index("modest") < len(many) / 2


async def test_models_are_told_apart_by_their_bytes_not_their_ids(tmp_path: Path) -> None:
    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"a": onnx.times(2), "b": onnx.times(2)}) as service:
        assert await infer(service, "a", one) == await infer(service, "b", one) == [[[2]]]
        assert service.stats()["loads"] == 1

        (tmp_path / "new.onnx").write_bytes(onnx.times(7))
        import_model(tmp_path / "models", "a", tmp_path / "new.onnx")

        assert await infer(service, "a", one) == [[[7]]]
        assert await infer(service, "b", one) == [[[2]]]
        assert service.stats()["loads"] == 2


async def test_models_make_room_for_one_another_within_the_budget(tmp_path: Path) -> None:
    models = {"a": onnx.times(2), "b": onnx.times(3)}
    budget = 3 * max(len(data) for data in models.values())
    async with serving(tmp_path, models, memory_bytes=budget) as service:
        for name in "aab":
            await infer(service, name, np.ones((1, 1), np.float32))
        stats = service.stats()

    assert (stats["loads"], stats["evictions"], stats["sessions"]) == (2, 1, 1)
    assert stats["memoryBytes"] <= budget


async def test_a_model_over_the_budget_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, {"a": onnx.times(2)}, memory_bytes=100) as service:
        with pytest.raises(OutOfMemory, match="needs about"):
            await infer(service, "a", np.ones((1, 1), np.float32))


async def test_a_model_that_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    async with serving(tmp_path, {"other": onnx.identity()}) as service:
        with pytest.raises(ModelNotInstalled) as caught:
            await infer(service, "u2net", np.zeros(1, np.float32))

        assert caught.value.details == {"model": "u2net", "command": "darkroom models pull u2net"}
        assert not service.stats()["alive"]


async def test_without_the_runtime_the_answer_holds_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path, {"one": onnx.identity()}) as service:
        assert service.runtime_installed()
        monkeypatch.setattr(models, "_has_runtime", lambda: False)

        assert not service.runtime_installed()
        with pytest.raises(RuntimeNotInstalled) as caught:
            await infer(service, "one", np.zeros((1, 3, 1, 1), np.float32))

    assert caught.value.details["command"] in caught.value.message
    assert "ai" in caught.value.details["command"]


async def test_a_runtime_that_does_not_load_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "packages" / "onnxruntime"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('libsomething.so is missing')")
    monkeypatch.syspath_prepend(str(broken.parent))
    async with serving(tmp_path, {"one": onnx.times(2)}) as service:
        with pytest.raises(RuntimeNotInstalled, match="does not load"):
            await infer(service, "one", np.zeros((1, 1), np.float32))


async def test_inputs_of_another_shape_are_refused_and_the_next_request_works(tmp_path: Path) -> None:
    async with serving(tmp_path, {"u2net": onnx.luminance()}) as service:
        with pytest.raises(ModelInvalid, match=r"takes float32 \[any×3×320×320\], but was given float32 \[1×3×64×64\]"):
            await infer(service, "u2net", np.zeros((1, 3, 64, 64), np.float32))

        await infer(service, "u2net", np.zeros((1, 3, 320, 320), np.float32))


async def test_a_file_changed_after_its_import_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, {"one": onnx.times(2)}) as service:
        service.installed()["one"].path.write_bytes(onnx.times(3))

        with pytest.raises(ModelInvalid, match="changed since it was installed"):
            await infer(service, "one", np.ones((1, 1), np.float32))


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"model": "one"},
        {"model": ["one"], "inputs": [{}]},
        {"model": "one", "inputs": []},
        {"model": "one", "inputs": [{}, {}]},
        {"model": "one", "inputs": [None]},
        {"model": "one", "inputs": [{"dtype": "float32", "shape": [2**40]}]},
        {"model": "one", "inputs": [{"dtype": ["float32"], "shape": "x"}]},
    ],
    ids=repr,
)
async def test_a_malformed_request_is_refused_and_the_process_lives_on(
    tmp_path: Path, request_: dict[str, object]
) -> None:
    async with serving(tmp_path, {"one": onnx.times(2)}) as service:
        await infer(service, "one", np.ones((1, 1), np.float32))
        reader, writer = os.pipe()
        try:
            with pytest.raises(ProcessingFailed):
                await service.infer(request_, [reader], "job")
        finally:
            os.close(reader)
            os.close(writer)

        await infer(service, "one", np.ones((1, 1), np.float32))
        assert service.stats()["starts"] == 1


@linux
async def test_a_crash_fails_what_is_in_flight_and_the_next_request_starts_anew(tmp_path: Path) -> None:
    async with serving(tmp_path, {"slow": onnx.slow(), "fast": onnx.times(2)}) as service:
        lanes = await busy(service)
        waiting = asyncio.create_task(infer(service, "fast", np.ones((1, 1), np.float32)))
        await until_stats(service, "fast", queued=1)

        (pid,) = model_processes()
        os.kill(pid, signal.SIGKILL)

        with pytest.raises(ProcessingCrashed):
            await waiting
        await lanes.free()
        assert await infer(service, "fast", np.ones((1, 1), np.float32)) == [[[2]]]
        stats = service.stats()

    assert (stats["crashes"], stats["starts"], stats["loads"], stats["inFlight"]) == (1, 2, 1, 0)
    assert model_processes() == []


async def test_a_cancelled_request_stops_its_native_work(tmp_path: Path) -> None:
    async with serving(tmp_path, {"slow": onnx.slow(), "fast": onnx.times(2)}) as service:
        lanes = await busy(service)

        await lanes.free()

        async with asyncio.timeout(onnx.SECONDS):
            await infer(service, "fast", np.ones((1, 1), np.float32))
        assert service.stats()["starts"] == 1


async def test_cancelling_a_job_fails_its_requests_and_no_others(tmp_path: Path) -> None:
    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"slow": onnx.slow(), "fast": onnx.times(2)}) as service:
        lanes = await busy(service)
        dropped = [asyncio.create_task(infer(service, "fast", one, job="dropped")) for _ in range(5)]
        kept = asyncio.create_task(infer(service, "fast", one, job="kept"))
        await until_stats(service, "fast", queued=6)

        service.cancel("dropped")

        for task in dropped:
            with pytest.raises(Cancelled):
                await task
        await until_stats(service, "fast", queued=1)
        await lanes.free()
        assert await kept == [[[2]]]


@linux
async def test_a_process_whose_start_was_cancelled_again_and_again_serves_the_next_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    start = ModelProcess.start

    async def slow_start(*arguments: Any) -> ModelProcess:
        begun.set()
        await go_on.wait()
        return await start(*arguments)

    monkeypatch.setattr(ModelProcess, "start", slow_start)
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        for _ in range(2):
            caller = asyncio.create_task(infer(service, "fast", np.ones((1, 1), np.float32)))
            await begun.wait()
            await asyncio.sleep(0)
            for _ in range(3):
                caller.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await caller
        go_on.set()
        (answer,) = await infer(service, "fast", np.full((1, 1), 4, np.float32))
        assert answer.item() == 8
        assert service.stats()["starts"] == 1


async def test_a_process_that_does_not_stop_for_a_cancel_is_ended(tmp_path: Path) -> None:
    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        await infer(service, "fast", one)
        (pid,) = model_processes()
        os.kill(pid, signal.SIGSTOP)
        stuck = asyncio.create_task(infer(service, "fast", one, job="stuck"))
        await until(lambda: service.stats()["inFlight"] == 1)

        service.cancel("stuck")
        await until(lambda: pid not in model_processes())

        assert await infer(service, "fast", one) == [[[2]]]
        with pytest.raises(Cancelled):
            await stuck
        assert (service.stats()["starts"], service.stats()["crashes"]) == (2, 0)


@linux
async def test_the_process_ends_when_it_has_been_idle_and_comes_back(tmp_path: Path) -> None:
    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"fast": onnx.times(2)}, idle_seconds=0.05) as service:
        await infer(service, "fast", one)
        await until(lambda: not service.stats()["alive"] and model_processes() == [])

        assert await infer(service, "fast", one) == [[[2]]]
        assert (service.stats()["starts"], service.stats()["crashes"]) == (2, 0)


@linux
async def test_models_to_keep_are_loaded_at_the_start_and_the_process_stays(tmp_path: Path) -> None:
    models = {"kept": onnx.luminance(side=8), "other": onnx.times(2)}
    async with serving(tmp_path, models, idle_seconds=0.0, keep=["kept", "unknown"]) as service:
        assert not service.stats()["alive"]
        service.start()
        await until(lambda: service.stats().get("loads") == 1)
        before = service.stats()["requests"]
        await infer(service, "other", np.ones((1, 1), np.float32))
        await asyncio.sleep(0)
        stats = service.stats()
    assert (before, stats["alive"], stats["starts"]) == (0, True, 1)


async def test_without_models_to_keep_a_start_starts_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path, {"one": onnx.times(2)}) as service:
        service.start()
        await asyncio.sleep(0)
        assert service.stats() == {"alive": False, "starts": 0, "crashes": 0, "inFlight": 0}


@linux
async def test_a_process_that_does_not_even_read_holds_up_no_cancel(tmp_path: Path) -> None:
    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        await infer(service, "fast", one)
        (pid,) = model_processes()
        os.kill(pid, signal.SIGSTOP)
        stuck = [asyncio.create_task(infer(service, "fast", one, job=f"job-{n}")) for n in range(1500)]
        await until(lambda: service.stats()["inFlight"] == len(stuck))

        for task in stuck:
            task.cancel()
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*stuck, return_exceptions=True)

        assert await infer(service, "fast", one) == [[[2]]]
        assert service.stats()["inFlight"] == 0


async def test_closing_fails_what_is_in_flight(tmp_path: Path) -> None:
    async with serving(tmp_path, {"slow": onnx.slow()}) as service:
        lanes = await busy(service)
        waiting = asyncio.create_task(infer(service, "slow", SLOW_INPUT))
        await until_stats(service, "slow", queued=1)

        await service.aclose()

        with pytest.raises(ProcessingCrashed):
            await waiting
        await lanes.free()


@linux
async def test_requests_leave_no_descriptors_behind(tmp_path: Path) -> None:
    def open_here() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    one = np.ones((1, 1), np.float32)
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        await infer(service, "fast", one)
        (pid,) = model_processes()
        here, there = open_here(), len(list(Path(f"/proc/{pid}/fd").iterdir()))

        await asyncio.gather(*(infer(service, "fast", one, job=f"job-{n}") for n in range(40)))
        given_up = [asyncio.create_task(infer(service, "fast", one)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in given_up:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        await infer(service, "fast", one)

        await until(lambda: open_here() <= here and len(list(Path(f"/proc/{pid}/fd").iterdir())) <= there)


@linux
async def test_the_model_process_has_one_socket_no_core_dumps_and_reports_to_nobody(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        await infer(service, "fast", np.ones((1, 1), np.float32))
        (pid,) = model_processes()
        links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        limits = Path(f"/proc/{pid}/limits").read_text()
        status = Path(f"/proc/{pid}/status").read_text()

    assert len([link for link in links if link.startswith("socket:")]) == 1
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core")] == ["0"]
    assert "NoNewPrivs:\t1" in status
    # Telemetry that is on says that it cannot keep its identifier in this sandbox.
    assert "telemetry" not in capfd.readouterr().err.lower()


@linux
async def test_the_model_process_gets_no_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DARKROOM_TOKEN", "secret-one")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-two")
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        await infer(service, "fast", np.ones((1, 1), np.float32))
        (pid,) = model_processes()
        environment = Path(f"/proc/{pid}/environ").read_text()

    assert "secret" not in environment


@linux
async def test_the_model_process_reads_no_file_outside_the_models_folder(tmp_path: Path) -> None:
    landlock = pytest.importorskip("landlockpy")
    if not landlock.supported():
        pytest.skip("this kernel has no Landlock")
    async with serving(tmp_path, {"fast": onnx.times(2)}) as service:
        path = service.installed()["fast"].path
        path.rename(tmp_path / "outside.onnx")
        path.symlink_to(tmp_path / "outside.onnx")

        with pytest.raises(ModelInvalid, match="gone or was changed"):
            await infer(service, "fast", np.ones((1, 1), np.float32))


@linux
def test_the_server_process_loads_neither_onnxruntime_nor_numpy(tmp_path: Path) -> None:
    models_dir = onnx.install(tmp_path, {"double": onnx.times(2)})
    assert installed_models(models_dir)
    script = textwrap.dedent("""
        import asyncio, fcntl, os, struct, sys
        from pathlib import Path
        from darkroom.engine.models import ModelService

        async def main():
            service = ModelService(Path(sys.argv[1]), memory_bytes=2**20)
            fd = os.memfd_create("array", os.MFD_ALLOW_SEALING)
            os.write(fd, struct.pack("f", 21.0))
            request = {"model": "double", "inputs": [{"dtype": "float32", "shape": [1, 1]}]}
            reply, fds = await service.infer(request, [fd], "job")
            print(reply["outputs"], struct.unpack("f", os.pread(fds[0], 4, 0))[0])
            await service.aclose()

        asyncio.run(main())
        maps = Path("/proc/self/maps").read_text()
        print([name for name in ("onnxruntime", "numpy", "vips") if name in sys.modules or name in maps])
    """)

    done = subprocess.run(
        [sys.executable, "-c", script, str(models_dir)], capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == ["[{'dtype': 'float32', 'shape': [1, 1]}] 42.0", "[]"], done.stderr
