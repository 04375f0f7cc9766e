"""PDF to image: pages of known colours and places, made by other libraries, and files that are not to be had."""

import io
import resource
from typing import Any

import numpy as np
import pikepdf
import PIL.Image
import PIL.ImageDraw
import pytest
from support.pictures import DirectRun, gradient, use

from darkroom_tools.base import File
from darkroom_tools.errors import (
    Cancelled,
    InvalidImage,
    InvalidSettings,
    LimitExceeded,
    OutputTooLarge,
    PdfEncrypted,
    UnsupportedFormat,
)
from darkroom_tools.formats.pdf_to_image import pdf_to_image
from darkroom_tools.image import Original


def pdf(*contents: str, box: tuple[float, ...] = (0, 0, 100, 50), **page: Any) -> bytes:
    """A PDF with one page for each string of drawing operators."""
    made = pikepdf.new()
    for content in contents:
        made.add_blank_page()
        latest = made.pages[-1]
        latest.MediaBox = pikepdf.Array(list(box))
        latest.Contents = made.make_stream(content.encode())
        for name, value in page.items():
            latest[f"/{name}"] = value
    file = io.BytesIO()
    made.save(file)
    return file.getvalue()


RED = "1 0 0 rg 0 0 50 50 re f"
"""The left half."""

BLUE = "0 0 1 rg 0 25 100 25 re f"
"""The upper half: a page's origin is at its bottom."""


def files(data: bytes, run: DirectRun | None = None, **asked: Any) -> list[File]:
    made = use(pdf_to_image, Original("pdf", len(data), lambda: data), run=run or DirectRun(), **asked)
    assert isinstance(made, list)
    return made


def arrays(data: bytes, **asked: Any) -> list[np.ndarray]:
    return [np.asarray(PIL.Image.open(io.BytesIO(file.data))) for file in files(data, **asked)]


def test_a_page_is_drawn_on_white_the_right_way_up() -> None:
    left, upper = arrays(pdf(RED, BLUE), dpi=72)
    assert left.shape == upper.shape == (50, 100, 3)
    assert (left[:, :49] == (255, 0, 0)).all()
    assert (left[:, 51:] == 255).all()
    assert (upper[:24] == (0, 0, 255)).all()
    assert (upper[26:] == 255).all()


@pytest.mark.parametrize(("dpi", "width", "height"), [(36, 50, 25), (72, 100, 50), (150, 209, 105), (300, 417, 209)])
def test_the_size_is_the_page_times_the_resolution_rounded_up(dpi: float, width: int, height: int) -> None:
    assert arrays(pdf(RED), dpi=dpi)[0].shape == (height, width, 3)


def test_150_dots_an_inch_is_the_default() -> None:
    assert arrays(pdf(RED, box=(0, 0, 612, 792)))[0].shape == (1650, 1275, 3)


def test_the_crop_box_and_the_rotation_of_a_page_count() -> None:
    cropped = pdf(RED, CropBox=pikepdf.Array([40, 0, 60, 50]))
    assert [array.shape for array in arrays(cropped, dpi=72)] == [(50, 20, 3)]
    turned = arrays(pdf(RED, Rotate=90), dpi=72)[0]
    assert turned.shape == (100, 50, 3)
    assert (turned[:49] == (255, 0, 0)).all()


def test_a_photo_comes_back_as_an_independent_decoder_sees_it() -> None:
    photo = PIL.Image.fromarray(gradient(90, 60))
    file = io.BytesIO()
    photo.save(file, "PDF", resolution=72, quality=95)
    got = arrays(file.getvalue(), dpi=72)[0]
    assert got.shape == (60, 90, 3)
    assert np.abs(got.astype(int) - np.asarray(photo)).mean() < 2


@pytest.mark.parametrize(
    ("pages", "wanted"),
    [
        ("all", [1, 2, 3, 4, 5]),
        ("ALL", [1, 2, 3, 4, 5]),
        ("1-3,5", [1, 2, 3, 5]),
        ("4, 2", [4, 2]),
        (" 2 - 3 ,3", [2, 3]),
    ],
)
def test_pages_come_in_the_order_asked_for_each_once(pages: str, wanted: list[int]) -> None:
    data = pdf(*(f"{n / 10} g 0 0 100 50 re f" for n in range(1, 6)))
    made = files(data, pages=pages, dpi=36)
    assert [round(np.asarray(PIL.Image.open(io.BytesIO(file.data)))[5, 5, 0] / 25.5) for file in made] == wanted
    assert all(file.facts == {"pageCount": 5, "selectedPages": wanted} for file in made)


