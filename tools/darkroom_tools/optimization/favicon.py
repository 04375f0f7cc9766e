"""Favicon Generator."""

import functools
import json
from dataclasses import dataclass, replace
from functools import partial
from importlib.resources import files
from typing import Annotated

from pydantic import Field

from darkroom_tools.base import Archive, Encoding, Entry, Image, Run, Settings, tool
from darkroom_tools.kit.archive import unique_names
from darkroom_tools.kit.color import AlphaColor, parse_color
from darkroom_tools.kit.geometry import rounded
from darkroom_tools.kit.ico import write_ico
from darkroom_tools.kit.inputs import frames_warning, warnings_of
from darkroom_tools.kit.pixels import (
    as_array,
    as_color,
    first_frame,
    masked,
    premultiplied,
    resized,
    rounded_mask,
    with_alpha,
)
from darkroom_tools.native import pyvips
from darkroom_tools.shape import Shape, Shapes

OPAQUE = 255
APPLE_ICON = "apple-touch-icon.png"
TEXTS = ("manifest.json", "favicon-snippet.html")


class Favicon(Settings):
    """How the picture stands on the icons."""

    padding: Annotated[float, Field(ge=0, le=50)] = 0
    """Percent of the side, free at each edge"""

    background_color: AlphaColor | None = None
    """#RRGGBB or #RRGGBBAA; transparent when omitted"""

    border_radius: Annotated[float, Field(ge=0, le=50)] = 0
    """Percent of the side; 50 is a circle"""


@dataclass(frozen=True, slots=True)
class _Names:
    """What the files are called and how large their pictures are: PNG files, and icon files of several."""

    png: dict[str, int]
    ico: dict[str, list[int]]

    @property
    def largest(self) -> int:
        return max(self.png.values())


@functools.cache
def _names() -> _Names:
    data = json.loads(files("darkroom_tools").joinpath("data", "favicon.json").read_text(encoding="utf-8"))
    return _Names(data["png"], data["ico"])


def _shape(_: Favicon, shapes: Shapes) -> Shape:
    each = len(_names().png) + len(_names().ico) + len(TEXTS)
    return Shape(0, 0, format="zip", files=each * len(shapes["images"]))


@tool(title="Favicon Generator", sequential=True, named=True, example={"padding": 5}, shape=_shape)
def favicon(images: list[Image], settings: Favicon, run: Run) -> Archive:
    """Make all icons of a website: PNG sizes, a real ICO, a web manifest and the HTML to paste; in a ZIP."""
    maker = _Maker(images, settings, run)
    entries: list[Entry] = []
    for index, folder in enumerate(_folders(images)):
        entries += [Entry(folder + name, partial(maker.png, index, size)) for name, size in _names().png.items()]
        entries += [Entry(folder + name, partial(maker.ico, index, sizes)) for name, sizes in _names().ico.items()]
        entries.append(Entry(folder + TEXTS[0], partial(_manifest, settings)))
        entries.append(Entry(folder + TEXTS[1], lambda: _snippet().encode()))
    warnings = (*warnings_of(images), *frames_warning(images), *_warnings(images, settings))
    return Archive(entries, {"snippet": _snippet()}, warnings)


def _folders(images: list[Image]) -> list[str]:
    """A folder for the icons of each picture, named after its file; none for one picture."""
    if len(images) == 1:
        return [""]
    stems = [image.source.original.name.rpartition(".")[0] if image.source.original else "" for image in images]
    return [f"{name}/" for name in unique_names([stem or f"icon-{n}" for n, stem in enumerate(stems, 1)])]


class _Maker:
    """Makes the pictures of the archive while it is written; only one source is in memory at a time."""

    def __init__(self, images: list[Image], settings: Favicon, run: Run) -> None:
        self._images = images
        self._settings = settings
        self._run = run
        self._base = functools.lru_cache(maxsize=1)(lambda index: _base(images[index], settings))

    def png(self, index: int, size: int) -> bytes:
        self._run.progress(index / len(self._images), f"Icons of image {index + 1} of {len(self._images)}")
        image = self._images[index]
        icon = _icon(self._base(index), image, size, self._settings)
        return self._run.encode(replace(image, pixels=icon, encoding=Encoding("png"), reload=None)).data

    def ico(self, index: int, sizes: list[int]) -> bytes:
        base = self._base(index)
        icons = [_icon(base, self._images[index], size, self._settings) for size in sizes]
        return write_ico([as_array(with_alpha(icon)) for icon in icons])


