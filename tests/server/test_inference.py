import os
from pathlib import Path

import numpy as np
import pytest
from support import onnx_models as onnx

pytest.importorskip("onnxruntime")

import onnxruntime

from darkroom.engine.devices import CPU, open_session
from darkroom.engine.inference import Arrays, Session
from darkroom_tools.errors import ModelInvalid, OutOfMemory, ProcessingFailed


def session_of(model: bytes) -> Session:
    return Session(open_session(model, CPU, threads=1))


def answers(session: Session, *calls: np.ndarray) -> list[np.ndarray]:
    found = session.answers([[call] for call in calls], onnxruntime.RunOptions())
    return [only(answer) for answer in found]


def only(answer: Arrays | Exception) -> np.ndarray:
    assert not isinstance(answer, Exception)
    assert len(answer) == 1
    return answer[0]


def rows(*values: float, width: int = 4) -> np.ndarray:
    return np.repeat(np.array(values, np.float32)[:, None], width, axis=1)


def test_requests_that_share_a_run_get_what_each_would_get_alone() -> None:
    session = session_of(onnx.luminance(side=8))
    random = np.random.default_rng(2)
    calls = [random.random((count, 3, 8, 8), np.float32) for count in (1, 3, 2)]

    for _ in range(2):  # the first time the model is tried out, the second it is trusted
        found = answers(session, *calls)
        for call, mask in zip(calls, found, strict=True):
            expected = np.einsum("nchw,c->nhw", call, onnx.LUMINANCE)[:, None]
            np.testing.assert_allclose(mask, expected, atol=1e-6)
    assert session.mergeable


def test_a_model_whose_rows_depend_on_one_another_is_found_out_at_its_first_shared_run() -> None:
    session = session_of(onnx.over_batch_maximum())

    found = answers(session, rows(1), rows(10))

    np.testing.assert_allclose(found[0], rows(1))
    np.testing.assert_allclose(found[1], rows(1))
    assert not session.mergeable


def test_equal_requests_do_not_hide_that_rows_depend_on_one_another() -> None:
    session = session_of(onnx.over_batch_maximum())

    answers(session, rows(5), rows(5))

    assert not session.mergeable


def test_a_shared_run_that_is_stopped_says_nothing_about_the_model() -> None:
    session = session_of(onnx.luminance(side=8))
    options = onnxruntime.RunOptions()
    options.terminate = True
    call = [np.ones((1, 3, 8, 8), np.float32)]

    assert all(isinstance(answer, ProcessingFailed) for answer in session.answers([call, call], options))
    assert session.mergeable


def test_a_model_that_fails_with_several_rows_is_run_one_by_one() -> None:
    session = session_of(onnx.one_row_inside())

    found = answers(session, rows(1), rows(2), rows(3))

    assert [float(answer[0, 0]) for answer in found] == [1, 2, 3]
    assert not session.mergeable


def test_a_fixed_first_axis_is_not_mergeable() -> None:
    assert not session_of(onnx.identity(1, 3)).mergeable
    assert not session_of(onnx.luminance(batch=1)).mergeable
    assert session_of(onnx.luminance(batch="n")).mergeable


@pytest.mark.parametrize(
    "given",
    [
        [],
        [np.zeros((1, 3, 320, 320), np.float32)] * 2,
        [np.zeros((1, 3, 64, 64), np.float32)],
        [np.zeros((1, 3, 320, 320), np.float64)],
        [np.zeros((3, 320, 320), np.float32)],
        [np.zeros((0, 3, 320, 320), np.float32)],
    ],
    ids=["none", "too many", "other size", "other type", "other rank", "no rows"],
)
def test_inputs_that_the_model_does_not_take_are_refused_with_what_it_takes(given: list[np.ndarray]) -> None:
    session = session_of(onnx.luminance())

    with pytest.raises(ModelInvalid) as caught:
        session.check("u2net", given)

    assert "'u2net' takes float32 [any×3×320×320]" in caught.value.message
    assert caught.value.details["expected"] == "float32 [any×3×320×320]"


