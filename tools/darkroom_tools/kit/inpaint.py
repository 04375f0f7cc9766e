"""Filling holes in pictures: thin ones by diffusion, others with pieces of their surroundings or by a network."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

from darkroom_tools.base import Run
from darkroom_tools.kit.diffusion import carried_in
from darkroom_tools.kit.exemplar import SIDE, sources
from darkroom_tools.kit.pixels import as_array, color_bands, picture_of, resized, white_level
from darkroom_tools.kit.seamless import corrections
from darkroom_tools.models import Card, best_installed, cards_for
from darkroom_tools.native import np, pyvips

__all__ = ["INPAINT_MODELS", "inpainted"]

INPAINT_MODELS: Final = tuple(card.id for card in cards_for("inpaint"))

THIN: Final = 7
"""Holes of which no pixel is further than this from a known one are filled by diffusion."""

CONTEXT: Final = 0.8
LEAST_CONTEXT: Final = 24
"""How much of the surroundings is looked at: shares of the hole's longer side, and at least so many pixels."""

WORKING_SIDE: Final = 240
"""Pieces are chosen on a picture of about this side."""

NETWORK_CONTEXT: Final = 1.0
EXTRA: Final = 16
"""Pixels around thin holes that are worked on with them."""

Report = Callable[[float], None]


class _Hole(NamedTuple):
    """A connected hole: its box, and how far its innermost pixel is from a known one."""

    left: int
    top: int
    right: int
    bottom: int
    depth: int
    label: int


def inpainted(
    pixels: "pyvips.Image", mask: "np.ndarray", run: Run, report: Report, *, model: str | None = None
) -> "tuple[pyvips.Image, str]":
    """Fill the masked pixels; all others keep their bytes.

    Args:
        pixels: One frame of any kind; alpha is filled like a colour.
        mask: Height × width, True where pixels are missing.
        run: Runs a network where one is installed.
        report: Told how much is done, 0..1; may raise to stop.
        model: Id of a network, or `exemplar` for none; None takes the best one that is installed.

    Returns:
        The picture, and what filled it: `none`, `diffusion`, `exemplar`, a model's id, or several with ` + `.
    """
    if not mask.any():
        return pixels, "none"
    card = best_installed("inpaint", run.installed) if model is None else _card(model)
    array = as_array(pixels).copy()
    if mask.all():
        return pixels, "none"
    scale = 255 / white_level(pixels)
    holes, labels = _holes(mask)
    thin = [hole for hole in holes if hole.depth <= THIN]
    thick = sorted((hole for hole in holes if hole.depth > THIN), key=lambda hole: hole.depth)
    parts = len(thick) + bool(thin)

    def stage(number: int) -> Report:
        return lambda share: report((number + share) / parts)

    methods: list[str] = []
    if thin:
        missing = np.isin(labels, [hole.label for hole in thin])
        _diffuse(array, missing, mask, scale, stage(0))
        mask = mask & ~missing
        methods.append("diffusion")
    for number, hole in enumerate(thick, bool(thin)):
        stage(number)(0)
        if card is not None:
            _by_network(array, labels == hole.label, hole, scale, card, color_bands(pixels), run)
        else:
            _by_pieces(array, labels == hole.label, mask, hole, scale, stage(number))
        mask = mask & (labels != hole.label)
    if thick:
        methods.append(card.id if card is not None else "exemplar")
    return picture_of(array, pixels), " + ".join(methods)


def _card(model: str) -> Card | None:
    return next((card for card in cards_for("inpaint") if card.id == model), None)


def _holes(mask: "np.ndarray") -> "tuple[list[_Hole], np.ndarray]":
    """The connected holes, and the number of the hole of each pixel."""
    height, width = mask.shape
    picture = pyvips.Image.new_from_memory(np.ascontiguousarray(mask, np.uint8).data, width, height, 1, "uchar")
    labels = np.asarray(picture.labelregions().numpy()).reshape(height, width).astype(np.int32)
    labels = np.where(mask, labels + 1, 0)
    rows, columns = np.nonzero(mask)
    numbers = labels[rows, columns]
    present, at = np.unique(numbers, return_inverse=True)
    low_x, low_y = np.full(len(present), width), np.full(len(present), height)
    high_x, high_y = np.zeros(len(present), int), np.zeros(len(present), int)
    np.minimum.at(low_x, at, columns)
    np.minimum.at(low_y, at, rows)
    np.maximum.at(high_x, at, columns + 1)
    np.maximum.at(high_y, at, rows + 1)
    depths = _depths(labels, present)
    boxes = zip(low_x, low_y, high_x, high_y, depths, present, strict=True)
    return [_Hole(*(int(value) for value in box)) for box in boxes], labels