@pytest.mark.parametrize("pages", ["", "0", "x", "1-", "-2", "3-1", "1;2", "1,,2", "1-2-3", "1.5", "²"])
def test_what_is_no_list_of_pages_is_refused_with_its_form(pages: str) -> None:
    with pytest.raises(InvalidSettings, match="1-3,5"):
        pdf_to_image.settings.parse({"pages": pages})


def test_a_page_beyond_the_end_is_refused_with_their_number() -> None:
    with pytest.raises(InvalidSettings, match="has 2 pages, but page 9"):
        files(pdf(RED, BLUE), pages="1,9")
    with pytest.raises(InvalidSettings, match="has 1 page, but page 2"):
        files(pdf(RED), pages="2")


def test_at_most_a_hundred_pages_are_rendered_in_one_call() -> None:
    data = pdf(*["0 g"] * 101, box=(0, 0, 4, 4))
    assert len(files(data, pages="2-101", dpi=36)) == 100
    for pages in ("all", "1-101"):
        with pytest.raises(LimitExceeded) as refused:
            files(data, pages=pages)
        assert (refused.value.code, refused.value.status) == ("TOO_MANY_PAGES", 413)
        assert "101 pages" in refused.value.message


def test_a_million_pages_that_a_file_claims_to_have_are_not_looked_at() -> None:
    data = pdf(RED).replace(b"/Count 1", b"/Count 999999")
    with pytest.raises((LimitExceeded, InvalidImage)):
        files(data)


@pytest.mark.parametrize(
    ("box", "dpi"), [((0, 0, 14_400, 14_400), 150), ((0, 0, 100_000, 10), 72), ((0, 0, 600, 800), 2400)]
)
def test_a_page_that_would_be_too_large_is_refused_before_any_is_rendered(box: Any, dpi: float) -> None:
    with pytest.raises(OutputTooLarge, match="Page 1 would be"):
        files(pdf(RED, box=box), dpi=dpi)


def test_pages_that_are_too_much_together_are_refused_before_any_is_rendered() -> None:
    with pytest.raises(OutputTooLarge, match="4 pages"):
        files(pdf(*[RED] * 4, box=(0, 0, 2000, 2000)), dpi=300)


def test_many_pages_need_the_memory_of_one() -> None:
    large = pdf(*["0.5 g 0 0 3000 3000 re f"] * 6, box=(0, 0, 3000, 3000))
    files(large, pages="1", dpi=72, format="jpeg")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files(large, dpi=72, format="jpeg")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 60 * 1024


@pytest.mark.parametrize(
    ("format", "extension", "media_type"),
    [
        ("png", "png", "image/png"),
        ("jpg", "jpg", "image/jpeg"),
        ("webp", "webp", "image/webp"),
        ("gif", "gif", "image/gif"),
    ],
)
def test_every_format_is_written(format: str, extension: str, media_type: str) -> None:
    made = files(pdf(RED), format=format, dpi=36)[0]
    assert (made.extension, made.media_type) == (extension, media_type)
    assert PIL.Image.open(io.BytesIO(made.data)).size == (50, 25)


def test_quality_is_for_formats_that_have_it() -> None:
    noisy = pdf(*[" ".join(f"{n % 7 / 7} {n % 5 / 5} 0 rg {n % 100} {n // 20} 3 3 re f" for n in range(900))])
    coarse, fine = (len(files(noisy, format="jpeg", quality=quality)[0].data) for quality in (20, 95))
    assert coarse < fine / 2
    assert files(noisy, quality=20)[0].data == files(noisy, quality=95)[0].data


def test_grey_and_black_and_white_have_one_band() -> None:
    data = pdf("0.9 0.2 0.2 rg 0 0 50 50 re f 0.8 g 50 0 50 50 re f")
    grey, mono = (arrays(data, dpi=72, colorMode=mode)[0] for mode in ("grayscale", "bw"))
    assert grey.shape == mono.shape == (50, 100)
    assert set(np.unique(mono)) == {0, 255}
    assert (mono[:, :49] == 0).all()
    assert (mono[:, 51:] == 255).all()
    assert abs(int(grey[5, 80]) - 204) <= 1
    assert 70 < grey[5, 5] < 127


