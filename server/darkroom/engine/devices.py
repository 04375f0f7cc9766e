"""What runs the models: the first execution provider of ONNX Runtime that really works on this machine.

`get_available_providers()` lists what was compiled in, not what has its libraries and its device. So each candidate
builds a session of one node once, and the session says what came up. Only the model process imports this.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import onnxruntime

__all__ = ["CPU", "DEVICES", "Device", "choose_device", "cores", "open_session"]

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
    """

    name: str
    provider: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_rows: int = 1
    max_bytes: int = 8 * MIB


CPU: Final = Device("cpu", "CPUExecutionProvider", max_rows=8)

DEVICES: Final = (
    Device("tensorrt", "TensorrtExecutionProvider"),
    # The default search for a convolution's algorithm is exhaustive and would run anew for every batch size.
    Device("cuda", "CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}, max_rows=16, max_bytes=64 * MIB),
    Device("coreml", "CoreMLExecutionProvider"),
    Device("directml", "DmlExecutionProvider"),
    Device("openvino", "OpenVINOExecutionProvider"),
    CPU,
)
"""All devices, the best first."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def choose_device(wanted: Sequence[str] | None = None) -> Device:
    """The first device that works; the CPU always does.

    Args:
        wanted: Names of devices to try, in the order of `DEVICES`; None tries all.
    """
    compiled_in = onnxruntime.get_available_providers()
    for device in DEVICES:
        asked = wanted is None or device.name in wanted
        if device is not CPU and asked and device.provider in compiled_in and _works(device):
            return device
    return CPU


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
    providers = [(device.provider, dict(device.options))] + ([(CPU.provider, {})] if device is not CPU else [])
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    session.disable_fallback()
    return session


def _works(device: Device) -> bool:
    try:
        with _silence():
            if device.name in ("tensorrt", "cuda"):
                onnxruntime.preload_dlls()
            return bool(open_session(ONE_NODE, device, threads=1).get_providers()[0] == device.provider)
    except Exception:  # whatever a provider's library throws: it does not work here
        logger.info("%s does not work here", device.name, exc_info=True)
        return False


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Drop what native libraries print meanwhile: a device that is not there is no error."""
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream, _ in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        sys.stdout.flush()
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)
