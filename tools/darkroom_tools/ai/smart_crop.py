"""Smart Crop."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from darkroom_tools.base import Image, Run, Settings, tool
from darkroom_tools.kit import saliency
from darkroom_tools.kit.color import CheckedColor, ink, parse_color
from darkroom_tools.kit.crop_box import Region, around, grown, held, portrait, together
from darkroom_tools.kit.faces import FACE_MODELS, find_faces
from darkroom_tools.kit.geometry import MAX_SIDE, Box, check_output, largest_box, rounded
from darkroom_tools.kit.pixels import cut_out, first_frame, premultiplied, resized, takes_alpha, white_level
from darkroom_tools.kit.trimming import find_content
from darkroom_tools.kit.unpublished import Unpublished
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

Side = Annotated[int, Field(ge=1)]

LOOKED_AT = {"subject": 520, "face": 1000}
"""Longest side at which faces are searched: one may be decisive at a sixteenth of the side, or be what is asked for."""
FACE_WEIGHT = 4.0
"""How much more a face draws the eye than the picture on average."""


class SmartCrop(Settings):
    """What to keep, and the size of the result."""

    value_aliases: ClassVar = {
        "mode": {"attention": "subject", "content": "trim"},
        "facePreset": {"closeup": "close-up", "head-shoulders": "head-and-shoulders"},
    }

    mode: Literal["subject", "face", "trim"] = "subject"
    """trim removes plain borders"""

    width: Side = 1080
    """Pixels; trim pads if given"""

    height: Side = 1080
    """Pixels"""

    face_preset: Literal["close-up", "head-and-shoulders", "upper-body", "half-body"] = "head-and-shoulders"
    """For mode face"""

    padding: Unpublished[Annotated[int, Field(ge=0, le=50)]] = 0
    """Percent around face or content"""

    strategy: Unpublished[Literal["attention", "entropy"]] = "attention"
    """How mode subject chooses"""

    sensitivity: Unpublished[Annotated[float, Field(ge=0, le=1)]] = 0.5
    """Higher finds more faces"""

    threshold: Unpublished[Annotated[int, Field(ge=0, le=255)]] = 30
    """Distance from the border's colour that is content"""

    pad_to_square: Unpublished[bool] = False
    """For mode trim"""

    pad_color: Unpublished[CheckedColor] = "#FFFFFF"
    """For mode trim; transparent pictures stay so unless it is given"""

    target_size: Unpublished[Side | None] = None
    """Square side, for mode trim"""

    quality: Unpublished[Annotated[int, Field(ge=1, le=100)] | None] = None
    """Of the file"""


@dataclass(frozen=True)
class _Kept:
    """What of the picture is kept, and why."""

    box: Box
    method: str
    faces: Sequence[Region] = ()
    warning: str | None = None


def _shape(settings: SmartCrop, shapes: Shapes) -> Shape:
    (image,) = shapes["image"]
    across, down = _asked(settings) if settings.mode == "trim" else (settings.width, settings.height)
    if across and down:
        check_output(across, down, image.frames)
        return image.sized(across, down)
    most = MAX_SIDE if across or down else max(image.width, image.height) if settings.pad_to_square else 0
    return replace(image.sized(across or most or image.width, down or most or image.height), exact=False)


@tool(title="Smart Crop", models=FACE_MODELS, example={"width": 300, "height": 300}, shape=_shape)
def smart_crop(image: Image, settings: SmartCrop, run: Run) -> Image:
    """Crop to an exact size around the subject or faces, or trim plain borders.

    Without a model only faces that look at the camera are found.
    """
    if settings.quality is not None:
        image = image.encode_as(quality=settings.quality)
    if settings.mode == "trim":
        return _trimmed(image, settings)
    check_output(settings.width, settings.height, image.frames)
    kept = _kept(image, settings, run)
    if kept.warning is not None:
        image = image.warn(kept.warning)
    if kept.box.width < settings.width or kept.box.height < settings.height:
        image = image.warn(f"The kept {kept.box.width}×{kept.box.height} pixels were enlarged.")
    run.progress(0.9, "cropping")
    return _told(cut_out(image, kept.box, settings.width, settings.height), kept)


def _told(image: Image, kept: _Kept) -> Image:
    faces = [
        {"x": rounded(left), "y": rounded(top), "w": rounded(right - left), "h": rounded(bottom - top)}
        for left, top, right, bottom in kept.faces
    ]
    facts: dict[str, Any] = {"method": kept.method, "box": kept.box._asdict()}
    return image.with_facts(**facts, **({"faces": faces} if faces else {}))


def _kept(image: Image, settings: SmartCrop, run: Run) -> _Kept:
    """Find the box of modes subject and face."""
    still = first_frame(image)
    seen = _seen(still, LOOKED_AT[settings.mode])
    size = largest_box(still.width, still.height, settings.width, settings.height)
    if settings.mode == "subject" and settings.strategy == "entropy":
        return _by_entropy(still, seen, size)
    if settings.mode == "subject" and size == (still.width, still.height):
        return _Kept(Box(0, 0, *size), "attention")
    found = find_faces(seen, settings.sensitivity, run)
    scale = still.width / seen.width, still.height / seen.height
    faces = [
        (f.left * scale[0], f.top * scale[1], (f.left + f.width) * scale[0], (f.top + f.height) * scale[1])
        for f in found.found
    ]
    run.progress(0.6, "choosing")
    if settings.mode == "face" and faces:
        return _by_faces(still, faces, settings, found.method)
    warning = "No face was found, so the subject was kept instead." if settings.mode == "face" else None
    return replace(_by_attention(still, seen, size, faces, found.method), warning=warning)


