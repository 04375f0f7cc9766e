"""Opening files: types, limits, damage, orientation, frames."""

import shutil
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps
from support.codec import (
    LIMITS,
    bytes_of,
    difference,
    encoded,
    opened,
    photo,
    pixels_of,
    read_back,
    srgb_profile,
    stored,
    written,
)

from darkroom.engine.codec import describe, inspect_file
from darkroom.engine.outcome import Picture
from darkroom_tools.errors import DarkroomError, ImageTooComplex, InvalidImage, LimitExceeded, UnsupportedFormat

ORIENTATION, GPS_IFD = 0x0112, 0x8825


def exif_of(orientation: int) -> Pillow.Exif:
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_come_upright(tmp_path: Path, format: str, orientation: int, sequential: bool) -> None:
    path = stored(tmp_path, photo(), format, exif=exif_of(orientation))
    expected = ImageOps.exif_transpose(read_back(path)).convert("RGB")
    image = opened(path, sequential=sequential)
    assert (image.width, image.height) == expected.size
    assert difference(pixels_of(image), expected) < 2
    assert image.pixels.get_typeof("orientation") == 0
    assert describe(image) == Picture(format, f"image/{format}", path.stat().st_size, *expected.size)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_unknown_orientation_changes_nothing(tmp_path: Path, orientation: int) -> None:
    image = opened(stored(tmp_path, photo(), "jpeg", exif=exif_of(orientation)))
    assert image.source.orientation == 1
    assert difference(pixels_of(image), photo()) < 3


def test_all_frames_of_an_animation_are_turned(tmp_path: Path) -> None:
    frames = [photo().rotate(angle) for angle in (0, 90, 180)]
    path = stored(tmp_path, frames[0], "webp", save_all=True, append_images=frames[1:], exif=exif_of(6))
    image = opened(path, sequential=True)
    assert (image.width, image.height, image.frames) == (64, 96, 3)
    last = pixels_of(image)[2 * 96 :, :, :3]
    assert difference(last, frames[2].transpose(Pillow.Transpose.ROTATE_270)) < 1
    assert describe(image) == inspect_file(path, LIMITS)