def _depths(labels: "np.ndarray", present: "np.ndarray") -> "np.ndarray":
    """For each hole how often it can be eroded, at most one more than what counts as thin."""
    depths = np.zeros(len(present), int)
    left = labels > 0
    for step in range(1, THIN + 2):
        depths[np.searchsorted(present, np.unique(labels[left]))] = step
        padded = np.pad(left, 1, constant_values=True)
        left = left & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if not left.any():
            break
    return depths


def _diffuse(array: "np.ndarray", missing: "np.ndarray", mask: "np.ndarray", scale: float, report: Report) -> None:
    """Fill all thin holes at once, in the part of the picture that holds them."""
    rows, columns = np.nonzero(missing.any(1))[0], np.nonzero(missing.any(0))[0]
    top, bottom = max(0, rows[0] - EXTRA), rows[-1] + 1 + EXTRA
    left, right = max(0, columns[0] - EXTRA), columns[-1] + 1 + EXTRA
    part, hole = array[top:bottom, left:right], missing[top:bottom, left:right]
    unknown = mask[top:bottom, left:right]
    if unknown.all():
        part[hole] = array[~mask].reshape(-1, array.shape[2]).mean(0)
        return
    # Larger holes count as missing too, but are filled by other means.
    filled = carried_in(part.astype(np.float32) * scale, unknown, report)[hole]
    part[hole] = np.clip(np.floor(filled / scale + 0.5), 0, np.iinfo(array.dtype).max)


def _by_pieces(
    array: "np.ndarray", here: "np.ndarray", mask: "np.ndarray", hole: _Hole, scale: float, report: Report
) -> None:
    """Fill one hole with pixels of its surroundings, chosen on a reduced picture."""
    context = max(LEAST_CONTEXT, round(CONTEXT * max(hole.right - hole.left, hole.bottom - hole.top)))
    box = (
        slice(max(0, hole.top - context), hole.bottom + context),
        slice(max(0, hole.left - context), hole.right + context),
    )
    part, missing = array[box], mask[box]
    factor = max(1, math.ceil(max(missing.shape) / WORKING_SIDE))
    small, unknown = _reduced(part, missing, factor)
    if min(unknown.shape) < SIDE or not _has_a_patch(unknown):
        filled = carried_in(part.astype(np.float32) * scale, missing, report)
        part[here[box]] = np.clip(np.floor(filled[here[box]] / scale + 0.5), 0, np.iinfo(array.dtype).max)
        return
    places = sources(small * scale, unknown, report)
    offsets = places - np.indices(unknown.shape).transpose(1, 2, 0)
    levels = corrections(small, unknown, places)
    rows, columns = np.nonzero(here[box])
    part[rows, columns] = _gathered(part, missing, offsets, levels, factor, rows, columns)


def _has_a_patch(unknown: "np.ndarray") -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(unknown, (SIDE, SIDE))
    return bool((~windows.any((2, 3))).any())


