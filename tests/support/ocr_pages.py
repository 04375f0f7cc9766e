"""Pages of text with known truth, and what reads them."""

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from darkroom_tools.kit.ocr import CLASSIFIER, SMALL
from darkroom_tools.models import card
from support.pictures import DirectRun

FONTS = resources.files("darkroom_tools").joinpath("data", "fonts")


def page(
    lines: Sequence[str],
    size: int = 18,
    *,
    font: str = "base/DejaVuSans.ttf",
    ink: int = 0,
    paper: int = 255,
    margin: int = 16,
) -> np.ndarray:
    """Rows of text as a picture, height × width × 3."""
    with resources.as_file(FONTS.joinpath(font)) as path:
        face = ImageFont.truetype(str(path), size)
    width = round(max(face.getlength(line) for line in lines)) + 2 * margin
    picture = Image.new("L", (width, round(1.5 * size * len(lines)) + 2 * margin), paper)
    for number, line in enumerate(lines):
        ImageDraw.Draw(picture).text((margin, margin + round(1.5 * size * number)), line, font=face, fill=ink)
    return np.repeat(np.asarray(picture)[..., None], 3, axis=2)


def error_rate(read: str, truth: str) -> float:
    """Characters that must be changed, put in or taken out, as a share of the truth; white space counts once."""
    got, wanted = " ".join(read.split()), " ".join(truth.split())
    row = list(range(len(wanted) + 1))
    for number, letter in enumerate(got, 1):
        above, row[0] = row[0], number
        for n, other in enumerate(wanted, 1):
            above, row[n] = row[n], min(above + (letter != other), row[n] + 1, row[n - 1] + 1)
    return row[-1] / len(wanted)


@functools.cache
def readers() -> dict[str, Any]:
    """The models that rapidocr carries, on one thread each."""
    import onnxruntime

    def reader(model: str) -> Any:
        package, _, inside = (card(model).packaged or "").partition("/")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        data = resources.files(package).joinpath(inside).read_bytes()
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda array: session.run(None, {name: array})

    return {model: reader(model) for model in (*SMALL, CLASSIFIER)}


def real_run() -> DirectRun:
    """A run with those models."""
    return DirectRun(dict(readers()))