def test_the_source_tells_what_the_file_holds(tmp_path: Path) -> None:
    exif = exif_of(6)
    exif.get_ifd(GPS_IFD)[1] = "N"
    options = {"exif": exif, "icc_profile": srgb_profile(), "xmp": b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"}
    path = stored(tmp_path, photo(), "jpeg", **options)
    source = opened(path).source
    assert (source.format, source.bytes, source.orientation) == ("jpeg", path.stat().st_size, 6)
    assert source.metadata == {"exif", "gps", "icc", "xmp"}
    assert source.profile == "sRGB built-in"
    assert (source.header.width, source.header.height) == (96, 64)
    private_tag, gps_tag = struct.pack("<H", 65_000), struct.pack("<H", GPS_IFD)
    tiff = bytes_of(photo(), "tiff", tiffinfo={65_000: 1}).replace(private_tag, gps_tag)
    assert opened(written(tmp_path, tiff)).source.metadata == {"gps"}
    assert opened(stored(tmp_path, photo(), "png")).source.metadata == frozenset()


def test_the_name_of_a_file_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg[shrink=8]"
    shutil.copy(stored(tmp_path, photo(), "png"), path)
    image = opened(path)
    assert (image.source.format, image.width) == ("png", 96)


@pytest.mark.parametrize(("format", "extra"), [("gif", {}), ("webp", {"lossless": True}), ("avif", {})])
def test_all_frames_of_an_animation_are_read_with_their_delays(tmp_path: Path, format: str, extra: dict) -> None:
    frames = [photo().rotate(angle) for angle in (0, 20, 40, 60)]
    delays = [50, 60, 70, 80]
    path = stored(tmp_path, frames[0], format, save_all=True, append_images=frames[1:], duration=delays, **extra)
    image = opened(path, sequential=True)
    assert (image.frames, image.width, image.height) == (4, 96, 64)
    assert image.pixels.get("delay") == delays
    assert image.reduced(0.1) is image.pixels
    assert difference(pixels_of(image)[128:192, :, :3], frames[2]) < (1 if format == "webp" else 8)


@pytest.mark.parametrize(("format", "words"), [("tiff", "4 pages"), ("png", "4 frames")])
def test_of_other_files_the_first_page_is_read_and_the_rest_is_named(tmp_path: Path, format: str, words: str) -> None:
    frames = [photo().rotate(angle) for angle in (0, 20, 40, 60)]
    image = opened(stored(tmp_path, frames[0], format, save_all=True, append_images=frames[1:]))
    assert (image.frames, image.width, image.height) == (1, 96, 64)
    assert difference(pixels_of(image)[:, :, :3], photo()) < 3
    [warning] = image.warnings
    assert words in warning


def test_an_ultra_hdr_photo_opens_as_its_standard_version(tmp_path: Path) -> None:
    bright = pyvips.Image.new_from_array(np.asarray(photo(256, 192))).colourspace("scrgb") * 2
    path = tmp_path / "hdr"
    bright.copy(interpretation="scrgb").uhdrsave(str(path))
    assert pyvips.Image.uhdrload(str(path)).get_typeof("gainmap-data") != 0
    image = opened(path)
    assert (image.source.format, image.width, image.pixels.format) == ("jpeg", 256, "uchar")
    assert image.pixels.get_typeof("gainmap-data") == 0
    assert any("gain map" in warning for warning in image.warnings)


@given(
    format=st.sampled_from(["jpeg", "webp", "png"]),
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    scale=st.floats(0.01, 1.2),
    orientation=st.integers(1, 8),
    sequential=st.booleans(),
)
def test_a_reduced_picture_is_upright_and_large_enough(
    tmp_path: Path, format: str, width: int, height: int, scale: float, orientation: int, sequential: bool
) -> None:
    image = opened(stored(tmp_path, photo(width, height), format, exif=exif_of(orientation)), sequential=sequential)
    reduced = image.reduced(scale)
    for whole, part in ((image.width, reduced.width), (image.height, reduced.height)):
        assert min(1, 2 * scale) * whole - 1 <= part <= whole
    if format != "png" and scale <= 0.25:
        assert reduced.width * reduced.height <= image.width * image.height / 4 + image.width + image.height
    expected = ImageOps.exif_transpose(read_back(tmp_path / "input.bin")).convert("RGB")
    # A decoder that reduces drops what does not fill a pixel; in small pictures that moves all the others.
    if min(width, height) >= 192:
        small = np.asarray(expected.resize((reduced.width, reduced.height), Pillow.Resampling.BOX))
        assert difference(reduced.numpy(), small) < 12


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif", "tiff", "avif"])
def test_one_pixel_is_a_picture(tmp_path: Path, format: str) -> None:
    image = opened(stored(tmp_path, Pillow.new("RGB", (1, 1), (200, 30, 60)), format))
    assert (image.width, image.height, image.reduced(0.1).width) == (1, 1, 1)
    assert np.abs(pixels_of(image)[0, 0] - (200, 30, 60)).max() < 8


@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000)])
@pytest.mark.parametrize("format", ["jpeg", "png", "gif", "tiff"])
def test_very_thin_pictures_open(tmp_path: Path, format: str, size: tuple[int, int]) -> None:
    image = opened(stored(tmp_path, photo(*size), format), sequential=True)
    assert (image.width, image.height) == size
    assert image.reduced(0.01).avg() > 0


def png_header(width: int, height: int, colour: int = 2) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    body = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = [(b"IHDR", body), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("size", "limits", "words"),
    [
        ((65_500, 65_500), LIMITS, "32768 on the longest side"),
        ((30_000, 30_000), LIMITS, "900 megapixels"),
        ((40_000, 1), LIMITS, "40000×1"),
        ((9_000, 9_000), replace(LIMITS, decoded_bytes=200_000_000), "MB decoded"),
    ],
)
def test_a_header_over_a_limit_is_refused_before_any_pixel(
    tmp_path: Path, size: tuple[int, int], limits: object, words: str
) -> None:
    with pytest.raises(LimitExceeded) as caught:
        opened(written(tmp_path, png_header(*size)), limits=limits)
    assert caught.value.code == "IMAGE_TOO_LARGE"
    assert words in caught.value.message