def _seen(still: Image, side: int) -> "pyvips.Image":
    """The picture at no more than that longest side."""
    scale = min(1.0, side / max(still.width, still.height))
    size = max(1, rounded(still.width * scale)), max(1, rounded(still.height * scale))
    return premultiplied(still.reduced(scale), lambda p: resized(p, *size, "linear")).copy_memory()


def _by_entropy(still: Image, seen: "pyvips.Image", size: tuple[int, int]) -> _Kept:
    rgb = saliency.small(seen)
    left = saliency.busiest_start(rgb, size[0] * rgb.shape[1] / still.width, 1) * still.width / rgb.shape[1]
    top = saliency.busiest_start(rgb, size[1] * rgb.shape[0] / still.height, 0) * still.height / rgb.shape[0]
    return _Kept(_at(still, left, top, size), "entropy")


def _by_attention(
    still: Image, seen: "pyvips.Image", size: tuple[int, int], faces: Sequence[Region], method: str
) -> _Kept:
    """The box that holds most of what draws the eye, moved so that no face is cut."""
    rgb = saliency.small(seen)
    weights = saliency.attention(rgb)
    across, down = rgb.shape[1] / still.width, rgb.shape[0] / still.height
    for left, top, right, bottom in faces:
        weights[int(top * down) : int(bottom * down) + 1, int(left * across) : int(right * across) + 1] += FACE_WEIGHT
    x = saliency.best_start(weights.sum(0), size[0] * across) / across
    y = saliency.best_start(weights.sum(1), size[1] * down) / down
    return _Kept(_uncut(still, x, y, size, faces), f"attention+{method}" if faces else "attention", faces)


def _by_faces(still: Image, faces: Sequence[Region], settings: SmartCrop, method: str) -> _Kept:
    """The box around the people that the preset asks for."""
    people = together(faces)
    region = portrait(people, settings.face_preset, settings.padding / 100)
    box = around(region, (settings.width, settings.height), still.width, still.height)
    return _Kept(_uncut(still, box.left, box.top, (box.width, box.height), people), method, faces)


def _uncut(still: Image, left: float, top: float, size: tuple[int, int], faces: Sequence[Region]) -> Box:
    """A box of that size near a place that cuts no face, and where there is room no hair and no neck."""
    whole = [*faces, *(grown(face, 0.15, 0.6, 0.2) for face in faces)]
    left = held(left, size[0], still.width, [(region[0], region[2]) for region in whole])
    top = held(top, size[1], still.height, [(region[1], region[3]) for region in whole])
    return _at(still, left, top, size)


def _at(still: Image, left: float, top: float, size: tuple[int, int]) -> Box:
    """A box of that size near a place, inside the picture."""
    most = still.width - size[0], still.height - size[1]
    return Box(max(0, min(rounded(left), most[0])), max(0, min(rounded(top), most[1])), *size)


def _trimmed(image: Image, settings: SmartCrop) -> Image:
    """The picture without its border; on a canvas where one is asked for."""
    content = find_content(image, settings.threshold)
    if content.box is None:
        image = image.warn("The whole picture has one colour, so nothing was trimmed.")
    box = content.box or Box(0, 0, image.width, image.height)
    pad = rounded(max(box.width, box.height) * settings.padding / 100)
    left, top = max(0, box.left - pad), max(0, box.top - pad)
    right, bottom = min(image.width, box.left + box.width + pad), min(image.height, box.top + box.height + pad)
    kept = _Kept(Box(left, top, right - left, bottom - top), content.method)
    canvas, inner = _canvas(kept.box, settings)
    check_output(*canvas, image.frames)
    if inner[0] > kept.box.width or inner[1] > kept.box.height:
        image = image.warn(f"The kept {kept.box.width}×{kept.box.height} pixels were enlarged.")
    made = cut_out(image, kept.box, *inner)
    return _told(_on_canvas(made, canvas, settings), kept)


def _asked(settings: SmartCrop) -> tuple[int | None, int | None]:
    """Width and height of the result of mode trim as far as settings say."""
    if settings.target_size:
        return settings.target_size, settings.target_size
    across = settings.width if "width" in settings.model_fields_set else None
    down = settings.height if "height" in settings.model_fields_set else None
    return (across or down, down or across) if settings.pad_to_square else (across, down)


def _canvas(box: Box, settings: SmartCrop) -> tuple[tuple[int, int], tuple[int, int]]:
    """Size of the result of mode trim, and of the content in it."""
    across, down = _asked(settings)
    if settings.pad_to_square and not (across or down):
        across = down = max(box.width, box.height)
    if not (across or down):
        return (box.width, box.height), (box.width, box.height)
    scale = min(across / box.width if across else MAX_SIDE, down / box.height if down else MAX_SIDE)
    inner = max(1, rounded(box.width * scale)), max(1, rounded(box.height * scale))
    return (across or inner[0], down or inner[1]), (min(inner[0], across or inner[0]), min(inner[1], down or inner[1]))


def _on_canvas(image: Image, canvas: tuple[int, int], settings: SmartCrop) -> Image:
    """The content in the middle of a canvas; transparent where the picture may be and no colour was given."""
    if canvas == (image.width, image.height):
        return image
    clear = image.has_alpha and takes_alpha(image) and "pad_color" not in settings.model_fields_set

    def change(frame: "pyvips.Image") -> "pyvips.Image":
        fill = [0.0] * frame.bands
        if not clear:
            frame, values = ink(frame, parse_color(settings.pad_color))
            fill = [*values, float(white_level(frame))][: frame.bands]
        left, top = (canvas[0] - frame.width) // 2, (canvas[1] - frame.height) // 2
        return frame.embed(left, top, *canvas, extend="background", background=fill)

    return image.map_frames(change)
