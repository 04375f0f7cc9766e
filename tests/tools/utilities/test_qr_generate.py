"""QR codes: read back by a reader of another maker, module by module, in every style."""

import io
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import segno
import zxingcpp
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import DirectRun, gradient, picture, use

from darkroom_tools.base import File, Image
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.utilities.qr_generate import qr_generate

URL = "https://example.com/some/path?x=1"
DOT_STYLES = ["square", "rounded", "dots", "classy", "classy-rounded", "extra-rounded"]
CORNER_STYLES = ["square", "rounded", "dot", "extra-rounded"]


def made(logo: Image | None = None, data: str = URL, **asked: Any) -> File:
    file = use(qr_generate, *([logo] if logo else []), run=DirectRun(), data=data, **asked)
    assert isinstance(file, File)
    return file


def seen(file: File) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(file.data))


def grey(file: File) -> np.ndarray:
    """The code as it looks on white paper."""
    colour = seen(file).convert("RGBA")
    return np.asarray(PIL.Image.alpha_composite(PIL.Image.new("RGBA", colour.size, "white"), colour).convert("L"))


def text_in(file: File) -> str:
    (code,) = zxingcpp.read_barcodes(grey(file))
    return str(code.text)


@pytest.mark.parametrize("level", ["L", "M", "Q", "H"])
def test_every_module_is_that_of_an_independent_encoder(level: str) -> None:
    theirs = np.array(segno.make(URL, error=level, micro=False, boost_error=False).matrix, bool)
    count = len(theirs)
    file = made(errorCorrectionLevel=level, size=(count + 8) * 6)
    modules = grey(file)[3::6, 3::6] < 128
    assert (modules[4:-4, 4:-4] == theirs).all()
    assert modules.sum() == theirs.sum()
    assert file.facts == {"scans": True, "errorCorrectionLevel": level, "modules": count}
    (code,) = zxingcpp.read_barcodes(grey(file))
    assert code.ec_level == level


@pytest.mark.parametrize("size", [100, 333, 400, 1001])
def test_the_side_is_exact_the_edges_sharp_and_the_code_in_the_middle(size: int) -> None:
    got = grey(made(data="x", size=size))
    assert got.shape == (size, size)
    assert set(np.unique(got)) == {0, 255}
    rows, columns = np.nonzero(got == 0)
    before, after = rows.min(), size - 1 - rows.max()
    assert abs(int(before) - int(after)) <= 1
    assert (rows.min(), rows.max()) == (columns.min(), columns.max())


@pytest.mark.parametrize("margin", [0, 1, 4, 20, 64])
def test_the_margin_is_at_least_that_many_modules(margin: int) -> None:
    got = grey(made(data="x", size=600, margin=margin))
    start = int(np.nonzero(got == 0)[0].min())
    module = (600 - 2 * start) / 21
    assert margin * int(module) <= start < (margin + 1) * module + 21


@pytest.mark.parametrize("dots", DOT_STYLES)
@pytest.mark.parametrize("corners", CORNER_STYLES)
def test_every_style_is_read(dots: str, corners: str) -> None:
    for inside in ("square", "rounded", "dot"):
        assert text_in(made(dotStyle=dots, cornerStyle=corners, cornerDotStyle=inside, size=300)) == URL


def test_every_style_looks_different() -> None:
    assert len({made(dotStyle=style).data for style in DOT_STYLES}) == 6
    assert len({made(cornerStyle=style).data for style in CORNER_STYLES}) == 4
    assert len({made(cornerDotStyle=style).data for style in ("square", "rounded", "dot")}) == 3


