"""Layouts of a collage: which part of the canvas each picture gets."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from darkroom_tools.kit.geometry import Box, proportional, rounded
from darkroom_tools.settings import nearest

__all__ = ["Template", "canvas_size", "collage_templates", "find_template"]


@dataclass(frozen=True, slots=True)
class Template:
    """A grid of columns and rows, and the areas of the pictures in it.

    Attributes:
        id: Name, such as `3-left-large`; its number is that of the areas.
        columns: Relative widths.
        rows: Relative heights.
        areas: First and last line of columns, first and last line of rows, in the order of the pictures.
    """

    id: str
    columns: tuple[float, ...]
    rows: tuple[float, ...]
    areas: tuple[tuple[int, int, int, int], ...]

    def boxes(self, width: int, height: int, gap: int) -> list[Box] | None:
        """The areas in pixels, `gap` apart from one another and from the edge; None if the gaps leave no room."""
        across, down = _tracks(self.columns, width, gap), _tracks(self.rows, height, gap)
        found = [
            Box(across[left][0], down[top][0], across[right - 1][1] - across[left][0], down[low - 1][1] - down[top][0])
            for left, right, top, low in self.areas
        ]
        return found if all(box.width > 0 and box.height > 0 for box in found) else None


def _tracks(weights: Sequence[float], length: int, gap: int) -> list[tuple[int, int]]:
    """First and last edge of each track; rounding never adds up, so the last one ends exactly a gap from the edge."""
    room = length - gap * (len(weights) + 1)
    edges = [rounded(room * sum(weights[:n]) / sum(weights)) for n in range(len(weights) + 1)]
    return [(gap * (n + 1) + edges[n], gap * (n + 1) + edges[n + 1]) for n in range(len(weights))]


def canvas_size(ratio: str) -> tuple[int, int]:
    """Width and height of the canvas of an aspect ratio."""
    canvas = _data()["canvas"]
    across, down = canvas["ratios"][ratio]
    long = canvas["longSide"]
    return (long, proportional(long, down, across)) if across >= down else (proportional(long, across, down), long)


@functools.cache
def collage_templates() -> Mapping[str, Template]:
    """All layouts by name, those for fewer pictures first."""
    return MappingProxyType({name: _template(name, **entry) for name, entry in _data()["templates"].items()})


def find_template(name: str) -> Template:
    """The layout of that name, whatever its case.

    Raises:
        ValueError: Unknown; the text holds the nearest name and all others.
    """
    found = collage_templates().get(name.strip().casefold())
    if found is not None:
        return found
    near = nearest(name, list(collage_templates()))
    hint = f" Did you mean {near!r}?" if near else ""
    raise ValueError(f"Unknown template {name[:80]!r}.{hint} Allowed: {', '.join(collage_templates())}.")


@functools.cache
def _data() -> Mapping[str, Any]:
    text = files("darkroom_tools").joinpath("data", "collage_templates.json").read_text(encoding="utf-8")
    data: dict[str, Any] = json.loads(text)
    return data


def _template(name: str, columns: list[float], rows: list[float], areas: list[str]) -> Template:
    """A layout from its drawing: one text a row, one letter a column, equal letters are one area."""
    boxes = []
    for letter in sorted(set("".join(areas))):
        across = [x for line in areas for x, drawn in enumerate(line) if drawn == letter]
        down = [y for y, line in enumerate(areas) if letter in line]
        boxes.append((min(across), max(across) + 1, min(down), max(down) + 1))
    return Template(name, tuple(columns), tuple(rows), tuple(boxes))
