"""Tools that try what vector workers may and pixel workers may not; workers import this module."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from darkroom_tools.base import Image, Report, tool
from darkroom_tools.image import Original
from darkroom_tools.native import pyvips

DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"><rect width="7" height="5"/></svg>'


class Tried(Report):
    values: dict[str, Any]


def _try_all() -> Tried:
    here = Path(os.environ["TMPDIR"]).parent
    (here / "tmp" / "drawing.svg").write_bytes(DRAWING)
    linked = DRAWING.replace(b"<rect", b'<image href="drawing.svg"')
    attempts: dict[str, Callable[[], Any]] = {
        "draw an SVG from memory": lambda: pyvips.Image.svgload_buffer(DRAWING).width,
        "find the loader of an SVG": lambda: pyvips.Image.new_from_buffer(DRAWING, "").width,
        "draw an SVG file": lambda: pyvips.Image.svgload(str(here / "tmp" / "drawing.svg")).width,
        "open an SVG file": lambda: pyvips.Image.new_from_file(str(here / "tmp" / "drawing.svg")).width,
        "follow a link": lambda: pyvips.Image.svgload_buffer(linked).max(),
        "list the pixel workers": lambda: list((here.parent.parent / "pixels").iterdir()),
        "load a matrix": lambda: pyvips.Image.matrixload(str(here / "in" / "0")).width,
        "parsers": lambda: sorted(name for name in ("pypdfium2",) if name in __import__("sys").modules),
    }
    happened = {}
    for name, attempt in attempts.items():
        try:
            happened[name] = attempt()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the answer)
            happened[name] = type(error).__name__
    return Tried(values={**happened, "pid": os.getpid()})


@tool(title="As vector", worker="vector")
def as_vector(image: Image) -> Tried:
    """Try it all in a vector worker."""
    return _try_all()


@tool(title="As pixels")
def as_pixels(image: Image) -> Tried:
    """Try it all in a pixel worker."""
    return _try_all()


@tool(title="Hang", worker="vector")
def hang_vector(svg: Original) -> Image:
    """Never come to an end."""
    while True:
        pass
