"""The shared engine against a session per request and against one session behind a lock, on one small network."""

import asyncio
import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.measure import median, process_tree
from darkroom.engine.channel import close_all
from darkroom.engine.model_store import import_model
from darkroom.engine.models import ModelService
from darkroom.engine.shared import read_array, write_array

TILE: Final = 64
REALISTIC: Final = 320
LAYERS, CHANNELS = 6, 32
ROUNDS, SECONDS = 5, 1.0
"""All take turns, so that other work on the machine meets each alike; the middle round counts."""

CLIENTS: Final = (1, 8, 32)
CALLS: Final = 2_000

Call = Callable[[np.ndarray, str], Awaitable[np.ndarray]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Requests a second, and the time under which 95 % of them were answered."""

    per_second: float
    p95_ms: float

    def __str__(self) -> str:
        return f"{self.per_second:5.0f}/s, p95 {self.p95_ms:4.0f} ms"


def middle(rounds: Sequence[Measured]) -> Measured:
    """The middle of each figure."""
    return Measured(median([found.per_second for found in rounds]), median([found.p95_ms for found in rounds]))


def network() -> bytes:
    """Six 3×3 convolutions of 32 channels over an RGB picture of any size."""
    random = np.random.default_rng(1)
    nodes, weights, name, before = [], [], "x", 3
    for layer in range(LAYERS):
        after = 3 if layer == LAYERS - 1 else CHANNELS
        weight = random.normal(0, 0.1, (after, before, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{layer}"))
        target = "y" if layer == LAYERS - 1 else f"r{layer}"
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [target]))
        name, before = target, after
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ("n", 3, "h", "w")) for end in "xy"]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def tile(side: int = TILE) -> np.ndarray:
    """A picture of noise."""
    return np.random.default_rng(2).random((1, 3, side, side), np.float32)


async def hammer(call: Call, clients: int, seconds: float) -> Measured:
    """Have so many clients ask one after the other for so long."""
    array, times = tile(), list[float]()
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        while (started := time.perf_counter()) < end:
            await call(array, f"client-{number}")
            times.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    took = time.perf_counter() - started
    return Measured(len(times) / took, 1000 * sorted(times)[int(0.95 * (len(times) - 1))])


def session_per_request(model: bytes, threads: ThreadPoolExecutor) -> Call:
    """Each request builds a session and drops it."""

    def run(array: np.ndarray) -> np.ndarray:
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": array})[0]

    return lambda array, _: asyncio.get_running_loop().run_in_executor(threads, run, array)


def one_behind_a_lock(model: bytes, threads: ThreadPoolExecutor) -> Call:
    """All requests share a session, one at a time."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    lock = threading.Lock()

    def run(array: np.ndarray) -> np.ndarray:
        with lock:
            return session.run(None, {"x": array})[0]

    return lambda array, _: asyncio.get_running_loop().run_in_executor(threads, run, array)


def engine(service: ModelService) -> Call:
    """The service as a worker uses it: shared memory there and back, another process in between."""

    async def call(array: np.ndarray, job: str) -> np.ndarray:
        meta, fd = write_array(array)
        try:
            reply, fds = await service.infer({"model": "small", "inputs": [meta]}, [fd], job)
        finally:
            close_all([fd])
        try:
            return read_array(reply["outputs"][0], fds[0])
        finally:
            close_all(fds)

    return call


def model_process() -> int:
    """The process of the engine."""
    return next(
        pid for pid in process_tree(os.getpid()) if b"model_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def resident_kb(pid: int) -> int:
    """Memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


async def median_ms(call: Call, side: int, count: int) -> float:
    """Middle time of a call, the first ones left out."""
    array, times = tile(side), list[float]()
    for _ in range(count + 2):
        started = time.perf_counter()
        await call(array, "alone")
        times.append(1000 * (time.perf_counter() - started))
    return median(times[2:])


async def compare(model: bytes, service: ModelService) -> None:
    """Print throughput and waiting times."""
    shared = engine(service)
    await asyncio.gather(*(shared(tile(), f"client-{number}") for number in range(5)))
    print(f"loads of the model for five clients at once: {service.stats()['loads']}")
    print(f"\n{'clients':>7}  {'session per request':>22}  {'one session, lock':>22}  {'shared engine':>22}")
    for clients in CLIENTS:
        with ThreadPoolExecutor(clients) as threads:
            calls = [session_per_request(model, threads), one_behind_a_lock(model, threads), shared]
            rounds = [[await hammer(call, clients, SECONDS) for call in calls] for _ in range(ROUNDS)]
        print(f"{clients:>7}" + "".join(f"  {middle(found)!s:>22}" for found in zip(*rounds, strict=True)))
    print(f"batch sizes of the engine: {service.stats()['batchSizes']}\n")


async def overhead(model: bytes, service: ModelService) -> None:
    """Print a call against pure inference, both alone on the machine."""
    with ThreadPoolExecutor(1) as threads:
        pure = one_behind_a_lock(model, threads)
        for side, count in ((REALISTIC, 5), (TILE, 50)):
            found = [[await median_ms(call, side, count) for call in (pure, engine(service))] for _ in range(ROUNDS)]
            direct, ours = (median(times) for times in zip(*found, strict=True))
            print(f"a call at {side} px: {ours:.1f} ms, pure inference {direct:.1f} ms ({ours / direct:.2f} times)")


async def growth(service: ModelService) -> None:
    """Print how memory grows over many calls."""
    call, pids = engine(service), {"model process": model_process(), "server": os.getpid()}
    sizes: list[dict[str, int]] = []
    for _ in range(2):
        for start in range(0, CALLS // 2, 8):
            await asyncio.gather(*(call(tile(), f"job-{start + n}") for n in range(8)))
        sizes.append({name: resident_kb(pid) for name, pid in pids.items()})
    for name in pids:
        grown = sizes[1][name] - sizes[0][name]
        print(f"resident memory of the {name}: {sizes[1][name] / 1024:.0f} MB, {grown} KB more in {CALLS // 2} calls")


async def measure(folder: Path) -> None:
    """Everything."""
    model = network()
    (folder / "small.onnx").write_bytes(model)
    import_model(folder / "models", "small", folder / "small.onnx")
    service = ModelService(folder / "models", memory_bytes=2**30, providers=["cpu"])
    try:
        await compare(model, service)
        await overhead(model, service)
        await growth(service)
    finally:
        await service.aclose()


def main() -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder)))
