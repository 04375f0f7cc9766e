"""Animations as bytes: GIF and WebP files with other delays or another order of frames, no frame encoded again.

Sources: CompuServe GIF89a, appendix A (graphic control, application extensions); RFC 9649, section 2.7.1.
"""

from collections.abc import Sequence
from typing import Final

from darkroom_tools.image import Image
from darkroom_tools.kit.metadata.containers import Damaged, Part
from darkroom_tools.kit.metadata.rewrite import CONTAINERS

__all__ = ["file_of", "retimed", "reversed_file"]

FRAME: Final = {"gif": b"\x2c", "webp": b"ANMF"}
GIF_CONTROL: Final = b"\x21\xf9\x04"
GIF_LOOPS: Final = (b"\x21\xff\x0bNETSCAPE2.0", b"\x21\xff\x0bANIMEXTS1.0")
TRANSPARENT: Final = 1
DO_NOT_BLEND: Final = 2
ENDLESS: Final = 0


def file_of(image: Image) -> bytes | None:
    """The file that holds the picture as it is, None where its frames have to be encoded anew."""
    stored = image.original
    upright = image.source.orientation == 1
    return stored.read() if stored is not None and stored.format in FRAME and upright else None


def retimed(data: bytes, format: str, delays: Sequence[int], loop: int | None) -> bytes | None:
    """A file whose frames are shown for so many milliseconds; GIF counts in hundredths of a second.

    Args:
        data: A GIF or WebP.
        format: Which of them.
        delays: One for each frame.
        loop: How often it plays, 0 for ever; None leaves it.

    Returns:
        None where the file is not built as expected; then its frames have to be encoded anew.
    """
    parts = _parts(data, format)
    if parts is None or sum(_is_frame(part, format) for part in parts) != len(delays):
        return None
    timed = _time_gif(parts, delays) if format == "gif" else _time_webp(parts, delays)
    if loop is not None:
        timed = _loop_gif(timed, loop) if format == "gif" else _loop_webp(timed, loop)
    return CONTAINERS[format].join(timed)


def reversed_file(data: bytes, format: str) -> bytes | None:
    """A GIF or WebP with its frames in reverse order, each with its delay.

    Returns:
        None where a frame shows something of the one before it, so that order matters.
    """
    parts = _parts(data, format)
    if parts is None:
        return None
    groups = _groups(parts, format)
    canvas = bytes(parts[0].raw[6:10] if format == "gif" else parts[1].raw[12:18])
    if not groups or not all(_stands_alone(group, canvas, format) for group in groups):
        return None
    in_order = [piece for group in reversed(groups) for piece in group]
    moved = {id(piece) for piece in in_order}
    first = next(n for n, part in enumerate(parts) if id(part) in moved)
    after = [part for part in parts[first:] if id(part) not in moved]
    return CONTAINERS[format].join([*parts[:first], *in_order, *after])


def _parts(data: bytes, format: str) -> list[Part] | None:
    if format not in FRAME:
        return None
    try:
        return CONTAINERS[format].parse(data)
    except Damaged:
        return None


def _is_frame(part: Part, format: str) -> bool:
    return bytes(part.raw[: len(FRAME[format])]) == FRAME[format]


def _is_control(part: Part) -> bool:
    return bytes(part.raw[:3]) == GIF_CONTROL


def _groups(parts: Sequence[Part], format: str) -> list[list[Part]]:
    """Each frame, in a GIF behind the control block that belongs to it."""
    groups, control = [], None
    for part in parts:
        if format == "gif" and _is_control(part):
            control = part
        elif _is_frame(part, format):
            groups.append([part] if control is None else [control, part])
            control = None
    return groups


def _stands_alone(group: Sequence[Part], canvas: bytes, format: str) -> bool:
    """Whether a frame replaces the whole canvas."""
    frame = bytes(group[-1].raw[:28])
    if format == "gif":
        opaque = len(group) == 1 or not group[0].raw[3] & TRANSPARENT
        return opaque and frame[1:9] == bytes(4) + canvas
    opaque = bool(frame[23] & DO_NOT_BLEND) or frame[24:28] == b"VP8 "
    return opaque and frame[8:20] == bytes(6) + canvas


def _time_gif(parts: Sequence[Part], delays: Sequence[int]) -> list[Part]:
    timed: list[Part] = []
    waiting, left = None, list(delays)
    for part in parts:
        if _is_control(part):
            waiting = bytearray(part.raw)
            continue
        if _is_frame(part, "gif"):
            control = waiting or bytearray(GIF_CONTROL + bytes(5))
            control[4:6] = (left.pop(0) // 10).to_bytes(2, "little")
            timed.append(Part(bytes(control)))
            waiting = None
        timed.append(part)
    head = timed[0]
    # Control blocks came with this version.
    timed[0] = Part(b"GIF89a" + bytes(head.raw[6:]))
    return timed


def _loop_gif(parts: Sequence[Part], loop: int) -> list[Part]:
    kept = [part for part in parts if not bytes(part.raw[:14]).startswith(GIF_LOOPS)]
    if loop == 1:
        return kept
    again = (loop - 1 if loop else ENDLESS).to_bytes(2, "little")
    return [kept[0], Part(GIF_LOOPS[0] + b"\x03\x01" + again + b"\0"), *kept[1:]]


def _time_webp(parts: Sequence[Part], delays: Sequence[int]) -> list[Part]:
    timed, left = [], list(delays)
    for part in parts:
        if _is_frame(part, "webp"):
            raw = bytearray(part.raw)
            raw[20:23] = left.pop(0).to_bytes(3, "little")
            part = Part(bytes(raw))
        timed.append(part)
    return timed


def _loop_webp(parts: Sequence[Part], loop: int) -> list[Part]:
    looped = []
    for part in parts:
        raw = bytearray(part.raw)
        if raw[:4] == b"ANIM":
            raw[12:14] = loop.to_bytes(2, "little")
            part = Part(bytes(raw))
        looped.append(part)
    return looped
