# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "matplotlib>=3.10", "numpy>=2.1", "onnx>=1.20", "onnxruntime>=1.31", "pillow>=12",
#     "scikit-image>=0.26,<0.27", "scikit-learn>=1.7", "torch>=2.9",
# ]
# ///
"""Trains `darkroom-sr-x2`, the network that enlarges pictures twofold where no other model is installed.

uv run training/upscale.py --steps 4500 --out darkroom-sr-x2.onnx

Five 3 x 3 convolutions of 24 channels work on the small picture; a pixel shuffle adds what they find to a bilinear
enlargement (Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel Convolutional
Neural Network", CVPR 2016). A part of the patches carries light JPEG artefacts and noise, so that the network does not
sharpen those of real pictures.
"""

# ruff: noqa: T201 - it talks to whoever trains

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import helper, numpy_helper
from PIL import Image, ImageFilter
from recipe import HELD_OUT, TRAINED_ON, Pixels, fit, photo, psnr, record, save, turned
from torch import nn

NAME = "darkroom-sr-x2"
KERNELS = {"area": Image.Resampling.BOX, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
"""Pillow widens all three to the scale: they do not alias."""

SIDE, BATCH, CHANNELS, LAYERS = 32, 16, 24, 5
SIZES = (1.0, 0.7, 0.5)
"""Each photograph is used in these sizes; the smaller ones are sharper and free of the photograph's own compression."""

WORN, NOISE, QUALITY = 0.2, 4.0, (75, 96)
"""Share of worn patches, and the most noise (standard deviation, of 255) and JPEG qualities they get."""


def network() -> nn.Sequential:
    """The convolutions: n x 3 x h x w in 0..1 to the n x 12 x h x w that the pixel shuffle adds to the base."""
    widths = [3, *[CHANNELS] * (LAYERS - 1), 12]
    layers: list[nn.Module] = []
    for at in range(LAYERS):
        layers += [nn.Conv2d(widths[at], widths[at + 1], 3, padding=1), nn.PReLU(widths[at + 1])]
    nn.init.normal_(layers[-2].weight, std=0.001)
    return nn.Sequential(*layers[:-1])


def missing(small: torch.Tensor, large: torch.Tensor) -> torch.Tensor:
    """What the bilinear enlargement lacks, as the convolutions have to give it."""
    base = nn.functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    return nn.functional.pixel_unshuffle(large - base, 2)


def halved(pixels: Pixels, kernel: Image.Resampling) -> Pixels:
    """The picture in half its size."""
    return np.asarray(Image.fromarray(pixels).resize((pixels.shape[1] // 2, pixels.shape[0] // 2), kernel))


def pairs() -> list[tuple[Pixels, list[Pixels]]]:
    """Every photograph in every size, with its halves by all kernels."""
    found = []
    for place in TRAINED_ON.values():
        whole = Image.fromarray(photo(place))
        for size in SIZES:
            sides = [round(side * size) // 2 * 2 for side in whole.size]
            if min(sides) < 2 * SIDE:
                continue
            large = np.asarray(whole if size == 1 else whole.resize(sides, Image.Resampling.LANCZOS))
            found.append((large, [halved(large, kernel) for kernel in KERNELS.values()]))
    return found


def worn(small: Pixels, seed: np.random.Generator) -> Pixels:
    """The patch with noise, then saved as JPEG (either may be missing)."""
    noisy = small + seed.normal(0, seed.uniform(0, NOISE), small.shape) * seed.integers(2)
    pixels = np.clip(noisy + 0.5, 0, 255).astype(np.uint8)
    if not seed.integers(2):
        return pixels
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=int(seed.integers(*QUALITY)), subsampling=int(seed.integers(3)))
    return np.asarray(Image.open(file))


def batches(seed: np.random.Generator) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """A function that gives the next small patches in 0..1 and what is missing in them."""
    known = pairs()
    weight = np.array([np.sqrt(large.size) for large, _ in known])
    weight /= weight.sum()

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        given, wanted = [], []
        for _ in range(BATCH):
            large, smalls = known[seed.choice(len(known), p=weight)]
            half = smalls[seed.integers(len(smalls))]
            y, x = (int(seed.integers(side - SIDE + 1)) for side in half.shape[:2])
            far, near = turned(
                [half[y : y + SIDE, x : x + SIDE], large[2 * y :, 2 * x :][: 2 * SIDE, : 2 * SIDE]], seed
            )
            given.append(worn(far, seed) if seed.random() < WORN else far)
            wanted.append(near)
        small = as_tensor(given)
        return small, missing(small, as_tensor(wanted))

    return batch


def as_tensor(pictures: list[Pixels]) -> torch.Tensor:
    """N x 3 x H x W in 0..1."""
    return torch.from_numpy(np.stack(pictures).transpose(0, 3, 1, 2).astype(np.float32) / 255)


def export(body: nn.Sequential, out: Path) -> None:
    """Writes the network as ONNX."""
    chain = list(record(body, "image"))
    nodes = [node for node, _ in chain] + [
        helper.make_node("DepthToSpace", ["body"], ["detail"], blocksize=2, mode="CRD"),
        helper.make_node(
            "Resize", ["image", "", "scales"], ["base"], mode="linear", coordinate_transformation_mode="half_pixel"
        ),
        helper.make_node("Add", ["base", "detail"], ["result"]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    save(nodes, [scales, *(part for _, parts in chain for part in parts)], NAME, out)


def compare(out: Path) -> None:
    """Prints the PSNR of Lanczos, sharpened Lanczos and the network on the photographs it never saw."""
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    print(f"{'photo':8} {'halved by':9} {'lanczos':>8} {'unsharp':>8} {'network':>8}")
    for name, place in HELD_OUT.items():
        large = photo(place)
        for kernel, how in KERNELS.items():
            small = halved(large, how)
            lanczos = Image.fromarray(small).resize(large.shape[1::-1], Image.Resampling.LANCZOS)
            sharp = lanczos.filter(ImageFilter.UnsharpMask(radius=1, percent=50, threshold=0))
            (result,) = session.run(None, {"image": as_tensor([small]).numpy()})
            ours = np.clip(result[0].transpose(1, 2, 0) * 255 + 0.5, 0, 255).astype(np.uint8)
            figures = [psnr(large, np.asarray(picture)) for picture in (lanczos, sharp, ours)]
            print(f"{name:8} {kernel:9}", *(f"{figure:8.2f}" for figure in figures))


def main() -> None:
    """Train, write the file, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4500, help="of 16 patches each")
    parser.add_argument("--out", type=Path, default=Path(f"{NAME}.onnx"), help="the ONNX file to write")
    parser.add_argument("--threads", type=int, default=1, help="results repeat bit for bit with the same number")
    chosen = parser.parse_args()
    torch.manual_seed(7)
    torch.set_num_threads(chosen.threads)
    body = network()
    fit(body, batches(np.random.default_rng(7)), chosen.steps, rate=3e-3)
    export(body, chosen.out)
    compare(chosen.out)


if __name__ == "__main__":
    main()
