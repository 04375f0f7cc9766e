"""Noise removal in tiers, by the noise that is measured in the picture.

`fast`, `balanced` and `best` shrink cosine coefficients (`denoise_dct`), each with more work; `best` and `maximum` take
a network where one is installed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from darkroom_tools.base import Run
from darkroom_tools.kit.denoise_dct import SIDE, TIERS, Noise, Shrinkage, cosine_basis, shrunk
from darkroom_tools.kit.denoise_network import through_network
from darkroom_tools.kit.denoise_noise import measured_noise
from darkroom_tools.kit.pixels import as_array, color_bands, white_level
from darkroom_tools.models import best_installed, cards_for
from darkroom_tools.native import np, pyvips

__all__ = ["DENOISE_MODELS", "NOTHING", "Tier", "denoised", "noise_level"]

Tier = Literal["fast", "balanced", "best", "maximum"]

NOTHING: Final = "none"
"""The method that is named where a picture has no noise, and is left as it is."""

DENOISE_MODELS: Final = tuple(found.id for found in cards_for("denoise"))
"""What a tool that removes noise may use."""

USUAL_COLOR: Final = 0.3
"""Where colour noise counts as much as was measured."""

BACK: Final = 0.4
"""Most of the removed that comes back where there is structure."""

ROWS: Final = 128
COLUMNS: Final = 512
"""Sides of a tile whose arrays stay in the processor's cache."""

LARGEST: Final = 16
"""Side of the largest block: a tile is at least as wide and high."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What is removed from a picture.

    Attributes:
        noise: What is taken for noise in each opponent plane.
        shares: How much of what a network removes is removed, for lightness and for colour.
        back: Share of the removed that comes back where there is structure.
    """

    noise: list[Noise]
    shares: tuple[float, float]
    back: float


def total_level(noise: Sequence[Noise]) -> float:
    """The standard deviation of all planes together."""
    return float(np.sqrt(np.mean([plane.level**2 for plane in noise])))


def noise_level(pixels: "pyvips.Image") -> float:
    """The standard deviation of the noise in a frame's colours, in steps of 255 whatever its depth."""
    return total_level(measured_noise(as_array(pixels), white_level(pixels)))


def denoised(
    pixels: "pyvips.Image",
    run: Run,
    report: Callable[[float], None],
    *,
    tier: Tier = "balanced",
    strength: float = 0.5,
    color: float = 0.3,
    detail: float = 0.5,
    warn: Callable[[str], None] | None = None,
) -> "tuple[pyvips.Image, str]":
    """Remove noise from one frame. Alpha stays; colours that nobody sees neither change nor count.

    Args:
        pixels: Grey or colour, 8 or 16 bits.
        run: What the tool got.
        report: Told the share of the work that is done.
        tier: How thoroughly.
        strength: 0 does nothing, 0.5 removes the noise that was measured, 1 as if it were twice that.
        color: The same for noise in colour: 0 leaves colours alone, 0.3 is as measured, 1 is for blotches.
        detail: How much of what was removed comes back where there is structure, 0..1.
        warn: Told in words if memory was short.

    Returns:
        The picture, and the name of the method; `NOTHING` with the very pixels where there is no noise.

    Raises:
        OutOfMemory: A network was installed, and no device has the memory for its smallest tile.
        Cancelled: The caller gave up.
    """
    array, colors, white = as_array(pixels), color_bands(pixels), white_level(pixels)
    measured = measured_noise(array, white)
    if strength <= 0 or max(noise.level for noise in measured) <= 0:
        return pixels, NOTHING
    values = _without_hidden(array, colors)
    amounts = _amounts(measured, strength, color, detail)
    model = best_installed("denoise", run.installed) if tier in ("best", "maximum") else None
    if model is None:
        clean, method = _shrunk_by_tiles(values, white, TIERS[tier], amounts, report), f"dct-{tier}"
    else:
        clean, method = through_network(values, white, model, run, amounts.shares, report, warn), model.id
    report(1)
    return _finished(pixels, array, clean), method


def _amounts(measured: list[Noise], strength: float, color: float, detail: float) -> Amounts:
    factor, tint = 2 * strength, color / USUAL_COLOR
    noise = [measured[0].times(factor), *(plane.times(factor * tint) for plane in measured[1:])]
    return Amounts(noise, (min(1, factor), min(1, factor * tint)), BACK * detail**2)