def test_all_frames_together_count_as_pixels(tmp_path: Path) -> None:
    frames = [photo().rotate(angle) for angle in range(10)]
    path = stored(tmp_path, frames[0], "gif", save_all=True, append_images=frames[1:])
    whole = 96 * 64 * 10
    assert opened(path, limits=replace(LIMITS, pixels=whole)).frames == 10
    with pytest.raises(LimitExceeded) as caught:
        opened(path, limits=replace(LIMITS, pixels=whole - 1))
    assert caught.value.code == "IMAGE_TOO_LARGE"
    with pytest.raises(LimitExceeded) as caught:
        opened(path, limits=replace(LIMITS, frames=9))
    assert caught.value.code == "TOO_MANY_FRAMES"


def test_other_limits_have_codes_of_their_own(tmp_path: Path) -> None:
    path = stored(tmp_path, photo())
    with pytest.raises(LimitExceeded) as caught:
        opened(path, limits=replace(LIMITS, file_bytes=path.stat().st_size - 1))
    assert caught.value.code == "FILE_TOO_LARGE"
    six = pyvips.Image.black(8, 8, bands=6)
    six.tiffsave(str(tmp_path / "six"))
    with pytest.raises(LimitExceeded) as caught:
        opened(tmp_path / "six")
    assert "6 bands" in caught.value.message
    huge_profile = srgb_profile() + bytes(5 * 2**20)
    with pytest.raises(LimitExceeded) as caught:
        opened(stored(tmp_path, photo(), "tiff", icc_profile=huge_profile))
    assert caught.value.code == "METADATA_TOO_LARGE"


def test_bombs_beside_the_pixels_are_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(64 * 2**20))
    body = b"Comment\0\0" + packed
    plain = bytes_of(photo())
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    with pytest.raises(LimitExceeded) as caught:
        opened(written(tmp_path, plain[:33] + chunk + plain[33:]))
    assert caught.value.code == "METADATA_TOO_LARGE"
    progressive = bytes_of(photo(), "jpeg", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageTooComplex):
        opened(written(tmp_path, progressive[:-2] + scan * 200 + b"\xff\xd9"))


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif", "tiff", "avif"])
def test_a_truncated_file_is_invalid_however_late_it_shows(tmp_path: Path, format: str, sequential: bool) -> None:
    whole = bytes_of(photo(600, 400), format)
    path = written(tmp_path, whole[: len(whole) * 6 // 10])
    with pytest.raises(InvalidImage) as caught:
        encoded(opened(path, sequential=sequential), tmp_path, format="png")
    assert caught.value.code == "INVALID_IMAGE"
    assert str(tmp_path) not in caught.value.message
    assert list(tmp_path.glob("result*")) == []


def test_wrong_checksums_and_garbage_pixels_are_invalid(tmp_path: Path) -> None:
    whole = bytearray(bytes_of(photo(300, 200)))
    whole[len(whole) // 2] ^= 0xFF
    with pytest.raises(InvalidImage):
        encoded(opened(written(tmp_path, bytes(whole))), tmp_path)
    with pytest.raises(InvalidImage):
        encoded(opened(written(tmp_path, png_header(300, 200))), tmp_path)
    with pytest.raises(InvalidImage):
        opened(written(tmp_path, b"\xff\xd8\xff\xe0 this is no photograph at all"))


def test_text_in_no_known_encoding_does_no_harm(tmp_path: Path) -> None:
    body = b"Caf\xe9\xff\0bytes \xff\xfe of no encoding"
    chunk = struct.pack(">I", len(body)) + b"tEXt" + body + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    plain = bytes_of(photo())
    image = opened(written(tmp_path, plain[:33] + chunk + plain[33:]))
    assert image.source.metadata == frozenset()
    assert b"Caf" not in encoded(image, tmp_path).output.path.read_bytes()


def test_what_is_no_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="PDF"):
        opened(written(tmp_path, b"%PDF-1.7 ..."))
    with pytest.raises(InvalidImage) as caught:
        opened(written(tmp_path, b""))
    assert caught.value.code == "EMPTY_FILE"


@given(format=st.sampled_from(["jpeg", "png", "webp", "gif", "tiff", "avif"]), data=st.data())
def test_any_damage_is_a_picture_or_a_public_error(tmp_path: Path, format: str, data: st.DataObject) -> None:
    sample = bytearray(bytes_of(photo(), format))
    for _ in range(data.draw(st.integers(1, 6))):
        sample[data.draw(st.integers(0, len(sample) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = encoded(opened(written(tmp_path, bytes(sample))), tmp_path, format="png")
        result.output.path.unlink()
    except DarkroomError as error:
        assert error.status < 500
        assert error.message.endswith(".")
