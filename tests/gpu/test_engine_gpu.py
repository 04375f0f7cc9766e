"""What only a machine with a CUDA device can show; `make test-gpu` runs it there, with the extra `gpu` installed."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import onnx_models as onnx

from darkroom.engine.channel import close_all
from darkroom.engine.models import ModelService
from darkroom.engine.shared import read_array, write_array

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.anyio,
    pytest.mark.skipif(not list(Path("/dev").glob("nvidia[0-9]*")), reason="needs a CUDA device"),
]


async def infer(service: ModelService, model: str, array: np.ndarray, job: str = "job") -> tuple[np.ndarray, str]:
    meta, fd = write_array(array)
    try:
        reply, fds = await service.infer({"model": model, "inputs": [meta]}, [fd], job)
    finally:
        close_all([fd])
    try:
        return np.array(read_array(reply["outputs"][0], fds[0])), str(reply["device"])
    finally:
        close_all(fds)


def service_with(folder: Path, **options: Any) -> ModelService:
    return ModelService(onnx.install(folder, {"mask": onnx.luminance()}), memory_bytes=2**32, **options)


@pytest.mark.parametrize("providers", [None, ["cuda"]], ids=["any", "cuda"])
async def test_the_gpu_runs_the_model_inside_the_sandbox_and_the_reply_says_so(
    tmp_path: Path, providers: list[str] | None
) -> None:
    picture = np.random.default_rng(5).random((1, 3, 320, 320), np.float32)
    service = service_with(tmp_path, providers=providers)
    try:
        mask, device = await infer(service, "mask", picture)
    finally:
        await service.aclose()

    assert device in (("tensorrt", "cuda") if providers is None else ("cuda",))
    np.testing.assert_allclose(mask[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=2e-3)


async def test_requests_of_many_jobs_merge_on_the_gpu(tmp_path: Path) -> None:
    random = np.random.default_rng(6)
    pictures = [random.random((1, 3, 320, 320), np.float32) for _ in range(64)]
    service = service_with(tmp_path, providers=["cuda"])
    try:
        answers = await asyncio.gather(
            *(infer(service, "mask", picture, job=f"job-{n}") for n, picture in enumerate(pictures))
        )
        sizes = [int(size) for size in service.stats()["batchSizes"]]
    finally:
        await service.aclose()

    for picture, (mask, device) in zip(pictures, answers, strict=True):
        assert device == "cuda"
        np.testing.assert_allclose(mask[0, 0], np.tensordot(onnx.LUMINANCE, picture[0], 1), atol=2e-3)
    assert max(sizes) > 1
