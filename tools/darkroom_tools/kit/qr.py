"""QR codes as vector drawings: modules of six styles, finder patterns of their own, room for a logo."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from darkroom_tools.errors import InvalidSettings

__all__ = ["CornerDotStyle", "CornerStyle", "DotStyle", "Level", "QrLook", "draw_qr", "qr_modules"]

Level = Literal["L", "M", "Q", "H"]
DotStyle = Literal["square", "rounded", "dots", "classy", "classy-rounded", "extra-rounded"]
CornerStyle = Literal["square", "rounded", "dot", "extra-rounded"]
CornerDotStyle = Literal["square", "rounded", "dot"]

FINDER: Final = 7
CLEAR: Final = 0.5
"""Modules without ink around a logo."""

MOST_BYTES: Final[Mapping[Level, int]] = {"L": 2953, "M": 2331, "Q": 1663, "H": 1273}

Modules = Sequence[Sequence[bool]]


class Corners(NamedTuple):
    """Radii of a module's corners in modules, clockwise from the top left."""

    top_left: float
    top_right: float
    bottom_right: float
    bottom_left: float


@dataclass(frozen=True, slots=True)
class QrLook:
    """How a code is drawn.

    Attributes:
        dot_style: Of the modules.
        corner_style: Of the frames of the three finder patterns.
        corner_dot_style: Of what is inside those.
        dark: `#RRGGBB` of the modules.
        light: `#RRGGBB` or `#RRGGBBAA` of the ground.
    """

    dot_style: DotStyle
    corner_style: CornerStyle
    corner_dot_style: CornerDotStyle
    dark: str
    light: str


def qr_modules(data: str, level: Level) -> Modules:
    """The modules of a text, rows from the top, dark ones true; always a full QR code, never a Micro QR.

    Raises:
        InvalidSettings: The text is too long for the level.
    """
    import segno

    try:
        code = segno.make(
            data, error=level, micro=False, boost_error=False, encoding=None if data.isascii() else "utf-8"
        )
    except segno.DataOverflowError as error:
        size = len(data.encode())
        raise InvalidSettings(
            f"'data' has {size} bytes; at level {level} a QR code holds about {MOST_BYTES[level]}. "
            "Shorten it, for example by a short link, or use a lower errorCorrectionLevel.",
            field="data",
            got=size,
            limit=MOST_BYTES[level],
        ) from error
    return [[bool(module) for module in row] for row in code.matrix]


def draw_qr(
    modules: Modules, look: QrLook, size: int, module: int, logo: str | None = None, logo_share: float = 0.0
) -> bytes:
    """The code as an SVG of `size` × `size` pixels, in its middle.

    Args:
        modules: From `qr_modules`.
        look: Styles and colours.
        size: Side of the drawing.
        module: Side of a module in whole pixels, so that edges are sharp; what is left is quiet zone.
        logo: A picture as data URI for the middle, where no modules are drawn.
        logo_share: Its side as a share of the code's.
    """
    count = len(modules)
    margin, side = (size - count * module) // 2 / module, size / module
    hole = count * logo_share / 2 + CLEAR if logo else 0.0
    kept = _without_finders_and_hole(modules, hole)
    eyes = "".join(_eye(x, y, look) for x, y in ((0, 0), (count - FINDER, 0), (0, count - FINDER)))
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    place = f'x="{-margin:.9g}" y="{-margin:.9g}" width="{side:.9g}" height="{side:.9g}"'
    view = f"{-margin:.9g} {-margin:.9g} {side:.9g} {side:.9g}"
    parts = [
        f'<svg {spaces} width="{size}" height="{size}" viewBox="{view}">',
        f"<rect {place} {_fill(look.light)}/>",
        f'<path fill="{look.dark}" fill-rule="evenodd" d="{"".join(_dots(kept, look.dot_style))}{eyes}"/>',
    ]
    if logo:
        edge = count * (1 - logo_share) / 2
        across = count * logo_share
        parts.append(
            f'<image x="{edge:.9g}" y="{edge:.9g}" width="{across:.9g}" height="{across:.9g}" xlink:href="{logo}"/>'
        )
    return "".join([*parts, "</svg>"]).encode()


def _fill(color: str) -> str:
    """A fill in the words of SVG 1.1, where alpha is apart."""
    if len(color) == 7:
        return f'fill="{color}"'
    return f'fill="{color[:7]}" fill-opacity="{int(color[7:], 16) / 255:.4g}"'


