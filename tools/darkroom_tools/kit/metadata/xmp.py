"""XMP packets read, changed and written. Source: ISO 16684-1 (XMP part 1) §7; XMP part 3 §1 for the wrapping."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

from darkroom_tools.kit.metadata.changes import Position

__all__ = ["XmpPacket"]

X, RDF, DC = "adobe:ns:meta/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://purl.org/dc/elements/1.1/"
XMP, NOTE = "http://ns.adobe.com/xap/1.0/", "http://ns.adobe.com/xmp/note/"
PHOTOSHOP, EXIF = "http://ns.adobe.com/photoshop/1.0/", "http://ns.adobe.com/exif/1.0/"
XML: Final = "http://www.w3.org/XML/1998/namespace"
PREFIXES: Final = {X: "x", RDF: "rdf", DC: "dc", XMP: "xmp", NOTE: "xmpNote", PHOTOSHOP: "photoshop", EXIF: "exif"}

ALT, SEQ, BAG, PLAIN = f"{{{RDF}}}Alt", f"{{{RDF}}}Seq", f"{{{RDF}}}Bag", ""
TEXTS: Final = {
    "title": (f"{{{DC}}}title", ALT),
    "description": (f"{{{DC}}}description", ALT),
    "copyright": (f"{{{DC}}}rights", ALT),
    "author": (f"{{{DC}}}creator", SEQ),
    "software": (f"{{{XMP}}}CreatorTool", PLAIN),
    "headline": (f"{{{PHOTOSHOP}}}Headline", PLAIN),
    "city": (f"{{{PHOTOSHOP}}}City", PLAIN),
    "state": (f"{{{PHOTOSHOP}}}State", PLAIN),
    "country": (f"{{{PHOTOSHOP}}}Country", PLAIN),
}
SUBJECT: Final = f"{{{DC}}}subject"
DATES: Final = {
    "modified": (f"{{{XMP}}}ModifyDate",),
    "taken": (f"{{{EXIF}}}DateTimeOriginal", f"{{{PHOTOSHOP}}}DateCreated"),
    "digitized": (f"{{{XMP}}}CreateDate", f"{{{EXIF}}}DateTimeDigitized"),
}
DESCRIPTION: Final = f"{{{RDF}}}Description"
PLACE: Final = re.compile(r"gps|latitude|longitude|altitude", re.IGNORECASE)
GEO: Final = "http://www.w3.org/2003/01/geo/"
# Anything declared: document types, and the entities that come with them.
DECLARATION: Final = re.compile(r"<!(?!--|\[CDATA\[)")
ENCODINGS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Of the packet's wrapping, which says by its id that this is XMP, and by "w" that it may be edited in place.
HEAD: Final = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
TAIL: Final = '\n<?xpacket end="w"?>'
DEEPEST: Final = 100
MOST_BYTES: Final = 4 * 2**20


class XmpPacket:
    """An XMP packet as a tree. Properties are set on its first description and removed from all.

    Args:
        packet: The bytes as they stand in a file; None for a new packet.

    Raises:
        ValueError: They cannot be read, or declare a document type.
    """

    def __init__(self, packet: bytes | None = None) -> None:
        self._prefixes: dict[str, str] = {}
        self._root = self._read(packet) if packet is not None else ET.Element(f"{{{X}}}xmpmeta")
        rdf = self._root if self._root.tag == f"{{{RDF}}}RDF" else self._root.find(f".//{{{RDF}}}RDF")
        self._rdf = rdf if rdf is not None else ET.SubElement(self._root, f"{{{RDF}}}RDF")

    def _read(self, packet: bytes) -> ET.Element:
        if len(packet) > MOST_BYTES:
            raise ValueError("the packet is too long to be taken apart")
        encoding = next((name for start, name in ENCODINGS if packet.startswith(start)), "utf-8")
        text = packet.decode(encoding, "replace").lstrip("\ufeff").strip("\0 \t\r\n")
        if DECLARATION.search(text):
            raise ValueError("a document type is declared")
        text = re.sub(r"^<\?xml\b[^>]*\?>", "", text)
        reader: ET.XMLPullParser[Any] = ET.XMLPullParser(["start", "end", "start-ns"])
        depth = 0
        try:
            reader.feed(text)
            reader.close()
            root: ET.Element | None = None
            for event, found in cast("Iterator[tuple[str, Any]]", reader.read_events()):
                if event == "start-ns":
                    prefix, uri = found
                    self._prefixes.setdefault(uri, prefix)
                    continue
                depth += 1 if event == "start" else -1
                root = found if root is None else root
                if depth > DEEPEST:
                    raise ValueError("elements are nested too deep")
        except ET.ParseError as error:
            raise ValueError("no XML") from error
        if root is None:
            raise ValueError("no element")
        return root

    def to_bytes(self) -> bytes:
        """The packet in UTF-8, read-write, without padding."""
        names: dict[str, str] = {}
        for uri in dict.fromkeys(self._namespaces()):
            wanted = PREFIXES.get(uri) or self._prefixes.get(uri) or "ns"
            prefix, number = wanted, 1
            while prefix in names.values() or prefix == "xml":
                number += 1
                prefix = f"{wanted}{number}"
            names[uri] = prefix
        declared = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for uri, prefix in names.items())
        return (HEAD + _written(self._root, {**names, XML: "xml"}, declared) + TAIL).encode()

    def _namespaces(self) -> Iterator[str]:
        for node in self._root.iter():
            for name in (node.tag, *node.attrib):
                if name.startswith("{") and not name.startswith(f"{{{XML}}}"):
                    yield name[1:].partition("}")[0]

    @property
    def empty(self) -> bool:
        """Whether no property is left."""
        own = {f"{{{RDF}}}about", "about"}
        return all(len(node) == 0 and set(node.attrib) <= own for node in self._descriptions())

    def _descriptions(self) -> list[ET.Element]:
        return self._rdf.findall(DESCRIPTION)

    def _remove(self, name: str) -> None:
        for node in self._descriptions():
            node.attrib.pop(name, None)
            for child in node.findall(name):
                node.remove(child)

    def _add(self, name: str) -> ET.Element:
        found = self._descriptions()
        home = found[0] if found else ET.SubElement(self._rdf, DESCRIPTION, {f"{{{RDF}}}about": ""})
        return ET.SubElement(home, name)

    def set_text(self, field: str, text: str) -> None:
        """Set a field of `TEXTS`, authors separated by `;`; an empty text removes it."""
        name, form = TEXTS[field]
        self._remove(name)
        parts = [part.strip() for part in text.split(";")] if form == SEQ else [text]
        if not any(parts):
            return
        node = self._add(name)
        if form == PLAIN:
            node.text = text
            return
        holder = ET.SubElement(node, form)
        for part in filter(None, parts):
            item = ET.SubElement(holder, f"{{{RDF}}}li", {f"{{{XML}}}lang": "x-default"} if form == ALT else {})
            item.text = part

    def keywords(self) -> list[str]:
        """The keywords in order."""
        items = (item for node in self._descriptions() for item in node.findall(f"{SUBJECT}//{{{RDF}}}li"))
        return [item.text for item in items if item.text]

    def set_keywords(self, words: Sequence[str]) -> None:
        """Replace the keywords; none removes the list."""
        self._remove(SUBJECT)
        if words:
            bag = ET.SubElement(self._add(SUBJECT), BAG)
            for word in words:
                ET.SubElement(bag, f"{{{RDF}}}li").text = word

    def dates(self) -> Mapping[str, str]:
        """Every date that stands as a plain property, as it is written, by property."""
        found = {}
        for name in (name for names in DATES.values() for name in names):
            for node in self._descriptions():
                text = node.get(name) or node.findtext(name)
                if text:
                    found[name] = text
        return found

    def set_date(self, name: str, text: str) -> None:
        """Set a property to a date of ISO 8601; an empty text removes it."""
        self._remove(name)
        if text:
            self._add(name).text = text

    def remove_place(self) -> None:
        """Take away every property, however deep, that tells coordinates."""
        for node in self._root.iter():
            for name in [name for name in node.attrib if _tells_place(name)]:
                del node.attrib[name]
            for child in [child for child in node if _tells_place(child.tag)]:
                node.remove(child)

    def set_place(self, position: Position) -> None:
        """Replace the coordinates."""
        self.remove_place()
        for name, value, letters in (("Latitude", position.latitude, "NS"), ("Longitude", position.longitude, "EW")):
            whole, minutes = divmod(round(abs(value) * 60, 8), 60)
            self._add(f"{{{EXIF}}}GPS{name}").text = f"{whole:.0f},{minutes:.8f}{letters[value < 0]}"
        if position.altitude is not None:
            self._add(f"{{{EXIF}}}GPSAltitudeRef").text = str(int(position.altitude < 0))
            self._add(f"{{{EXIF}}}GPSAltitude").text = f"{round(abs(position.altitude) * 100)}/100"


def _tells_place(name: str) -> bool:
    uri, _, local = name.rpartition("}")
    return bool(PLACE.search(local)) or uri.startswith("{" + GEO)


def _written(node: ET.Element, names: Mapping[str, str], declared: str = "") -> str:
    """An element as XML."""
    tag = _short(node.tag, names)
    attributes = "".join(f" {_short(name, names)}={quoteattr(value)}" for name, value in node.attrib.items())
    inside = escape(node.text or "") + "".join(_written(child, names) for child in node)
    tail = escape(node.tail or "")
    return f"<{tag}{declared}{attributes}>{inside}</{tag}>{tail}" if inside else f"<{tag}{declared}{attributes}/>{tail}"


def _short(name: str, names: Mapping[str, str]) -> str:
    uri, _, local = name.rpartition("}")
    return f"{names[uri[1:]]}:{local}" if uri else local
