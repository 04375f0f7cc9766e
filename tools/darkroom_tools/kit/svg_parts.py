"""What of an SVG may stay: elements, attributes, styles and embedded pictures."""

import base64
import binascii
import re
import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = ["ATTRIBUTES", "ELEMENTS", "NAMED_WHEN_REMOVED", "Embedded", "embedded_picture", "safe_css", "safe_value"]

_SAME = """
svg g defs symbol use switch path rect circle ellipse line polyline polygon text tspan textPath linearGradient
radialGradient stop pattern marker clipPath mask image style filter feBlend feColorMatrix feComponentTransfer
feComposite feConvolveMatrix feDiffuseLighting feDisplacementMap feDistantLight feDropShadow feFlood feFuncA feFuncB
feFuncG feFuncR feGaussianBlur feMerge feMergeNode feMorphology feOffset fePointLight feSpecularLighting feSpotLight
feTile feTurbulence
"""
ELEMENTS: Final[Mapping[str, str]] = {**{name: name for name in _SAME.split()}, "a": "g"}
"""Elements that draw, and what they are written as: a link becomes a group."""

NAMED_WHEN_REMOVED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("script", "handler", "listener"), "script"),
    **dict.fromkeys(("animate", "animatetransform", "animatemotion", "animatecolor", "set", "discard"), "animation"),
    **dict.fromkeys(("foreignobject", "iframe", "object", "embed"), "embedded page"),
    **dict.fromkeys(("audio", "video"), "media"),
    "feimage": "linked image",
}
"""Elements whose removal the caller should know of; of others (titles, metadata, editor data) nothing shows."""

_KNOWN = """
id class style transform x y z x1 y1 x2 y2 r rx ry cx cy fx fy fr dx dy d points width height viewBox
preserveAspectRatio pathLength rotate textLength lengthAdjust startOffset method spacing side offset
gradientUnits gradientTransform spreadMethod patternUnits patternContentUnits patternTransform markerUnits
markerWidth markerHeight refX refY orient clipPathUnits maskUnits maskContentUnits filterUnits primitiveUnits
systemLanguage requiredExtensions requiredFeatures type media in in2 result mode values operator k1 k2 k3 k4 order
kernelMatrix divisor bias targetX targetY edgeMode preserveAlpha kernelUnitLength surfaceScale diffuseConstant
specularConstant specularExponent limitingConeAngle pointsAtX pointsAtY pointsAtZ azimuth elevation scale
xChannelSelector yChannelSelector stdDeviation radius baseFrequency numOctaves seed stitchTiles tableValues slope
intercept amplitude exponent
alignment-baseline baseline-shift clip clip-path clip-rule color color-interpolation color-interpolation-filters
color-rendering direction display dominant-baseline enable-background fill fill-opacity fill-rule filter
flood-color flood-opacity font font-family font-size font-size-adjust font-stretch font-style font-variant
font-weight glyph-orientation-horizontal glyph-orientation-vertical image-rendering isolation kerning
letter-spacing lighting-color line-height marker marker-end marker-mid marker-start mask mask-type mix-blend-mode
opacity overflow paint-order shape-rendering stop-color stop-opacity stroke stroke-dasharray stroke-dashoffset
stroke-linecap stroke-linejoin stroke-miterlimit stroke-opacity stroke-width text-anchor text-decoration
text-orientation text-rendering transform-origin unicode-bidi vector-effect visibility white-space word-spacing
writing-mode
"""
ATTRIBUTES: Final = frozenset(_KNOWN.split())
"""Attributes that shape a drawing; none of them acts."""

# A hostile file holds megabytes of half a pattern: none of these may start a long search again and again.
_COMMENT: Final = re.compile(r"/\*.*?(\*/|$)", re.DOTALL)
_BLOCK_OR_END: Final = re.compile(r"[;{]")
_BRACE: Final = re.compile(r"[{}]")
_ESCAPE: Final = re.compile(r"\\([0-9a-fA-F]{1,6})\s?|\\(.)", re.DOTALL)
_URL: Final = re.compile(r"url\(", re.IGNORECASE)
_PART: Final = r"#[^\"'()\s\\]{1,200}"
_LOCAL: Final = re.compile(rf"url\(\s{{0,9}}(?:\"{_PART}\"|'{_PART}'|{_PART})\s{{0,9}}\)", re.IGNORECASE)
_ADDRESS: Final = re.compile(r"url\s*\(|@|expression\s*\(|javascript:|image(-set)?\s*\(|src\s*\(", re.IGNORECASE)

