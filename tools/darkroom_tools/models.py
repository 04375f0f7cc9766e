"""The models that tools can use: what they are called, where they come from, what goes in and what comes out.

Cards are data (`data/models/*.toml`, one file per task, the best first). They are facts of the files: a tool reads
from its card how a picture becomes an input array, and the server where the file may be fetched.
"""

import functools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from types import MappingProxyType
from typing import Any, Literal

from darkroom_tools.errors import ModelNotInstalled

__all__ = ["Card", "Shape", "Tensor", "best_installed", "card", "cards", "cards_for", "missing"]

Shape = tuple[int | str, ...]
"""Sizes of the axes; a name stands for any size."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array that a model takes or gives.

    Attributes:
        name: In the ONNX graph.
        shape: Sizes of its axes, such as ("n", 3, "h", "w").
        dtype: NumPy's name of the element type. The engine casts between float32 and float16 by itself.
    """

    name: str
    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, slots=True)
class Card:
    """A model file and its contract.

    Attributes:
        id: What settings, commands and replies call it, such as `u2net`.
        task: What it is for: the name of its data file, such as `cutout` or `upscale`.
        title: For people.
        file: Name of the file at its sources.
        license: SPDX identifier, or the licence's name.
        commercial: Whether the licence allows commercial use; others are never chosen unasked.
        sources: Addresses of the file, in the order to try; empty where it can only be imported.
        packaged: Where it lies inside an installed package (`darkroom_tools/data/models/x.onnx`); None for files
            that are pulled or imported.
        bytes: Size of the file; None where nobody has published it.
        sha256: Digest of the file; None where none is published: the first pull records it.
        md5: Weaker digest where the publisher pins only that; checked as well.
        half: Id of the same model in 16-bit floats, which the engine prefers on a GPU where it is installed.
        inputs: What goes in.
        outputs: What comes out.
        color: Channel order of the picture: `rgb`, `bgr`, `gray` or `lab-l` (lightness only).
        divide: The picture's values are divided by this first; 0 for the largest value found in the picture.
        mean: Then subtracted from each channel.
        deviation: Then divides each channel.
        activation: What the first output still needs: `none` or `sigmoid`.
        scale: Output pixels per input pixel.
        tile: Side of the tiles that large pictures are cut into, without their margin; 0 for whole pictures.
        margin: Pixels around a tile that its result depends on: at least the radius of the receptive field.
        multiple: Sides of the input must be multiples of this.
    """

    id: str
    task: str
    title: str
    file: str
    license: str
    commercial: bool = True
    sources: tuple[str, ...] = ()
    packaged: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None
    half: str | None = None
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    color: Literal["rgb", "bgr", "gray", "lab-l"] = "rgb"
    divide: float = 255.0
    mean: tuple[float, ...] = field(default=(0.0, 0.0, 0.0))
    deviation: tuple[float, ...] = field(default=(1.0, 1.0, 1.0))
    activation: Literal["none", "sigmoid"] = "none"
    scale: int = 1
    tile: int = 0
    margin: int = 0
    multiple: int = 1


@functools.cache
def cards() -> Mapping[str, Card]:
    """All cards by id; those of a task stand together, the best first."""
    found: dict[str, Card] = {}
    folder = resources.files("darkroom_tools").joinpath("data", "models")
    for file in sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name):
        task = file.name.removesuffix(".toml")
        for model, entry in tomllib.loads(file.read_text("utf-8")).items():
            found[model] = _card(model, task, entry)
    return MappingProxyType(found)


def card(model: str) -> Card:
    """The card of a model.

    Raises:
        KeyError: There is none.
    """
    return cards()[model]


def cards_for(task: str) -> tuple[Card, ...]:
    """The cards of a task, the best first."""
    return tuple(found for found in cards().values() if found.task == task)


def best_installed(task: str, installed: Callable[[str], bool]) -> Card | None:
    """The first card of a task whose model is installed and may be used commercially; None if there is none."""
    return next((found for found in cards_for(task) if found.commercial and installed(found.id)), None)


def missing(model: str) -> ModelNotInstalled:
    """The error for a model without a file here, with the command that installs it."""
    found = cards().get(model)
    if found is not None and found.sources:
        command, file = f"darkroom models pull {model}", ""
    else:
        command, file = f"darkroom models import {model} FILE", " (FILE is its .onnx file)"
    return ModelNotInstalled(
        f"The model {model!r} is not installed. Install it with: {command}{file}.", model=model, command=command
    )


def _card(model: str, task: str, entry: Mapping[str, Any]) -> Card:
    tensors = {key: tuple(_tensor(part) for part in entry.get(key, ())) for key in ("inputs", "outputs")}
    lists = {key: tuple(value) for key, value in entry.items() if isinstance(value, list)}
    try:
        return Card(**{**entry, **lists, **tensors, "id": model, "task": task})
    except TypeError as error:
        raise ValueError(f"data/models/{task}.toml: [{model}] is no card: {error}") from error


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    return Tensor(**{**entry, "shape": tuple(entry["shape"])})
