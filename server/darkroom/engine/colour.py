"""Makes whatever a decoder gives grey or sRGB of 8 or 16 bits, and reads ICC profiles as far as that needs."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pyvips

from darkroom.engine.fields import ICC, field, without

__all__ = ["Profile", "normalise", "read_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Facts of an ICC profile.

    Attributes:
        space: Colour space of the device: `RGB`, `GRAY`, `CMYK`, …
        description: Its name for people, printable, at most 120 characters.
        is_srgb: Whether it says the same as sRGB, to within what 8 bits show.
    """

    space: str
    description: str
    is_srgb: bool


def read_profile(data: bytes) -> Profile | None:
    """Read a profile's header, name and, for RGB, primaries and curves; None where it is damaged.

    Source: ICC.1:2022, sections 7.2 (header), 7.3 (tag table), 10.
    """
    try:
        if data[36:40] != b"acsp":
            return None
        count = struct.unpack_from(">I", data, 128)[0]
        tags: dict[bytes, bytes] = {}
        for n in range(min(count, 100)):
            name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * n)
            tags[name] = data[offset : offset + size]
        space = data[16:20].decode("ascii").strip()
        return Profile(space, _description(tags.get(b"desc", b"")) or space, space == "RGB" and _is_srgb(tags))
    except (struct.error, UnicodeDecodeError, ArithmeticError):
        return None


def _description(tag: bytes) -> str:
    if tag[:4] == b"mluc":
        size, offset = struct.unpack_from(">II", tag, 20)
        text = tag[offset : offset + size].decode("utf-16-be", "replace")
    else:
        text = tag[12 : 12 + int.from_bytes(tag[8:12], "big")].decode("ascii", "replace")
    return "".join(letter for letter in text if letter.isprintable())[:120].strip()


# The primaries of sRGB adapted to D50, IEC 61966-2-1 as ICC publishes it, and its curve at a few points.
_SRGB_PRIMARIES: Mapping[bytes, tuple[float, float, float]] = {
    b"rXYZ": (0.4361, 0.2225, 0.0139),
    b"gXYZ": (0.3851, 0.7169, 0.0971),
    b"bXYZ": (0.1431, 0.0606, 0.7141),
}
_SRGB_CURVE = ((0.02, 0.001548), (0.1, 0.010023), (0.5, 0.214041), (0.8, 0.603827))
_TOLERANCE = 0.002


def _is_srgb(tags: Mapping[bytes, bytes]) -> bool:
    if b"A2B0" in tags:
        return False
    for name, expected in _SRGB_PRIMARIES.items():
        column = [value / 65536 for value in struct.unpack_from(">3i", tags.get(name, b""), 8)]
        if any(abs(got - want) > _TOLERANCE for got, want in zip(column, expected, strict=True)):
            return False
    curves = {tags.get(name, b"") for name in (b"rTRC", b"gTRC", b"bTRC")}
    return all(abs(_evaluate(curve, x) - y) <= _TOLERANCE for curve in curves for x, y in _SRGB_CURVE)


def _evaluate(curve: bytes, x: float) -> float:
    """The value of a tone curve tag at `x`; infinity for kinds that no sRGB profile uses."""
    if curve[:4] == b"para" and curve[8:10] == b"\0\3":
        gamma, a, b, c, d = (value / 65536 for value in struct.unpack_from(">5i", curve, 12))
        return float(max(a * x + b, 0.0) ** gamma) if x >= d else c * x
    if curve[:4] == b"curv":
        count = struct.unpack_from(">I", curve, 8)[0]
        if count == 0:
            return x
        if count == 1:
            return float(x ** (struct.unpack_from(">H", curve, 12)[0] / 256))
        index = min(int(x * (count - 1)), count - 2)
        low, high = struct.unpack_from(">2H", curve, 12 + 2 * index)
        return float(low + (high - low) * (x * (count - 1) - index)) / 65535
    return float("inf")


