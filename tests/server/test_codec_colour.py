"""Colour on the way in: everything becomes grey or sRGB, and looks the same as before."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms
from support.codec import (
    builtin_profile,
    difference,
    encoded,
    opened,
    photo,
    pixels_of,
    read_back,
    seen,
    srgb_profile,
    stored,
)

from darkroom.engine.colour import read_profile


def rgb_profile(primaries: list[tuple[float, float, float]], gamma: float, name: str = "Made up") -> bytes:
    """An ICC 2 matrix profile: primaries in XYZ adapted to D50, one gamma."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    text = name.encode()
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text) + 1) + text + bytes(80),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249),
    }
    for letter, column in zip(b"rgb", primaries, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ \0\0\0\0" + fixed(*column)
        tags[bytes([letter]) + b"TRC"] = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    return pack_profile(b"RGB ", tags)


def pack_profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    offset, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


ADOBE_RGB = [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)]
SRGB = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141)]


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    desc = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"Grey\0" + bytes(80)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return pack_profile(b"GRAY", {b"desc": desc, b"cprt": b"text\0\0\0\0none", b"wtpt": white, b"kTRC": curve})


def converted(image: Pillow.Image, profile: bytes, mode: str = "RGB") -> Pillow.Image:
    """The picture in sRGB, by Little CMS through Pillow."""
    result = ImageCms.profileToProfile(
        image, io.BytesIO(profile), io.BytesIO(srgb_profile()), ImageCms.Intent.PERCEPTUAL, outputMode=mode
    )
    assert result is not None
    return result


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("profile", [builtin_profile("p3"), rgb_profile(ADOBE_RGB, 563 / 256)], ids=["p3", "adobe"])
def test_wide_gamut_colours_are_converted_to_srgb(tmp_path: Path, format: str, profile: bytes) -> None:
    path = stored(tmp_path, photo(), format, icc_profile=profile)
    image = opened(path)
    expected = converted(read_back(path).convert("RGB"), profile)
    assert difference(pixels_of(image), expected) < 1
    assert difference(photo(), expected) > 3
    assert image.source.profile == read_profile(profile).description
    result = encoded(image, tmp_path, format="png").output.path
    assert read_profile(read_back(result).info["icc_profile"]).is_srgb


def test_a_reduced_decode_has_the_same_colours(tmp_path: Path) -> None:
    profile = rgb_profile(ADOBE_RGB, 563 / 256)
    image = opened(stored(tmp_path, photo(800, 600), "jpeg", icc_profile=profile), sequential=True)
    reduced = image.reduced(0.1)
    assert reduced.width == 200
    expected = converted(photo(200, 150), profile)
    assert difference(reduced.numpy(), expected) < 4


@pytest.mark.parametrize("profile", [srgb_profile(), builtin_profile("srgb")], ids=["lcms", "libvips"])
def test_an_srgb_profile_stays_and_costs_nothing(tmp_path: Path, profile: bytes) -> None:
    path = stored(tmp_path, photo(), "png", icc_profile=profile)
    image = opened(path)
    assert image.pixels.get("icc-profile-data") == profile
    assert (pixels_of(image) == seen(path)).all()


def test_srgb_is_told_by_primaries_and_curve_not_by_name() -> None:
    assert read_profile(srgb_profile()).is_srgb
    assert not read_profile(rgb_profile(ADOBE_RGB, 2.2, "sRGB IEC61966-2.1")).is_srgb
    assert not read_profile(rgb_profile(SRGB, 1.8, "sRGB IEC61966-2.1")).is_srgb
    assert not read_profile(builtin_profile("p3")).is_srgb
    assert not read_profile(builtin_profile("cmyk")).is_srgb


def test_profile_names_are_short_and_printable() -> None:
    profile = read_profile(rgb_profile(ADOBE_RGB, 2.2, "a\x1b[31m\r\nb" + "x" * 400))
    assert profile.description.startswith("a[31mb")
    assert profile.description.isprintable()
    assert len(profile.description) <= 120


@given(st.binary(max_size=300), st.integers(0, 700))
def test_damaged_profiles_are_told_or_described(noise: bytes, at: int) -> None:
    damaged = bytearray(srgb_profile())
    damaged[at : at + len(noise)] = noise
    profile = read_profile(bytes(damaged))
    assert profile is None or profile.description.isprintable()


@pytest.mark.parametrize("profile", [b"not a profile at all", b"", srgb_profile()[:200], grey_profile(2.2)])
def test_a_bad_profile_is_ignored_with_a_warning(tmp_path: Path, profile: bytes) -> None:
    path = stored(tmp_path, photo(), "jpeg", icc_profile=profile)
    image = opened(path)
    result = encoded(image, tmp_path, format="png")
    assert difference(seen(result.output.path), photo()) < 3
    assert "icc_profile" not in read_back(result.output.path).info
    if profile:
        assert image.warnings == ("The embedded colour profile is damaged or does not fit the image; it was ignored.",)
        assert result.removed == ["icc"]


def test_cmyk_is_converted_by_its_own_profile(tmp_path: Path) -> None:
    profile = builtin_profile("cmyk")
    ink = ImageCms.profileToProfile(photo(), io.BytesIO(srgb_profile()), io.BytesIO(profile), outputMode="CMYK")
    for format in ("jpeg", "tiff"):
        path = stored(tmp_path, ink, format, icc_profile=profile)
        image = opened(path)
        assert (image.pixels.interpretation, image.pixels.bands) == ("srgb", 3)
        assert difference(pixels_of(image), converted(read_back(path), profile)) < 2


