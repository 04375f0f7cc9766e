"""GIF Tools."""

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Archive, Entry, File, Image, Run, Settings, tool
from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.image import Palette
from darkroom_tools.kit.animation import file_of, retimed, reversed_file
from darkroom_tools.kit.caption import CaptionPosition, caption
from darkroom_tools.kit.color import Color
from darkroom_tools.kit.frames import animation_facts, backwards, delays_of, loop_of, timed
from darkroom_tools.kit.geometry import MAX_SIDE, check_output, proportional, rounded
from darkroom_tools.kit.metadata.changes import Strip
from darkroom_tools.kit.metadata.rewrite import rewrite
from darkroom_tools.kit.pixels import frame_at, premultiplied, resized, turn
from darkroom_tools.kit.text import FontName, has_ink
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips

Action = Literal["resize", "rotate", "add-text", "optimize", "reverse", "speed", "extract-frames"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
FrameNumber = Annotated[int, Field(ge=0)]

SHORTEST_DELAY: Final = 20
# Frames that only move keep their colours: a frame of a GIF rarely has more than fit into a palette of its own.
AS_THEY_ARE: Final = Palette(effort=4, dither=0, tolerance=0)
# What the eye does not see between two frames, and which saves a tenth of the file.
UNSEEN: Final = 8


class GifTools(Settings):
    """What to do with an animation. What other tools set for animations too is accepted here and not published."""

    aliases: ClassVar = {"mode": "action"}
    value_aliases: ClassVar = {"action": {"extract": "extract-frames"}}

    action: Action = "resize"
    """What to do"""

    width: Side | None = None
    """resize: fits inside"""

    height: Unpublished[Side | None] = None
    percentage: Unpublished[Annotated[float, Field(ge=1, le=500)] | None] = None

    colors: Annotated[int, Field(ge=2, le=256)] = 256
    """optimize"""

    dither: Unpublished[Annotated[float, Field(ge=0, le=1)]] = 1
    effort: Unpublished[Annotated[int, Field(ge=1, le=10)]] = 4

    speed_factor: Annotated[float, Field(ge=0.1, le=10)] = 1
    """speed: 2 is twice as fast"""

    extract_mode: Literal["single", "range", "all"] = "single"
    """Several make a ZIP"""

    frame_number: FrameNumber = 0
    """single: from 0"""

    frame_start: FrameNumber = 0
    """range"""

    frame_end: FrameNumber | None = None
    """range: inclusive"""

    extract_format: Unpublished[Literal["png", "webp"]] = "png"

    angle: Literal[90, 180, 270] | None = None
    """rotate: clockwise"""

    flip_h: Unpublished[bool] = False
    flip_v: Unpublished[bool] = False

    loop: Annotated[int, Field(ge=0, le=100)] | None = None
    """Plays, 0 for ever"""

    text: Annotated[str, Field(max_length=500)] | None = None
    """add-text"""

    font: Unpublished[FontName] = "sans-serif"
    font_size: Unpublished[Annotated[float, Field(ge=8, le=1000)]] = 32
    color: Unpublished[Color] = "#FFFFFF"
    position: Unpublished[CaptionPosition] = "bottom"
    x: Unpublished[float | None] = None
    y: Unpublished[float | None] = None

    @model_validator(mode="after")
    def _has_what_the_action_needs(self) -> Self:
        if self.action == "resize" and not (self.width or self.height or self.percentage):
            raise ValueError("Action 'resize' needs 'width', 'height' or 'percentage'.")
        if self.action == "rotate" and not (self.angle or self.flip_h or self.flip_v):
            raise ValueError("Action 'rotate' needs 'angle', 'flipH' or 'flipV'.")
        if self.action == "add-text" and not (self.text and has_ink(self.text)):
            raise ValueError("Action 'add-text' needs 'text' with a visible character.")
        if self.frame_end is not None and self.frame_end < self.frame_start:
            raise ValueError(f"'frameEnd' ({self.frame_end}) is before 'frameStart' ({self.frame_start}).")
        return self


@tool(title="GIF Tools", example={"action": "rotate", "angle": 90})
def gif_tools(image: Image, settings: GifTools, run: Run) -> Image | File | Archive:
    """Resize, optimize, reverse, retime, split, rotate or caption an animated GIF or WebP."""
    if settings.action == "extract-frames":
        return _extracted(image, settings, run)
    if settings.action == "speed":
        return _retimed(image, settings)
    if settings.action == "reverse":
        return _reversed(image, settings)
    change = {"optimize": _optimized, "rotate": _rotated, "add-text": _captioned, "resize": _resized}[settings.action]
    return _told(timed(change(image, settings), loop=settings.loop))


def _told(image: Image) -> Image:
    """The picture with the facts of its animation."""
    return image.with_facts(**animation_facts(delays_of(image), loop_of(image)))


def _check_moving(image: Image, what: str) -> None:
    if image.frames == 1:
        raise ProcessingFailed(f"The picture is a still, so it has no {what}. Send an animated GIF or WebP.")


def _as_file(image: Image, data: bytes, delays: list[int], loop: int | None) -> File:
    format = image.source.format
    clean = rewrite(data, format, (Strip(),))
    sizes = {"originalSize": image.source.bytes, "processedSize": len(clean.data)}
    facts = {**animation_facts(delays, loop_of(image) if loop is None else loop), **sizes}
    kept, removed = sorted(clean.before & clean.after), sorted(clean.before - clean.after)
    return File(clean.data, f"image/{format}", format, facts, (), tuple(kept), tuple(removed))


def _retimed(image: Image, settings: GifTools) -> Image | File:
    _check_moving(image, "speed")
    unit = 10 if (image.encoding.format or image.source.format) == "gif" else 1
    fastest = SHORTEST_DELAY // unit
    delays = [unit * max(fastest, rounded(delay / settings.speed_factor / unit)) for delay in delays_of(image)]
    data = file_of(image)
    changed = retimed(data, image.source.format, delays, settings.loop) if data is not None else None
    if changed is not None:
        return _as_file(image, changed, delays, settings.loop)
    return _told(timed(image, delays=delays, loop=settings.loop).encode_as(palette=AS_THEY_ARE))


def _reversed(image: Image, settings: GifTools) -> Image | File:
    _check_moving(image, "order of frames")
    delays = delays_of(image)[::-1]
    data = file_of(image)
    changed = reversed_file(data, image.source.format) if data is not None else None
    if changed is not None and settings.loop is not None:
        changed = retimed(changed, image.source.format, delays, settings.loop)
    if changed is not None:
        return _as_file(image, changed, delays, settings.loop)
    return _told(timed(backwards(image), loop=settings.loop).encode_as(palette=AS_THEY_ARE))


def _extracted(image: Image, settings: GifTools, run: Run) -> Image | Archive:
    still = image.encode_as(format=settings.extract_format, quality=None, target_bytes=None)
    if settings.extract_mode == "single":
        _check_frame(image, "frameNumber", settings.frame_number)
        return frame_at(still, settings.frame_number).with_facts(frames=image.frames, frame=settings.frame_number)
    first, last = 0, image.frames - 1
    if settings.extract_mode == "range":
        first = settings.frame_start
        last = last if settings.frame_end is None else settings.frame_end
        _check_frame(image, "frameStart", first)
        _check_frame(image, "frameEnd", last)

    def read(number: int) -> bytes:
        run.progress((number - first) / (last - first + 1), f"Frame {number + 1}")
        return run.encode(frame_at(still, number)).data

    entries = [
        Entry(f"frame_{number + 1:03}.{settings.extract_format}", lambda number=number: read(number))  # type: ignore[misc]
        for number in range(first, last + 1)
    ]
    return Archive(entries, {"frames": image.frames, "extracted": len(entries)})


def _check_frame(image: Image, name: str, number: int) -> None:
    if number >= image.frames:
        raise ProcessingFailed(
            f"'{name}' is {number}, but the picture has {image.frames} frames, counted from 0 to {image.frames - 1}.",
            frames=image.frames,
        )


def _optimized(image: Image, settings: GifTools) -> Image:
    format = image.encoding.format or image.source.format
    if format == "webp":
        return image.encode_as(effort="small", never_larger=True)
    if format != "gif":
        raise ProcessingFailed(
            f"Action 'optimize' makes a GIF or WebP smaller, but the picture is {format.upper()}. Use compress for it."
        )
    palette = Palette(settings.colors, settings.dither, settings.effort, UNSEEN, UNSEEN)
    return image.encode_as(palette=palette, never_larger=True)


def _rotated(image: Image, settings: GifTools) -> Image:
    def change(frame: "pyvips.Image") -> "pyvips.Image":
        frame = turn(frame, settings.angle or 0, ())
        frame = frame.fliphor() if settings.flip_h else frame
        return frame.flipver() if settings.flip_v else frame

    return image.map_frames(change).encode_as(palette=AS_THEY_ARE)


def _captioned(image: Image, settings: GifTools) -> Image:
    return caption(
        image,
        settings.text or "",
        font=settings.font,
        font_size=settings.font_size,
        color=settings.color,
        x=settings.x,
        y=settings.y,
        position=settings.position,
    ).encode_as(palette=AS_THEY_ARE)


def _resized(image: Image, settings: GifTools) -> Image:
    width, height = _size(image, settings)
    check_output(width, height, image.frames)
    if (width, height) == (image.width, image.height):
        return image
    return image.map_frames(lambda frame: premultiplied(frame, lambda p: resized(p, width, height)))


def _size(image: Image, settings: GifTools) -> tuple[int, int]:
    if settings.percentage is not None:
        scale = settings.percentage / 100
        return max(1, rounded(image.width * scale)), max(1, rounded(image.height * scale))
    wide, high = settings.width, settings.height
    if wide and (not high or wide * image.height <= high * image.width):
        return wide, proportional(image.height, wide, image.width)
    return proportional(image.width, high or image.height, image.height), high or image.height