def test_a_dot_covers_its_circle_and_an_eye_its_ring() -> None:
    lone = segno.make("x", error="M", micro=False, boost_error=False).matrix
    dots = 255 - grey(made(data="x", dotStyle="dots", cornerStyle="dot", cornerDotStyle="dot", size=29 * 40)).astype(
        float
    )
    ring = dots[4 * 40 : 11 * 40, 4 * 40 : 11 * 40].sum() / 255 / 1600
    assert abs(ring - np.pi * (3.5**2 - 2.5**2 + 1.5**2)) < 0.1
    y, x = next((y, x) for y in range(9, 12) for x in range(9, 12) if lone[y][x])
    module = dots[(y + 4) * 40 : (y + 5) * 40, (x + 4) * 40 : (x + 5) * 40]
    assert abs(module.sum() / 255 / 1600 - np.pi / 4) < 0.01


def test_colours_are_those_asked_for() -> None:
    got = np.asarray(seen(made(foreground="#102060", background="#FFEECC")).convert("RGB"))
    assert {tuple(color) for color in got.reshape(-1, 3)} == {(0x10, 0x20, 0x60), (0xFF, 0xEE, 0xCC)}


def test_black_on_white_is_a_grey_picture() -> None:
    assert seen(made()).mode == "L"


def test_a_transparent_ground_stays_transparent_and_is_said() -> None:
    file = made(colorLight="#FFFFFF00")
    assert np.asarray(seen(file))[0, 0, 3] == 0
    assert text_in(file) == URL
    assert "transparent" in file.warnings[0]


@pytest.mark.parametrize(("format", "extension"), [("png", "png"), ("jpg", "jpg"), ("webp", "webp")])
def test_every_format_of_pixels_is_read(format: str, extension: str) -> None:
    file = made(format=format)
    assert file.extension == extension
    assert text_in(file) == URL


def test_an_svg_is_small_and_its_rendering_is_read() -> None:
    file = made(format="svg", size=500, dotStyle="dots")
    root = ElementTree.fromstring(file.data)
    assert (file.media_type, root.attrib["width"], root.attrib["height"]) == ("image/svg+xml", "500", "500")
    assert len(file.data) < 60_000
    assert file.facts["scans"] is True


@pytest.mark.parametrize("share", [0.05, 0.22, 0.3])
@pytest.mark.parametrize("shape", [(90, 90, 3), (40, 120, 4), (300, 100, 1)])
def test_a_logo_in_the_middle_does_not_keep_it_from_being_read(share: float, shape: Any) -> None:
    logo = picture(gradient(shape[1], shape[0], shape[2]))
    file = made(logo, size=600, logoSize=share)
    assert file.facts["errorCorrectionLevel"] == "H"
    assert text_in(file) == URL


def test_the_logo_has_its_share_of_the_side_and_its_own_colours() -> None:
    logo = picture(np.full((50, 50, 3), (200, 30, 30), np.uint8))
    file = made(logo, size=41 * 16, logoSize=0.2)
    got = np.asarray(seen(file).convert("RGB")).astype(int)
    red = np.abs(got - (200, 30, 30)).max(axis=-1) < 6
    rows, columns = np.nonzero(red)
    side = 33 * 16 * 0.2
    assert abs(rows.max() - rows.min() + 1 - side) <= 2
    assert abs(rows.max() + rows.min() - 41 * 16) <= 2
    assert abs(columns.max() + columns.min() - 41 * 16) <= 2


def test_a_logo_raises_the_level_and_says_so_where_another_was_asked_for() -> None:
    logo = picture(gradient(60, 60))
    assert made(logo).warnings == ()
    assert "always H" in made(logo, errorCorrectionLevel="L").warnings[0]


@pytest.mark.parametrize("frames", [picture(np.zeros((3, 40, 40, 3), np.uint8), "gif", delay=[1, 2, 3])])
def test_of_an_animated_logo_the_first_frame_is_taken(frames: Image) -> None:
    assert text_in(made(frames, size=500)) == URL


def test_a_logo_of_16_bits_is_taken() -> None:
    assert text_in(made(picture(gradient(50, 50, 4, np.uint16)), size=500)) == URL


