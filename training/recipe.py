"""What a training of ours needs: the photographs, the fitting loop, the comparison and the ONNX file.

All photographs lie inside installed packages, so that a training needs no download beyond its packages. README.md lists
them with their licences.
"""

# ruff: noqa: T201 - it talks to whoever trains

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import nn

__all__ = ["HELD_OUT", "TRAINED_ON", "fit", "photo", "psnr", "record", "save", "turned"]

Pixels = NDArray[np.uint8]

SKIMAGE, SKLEARN = ("skimage", "data"), ("sklearn", "datasets", "images")
MATPLOTLIB = ("matplotlib", "mpl-data", "sample_data")

TRAINED_ON = {
    "astronaut": (*SKIMAGE, "astronaut.png"),
    "brick": (*SKIMAGE, "brick.png"),
    "camera": (*SKIMAGE, "camera.png"),
    "chelsea": (*SKIMAGE, "chelsea.png"),
    "coins": (*SKIMAGE, "coins.png"),
    "grass": (*SKIMAGE, "grass.png"),
    "gravel": (*SKIMAGE, "gravel.png"),
    "hubble": (*SKIMAGE, "hubble_deep_field.jpg"),
    "motorcycle": (*SKIMAGE, "motorcycle_left.png"),
    "page": (*SKIMAGE, "page.png"),
    "retina": (*SKIMAGE, "retina.jpg"),
    "china": (*SKLEARN, "china.jpg"),
    "hopper": (*MATPLOTLIB, "grace_hopper.jpg"),
}
HELD_OUT = {
    "coffee": (*SKIMAGE, "coffee.png"),
    "rocket": (*SKIMAGE, "rocket.jpg"),
    "flower": (*SKLEARN, "flower.jpg"),
}
"""Never trained on; sides cut to even numbers."""


def photo(place: tuple[str, ...]) -> Pixels:
    """A photograph as H x W x 3 bytes, its sides even."""
    package, *path = place
    with resources.as_file(resources.files(package).joinpath(*path)) as file, Image.open(file) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]


def turned(pictures: Sequence[Pixels], seed: np.random.Generator) -> list[Pixels]:
    """All pictures in the same one of the eight orientations and six channel orders."""
    quarters, mirror, order = seed.integers(4), seed.choice([-1, 1]), seed.permutation(3)
    return [np.rot90(pixels, quarters)[:, ::mirror, order] for pixels in pictures]


def fit(body: nn.Module, batch: Callable[[], tuple[torch.Tensor, torch.Tensor]], steps: int, rate: float) -> None:
    """Fits a network to batches by Adam on the L1 loss and leaves the running mean of its weights in it.

    The rate rises over 200 steps and falls to a hundredth along a cosine. All but the last fifth of the steps calculate
    in 16-bit floats, which takes half the time.
    """
    body.to(memory_format=torch.channels_last)
    mean = torch.optim.swa_utils.AveragedModel(body, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998))
    adam = torch.optim.Adam(body.parameters(), lr=rate, fused=True)

    def share(at: int) -> float:
        return min(1.0, (at + 1) / 200) * (0.01 + 0.99 * (1 + math.cos(math.pi * at / steps)) / 2)

    schedule = torch.optim.lr_scheduler.LambdaLR(adam, share)
    for step in range(steps):
        given, wanted = (part.contiguous(memory_format=torch.channels_last) for part in batch())
        with torch.autocast("cpu", torch.bfloat16, enabled=step < 0.8 * steps):
            found = body(given)
        loss = nn.functional.l1_loss(found.float(), wanted)
        adam.zero_grad()
        loss.backward()
        adam.step()
        schedule.step()
        mean.update_parameters(body)
        if step % 200 == 199:
            print(f"step {step + 1} of {steps}: loss {loss.item():.5f}", flush=True)
    body.load_state_dict(mean.module.state_dict())


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal to noise ratio of two pictures in decibels, over all channels."""
    return float(10 * np.log10(255.0**2 / np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2)))


def record(body: nn.Sequential, begin: str) -> Iterator[tuple[onnx.NodeProto, list[onnx.TensorProto]]]:
    """The ONNX nodes of a chain of 3 x 3 convolutions and PReLUs, with their weights; the last gives `body`."""
    name = begin
    for at, layer in enumerate(body):
        result = "body" if at == len(body) - 1 else f"layer{at}"
        weight = layer.weight.detach().contiguous().numpy()
        if isinstance(layer, nn.Conv2d):
            arrays = {f"{result}.weight": weight, f"{result}.bias": layer.bias.detach().numpy()}
            node = helper.make_node("Conv", [name, *arrays], [result], pads=[1, 1, 1, 1])
        else:
            arrays = {f"{result}.slope": weight.reshape(-1, 1, 1)}
            node = helper.make_node("PRelu", [name, *arrays], [result])
        yield node, [numpy_helper.from_array(array, key) for key, array in arrays.items()]
        name = result


def save(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], name: str, out: Path) -> None:
    """Writes one self-contained ONNX file, input `image` and output `result`, and prints its size and SHA-256."""
    given = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    result = helper.make_tensor_value_info("result", TensorProto.FLOAT, ["n", 3, "H", "W"])
    graph = helper.make_graph(nodes, name, [given], [result], weights)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="darkroom"
    )
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    out.write_bytes(content)
    print(f"{out.name}: {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}")
