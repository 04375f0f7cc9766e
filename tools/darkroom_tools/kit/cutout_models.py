"""Models that cut out a subject, used as rembg does: its sessions turn a picture into input and output into a mask.

Only its pre- and post-processing runs. Its files, its downloads and its own ONNX Runtime sessions are never reached:
`predict` talks to whatever stands in `inner_session`, and here that is the engine.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from darkroom_tools.base import Run
from darkroom_tools.errors import ModelInvalid, RuntimeNotInstalled
from darkroom_tools.kit.pixels import as_array, as_color, color_bands, white_level
from darkroom_tools.models import Card, card
from darkroom_tools.native import np, pyvips

__all__ = ["predict"]


class _Engine:
    """Stands where rembg has an ONNX Runtime session."""

    def __init__(self, model: Card, run: Run) -> None:
        self._model = model
        self._run = run
        self.flat = False

    def get_inputs(self) -> Sequence[Any]:
        return self._model.inputs

    def run(self, _: object, inputs: "Mapping[str, np.ndarray]") -> "Sequence[np.ndarray]":
        answer = self._run.infer(self._model.id, list(inputs.values()))
        first = answer.outputs[0]
        if first.ndim != 4 or first.shape[0] != 1:
            raise ModelInvalid(
                f"The model {self._model.id!r} answers with another shape than its kind does. Import the right file.",
                model=self._model.id,
            )
        self.flat = not np.ptp(first[:, 0]) > 0
        return answer.outputs


def predict(pixels: "pyvips.Image", model: str, run: Run) -> "pyvips.Image":
    """The model's mask at the picture's size, one band of 0..255; all black where its answer is flat.

    Args:
        pixels: One frame, grey or sRGB, 8 or 16 bits; alpha is ignored.
        model: Id of a card of the task `cutout`.
        run: Runs it.

    Raises:
        ModelNotInstalled: The model is not here.
        ModelInvalid: It answers with something else than a mask.
        RuntimeNotInstalled: rembg is missing.
    """
    from PIL import Image

    engine = _Engine(card(model), run)
    kind = _sessions()[model]
    # Its __init__ would download a file and open a session of its own.
    session = kind.__new__(kind)
    session.inner_session = engine
    colour = as_color(pixels.extract_band(0, n=color_bands(pixels)))
    eight = colour if white_level(colour) == 255 else colour.colourspace("srgb")
    with np.errstate(all="ignore"):
        mask = session.predict(Image.fromarray(np.ascontiguousarray(as_array(eight))))[0]
    if engine.flat:
        return pyvips.Image.black(pixels.width, pixels.height)
    values = np.asarray(mask.convert("L"))
    return pyvips.Image.new_from_memory(values.tobytes(), mask.width, mask.height, 1, "uchar")


@functools.cache
def _sessions() -> Mapping[str, Any]:
    """The session classes of rembg by its names.

    Only the part of rembg that holds them is loaded: 0.6 seconds, once per worker. The whole of it would load
    pymatting, which compiles for 86 seconds where it may not keep the result, as in a worker; and ONNX Runtime, which
    belongs into the model process and is no more than a type annotation here.
    """
    spec = importlib.util.find_spec("rembg")
    if spec is None or spec.submodule_search_locations is None:
        raise RuntimeNotInstalled(
            "rembg, which prepares pictures for these models, is not installed. Install it with: "
            'uv tool install "darkroom-mcp[ai]" (in a checkout: uv sync --extra ai).'
        )
    part, absent = ModuleType("rembg"), ModuleType("onnxruntime")
    part.__path__ = list(spec.submodule_search_locations)
    vars(absent)["__getattr__"] = lambda _: object
    with _standing_in(part, absent):
        sessions: Mapping[str, Any] = importlib.import_module("rembg.sessions").sessions
    return sessions


@contextmanager
def _standing_in(*modules: ModuleType) -> Iterator[None]:
    """Let imports find these modules instead of those of the same names."""
    before = {module.__name__: sys.modules.get(module.__name__) for module in modules}
    sys.modules.update({module.__name__: module for module in modules})
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module
