"""Noise removal by a network."""

from collections.abc import Callable

from darkroom_tools.base import Run
from darkroom_tools.kit.tiles import run_tiled
from darkroom_tools.models import Card
from darkroom_tools.native import np

__all__ = ["through_network"]


def through_network(
    values: "np.ndarray",
    white: int,
    model: Card,
    run: Run,
    shares: tuple[float, float],
    report: Callable[[float], None],
    warn: Callable[[str], None] | None = None,
) -> "np.ndarray":
    """The colours of a picture as the network cleans them, in the depth that they had.

    Args:
        values: Rows × columns × 1 or 3, unsigned.
        white: The value of white.
        model: A card of the task `denoise`.
        run: What the tool got.
        shares: How much of what the network removes is removed, for lightness and for colour, 0..1.
        report: Told the share of the work that is done.
        warn: Told in words if memory was short.

    Raises:
        OutOfMemory: No device has the memory for its smallest tile.
    """
    colors = values.shape[2]
    shown = np.repeat(values, 3, axis=2) if colors == 1 else values
    made = run_tiled(shown, model, run, lambda share, _: report(share), depth=np.float32)
    if made.halved and warn is not None:
        warn(f"Memory was short: {model.id} ran in tiles of {made.tile} pixels.")
    whole, removed = values.astype(np.float32), made.array
    whole *= np.float32(1 / white)
    removed -= whole
    lightness = removed.mean(2, keepdims=True)
    if colors == 1:
        removed = lightness * np.float32(shares[0])
    else:
        removed *= np.float32(shares[1])
        lightness *= np.float32(shares[0] - shares[1])
        removed += lightness
    whole += removed
    whole *= white
    whole += np.float32(0.5)
    return whole.clip(0, white, out=whole).astype(values.dtype)
