"""Formats that libvips does not read: the right pixels, sizes before pixels, damage."""

import io
import itertools
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.features
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageChops, ImageOps
from support.codec import LIMITS, bytes_of, difference, encoded, opened, photo, pixels_of, seen, srgb_profile, written

from darkroom.engine.codec import describe, inspect_file
from darkroom_tools.errors import DarkroomError, ImageTooComplex, InvalidImage, LimitExceeded, UnsupportedFormat

ORIENTATION = 0x0112


def samples(image: Pillow.Image) -> np.ndarray:
    array = np.asarray(image).astype(int)
    return array[:, :, None] if array.ndim == 2 else array


def psd_of(image: Pillow.Image, mode: int, *, depth: int = 8, version: int = 1, profile: bytes = b"") -> bytes:
    """A Photoshop document without layers, by Adobe's specification of the format."""
    planes = [np.asarray(band).tobytes() for band in image.split()]
    header = struct.pack(">4sH6xHIIHH", b"8BPS", version, len(planes), image.height, image.width, depth, mode)
    resource = struct.pack(">4sHHI", b"8BIM", 1039, 0, len(profile)) + profile + bytes(len(profile) % 2)
    resources = resource if profile else b""
    return header + struct.pack(">II", 0, len(resources)) + resources + struct.pack(">IH", 0, 0) + b"".join(planes)


def heic_of(image: Pillow.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    held = pillow_heif.from_pillow(image)
    held.save(buffer, quality=95, chroma=444, **options)
    return buffer.getvalue()


def turned_heic(image: Pillow.Image, orientation: int) -> bytes:
    """A photo as a phone writes it: its turn stands in the container, and is repeated in EXIF."""
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    held, buffer = pillow_heif.HeifFile(), io.BytesIO()
    held.add_frombytes("RGB", image.size, image.tobytes())
    held[0].info["exif"] = exif.tobytes()
    held.save(buffer, quality=95, chroma=444)
    return buffer.getvalue()


def ten_bit_heic() -> bytes:
    wide = (np.asarray(photo()).astype(np.uint16) * 257).tobytes()
    buffer = io.BytesIO()
    pillow_heif.from_bytes("RGB;16", photo().size, wide).save(buffer, quality=95, chroma=444)
    return buffer.getvalue()


def icon_of(*sizes: int, **options: object) -> bytes:
    return bytes_of(photo(256, 256).convert("RGBA"), "ico", sizes=[(side, side) for side in sizes], **options)


EXACT: dict[str, tuple[Callable[[], bytes], Callable[[], Pillow.Image]]] = {
    "bmp in colour": (lambda: bytes_of(photo(), "bmp"), photo),
    "bmp in grey": (lambda: bytes_of(photo().convert("L"), "bmp"), lambda: photo().convert("L").convert("RGB")),
    "bmp of one bit": (lambda: bytes_of(photo().convert("1"), "bmp"), lambda: photo().convert("1").convert("L")),
    "bmp with palette": (lambda: bytes_of(photo().quantize(16), "bmp"), lambda: photo().quantize(16).convert("RGB")),
    "ppm": (lambda: bytes_of(photo(), "ppm"), photo),
    "pgm": (lambda: bytes_of(photo().convert("L"), "ppm"), lambda: photo().convert("L")),
    "pbm": (lambda: bytes_of(photo().convert("1"), "ppm"), lambda: photo().convert("1").convert("L")),
    "qoi": (lambda: bytes_of(photo(), "qoi"), photo),
    "qoi with alpha": (lambda: bytes_of(photo().convert("RGBA"), "qoi"), lambda: photo().convert("RGBA")),
    "jp2": (lambda: bytes_of(photo(), "jpeg2000"), photo),
    "jp2 without box": (lambda: bytes_of(photo(), "jpeg2000", no_jp2=True), photo),
    "jp2 with alpha": (lambda: bytes_of(photo().convert("RGBA"), "jpeg2000"), lambda: photo().convert("RGBA")),
    "grey jp2 with alpha": (lambda: bytes_of(photo().convert("LA"), "jpeg2000"), lambda: photo().convert("LA")),
    "psd": (lambda: psd_of(photo(), 3), photo),
    "psd with alpha": (lambda: psd_of(photo().convert("RGBA"), 3), lambda: photo().convert("RGBA")),
    "grey psd": (lambda: psd_of(photo().convert("L"), 1), lambda: photo().convert("L")),
}


@pytest.mark.parametrize("kind", EXACT)
def test_pixels_are_those_that_were_stored(tmp_path: Path, kind: str) -> None:
    make, original = EXACT[kind]
    path = written(tmp_path, make())
    image = opened(path)
    if kind == "bmp in grey" and image.pixels.bands == 1:
        assert (pixels_of(image) == samples(photo().convert("L"))).all()
    else:
        assert (pixels_of(image) == samples(original())).all()
    assert describe(image) == inspect_file(path, LIMITS)
    assert image.warnings == ()


def test_16_bits_stay_16_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (64, 96), np.uint16)
    for format in ("ppm", "jpeg2000"):
        image = opened(written(tmp_path, bytes_of(Pillow.fromarray(values), format)))
        assert image.pixels.format == "ushort"
        assert (pixels_of(image)[:, :, 0] == values).all()
    colour = np.random.default_rng(1).integers(0, 65536, (64, 96, 3), np.uint16)
    image = opened(written(tmp_path, b"P6\n96 64 65535\n" + colour.astype(">u2").tobytes()))
    assert (pixels_of(image) == colour).all()


