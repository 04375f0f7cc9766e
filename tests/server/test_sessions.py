import threading
from pathlib import Path

import numpy as np
import pytest
from support import onnx_models as onnx

pytest.importorskip("onnxruntime")

import onnxruntime

from darkroom.engine.devices import CPU, DEVICES, Device
from darkroom.engine.model_store import installed_models
from darkroom.engine.sessions import MEMORY_FACTOR, Model, Sessions
from darkroom_tools.errors import ModelInvalid, OutOfMemory

UNKNOWN_FIELD = b"\x7a\x3c" + bytes(60)  # field 15, which readers of ONNX skip


def models(folder: Path, **data: bytes) -> dict[str, Model]:
    files = installed_models(onnx.install(folder, data))
    return {name: Model(file.id, file.path, file.sha256, file.bytes) for name, file in files.items()}


def room_for(count: int, model: Model) -> Sessions:
    return Sessions(memory_bytes=count * model.bytes * MEMORY_FACTOR)


def use(sessions: Sessions, model: Model, threads: int = 1) -> float:
    with sessions.lease(model, CPU, threads) as session:
        answer = session.answers([[np.ones((1, 1), np.float32)]], onnxruntime.RunOptions())[0]
        assert not isinstance(answer, Exception)
        return float(answer[0][0, 0])


def test_a_model_is_loaded_once_for_all_its_uses(tmp_path: Path) -> None:
    model = models(tmp_path, two=onnx.times(2))["two"]
    sessions = room_for(1, model)

    assert [use(sessions, model) for _ in range(3)] == [2, 2, 2]
    assert sessions.loads == 1


def test_two_ids_of_the_same_bytes_share_a_session(tmp_path: Path) -> None:
    both = models(tmp_path, one=onnx.times(2), same=onnx.times(2))
    sessions = room_for(2, both["one"])

    use(sessions, both["one"])
    use(sessions, both["same"])

    assert (sessions.loads, len(sessions)) == (1, 1)


def test_other_bytes_and_other_options_are_other_sessions(tmp_path: Path) -> None:
    both = models(tmp_path, two=onnx.times(2), three=onnx.times(3))
    sessions = room_for(3, both["two"])

    assert use(sessions, both["two"]) == 2
    assert use(sessions, both["three"]) == 3
    assert use(sessions, both["two"], threads=2) == 2
    assert (sessions.loads, len(sessions)) == (3, 3)


def test_the_least_recently_used_model_makes_room_for_another(tmp_path: Path) -> None:
    three = models(tmp_path, a=onnx.times(2), b=onnx.times(3), c=onnx.times(4))
    sessions = room_for(2, three["a"])
    for name in "aba":
        use(sessions, three[name])

    use(sessions, three["c"])
    use(sessions, three["a"])

    assert (sessions.loads, sessions.evictions) == (3, 1)
    use(sessions, three["b"])
    assert sessions.loads == 4


def test_a_model_to_keep_is_dropped_last_of_all(tmp_path: Path) -> None:
    three = models(tmp_path, kept=onnx.times(2), b=onnx.times(3), c=onnx.times(4))
    sessions = room_for(2, three["kept"])
    sessions.keep(three["kept"])
    for name in ("kept", "b", "c", "kept"):
        use(sessions, three[name])
    assert (sessions.loads, sessions.evictions) == (3, 1)

    with sessions.lease(three["c"], CPU, 1):
        use(sessions, three["b"])
    assert (sessions.loads, sessions.evictions) == (4, 2)


def test_a_model_in_use_is_never_dropped_and_the_next_one_waits_for_it(tmp_path: Path) -> None:
    two = models(tmp_path, a=onnx.times(2), b=onnx.times(3))
    sessions = room_for(1, two["a"])
    got: list[float] = []
    other = threading.Thread(target=lambda: got.append(use(sessions, two["b"])))

    with sessions.lease(two["a"], CPU, 1):
        other.start()
        other.join(timeout=0.2)
        waited = other.is_alive()
        assert (sessions.evictions, sessions.used_bytes) == (0, two["a"].bytes * MEMORY_FACTOR)
    other.join(timeout=30)

    assert waited
    assert got == [3]
    assert sessions.evictions == 1


