"""strip-metadata: what is private is gone, and every byte of the pixels stays."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageSequence
from support.codec import builtin_profile, difference, encoded, srgb_profile
from support.containers import exif_entries, exif_of, jpeg_segments, picture_bytes, png_chunks, xmp_of
from support.pictures import opened, picture, use
from support.private import MAKER_NOTE, PRIVATE, private_exif, private_jpeg, private_png, saved, scene

from darkroom.engine.codec import Encoded
from darkroom_tools.errors import InvalidImage, InvalidSettings
from darkroom_tools.essentials.resize import resize
from darkroom_tools.optimization.edit_metadata import edit_metadata
from darkroom_tools.optimization.strip_metadata import strip_metadata

every_format = pytest.mark.parametrize("format", PRIVATE)
KINDS = {
    "jpeg": {"comments", "exif", "gps", "iptc", "other", "thumbnail", "xmp"},
    "png": {"exif", "gps", "iptc", "other", "text", "thumbnail", "xmp"},
    "webp": {"exif", "gps", "other", "thumbnail", "xmp"},
}
ENCODINGS = {
    "jpeg": [{}, {"progressive": True}, {"quality": 30, "subsampling": 2}],
    "png": [{}, {"compress_level": 1}],
    "webp": [{}, {"lossless": True}],
}


def stripped(data: bytes, folder: Path, **settings: bool) -> tuple[bytes, Encoded]:
    result = encoded(use(strip_metadata, opened(data, folder), **settings), folder)
    return result.output.path.read_bytes(), result


def pixels(data: bytes) -> np.ndarray:
    with Pillow.open(io.BytesIO(data)) as image:
        return np.stack([np.asarray(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)])


@every_format
def test_everything_private_is_gone_and_the_pixels_stay_byte_by_byte(tmp_path: Path, format: str) -> None:
    profile = srgb_profile()
    for number, options in enumerate(ENCODINGS[format]):
        (folder := tmp_path / str(number)).mkdir()
        data = PRIVATE[format](icc_profile=profile, **options)
        assert b"secret" in data
        out, result = stripped(data, folder)
        assert b"secret" not in out
        assert picture_bytes(out, format) == picture_bytes(data, format)
        assert (pixels(out) == pixels(data)).all()
        with Pillow.open(io.BytesIO(out)) as image:
            image.load()
            assert not image.getexif()
            assert image.info["icc_profile"] == profile
            assert not {"exif", "xmp", "comment", "photoshop", "mp", "Title", "Comment", "Author"} & set(image.info)
        assert (set(result.kept), set(result.removed)) == ({"icc"}, KINDS[format])
        assert result.warnings == []


def test_what_a_jpeg_needs_to_be_decoded_stays(tmp_path: Path) -> None:
    out, _ = stripped(private_jpeg(), tmp_path)
    bodies = dict(jpeg_segments(out))
    assert bodies[0xE0].startswith(b"JFIF\0")
    assert len(bodies[0xE0]) == 14
    assert bodies[0xEE].startswith(b"Adobe")
    assert [marker for marker in bodies if 0xE0 <= marker <= 0xEF or marker == 0xFE] == [0xE0, 0xEE]
    assert bodies[0] == b""


def test_what_a_png_needs_to_look_right_stays(tmp_path: Path) -> None:
    out, _ = stripped(private_png(icc_profile=srgb_profile()), tmp_path)
    assert [name for name, _ in png_chunks(out)] == [b"IHDR", b"iCCP", b"pHYs", b"IDAT", b"IEND", b""]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photo_keeps_the_way_it_is_held_and_nothing_else(tmp_path: Path, orientation: int) -> None:
    out, result = stripped(private_jpeg(orientation), tmp_path)
    block = exif_of(out, "jpeg")
    assert block is not None
    assert len(block) == 26
    assert exif_entries(block) == {"main": {0x0112: (3, 1, bytes([orientation, 0]))}}
    assert result.kept == ["orientation"]
    size = Pillow.open(io.BytesIO(out)).size
    picture = result.output.picture
    assert (picture.width, picture.height) == (size if orientation < 5 else size[::-1])


@every_format
def test_only_the_position_goes_where_only_that_is_asked(tmp_path: Path, format: str) -> None:
    data = PRIVATE[format]()
    out, result = stripped(data, tmp_path, stripGps=True)
    before, after = exif_of(data, format), exif_of(out, format)
    assert before is not None
    assert after is not None
    old, new = exif_entries(before), exif_entries(after)
    assert "gps" not in new
    assert 0x8825 not in new["main"]
    assert new["exif"] == old["exif"]
    assert {tag: entry for tag, entry in new["main"].items() if tag != 0x8769} == {
        tag: entry for tag, entry in old["main"].items() if tag not in (0x8769, 0x8825)
    }
    assert after.index(MAKER_NOTE) == before.index(MAKER_NOTE)
    assert b"secret-thumbnail" in after
    packet = xmp_of(out, format)
    assert packet is not None
    assert b"GPS" not in packet
    assert b"secret-property" in packet
    assert b"kept>yes<" in packet
    assert "gps" in result.removed
    assert {"exif", "xmp", "thumbnail"} <= set(result.kept)
    assert picture_bytes(out, format) == picture_bytes(data, format)


@every_format
def test_exif_and_xmp_can_go_one_by_one(tmp_path: Path, format: str) -> None:
    data = PRIVATE[format]()
    for setting, gone, stays in (("stripExif", exif_of, xmp_of), ("stripXmp", xmp_of, exif_of)):
        (folder := tmp_path / setting).mkdir()
        out, _ = stripped(data, folder, **{setting: True})
        assert gone(out, format) is None
        assert stays(out, format) == stays(data, format)


@every_format
def test_a_profile_that_says_srgb_can_go_without_touching_pixels(tmp_path: Path, format: str) -> None:
    data = PRIVATE[format](icc_profile=srgb_profile())
    out, result = stripped(data, tmp_path, stripIcc=True)
    assert "icc_profile" not in Pillow.open(io.BytesIO(out)).info
    assert picture_bytes(out, format) == picture_bytes(data, format)
    assert "icc" in result.removed
    assert exif_of(out, format) is not None


def test_a_profile_that_says_more_is_converted_so_that_colours_stay(tmp_path: Path) -> None:
    data = saved(scene(), "PNG", icc_profile=builtin_profile("p3"))
    out, result = stripped(data, tmp_path, stripAll=True, stripIcc=True)
    image = opened(data, tmp_path).pixels
    assert "icc_profile" not in Pillow.open(io.BytesIO(out)).info
    assert (pixels(out)[0][:, :, :3] == image.numpy()).all()
    assert difference(pixels(out)[0][:, :, :3], scene()) > 1
    assert "sRGB" in result.warnings[0]


def test_a_gif_loses_its_comments_and_keeps_its_frames(tmp_path: Path) -> None:
    frames = [scene(40, 30).rotate(n * 20) for n in range(3)]
    data = saved(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[50, 100, 150], loop=3, comment=b"secret"
    )
    out, result = stripped(data + b"secret-behind", tmp_path)
    assert b"secret" not in out
    assert (pixels(out) == pixels(data)).all()
    image = Pillow.open(io.BytesIO(out))
    assert (image.info["loop"], image.info["duration"]) == (3, 50)
    assert result.removed == ["comments", "other"]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_keeps_its_frames(tmp_path: Path, format: str) -> None:
    frames = [scene(40, 30).rotate(n * 20) for n in range(3)]
    data = saved(frames[0], format, save_all=True, append_images=frames[1:], duration=100, exif=private_exif())
    out, _ = stripped(data, tmp_path)
    assert b"secret" not in out
    assert (pixels(out) == pixels(data)).all()
    assert picture_bytes(out, format.lower()) == picture_bytes(data, format.lower())


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "gif"])
def test_a_file_without_metadata_comes_back_as_it_is(tmp_path: Path, format: str) -> None:
    data = saved(scene().quantize(16) if format == "gif" else scene(), format)
    assert stripped(data, tmp_path)[0] == data


@pytest.mark.parametrize("format", ["avif", "tiff"])
def test_other_formats_are_encoded_anew_and_the_reply_says_so(tmp_path: Path, format: str) -> None:
    data = (
        saved(scene(), format, exif=private_exif(), quality=95)
        if format == "avif"
        else saved(scene(), format, description="secret", compression="tiff_lzw")
    )
    out, result = stripped(data, tmp_path)
    assert b"secret" not in out
    assert difference(pixels(out)[0], pixels(data)[0]) < (3 if format == "avif" else 0.001)
    assert "encoded anew" in result.warnings[0]


def test_of_an_avif_the_position_can_go_alone(tmp_path: Path) -> None:
    out, result = stripped(saved(scene(), "AVIF", exif=private_exif()), tmp_path, stripGps=True)
    exif = Pillow.open(io.BytesIO(out)).getexif()
    assert exif[0x013B] == "secret-artist"
    assert not exif.get_ifd(0x8825)
    assert (result.kept, result.removed) == (["exif"], ["gps"])


def test_in_a_pipeline_steps_take_effect_in_order(tmp_path: Path) -> None:
    data = private_jpeg()
    image = opened(data, tmp_path)
    edited_last = encoded(use(edit_metadata, use(strip_metadata, image), title="Mine"), tmp_path).output.path
    out = edited_last.read_bytes()
    edited_last.unlink()
    assert b"secret" not in out
    assert b"Mine" in out
    stripped_last = encoded(use(strip_metadata, use(edit_metadata, image, title="Mine")), tmp_path).output.path
    assert b"Mine" not in stripped_last.read_bytes()


def test_a_picture_that_was_changed_carries_nothing_either(tmp_path: Path) -> None:
    image = use(strip_metadata, use(resize, opened(private_jpeg(6), tmp_path), width=40))
    result = encoded(image, tmp_path)
    out = result.output.path.read_bytes()
    assert b"secret" not in out
    assert not Pillow.open(io.BytesIO(out)).getexif()
    assert result.removed == ["exif", "gps", "iptc", "xmp"]


def test_a_png_with_a_wrong_checksum_is_encoded_anew(tmp_path: Path) -> None:
    data = bytearray(private_png())
    data[data.index(b"secret-chunk") + 12] ^= 1
    out, result = stripped(bytes(data), tmp_path)
    assert b"secret" not in out
    assert (pixels(out) == pixels(private_png())).all()
    assert "encoded anew" in result.warnings[0]


@every_format
def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path, format: str) -> None:
    data = saved(scene(), format, quality=90) if format != "png" else saved(scene(), format)
    with pytest.raises(InvalidImage):
        stripped(data[: len(data) * 2 // 3], tmp_path)


def test_a_damaged_exif_block_goes_as_a_whole(tmp_path: Path) -> None:
    block = bytearray(private_exif())
    block[4:8] = b"\xff\xff\xff\x7f"
    data = saved(scene(), "WEBP", exif=bytes(block))
    out, result = stripped(data, tmp_path, stripGps=True)
    assert b"secret" not in out
    assert "damaged" in result.warnings[0]


def test_a_packet_that_declares_entities_is_not_parsed(tmp_path: Path) -> None:
    bomb = b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaa'>]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&a;</x:xmpmeta>"
    out, result = stripped(saved(scene(), "JPEG", xmp=bomb), tmp_path, stripGps=True)
    assert xmp_of(out, "jpeg") is None
    assert "damaged" in result.warnings[0]


def test_doubled_blocks_all_go(tmp_path: Path) -> None:
    data = private_jpeg()
    at = data.index(b"\xff\xe1")
    once = data[at : data.index(b"\xff\xe5")]
    out, _ = stripped(data[:at] + once + data[at:], tmp_path, stripGps=True)
    entries = exif_entries(exif_of(out, "jpeg") or b"")
    assert "gps" not in entries
    assert b"GPS" not in out


def test_a_picture_that_came_from_no_file_passes(tmp_path: Path) -> None:
    image = use(strip_metadata, picture(np.full((4, 4, 3), 9, np.uint8)))
    assert encoded(image, tmp_path).removed == []


def test_nothing_chosen_changes_nothing(tmp_path: Path) -> None:
    image = opened(private_jpeg(), tmp_path)
    assert use(strip_metadata, image, stripAll=False) is image


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InvalidSettings, match="stripGps"):
        strip_metadata.settings.parse({"stripGPS": True})