@pytest.mark.parametrize("white", [1, 100, 254, 1023, 4095, 65_534])
def test_any_white_of_a_pnm_becomes_the_white_of_its_depth(tmp_path: Path, white: int) -> None:
    stored = np.arange(300 * 3).reshape(10, 30, 3) % (white + 1)
    kind, most = (">u2", 65535) if white > 255 else ("u1", 255)
    image = opened(written(tmp_path, b"P6 30 10 %d\n" % white + stored.astype(kind).tobytes()))
    assert np.abs(pixels_of(image) - stored * most / white).max() <= 0.5
    grey = opened(written(tmp_path, b"P5 30 10 %d\n" % white + stored[:, :, 0].astype(kind).tobytes()))
    assert np.abs(pixels_of(grey)[:, :, 0] - stored[:, :, 0] * most / white).max() <= 0.5


def test_numbers_as_text_and_as_floats_are_read(tmp_path: Path) -> None:
    plain = opened(written(tmp_path, b"P3\n# two pixels\n2 1 255\n255 0 0  0 128 64\n"))
    assert pixels_of(plain).tolist() == [[[255, 0, 0], [0, 128, 64]]]
    # A PFM counts its rows from below.
    floats = struct.pack("<4f", 0.0, 1.0, 0.5, 0.25)
    image = opened(written(tmp_path, b"Pf\n2 2\n-1.0\n" + floats))
    assert pixels_of(image)[:, :, 0].tolist() == [[128, 64], [0, 255]]


def test_cmyk_is_converted_by_a_press_profile(tmp_path: Path) -> None:
    inks = Pillow.new("CMYK", (8, 8), (0, 255, 255, 0))
    # Photoshop stores ink upside down.
    image = opened(written(tmp_path, psd_of(ImageChops.invert(inks), 4)))
    red, green, blue = pixels_of(image)[0, 0]
    assert red > 180
    assert max(green, blue) < 80


def test_a_profile_is_applied_and_named(tmp_path: Path) -> None:
    image = opened(written(tmp_path, psd_of(photo(), 3, profile=srgb_profile())))
    assert image.source.metadata == {"icc"}
    assert image.source.profile == "sRGB built-in"
    assert (pixels_of(image) == samples(photo())).all()


@pytest.mark.parametrize("bitmap", ["png", "bmp"])
def test_of_an_icon_the_largest_picture_is_read(tmp_path: Path, bitmap: str) -> None:
    path = written(tmp_path, icon_of(16, 48, 32, bitmap_format=bitmap))
    image = opened(path)
    assert (image.width, image.height) == (48, 48)
    assert difference(pixels_of(image)[:, :, :3], photo(256, 256).resize((48, 48), Pillow.Resampling.LANCZOS)) < 8
    assert inspect_file(path, LIMITS).width == 48


