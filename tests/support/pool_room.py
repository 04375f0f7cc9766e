"""A pool with the odd tools, and short ways to run a tool on it."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.engine.limits import Limits
from darkroom.engine.outcome import Outcome, Progress
from darkroom.engine.pool import Pool
from darkroom_tools.plan import Plan, Step, input_ref

ODD_TOOLS = ("support.odd_tools",)


@asynccontextmanager
async def odd_pool(run_dir: Path, *, workers: int = 1, models: Any = None, **limits: Any) -> AsyncIterator[Pool]:
    async with Pool(
        workers=workers, run_dir=run_dir, limits=replace(Limits(), **limits), models=models, extra_tools=ODD_TOOLS
    ) as pool:
        yield pool


def one_step(tool: str, count: int = 1, **settings: Any) -> Plan:
    name = "image" if count == 1 else "images"
    return Plan((Step(tool, tool, settings, {name: [input_ref(n) for n in range(count)]}),))


def ignore(_: Progress) -> None:
    pass


async def result_of(
    pool: Pool,
    plan: Plan,
    inputs: Sequence[Path],
    emit: Callable[[Progress], None] = ignore,
    seconds: float | None = None,
) -> tuple[Outcome, list[bytes]]:
    """The outcome and the bytes of its files."""

    def collect(outcome: Outcome) -> tuple[Outcome, list[bytes]]:
        return outcome, [output.path.read_bytes() for output in outcome.outputs]

    return await pool.run(plan, inputs, collect, emit=emit, wall_seconds=seconds)
