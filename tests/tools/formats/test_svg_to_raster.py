"""SVG to raster: exact sizes, pixels computed by hand, and files built to do harm."""

import base64
import gzip
import io
import struct
import zlib
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import array_of, use

from darkroom_tools.errors import (
    DarkroomError,
    ImageTooComplex,
    InvalidImage,
    InvalidSettings,
    LimitExceeded,
    OutputTooLarge,
    UnsafeSvg,
)
from darkroom_tools.formats.svg_to_raster import svg_to_raster
from darkroom_tools.image import Image, Original
from darkroom_tools.kit.svg import clean_svg

HEAD = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RED, GREEN, BLUE = (255, 0, 0, 255), (0, 128, 0, 255), (0, 0, 255, 255)
CLEAR = (0, 0, 0, 0)


def svg(body: str = "", size: str = 'width="20" height="10"') -> bytes:
    return f"<svg {HEAD} {size}>{body}</svg>".encode()


def drawn(data: bytes, **asked: Any) -> Image:
    result = use(svg_to_raster, Original("svg", len(data), lambda: data), **{"dpi": 96, **asked})
    assert isinstance(result, Image)
    return result


def pixels(data: bytes, **asked: Any) -> np.ndarray:
    return array_of(drawn(data, **asked))


def embedded(picture: PIL.Image.Image, format: str = "PNG", **options: Any) -> str:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def test_shapes_are_where_they_are_said_to_be() -> None:
    body = '<rect width="10" height="10" fill="red"/><rect x="10" width="5" height="5" fill="#00f"/>'
    wanted = np.zeros((10, 20, 4), np.uint8)
    wanted[:, :10] = RED
    wanted[:5, 10:15] = BLUE
    assert (pixels(svg(body)) == wanted).all()


def test_a_disc_covers_its_area() -> None:
    body = '<circle cx="50" cy="50" r="40"/>'
    got = pixels(svg(body, 'width="100" height="100"'))
    assert abs(got[..., 3].sum() / 255 - np.pi * 40**2) < 10
    assert (got[50, 50] == (0, 0, 0, 255)).all()


@pytest.mark.parametrize(
    ("stated", "width", "height"),
    [
        ('width="20" height="10"', 20, 10),
        ('width="20px" height="10px"', 20, 10),
        ('width="72pt" height="36pt"', 96, 48),
        ('width="1in" height="0.5in"', 96, 48),
        ('width="25.4mm" height="2.54cm"', 96, 96),
        ('width="1pc" height="2em"', 16, 32),
        ('viewBox="0 0 30 40"', 30, 40),
        ('width="100%" height="100%" viewBox="5 5 30 40"', 30, 40),
        ('width="60" viewBox="0 0 30 40"', 60, 80),
        ('height="80" viewBox="0,0,30,40"', 60, 80),
        ('style="width: 2in; height:1in" width="5" height="5"', 192, 96),
        ("", 300, 150),
        ('width="40"', 40, 150),
    ],
)
def test_the_size_is_read_as_browsers_read_it(stated: str, width: int, height: int) -> None:
    got = drawn(svg("", stated))
    assert (got.width, got.height) == (width, height)


@pytest.mark.parametrize(
    ("asked", "width", "height"),
    [
        ({"dpi": 300}, 63, 31),
        ({"dpi": 96, "scale": 2.5}, 50, 25),
        ({"width": 333}, 333, 167),
        ({"height": 333}, 666, 333),
        ({"width": 100, "height": 100}, 100, 50),
        ({"width": 1000, "height": 10}, 20, 10),
        ({"width": 100, "scale": 8, "dpi": 2400}, 100, 50),
        ({"width": 1}, 1, 1),
    ],
)
def test_the_picture_has_exactly_the_size_asked_for_and_is_filled(asked: Any, width: int, height: int) -> None:
    got = pixels(svg('<rect width="100%" height="100%" fill="green"/>'), **asked)
    assert got.shape == (height, width, 4)
    assert (got == GREEN).all()


def test_300_dots_an_inch_is_the_default() -> None:
    data = svg("", 'width="96" height="192"')
    got = use(svg_to_raster, Original("svg", len(data), lambda: data))
    assert (got.width, got.height) == (300, 600)


def test_a_view_box_of_another_ratio_stays_centred() -> None:
    box = 'width="10" height="10" viewBox="0 0 10 5"'
    alpha = pixels(svg('<rect width="10" height="5"/>', box))[..., 3]
    assert (alpha[3:7] == 255).all()
    assert (alpha[[0, 1, 8, 9]] == 0).all()


