import os
import sys

import numpy as np
import pytest
from support import onnx_models as onnx

pytest.importorskip("onnxruntime")

import onnxruntime

from darkroom.engine.devices import CPU, DEVICES, Choice, Device, choose_device, open_session


def test_a_device_that_is_only_compiled_in_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [device.provider for device in DEVICES])

    assert choose_device().device is CPU
    assert capfd.readouterr() == ("", "")


def test_the_best_device_that_works_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pretender:
        def __init__(self, provider: str) -> None:
            self.provider = provider

        def get_providers(self) -> list[str]:
            return [self.provider, CPU.provider]

    tried: list[str] = []

    def open_pretended(model: bytes, device: object, threads: int) -> Pretender:
        name = device.name  # type: ignore[attr-defined]
        tried.append(name)
        return Pretender("CPUExecutionProvider" if name == "tensorrt" else device.provider)  # type: ignore[attr-defined]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [device.provider for device in DEVICES])
    monkeypatch.setattr("darkroom.engine.devices.open_session", open_pretended)

    chosen = choose_device()
    assert chosen.device.name == "cuda"
    assert tried == ["tensorrt", "cuda"]
    assert chosen.tried == {"tensorrt": "not available: it did not start", "cuda": "works"}
    assert choose_device(["coreml", "cpu"]).device.name == "coreml"
    assert choose_device(["cpu"]).device is CPU


def choose_where(
    monkeypatch: pytest.MonkeyPatch, compiled_in: list[str], said: str = "", wanted: list[str] | None = None
) -> Choice:
    """The choice on a machine with an NVIDIA GPU whose provider says this and does not start."""

    def refuse(model: bytes, device: Device, threads: int) -> None:
        os.write(2, said.encode())
        raise RuntimeError("no")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [*compiled_in, CPU.provider])
    monkeypatch.setattr("darkroom.engine.devices.open_session", refuse)
    return choose_device(wanted, gpu="NVIDIA")


def test_a_gpu_that_the_build_does_not_know_is_a_warning_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose_where(monkeypatch, [])
    assert choice.unused == (
        "The NVIDIA GPU of this machine is not used, so models run on the CPU: cuda is not part of this build of ONNX "
        "Runtime. Install the extra `gpu` instead of `ai`."
    )


@pytest.mark.skipif(sys.platform != "linux", reason="listens through a memfd")
def test_a_missing_library_is_the_reason_that_is_given(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        "Failed to load libonnxruntime_providers_cuda.so: libcudnn.so.9: cannot open shared object file: No such file"
    )
    choice = choose_where(monkeypatch, ["CUDAExecutionProvider"], words)
    assert choice.device is CPU
    assert choice.tried["cuda"] == "not available because the library libcudnn.so.9 is missing"
    assert "cuda is not available because the library libcudnn.so.9 is missing. See `darkroom doctor`." in choice.unused
    assert capfd.readouterr() == ("", "")


def test_a_gpu_that_nobody_wanted_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = choose_where(monkeypatch, ["CUDAExecutionProvider"], wanted=["cpu"])
    assert (choice.device, choice.unused, choice.tried["cuda"]) == (CPU, "", "not wanted")


def test_a_machine_without_a_gpu_is_not_told_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device().unused == ""


def test_cuda_gets_no_more_memory_than_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", CPU.provider])
    monkeypatch.setattr("darkroom.engine.devices._problem", lambda device: None)
    device = choose_device(memory_bytes=12345).device
    assert (device.name, device.memory) == ("cuda", "cuda")
    assert device.options["gpu_mem_limit"] == 12345
    assert device.options["arena_extend_strategy"] == "kSameAsRequested"


def test_the_order_is_tensorrt_cuda_coreml_directml_openvino_cpu() -> None:
    assert [device.name for device in DEVICES] == ["tensorrt", "cuda", "coreml", "directml", "openvino", "cpu"]


def test_a_session_on_the_cpu_runs_there() -> None:
    session = open_session(onnx.times(3), CPU, threads=1)

    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.run(None, {"x": np.ones((1, 2), np.float32)})[0].tolist() == [[3, 3]]
