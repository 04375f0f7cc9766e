"""SVG made safe and its size read, before a renderer sees it. Pure Python on expat.

What comes out is written anew from an allowlist of elements and attributes: no script, no link, no address but `#id`
and pictures inside the file. What cannot draw is dropped, what was active is named in `removed`; entities and foreign
document types are refused, and so is what would take a renderer hours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from darkroom_tools.errors import DarkroomError, ImageTooComplex, InvalidImage, LimitExceeded, UnsafeSvg
from darkroom_tools.kit.svg_parts import (
    ATTRIBUTES,
    ELEMENTS,
    NAMED_WHEN_REMOVED,
    embedded_picture,
    safe_css,
    safe_value,
)

__all__ = ["CleanSvg", "clean_svg"]

MOST_BYTES: Final = 5_000_000
MOST_ELEMENTS: Final = 50_000
DEEPEST: Final = 100
MOST_PRIMITIVES: Final = 20
MOST_FILTERS: Final = 50
MOST_USES: Final = 10_000
MOST_EMBEDDED_PIXELS: Final = 25_000_000
LONGEST_LENGTH: Final = 60

SVG: Final = "http://www.w3.org/2000/svg"
XLINK: Final = "http://www.w3.org/1999/xlink"
XML: Final = "http://www.w3.org/XML/1998/namespace"
PUBLIC_DOCTYPE: Final = re.compile(r"-//W3C//DTD SVG [\w. ]+//EN")

# As browsers take a drawing that says nothing of its size.
DEFAULT_SIZE: Final = (300.0, 150.0)
PIXELS_PER_UNIT: Final[Mapping[str, float]] = {
    "": 1,
    "px": 1,
    "pt": 4 / 3,
    "pc": 16,
    "mm": 96 / 25.4,
    "cm": 96 / 2.54,
    "q": 96 / 101.6,
    "in": 96,
    "em": 16,
    "rem": 16,
    "ex": 8,
}
_LENGTH: Final = re.compile(r"\s*\+?(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)\s*([a-z]*)\s*", re.IGNORECASE)
_ID: Final = re.compile(r"#[^\s#]+")


@dataclass(frozen=True, slots=True)
class CleanSvg:
    """A drawing that may be rendered.

    Attributes:
        width: Intrinsic width in CSS pixels (96 an inch).
        height: Intrinsic height.
        stated: Whether the file says how large it is.
        removed: What was taken out that was active or came from elsewhere, such as `script`.
    """

    width: float
    height: float
    stated: bool
    removed: tuple[str, ...]
    _root: Mapping[str, str]
    _body: str

    def sized(self, width: int, height: int) -> bytes:
        """The file with a size in whole pixels, which its content fills."""
        root = dict(self._root)
        left, top, across, down = _view_box(root) or (0.0, 0.0, self.width, self.height)
        if "viewBox" not in root or abs(across * self.height - down * self.width) < 1e-3 * across * self.height:
            # Of the size's own ratio but for rounding: no gap of a fraction of a pixel at an edge.
            root["preserveAspectRatio"] = "none"
        root |= {"viewBox": f"{left} {top} {across} {down}", "width": str(width), "height": str(height)}
        own = root.get("style", "").rstrip("; ")
        fixed = f"width:{width}px!important;height:{height}px!important"
        root["style"] = f"{own};{fixed}" if own else fixed
        written = "".join(f" {name}={quoteattr(value)}" for name, value in root.items())
        return f'<svg xmlns="{SVG}" xmlns:xlink="{XLINK}"{written}>{self._body}</svg>'.encode()


def clean_svg(data: bytes) -> CleanSvg:
    """Check a file and keep of it what draws.

    Raises:
        UnsafeSvg: It has entities or a document type of its own, or is not UTF-8.
        ImageTooComplex: Over a limit of elements, depth, filters or copies.
        LimitExceeded: Larger than 5 MB.
        InvalidImage: No well-formed SVG, or without a size.
    """
    if len(data) > MOST_BYTES:
        raise LimitExceeded(
            f"The SVG has {len(data) / 1e6:.1f} MB; at most {MOST_BYTES / 1e6:g} MB are rendered. Simplify it first.",
            code="FILE_TOO_LARGE",
            got=len(data),
            limit=MOST_BYTES,
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _other_encoding() from error
    if "\0" in text:  # expat would take it for UTF-16
        raise _other_encoding()
    cleaner = _Cleaner()
    parser = cleaner.parser()
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        raise InvalidImage("The file starts like SVG but is not well-formed XML. Send the original file again.") from (
            error
        )
    return cleaner.result()


@dataclass
class _Node:
    """An element that is open."""

    name: str
    attributes: Mapping[str, str]
    primitives: int = 0


class _Cleaner:
    """Takes expat's events and writes the clean file."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._root: dict[str, str] | None = None
        self._open: list[_Node] = []
        self._skipped = 0
        self._depth = 0
        self._elements = 0
        self._filters = 0
        self._embedded_pixels = 0
        self._removed: dict[str, None] = {}
        self._style: list[str] | None = None
        self._uses_in: dict[str, list[str]] = {}
        self._all_uses: list[str] = []

    def parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("utf-8", namespace_separator=" ")
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.buffer_text = True
        parser.XmlDeclHandler = self._declaration
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        parser.ExternalEntityRefHandler = self._entity
        parser.ProcessingInstructionHandler = self._instruction
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        return parser

    def result(self) -> CleanSvg:
        if self._root is None:
            raise InvalidImage("The file holds no svg element. Send an SVG drawing.")
        self._check_uses()
        width, height, stated = _intrinsic_size(self._root)
        body = "".join(self._written)
        root = {name: value for name, value in self._root.items() if name not in ("x", "y")}
        return CleanSvg(width, height, stated, tuple(self._removed), root, body)

    # Events

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in ("utf-8", "utf8", "us-ascii"):
            raise _other_encoding()

    def _doctype(self, _name: str, _system: str | None, public: str | None, has_subset: int) -> None:
        # The standard document type says nothing and is never loaded; any other is an attempt at something.
        if has_subset or not PUBLIC_DOCTYPE.fullmatch(public or ""):
            raise _with_entities()

    def _entity(self, *_: object) -> int:
        raise _with_entities()

    def _instruction(self, target: str, _data: str) -> None:
        if target == "xml-stylesheet":
            self._removed["stylesheet link"] = None

    def _start(self, full_name: str, given: Mapping[str, str]) -> None:
        self._elements += 1
        self._depth += 1
        if self._elements > MOST_ELEMENTS:
            raise _too_complex(f"over {MOST_ELEMENTS:,} elements")
        if self._depth > DEEPEST:
            raise _too_complex(f"elements nested over {DEEPEST} deep")
        namespace, _, name = full_name.rpartition(" ")
        if self._root is None and self._depth == 1:
            if (namespace, name) not in ((SVG, "svg"), ("", "svg")):
                raise InvalidImage("The file holds no svg element. Send an SVG drawing.")
            self._root = self._attributes("svg", given)
            self._open.append(_Node("svg", self._root))
            return
        if self._skipped or self._style is not None or namespace not in (SVG, "") or name not in ELEMENTS:
            if not self._skipped and name.lower() in NAMED_WHEN_REMOVED:
                self._removed[NAMED_WHEN_REMOVED[name.lower()]] = None
            self._skipped += 1
            return
        if name == "a":
            self._removed["link"] = None
        inside_text = self._open[-1].name in ("text", "tspan", "textPath")
        self._open_element("tspan" if name == "a" and inside_text else ELEMENTS[name], given)

    def _open_element(self, name: str, given: Mapping[str, str]) -> None:
        attributes = self._attributes(name, given)
        node = _Node(name, attributes)
        self._note(node)
        self._open.append(node)
        written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
        self._written.append(f"<{name}{written}>")
        if name == "style":
            self._style = []

    def _end(self, _name: str) -> None:
        self._depth -= 1
        if self._skipped:
            self._skipped -= 1
            return
        node = self._open.pop()
        if node.name == "style" and self._style is not None:
            self._written.append(escape(safe_css("".join(self._style), self._removed)))
            self._style = None
        if self._open:
            self._written.append(f"</{node.name}>")

    def _text(self, text: str) -> None:
        if self._skipped or not self._open:
            return
        if self._style is not None:
            self._style.append(text)
        else:
            self._written.append(escape(text))

    # Parts

    def _attributes(self, name: str, given: Mapping[str, str]) -> dict[str, str]:
        kept: dict[str, str] = {}
        for full, value in given.items():
            namespace, _, attribute = full.rpartition(" ")
            if attribute == "href" and namespace in ("", XLINK):
                if (target := self._target(name, value.strip())) is not None:
                    kept["xlink:href"] = target
            elif namespace == XML and attribute in ("space", "lang"):
                kept[f"xml:{attribute}"] = value
            elif attribute.lower().startswith("on"):
                self._removed["script"] = None
            elif not namespace and attribute in ATTRIBUTES:
                safe = safe_css(value, self._removed) if attribute == "style" else safe_value(value, self._removed)
                if safe is not None:
                    kept[attribute] = safe
        return kept

    def _target(self, name: str, value: str) -> str | None:
        """An address that may stay: a part of the file, or a picture inside it."""
        if name == "image":
            found = embedded_picture(value)
            if found is None:
                self._removed["linked image" if not value.startswith("data:") else "embedded image"] = None
                return None
            self._embedded_pixels += found.pixels
            if self._embedded_pixels > MOST_EMBEDDED_PIXELS:
                raise _too_complex(f"embedded images of over {MOST_EMBEDDED_PIXELS // 1_000_000} megapixels")
            return found.uri
        if _ID.fullmatch(value):
            return value
        self._removed["link"] = None
        return None

    def _note(self, node: _Node) -> None:
        """Keep count of what multiplies work."""
        if node.name == "filter":
            self._filters += 1
            if self._filters > MOST_FILTERS:
                raise _too_complex(f"over {MOST_FILTERS} filters")
        elif node.name.startswith("fe"):
            parent = next((open for open in reversed(self._open) if open.name == "filter"), node)
            parent.primitives += node.name not in ("feMergeNode", "feFuncR", "feFuncG", "feFuncB", "feFuncA")
            if parent.primitives > MOST_PRIMITIVES:
                raise _too_complex(f"a filter of over {MOST_PRIMITIVES} steps")
        elif node.name == "use" and (target := node.attributes.get("xlink:href")):
            self._all_uses.append(target[1:])
            for parent in (*self._open, node):
                if "id" in parent.attributes:
                    self._uses_in.setdefault(parent.attributes["id"], []).append(target[1:])

    def _check_uses(self) -> None:
        """Refuse copies of copies that multiply: each `use` counts with all that it brings."""
        counted: dict[str, int] = {}
        pending: set[str] = set()

        def copies(target: str) -> int:
            if target in pending or len(pending) > DEEPEST:
                raise _too_complex("copies that contain themselves")
            if target not in counted:
                pending.add(target)
                counted[target] = 1 + sum(copies(inner) for inner in self._uses_in.get(target, ()))
                pending.remove(target)
            return counted[target]

        if sum(copies(target) for target in self._all_uses) > MOST_USES:
            raise _too_complex(f"over {MOST_USES:,} copies")