def test_nothing_is_dropped_for_a_model_that_would_not_fit_even_then(tmp_path: Path) -> None:
    three = models(tmp_path, a=onnx.times(2), b=onnx.times(3), big=onnx.times(4) + UNKNOWN_FIELD)
    sessions = Sessions((three["a"].bytes + three["b"].bytes) * MEMORY_FACTOR)
    assert three["big"].bytes > three["a"].bytes
    got: list[float] = []
    other = threading.Thread(target=lambda: got.append(use(sessions, three["big"])))

    use(sessions, three["a"])
    with sessions.lease(three["b"], CPU, 1):
        other.start()
        other.join(timeout=0.2)
        assert (other.is_alive(), sessions.evictions) == (True, 0)
    other.join(timeout=30)

    assert got == [4]


def test_a_model_over_the_whole_budget_is_refused_with_both_sizes(tmp_path: Path) -> None:
    model = models(tmp_path, two=onnx.slow())["two"]

    with pytest.raises(OutOfMemory, match="may take 0 MiB"), Sessions(model.bytes).lease(model, CPU, 1):
        pass


def test_a_changed_file_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    model = models(tmp_path, two=onnx.times(2))["two"]
    model.path.write_bytes(onnx.times(3))
    sessions = room_for(1, model)

    with pytest.raises(ModelInvalid, match="changed"):
        use(sessions, model)

    assert (sessions.loads, len(sessions), sessions.used_bytes) == (0, 0, 0)


def test_a_file_that_onnx_runtime_refuses_is_said_to_be_so_without_its_words(tmp_path: Path) -> None:
    model = models(tmp_path, odd=onnx.custom("NoSuchOperator", ""))["odd"]

    with pytest.raises(ModelInvalid, match="cannot be loaded") as caught:
        use(room_for(1, model), model)

    assert str(tmp_path) not in caught.value.message
    assert "NoSuchOperator" not in caught.value.message


def test_a_gpu_takes_the_file_in_half_floats_and_the_cpu_the_full_one(tmp_path: Path) -> None:
    both = models(tmp_path, full=onnx.times(2), half=onnx.half_times(2))
    wire = {"id": "full", "path": str(both["full"].path), "sha256": both["full"].sha256, "bytes": both["full"].bytes}
    halved = {**wire, "id": "half", "path": str(both["half"].path), "sha256": both["half"].sha256}
    model = Model.from_wire({**wire, "half": halved, "side": 64})

    assert (model.for_device(CPU).id, model.side) == ("full", 64)
    assert model.for_device(DEVICES[1]).path == both["half"].path
    assert Model.from_wire(wire).for_device(DEVICES[1]).id == "full"


def test_a_device_that_cannot_load_a_model_leaves_it_to_the_cpu_and_says_so(tmp_path: Path) -> None:
    model = models(tmp_path, two=onnx.times(2))["two"]
    nowhere = Device("cuda", "NoSuchExecutionProvider", memory="cuda")

    with room_for(1, model).lease(model, nowhere, 1) as session:
        assert session.device == "cpu"
        assert session.note == "The device 'cuda' cannot run the model 'two', so the CPU did."
        answer = session.answers([[np.ones((1, 1), np.float32)]], onnxruntime.RunOptions())[0]
        assert not isinstance(answer, Exception)
        assert float(answer[0][0, 0]) == 2


def test_lanes_that_want_the_same_model_at_once_load_it_once(tmp_path: Path) -> None:
    model = models(tmp_path, two=onnx.times(2))["two"]
    sessions = room_for(1, model)
    ready = threading.Barrier(4)
    got: list[float] = []

    def lane() -> None:
        ready.wait(timeout=30)
        got.append(use(sessions, model))

    threads = [threading.Thread(target=lane) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert got == [2] * 4
    assert sessions.loads == 1