def test_an_svg_holds_its_logo_inside() -> None:
    data = made(picture(gradient(60, 60)), format="svg").data.decode()
    assert data.count("data:image/png;base64,") == 1
    assert "http" not in data.replace("http://www.w3.org/", "")


@pytest.mark.parametrize(
    ("asked", "advice"),
    [
        ({"colorDark": "#777777", "colorLight": "#787878"}, "colours further apart"),
        ({"colorDark": "#FFFFFF", "colorLight": "#FFFFFF00"}, "colours further apart"),
    ],
)
def test_a_code_that_cannot_be_read_is_not_handed_out(asked: Any, advice: str) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read") as refused:
        made(**asked)
    assert advice in refused.value.message


def test_a_logo_that_hides_too_much_is_refused_with_what_to_change() -> None:
    with pytest.raises(InvalidSettings, match="smaller 'logoSize' than 0.4"):
        made(picture(gradient(60, 60)), logoSize=0.4)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"colorDark": "#999999"}, "close to each other"),
        ({"colorDark": "#FFFFFF", "colorLight": "#000000"}, "opposite"),
        ({"margin": 1}, "quiet zone"),
    ],
)
def test_what_a_camera_may_find_hard_is_a_warning(asked: Any, words: str) -> None:
    assert words in made(**asked).warnings[0]


@pytest.mark.parametrize(
    "data", ["12345", "HELLO WORLD", "漢字テスト", "äöü ß €", "a\nb\r\n\tc", "WIFI:T:WPA;S:x;P:y;;", "é", "x" * 2000]
)
def test_any_kind_of_text_comes_back_whole(data: str) -> None:
    assert text_in(made(data=data, size=1000, errorCorrectionLevel="L")) == data


@settings(max_examples=15)
@given(st.text(min_size=1, max_size=120))
def test_any_text_comes_back_whole_or_is_refused(data: str) -> None:
    (code,) = zxingcpp.read_barcodes(grey(made(data=data, size=600)))
    assert code.bytes == data.encode()


def test_a_text_too_long_for_its_level_is_refused_with_the_numbers() -> None:
    with pytest.raises(InvalidSettings, match="1999 bytes; at level H a QR code holds about 1273"):
        made(data="x" * 1999, errorCorrectionLevel="H", size=1000)


def test_a_code_too_large_for_its_side_is_refused_with_the_side_it_needs() -> None:
    with pytest.raises(InvalidSettings, match="'size' of at least 169"):
        made(data="x" * 1900, size=150)


def test_ten_thousand_pixels_a_side_are_made() -> None:
    assert seen(made(data="x", size=10_000)).size == (10_000, 10_000)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "data"),
        ({"data": ""}, "data"),
        ({"data": "x" * 2001}, "2000"),
        ({"data": "x", "size": 99}, "100"),
        ({"data": "x", "margin": 65}, "64"),
        ({"data": "x", "colorDark": "#00000080"}, "#RRGGBB"),
        ({"data": "x", "errorCorrection": "X"}, "errorCorrectionLevel"),
        ({"data": "x", "dotStyle": "stars"}, "rounded"),
        ({"data": "x", "cornerStyle": "dots"}, "dot"),
        ({"data": "x", "logoSize": 0.5}, "0.4"),
        ({"data": "x", "format": "gif"}, "png"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        qr_generate.settings.parse(asked)
    assert words in refused.value.message


@pytest.mark.parametrize("style", DOT_STYLES)
def test_what_it_looks_like(golden: Any, style: str) -> None:
    corners = {"square": "square", "dots": "dot", "classy": "rounded", "rounded": "rounded"}.get(style, "extra-rounded")
    file = made(
        data="Darkroom", size=174, dotStyle=style, cornerStyle=corners, cornerDotStyle="dot", colorDark="#1D3557"
    )
    golden(np.asarray(seen(file).convert("RGB")), f"qr-{style}", tolerance=6)