def _fit(image: Image, size: int, settings: Favicon) -> tuple[int, int]:
    """Width and height of the whole picture on an icon of that size."""
    room = size * (1 - 2 * settings.padding / 100)
    longest = max(image.width, image.height)
    return max(1, rounded(image.width * room / longest)), max(1, rounded(image.height * room / longest))


def _base(image: Image, settings: Favicon) -> "pyvips.Image":
    """The picture as the largest icon needs it, in memory; never enlarged."""
    width, height = _fit(image, _names().largest, settings)
    scale = max(width / image.width, height / image.height)
    pixels = first_frame(image).pixels if image.frames > 1 else image.reduced(min(1.0, scale))
    if scale < 1:
        pixels = premultiplied(pixels, lambda p: resized(p, width, height))
    if pixels.format == "ushort":
        pixels = pixels.colourspace("srgb")
    pixels = as_color(pixels).copy()
    pixels.remove("icc-profile-data")  # it is sRGB, and the profile would be larger than the icon
    return pixels.copy_memory()


def _icon(base: "pyvips.Image", image: Image, size: int, settings: Favicon) -> "pyvips.Image":
    """A square icon: the picture in the middle, the background behind it, the corners rounded."""
    width, height = _fit(image, size, settings)
    scaled = with_alpha(premultiplied(base, lambda p: resized(p, width, height)))
    icon = scaled.embed((size - width) // 2, (size - height) // 2, size, size, extend="background", background=[0] * 4)
    if settings.background_color is not None:
        color = parse_color(settings.background_color)
        if color.alpha == OPAQUE:
            icon = icon.flatten(background=list(color[:3]))
        else:
            plain = icon.new_from_image(list(color)).copy(interpretation="srgb")
            icon = plain.composite2(icon, "over").rint().cast("uchar")
    if settings.border_radius:
        radius = size * settings.border_radius / 100
        icon = masked(icon, rounded_mask(size, size, radius, radius))
    return icon.copy(interpretation="srgb")


def _warnings(images: list[Image], settings: Favicon) -> list[str]:
    warnings = []
    for number, image in enumerate(images, 1):
        longest = max(image.width, image.height)
        sizes = [size for size in _names().png.values() if max(_fit(image, size, settings)) > longest]
        if sizes:
            listed = ", ".join(map(str, sizes))
            size = f"{image.width}×{image.height}"
            warnings.append(f"Image {number} has {size} pixels: it was enlarged for the icons of {listed} pixels.")
    opaque = settings.background_color is not None and parse_color(settings.background_color).alpha == OPAQUE
    whole = all(image.width == image.height and not image.has_alpha for image in images) and not settings.padding
    if not opaque and not whole:
        warnings.append(f"iOS shows transparent parts of {APPLE_ICON} black. Set 'backgroundColor' to avoid that.")
    return warnings


def _manifest(settings: Favicon) -> bytes:
    """A web app manifest; its names are left for the site to fill in."""
    color = (settings.background_color or "#FFFFFF")[:7]
    icons = [
        {"src": name, "sizes": f"{size}x{size}", "type": "image/png"}
        for name, size in _names().png.items()
        if name.startswith("android")
    ]
    manifest = {"name": "", "short_name": "", "icons": icons, "theme_color": color, "background_color": color}
    return (json.dumps({**manifest, "display": "standalone"}, indent=2) + "\n").encode()


def _snippet() -> str:
    """The lines for the head of a page, for files at the root of the site."""
    lines = [
        f'<link rel="icon" href="/{name}" sizes="{" ".join(f"{size}x{size}" for size in sizes)}">'
        for name, sizes in _names().ico.items()
    ]
    for name, size in _names().png.items():
        if name.startswith("favicon"):
            lines.append(f'<link rel="icon" type="image/png" sizes="{size}x{size}" href="/{name}">')
    size = _names().png[APPLE_ICON]
    lines.append(f'<link rel="apple-touch-icon" sizes="{size}x{size}" href="/{APPLE_ICON}">')
    return "\n".join([*lines, '<link rel="manifest" href="/manifest.json">', ""])