def test_styles_of_the_file_cannot_change_the_size() -> None:
    got = pixels(svg('<style>svg{width:3px!important}</style><rect width="100%" height="100%"/>'))
    assert (got[..., 3] == 255).all()
    assert got.shape[:2] == (10, 20)


@pytest.mark.parametrize(
    ("background", "left", "right"),
    [
        ("#00000000", BLUE, CLEAR),
        ("#FF0000", BLUE[:3], RED[:3]),
        ("#FF000080", BLUE, (255, 0, 0, 128)),
    ],
)
def test_the_background_lies_under_the_drawing(background: str, left: Any, right: Any) -> None:
    got = pixels(svg('<rect width="10" height="10" fill="blue"/>'), background=background)
    assert (got[5, 2] == left).all()
    assert (got[5, 15] == right).all()


def test_the_format_and_quality_are_passed_on() -> None:
    jpeg = drawn(svg(), outputFormat="jpg", quality=70, backgroundColor="#ffffff")
    assert (jpeg.encoding.format, jpeg.encoding.quality) == ("jpeg", 70)
    png = drawn(svg())
    assert (png.encoding.format, png.encoding.quality) == ("png", None)


def test_text_is_drawn() -> None:
    got = pixels(svg('<text x="5" y="30" font-size="24" font-family="sans-serif">Hxg</text>', 'width="80" height="40"'))
    assert 200 < (got[..., 3] > 128).sum() < 800


def test_gradients_clips_filters_and_copies_are_drawn() -> None:
    body = """<defs><linearGradient id="g"><stop stop-color="#f00"/><stop offset="1" stop-color="#00f"/></linearGradient>
        <clipPath id="c"><rect width="10" height="10"/></clipPath><rect id="r" width="2" height="2"/>
        <filter id="f"><feFlood flood-color="lime"/></filter></defs>
        <rect width="20" height="8" fill="url(#g)" clip-path="url('#c')"/><use xlink:href="#r" x="15" y="1"/>
        <rect style="filter:url(#f)" x="12" y="6" width="4" height="4"/>"""
    got = pixels(svg(body))
    assert got[4, 1, 0] > 220
    assert 100 < got[4, 9, 0] < 150
    assert (got[4, 11] == 0).all()
    assert (got[2, 16] == (0, 0, 0, 255)).all()
    assert (got[8, 14] == (0, 255, 0, 255)).all()


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("attribute", ["href", "xlink:href"])
def test_pictures_inside_the_file_are_drawn(format: str, attribute: str) -> None:
    uri = embedded(PIL.Image.new("RGB", (8, 8), (0, 0, 250)), format)
    got = drawn(svg(f'<image width="10" height="10" {attribute}="{uri}"/>'))
    assert abs(int(array_of(got)[5, 5, 2]) - 250) < 3
    assert got.warnings == ()


def test_what_does_not_draw_goes_without_a_word() -> None:
    body = """<title>t</title><desc>d</desc><metadata><x:y xmlns:x="urn:x">z</x:y></metadata><!-- c -->
        <sodipodi:namedview xmlns:sodipodi="http://sodipodi.sourceforge.net/DTD/sodipodi-0.dtd" pagecolor="#fff"/>
        <rect data-name="x" aria-label="y" width="20" height="10" fill="blue"/>"""
    doctype = '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
    got = drawn(b"\xef\xbb\xbf" + f'<?xml version="1.0" encoding="UTF-8"?>{doctype}'.encode() + svg(body))
    assert (array_of(got) == BLUE).all()
    assert got.warnings == ()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("<script>alert(1)</script>", "script"),
        ("<SCRIPT>alert(1)</SCRIPT>", "script"),
        ('<rect onload="alert(1)" width="1" height="1"/>', "script"),
        ('<set attributeName="x" to="1"/><animate/>', "animation"),
        ('<foreignObject><p xmlns="http://www.w3.org/1999/xhtml">x</p></foreignObject>', "embedded page"),
        ('<iframe xmlns="http://www.w3.org/1999/xhtml" src="http://x"/>', "embedded page"),
        ('<image href="file:///etc/passwd"/>', "linked image"),
        ('<image href="http://x.example/a.png"/>', "linked image"),
        ('<image href="data:image/svg+xml;base64,PHN2Zy8+"/>', "embedded image"),
        ('<image href="data:text/html;base64,PHN2Zy8+"/>', "embedded image"),
        ('<use href="other.svg#a"/>', "link"),
        ('<use href="http://x.example/a.svg#a"/>', "link"),
        ('<a href="javascript:alert(1)"><g/></a>', "link"),
        ('<rect fill="url(http://x.example/a#b)"/>', "link"),
        ('<rect style="fill:url(file:///etc/passwd)"/>', "link"),
        ('<rect style="fill:u\\72l(http://x.example/)"/>', "link"),
        ("<style>rect{fill:\\75\\72\\6c (http://x.example/)}</style>", "link"),
        ("<style>rect{fill:url( 'http://x.example/' )}</style>", "link"),
        ("<style>@import url(http://x.example/a.css);</style>", "stylesheet link"),
        ("<style>@IMPORT 'a.css';</style>", "stylesheet link"),
        ('<filter id="a"><feImage href="http://x.example/a.png"/></filter>', "linked image"),
    ],
)
def test_what_acts_or_comes_from_elsewhere_is_removed_and_named(body: str, named: str) -> None:
    data = svg(body + '<rect width="20" height="10" fill="#00f"/>')
    got = drawn(data)
    assert got.warnings[0].startswith("Removed before drawing: ")
    assert named in got.warnings[0]
    kept = clean_svg(data).sized(20, 10).decode()
    for word in ("script", "alert", "x.example", "passwd", "iframe", "other.svg", "@import", "\\72"):
        assert word not in kept.lower()


