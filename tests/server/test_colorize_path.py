"""Colour through the whole engine: a network of the real one's contract colours a grey file and the reply names it."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.engine.model_store import import_model
from darkroom.principal import Principal

pytestmark = pytest.mark.anyio


def warm_where_it_is_light() -> bytes:
    """A colorizer as ddcolor is one: b of CIE Lab is 40 times the grey it sees, a is 0."""
    weight = numpy_helper.from_array(np.array([0, 40 / 3], np.float32).reshape(2, 1, 1, 1).repeat(3, 1), "weight")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "weight"], ["output"], kernel_shape=[1, 1])],
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, (1, 3, 512, 512))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 2, 512, 512))],
        [weight],
    )
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Darkroom]:
    async with open_darkroom(Config(data_dir=tmp_path / "data", workers=1)) as opened:
        (tmp_path / "model.onnx").write_bytes(warm_where_it_is_light())
        import_model(opened.where.models, "ddcolor", tmp_path / "model.onnx")
        yield opened


async def test_colorize_and_restore_photo_colour_a_grey_file(room: Darkroom, tmp_path: Path) -> None:
    grey = np.tile(np.linspace(20, 230, 160).astype(np.uint8), (120, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    caller = Principal("local", (tmp_path,))
    for name, settings in (("colorize", {}), ("restore_photo", {"colorize": True, "denoise": False})):
        tool = room.catalog.find(caller, name)
        job = await room.jobs.accept(caller, tool, {"image": str(tmp_path / "grey.png"), **settings})
        job = await room.jobs.wait(caller, job.id, 60)
        assert job.result is not None, job.error
        item = job.result.items[0]
        assert (item.facts["method"], item.facts["device"]) == ("ddcolor", "cpu")
        (tmp_path / "made.png").write_bytes(await room.library.read(caller, item.images[0]))
        seen = np.asarray(Image.open(tmp_path / "made.png").convert("RGB")).astype(int)
        warmth = (seen[..., 0] - seen[..., 2]).mean(0)
        assert warmth[140] > 40
        assert 0 <= warmth[10] < 15
