"""Every tool on a 12 MP photo, against Pillow or the library that its field uses, and sharp: time and peak memory.

Each side runs in a process of its own, reads the file and writes its result each time; best of five after a warm-up.
Name tools to run only those: `python -m benchmarks.tools border split`.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import phone_photo
from benchmarks.tool_cases import CASES, Case, make_inputs

ROUNDS = 5
SHARP = """
const sharp = require("sharp"), fs = require("fs"); sharp.cache(false); sharp.concurrency(1);
const photo = process.argv[1], out = process.argv[2], folder = process.argv[3];
const act = async () => { %s };
(async () => {
  await act();
  let wall = Infinity, cpu = Infinity;
  for (let n = 0; n < %d; n++) {
    const before = process.cpuUsage(), start = process.hrtime.bigint();
    await act();
    const used = process.cpuUsage(before);
    wall = Math.min(wall, Number(process.hrtime.bigint() - start) / 1e6);
    cpu = Math.min(cpu, (used.user + used.system) / 1e3);
  }
  console.log(JSON.stringify([wall, cpu, /VmHWM:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status'))[1] / 1024]));
})();
"""


class Cost(NamedTuple):
    """The best of some runs: wall and CPU milliseconds, and the peak of the whole process in MB."""

    wall: float
    cpu: float
    memory: float


def best(act: Callable[[], object]) -> Cost:
    """The cost of work in this process."""
    act()
    wall = cpu = float("inf")
    for _ in range(ROUNDS):
        started, used = time.perf_counter(), time.process_time()
        act()
        wall = min(wall, time.perf_counter() - started)
        cpu = min(cpu, time.process_time() - used)
    # Not ru_maxrss, which an executed program inherits from whoever started it.
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return Cost(wall * 1000, cpu * 1000, int(peak[1]) / 1024 if peak else 0.0)


def darkroom(case: Case, folder: Path) -> Callable[[], object]:
    """A plan of one step, run as a worker runs it."""
    import pyvips

    from darkroom.engine.limits import Limits
    from darkroom.engine.runner import run_plan
    from darkroom.engine.work import Work
    from darkroom_tools.plan import Plan, Step, input_ref
    from darkroom_tools.registry import builtin_tools

    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    tools = builtin_tools()
    tool = tools[case.tool]
    paths = [folder / name for name in case.inputs]
    names = [image.name for image in tool.inputs if image.required]
    refs = [input_ref(n) for n in range(len(paths))]
    images = {names[0]: refs} if len(names) == 1 else dict(zip(names, [[ref] for ref in refs], strict=True))
    plan = Plan((Step("step", case.tool, case.settings, images if names else {}),))

    def act() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            work = Work(lambda *_: None, lambda *_: None)  # type: ignore[arg-type, return-value]
            run_plan(plan, paths, Path(out), Limits(), work, tools, [path.name for path in paths])

    return act


def run_here(side: str, tool: str, folder: Path) -> None:
    """Measure one side of a case and print its cost."""
    case = next(case for case in CASES if case.tool == tool)
    if side == "peer":
        out = folder / "out"
        out.mkdir(exist_ok=True)
        act: Callable[[], object] = lambda: case.peer([folder / name for name in case.inputs], out)
    else:
        act = darkroom(case, folder)
    print(json.dumps(best(act)))


def measured(command: list[str], folder: Path) -> Cost | None:
    """What a process of its own found out; None where it failed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=os.environ)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return Cost(*json.loads(done.stdout.splitlines()[-1]))


def main(wanted: tuple[str, ...] = ()) -> None:
    """Print a line a tool; the ratio is CPU time to that of the fastest other side."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phone_photo(folder / "photo.jpg")
        make_inputs(folder)
        node = shutil.which("npm")
        if node:
            install = ["npm", "install", "--silent", "--prefix", str(folder), "sharp"]
            subprocess.run(install, check=True, capture_output=True)
        print(f"{'tool':20}{'Darkroom: wall, cpu ms, MB':30}{'peer':30}{'sharp':26}ratio")
        for case in CASES:
            if wanted and case.tool not in wanted:
                continue
            here = [sys.executable, "-m", "benchmarks.tools", "--one"]
            ours = measured([*here, "darkroom", case.tool, name], Path.cwd())
            peer = measured([*here, "peer", case.tool, name], Path.cwd())
            sharp = None
            if node and case.sharp:
                script = SHARP % (case.sharp, ROUNDS)
                sharp = measured(
                    ["node", "-e", script, str(folder / case.inputs[0]), str(folder / "out.bin"), name], folder
                )
            others = [cost.cpu for cost in (peer, sharp) if cost is not None]
            ratio = f"{ours.cpu / min(others):.2f}" if ours and others else "-"
            label = f"{case.peer_name} {_words(peer)}"
            print(f"{case.tool:20}{_words(ours):30}{label:30}{_words(sharp):26}{ratio}", flush=True)


def _words(cost: Cost | None) -> str:
    return f"{cost.wall:6.0f} {cost.cpu:6.0f} {cost.memory:5.0f}" if cost else "-"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        run_here(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
    else:
        main(tuple(sys.argv[1:]))