def _without_finders_and_hole(modules: Modules, hole: float) -> list[list[bool]]:
    """The modules that are drawn one by one."""
    count = len(modules)
    far, middle = count - FINDER, count / 2
    return [
        [
            dark
            and not ((x < FINDER or x >= far) and y < FINDER)
            and not (x < FINDER and y >= far)
            and not (abs(x + 0.5 - middle) < hole and abs(y + 0.5 - middle) < hole)
            for x, dark in enumerate(row)
        ]
        for y, row in enumerate(modules)
    ]


def _dots(modules: list[list[bool]], style: DotStyle) -> Iterator[str]:
    count = len(modules)

    def dark(x: int, y: int) -> bool:
        return 0 <= x < count and 0 <= y < count and modules[y][x]

    for y, row in enumerate(modules):
        x = 0
        while x < count:
            if not row[x]:
                x += 1
                continue
            run = 1
            if style == "square":
                while x + run < count and row[x + run]:
                    run += 1
                yield f"M{x} {y}h{run}v1h-{run}z"
            else:
                free = (not dark(x, y - 1), not dark(x + 1, y), not dark(x, y + 1), not dark(x - 1, y))
                yield _box(x, y, 1, _CORNERS[style](*free))
            x += run


def _rounded(top: bool, right: bool, bottom: bool, left: bool) -> Corners:
    """Half a module where two free sides meet."""
    return Corners(
        *(0.5 * (one and other) for one, other in ((top, left), (top, right), (bottom, right), (bottom, left)))
    )


def _extra_rounded(top: bool, right: bool, bottom: bool, left: bool) -> Corners:
    """As rounded, but a whole module where a line turns."""
    corners = _rounded(top, right, bottom, left)
    turns = top + right + bottom + left == 2 and top != bottom
    return Corners(*(2 * radius for radius in corners)) if turns else corners


def _classy(top: bool, right: bool, bottom: bool, left: bool) -> Corners:
    """Two opposite corners."""
    return Corners(0.5 * (top and left), 0, 0.5 * (bottom and right), 0)


def _classy_rounded(top: bool, right: bool, bottom: bool, left: bool) -> Corners:
    """As classy, but a whole module where another one follows."""
    first, _, last, _ = _classy(top, right, bottom, left)
    return Corners(first, 0, last, 0) if first and last else Corners(2 * first, 0, 2 * last, 0)


_CORNERS: Final[Mapping[str, Callable[[bool, bool, bool, bool], Corners]]] = {
    "dots": lambda *_: Corners(0.5, 0.5, 0.5, 0.5),
    "rounded": _rounded,
    "extra-rounded": _extra_rounded,
    "classy": _classy,
    "classy-rounded": _classy_rounded,
}

_FRAME_RADIUS: Final[Mapping[CornerStyle, float]] = {"square": 0, "rounded": 1.5, "extra-rounded": 2.5, "dot": 3.5}
_DOT_RADIUS: Final[Mapping[CornerDotStyle, float]] = {"square": 0, "rounded": 0.75, "dot": 1.5}


def _eye(x: int, y: int, look: QrLook) -> str:
    """A finder pattern: a frame one module wide around a dot of three."""
    outer = _FRAME_RADIUS[look.corner_style]
    inner, dot = max(0.0, outer - 1), _DOT_RADIUS[look.corner_dot_style]
    frame = _box(x, y, 7, Corners(*[outer] * 4)) + _box(x + 1, y + 1, 5, Corners(*[inner] * 4))
    return frame + _box(x + 2, y + 2, 3, Corners(*[dot] * 4))


def _box(x: float, y: float, side: float, radii: Corners) -> str:
    """A path around a square with rounded corners."""
    a, b, c, d = radii
    if not any(radii):
        return f"M{x} {y}h{side}v{side}h-{side}z"
    path = [f"M{x + a:g} {y}H{x + side - b:g}"]
    path += [f"a{b:g} {b:g} 0 0 1 {b:g} {b:g}"] if b else []
    path += [f"V{y + side - c:g}"]
    path += [f"a{c:g} {c:g} 0 0 1 -{c:g} {c:g}"] if c else []
    path += [f"H{x + d:g}"]
    path += [f"a{d:g} {d:g} 0 0 1 -{d:g} -{d:g}"] if d else []
    path += [f"V{y + a:g}"]
    path += [f"a{a:g} {a:g} 0 0 1 {a:g} -{a:g}"] if a else []
    return "".join([*path, "z"])