def test_annotations_and_the_fields_of_forms_are_drawn() -> None:
    made = pikepdf.open(io.BytesIO(pdf("1 g 0 0 100 50 re f")))
    look = made.make_stream(b"0 1 0 rg 0 0 40 40 re f")
    look.update({"/Type": pikepdf.Name.XObject, "/Subtype": pikepdf.Name.Form, "/BBox": [0, 0, 40, 40]})
    note = {"/Type": pikepdf.Name.Annot, "/Subtype": pikepdf.Name.Stamp, "/Rect": [5, 5, 45, 45], "/F": 4}
    field = {**note, "/Subtype": pikepdf.Name.Widget, "/FT": pikepdf.Name.Tx, "/T": "a", "/Rect": [55, 5, 95, 45]}
    drawn = [made.make_indirect(pikepdf.Dictionary({**each, "/AP": {"/N": look}})) for each in (note, field)]
    made.pages[0].Annots = pikepdf.Array(drawn)
    made.Root.AcroForm = pikepdf.Dictionary({"/Fields": [drawn[1]]})
    file = io.BytesIO()
    made.save(file)
    got = arrays(file.getvalue(), dpi=72)[0]
    assert (got[25, 25] == (0, 255, 0)).all()
    assert got[25, 75, 1] > 200
    assert (got[25, 75] != 255).any()


def test_a_preview_fits_its_side_and_never_enlarges() -> None:
    assert arrays(pdf(RED), longestSide=40)[0].shape == (20, 40, 3)
    assert arrays(pdf(RED), longestSide=4000, dpi=72)[0].shape == (50, 100, 3)


def test_a_password_is_asked_for_by_name_of_the_error() -> None:
    locked = io.BytesIO()
    pikepdf.open(io.BytesIO(pdf(RED))).save(locked, encryption=pikepdf.Encryption(owner="a", user="b"))
    with pytest.raises(PdfEncrypted) as refused:
        files(locked.getvalue())
    assert (refused.value.code, refused.value.status) == ("PDF_ENCRYPTED", 422)


def test_a_file_that_only_forbids_changes_opens() -> None:
    owned = io.BytesIO()
    pikepdf.open(io.BytesIO(pdf(RED))).save(owned, encryption=pikepdf.Encryption(owner="a", user=""))
    assert len(files(owned.getvalue(), dpi=36)) == 1


@pytest.mark.parametrize("data", [pdf(RED)[:150], b"%PDF-1.7\nnothing of use", b"%PDF-1.4\n%%EOF", pdf()])
def test_damaged_and_empty_files_are_clear_errors(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        files(data)


def test_a_form_that_draws_itself_comes_to_an_end() -> None:
    made = pikepdf.open(io.BytesIO(pdf("/X Do")))
    form = made.make_stream(b"/X Do 1 0 0 rg 0 0 9 9 re f")
    form.update({"/Type": pikepdf.Name.XObject, "/Subtype": pikepdf.Name.Form, "/BBox": [0, 0, 9, 9]})
    form.Resources = pikepdf.Dictionary({"/XObject": {"/X": form}})
    made.pages[0].Resources = pikepdf.Dictionary({"/XObject": {"/X": form}})
    file = io.BytesIO()
    made.save(file)
    assert len(files(file.getvalue(), dpi=36)) == 1


def test_progress_names_the_page_and_a_caller_who_left_stops_it() -> None:
    run = DirectRun()
    files(pdf(RED, BLUE), run=run, dpi=36)
    assert run.reports == [(0, "Page 1"), (0.5, "Page 2")]
    with pytest.raises(Cancelled):
        files(pdf(RED, BLUE), run=DirectRun(cancel_at=0.5), dpi=36)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"format": "bmp"}, "png"),
        ({"dpi": 35}, "36"),
        ({"dpi": 2401}, "2400"),
        ({"quality": 0}, "quality"),
        ({"colorMode": "sepia"}, "grayscale"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        pdf_to_image.settings.parse(asked)
    assert words in refused.value.message


def test_heic_is_refused_with_what_to_take_instead() -> None:
    with pytest.raises(UnsupportedFormat, match="avif"):
        pdf_to_image.settings.parse({"format": "heic"})
