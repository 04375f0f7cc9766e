import numpy as np
import pytest
from support import onnx_models as onnx

pytest.importorskip("onnxruntime")

import onnxruntime

from darkroom.engine.devices import CPU, DEVICES, choose_device, open_session


def test_a_device_that_is_only_compiled_in_is_passed_over_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [device.provider for device in DEVICES])

    assert choose_device() is CPU
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

    assert choose_device().name == "cuda"
    assert tried == ["tensorrt", "cuda"]
    assert choose_device(["coreml", "cpu"]).name == "coreml"
    assert choose_device(["cpu"]) is CPU


def test_the_order_is_tensorrt_cuda_coreml_directml_openvino_cpu() -> None:
    assert [device.name for device in DEVICES] == ["tensorrt", "cuda", "coreml", "directml", "openvino", "cpu"]


def test_a_session_on_the_cpu_runs_there() -> None:
    session = open_session(onnx.times(3), CPU, threads=1)

    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.run(None, {"x": np.ones((1, 2), np.float32)})[0].tolist() == [[3, 3]]
