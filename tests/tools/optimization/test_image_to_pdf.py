"""Image to PDF: read by pikepdf, drawn by PDFium."""

import functools
import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pikepdf
import PIL.Image
import PIL.ImageOps
import pypdfium2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from support.codec import builtin_profile, bytes_of, difference, photo
from support.pictures import DirectRun, gradient, noise, opened, picture, use

from darkroom_tools.base import File, Image
from darkroom_tools.errors import Cancelled, InvalidImage, InvalidSettings
from darkroom_tools.optimization.image_to_pdf import image_to_pdf, page_sizes

PHOTO = photo(96, 64)
TWELVE = PHOTO.resize((120, 80))


def pdf_of(*images: Image, run: DirectRun | None = None, **settings: Any) -> File:
    made = use(image_to_pdf, list(images), run=run, **settings)
    assert isinstance(made, File)
    assert (made.media_type, made.extension) == ("application/pdf", "pdf")
    with pikepdf.open(io.BytesIO(made.data)) as document:
        assert document.check_pdf_syntax() == []
        assert len(document.pages) == len(images)
    return made


@functools.lru_cache(4)
def parsed(data: bytes) -> pikepdf.Pdf:
    """The document, kept: its objects vanish with it."""
    return pikepdf.open(io.BytesIO(data))


def stored(made: File, page: int = 0) -> Any:
    """The picture of a page, as pikepdf sees it."""
    return parsed(made.data).pages[page].Resources.XObject.P


def drawn(made: File, page: int = 0, scale: float = 1.0) -> np.ndarray:
    """A page as PDFium draws it, RGB."""
    return np.asarray(pypdfium2.PdfDocument(made.data)[page].render(scale=scale).to_pil().convert("RGB"))


def file(folder: Path, image: PIL.Image.Image, format: str = "jpeg", **options: Any) -> Image:
    return opened(bytes_of(image, format, **options), folder)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (595.28, 841.89)),
        ({"pageSize": "Letter"}, (612, 792)),
        ({"pageSize": "A3", "orientation": "landscape"}, (1190.55, 841.89)),
        ({"pageSize": "A5"}, (419.53, 595.28)),
        ({"pageSize": "Legal", "orientation": "landscape"}, (1008, 612)),
        ({"pageSize": "original"}, (96, 64)),
        ({"pageSize": "original", "orientation": "portrait", "margin": 7.5}, (111, 79)),
    ],
)
def test_pages_have_the_size_that_was_asked_for(tmp_path: Path, settings: Any, size: tuple[float, float]) -> None:
    made = pdf_of(file(tmp_path, PHOTO), **settings)
    with pikepdf.open(io.BytesIO(made.data)) as document:
        assert [float(side) for side in document.pages[0].MediaBox] == [0, 0, *size]


def test_page_sizes_are_those_of_the_standards() -> None:
    millimetres = {
        "A3": (297, 420),
        "A4": (210, 297),
        "A5": (148, 210),
        "Letter": (215.9, 279.4),
        "Legal": (215.9, 355.6),
    }
    for name, sides in millimetres.items():
        assert page_sizes()[name] == pytest.approx([side / 25.4 * 72 for side in sides], abs=0.01)


def test_pictures_become_pages_in_their_order(tmp_path: Path) -> None:
    colors = ["red", "lime", "blue"]
    run = DirectRun()
    images = [picture(np.asarray(PIL.Image.new("RGB", (30, 20), color)), "png") for color in colors]
    made = pdf_of(*images, run=run)
    assert made.facts == {"pages": 3, "unchangedPixels": 0}
    middles = [tuple(drawn(made, page)[421, 297]) for page in range(3)]
    assert middles == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [text for _, text in run.reports] == ["Page 1 of 3", "Page 2 of 3", "Page 3 of 3"]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_goes_in_bit_for_bit(tmp_path: Path, mode: str, progressive: bool) -> None:
    image = file(tmp_path, PHOTO.convert(mode), progressive=progressive, quality=61)
    made = pdf_of(image)
    held = stored(made)
    assert held.Filter == "/DCTDecode"
    assert held.ColorSpace == ("/DeviceRGB" if mode == "RGB" else "/DeviceGray")
    assert image.source.original is not None
    assert held.read_raw_bytes() == image.source.original.read()
    assert made.facts["unchangedPixels"] == 1


