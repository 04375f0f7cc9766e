"""The frames of an animation: their order, their delays, how often they play."""

from collections.abc import Sequence
from typing import Any, Final, cast

from darkroom_tools.image import Image
from darkroom_tools.native import pyvips

__all__ = ["animation_facts", "backwards", "delays_of", "loop_of", "timed"]

SHORTEST_SHOWN: Final = 20
SHOWN_INSTEAD: Final = 100


def delays_of(image: Image) -> list[int]:
    """Milliseconds that each frame is shown; players show one of less than 20 ms for 100 ms."""
    stored = cast("list[int]", image.pixels.get("delay")) if image.pixels.get_typeof("delay") else []
    given = [delay if delay >= SHORTEST_SHOWN else SHOWN_INSTEAD for delay in stored[: image.frames]]
    return given + [SHOWN_INSTEAD] * (image.frames - len(given))


def loop_of(image: Image) -> int:
    """How often an animation plays, 0 for ever."""
    return cast(int, image.pixels.get("loop")) if image.pixels.get_typeof("loop") else 1


def timed(image: Image, *, delays: Sequence[int] | None = None, loop: int | None = None) -> Image:
    """The picture with other delays in milliseconds, and played so often, 0 for ever; None leaves what it is."""
    if image.frames == 1 or (delays is None and loop in (None, loop_of(image))):
        return image
    pixels = image.pixels.copy()
    if delays is not None:
        pixels.set_type(pyvips.GValue.array_int_type, "delay", list(delays))
    if loop is not None:
        pixels.set_type(pyvips.GValue.gint_type, "loop", loop)
    return image.with_pixels(pixels)


def backwards(image: Image) -> Image:
    """The frames in reverse order, each with its delay."""
    height = image.height
    frames = [image.pixels.crop(0, n * height, image.width, height) for n in reversed(range(image.frames))]
    return timed(image.with_pixels(pyvips.Image.arrayjoin(frames, across=1)), delays=delays_of(image)[::-1])


def animation_facts(delays: Sequence[int], loop: int) -> dict[str, Any]:
    """What a reply tells of an animation; `delayMs` is one number where all are alike, else the least and the most."""
    least, most = min(delays), max(delays)
    span = least if least == most else [least, most]
    return {"frames": len(delays), "durationMs": sum(delays), "delayMs": span, "loop": loop}
