"""The type of a file by its first bytes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from darkroom.engine.sniff import DOCUMENTS, FORMATS, HEAD_BYTES, READ_ONLY, kind_of, sniff
from darkroom_tools.errors import InvalidImage, UnsupportedFormat
from darkroom_tools.kit.format_rules import WRITTEN, written_as


def head_of(format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8), "red").save(buffer, format, **options)
    return buffer.getvalue()[:HEAD_BYTES]


@pytest.mark.parametrize(
    ("format", "name"),
    [
        *((format, format) for format in ("jpeg", "png", "webp", "gif", "tiff", "avif", "bmp", "ico", "qoi")),
        ("jpeg2000", "jp2"),
        ("ppm", "pnm"),
    ],
)
def test_files_by_another_library_are_told_by_their_leading_bytes(format: str, name: str) -> None:
    assert sniff(head_of(format)) == name
    assert sniff(head_of(format)[:64]) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"P1\n2 2\n1 0 0 1", "pnm"),
        (b"P5 # made by hand\n# and again\n 4 4\n255\n", "pnm"),
        (b"Pf\n4 4\n-1.0\n", "pnm"),
        (b"\xff\x4f\xff\x51\0\x2f", "jp2"),
        (b"8BPS\0\1", "psd"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "bmp"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "heic"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg"),
        (b"\xef\xbb\xbf  <SVG>", "svg"),
        (b"<?xml version='1.0'?><svg/>", "svg"),
        (b"%PDF-1.7", "pdf"),
    ],
)
def test_headers_are_told_by_what_their_standard_says(head: bytes, name: str) -> None:
    assert sniff(head) == name


@pytest.mark.parametrize("head", [b"BMI is 22", b"P5 is a suite", b"P3", b"\0\0\1\0\0\0", b"Pf\n4\n", b"qoi"])
def test_a_few_letters_alone_are_no_format(head: bytes) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        sniff(head)
    assert caught.value.details["got"] == "unknown"


@pytest.mark.parametrize("format", sorted([*FORMATS, *READ_ONLY]))
def test_each_format_has_a_name_outside_and_one_that_is_written(format: str) -> None:
    assert kind_of(format).media_type.startswith("image/")
    assert written_as(format) in FORMATS
    assert (written_as(format) == format) == (format in FORMATS)


def test_what_has_a_name_as_a_file_is_what_tools_may_ask_for() -> None:
    assert set(FORMATS) == WRITTEN


def test_photos_that_are_not_written_become_jpeg() -> None:
    assert written_as("heic") == "jpeg"
    assert written_as("psd") == "png"


@pytest.mark.parametrize("head", [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"])
def test_both_byte_orders_and_sizes_of_tiff_are_known(head: bytes) -> None:
    assert sniff(head) == "tiff"


def test_an_av1_file_under_the_general_heif_brand_is_heif() -> None:
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "heif"
    assert sniff(b"\0\0\0\x1cftypavis\0\0\0\0avifavismsf1") == "avif"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "video"),
        (b"<?xml version='1.0'?><gpx/>", "xml"),
        (b"<!DOCTYPE html><html>", "html"),
        (b"\xff\x0a\xfa\x1f", "jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
        (b"DDS \x7c\0\0\0", "dds"),
        (b"II*\0\x10\0\0\0CR\2\0", "raw"),
        (b"PK\x03\x04", "zip"),
        (b"RIFF\0\0\0\0WAVE", "unknown"),
        (b"hello, world", "unknown"),
        (b"\xff\xd8", "unknown"),
    ],
)
def test_other_types_are_refused_by_name_with_what_is_read(head: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        sniff(head)
    assert caught.value.details["got"] == name
    assert caught.value.details["allowed"] == sorted([*FORMATS, *READ_ONLY])
    assert all(format in caught.value.message for format in (*FORMATS, *READ_ONLY))


def test_an_empty_file_has_its_own_code() -> None:
    with pytest.raises(InvalidImage) as caught:
        sniff(b"")
    assert caught.value.code == "EMPTY_FILE"


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_have_a_known_type_or_a_public_error(head: bytes) -> None:
    try:
        assert sniff(head) in {*FORMATS, *READ_ONLY, *DOCUMENTS}
    except (InvalidImage, UnsupportedFormat) as error:
        assert error.message.endswith(".")