def test_a_jpeg_leaves_all_metadata_and_every_picture_behind_its_end(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Artist] = "Somebody secret"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (52.0, 31.0, 12.0)
    data = bytes_of(PHOTO, "jpeg", exif=exif, xmp=b"<x:xmpmeta secret='1'/>", comment=b"secret words")
    private = b"\xff\xed\0\x12Photoshop secret" + b"\xff\xe5\0\x08secret"
    thumbnail = b"\xff\xe0\0\x10JFXX\0\x13secret!!"
    data = data[:2] + private + thumbnail + data[2:] + bytes_of(TWELVE, "jpeg", comment=b"secret behind")
    image = opened(data, tmp_path)
    made = pdf_of(image)
    assert b"secret" not in made.data
    assert b"Exif" not in made.data
    assert set(made.removed) >= {"exif", "gps", "xmp"}
    assert made.kept == ()
    raw = stored(made).read_raw_bytes()
    assert raw.count(b"\xff\xd9") == 1
    assert (np.asarray(PIL.Image.open(io.BytesIO(raw))) == np.asarray(PIL.Image.open(io.BytesIO(data)))).all()


@pytest.mark.parametrize("rest", [b"\0", b"\xff", b"\0" * 500])
def test_bytes_behind_the_end_of_a_jpeg_are_left_out(tmp_path: Path, rest: bytes) -> None:
    data = bytes_of(PHOTO, "jpeg")
    assert stored(pdf_of(opened(data + rest, tmp_path))).read_raw_bytes() == data


def test_a_jfif_thumbnail_is_cut_off_and_its_header_stays(tmp_path: Path) -> None:
    data = bytes_of(PHOTO, "jpeg")
    assert data[6:11] == b"JFIF\0"
    pixels = bytes(range(12))
    head = data[2:4] + struct.pack(">H", 16 + len(pixels)) + data[6:18] + b"\2\2" + pixels
    raw = stored(pdf_of(opened(data[:2] + head + data[20:], tmp_path))).read_raw_bytes()
    assert raw == data


def test_a_colour_profile_goes_in_once_for_all_pages(tmp_path: Path) -> None:
    profile = builtin_profile("p3")
    images = [file(tmp_path, PHOTO, icc_profile=profile), file(tmp_path, PHOTO, icc_profile=profile)]
    made = pdf_of(*images)
    first, second = (stored(made, page).ColorSpace for page in (0, 1))
    assert first[0] == "/ICCBased"
    assert first[1].read_bytes() == profile
    assert int(first[1].N) == 3
    assert first[1].objgen == second[1].objgen
    assert made.kept == ("icc",)


def test_a_wide_gamut_jpeg_is_drawn_in_its_own_colours(tmp_path: Path) -> None:
    flat = PIL.Image.new("RGB", (40, 40), (200, 60, 40))
    image = file(tmp_path, flat, icc_profile=builtin_profile("p3"))
    seen = drawn(pdf_of(image, pageSize="original"))[20, 20]
    meant = image.pixels.numpy()[20, 20]
    assert abs(int(meant[0]) - 200) > 8, "the profile must make a difference for this test to mean anything"
    assert np.abs(seen.astype(int) - meant).max() <= 3