def test_inputs_that_the_model_takes_are_accepted() -> None:
    session_of(onnx.luminance()).check("u2net", [np.zeros((2, 3, 320, 320), np.float32)])


def test_a_run_that_is_told_to_stop_answers_with_an_error() -> None:
    options = onnxruntime.RunOptions()
    options.terminate = True

    found = session_of(onnx.slow(layers=4)).answers([[np.zeros((1, 16, 8, 8), np.float32)]], options)

    assert isinstance(found[0], ProcessingFailed)


def test_what_onnx_runtime_says_of_a_failure_does_not_reach_the_caller() -> None:
    found = session_of(onnx.one_row_inside()).answers([[rows(1, 2)]], onnxruntime.RunOptions())

    assert isinstance(found[0], ProcessingFailed)
    assert "Reshape" not in str(found[0])


def test_a_model_of_half_floats_takes_and_gives_single_ones() -> None:
    session = session_of(onnx.half_times(3))
    values = np.array([[1.5, -2.0]], np.float32)

    session.check("half", [values])
    (single,) = answers(session, values)
    (half,) = answers(session, values.astype(np.float16))

    assert (single.dtype, single.tolist()) == (np.float32, [[4.5, -6.0]])
    assert (half.dtype, half.tolist()) == (np.float16, [[4.5, -6.0]])


def test_a_model_of_single_floats_takes_half_ones() -> None:
    session = session_of(onnx.times(3))
    session.check("full", [np.ones((1, 2), np.float16)])
    assert answers(session, np.ones((1, 2), np.float16))[0].tolist() == [[3, 3]]


def test_inputs_and_outputs_that_are_bound_to_a_device_give_the_same() -> None:
    bound = Session(open_session(onnx.luminance(side=8), CPU, threads=1), memory="cpu")
    plain = session_of(onnx.luminance(side=8))
    calls = [np.random.default_rng(n).random((n, 3, 8, 8), np.float32)[:, :, ::-1] for n in (1, 2, 3)]

    for one, other in zip(answers(bound, *calls), answers(plain, *calls), strict=True):
        np.testing.assert_array_equal(one, other)
    assert bound.mergeable


class Failing:
    """A session of ONNX Runtime that has the memory for so many rows only."""

    def __init__(self, rows: int, words: str) -> None:
        self._real = open_session(onnx.times(2), CPU, threads=1)
        self._rows = rows
        self._words = words
        self.runs: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._real, name)

    def run(self, names: None, feed: dict[str, np.ndarray], options: onnxruntime.RunOptions) -> list[np.ndarray]:
        self.runs.append(len(feed["x"]))
        if len(feed["x"]) > self._rows:
            raise RuntimeError(self._words)
        return self._real.run(names, feed, options)