def test_cmyk_without_a_profile_keeps_its_colours_roughly(tmp_path: Path) -> None:
    inks = Pillow.new("CMYK", (40, 10))
    inks.paste((255, 0, 0, 0), (0, 0, 10, 10))
    inks.paste((0, 255, 0, 0), (10, 0, 20, 10))
    inks.paste((0, 0, 255, 0), (20, 0, 30, 10))
    inks.paste((0, 0, 0, 255), (30, 0, 40, 10))
    for format in ("jpeg", "tiff"):
        cyan, magenta, yellow, black = pixels_of(opened(stored(tmp_path, inks, format)))[5, 5::10]
        assert cyan[0] < cyan[1] and cyan[0] < cyan[2]
        assert magenta[1] < magenta[0] and magenta[1] < magenta[2]
        assert yellow[2] < yellow[0] and yellow[2] < yellow[1]
        assert black.max() < 70


def test_grey_stays_grey(tmp_path: Path) -> None:
    grey = photo().convert("L")
    for format in ("jpeg", "png", "tiff"):
        image = opened(stored(tmp_path, grey, format))
        assert (image.pixels.bands, image.pixels.interpretation) == (1, "b-w")
        assert difference(pixels_of(image)[:, :, 0], grey) < 2


def test_a_grey_profile_is_converted_and_an_rgb_one_dropped_without_noise(tmp_path: Path) -> None:
    grey, profile = photo().convert("L"), grey_profile(1.8)
    image = opened(stored(tmp_path, grey, "png", icc_profile=profile))
    expected = converted(grey, profile, "RGB")
    assert difference(pixels_of(image)[:, :, 0], np.asarray(expected)[:, :, 0]) < 1.5
    assert difference(expected.convert("L"), grey) > 3
    assert (image.pixels.bands, image.pixels.get_typeof("icc-profile-data")) == (1, 0)
    plain = opened(stored(tmp_path, grey, "jpeg", icc_profile=srgb_profile()))
    assert (plain.pixels.bands, plain.warnings, plain.pixels.get_typeof("icc-profile-data")) == (1, (), 0)


@pytest.mark.parametrize(
    ("image", "bands"),
    [
        (photo().convert("1"), 1),
        (photo().quantize(16), 3),
        (photo().convert("LA"), 2),
        (photo().convert("RGBA"), 4),
    ],
    ids=["1-bit", "palette", "grey-alpha", "rgba"],
)
def test_png_modes_are_expanded_to_8_bit(tmp_path: Path, image: Pillow.Image, bands: int) -> None:
    result = opened(stored(tmp_path, image))
    assert (result.pixels.bands, result.pixels.format, result.has_alpha) == (bands, "uchar", bands in (2, 4))
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[bands]
    assert difference(pixels_of(result).squeeze(), image.convert(mode)) == 0


def test_16_bits_stay_16_bits_also_through_a_profile(tmp_path: Path) -> None:
    deep = (np.asarray(photo().convert("L")).astype(np.uint16) << 8) + 77
    grey = opened(stored(tmp_path, Pillow.fromarray(deep)))
    assert (grey.pixels.format, grey.pixels.interpretation) == ("ushort", "grey16")
    assert (pixels_of(grey)[:, :, 0] == deep).all()
    rgb = pyvips.Image.new_from_array(np.asarray(photo())).cast("ushort", shift=True).copy(interpretation="rgb16")
    rgb.icc_transform("p3", input_profile="srgb", depth=16).pngsave(str(tmp_path / "p3"))
    wide = opened(tmp_path / "p3")
    assert (wide.pixels.format, wide.pixels.interpretation) == ("ushort", "rgb16")
    assert difference(pixels_of(wide) / 256, photo()) < 2


def test_floating_point_and_whole_numbers_become_8_bit_with_a_warning(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    low_to_high = np.arange(256).reshape(16, 16)
    for array, words in (
        (values, "from 0 to 1"),
        (values * 900 - 100, "from -100 to 800"),
        (low_to_high.astype(np.int32) * 1000, "from 0 to 255000"),
    ):
        image = opened(stored(tmp_path, Pillow.fromarray(array), "tiff"))
        assert (pixels_of(image)[:, :, 0] == low_to_high).all()
        assert image.pixels.format == "uchar"
        assert words in image.warnings[0]


def test_floating_point_rgb_is_linear_light(tmp_path: Path) -> None:
    pyvips.Image.new_from_array(np.asarray(photo())).colourspace("scrgb").tiffsave(str(tmp_path / "float"))
    image = opened(tmp_path / "float")
    assert difference(pixels_of(image), photo()) < 0.1
    assert "linear light" in image.warnings[0]


def test_lab_and_extra_channels_become_srgb(tmp_path: Path) -> None:
    colour = pyvips.Image.new_from_array(np.asarray(photo()))
    colour.colourspace("lab").tiffsave(str(tmp_path / "lab"))
    assert difference(pixels_of(opened(tmp_path / "lab")), photo()) < 1
    colour.bandjoin([255, 7]).tiffsave(str(tmp_path / "five"))
    image = opened(tmp_path / "five")
    assert image.pixels.bands == 4
    assert "1 extra channel" in image.warnings[0]
    assert difference(pixels_of(image)[:, :, :3], photo()) == 0
