import numpy as np
import pytest
from support import onnx_models as onnx

pytest.importorskip("onnxruntime")

import onnxruntime

from darkroom.engine.devices import CPU, open_session
from darkroom.engine.inference import Arrays, Session
from darkroom_tools.errors import ModelInvalid, ProcessingFailed


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