def test_of_equal_icons_the_one_with_more_colours_is_read(tmp_path: Path) -> None:
    """Two pictures of 2×2: red of 8 bits with a palette first, then blue of 32 bits."""

    def bitmap(bits: int, body: bytes) -> bytes:
        return struct.pack("<IiiHHIIiiII", 40, 2, 4, 1, bits, 0, 0, 0, 0, 256 if bits == 8 else 0, 0) + body

    few = bitmap(8, bytes([0, 0, 255, 0]) * 256 + bytes(2 * 4) + bytes(2 * 4))
    many = bitmap(32, bytes([255, 0, 0, 255]) * 4 + bytes(2 * 4))
    entries, at = b"", 6 + 32
    for bits, body in ((8, few), (32, many)):
        entries += struct.pack("<BBBBHHII", 2, 2, 0, 0, 1, bits, len(body), at)
        at += len(body)
    image = opened(written(tmp_path, struct.pack("<HHH", 0, 1, 2) + entries + few + many))
    assert pixels_of(image)[0, 0].tolist() == [0, 0, 255, 255]


def test_heic_is_read_and_becomes_jpeg(tmp_path: Path) -> None:
    path = written(tmp_path, heic_of(photo()))
    image = opened(path)
    assert difference(pixels_of(image), photo()) < 3
    assert inspect_file(path, LIMITS) == describe(image)
    result = encoded(image, tmp_path)
    assert result.output.picture.format == "jpeg"
    assert result.warnings == ["HEIC cannot be written; the result is a JPEG."]
    assert encoded(image, tmp_path / ".", format="webp").warnings == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_heic_is_turned_once(tmp_path: Path, orientation: int) -> None:
    path = written(tmp_path, turned_heic(photo(), orientation))
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    tagged = photo().copy()
    tagged.info["exif"] = exif.tobytes()
    expected = ImageOps.exif_transpose(tagged)
    image = opened(path)
    assert (image.width, image.height) == expected.size
    assert difference(pixels_of(image), expected) < 4
    assert image.source.orientation == orientation
    assert inspect_file(path, LIMITS) == describe(image)


def test_heic_of_10_bits_is_reduced_and_says_so(tmp_path: Path) -> None:
    image = opened(written(tmp_path, ten_bit_heic()))
    assert image.pixels.format == "uchar"
    assert difference(pixels_of(image), photo()) < 3
    assert image.warnings == ("10 bits a channel were reduced to 8.",)
    assert image.source.header.get("bits-per-sample") == 10


def test_heic_keeps_alpha_and_metadata_until_it_is_written(tmp_path: Path) -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "Maker"
    clear = photo().convert("RGBA")
    clear.putalpha(photo().convert("L"))
    clear.info |= {"exif": exif.tobytes(), "icc_profile": srgb_profile()}
    image = opened(written(tmp_path, heic_of(clear)))
    assert image.pixels.bands == 4
    assert difference(pixels_of(image)[:, :, 3], photo().convert("L")) < 4
    assert image.source.metadata == {"exif", "icc"}
    assert encoded(image, tmp_path, format="png").removed == ["exif"]


def test_without_its_library_heic_tells_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnsupportedFormat, match=r'uv tool install "darkroom-mcp\[heic\]"') as caught:
        opened(written(tmp_path, heic_of(photo())))
    assert caught.value.details["got"] == "heic"


def test_an_animated_avif_becomes_an_animated_webp(tmp_path: Path) -> None:
    assert PIL.features.check("avif")
    frames = [photo().rotate(angle) for angle in (0, 20, 40)]
    image = opened(written(tmp_path, bytes_of(frames[0], "avif", save_all=True, append_images=frames[1:])))
    result = encoded(image, tmp_path)
    assert (result.output.picture.format, result.output.picture.frames) == ("webp", 3)
    assert result.warnings == ["An animated AVIF cannot be written; the result is an animated WebP."]


@pytest.mark.parametrize("kind", ["bmp in colour", "psd with alpha", "qoi", "ppm"])
def test_what_is_only_read_is_written_as_png(tmp_path: Path, kind: str) -> None:
    make, original = EXACT[kind]
    image = opened(written(tmp_path, make()))
    result = encoded(image, tmp_path)
    assert result.output.picture.format == "png"
    assert result.warnings == [f"{image.source.format.upper()} cannot be written; the result is a PNG."]
    assert (seen(result.output.path) == samples(original())).all()


