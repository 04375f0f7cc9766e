"""GIF Tools."""

from dataclasses import replace
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Archive, Entry, File, Image, Run, Settings, tool
from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.image import Palette
from darkroom_tools.kit.caption import CaptionPosition, caption
from darkroom_tools.kit.color import Color
from darkroom_tools.kit.frames import timed
from darkroom_tools.kit.geometry import MAX_SIDE, check_output, proportional, rounded
from darkroom_tools.kit.pixels import frame_at, premultiplied, resized, turn
from darkroom_tools.kit.playing import AS_THEY_ARE, played_backwards, played_faster, told
from darkroom_tools.kit.text import FontName, has_ink
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

Action = Literal["resize", "rotate", "add-text", "optimize", "reverse", "speed", "extract-frames"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
FrameNumber = Annotated[int, Field(ge=0)]

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


def _shape(settings: GifTools, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    if settings.action == "extract-frames":
        first, last = _extent(image, settings)
        if settings.extract_mode != "single":
            return Shape(0, 0, format="zip", files=last - first + 1)
        return replace(image, frames=1).encoded_as(settings.extract_format)
    _check_moving(image, settings)
    if settings.action == "optimize":
        _check_packed(image.written)
    if settings.action == "resize":
        return image.sized(*_size(image, settings))
    lies = settings.action == "rotate" and settings.angle in (90, 270)
    return image.sized(image.height, image.width) if lies else image


@tool(title="GIF Tools", example={"action": "rotate", "angle": 90}, shape=_shape)
def gif_tools(image: Image, settings: GifTools, run: Run) -> Image | File | Archive:
    """Resize, optimize, reverse, retime, split, rotate or caption an animated GIF or WebP."""
    if settings.action == "extract-frames":
        return _extracted(image, settings, run)
    _check_moving(image, settings)
    if settings.action == "speed":
        return played_faster(image, settings.speed_factor, settings.loop)
    if settings.action == "reverse":
        return played_backwards(image, settings.loop)
    change = {"optimize": _optimized, "rotate": _rotated, "add-text": _captioned, "resize": _resized}[settings.action]
    return told(timed(change(image, settings), loop=settings.loop))


def _check_moving(image: Image | Shape, settings: GifTools) -> None:
    what = {"speed": "speed", "reverse": "order of frames"}.get(settings.action)
    if what is not None and image.frames == 1:
        raise ProcessingFailed(f"The picture is a still, so it has no {what}. Send an animated GIF or WebP.")


def _extracted(image: Image, settings: GifTools, run: Run) -> Image | Archive:
    still = image.encode_as(format=settings.extract_format, quality=None, target_bytes=None)
    first, last = _extent(image, settings)
    if settings.extract_mode == "single":
        return frame_at(still, first).with_facts(frames=image.frames, frame=first)

    def read(number: int) -> bytes:
        run.progress((number - first) / (last - first + 1), f"Frame {number + 1}")
        return run.encode(frame_at(still, number)).data

    entries = [
        Entry(f"frame_{number + 1:03}.{settings.extract_format}", lambda number=number: read(number))  # type: ignore[misc]
        for number in range(first, last + 1)
    ]
    return Archive(entries, {"frames": image.frames, "extracted": len(entries)})


def _extent(image: Image | Shape, settings: GifTools) -> tuple[int, int]:
    """First and last frame that are extracted.

    Raises:
        ProcessingFailed: There is no such frame.
    """
    number, end = settings.frame_number, settings.frame_end
    asked = {
        "single": {"frameNumber": number},
        "range": {"frameStart": settings.frame_start, "frameEnd": image.frames - 1 if end is None else end},
        "all": {"frameStart": 0, "frameEnd": image.frames - 1},
    }[settings.extract_mode]
    for name, wanted in asked.items():
        _check_frame(image, name, wanted)
    found = list(asked.values())
    return found[0], found[-1]


def _check_frame(image: Image | Shape, name: str, number: int) -> None:
    if number >= image.frames:
        raise ProcessingFailed(
            f"'{name}' is {number}, but the picture has {image.frames} frames, counted from 0 to {image.frames - 1}.",
            frames=image.frames,
        )


def _check_packed(format: str) -> None:
    if format not in ("gif", "webp"):
        raise ProcessingFailed(
            f"Action 'optimize' makes a GIF or WebP smaller, but the picture is {format.upper()}. Use compress for it."
        )


def _optimized(image: Image, settings: GifTools) -> Image:
    format = image.encoding.format or image.source.format
    if format == "webp":
        return image.encode_as(effort="small", never_larger=True)
    _check_packed(format)
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
    if (width, height) == (image.width, image.height):
        return image
    return image.map_frames(lambda frame: premultiplied(frame, lambda p: resized(p, width, height)))


def _size(image: Image | Shape, settings: GifTools) -> tuple[int, int]:
    """Width and height of the result of action resize.

    Raises:
        OutputTooLarge: It would be over the limits.
    """
    wide, high = settings.width, settings.height
    if settings.percentage is not None:
        scale = settings.percentage / 100
        size = max(1, rounded(image.width * scale)), max(1, rounded(image.height * scale))
    elif wide and (not high or wide * image.height <= high * image.width):
        size = wide, proportional(image.height, wide, image.width)
    else:
        size = proportional(image.width, high or image.height, image.height), high or image.height
    check_output(*size, image.frames)
    return size
