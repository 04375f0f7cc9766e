"""Networks on pictures of any size: tile by tile, put together so that no seam is left.

A tile goes in with a margin of its neighbourhood, and only what the margin cannot have falsified is kept. Tiles at the
border of the picture end where the picture ends, so that the network pads them as it would pad the whole picture. So
the result equals that of the whole picture wherever the margin is at least the radius of the receptive field.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from darkroom_tools.base import Run
from darkroom_tools.errors import ModelInvalid, OutOfMemory
from darkroom_tools.models import Card
from darkroom_tools.native import np

__all__ = ["Tiled", "run_tiled"]

LEAST_TILE: Final = 64
"""Side below which a tile is not halved any more: a device that cannot hold it holds nothing useful."""


@dataclass(frozen=True, slots=True)
class Tiled:
    """What a network made of a picture.

    Attributes:
        array: Height × width × channels, as large as asked for.
        tile: Side of the tiles without margin, 0 where the picture went in whole; at borders they are smaller.
        halved: Whether tiles are smaller than the card wants because memory ran out.
    """

    array: "np.ndarray"
    tile: int
    halved: bool


class _Span(NamedTuple):
    """A tile along one axis, in pixels of the input: what goes in, and the part of it whose result is kept."""

    start: int
    stop: int
    begin: int
    end: int


def run_tiled(
    array: "np.ndarray",
    card: Card,
    run: Run,
    report: Callable[[float, str], None],
    *,
    depth: Any = None,
    shrink: int = 1,
) -> Tiled:
    """Run a network that makes a picture of a picture: `card.scale` times as large, pixel by pixel in place.

    Beside the input and the result only the tiles that are under way are held.

    Args:
        array: Height × width × channels. `float32` goes in as it is; of `uint8` and `uint16` white goes in as 1.
        card: Its first input is n × channels × h × w. Fixed sides there are the tile with its margin; a picture that
            is smaller, or no multiple of `card.multiple`, is continued to the right and below by reflection.
        run: Runs the model.
        report: Told the share that is done, never falling, and which tile. It may raise `Cancelled`.
        depth: NumPy type of the result, default that of `array`; for `uint8` and `uint16` 1 becomes white.
        shrink: So many result pixels a side are averaged to one; a divisor of `card.scale`.

    Raises:
        OutOfMemory: Even the smallest tile is too large, or the model's tiles have a fixed size.
        ModelInvalid: The result has another shape than the card says.
        ModelNotInstalled, RuntimeNotInstalled, Cancelled: As `run.infer` does.
    """
    kind = np.dtype(array.dtype if depth is None else depth)
    fixed = any(isinstance(side, int) for side in card.inputs[0].shape[2:])
    tile, reached, wanted = card.tile, 0.0, min(card.tile, max(array.shape[:2]))

    def told(done: float, message: str) -> None:
        nonlocal reached
        reached = max(reached, done)
        report(reached, message)

    while True:
        try:
            made = _whole(array, card, tile, run, told, kind, shrink)
        except OutOfMemory:
            tile = min(tile, wanted) // 2
            if fixed or tile < LEAST_TILE:
                raise
        else:
            return Tiled(made, tile, halved=tile < wanted)


def _whole(
    array: "np.ndarray",
    card: Card,
    tile: int,
    run: Run,
    report: Callable[[float, str], None],
    kind: "np.dtype[Any]",
    shrink: int,
) -> "np.ndarray":
    """The result, in tiles of one size."""
    height, width, _ = array.shape
    sides = card.inputs[0].shape[2:]
    down, across = (_spans(size, side, tile, card) for size, side in zip((height, width), sides, strict=True))
    tiles = [(rows, columns) for rows in down for columns in across]
    lines, places = (_reflected(size, spans[-1].stop) for size, spans in ((height, down), (width, across)))

    def windows() -> "Iterator[list[np.ndarray]]":
        for rows, columns in tiles:
            part = array[np.ix_(lines[rows.start : rows.stop], places[columns.start : columns.stop])]
            yield [np.ascontiguousarray(_floats(part).transpose(2, 0, 1)[None])]

    factor = card.scale // shrink
    channels = card.outputs[0].shape[1]
    shape = (height * factor, width * factor, channels if isinstance(channels, int) else array.shape[2])
    result = np.empty(shape, kind)
    answers = run.infer_each(card.id, windows())
    for number, ((rows, columns), answer) in enumerate(zip(tiles, answers, strict=True), 1):
        part = _kept(answer.outputs[0], rows, columns, card, shrink)
        place = result[rows.begin * factor : rows.end * factor, columns.begin * factor : columns.end * factor]
        place[...] = _values(part[: place.shape[0], : place.shape[1]], kind)
        report(number / len(tiles), f"Processing tile {number}/{len(tiles)}")
    return result


def _spans(size: int, side: int | str, tile: int, card: Card) -> list[_Span]:
    """The tiles along an axis; all windows have one size, so that the engine can run them together."""
    step_of = card.multiple
    margin = _rounded_up(card.margin, step_of)
    length = _rounded_up(size, step_of)
    if isinstance(side, int):
        length, step = max(length, side), side - 2 * margin
    else:
        inner = max(step_of, length - 2 * margin)
        # As many tiles as the size asks for, but of equal size: little is computed twice.
        count = -(-inner // max(step_of, tile // step_of * step_of)) if tile else 1
        step = _rounded_up(-(-inner // count), step_of)
    count = max(1, -(-(length - 2 * margin) // step))
    if count == 1:
        return [_Span(0, length, 0, length)]
    edges = [0, *(margin + number * step for number in range(1, count)), length]
    window = step + 2 * margin
    starts = [min(number * step, length - window) for number in range(count)]
    return [_Span(start, start + window, *edges[n : n + 2]) for n, start in enumerate(starts)]


def _rounded_up(value: int, step: int) -> int:
    return -(-value // step) * step


def _reflected(size: int, length: int) -> "np.ndarray":
    """Which pixel of an axis stands at each place of its continuation; the last pixel is not repeated."""
    return np.pad(np.arange(size), (0, length - size), mode="reflect" if size > 1 else "edge")


def _kept(output: "np.ndarray", rows: _Span, columns: _Span, card: Card, shrink: int) -> "np.ndarray":
    """The part of a tile's result that counts, height × width × channels."""
    high, wide = ((span.stop - span.start) * card.scale for span in (rows, columns))
    channels = card.outputs[0].shape[1]
    channels = output.shape[1] if isinstance(channels, str) and output.ndim == 4 else channels
    if output.shape != (1, channels, high, wide):
        raise ModelInvalid(
            f"The model {card.id!r} answers with another shape than its kind does. Import the right file.",
            model=card.id,
        )
    top, bottom, left, right = (
        (place - span.start) * card.scale for span in (rows, columns) for place in (span.begin, span.end)
    )
    part = output[0, :, top:bottom, left:right]
    if shrink > 1:
        part = part.reshape(len(part), part.shape[1] // shrink, shrink, part.shape[2] // shrink, shrink).mean((2, 4))
    return np.asarray(part).transpose(1, 2, 0)


def _floats(part: "np.ndarray") -> "np.ndarray":
    """Pixels as the network takes them."""
    floats = part.astype(np.float32, copy=False)
    if part.dtype.kind == "u":
        floats /= np.float32(np.iinfo(part.dtype).max)
    return floats


def _values(part: "np.ndarray", kind: "np.dtype[Any]") -> "np.ndarray":
    """What the network made, as pixels of the wanted type."""
    if kind.kind != "u":
        return part
    white = np.float32(np.iinfo(kind).max)
    return np.asarray(np.clip(part, 0, 1) * white + np.float32(0.5)).astype(kind)
