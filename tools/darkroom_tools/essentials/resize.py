"""Resize."""

from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from darkroom_tools.base import Image, Settings, tool
from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.kit.geometry import MAX_SIDE, check_output, proportional, rounded
from darkroom_tools.kit.pixels import premultiplied, resized, takes_alpha, white_level, with_alpha
from darkroom_tools.kit.presets import social_preset
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


# What libvips can still address; only a line a few pixels wide gets there when it covers a large box.
MOST_ON_THE_WAY = 50_000_000


class Resize(Settings):
    """The wanted size: a box, a percentage or a preset."""

    width: Side | None = None
    """Pixels; one side keeps the ratio"""

    height: Side | None = None
    """Pixels"""

    fit: Literal["contain", "cover", "fill", "inside", "outside"] = "contain"
    """contain pads to the exact box, cover crops"""

    percentage: Annotated[float, Field(gt=0)] | None = None
    """Wins over width, height"""

    without_enlargement: bool = False
    """Never scale up"""

    preset: str | None = None
    """Platform/Name like Instagram/Post (Square); implies cover"""

    @model_validator(mode="before")
    @classmethod
    def _content_aware(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "contentAware" not in data:
            return data
        if data["contentAware"] is not False:
            raise ValueError("'contentAware' is not available in resize. Leave it out and use fit 'cover' or 'fill'.")
        return {name: value for name, value in data.items() if name != "contentAware"}

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, data: Any) -> Any:
        if not isinstance(data, dict) or not isinstance(data.get("preset"), str):
            return data
        width, height = social_preset(data["preset"])
        filled = {name: value for name, value in data.items() if name != "preset" and value is not None}
        return {"width": width, "height": height, "fit": "cover", **filled}

    @model_validator(mode="after")
    def _has_size(self) -> Self:
        if not (self.width or self.height or self.percentage):
            raise ValueError("Give at least one of 'width', 'height', 'percentage' or 'preset'.")
        return self


class _Layout(NamedTuple):
    """The size the whole picture is scaled to, and the canvas that is cut from it or put around it."""

    scaled: tuple[int, int]
    canvas: tuple[int, int]

    @property
    def pads(self) -> bool:
        """Whether the canvas is larger than the picture."""
        return self.canvas[0] > self.scaled[0] or self.canvas[1] > self.scaled[1]


def _shape(settings: Resize, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    layout = _checked_layout(image, settings)
    return image.sized(*layout.canvas).with_alpha(image.alpha or (layout.pads and image.takes_alpha))


@tool(
    title="Resize",
    sequential=True,
    example={"width": 800, "fit": "inside", "withoutEnlargement": True},
    shape=_shape,
)
def resize(image: Image, settings: Resize) -> Image:
    """Scale a picture to a box, a percentage or a social media preset."""
    layout = _checked_layout(image, settings)
    width, height = layout.scaled
    if layout.scaled == layout.canvas == (image.width, image.height):
        return image
    scale = max(width / image.width, height / image.height)
    source = replace(image, pixels=image.reduced(scale)) if scale < 1 else image
    transparent = layout.pads and takes_alpha(image)

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        scaled = _scale(frame, width, height)
        return _place(with_alpha(scaled) if transparent else scaled, *layout.canvas)

    return source.map_frames(change)


def _checked_layout(image: Image | Shape, settings: Resize) -> _Layout:
    """Where the pixels of a frame go.

    Raises:
        OutputTooLarge: The result would be over the limits.
        ProcessingFailed: On the way to it the picture would be longer than can be worked with.
    """
    layout = _layout(image.width, image.height, settings)
    check_output(*layout.canvas, image.frames)
    if max(layout.scaled) > MOST_ON_THE_WAY:
        raise ProcessingFailed(
            f"A picture of {image.width}×{image.height} pixels is too thin to cover that box. Use fit 'contain'."
        )
    return layout


def _layout(width: int, height: int, settings: Resize) -> _Layout:
    """Where the pixels of a frame go; every size is rounded half up and at least 1."""
    limit = settings.without_enlargement
    if settings.percentage is not None:
        percentage = min(settings.percentage, 100) if limit else settings.percentage
        size = (max(1, rounded(width * percentage / 100)), max(1, rounded(height * percentage / 100)))
        return _Layout(size, size)
    wide, high, fit = settings.width, settings.height, settings.fit
    if not (wide and high):
        size = _one_side(width, height, wide, high)
        if limit and size[0] * size[1] > width * height:
            size = (width, height)
        return _Layout(size, size)
    if fit == "fill":
        size = (min(wide, width), min(high, height)) if limit else (wide, high)
        return _Layout(size, size)
    by_width = (wide * height > high * width) == (fit in ("cover", "outside"))
    scaled = _one_side(width, height, wide if by_width else None, None if by_width else high)
    if limit and scaled[0] * scaled[1] > width * height:
        scaled = (width, height)
    if fit == "cover":
        return _Layout(scaled, (min(wide, scaled[0]), min(high, scaled[1])))
    return _Layout(scaled, (wide, high) if fit == "contain" else scaled)


def _one_side(width: int, height: int, wide: int | None, high: int | None) -> tuple[int, int]:
    """The size in the picture's ratio with one side given."""
    if wide:
        return wide, proportional(height, wide, width)
    return proportional(width, high or height, height), high or height


def _scale(frame: "pyvips.Image", width: int, height: int) -> "pyvips.Image":
    """Exactly `width` × `height`, with Lanczos down and bicubic up."""
    if (frame.width, frame.height) == (width, height):
        return frame
    return premultiplied(frame, lambda p: resized(p, width, height))


def _place(frame: "pyvips.Image", width: int, height: int) -> "pyvips.Image":
    """Cut the middle out of the frame, or put the frame in the middle of a transparent or white canvas."""
    left, top = (width - frame.width) // 2, (height - frame.height) // 2
    if left < 0 or top < 0:
        return frame.crop(max(0, -left), max(0, -top), min(width, frame.width), min(height, frame.height))
    if (frame.width, frame.height) == (width, height):
        return frame
    fill = [0.0 if frame.hasalpha() else float(white_level(frame))] * frame.bands
    return frame.embed(left, top, width, height, extend="background", background=fill)
