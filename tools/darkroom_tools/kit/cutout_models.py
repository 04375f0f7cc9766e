"""Models that cut out a subject: what goes in, what comes out, and which to take.

The conventions are those under which rembg publishes these files; sizes, means and orders are facts of the models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from darkroom_tools.base import Run
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, resized, white_level
from darkroom_tools.native import np, pyvips

__all__ = ["CUTOUT_MODELS", "Contract", "best_installed", "predict"]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Final = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Contract:
    """How a model takes a picture: RGB, 1 × 3 × side × side, (x / largest value − mean) / deviation.

    Attributes:
        side: Of the square input.
        mean: Subtracted from each channel.
        deviation: Divides each channel.
        logits: Whether the first output still needs a sigmoid.
    """

    side: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    deviation: tuple[float, float, float] = IMAGENET_DEVIATION
    logits: bool = False


_U2NET, _BIREFNET = Contract(320), Contract(1024, logits=True)
CUTOUT_MODELS: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "birefnet-general": _BIREFNET,
        "birefnet-general-lite": _BIREFNET,
        "birefnet-portrait": _BIREFNET,
        "birefnet-dis": _BIREFNET,
        "birefnet-hrsod": _BIREFNET,
        "birefnet-cod": _BIREFNET,
        "isnet-general-use": Contract(1024, (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
        "isnet-anime": Contract(1024, deviation=(1.0, 1.0, 1.0)),
        "u2net": _U2NET,
        "u2netp": _U2NET,
        "u2net_human_seg": _U2NET,
        "silueta": _U2NET,
    }
)
"""Best first: without further wishes the first installed one is taken."""


def best_installed(installed: Callable[[str], bool]) -> str | None:
    """The first model of `CUTOUT_MODELS` that is installed, None if none is."""
    return next((model for model in CUTOUT_MODELS if installed(model)), None)


def predict(pixels: "pyvips.Image", model: str, run: Run) -> "tuple[pyvips.Image, str]":
    """The model's mask at its own size, one band of 0..255, and the device that ran it."""
    contract = CUTOUT_MODELS[model]
    answer = run.infer(model, [prepared(pixels, contract)])
    return mask_of(answer.outputs[0], contract), answer.device


def prepared(pixels: "pyvips.Image", contract: Contract) -> "np.ndarray":
    """The input array for one frame; alpha is ignored."""
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    array = as_array(resized(colour, contract.side, contract.side)).astype(np.float32)
    array /= max(float(array.max()), 1e-6 * white_level(colour))
    normalised = (array - np.array(contract.mean, np.float32)) / np.array(contract.deviation, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None], np.float32)


def mask_of(output: "np.ndarray", contract: Contract) -> "pyvips.Image":
    """The mask in a model's first output: the last two axes, scaled to its own range."""
    plane = output.reshape(-1, *output.shape[-2:])[0].astype(np.float32)
    if contract.logits:
        plane = 1 / (1 + np.exp(-np.clip(plane, -30, 30)))
    low, high = float(plane.min()), float(plane.max())
    scaled = (plane - low) / max(high - low, 1e-6)
    values = np.ascontiguousarray(np.floor(scaled * 255 + 0.5), np.uint8)
    return pyvips.Image.new_from_memory(values.tobytes(), values.shape[1], values.shape[0], 1, "uchar")
