"""What runs the models: the first execution provider of ONNX Runtime that really works on this machine.

`get_available_providers()` lists what was compiled in, not what has its libraries and its device. So each candidate
builds a session of one node once, and the session says what came up. Only the model process imports this.
"""

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import onnxruntime

from darkroom.engine.gpu import Gpu

__all__ = ["CPU", "DEVICES", "Choice", "Device", "choose_device", "cores", "open_session"]

logger = logging.getLogger(__name__)

MIB: Final = 1024 * 1024

ONE_NODE: Final = (
    b'\x08\x08:3\n\x0c\n\x01x\x12\x01y"\x04Relu\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01'
    b"b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11"
)
"""An ONNX model of one Relu over one number."""


@dataclass(frozen=True, slots=True)
class Device:
    """A way to run models.

    Attributes:
        name: What replies call it.
        provider: ONNX Runtime's execution provider.
        options: The provider's options.
        max_rows: Most rows that different requests may share in one run; 1 where every new batch size costs a
            compilation.
        max_bytes: Most input bytes that different requests may share in one run.
        max_seconds: How long a shared run may take. On a CPU a batch takes as long as its requests one by one, so
            beyond the cost of handing them over it would only make others wait.
        memory: ONNX Runtime's name of the memory that inputs and outputs are put into; None to leave that to it.
    """

    name: str
    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_rows: int = 1
    max_bytes: int = 8 * MIB
    max_seconds: float = 1.0
    memory: str | None = None


CPU: Final = Device("cpu", "CPUExecutionProvider", max_rows=8, max_seconds=0.01)

DEVICES: Final = (
    Device("tensorrt", "TensorrtExecutionProvider", memory="cuda"),
    Device(
        "cuda",
        "CUDAExecutionProvider",
        # The default search for a convolution's algorithm is exhaustive and would run anew for every batch size; the
        # default growth of the arena doubles it each time.
        {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"},
        max_rows=16,
        max_bytes=64 * MIB,
        memory="cuda",
    ),
    Device("coreml", "CoreMLExecutionProvider"),
    Device("directml", "DmlExecutionProvider"),
    Device("openvino", "OpenVINOExecutionProvider"),
    CPU,
)
"""All devices, the best first."""

OF_GPU: Final[Mapping[Gpu, Sequence[str]]] = {"NVIDIA": ("tensorrt", "cuda"), "Apple": ("coreml",)}
"""What could use a graphics processor."""

WORKS: Final = "works"
NOT_WANTED: Final = "not wanted"
NOT_COMPILED_IN: Final = "not part of this build of ONNX Runtime"


@dataclass(frozen=True, slots=True)
class Choice:
    """What was found out about this machine.

    Attributes:
        device: What runs the models.
        tried: For each device in its order, by name: `works`, or why it is not used.
        unused: Sentence about a graphics processor that is there but not used; empty if there is nothing to say.
    """

    device: Device
    tried: Mapping[str, str]
    unused: str = ""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def choose_device(
    wanted: Sequence[str] | None = None, *, gpu: Gpu | None = None, memory_bytes: int | None = None
) -> Choice:
    """The first device that works; the CPU always does.

    Args:
        wanted: Names of devices to try, in the order of `DEVICES`; None tries all.
        gpu: The graphics processor that is there.
        memory_bytes: Most memory that a model may take on a CUDA device.
    """
    compiled_in = onnxruntime.get_available_providers()
    tried: dict[str, str] = {}
    for device in DEVICES:
        if wanted is not None and device.name not in wanted and device is not CPU:
            tried[device.name] = NOT_WANTED
        elif device.provider not in compiled_in:
            tried[device.name] = NOT_COMPILED_IN
        else:
            tried[device.name] = WORKS if device is CPU else _problem(device) or WORKS
            if tried[device.name] == WORKS:
                break
    if device.name == "cuda" and memory_bytes is not None:
        device = replace(device, options={**device.options, "gpu_mem_limit": memory_bytes})
    return Choice(device, tried, _unused(gpu, tried) if device is CPU and gpu is not None else "")


def _unused(gpu: Gpu, tried: Mapping[str, str]) -> str:
    """Why the CPU runs the models although there is a graphics processor."""
    reason = tried[OF_GPU[gpu][-1]]
    if reason == NOT_WANTED:
        return ""
    help_ = "Install the extra `gpu` instead of `ai`." if gpu == "NVIDIA" and reason == NOT_COMPILED_IN else ""
    said = f"The {gpu} GPU of this machine is not used, so models run on the CPU: {OF_GPU[gpu][-1]} is {reason}."
    return f"{said} {help_ or 'See `darkroom doctor`.'}"


def open_session(model: str | bytes, device: Device, threads: int) -> onnxruntime.InferenceSession:
    """A session on a device, with the CPU for what the device cannot do.

    Args:
        model: Path or bytes of an ONNX file.
        device: Where it is to run; `session.get_providers()[0]` says where it does.
        threads: Threads that one run may use on the CPU.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = device.name != "directml"
    options.log_severity_level = 4
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    # What TensorRT cannot do, CUDA can.
    chain = [device, *(other for other in DEVICES if (device.name, other.name) == ("tensorrt", "cuda"))]
    chain += [CPU] if device.provider != CPU.provider else []
    providers = [(each.provider, dict(each.options)) for each in chain]
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    session.disable_fallback()
    return session


def _problem(device: Device) -> str | None:
    """Why a device does not work here; None if it does."""
    said = bytearray()
    works = False
    try:
        with _overhear(said):
            if device.name in ("tensorrt", "cuda"):
                onnxruntime.preload_dlls()
            works = open_session(ONE_NODE, device, threads=1).get_providers()[0] == device.provider
    except Exception as error:  # noqa: BLE001 (whatever a provider's library throws: it does not work here)
        said += str(error).encode()
    if works:
        return None
    text = said.decode(errors="replace")
    logger.info("%s does not work here: %s", device.name, text)
    missing = re.search(r"(lib[\w.+-]+): cannot open shared object file", text)
    return (
        f"not available because the library {missing[1]} is missing" if missing else "not available: it did not start"
    )


@contextlib.contextmanager
def _overhear(said: bytearray) -> Iterator[None]:
    """Keep what native libraries print meanwhile: a device that is not there is no error, but it has its reason."""
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    heard = os.memfd_create("heard") if sys.platform == "linux" else os.open(os.devnull, os.O_RDWR)
    try:
        for stream, _ in kept:
            os.dup2(heard, stream)
        yield
    finally:
        sys.stdout.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)
        said += os.pread(heard, MIB, 0)
        os.close(heard)
