"""Networks in tiles give what they give on the whole picture."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from support.pictures import DirectRun, noise

from darkroom_tools.base import Inference
from darkroom_tools.errors import Cancelled, ModelInvalid, OutOfMemory
from darkroom_tools.kit.tiles import run_tiled
from darkroom_tools.models import Card, Tensor

FREE = (Tensor("x", ("n", 3, "h", "w")),)
PLAIN = Card("net", "upscale", "Net", "net.onnx", "MIT", inputs=FREE, outputs=FREE, tile=16, margin=1)
Net = Callable[[np.ndarray], list[np.ndarray]]


def ignored(done: float, message: str) -> None:
    """Nobody listens."""


def tiled(array: np.ndarray, card: Card, net: Net, **how: object) -> np.ndarray:
    return run_tiled(array, card, DirectRun(models={card.id: net}), ignored, **how).array  # type: ignore[arg-type]


def identity(x: np.ndarray) -> list[np.ndarray]:
    return [x]


def nearest(factor: int) -> Net:
    return lambda x: [x.repeat(factor, 2).repeat(factor, 3)]


def of_size(side: int) -> Card:
    """A model that takes squares of one size only."""
    fixed = (Tensor("x", ("n", 3, side, side)),)
    return replace(PLAIN, inputs=fixed, outputs=fixed, tile=side - 2)


def only(side: int) -> Net:
    def net(x: np.ndarray) -> list[np.ndarray]:
        assert x.shape == (1, 3, side, side)
        return [x]

    return net


def convolution(layers: int) -> onnxruntime.InferenceSession:
    """3 × 3 convolutions with zeros around the picture, in ONNX Runtime on one thread."""
    random = np.random.default_rng(layers)
    names = ["x", *(f"x{n}" for n in range(1, layers)), "y"]
    weights = [
        numpy_helper.from_array(random.normal(0, 0.3, (3, 3, 3, 3)).astype(np.float32), f"w{n}") for n in range(layers)
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", [names[n], f"w{n}"], [names[n + 1]], pads=[1, 1, 1, 1]) for n in range(layers)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, "h", "w"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", 3, "h", "w"))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


CONVOLUTIONS = {layers: convolution(layers) for layers in (1, 3)}


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    tile=st.integers(1, 40),
    margin=st.integers(0, 9),
    multiple=st.sampled_from([1, 2, 8]),
    factor=st.sampled_from([1, 2, 4]),
)
def test_copying_in_tiles_of_any_size_copies_every_pixel_once(
    width: int, height: int, tile: int, margin: int, multiple: int, factor: int
) -> None:
    array = noise(width, height)
    card = replace(PLAIN, tile=tile, margin=margin, multiple=multiple, scale=factor)
    seen: list[tuple[int, ...]] = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        seen.append(x.shape)
        return nearest(factor)(x)

    assert np.array_equal(tiled(array, card, net), array.repeat(factor, 0).repeat(factor, 1))
    assert len(set(seen)) == 1, "tiles of one size can run together"
    assert seen[0][2] % multiple == seen[0][3] % multiple == 0


@settings(max_examples=40, deadline=None)
@given(
    width=st.integers(1, 80),
    height=st.integers(1, 80),
    tile=st.integers(4, 40),
    extra=st.integers(0, 5),
    layers=st.sampled_from(sorted(CONVOLUTIONS)),
)
def test_convolutions_in_tiles_equal_the_whole_picture_bit_for_bit(
    width: int, height: int, tile: int, extra: int, layers: int
) -> None:
    array = np.random.default_rng(width * height).random((height, width, 3), np.float32)
    session = CONVOLUTIONS[layers]

    def net(x: np.ndarray) -> list[np.ndarray]:
        return list(session.run(None, {"x": x}))

    (whole,) = net(np.ascontiguousarray(array.transpose(2, 0, 1)[None]))
    card = replace(PLAIN, tile=tile, margin=layers + extra)
    assert np.array_equal(tiled(array, card, net), whole[0].transpose(1, 2, 0))


def test_without_the_margin_there_would_be_seams() -> None:
    array = np.random.default_rng(0).random((40, 40, 3), np.float32)

    def net(x: np.ndarray) -> list[np.ndarray]:
        return list(CONVOLUTIONS[3].run(None, {"x": x}))

    (whole,) = net(np.ascontiguousarray(array.transpose(2, 0, 1)[None]))
    assert not np.array_equal(tiled(array, replace(PLAIN, margin=2), net), whole[0].transpose(1, 2, 0))


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 70), height=st.integers(1, 70))
def test_a_model_of_one_size_takes_pictures_of_any(width: int, height: int) -> None:
    array = noise(width, height)
    assert np.array_equal(tiled(array, of_size(24), only(24)), array)


def test_a_small_picture_is_continued_by_reflection() -> None:
    array = noise(5, 3, dtype=np.uint8)
    seen: list[np.ndarray] = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        seen.append(x)
        return [x]

    tiled(array, of_size(12), net)
    expected = np.pad(array, ((0, 9), (0, 7), (0, 0)), mode="reflect").astype(np.float32) / 255
    assert np.array_equal(seen[0][0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_value_of_a_depth_survives(dtype: type[np.generic]) -> None:
    values = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    array = np.repeat(values.reshape(-1, 16, 1), 3, axis=2)
    assert np.array_equal(tiled(array, replace(PLAIN, tile=512), identity), array)


def test_values_beyond_black_and_white_are_cut_off() -> None:
    array = np.array([[[-0.5, 0.5, 1.5]]], np.float32)
    assert tiled(array, PLAIN, identity, depth=np.uint8).tolist() == [[[0, 128, 255]]]
    assert tiled(array, PLAIN, identity).tolist() == [[[-0.5, 0.5, 1.5]]]


def test_eight_bits_can_become_sixteen() -> None:
    assert np.array_equal(tiled(noise(9, 9), PLAIN, identity, depth=np.uint16), noise(9, 9).astype(np.uint16) * 257)


def test_a_larger_enlargement_is_averaged_down() -> None:
    array = np.random.default_rng(0).random((21, 33, 3), np.float32)

    def net(x: np.ndarray) -> list[np.ndarray]:
        pattern = np.tile(np.array([[0, 1], [2, 5]], np.float32), (x.shape[2] * 2, x.shape[3] * 2))
        return [nearest(4)(x)[0] + pattern]

    made = tiled(array, replace(PLAIN, scale=4), net, shrink=2)
    assert np.allclose(made, array.repeat(2, 0).repeat(2, 1) + 2, atol=1e-5)


def test_progress_names_each_tile() -> None:
    told: list[tuple[float, str]] = []
    run_tiled(noise(60, 20), PLAIN, DirectRun(models={"net": identity}), lambda done, said: told.append((done, said)))
    assert told[0] == (1 / 8, "Processing tile 1/8")
    assert told[-1] == (1.0, "Processing tile 8/8")
    assert len(told) == 8


class Short(DirectRun):
    """Runs out of memory on everything larger than so many pixels a side."""

    most = 100
    asked = 0

    def infer_each(self, model: str, requests: Iterable[Sequence[np.ndarray]]) -> Iterator[Inference]:
        for (array,) in requests:
            self.asked += 1
            if max(array.shape[2:]) > self.most:
                raise OutOfMemory("The model needs more memory for this image than there is.")
            yield Inference([array], "cpu")


def test_tiles_are_halved_when_memory_runs_out() -> None:
    told: list[float] = []
    array, run = noise(700, 90), Short()
    made = run_tiled(array, replace(PLAIN, tile=512), run, lambda done, _: told.append(done))
    assert np.array_equal(made.array, array)
    assert (made.tile, made.halved) == (64, True)
    assert told == sorted(told)


def test_a_picture_smaller_than_the_tile_is_halved_itself() -> None:
    run = Short()
    made = run_tiled(noise(130, 130), replace(PLAIN, tile=512), run, ignored)
    assert (made.tile, made.halved) == (65, True)
    assert run.asked == 1 + 4


def test_a_device_that_holds_nothing_is_told() -> None:
    run = Short()
    run.most = 20
    with pytest.raises(OutOfMemory):
        run_tiled(noise(300, 300), replace(PLAIN, tile=512), run, ignored)
    assert run.asked <= 4


def test_tiles_of_a_fixed_size_are_not_halved() -> None:
    run = Short()
    with pytest.raises(OutOfMemory):
        run_tiled(noise(300, 300), of_size(256), run, ignored)
    assert run.asked == 1


@pytest.mark.parametrize(
    "wrong", [lambda x: [x[:, :, 1:]], lambda x: [x[0]], lambda x: [x[:, :1]], lambda x: [np.concatenate([x, x])]]
)
def test_a_result_of_another_shape_is_refused(wrong: Net) -> None:
    with pytest.raises(ModelInvalid, match="another shape"):
        tiled(noise(30, 30), PLAIN, wrong)


def test_a_caller_who_leaves_stops_it_between_two_tiles() -> None:
    asked = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        asked.append(1)
        return [x]

    run = DirectRun(models={"net": net}, cancel_at=0.3)
    with pytest.raises(Cancelled):
        run_tiled(noise(64, 64), PLAIN, run, run.progress)
    assert len(asked) <= 6


def test_a_picture_goes_in_whole_where_the_card_has_no_tile() -> None:
    seen: list[tuple[int, ...]] = []

    def net(x: np.ndarray) -> list[np.ndarray]:
        seen.append(x.shape)
        return [x]

    tiled(noise(300, 200), replace(PLAIN, tile=0, margin=0), net)
    assert seen == [(1, 3, 200, 300)]