def test_a_linked_stylesheet_is_removed_and_named() -> None:
    got = drawn(b'<?xml-stylesheet href="http://x.example/a.css"?>' + svg())
    assert "stylesheet link" in got.warnings[0]


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE svg [<!ENTITY % p SYSTEM "http://x.example/p.dtd"> %p;]>',
        '<!DOCTYPE svg SYSTEM "http://x.example/x.dtd">',
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "a" [<!ATTLIST svg onload CDATA "x">]>',
        '<!DOCTYPE svg PUBLIC "-//X//DTD SVG 1.1//EN" "http://x.example/x.dtd">',
        '<?xml version="1.0" encoding="UTF-7"?>',
        '<?xml version="1.0" encoding="ISO-8859-1"?>',
    ],
)
def test_entities_document_types_and_other_encodings_are_refused(head: str) -> None:
    with pytest.raises(UnsafeSvg) as refused:
        drawn(head.encode() + svg())
    assert (refused.value.code, refused.value.status) == ("UNSAFE_SVG", 400)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-be"])
def test_files_that_are_not_utf8_are_refused(encoding: str) -> None:
    with pytest.raises((UnsafeSvg, InvalidImage)):
        drawn(svg().decode().encode(encoding))


def copies_of_copies() -> str:
    nested = "".join(f'<g id="l{n}">' + f'<use href="#l{n - 1}"/>' * 10 + "</g>" for n in range(1, 9))
    return f'<defs><g id="l0"><rect width="1" height="1"/></g>{nested}</defs><use href="#l8"/>'


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (copies_of_copies(), "copies"),
        ('<rect id="r" width="1" height="1"/>' + '<use href="#r"/>' * 10_001, "copies"),
        ('<g id="a"><use href="#a"/></g>', "contain themselves"),
        ('<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>', "contain themselves"),
        ('<use id="a" href="#b"/><use id="b" href="#a"/>', "contain themselves"),
        ("<g>" * 5_000 + "</g>" * 5_000, "100 deep"),
        ("<g/>" * 50_001, "50,000 elements"),
        ("<x/>" * 50_001, "50,000 elements"),
        ("<filter id='a'>" + "<feGaussianBlur stdDeviation='9'/>" * 21 + "</filter>", "20 steps"),
        ("<filter/>" * 51, "50 filters"),
    ],
)
def test_what_would_take_too_long_is_refused_before_it_is_drawn(body: str, words: str) -> None:
    with pytest.raises(ImageTooComplex) as refused:
        clean_svg(svg(body))
    assert words in refused.value.message
    assert (refused.value.code, refused.value.status) == ("IMAGE_TOO_COMPLEX", 422)


def test_twenty_steps_of_a_filter_and_ten_thousand_copies_are_allowed() -> None:
    clean_svg(svg('<rect id="r"/>' + '<use href="#r"/>' * 10_000))
    clean_svg(svg(f"<filter id='a'>{'<feOffset/>' * 20}</filter>" * 50))


@pytest.mark.parametrize("side", ["1e9", "1e300", "30000", "16385"])
def test_a_huge_declared_size_is_refused_before_a_pixel_is_drawn(side: str) -> None:
    with pytest.raises((OutputTooLarge, InvalidImage)):
        drawn(svg("", f'width="{side}" height="{side}"'))


@pytest.mark.parametrize("size", ['width="0" height="10"', 'width="0.0" height="10"'])
def test_a_drawing_without_extent_is_no_picture(size: str) -> None:
    with pytest.raises(InvalidImage):
        drawn(svg("", size))