_DATA: Final = re.compile(r"data:image/(png|jpe?g);base64,", re.IGNORECASE)
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_NEEDED: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_MOST_SCANS: Final = 100
_JPEG_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


class Embedded(NamedTuple):
    """A picture inside a drawing."""

    uri: str
    pixels: int


def safe_value(value: str, removed: dict[str, None]) -> str | None:
    """The value of an attribute, None if it points anywhere but into the file."""
    if "url" not in value.lower() and "\\" not in value:
        return value
    rest = _LOCAL.sub("", value)
    if _ADDRESS.search(_plain(rest)):
        removed["link"] = None
        return None
    return value


def safe_css(text: str, removed: dict[str, None]) -> str:
    """Style rules or declarations without comments, at-rules and addresses outside the file."""
    kept = _without_addresses(_without_at_rules(_COMMENT.sub(" ", text), removed), removed)
    if _ADDRESS.search(_plain(_LOCAL.sub("", kept))):
        removed["link"] = None
        return ""
    return kept


def _without_at_rules(text: str, removed: dict[str, None]) -> str:
    parts, at = [], 0
    while (start := text.find("@", at)) >= 0:
        parts.append(text[at:start])
        at = _end_of_rule(text, start)
        if text[start + 1 : start + 7].lower() == "import":
            removed["stylesheet link"] = None
    return "".join([*parts, text[at:]])


def _end_of_rule(text: str, start: int) -> int:
    """Where the at-rule that starts there ends: after its semicolon, or after its block."""
    first = _BLOCK_OR_END.search(text, start)
    if first is None:
        return len(text)
    if first[0] == ";":
        return first.end()
    depth = 0
    for brace in _BRACE.finditer(text, first.start()):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.end()
    return len(text)


def _without_addresses(text: str, removed: dict[str, None]) -> str:
    parts, at = [], 0
    while (found := _URL.search(text, at)) is not None:
        end = text.find(")", found.end()) + 1 or len(text)
        parts.append(text[at : found.start()])
        if _LOCAL.fullmatch(text, found.start(), end):
            parts.append(text[found.start() : end])
        else:
            parts.append("none")
            removed["link"] = None
        at = end
    return "".join([*parts, text[at:]])


def _plain(text: str) -> str:
    """CSS with its escapes resolved, which could hide a word."""

    def resolve(match: re.Match[str]) -> str:
        code = int(match[1], 16) if match[1] else 0
        return match[2] or (chr(code) if 0 < code < 0x110000 else "?")

    return _ESCAPE.sub(resolve, _COMMENT.sub("", text))


def embedded_picture(uri: str) -> Embedded | None:
    """A PNG or JPEG as data URI, written anew without what only costs; None for anything else."""
    head = _DATA.match(uri)
    if head is None:
        return None
    try:
        data = base64.b64decode("".join(uri[head.end() :].split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    if data.startswith(_PNG):
        found = _bare_png(data)
        kind = "png"
    else:
        found = _sized_jpeg(data)
        kind = "jpeg"
    if found is None:
        return None
    bare, pixels = found
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(bare).decode()}", pixels)


def _bare_png(data: bytes) -> tuple[bytes, int] | None:
    """The chunks that hold pixels: compressed text and profiles can inflate to anything."""
    kept = [_PNG]
    at, pixels = len(_PNG), 0
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack(">II", data[at + 8 : at + 16])
            pixels = width * height
        if kind in _PNG_NEEDED and end <= len(data):
            kept.append(data[at:end])
        at = end
    return (b"".join(kept), pixels) if pixels else None


def _sized_jpeg(data: bytes) -> tuple[bytes, int] | None:
    if not data.startswith(b"\xff\xd8\xff") or data.count(b"\xff\xda") > _MOST_SCANS:
        return None
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return (data, width * height) if width and height else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big") if marker != 0xFF else 1
    return None