def _view_box(root: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    try:
        left, top, width, height = (float(part) for part in re.split(r"[\s,]+", root.get("viewBox", "").strip()))
    except ValueError:
        return None
    return (left, top, width, height) if 0 < width < 1e9 and 0 < height < 1e9 else None


def _intrinsic_size(root: Mapping[str, str]) -> tuple[float, float, bool]:
    """Width and height in CSS pixels, and whether the file states them."""
    styled = dict(part.split(":", 1) for part in re.sub(r"\s", "", root.get("style", "")).split(";") if ":" in part)
    width, height = (_length(styled.get(side, root.get(side, ""))) for side in ("width", "height"))
    box = _view_box(root)
    if width is not None and height is not None:
        return width, height, True
    if box is None:
        return width or DEFAULT_SIZE[0], height or DEFAULT_SIZE[1], False
    if width is not None:
        return width, width * box[3] / box[2], True
    if height is not None:
        return height * box[2] / box[3], height, True
    return box[2], box[3], True


def _length(text: str) -> float | None:
    """A length in CSS pixels; None for a share of what surrounds it, and for what is no length."""
    match = _LENGTH.fullmatch(text) if len(text) <= LONGEST_LENGTH else None
    if match is None or match[2].lower() not in PIXELS_PER_UNIT:
        return None
    value = float(match[1]) * PIXELS_PER_UNIT[match[2].lower()]
    if not 0 < value < 1e12:
        raise InvalidImage("The SVG says that it has no size. Give it a width and a height above 0.")
    return value


def _too_complex(what: str) -> DarkroomError:
    return ImageTooComplex(f"The SVG has {what}, which would take too long to draw. Simplify it first.")


def _other_encoding() -> DarkroomError:
    return UnsafeSvg("The SVG is not written in UTF-8, or says so. Save it as UTF-8 first.")


def _with_entities() -> DarkroomError:
    return UnsafeSvg("The SVG declares entities or a document type of its own. Save it as plain SVG first.")