def _shrunk_by_tiles(
    values: "np.ndarray", white: int, how: Shrinkage, amounts: Amounts, report: Callable[[float], None]
) -> "np.ndarray":
    """The colours after `how`, tile by tile."""
    rows, columns, colors = values.shape
    basis, made = cosine_basis(colors), np.empty(values.shape, values.dtype)
    places = [(top, left) for top in range(0, rows, ROWS) for left in range(0, columns, COLUMNS)]
    for done, (top, left) in enumerate(places):
        report(done / len(places))
        place = made[top : top + ROWS, left : left + COLUMNS]
        tile = _with_surroundings(values, top, left, how.reach).astype(np.float32)
        tile *= np.float32(255 / white)
        planes = np.ascontiguousarray(np.moveaxis(tile @ basis.T, -1, 0))
        inner = slice(how.reach, how.reach + len(place)), slice(how.reach, how.reach + place.shape[1])
        means = _block_means(planes[0] * np.float32(colors**-0.5))
        clean = [
            _clean(plane, noise, how, amounts.back, noise.curve[means])[inner]
            for plane, noise in zip(planes, amounts.noise, strict=True)
        ]
        shown = np.stack(clean, -1) @ basis
        shown *= np.float32(white / 255)
        shown += np.float32(0.5)
        place[...] = shown.clip(0, white, out=shown)
    return made


def _block_means(lightness: "np.ndarray") -> "np.ndarray":
    """The mean brightness of the block around each pixel, 0..255 in whole steps."""
    sums = np.pad(lightness, ((SIDE // 2 + 1, SIDE // 2 - 1),) * 2, mode="edge").cumsum(0).cumsum(1, dtype=np.float64)
    means = sums[SIDE:, SIDE:] - sums[:-SIDE, SIDE:] - sums[SIDE:, :-SIDE] + sums[:-SIDE, :-SIDE]
    return np.asarray((means / SIDE**2).clip(0, 255).astype(np.uint8))


def _clean(plane: "np.ndarray", noise: Noise, how: Shrinkage, back: float, light: "np.ndarray") -> "np.ndarray":
    if noise.level <= 0:
        return plane
    clean, structure = shrunk(plane, noise, how, light)
    if back:
        structure *= np.float32(back)
        structure *= plane - clean
        clean += structure
    return clean


def _without_hidden(array: "np.ndarray", colors: int) -> "np.ndarray":
    """The colours, with the mean of the visible ones where nothing shows."""
    values = array[..., :colors]
    if array.shape[2] == colors or array[..., colors].all():
        return values
    seen = array[..., colors:] > 0
    mean = values.mean((0, 1), where=seen) if seen.any() else np.zeros(colors)
    return np.where(seen, values, mean.astype(values.dtype))


def _finished(pixels: "pyvips.Image", array: "np.ndarray", clean: "np.ndarray") -> "pyvips.Image":
    """The clean colours as a picture with the alpha and the hidden colours of the first."""
    colors = clean.shape[2]
    if array.shape[2] > colors:
        alpha = array[..., colors:]
        clean = np.concatenate([np.where(alpha > 0, clean, array[..., :colors]), alpha], -1)
    made = pyvips.Image.new_from_memory(clean.data, pixels.width, pixels.height, pixels.bands, pixels.format)
    whole: pyvips.Image = pixels.insert(made.copy(interpretation=pixels.interpretation), 0, 0)
    return whole


def _with_surroundings(values: "np.ndarray", top: int, left: int, reach: int) -> "np.ndarray":
    """A tile with `reach` more pixels on each side; outside, the picture is mirrored, as often as need be."""
    rows, columns = (
        _mirrored(np.arange(start - reach, max(min(start + side, length), start + LARGEST) + reach), length)
        for start, side, length in ((top, ROWS, len(values)), (left, COLUMNS, values.shape[1]))
    )
    return np.asarray(values[rows[:, None], columns])


def _mirrored(places: "np.ndarray", length: int) -> "np.ndarray":
    folded = places % (2 * length)
    return np.where(folded < length, folded, 2 * length - 1 - folded)