def normalise(pixels: pyvips.Image, warnings: list[str]) -> pyvips.Image:
    """Grey or sRGB pixels of 8 or 16 bits, alpha last, from any that a decoder gives.

    An sRGB profile stays as it is; any other is converted to sRGB and replaced by it, on grey dropped after the
    conversion. CMYK without a usable profile is converted by a generic press profile.

    Args:
        pixels: As decoded, real numbers.
        warnings: Sentences for the caller are added here.

    Raises:
        pyvips.Error: The pixels had to be read for their range and could not be.
    """
    if pixels.interpretation == "lab":
        pixels = without(pixels, ICC).colourspace("srgb")
    elif pixels.format not in ("uchar", "ushort"):
        pixels = _to_8_bit(pixels, warnings)
    pixels = _trim_bands(_name_space(pixels), warnings)
    return _to_srgb(pixels, warnings)


def _to_8_bit(pixels: pyvips.Image, warnings: list[str]) -> pyvips.Image:
    """Map float, 32-bit and signed pixels to 0..255."""
    pixels = pixels.copy_memory()
    low, high = cast(float, pixels.min()), cast(float, pixels.max())
    if low >= 0 and high <= 1 and pixels.format in ("float", "double"):
        low, high = 0.0, 1.0
        if pixels.interpretation == "scrgb":
            warnings.append("Floating-point pixels were read as linear light and converted to 8 bits.")
            return without(pixels, ICC).colourspace("srgb")
    warnings.append(f"Pixel values from {low:g} to {high:g} were spread over 8 bits.")
    scale = 255 / (high - low) if high > low else 0.0
    grey = pixels.bands < 3
    spread = pixels.linear([scale], [-low * scale]).rint().cast("uchar")
    return without(spread, ICC).copy(interpretation="b-w" if grey else "srgb")


def _name_space(pixels: pyvips.Image) -> pyvips.Image:
    """Call unnamed pixels grey or sRGB by their number of bands."""
    if pixels.interpretation in ("b-w", "grey16", "srgb", "rgb16", "cmyk"):
        return pixels
    wide = pixels.format == "ushort"
    if pixels.bands < 3:
        return pixels.copy(interpretation="grey16" if wide else "b-w")
    return pixels.copy(interpretation="rgb16" if wide else "srgb")


def _trim_bands(pixels: pyvips.Image, warnings: list[str]) -> pyvips.Image:
    """Drop bands beyond colour and one alpha."""
    most = {"b-w": 2, "grey16": 2, "cmyk": 5}.get(str(pixels.interpretation), 4)
    if pixels.bands <= most:
        return pixels
    warnings.append(f"{pixels.bands - most} extra channels beyond colour and alpha were dropped.")
    return pixels.extract_band(0, n=most)


def _to_srgb(pixels: pyvips.Image, warnings: list[str]) -> pyvips.Image:
    colours = {"cmyk": "CMYK", "b-w": "GRAY", "grey16": "GRAY"}.get(str(pixels.interpretation), "RGB")
    embedded = field(pixels, ICC)
    profile = read_profile(embedded) if embedded is not None else None
    if profile is not None and profile.is_srgb and colours != "CMYK":
        return pixels if colours == "RGB" else without(pixels, ICC)
    if profile is not None and profile.space == colours:
        try:
            return _transform(pixels, embedded=True)
        except pyvips.Error:
            profile = None
    if embedded is not None:
        warnings.append("The embedded colour profile is damaged or does not fit the image; it was ignored.")
    pixels = without(pixels, ICC)
    return _transform(pixels, input_profile="cmyk") if colours == "CMYK" else pixels


def _transform(pixels: pyvips.Image, **source: Any) -> pyvips.Image:
    depth = 16 if pixels.format == "ushort" else 8
    result = pixels.icc_transform("srgb", intent="perceptual", depth=depth, **source)
    if pixels.interpretation not in ("b-w", "grey16"):
        return result
    grey = result.extract_band(0)
    if pixels.bands == 2:
        grey = grey.bandjoin(result.extract_band(3))
    return without(grey.copy(interpretation="grey16" if depth == 16 else "b-w"), ICC)