@pytest.mark.parametrize(
    "data",
    [
        b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"P6\n60000 60000 255\n",
        b"qoif" + struct.pack(">IIBB", 60_000, 60_000, 3, 0) + bytes(14),
        struct.pack(">4sH6xHIIHH", b"8BPS", 1, 3, 60_000, 60_000, 8, 3) + bytes(14),
    ],
)
def test_a_size_over_the_limit_is_refused_before_any_pixel(tmp_path: Path, data: bytes) -> None:
    for look in (opened, lambda path: inspect_file(path, LIMITS)):
        with pytest.raises(LimitExceeded) as caught:
            look(written(tmp_path, data))
        assert caught.value.code == "IMAGE_TOO_LARGE"


@pytest.mark.parametrize("kind", ["qoi", "plain"])
def test_what_decodes_slowly_has_a_lower_limit(tmp_path: Path, kind: str) -> None:
    header = b"qoif" + struct.pack(">IIBB", 3000, 2000, 3, 0) if kind == "qoi" else b"P3 3000 2000 255\n"
    with pytest.raises(LimitExceeded, match="4, because it decodes slowly"):
        opened(written(tmp_path, header + bytes(14)))


def test_a_picture_inside_an_icon_has_a_limit_of_its_own(tmp_path: Path) -> None:
    huge = bytes_of(Pillow.new("1", (5000, 5000)))
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(huge), 22)
    with pytest.raises(LimitExceeded, match="5000×5000"):
        opened(written(tmp_path, struct.pack("<HHH", 0, 1, 1) + entry + huge))
    with pytest.raises((ImageTooComplex, UnsupportedFormat)):
        opened(written(tmp_path, struct.pack("<HHH", 0, 1, 5000) + entry * 5000))


def test_all_frames_of_an_avif_count(tmp_path: Path) -> None:
    frames = [photo().rotate(angle) for angle in (0, 20, 40)]
    path = written(tmp_path, bytes_of(frames[0], "avif", save_all=True, append_images=frames[1:]))
    with pytest.raises(LimitExceeded) as caught:
        opened(path, limits=replace(LIMITS, frames=2))
    assert caught.value.code == "TOO_MANY_FRAMES"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: psd_of(photo(), 3, depth=16), "16 bits a channel"),
        (lambda: psd_of(photo(), 3, version=2), "PSB"),
        (lambda: psd_of(photo().convert("LAB"), 9), "LAB"),
    ],
)
def test_kinds_of_photoshop_documents_that_are_not_read_are_named(
    tmp_path: Path, data: Callable[[], bytes], words: str
) -> None:
    with pytest.raises(UnsupportedFormat, match=words):
        opened(written(tmp_path, data()))


FUZZED = {
    "bmp": EXACT["bmp with palette"][0],
    "ico": lambda: icon_of(16, 32),
    "pnm": EXACT["ppm"][0],
    "qoi": EXACT["qoi"][0],
    "jp2": EXACT["jp2"][0],
    "psd": EXACT["psd with alpha"][0],
    "heic": lambda: heic_of(photo()),
}
FILES = {format: make() for format, make in FUZZED.items()}


@pytest.mark.parametrize(("format", "share"), list(itertools.product(FUZZED, (0.05, 0.3, 0.7, 0.95))))
def test_a_truncated_file_is_invalid(tmp_path: Path, format: str, share: float) -> None:
    whole = FILES[format]
    with pytest.raises((InvalidImage, UnsupportedFormat)) as caught:
        encoded(opened(written(tmp_path, whole[: max(30, int(len(whole) * share))])), tmp_path)
    assert str(tmp_path) not in caught.value.message
    if share > 0.1:
        assert caught.value.code == "INVALID_IMAGE"


@given(format=st.sampled_from(sorted(FUZZED)), data=st.data())
def test_any_damage_is_a_picture_or_a_public_error(tmp_path: Path, format: str, data: st.DataObject) -> None:
    sample = bytearray(FILES[format])
    for _ in range(data.draw(st.integers(1, 6))):
        sample[data.draw(st.integers(0, min(len(sample), 400) - 1))] = data.draw(st.integers(0, 255))
    try:
        opened(written(tmp_path, bytes(sample)))
    except DarkroomError as error:
        assert error.status < 500
        assert error.message.endswith(".")
