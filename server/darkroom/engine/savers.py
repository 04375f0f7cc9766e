"""How each format is written: libvips' savers and their settings.

Defaults come from measurements on photographs: JPEG 80, WebP 80 at effort 2 and AVIF 50 at effort 1 are where more
encoder time stops paying.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pyvips

from darkroom.engine.fit import Step, Watch, tiles
from darkroom_tools.image import Encoding, Palette

__all__ = [
    "SAVERS",
    "WITHOUT_PROFILE",
    "has_palette",
    "ladder",
    "options",
    "row_filter",
    "save",
    "to_bytes",
]

DEFAULT_QUALITY = {"jpeg": 80, "webp": 80, "avif": 50, "heif": 50}
BEST_SEARCHED_QUALITY = 95
WITHOUT_PROFILE = frozenset({"gif"})
SAVERS: Mapping[str, str] = {
    "jpeg": "jpegsave",
    "png": "pngsave",
    "webp": "webpsave",
    "gif": "gifsave",
    "tiff": "tiffsave",
    "avif": "heifsave",
    "heif": "heifsave",
}
_FIXED: Mapping[str, Mapping[str, Any]] = {
    "jpeg": {},
    "png": {"compression": 6},
    "webp": {"effort": 2},
    "gif": {"effort": 3},
    "tiff": {"compression": "lzw", "predictor": "horizontal"},
    "avif": {"compression": "av1", "effort": 1, "bitdepth": 8},
    "heif": {"compression": "av1", "effort": 1, "bitdepth": 8},
}
# Two passes for tables of its own: a JPEG is 1 to 7 % smaller for twice the time, so only where size was the question.
_TIGHT: Mapping[str, Mapping[str, Any]] = {"jpeg": {"optimize_coding": True}}
# Ten times the time for 13 % of a JPEG, twice for 3 % of a WebP.
_SMALL: Mapping[str, Mapping[str, Any]] = {
    "jpeg": {"optimize_coding": True, "trellis_quant": True, "overshoot_deringing": True, "quant_table": 3},
    "webp": {"effort": 4},
}
_EFFORTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"fast": {}, "tight": _TIGHT, "small": _SMALL}
# Beyond this a PNG is filtered without a trial, which would need its pixels in memory.
_TRIAL_BYTES = 128 * 2**20
FILTERS_PAY = 0.9


def save(pixels: pyvips.Image, format: str, sink: str, *target: Any, keep: int, **options: Any) -> Any:
    """Write pixels by the saver of a format; `sink` is `_target` or `_buffer`, `keep` libvips' flags of metadata."""
    return getattr(pixels, SAVERS[format] + sink)(*target, keep=keep, **{**_FIXED[format], **options})


def to_bytes(format: str, keep: int) -> Callable[[pyvips.Image, Mapping[str, Any]], bytes]:
    """A function that writes pixels with some options into memory, where size is the question."""
    return lambda pixels, chosen: bytes(
        save(pixels, format, "_buffer", keep=keep, **{**_TIGHT.get(format, {}), **chosen})
    )


def options(format: str, encoding: Encoding) -> dict[str, Any]:
    """The saver's options for what was asked."""
    chosen = dict(_EFFORTS[encoding.effort].get(format, {}))
    if encoding.progressive and format == "jpeg":
        chosen |= {"interlace": True, "optimize_scans": encoding.effort == "small"}
    quality = encoding.quality
    if format in DEFAULT_QUALITY:
        return {"Q": quality or DEFAULT_QUALITY[format], **chosen}
    if has_palette(format, quality):
        return {**_png_palette(8, quality or 100), **chosen}
    if format == "gif" and encoding.palette is not None:
        return _gif_palette(encoding.palette)
    if format == "gif" and quality is not None:
        return {"bitdepth": max(1, round(8 * quality / 100))}
    return chosen


def has_palette(format: str, quality: int | None) -> bool:
    """Whether a PNG of that quality has a palette."""
    return format == "png" and quality is not None and quality < 100


def _png_palette(bitdepth: int, quality: int) -> dict[str, Any]:
    return {"palette": True, "bitdepth": bitdepth, "Q": quality, "effort": 1}


def _gif_palette(palette: Palette) -> dict[str, Any]:
    return {
        "bitdepth": min(8, palette.colors.bit_length() - 1),
        "dither": palette.dither,
        "effort": palette.effort,
        "interpalette_maxerror": palette.tolerance,
        "interframe_maxerror": palette.frame_tolerance,
    }


def ladder(format: str, encoding: Encoding) -> list[Step]:
    """The ways to write a format, from the smallest file to the best picture."""
    quality = encoding.quality
    if format in DEFAULT_QUALITY:
        best = quality or BEST_SEARCHED_QUALITY
        return [Step({"Q": level}, {"quality": level}) for level in range(1, best + 1)]
    if format == "gif":
        deepest = options(format, encoding).get("bitdepth", 8)
        return [Step({"bitdepth": bits}, {"colours": 2**bits}) for bits in range(1, deepest + 1)]
    if format == "png":
        levels = ((1, 100), (2, 100), (4, 100), (8, 20), (8, 50), (8, 100))
        palettes = [Step(_png_palette(bits, level), {"colours": 2**bits}) for bits, level in levels]
        return palettes if has_palette(format, quality) else [*palettes, Step({"filter": "all"}, {})]
    return [Step({}, {})]


def row_filter(pixels: pyvips.Image, watch: Watch) -> tuple[pyvips.Image, str]:
    """Which PNG row filter suits the picture: all of them make photographs a third smaller, none suits drawings.

    Trying all of them for each row takes four times as long, so it has to save a tenth. Tried on tiles, which reads pixels twice, so they are computed into memory first.
    """
    if pixels.width * pixels.height * pixels.bands * (2 if pixels.format == "ushort" else 1) > _TRIAL_BYTES:
        return pixels, "all"
    watch(pixels)
    pixels = pixels.copy_memory().copy()
    sample = tiles(pixels, 128, 3)
    sizes = {name: len(save(sample, "png", "_buffer", keep=0, filter=name)) for name in ("none", "all")}
    return pixels, "all" if sizes["all"] < FILTERS_PAY * sizes["none"] else "none"
