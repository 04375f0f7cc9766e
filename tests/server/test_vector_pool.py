"""Vector workers: the only ones that parse SVG and PDF, started when they are needed and as confined as the others."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image
from support.pictures import gradient
from support.pool_room import one_step, result_of
from support.vector_tools import DRAWING

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Picture
from darkroom.engine.pool import Pool
from darkroom.executors.local import LocalExecutor
from darkroom_tools.errors import ProcessingFailed, ProcessingTimeout, UnsupportedFormat
from darkroom_tools.plan import Plan, Step, input_ref

pytestmark = pytest.mark.anyio

PERMITTED = {"write its output", "write its tmp", "read its input", "start a thread", "import a module late"}
TOOLS = ("support.odd_tools", "support.vector_tools")


@asynccontextmanager
async def pools(folder: Path, **limits: Any) -> AsyncIterator[tuple[Pool, Pool]]:
    """A pool of each kind, which share what starts their processes."""
    some = replace(Limits(), **limits)
    async with (
        Pool(workers=1, run_dir=folder / "pixels", limits=some, extra_tools=TOOLS) as pixels,
        Pool(
            workers=1, run_dir=folder / "vector", limits=some, extra_tools=TOOLS, kind="vector", forks=pixels.forks
        ) as vector,
    ):
        yield pixels, vector


@pytest.fixture(scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Pool, Pool]]:
    async with pools(tmp_path_factory.mktemp("pools")) as opened:
        yield opened


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "small"
    Image.fromarray(gradient(40, 30)).save(path, "JPEG")
    return path


@pytest.fixture(scope="module")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("drawings") / "drawing"
    path.write_bytes(DRAWING)
    return path


def draw(tool: str = "svg-to-raster", **settings: Any) -> Plan:
    return Plan((Step("draw", tool, settings, {"svg": [input_ref(0)]}),))


async def values(pool: Pool, plan: Plan, path: Path) -> dict[str, Any]:
    outcome, _ = await result_of(pool, plan, [path])
    assert outcome.report is not None
    found: dict[str, Any] = outcome.report["values"]
    return found


async def test_a_pixel_worker_draws_no_svg_and_holds_no_parser_of_pdf(both: tuple[Pool, Pool], photo: Path) -> None:
    happened = await values(both[0], one_step("as-pixels"), photo)
    assert happened.pop("parsers") == []
    assert happened.pop("pid") > 0
    happened.pop("list the pixel workers")
    assert set(happened.values()) == {"Error"}


async def test_a_vector_worker_draws_an_svg_from_memory_only(both: tuple[Pool, Pool], photo: Path) -> None:
    happened = await values(both[1], one_step("as-vector"), photo)
    drawn = {name for name, result in happened.items() if result == 7}
    assert drawn == {"draw an SVG from memory", "find the loader of an SVG"}
    assert happened["draw an SVG file"] == happened["open an SVG file"] == happened["load a matrix"] == "Error"
    assert happened["follow a link"] == 0
    assert happened["parsers"] == ["pypdfium2"]


async def test_a_vector_worker_may_do_nothing_else_either(both: tuple[Pool, Pool], photo: Path) -> None:
    if both[1].sandbox != "full":
        await both[1].inspect(photo)
    if both[1].sandbox != "full":
        pytest.skip(f"the sandbox is {both[1].sandbox} here")
    assert (await values(both[1], one_step("as-vector"), photo))["list the pixel workers"] == "PermissionError"
    happened = await values(both[1], one_step("try-forbidden"), photo)
    del happened["list another worker"]  # it has none beside it
    assert {name for name, result in happened.items() if result == "allowed"} <= PERMITTED | {"load an SVG"}
    refused = {result for name, result in happened.items() if name not in PERMITTED and name != "load an SVG"}
    assert refused == {"PermissionError"}


async def test_a_plan_for_vector_workers_never_runs_in_a_pixel_worker(both: tuple[Pool, Pool], drawing: Path) -> None:
    before = both[0].stats()["runs"]
    with pytest.raises(ProcessingFailed, match="not processed"):
        await result_of(both[0], draw(), [drawing])
    assert both[0].stats()["runs"] == before


async def test_the_executor_sends_each_plan_to_its_kind(
    both: tuple[Pool, Pool], drawing: Path, photo: Path, tmp_path: Path
) -> None:
    stored = {"drawing": drawing, "photo": photo}
    executor = LocalExecutor(both[0], path_of=stored.__getitem__, adopt=lambda path: path.name, vector=both[1])
    before = [pool.stats()["runs"] for pool in both]
    data, picture = await executor.render(draw(width=70), ["drawing"])
    assert (picture.format, picture.width, picture.height, picture.bytes) == ("png", 70, 50, len(data))
    await executor.render(one_step("pass-on"), ["photo"])
    described = (await executor.run(Plan(), ["drawing"])).outcome.inputs[0]
    assert described == Picture("svg", "image/svg+xml", len(DRAWING))
    assert [pool.stats()["runs"] - count for pool, count in zip(both, before, strict=True)] == [2, 1]


async def test_a_tool_for_pictures_says_what_to_do_with_a_drawing(both: tuple[Pool, Pool], drawing: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="svg_to_raster"):
        await result_of(both[0], one_step("resize", width=5), [drawing])


async def test_vector_workers_start_when_needed_and_end_when_idle(
    tmp_path: Path, drawing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pools(tmp_path) as (pixels, vector):
        assert (vector.stats()["asleep"], vector.stats()["idle"], vector.sandbox) == (1, 0, "starting")
        await result_of(vector, draw(), [drawing])
        while started := {*vector._background, *pixels._background}:
            await asyncio.wait(started)
        assert (vector.stats()["asleep"], vector.stats()["idle"]) == (0, 1)
        assert vector.sandbox == pixels.sandbox

        monkeypatch.setattr("darkroom.engine.pool.VECTOR_IDLE_SECONDS", 0)
        await result_of(vector, draw(), [drawing])
        child = vector._slots[0]._child
        assert child is not None
        with anyio.fail_after(30):
            await asyncio.wait([child.ended])
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        assert (vector.stats()["deaths"], vector.stats()["replaced"]) == (0, 0)
        await asyncio.gather(*(result_of(vector, draw(), [drawing]) for _ in range(3)))


async def test_a_drawing_that_never_ends_is_stopped_by_the_clock(tmp_path: Path, drawing: Path) -> None:
    async with pools(tmp_path, tool_seconds=0.5) as (_, vector):
        with pytest.raises(ProcessingTimeout):
            await result_of(vector, draw("hang-vector"), [drawing])
        _, files = await result_of(vector, draw(), [drawing], seconds=30)
        assert files[0].startswith(b"\x89PNG")
        assert vector.stats()["timeouts"] == 1


async def test_a_heavy_drawing_is_stopped_by_the_clock(tmp_path: Path) -> None:
    """Small, within all limits of the file itself, and minutes of work: noise of many octaves on many pixels."""
    heavy = tmp_path / "heavy"
    steps = '<feTurbulence numOctaves="9" baseFrequency="9"/><feMorphology radius="60" operator="dilate"/>' * 10
    heavy.write_bytes(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="3000" height="3000"><filter id="f">{steps}</filter>'
        '<rect width="3000" height="3000" filter="url(#f)"/></svg>'.encode()
    )
    async with pools(tmp_path, tool_seconds=1) as (_, vector):
        with pytest.raises(ProcessingTimeout):
            await result_of(vector, draw(width=3000), [heavy])


async def test_no_vector_worker_survives_its_pool(tmp_path: Path, photo: Path) -> None:
    async with pools(tmp_path) as (_, vector):
        pid = (await values(vector, one_step("as-vector"), photo))["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not (tmp_path / "vector").exists()
