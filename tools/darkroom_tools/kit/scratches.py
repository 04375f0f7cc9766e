"""Where scratches, creases and dust are on a photograph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_tools.kit.pixels import as_array, color_bands, resized
from darkroom_tools.kit.scratch_lines import Line, block_means, connected, grown, halved, lines_of, tonal_range
from darkroom_tools.native import np, pyvips

__all__ = ["Care", "Damage", "damage_of", "outside_of"]

Care = Literal["auto", "light", "heavy"]

WORKING_SIDE: Final = 2_000
"""Damage is looked for on a picture of at most this side."""

DAMAGED: Final = 2.2
"""Sum of what the odds of lines are above 1 that makes a picture a damaged one."""

USUAL_SPAN: Final = 190.0
MOST_GAIN: Final = 2.5
"""Levels from black to white below which a picture is stretched before it is judged, and by how much at most."""

RUINED: Final = 10.0
"""The sum from which `auto` takes less likely lines too."""

ODDS: Final[dict[Care, tuple[float, float]]] = {"light": (2.0, 3.5), "auto": (1.0, 3.0), "heavy": (-0.5, 0.5)}
"""Odds from which a line is taken for a scratch: in a damaged picture, and in one that seems whole."""

PATTERN_ODDS: Final = 0.0
MOST: Final = 0.15
"""Share of a picture that likely lines cover at most; more of them are a pattern, such as a wall of bricks."""

SPECK: Final = 7
"""Side of a square into which no speck fits, in pixels of a level."""

LARGEST: Final = 11
"""Pixels across the largest part that still is a speck."""

SURROUNDINGS: Final = 15
"""Side of the square around a speck that must be smooth."""

STANDS_OUT: Final[dict[Care, float]] = {"light": 48, "auto": 36, "heavy": 28}
CLEARER: Final = 2.5
"""Least contrast of a speck, of 255, and in multiples of the range of its surroundings."""

ALONE: Final = 10.0
"""How much a speck stands out more than pixels around it do on average."""

NEAR_END: Final = 0.3
"""How far from white or black a speck is at most, in shares of the tonal range."""

FEW: Final[dict[Care, int]] = {"light": 60, "auto": 30, "heavy": 1}
"""Specks below which they belong to a picture that has no scratches."""

NIGHT: Final = 40
"""Median, of 255, of a picture whose bright specks may be stars."""

SOFT: Final = 4.0
"""Deviation of the blur that carries the surroundings into scratches."""

LEAST: Final = 8
SHARE: Final = 0.35
"""From what difference on the pixels next to a scratch belong to it: of 255, and in shares of its contrast."""


@dataclass(frozen=True, slots=True)
class Damage:
    """What is to be repaired.

    Attributes:
        mask: Height × width, True where the picture is damaged.
        coverage: The share of it in percent.
        lines: How many scratches and creases there are.
        specks: How many specks of dust.
    """

    mask: "np.ndarray"
    coverage: float
    lines: int
    specks: int


def damage_of(pixels: "pyvips.Image", care: Care, report: Callable[[float], None]) -> Damage:
    """Look for scratches, creases and dust on one frame.

    Args:
        pixels: Grey or colour, 8 or 16 bits; what is transparent is never damaged.
        care: `light` takes what is certain, `heavy` all that may be damage; `auto` decides by how damaged it seems.
        report: Told how much is done, 0..1; may raise to stop.
    """
    full = _stretched(_grey(pixels))
    height, width = full.shape
    factor = max(1.0, max(full.shape) / WORKING_SIDE)
    working = full
    if factor > 1:
        picture = pyvips.Image.new_from_memory(full.data, width, height, 1, "uchar")
        small = resized(picture, max(1, round(width / factor)), max(1, round(height / factor)), "linear")
        working = np.asarray(small.numpy()).reshape(small.height, small.width)
    lines = _scratches(working, care, lambda share: report(0.7 * share))
    bright, dark = _drawn(lines, working.shape)
    specks = _add_specks(working, care, scratched=bool(lines), bright=bright, dark=dark)
    report(0.8)
    mask = np.zeros(full.shape, bool)
    if bright.any() or dark.any():
        surroundings = _surroundings(working, bright | dark)
        for part, sign in ((bright, 1), (dark, -1)):
            if part.any():
                mask |= _at_full_size(full, working, part, surroundings, sign)
        mask = grown((mask * 255).astype(np.uint8)) > 0
    if pixels.hasalpha():
        mask &= as_array(pixels.extract_band(pixels.bands - 1))[..., 0] > 0
    report(1)
    return Damage(mask, 100 * float(mask.mean()), len(lines), specks)


def outside_of(mask: "np.ndarray", boxes: Sequence[tuple[float, float, float, float]]) -> "np.ndarray":
    """The damage without the parts that lie within a box: teeth and glints in eyes look like dust.

    Args:
        mask: Height × width.
        boxes: Left, top, width and height in pixels.
    """
    kept = mask.copy()
    for left, top, width, height in boxes:
        box = slice(max(0, int(top)), max(0, int(top + height))), slice(max(0, int(left)), max(0, int(left + width)))
        for rows, columns in connected(mask[box]):
            rim = (rows == 0) | (columns == 0) | (rows == mask[box].shape[0] - 1) | (columns == mask[box].shape[1] - 1)
            if not rim.any():
                kept[box][rows, columns] = False
    return kept


def _grey(pixels: "pyvips.Image") -> "np.ndarray":
    """The lightness of one frame, uint8."""
    colors = pixels.extract_band(0, n=color_bands(pixels))
    grey = colors.colourspace("b-w") if colors.bands > 1 or colors.format != "uchar" else colors
    return as_array(grey.extract_band(0).cast("uchar"))[..., 0].copy()


def _stretched(grey: "np.ndarray") -> "np.ndarray":
    """The lightness with usual contrast: whether a scratch is seen must not depend on how faded the photo is."""
    tones = tonal_range(grey)
    gain = min(max(1.0, USUAL_SPAN / tones.span), MOST_GAIN)
    curve = np.clip((np.arange(256) - tones.black) * gain + tones.black / gain, 0, 255)
    stretched: np.ndarray = np.floor(curve + 0.5).astype(np.uint8)[grey]
    return stretched


def _scratches(grey: "np.ndarray", care: Care, report: Callable[[float], None]) -> list[Line]:
    """The lines that are taken for scratches."""
    lines = lines_of(grey, report)
    damage = sum(max(0.0, line.odds - 1) for line in lines)
    least = ODDS[care][0 if damage >= DAMAGED else 1]
    if care == "auto" and damage >= RUINED:
        least = ODDS["heavy"][1]
    bright, dark = _drawn([line for line in lines if line.odds >= PATTERN_ODDS], grey.shape)
    pattern = care != "heavy" and (bright | dark).mean() > MOST
    return [] if pattern else [line for line in lines if line.odds >= least]


def _drawn(lines: list[Line], shape: tuple[int, ...]) -> "tuple[np.ndarray, np.ndarray]":
    """Masks of bright and of dark lines."""
    masks = np.zeros(shape, bool), np.zeros(shape, bool)
    for line in lines:
        mask, side = masks[not line.bright], 2**line.level
        for down in range(side):
            for across in range(side):
                rows = np.minimum(line.rows * side + down, shape[0] - 1)
                mask[rows, np.minimum(line.columns * side + across, shape[1] - 1)] = True
    return masks


def _add_specks(grey: "np.ndarray", care: Care, *, scratched: bool, bright: "np.ndarray", dark: "np.ndarray") -> int:
    """Mark specks in the masks of bright and of dark damage; answers with their number."""
    tones = tonal_range(grey)
    stars = care != "heavy" and float(np.median(grey[::2, ::2])) < NIGHT
    part, found = grey, []
    for level in range(2):
        part = halved(part) if level else part
        if min(part.shape) < SURROUNDINGS:
            break
        for is_bright in (True, False):
            if is_bright and stars:
                continue
            values, top = (part, tones.white) if is_bright else (255 - part, 255 - tones.black)
            mask = _spots(values, top - NEAR_END * tones.span, STANDS_OUT[care])
            for rows, columns in connected(mask):
                if len(rows) > 1 and max(np.ptp(rows), np.ptp(columns)) < LARGEST:
                    found.append(Line(rows, columns, level, is_bright, 0.0))
    if not scratched and len(found) < FEW[care]:
        return 0
    for mask, more in zip((bright, dark), _drawn(found, grey.shape), strict=True):
        mask |= more
    return len(found)


def _spots(values: "np.ndarray", least: float, contrast: float) -> "np.ndarray":
    """Small bright places in smooth surroundings."""
    without = _running(_running(values, SPECK, np.minimum), SPECK, np.maximum)
    spot = values - np.minimum(values, without)
    smooth = _running(_running(without, SPECK, np.maximum), SPECK, np.minimum)
    changes = _running(smooth, SURROUNDINGS, np.maximum) - _running(smooth, SURROUNDINGS, np.minimum)
    busy = block_means(spot + (smooth - np.minimum(smooth, without)))
    wanted = np.maximum(np.maximum(contrast, CLEARER * np.arange(256))[changes], ALONE * busy.astype(np.float32))
    sure = (spot >= wanted) & (values >= least)
    near = _running(np.where(sure, spot, 0).astype(np.uint8), SPECK, np.maximum)
    return np.asarray((near > 0) & (spot >= near * np.float32(0.4)))


def _running(plane: "np.ndarray", size: int, pick: "np.ufunc") -> "np.ndarray":
    """The least or greatest of size × size pixels, an odd number; the edge repeats outside."""
    for axis in (0, 1):
        sides = [(0, 0), (0, 0)]
        sides[axis] = (size // 2, size // 2)
        wide, reach = np.pad(plane, sides, mode="edge"), 1
        while reach < size:
            step = min(reach, size - reach)
            length = wide.shape[axis] - step
            wide = pick(
                wide.take(range(length), axis) if axis else wide[:length], wide[:, step:] if axis else wide[step:]
            )
            reach += step
        plane = wide
    return plane


def _surroundings(grey: "np.ndarray", mask: "np.ndarray") -> "np.ndarray":
    """What would be there without the damage, roughly, uint8."""
    known = grown(grown((mask * 255).astype(np.uint8))) == 0
    total = _blurred(np.where(known, grey, 0)) / np.maximum(_blurred(known), np.float32(1e-3))
    return np.where(mask, np.clip(total, 0, 255), grey if known.all() else np.clip(total, 0, 255)).astype(np.uint8)


def _blurred(plane: "np.ndarray") -> "np.ndarray":
    values = np.ascontiguousarray(plane, np.float32)
    height, width = values.shape
    picture = pyvips.Image.new_from_memory(values.data, width, height, 1, "float")
    return np.asarray(picture.gaussblur(SOFT, precision="float").numpy()).reshape(height, width)


def _at_full_size(
    full: "np.ndarray", working: "np.ndarray", part: "np.ndarray", surroundings: "np.ndarray", sign: int
) -> "np.ndarray":
    """The damage of one polarity with all pixels next to it that differ from the surroundings as it does."""
    height, width = full.shape
    contrast = np.where(part, np.maximum((working.astype(np.int16) - surroundings) * sign, 0), 0)
    mean = _blurred(contrast) / np.maximum(_blurred(part), np.float32(1e-3))
    least = np.clip(np.maximum(LEAST, SHARE * mean), 0, 255).astype(np.uint8)
    near = grown(grown((part * 255).astype(np.uint8)))
    planes = np.stack([surroundings, least, near], -1)
    picture = pyvips.Image.new_from_memory(planes.data, planes.shape[1], planes.shape[0], 3, "uchar")
    wide = as_array(
        picture.copy(interpretation="multiband") if full.shape == part.shape else _fitted(picture, width, height)
    )
    differs = (full.astype(np.int16) - wide[..., 0]) * sign >= wide[..., 1]
    return np.asarray((wide[..., 2] > 127) & differs)


def _fitted(picture: "pyvips.Image", width: int, height: int) -> "pyvips.Image":
    return resized(picture.copy(interpretation="multiband"), width, height, "linear")