def _reduced(part: "np.ndarray", missing: "np.ndarray", factor: int) -> "tuple[np.ndarray, np.ndarray]":
    """Means over blocks of known pixels, and which blocks have a missing pixel."""
    height, width, bands = part.shape
    down, across = -height % factor, -width % factor
    values = np.pad(part, ((0, down), (0, across), (0, 0)), mode="edge").astype(np.float32)
    gone = np.pad(missing, ((0, down), (0, across)), mode="edge")
    shape = (values.shape[0] // factor, factor, values.shape[1] // factor, factor)
    known = (~gone).astype(np.float32)
    count = known.reshape(shape).sum((1, 3))
    sums = (values * known[..., None]).reshape(*shape, bands).sum((1, 3))
    partly: np.ndarray = gone.reshape(shape).max((1, 3))
    return sums / np.maximum(count, 1)[..., None], partly


def _gathered(
    part: "np.ndarray",
    missing: "np.ndarray",
    offsets: "np.ndarray",
    levels: "np.ndarray",
    factor: int,
    rows: "np.ndarray",
    columns: "np.ndarray",
) -> "np.ndarray":
    """The pixels that take the places of missing ones; where two pieces meet they fade into one another."""
    total = np.zeros((len(rows), part.shape[2]))
    weight = np.zeros((len(rows), 1))
    y, x = (rows + 0.5) / factor - 0.5, (columns + 0.5) / factor - 0.5
    for low_y, low_x in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at_y, at_x = np.floor(y).astype(int) + low_y, np.floor(x).astype(int) + low_x
        share = (1 - np.abs(y - at_y)) * (1 - np.abs(x - at_x))
        # The block of the pixel itself always has a source, whatever its neighbours have.
        share = share + 1e-6 * ((at_y == rows // factor) & (at_x == columns // factor))
        inside = (at_y >= 0) & (at_x >= 0) & (at_y < len(offsets)) & (at_x < offsets.shape[1])
        at_y, at_x = np.clip(at_y, 0, len(offsets) - 1), np.clip(at_x, 0, offsets.shape[1] - 1)
        from_y, from_x = rows + offsets[at_y, at_x, 0] * factor, columns + offsets[at_y, at_x, 1] * factor
        usable = inside & offsets[at_y, at_x].any(-1) & (from_y >= 0) & (from_x >= 0)
        usable &= (from_y < len(part)) & (from_x < part.shape[1])
        from_y, from_x = np.clip(from_y, 0, len(part) - 1), np.clip(from_x, 0, part.shape[1] - 1)
        usable &= ~missing[from_y, from_x]
        share = (share * usable)[:, None]
        total += share * (part[from_y, from_x] + levels[at_y, at_x])
        weight += share
    mixed = np.floor(total / np.maximum(weight, 1e-12) + 0.5)
    return np.clip(mixed, 0, np.iinfo(part.dtype).max).astype(part.dtype)


def _by_network(
    array: "np.ndarray", here: "np.ndarray", hole: _Hole, scale: float, card: Card, colors: int, run: Run
) -> None:
    """Fill one hole by a network that sees a square around it."""
    side = int(card.inputs[0].shape[2])
    reach = max(hole.right - hole.left, hole.bottom - hole.top)
    wanted = max(side // 2, round(reach * (1 + 2 * NETWORK_CONTEXT)))
    top, bottom = _span(hole.top, hole.bottom, wanted, array.shape[0])
    left, right = _span(hole.left, hole.right, wanted, array.shape[1])
    box = (slice(top, bottom), slice(left, right))
    part, missing = array[box], here[box]
    color = part[..., :colors] if colors == 3 else np.repeat(part[..., :1], 3, axis=2)
    seen = _sized(color.astype(np.float32) * (scale / 255), side, side)
    covered = _sized(missing[..., None].astype(np.float32), side, side) > 0
    inputs = [np.clip(seen, 0, 1) * ~covered, covered.astype(np.float32)]
    answer = run.infer(card.id, [np.ascontiguousarray(each.transpose(2, 0, 1)[None], np.float32) for each in inputs])
    made = _sized(answer.outputs[0][0].transpose(1, 2, 0).astype(np.float32), missing.shape[1], missing.shape[0])
    made = made if colors == 3 else made.mean(axis=2, keepdims=True)
    filled = np.clip(np.floor(made[missing] / scale + 0.5), 0, np.iinfo(array.dtype).max)
    part[missing, :colors] = filled.astype(array.dtype)
    if array.shape[2] > colors:
        part[missing, colors:] = np.iinfo(array.dtype).max


def _span(low: int, high: int, wanted: int, length: int) -> tuple[int, int]:
    """A stretch of the wanted length around low..high, inside 0..length."""
    wanted = min(wanted, length)
    start = min(max(0, (low + high - wanted) // 2), length - wanted)
    return min(start, low), max(start + wanted, high)


def _sized(values: "np.ndarray", width: int, height: int) -> "np.ndarray":
    """A float picture at another size."""
    data = np.ascontiguousarray(values, np.float32)
    made = pyvips.Image.new_from_memory(data.data, values.shape[1], values.shape[0], values.shape[2], "float")
    return as_array(resized(made, width, height, "linear"))