def test_cmyk_with_a_profile_stays_cmyk_and_without_one_becomes_srgb(tmp_path: Path) -> None:
    inks = PIL.Image.new("CMYK", (40, 40), (0, 200, 180, 20))
    image = file(tmp_path, inks, icc_profile=builtin_profile("cmyk"))
    made = pdf_of(image, pageSize="original")
    assert stored(made).ColorSpace[0] == "/ICCBased"
    assert int(stored(made).ColorSpace[1].N) == 4
    assert np.abs(drawn(made)[20, 20].astype(int) - image.pixels.numpy()[20, 20]).max() <= 6
    plain = file(tmp_path, inks)
    made = pdf_of(plain, pageSize="original")
    assert stored(made).ColorSpace == "/DeviceRGB"
    assert np.abs(drawn(made)[20, 20].astype(int) - plain.pixels.numpy()[20, 20]).max() <= 3
    assert made.facts["unchangedPixels"] == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_every_orientation_is_drawn_upright(tmp_path: Path, format: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = bytes_of(TWELVE, format, exif=exif)
    made = pdf_of(opened(data, tmp_path), pageSize="original")
    upright = PIL.ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    assert made.facts["unchangedPixels"] == 1
    assert difference(drawn(made), upright.convert("RGB")) < 1.0


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_a_png_without_transparency_goes_in_bit_for_bit(tmp_path: Path, mode: str) -> None:
    source = PHOTO.quantize(7) if mode == "P" else PHOTO.convert(mode)
    made = pdf_of(file(tmp_path, source, "png"), pageSize="original")
    assert made.facts["unchangedPixels"] == 1
    seen = pikepdf.PdfImage(stored(made)).as_pil_image().convert("RGB")
    assert (np.asarray(seen) == np.asarray(source.convert("RGB"))).all()
    assert (drawn(made) == np.asarray(source.convert("RGB"))).all()


def test_the_chunks_of_a_large_png_are_joined(tmp_path: Path) -> None:
    source = noise(300, 300)
    data = bytes_of(PIL.Image.fromarray(source), "png")
    assert data.count(b"IDAT") > 1
    assert (np.asarray(pikepdf.PdfImage(stored(pdf_of(opened(data, tmp_path)))).as_pil_image()) == source).all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_lossless_pictures_keep_every_8_bit_sample(bands: int, dtype: Any) -> None:
    array = gradient(70, 300, bands, dtype)
    made = pdf_of(picture(array, "tiff"))
    small = (array >> 8 if dtype is np.uint16 else array).astype(np.uint8)
    held = stored(made)
    colours = np.frombuffer(held.read_bytes(), np.uint8).reshape(300, 70, -1)
    assert (colours == small[..., : 1 if bands < 3 else 3]).all()
    if bands in (2, 4):
        assert (np.frombuffer(held.SMask.read_bytes(), np.uint8).reshape(300, 70) == small[..., -1]).all()
        assert held.SMask.ColorSpace == "/DeviceGray"
    else:
        assert "/SMask" not in held


def test_alpha_is_seen_through(tmp_path: Path) -> None:
    source = PIL.Image.new("RGBA", (40, 40), (200, 0, 0, 128))
    for format in ("png", "webp"):
        made = pdf_of(file(tmp_path, source, format), pageSize="original")
        assert np.abs(drawn(made)[20, 20].astype(int) - (227, 127, 127)).max() <= 1
    solid = pdf_of(file(tmp_path, PIL.Image.new("RGBA", (9, 9), (1, 2, 3, 255)), "png"))
    assert "/SMask" not in stored(solid)


def test_a_png_with_a_transparent_colour_shows_the_paper(tmp_path: Path) -> None:
    source = PIL.Image.new("P", (20, 20), 3)
    source.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image = file(tmp_path, source, "png", transparency=3)
    assert (drawn(pdf_of(image, pageSize="original")) == 255).all()


def test_black_and_white_takes_one_bit_a_pixel() -> None:
    array = (noise(61, 33, 1) > 127).astype(np.uint8) * 255
    made = pdf_of(picture(array, "tiff"), pageSize="original")
    assert int(stored(made).BitsPerComponent) == 1
    assert (drawn(made)[..., :1] == array).all()


@pytest.mark.parametrize("format", ["webp", "avif"])
def test_pictures_from_lossy_formats_become_jpegs_of_high_quality(tmp_path: Path, format: str) -> None:
    options = {"quality": 80, "lossless": False} if format == "webp" else {"quality": 80}
    image = file(tmp_path, PHOTO.resize((192, 128)), format, **options)
    made = pdf_of(image, pageSize="original")
    held = stored(made)
    assert held.Filter == "/DCTDecode"
    assert b"ICC_PROFILE" not in held.read_raw_bytes()
    assert difference(drawn(made), image.pixels.numpy()) < 2


def test_a_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    made = pdf_of(file(tmp_path, PHOTO, "webp"), pageSize="original")
    assert (drawn(made) == np.asarray(PHOTO)).all()


def test_16_bits_and_interlace_are_decoded(tmp_path: Path) -> None:
    deep = pdf_of(opened(bytes_of(PIL.Image.fromarray(gradient(40, 30, 1, np.uint16)[..., 0]), "png"), tmp_path))
    assert int(stored(deep).BitsPerComponent) == 8
    rows = picture(noise(40, 30)).pixels.pngsave_buffer(interlace=True)
    made = pdf_of(opened(rows, tmp_path))
    assert stored(made).read_bytes() == noise(40, 30).tobytes()


def test_only_the_first_frame_is_used_and_said() -> None:
    frames = np.stack([noise(20, 10, seed=n) for n in range(3)])
    made = pdf_of(picture(noise(5, 5)), picture(frames, "gif"))
    assert made.warnings == ("Only the first frame was used of image 2.",)
    assert (np.frombuffer(stored(made, 1).read_bytes(), np.uint8) == frames[0].ravel()).all()


def test_warnings_of_the_pictures_are_passed_on_with_their_number() -> None:
    images = [picture(noise(5, 5)), picture(noise(5, 5)).warn("The file has 2 pages; only the first is used.")]
    assert pdf_of(*images).warnings == ("Image 2: The file has 2 pages; only the first is used.",)


@pytest.mark.parametrize("data", ["cut off", "damaged"])
def test_a_damaged_file_is_refused(tmp_path: Path, data: str) -> None:
    from support.odd import UNREADABLE

    with pytest.raises(Exception) as refused:
        pdf_of(opened(UNREADABLE[data], tmp_path))
    assert isinstance(refused.value, InvalidImage) or type(refused.value).__module__.startswith("pyvips")


def placed(array: np.ndarray, **settings: Any) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not white on the first page, at one pixel a point."""
    page = drawn(pdf_of(picture(array, "png"), **settings))
    rows, columns = np.nonzero((page < 250).any(axis=-1))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.mark.parametrize(
    ("size", "settings", "box"),
    [
        ((100, 50), {}, (248, 396, 348, 446)),
        ((1110, 555), {}, (20, 282, 575, 560)),
        ((500, 3000), {"margin": 0}, (228, 0, 368, 842)),
        ((100, 50), {"fitMode": "cover"}, (20, 20, 576, 822)),
        ((100, 50), {"fitMode": "cover", "margin": 100, "orientation": "landscape"}, (100, 100, 742, 496)),
        ((100, 50), {"fitMode": "actual"}, (248, 396, 348, 446)),
        ((1000, 50), {"fitMode": "actual", "margin": 50}, (50, 396, 546, 446)),
    ],
)
def test_pictures_are_placed_in_the_middle_of_the_box(
    size: tuple[int, int], settings: Any, box: tuple[int, int, int, int]
) -> None:
    got = placed(np.zeros((size[1], size[0], 3), np.uint8), **settings)
    assert np.abs(np.subtract(got, box)).max() <= 1


@given(
    st.integers(1, 400),
    st.integers(1, 400),
    st.sampled_from(["A4", "A5", "Letter", "original"]),
    st.sampled_from(["portrait", "landscape"]),
    st.sampled_from(["contain", "cover", "actual"]),
    st.floats(0, 200),
)
def test_the_placing_keeps_the_ratio_and_the_middle(
    width: int, height: int, page: str, orientation: str, fit: str, margin: float
) -> None:
    image = picture(np.zeros((height, width, 1), np.uint8), "png")
    made = pdf_of(image, pageSize=page, orientation=orientation, fitMode=fit, margin=margin)
    with pikepdf.open(io.BytesIO(made.data)) as document:
        (_, _, across, down) = (float(side) for side in document.pages[0].MediaBox)
        operations = {
            str(op): [float(n) for n in args]
            for args, op in pikepdf.parse_content_stream(document.pages[0])
            if args and str(op) in ("re", "cm")
        }
    a, b, c, d, left, bottom = operations["cm"]
    assert (b, c) == (0, 0)
    assert a / d == pytest.approx(width / height, rel=1e-3, abs=1e-3)
    assert left + a / 2 == pytest.approx(across / 2, abs=1e-3)
    assert bottom + d / 2 == pytest.approx(down / 2, abs=1e-3)
    box = operations["re"]
    if fit == "contain" or page == "original":
        assert a <= min(width, box[2]) + 1e-3
        assert d <= min(height, box[3]) + 1e-3
    elif fit == "cover":
        assert a >= box[2] - 1e-3
        assert d >= box[3] - 1e-3
    else:
        assert (a, d) == pytest.approx((width, height), abs=1e-3)


def test_the_density_of_the_file_is_the_scale_of_actual_and_original(tmp_path: Path) -> None:
    scan = file(tmp_path, PHOTO.resize((300, 150)), dpi=(150, 150))
    with pikepdf.open(io.BytesIO(pdf_of(scan, pageSize="original").data)) as document:
        assert [float(side) for side in document.pages[0].MediaBox] == [0, 0, 144, 72]
    actual = drawn(pdf_of(scan, fitMode="actual"))
    assert int((actual < 250).any(axis=(0, 2)).sum()) == pytest.approx(144, abs=2)


def test_what_does_not_fit_its_page_is_said() -> None:
    large, small = picture(np.zeros((9, 900, 1), np.uint8)), picture(np.zeros((9, 9, 1), np.uint8))
    warnings = pdf_of(small, large, large, fitMode="actual").warnings
    assert warnings == ("On page 2, 3 the picture is larger than the page and is cut off. Use fitMode 'contain'.",)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 20000, 3), (20000, 1, 4), (1, 1, 1)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    for page in ("A4", "original"):
        made = pdf_of(picture(np.full(shape, 50, np.uint8)), pageSize=page)
        with pikepdf.open(io.BytesIO(made.data)) as document:
            assert max(float(side) for side in document.pages[0].MediaBox) <= 14400


def test_equal_calls_give_equal_bytes_without_dates_or_names(tmp_path: Path) -> None:
    images = [file(tmp_path, PHOTO), picture(noise(30, 20, 4), "gif")]
    first = pdf_of(*images).data
    assert first == pdf_of(*images).data
    with pikepdf.open(io.BytesIO(first)) as document:
        assert "/Info" not in document.trailer
        assert "/Metadata" not in document.Root


def test_a_caller_who_gives_up_is_heard() -> None:
    with pytest.raises(Cancelled):
        pdf_of(*[picture(noise(9, 9))] * 4, run=DirectRun(cancel_at=0.5))


def test_pictures_of_earlier_steps_are_taken_as_they_are(tmp_path: Path) -> None:
    image = file(tmp_path, PHOTO, "png")
    turned = pdf_of(image.with_pixels(image.pixels.rot180()), pageSize="original")
    assert (drawn(turned) == np.asarray(PHOTO)[::-1, ::-1]).all()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"pageSize": "B5"}, "A5"),
        ({"orientation": "up"}, "landscape"),
        ({"margin": -1}, "margin"),
        ({"margin": 501}, "500"),
        ({"margin": 300}, "297.64"),
        ({"margin": 210, "pageSize": "A5"}, "209.76"),
        ({"fitMode": "fill"}, "contain"),
        ({"size": "A4"}, "pageSize"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        image_to_pdf.settings.parse(asked)
    assert words in refused.value.message


def test_what_it_looks_like(golden: Any) -> None:
    page: Sequence[Any] = [picture(np.asarray(photo(300, 200)), "png")]
    made = pdf_of(*page, pageSize="A5", orientation="landscape", fitMode="cover", margin=60)
    golden(drawn(made, scale=0.3), "image-to-pdf-cover", tolerance=8)
