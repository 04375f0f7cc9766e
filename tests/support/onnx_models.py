"""Small ONNX files, made by onnx.helper, and a service that has them installed."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from darkroom.engine.channel import close_all
from darkroom.engine.model_store import import_model
from darkroom.engine.models import ModelService
from darkroom.engine.shared import read_array, write_array
from darkroom_tools.errors import ProcessingFailed

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that load ONNX Runtime themselves

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
SECONDS = 60.0

Dims = Sequence[int | str]


def _model(nodes: list[onnx.NodeProto], takes: Dims, gives: Dims, weights: Sequence[onnx.TensorProto] = ()) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, takes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, gives)],
        list(weights),
    )
    return _saved(graph)


def _saved(graph: onnx.GraphProto, domains: Sequence[str] = (), functions: Sequence[onnx.FunctionProto] = ()) -> bytes:
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8).SerializeToString()


def identity(*dims: int | str) -> bytes:
    """Answers with its input; by default any number of rows of any size."""
    shape = dims or ("n", 3, "h", "w")
    return _model([helper.make_node("Identity", ["x"], ["y"])], shape, shape)


def times(factor: float) -> bytes:
    """Multiplies its input."""
    weight = numpy_helper.from_array(np.array(factor, np.float32), "factor")
    return _model([helper.make_node("Mul", ["x", "factor"], ["y"])], ("n", "k"), ("n", "k"), [weight])


def half_times(factor: float) -> bytes:
    """Multiplies its input, in 16-bit floats."""
    weight = numpy_helper.from_array(np.array(factor, np.float16), "factor")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, ("n", "k")) for name in "xy"]
    return _saved(
        helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"])], "graph", ends[:1], ends[1:], [weight])
    )


def luminance(batch: int | str = "n", side: int = 320) -> bytes:
    """A mask model as u2net is one, NCHW at 320²: its mask is the luminance of the picture."""
    weight = numpy_helper.from_array(LUMINANCE.reshape(1, 3, 1, 1), "weight")
    node = helper.make_node("Conv", ["x", "weight"], ["y"], kernel_shape=[1, 1])
    return _model([node], (batch, 3, side, side), (batch, 1, side, side), [weight])


def one_chroma(a: float = 20, b: float = -30, side: int = 512) -> bytes:
    """A colouring model as DDColor is one, NCHW at 512²: every pixel gets the same two values of chroma."""
    weights = [
        numpy_helper.from_array(np.zeros((2, 3, 1, 1), np.float32), "weight"),
        numpy_helper.from_array(np.array([a, b], np.float32), "bias"),
    ]
    node = helper.make_node("Conv", ["x", "weight", "bias"], ["y"], kernel_shape=[1, 1])
    return _model([node], (1, 3, side, side), (1, 2, side, side), weights)


def over_batch_maximum() -> bytes:
    """Divides by the maximum of the whole batch, so a row's answer depends on the others."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["top"], keepdims=0),
        helper.make_node("Div", ["x", "top"], ["y"]),
    ]
    return _model(nodes, ("n", "k"), ("n", "k"))


def one_row_inside(declared: Dims = ("n", 4)) -> bytes:
    """Says that it takes any number of rows, and fails with more than one."""
    shape = numpy_helper.from_array(np.array([1, 4], np.int64), "shape")
    return _model([helper.make_node("Reshape", ["x", "shape"], ["y"])], declared, declared, [shape])


def slow(layers: int = 1000) -> bytes:
    """Many convolutions one after the other: minutes of work on a large input, stoppable after each."""
    weight = numpy_helper.from_array(np.full((16, 16, 3, 3), 0.01, np.float32), "weight")
    names = ["x", *(f"x{n}" for n in range(1, layers)), "y"]
    nodes = [helper.make_node("Conv", [names[n], "weight"], [names[n + 1]], pads=[1, 1, 1, 1]) for n in range(layers)]
    return _model(nodes, ("n", 16, "h", "w"), ("n", 16, "h", "w"), [weight])


SLOW_INPUT = np.zeros((1, 16, 1024, 1024), np.float32)


def external(folder: Path) -> bytes:
    """Keeps its weights in another file."""
    model = onnx.load_model_from_string(luminance())
    onnx.save_model(
        model,
        str(folder / "external.onnx"),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=True,
    )
    return (folder / "external.onnx").read_bytes()


def external_in_subgraph() -> bytes:
    """Names another file for a tensor that is hidden in the branch of an If."""
    hidden = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../secret")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=hidden)],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return _model([node], ("n", 4), (4,), [yes])


def custom(op: str = "Mystery", domain: str = "somebody.else") -> bytes:
    """Uses an operator that ONNX Runtime does not have."""
    shape = ("n", 4)
    graph = helper.make_graph(
        [helper.make_node(op, ["x"], ["y"], domain=domain)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return _saved(graph, [domain])


def with_local_function() -> bytes:
    """Uses an operator of a domain of its own that the model itself defines."""
    opsets = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    twice = helper.make_function("mine", "Twice", ["a"], ["b"], body, opsets)
    shape = ("n", 4)
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    return _saved(graph, ["mine"], [twice])


def stand_ins() -> dict[str, bytes]:
    """For the tools that can do nothing without a network: small ones of the same contracts."""
    return {"gfpgan-1.4": identity(1, 3, 512, 512), "ddcolor": one_chroma()}


def install(folder: Path, models: Mapping[str, bytes]) -> Path:
    """A models folder that holds these files."""
    models_dir = folder / "models"
    for name, data in models.items():
        source = folder / f"{name}.source"
        source.write_bytes(data)
        import_model(models_dir, name, source)
    return models_dir


@asynccontextmanager
async def serving(
    folder: Path,
    models: Mapping[str, bytes],
    *,
    memory_bytes: int = 2**30,
    idle_seconds: float = 600.0,
    keep: Sequence[str] = (),
) -> AsyncIterator[ModelService]:
    """A service with these models, on the CPU."""
    service = ModelService(
        install(folder, models), memory_bytes=memory_bytes, providers=["cpu"], idle_seconds=idle_seconds, keep=keep
    )
    try:
        yield service
    finally:
        await service.aclose()


async def infer(service: ModelService, model: str, *arrays: np.ndarray, job: str = "job") -> list[np.ndarray]:
    """The model's outputs."""
    written = [write_array(array) for array in arrays]
    fds = [fd for _, fd in written]
    try:
        reply, answered = await service.infer({"model": model, "inputs": [meta for meta, _ in written]}, fds, job)
    finally:
        close_all(fds)
    try:
        assert reply["device"] == "cpu"
        return [np.array(read_array(meta, fd)) for meta, fd in zip(reply["outputs"], answered, strict=True)]
    finally:
        close_all(answered)


async def until_stats(service: ModelService, model: str, **counters: int) -> None:
    """Wait until the process says that so many requests are `queued` or `running`.

    A malformed request is refused without queueing, and its answer brings the counters.
    """
    _, fd = write_array(np.zeros(1, np.float32))
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(ProcessingFailed):
                    await service.infer({"model": model, "inputs": [{"dtype": "object", "shape": [1]}]}, [fd], "probe")
                if counters.items() <= service.stats().items():
                    return
    finally:
        close_all([fd])


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.01)
