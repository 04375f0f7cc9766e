"""How an animation plays: faster, slower or backwards; without encoding a frame again where its file allows."""

from typing import Final

from darkroom_tools.image import File, Image, Palette
from darkroom_tools.kit.animation import file_of, retimed, reversed_file
from darkroom_tools.kit.frames import animation_facts, backwards, delays_of, loop_of, timed
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.metadata.changes import Strip
from darkroom_tools.kit.metadata.rewrite import rewrite

__all__ = ["AS_THEY_ARE", "played_backwards", "played_faster", "told"]

SHORTEST_DELAY: Final = 20
# Frames that only move keep their colours: a frame of a GIF rarely has more than fit into a palette of its own.
AS_THEY_ARE: Final = Palette(effort=4, dither=0, tolerance=0)


def told(image: Image) -> Image:
    """The picture with the facts of its animation."""
    return image.with_facts(**animation_facts(delays_of(image), loop_of(image)))


def played_faster(image: Image, factor: float, loop: int | None) -> Image | File:
    """The animation at `factor` times its speed; `loop` is how often it plays, 0 for ever, None as before."""
    unit = 10 if (image.encoding.format or image.source.format) == "gif" else 1
    fastest = SHORTEST_DELAY // unit
    delays = [unit * max(fastest, rounded(delay / factor / unit)) for delay in delays_of(image)]
    data = file_of(image)
    changed = retimed(data, image.source.format, delays, loop) if data is not None else None
    if changed is not None:
        return _as_file(image, changed, delays, loop)
    return told(timed(image, delays=delays, loop=loop).encode_as(palette=AS_THEY_ARE))


def played_backwards(image: Image, loop: int | None) -> Image | File:
    """The animation with its frames in reverse order; `loop` as for `played_faster`."""
    delays = delays_of(image)[::-1]
    data = file_of(image)
    changed = reversed_file(data, image.source.format) if data is not None else None
    if changed is not None and loop is not None:
        changed = retimed(changed, image.source.format, delays, loop)
    if changed is not None:
        return _as_file(image, changed, delays, loop)
    return told(timed(backwards(image), loop=loop).encode_as(palette=AS_THEY_ARE))


def _as_file(image: Image, data: bytes, delays: list[int], loop: int | None) -> File:
    format = image.source.format
    clean = rewrite(data, format, (Strip(),))
    sizes = {"originalSize": image.source.bytes, "processedSize": len(clean.data)}
    facts = {**animation_facts(delays, loop_of(image) if loop is None else loop), **sizes}
    kept, removed = sorted(clean.before & clean.after), sorted(clean.before - clean.after)
    return File(clean.data, f"image/{format}", format, facts, (), tuple(kept), tuple(removed))
