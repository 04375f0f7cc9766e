"""What a file says of its pixels an inch."""

import io

import PIL.Image
import pytest
from support.pictures import DirectRun, noise, picture

from darkroom_tools.kit.density import JFIF_BYTES, pixels_of, pixels_per_inch, stating_density, with_density


@pytest.mark.parametrize(
    ("millimetres", "density", "pixels"),
    [(35, 300, 413), (45, 300, 531), (51, 300, 602), (25.4, 72, 72), (0.01, 72, 1)],
)
def test_lengths_on_paper_are_rounded_to_whole_pixels(millimetres: float, density: float, pixels: int) -> None:
    assert pixels_of(millimetres, density) == pixels


def test_stated_pixels_an_inch_are_read_back() -> None:
    pixels = picture(noise(20, 10)).pixels
    assert pixels_per_inch(pixels) is None
    assert pixels_per_inch(with_density(pixels, 300)) == pytest.approx(300)


def jpeg(**options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(noise(40, 30)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_a_jpeg_states_its_density_in_one_header() -> None:
    before = jpeg(dpi=(72, 72))
    after = stating_density(before, 350)
    assert len(after) == len(before)
    assert after.count(b"JFIF\0") == 1
    bare = before[:2] + before[2 + JFIF_BYTES :]
    assert stating_density(bare, 350) == after
    with PIL.Image.open(io.BytesIO(after)) as seen:
        assert seen.info["dpi"] == (350, 350)
        assert seen.tobytes() == PIL.Image.open(io.BytesIO(before)).tobytes()


@pytest.mark.parametrize("format", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("target", [None, 3000])
def test_files_are_written_with_the_density_that_is_asked_for(format: str, target: int | None) -> None:
    image = picture(noise(60, 40), "webp").encode_as(format=format, density=300, target_bytes=target)
    written = DirectRun().encode(image)
    with PIL.Image.open(io.BytesIO(written.data)) as seen:
        assert seen.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    if target and written.facts["reached"]:
        assert len(written.data) <= target
        assert written.facts["bytes"] == len(written.data)


@pytest.mark.parametrize("format", ["jpeg", "webp", "avif"])
def test_nothing_is_said_unasked(format: str) -> None:
    written = DirectRun().encode(picture(noise(60, 40)).encode_as(format=format))
    assert "dpi" not in PIL.Image.open(io.BytesIO(written.data)).info