@pytest.mark.parametrize(
    "words",
    [
        "std::bad_alloc",
        "BFCArena: Failed to allocate memory for requested buffer of size 1073741824",
        "Available memory of 52428800 is smaller than requested bytes of 104857600",
        "CUDA failure 2: out of memory ; GPU=0",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_a_shared_run_without_the_memory_is_made_anew_one_by_one_and_later_ones_are_smaller(words: str) -> None:
    raw = Failing(2, words)
    session = Session(raw)  # type: ignore[arg-type]
    session.answers([[rows(1)], [rows(2)]], onnxruntime.RunOptions())
    raw.runs.clear()

    found = answers(session, rows(1), rows(2), rows(3), rows(4))

    assert [float(answer[0, 0]) for answer in found] == [2, 4, 6, 8]
    assert raw.runs == [4, 1, 1, 1, 1]
    assert (session.too_large, session.most_rows, session.mergeable) == (1, 2, True)


def test_a_single_run_without_the_memory_says_so() -> None:
    session = Session(Failing(0, "bad allocation: std::bad_alloc"))  # type: ignore[arg-type]
    assert isinstance(session.answers([[rows(1)]], onnxruntime.RunOptions())[0], OutOfMemory)


def test_too_little_memory_while_a_model_is_tried_out_says_nothing_about_its_rows() -> None:
    session = Session(Failing(1, "std::bad_alloc"))  # type: ignore[arg-type]
    session.answers([[rows(1)], [rows(2)]], onnxruntime.RunOptions())
    assert session.mergeable


class Assigned(Failing):
    """A session whose nodes were given to devices."""

    def __init__(self, *nodes: tuple[str, str]) -> None:
        super().__init__(1, "")
        self._nodes = nodes

    def get_provider_graph_assignment_info(self) -> list[object]:
        class Part:
            def __init__(self, provider: str, kind: str) -> None:
                self.ep_name, self.op_type = provider, kind

            def get_nodes(self) -> list["Part"]:
                return [self]

        return [Part(*node) for node in self._nodes]


@pytest.mark.parametrize(
    ("nodes", "device"),
    [
        ([("CUDAExecutionProvider", "Conv"), *[("CPUExecutionProvider", "Shape")] * 9], "cuda"),
        ([("CUDAExecutionProvider", "Reshape"), *[("CPUExecutionProvider", "MatMul")] * 2], "cpu"),
        ([("CUDAExecutionProvider", "Relu")], "cuda"),
        ([], "cpu"),
    ],
)
def test_the_device_is_the_one_that_does_the_work(nodes: list[tuple[str, str]], device: str) -> None:
    assert Session(Assigned(*nodes)).device == device  # type: ignore[arg-type]


def test_a_picture_of_any_size_can_come_in_smaller_pieces() -> None:
    free, fixed = session_of(onnx.identity()), session_of(onnx.luminance())

    assert free.can_shrink([np.zeros((1, 3, 512, 512), np.float32)])
    assert not free.can_shrink([np.zeros((1, 3, 128, 128), np.float32)])
    assert not fixed.can_shrink([np.zeros((1, 3, 320, 320), np.float32)])
    assert not session_of(onnx.times(2)).can_shrink([np.zeros((1, 900), np.float32)])


@pytest.mark.parametrize(
    ("model", "side", "sizes"),
    [
        (onnx.luminance(side=8), 0, [(1, 3, 8, 8), (2, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8)]),
        (onnx.luminance(batch=1, side=8), 0, [(1, 3, 8, 8)]),
        (onnx.identity(), 16, [(1, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16), (1, 3, 16, 16)]),
        (onnx.identity(), 0, []),
    ],
    ids=["fixed size", "fixed batch", "known size", "unknown size"],
)
def test_warming_up_runs_and_tries_out_the_model_where_the_sizes_are_known(
    model: bytes, side: int, sizes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, ran = session_of(model), list[tuple[int, ...]]()
    real = Session._run

    def spy(self: Session, arrays: Arrays, options: onnxruntime.RunOptions) -> object:
        ran.append(arrays[0].shape)
        return real(self, arrays, options)

    monkeypatch.setattr(Session, "_run", spy)
    session.warm_up(side)
    assert ran == sizes


def test_how_much_fits_into_a_time_follows_from_the_fastest_run() -> None:
    session = session_of(onnx.times(2))
    assert session.bytes_within(1.0) == float("inf")
    answers(session, rows(1))
    session.seconds_per_byte = 0.5
    assert session.bytes_within(10) == 20
    answers(session, rows(1))
    assert session.seconds_per_byte < 0.5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_large_run_gives_its_memory_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    session = session_of(onnx.slow(layers=3))
    session.answers([[np.zeros((1, 16, 8, 8), np.float32)]], onnxruntime.RunOptions())
    before = resident()
    large = np.zeros((1, 16, 768, 768), np.float32)
    session.answers([[large]], onnxruntime.RunOptions())

    # Outputs of the layers alone are twice the input.
    assert resident() - before < 1.5 * large.nbytes