def png_of(width: int, height: int, *chunks: tuple[bytes, bytes]) -> str:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * height)) if width * height < 1e6 else b""
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def test_a_picture_bomb_inside_a_drawing_is_refused_by_its_header() -> None:
    with pytest.raises(ImageTooComplex):
        clean_svg(svg(f'<image href="{png_of(10_000, 10_000)}"/>'))
    with pytest.raises(ImageTooComplex):
        clean_svg(svg(f'<image href="{png_of(4_000, 4_000)}"/>' * 2))


def test_of_a_picture_inside_only_the_pixels_are_kept() -> None:
    text = (b"zTXt", b"k\0\0" + zlib.compress(bytes(10_000_000)))
    kept = clean_svg(svg(f'<image href="{png_of(4, 4, text)}"/>')).sized(9, 9)
    assert b"zTXt" not in base64.b64decode(kept.split(b"base64,")[1].split(b'"')[0])
    assert (
        array_of(drawn(svg(f'<image href="{png_of(4, 4, text)}" width="9" height="9"/>')))[4, 4] == (0, 0, 0, 255)
    ).all()


@pytest.mark.parametrize(
    "half",
    [
        "@",
        "@a{",
        "url(",
        "url(#",
        "url( ",
        "url('",
        "/*",
        "\\75",
        "\\",
        "{",
        "url(#a) ",
        "a{b:url (",
        "1",
        " ",
        "@import",
        "src ",
    ],
)
def test_masses_of_half_a_pattern_are_read_once(half: str) -> None:
    """Where a search starts again at every place, this takes hours."""
    much = half * (300_000 // len(half))
    clean_svg(svg(f"<style>{much}{{</style><rect style='{much.replace(chr(39), ' ')}'/>", "width='2' height='2'"))
    clean_svg(svg("", f'width="{much.replace(chr(34), " ")}" style="{much}"'))


def test_a_file_over_five_megabytes_is_refused() -> None:
    with pytest.raises(LimitExceeded) as refused:
        drawn(svg(f"<!--{'x' * 5_000_000}-->"))
    assert (refused.value.code, refused.value.status) == ("FILE_TOO_LARGE", 413)


@pytest.mark.parametrize("data", [b"<svg><rect></svg>", b"<svg", b"<html><svg/></html>", b"", gzip.compress(svg())])
def test_what_is_no_svg_is_a_clear_error(data: bytes) -> None:
    with pytest.raises((InvalidImage, UnsafeSvg)):
        drawn(data)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_and_any_value_stay_inside_their_place(text: str, value: str) -> None:
    """Whatever stands in a file, what is handed on is well-formed and holds allowed elements only."""
    from xml.sax.saxutils import escape, quoteattr

    body = f"<text id={quoteattr(value)} fill={quoteattr(value)} style={quoteattr(value)}>{escape(text)}</text>"
    try:
        kept = clean_svg(svg(f"<style>{escape(value)}</style>{body}", f"class={quoteattr(value)}")).sized(10, 10)
    except DarkroomError:
        return
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(kept).iter()}
    assert names <= {"svg", "style", "text"}


@given(st.floats(0.01, 5000), st.floats(0.01, 5000), st.integers(1, 300))
def test_any_size_keeps_its_ratio_to_half_a_pixel(width: float, height: float, asked: int) -> None:
    got = drawn(svg("", f'width="{width}" height="{height}"'), width=asked, height=asked)
    assert max(got.width, got.height) == asked
    scale = asked / max(width, height)
    assert abs(min(got.width, got.height) - max(1, min(width, height) * scale)) <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"format": "bmp"}, "png"),
        ({"width": 0}, "width"),
        ({"width": 65537}, "65536"),
        ({"scale": 0}, "scale"),
        ({"scale": 65}, "64"),
        ({"dpi": 35}, "36"),
        ({"dpi": 2401}, "2400"),
        ({"background": "red"}, "#RRGGBBAA"),
        ({"quality": 101}, "quality"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        svg_to_raster.settings.parse(asked)
    assert words in refused.value.message


LOGO = """<defs><radialGradient id="g"><stop stop-color="#ffd54a"/><stop offset="1" stop-color="#e85d04"/></radialGradient>
<mask id="m"><rect width="160" height="160" fill="#fff"/><circle cx="100" cy="60" r="40" fill="#000"/></mask></defs>
<circle cx="80" cy="80" r="70" fill="url(#g)" mask="url(#m)"/>
<path d="M20 140 Q80 100 140 140" stroke="#1d3557" stroke-width="8" fill="none" stroke-linecap="round"/>"""


def test_what_it_looks_like(golden: Any) -> None:
    logo = svg(LOGO, 'viewBox="0 0 160 160"')
    golden(pixels(logo, width=120, background="#F1FAEE"), "svg-logo", tolerance=6)
