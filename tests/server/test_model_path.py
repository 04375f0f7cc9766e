"""From a call to a model and back: tool, pixel worker, shared memory, model process, reply."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from PIL import Image
from support.onnx_models import luminance

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.engine.model_store import import_model
from darkroom.jobs.record import Job
from darkroom.principal import Principal

pytestmark = pytest.mark.anyio


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Darkroom]:
    async with open_darkroom(Config(data_dir=tmp_path / "data", workers=2)) as opened:
        yield opened


@pytest.fixture
def caller(tmp_path: Path) -> Principal:
    down, across = np.mgrid[0:90, 0:120]
    seen = np.stack([across * 2, down * 2, 255 - across], -1).astype(np.uint8)
    for n in range(4):
        Image.fromarray(np.roll(seen, n * 7, axis=1)).save(tmp_path / f"{n}.png")
    return Principal("local", (tmp_path,))


def install(room: Darkroom, tmp_path: Path, model: str = "u2net") -> None:
    (tmp_path / "model.onnx").write_bytes(luminance())
    import_model(room.where.models, model, tmp_path / "model.onnx")


async def cut(room: Darkroom, caller: Principal, n: int = 0, **settings: Any) -> Job:
    tool = room.catalog.find(caller, "remove_background")
    job = await room.jobs.accept(caller, tool, {"image": str(caller.roots[0] / f"{n}.png"), **settings})
    return await room.jobs.wait(caller, job.id, 60)


async def test_an_installed_model_makes_the_mask_and_the_reply_names_it(
    room: Darkroom, caller: Principal, tmp_path: Path
) -> None:
    install(room, tmp_path)
    job = await cut(room, caller, returnMask=True)
    assert job.result is not None, job.error
    item = job.result.items[0]
    assert (item.facts["method"], item.facts["device"]) == ("u2net", "cpu")
    (tmp_path / "mask.png").write_bytes(await room.library.read(caller, item.images[0]))
    mask = np.asarray(Image.open(tmp_path / "mask.png")).astype(float)
    seen = np.asarray(Image.open(tmp_path / "0.png")).astype(float)
    weighed = (seen / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225] @ [0.299, 0.587, 0.114]
    expected = (weighed - weighed.min()) / (weighed.max() - weighed.min()) * 255
    assert np.abs(mask - expected).mean() < 2


async def test_many_calls_share_one_load_of_the_model(room: Darkroom, caller: Principal, tmp_path: Path) -> None:
    install(room, tmp_path)
    jobs: list[Job] = []

    async def one(n: int) -> None:
        jobs.append(await cut(room, caller, n))

    async with anyio.create_task_group() as tasks:
        for n in range(4):
            tasks.start_soon(one, n)
    assert [job.state for job in jobs] == ["succeeded"] * 4
    assert room.models.stats()["loads"] == 1


async def test_a_model_that_is_named_but_not_installed_is_an_error_with_the_command(
    room: Darkroom, caller: Principal
) -> None:
    job = await cut(room, caller, model="birefnet-general")
    assert job.error is not None
    assert job.error["code"] == "MODEL_NOT_INSTALLED"
    assert "darkroom models pull birefnet-general" in job.error["error"]


async def test_without_onnx_runtime_a_named_model_is_an_error_and_the_default_is_not(
    room: Darkroom, caller: Principal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(room, tmp_path)
    monkeypatch.setattr(room.models, "runtime_installed", lambda: False)
    named = await cut(room, caller, model="u2net")
    assert named.error is not None
    assert named.error["code"] == "RUNTIME_NOT_INSTALLED"
    assert re.search(r"darkroom-mcp\[ai\]|--extra ai", named.error["error"])
    default = await cut(room, caller)
    assert default.result is not None, default.error
    assert default.result.items[0].facts["method"] == "color-cut"


async def test_installing_a_model_makes_an_earlier_answer_stale(
    room: Darkroom, caller: Principal, tmp_path: Path
) -> None:
    before = await cut(room, caller)
    install(room, tmp_path)
    after = await cut(room, caller)
    assert before.result is not None and after.result is not None
    assert before.result.items[0].facts["method"] == "color-cut"
    assert after.result.items[0].facts["method"] == "u2net"
