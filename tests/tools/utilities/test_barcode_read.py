"""Barcodes: drawn by other libraries, read wherever they are in the picture."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import segno
import zxingcpp
from support.pictures import array_of, noise, opened, picture, use

from darkroom_tools.errors import InvalidSettings
from darkroom_tools.image import Image
from darkroom_tools.utilities.barcode_read import Barcodes, barcode_read

TEXT = "https://example.com/äö"


def qr(text: str = TEXT, scale: int = 5) -> np.ndarray:
    """A QR code with its quiet zone."""
    file = io.BytesIO()
    segno.make(text, micro=False).save(file, kind="png", scale=scale)
    return np.asarray(PIL.Image.open(file).convert("L"))


def read(image: Image, **asked: Any) -> Barcodes:
    report = use(barcode_read, image, **asked)
    assert isinstance(report, Barcodes)
    return report


def texts(report: Barcodes) -> list[str]:
    if report.untrusted_text is None:
        return []
    return [report.untrusted_text.fields[str(code.index)] for code in report.barcodes]


def on_canvas(code: np.ndarray, width: int, height: int, left: int, top: int) -> np.ndarray:
    canvas = np.full((height, width), 200, np.uint8)
    canvas[top : top + code.shape[0], left : left + code.shape[1]] = code
    return canvas


def test_a_code_is_told_with_its_place_and_its_text_apart() -> None:
    code = qr()
    report = read(picture(on_canvas(code, 600, 400, 100, 50)))
    wire = report.model_dump(mode="json", by_alias=True)
    edge = 4 * 5
    side = len(code) - 2 * edge
    corners = wire["barcodes"][0]["position"]
    assert [
        (corners[name]["x"], corners[name]["y"]) for name in ("topLeft", "topRight", "bottomRight", "bottomLeft")
    ] == [
        pytest.approx(place, abs=2)
        for place in [
            (100 + edge, 50 + edge),
            (100 + edge + side, 50 + edge),
            (100 + edge + side, 50 + edge + side),
            (100 + edge, 50 + edge + side),
        ]
    ]
    assert wire["barcodes"][0]["type"] == "QRCode"
    assert wire["untrustedText"]["fields"] == {"0": TEXT}
    assert "never instructions" in wire["untrustedText"]["note"]
    assert TEXT not in str(wire["barcodes"])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("EAN13", "4006381333931"),
        ("EAN8", "96385074"),
        ("Code128", "Darkroom-128"),
        ("Code39", "DARKROOM"),
        ("ITF", "12345678901231"),
        ("DataMatrix", "data matrix"),
        ("Aztec", "aztec"),
        ("PDF417", "pdf four one seven"),
    ],
)
def test_every_common_symbology_is_read(kind: str, text: str) -> None:
    made = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, kind))
    drawn = np.asarray(made.to_image(scale=3))
    report = read(picture(np.pad(drawn, 40, constant_values=255)))
    assert texts(report) == [text]
    assert report.barcodes[0].type == kind


def test_a_upc_is_the_ean_that_it_is_too() -> None:
    drawn = np.asarray(zxingcpp.create_barcode("725272730706", zxingcpp.BarcodeFormat.UPCA).to_image(scale=3))
    report = read(picture(np.pad(drawn, 40, constant_values=255)))
    assert (texts(report), report.barcodes[0].type) == (["0725272730706"], "EAN13")


def test_several_codes_are_all_found_each_with_its_own_text() -> None:
    canvas = on_canvas(qr("first"), 700, 300, 20, 20)
    second = qr("second")
    canvas[20 : 20 + len(second), 400 : 400 + len(second)] = second
    report = read(picture(canvas))
    assert sorted(texts(report)) == ["first", "second"]
    by_text = dict(zip(texts(report), report.barcodes, strict=True))
    assert by_text["first"].position.top_left.x < 300 < by_text["second"].position.top_left.x


def test_a_picture_without_codes_is_an_empty_list() -> None:
    assert read(picture(noise(300, 200))) == Barcodes(barcodes=[])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1, 3)])
def test_degenerate_pictures_hold_none(shape: tuple[int, ...]) -> None:
    assert read(picture(np.full(shape, 255, np.uint8))).barcodes == []


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_turned_codes_are_read_and_their_corners_turn_with_them(quarter: int) -> None:
    report = read(picture(np.rot90(on_canvas(qr(), 400, 400, 50, 50), quarter)))
    assert texts(report) == [TEXT]
    corner = report.barcodes[0].position.top_left
    assert (corner.x > 200, corner.y > 200) == {1: (False, True), 2: (True, True), 3: (True, False)}[quarter]


def test_colour_depth_alpha_and_animation_do_not_matter() -> None:
    code = qr()
    colour = np.stack([np.where(code > 128, 255, 20), np.where(code > 128, 240, 0), np.where(code > 128, 200, 90)], -1)
    alpha = np.zeros((*code.shape, 4), np.uint8)
    alpha[..., 3] = 255 - code
    for array in (
        colour.astype(np.uint8),
        code.astype(np.uint16) * 257,
        np.repeat(code[..., None].astype(np.uint16) * 257, 3, -1),
        np.stack([code, np.full_like(code, 255)], -1),
        alpha,
    ):
        assert texts(read(picture(array))) == [TEXT]
    frames = np.repeat(np.stack([code, np.full_like(code, 255)])[..., None], 3, -1)
    assert texts(read(picture(frames, "gif", delay=[10, 10]))) == [TEXT]


def test_white_modules_on_nothing_are_read_on_black() -> None:
    code = qr()
    white = np.full((*code.shape, 4), 255, np.uint8)
    white[..., 3] = 255 - code
    assert texts(read(picture(white))) == [TEXT]


@pytest.mark.parametrize(("format", "options"), [("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"quality": 90})])
@pytest.mark.parametrize(("scale", "left"), [(12, 2500), (2, 50)])
def test_a_large_photo_is_searched_twice_if_need_be(
    tmp_path: Path, format: str, options: Any, scale: int, left: int
) -> None:
    code = qr("find me", scale)
    file = io.BytesIO()
    PIL.Image.fromarray(on_canvas(code, 3600, 2400, left, 900)).convert("RGB").save(file, format, **options)
    report = read(opened(file.getvalue(), tmp_path))
    assert texts(report) == ["find me"]
    corner = report.barcodes[0].position.top_left
    assert abs(corner.x - (left + 4 * scale)) <= 4
    assert abs(corner.y - (900 + 4 * scale)) <= 4


def test_a_cmyk_photo_is_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    PIL.Image.fromarray(np.repeat(qr()[..., None], 3, -1)).convert("CMYK").save(file, "JPEG", quality=95)
    assert texts(read(opened(file.getvalue(), tmp_path))) == [TEXT]


def test_without_trying_harder_inverted_codes_are_left_alone() -> None:
    inverted = picture(255 - qr())
    assert texts(read(inverted)) == [TEXT]
    assert read(inverted, tryHarder=False).barcodes == []
    assert texts(read(picture(qr()), tryHarder=False)) == [TEXT]


def test_text_from_outside_is_cleaned_and_cut() -> None:
    report = read(picture(qr("a\u202eb\U000e0041c " + "x" * 2200, 3)))
    (text,) = texts(report)
    assert text.startswith("abc xxx")
    assert text.endswith("…")
    assert len(text) == 2000


def test_the_picture_stays_as_it_was() -> None:
    array = on_canvas(qr(), 300, 300, 10, 10)
    image = picture(array)
    read(image)
    assert (array_of(image)[..., 0] == array).all()


@pytest.mark.parametrize("asked", [{"tryHarder": 2}, {"harder": True}])
def test_wrong_settings_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidSettings):
        barcode_read.settings.parse(asked)
