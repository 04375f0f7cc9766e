"""What only a machine with a CUDA device can show; `make test-gpu` runs it there, with the extra `gpu` installed."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_models as onnx

from darkroom.engine import models as models_module
from darkroom.engine.channel import close_all
from darkroom.engine.models import ModelService
from darkroom.engine.shared import read_array, write_array
from darkroom_tools.errors import OutOfMemory
from darkroom_tools.models import Card

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.anyio,
    pytest.mark.skipif(not list(Path("/dev").glob("nvidia[0-9]*")), reason="needs a CUDA device"),
]

SMALL_BUDGET = 64 * 2**20
OVER_IT = np.zeros((1, 16, 1024, 1024), np.float32)
"""As much as the small budget, before anything is computed of it."""


@dataclass(frozen=True)
class Answer:
    array: np.ndarray
    device: str
    notes: list[str]


async def infer(
    service: ModelService, model: str, array: np.ndarray, job: str = "job", *, many: bool = False
) -> Answer:
    meta, fd = write_array(array)
    try:
        reply, fds = await service.infer({"model": model, "inputs": [meta], "many": many}, [fd], job)
    finally:
        close_all([fd])
    try:
        return Answer(read_array(reply["outputs"][0], fds[0], copy=True), str(reply["device"]), list(reply["notes"]))
    finally:
        close_all(fds)


@asynccontextmanager
async def serving(
    folder: Path, models: Mapping[str, bytes], *, memory_bytes: int = 2**32, **options: Any
) -> AsyncIterator[ModelService]:
    service = ModelService(onnx.install(folder, models), memory_bytes=memory_bytes, **options)
    try:
        yield service
    finally:
        await service.aclose()


@pytest.mark.parametrize("providers", [None, ["cuda"]], ids=["any", "cuda"])
async def test_the_gpu_runs_the_model_inside_the_sandbox_and_the_reply_says_so(
    tmp_path: Path, providers: list[str] | None
) -> None:
    picture = np.random.default_rng(5).random((1, 3, 320, 320), np.float32)
    async with serving(tmp_path, {"mask": onnx.luminance()}, providers=providers) as service:
        answer = await infer(service, "mask", picture)
        stats = service.stats()

    assert answer.device in (("tensorrt", "cuda") if providers is None else ("cuda",))
    assert answer.notes == []
    assert stats["tried"][answer.device] == "works"
    assert stats["unusedGpu"] is None
    np.testing.assert_allclose(answer.array[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=2e-3)


async def test_requests_of_many_jobs_merge_on_the_gpu(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    pictures = [random.random((1, 3, 320, 320), np.float32) for _ in range(64)]
    async with serving(tmp_path, {"mask": onnx.luminance()}, providers=["cuda"]) as service:
        answers = await asyncio.gather(
            *(infer(service, "mask", picture, job=f"job-{n}") for n, picture in enumerate(pictures))
        )
        sizes = [int(size) for size in service.stats()["batchSizes"]]

    for picture, answer in zip(pictures, answers, strict=True):
        assert answer.device == "cuda"
        np.testing.assert_allclose(answer.array[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=2e-3)
    assert max(sizes) > 1


async def test_inputs_and_outputs_of_changing_sizes_are_bound_to_the_device(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    async with serving(tmp_path, {"same": onnx.identity()}, providers=["cuda"]) as service:
        for side in (8, 512, 64, 1024, 8):
            picture = random.random((1, 3, side, side + 8), np.float32)
            answer = await infer(service, "same", picture)
            np.testing.assert_array_equal(answer.array, picture)


async def test_the_file_in_half_floats_is_preferred_and_takes_single_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Card("full", "test", "Full", "full.onnx", "MIT", half="half")
    monkeypatch.setattr(models_module, "cards", lambda: {"full": full})
    one = np.ones((1, 2), np.float32)
    async with serving(tmp_path, {"full": onnx.times(3), "half": onnx.half_times(5)}, providers=["cuda"]) as service:
        answer = await infer(service, "full", one)

    assert (answer.array.dtype, answer.device) == (np.float32, "cuda")
    assert answer.array.tolist() == [[5, 5]]


async def test_what_the_gpu_has_no_memory_for_the_cpu_runs_and_says_so(tmp_path: Path) -> None:
    models = {"large": onnx.slow(layers=2)}
    async with serving(tmp_path, models, memory_bytes=SMALL_BUDGET, providers=["cuda"]) as service:
        answer = await infer(service, "large", OVER_IT)
        small = await infer(service, "large", OVER_IT[:, :, :64, :64])
        stats = service.stats()

    assert answer.device == "cpu"
    assert "ran out of memory" in answer.notes[0]
    assert answer.array.shape == OVER_IT.shape
    assert (small.device, small.notes) == ("cuda", [])
    assert stats["outOfMemory"]["toCpu"] == 1


async def test_of_a_picture_in_tiles_the_tiles_are_made_smaller_first(tmp_path: Path) -> None:
    models = {"large": onnx.slow(layers=2)}
    async with serving(tmp_path, models, memory_bytes=SMALL_BUDGET, providers=["cuda"]) as service:
        with pytest.raises(OutOfMemory):
            await infer(service, "large", OVER_IT, many=True)
        assert (await infer(service, "large", OVER_IT[:, :, :128, :128], many=True)).device == "cuda"


async def test_a_model_to_keep_is_warm_on_the_gpu_and_its_memory_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path, {"mask": onnx.luminance()}, providers=["cuda"], keep=["mask"]) as service:
        service.start()
        await onnx.until(lambda: service.stats().get("loads") == 1)
        stats = service.stats()

    assert stats["device"] == "cuda"
    assert stats["vram"]["usedBytes"] > 0


async def test_a_cpu_that_was_asked_for_is_no_warning_beside_a_gpu(tmp_path: Path) -> None:
    async with serving(tmp_path, {"mask": onnx.luminance()}, providers=["cpu"]) as service:
        answer = await infer(service, "mask", np.zeros((1, 3, 320, 320), np.float32))
    assert (answer.device, answer.notes) == ("cpu", [])
