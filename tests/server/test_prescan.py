"""Cheap looks into containers, on real and on hostile files."""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import PngImagePlugin
from support.codec import bytes_of, photo, srgb_profile, stored, written

from darkroom.engine.limits import Limits
from darkroom.engine.prescan import MAX_PARTS, Prescan, prescan
from darkroom_tools.errors import DarkroomError, ImageTooComplex, LimitExceeded, UnsupportedFormat

LIMITS = Limits()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes) -> bytes:
    """A real PNG with more chunks before its pixels."""
    plain = bytes_of(photo())
    return plain[:33] + b"".join(chunks) + plain[33:]


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes) -> bytes:
    """A real JPEG with more segments at its start."""
    plain = bytes_of(photo(), "jpeg")
    return plain[:2] + b"".join(segments) + plain[2:]


def scanned(folder: Path, data: bytes, format: str, limits: Limits = LIMITS) -> Prescan:
    return prescan(written(folder, data), format, limits)


def test_real_files_pass_with_one_frame(tmp_path: Path) -> None:
    for format in ("jpeg", "png", "webp", "tiff", "avif", "gif"):
        assert prescan(stored(tmp_path, photo(), format), format, LIMITS) == Prescan()


def test_a_progressive_photo_passes_and_a_jpeg_of_many_scans_does_not(tmp_path: Path) -> None:
    progressive = bytes_of(photo(), "jpeg", progressive=True)
    start = progressive.rindex(b"\xff\xda")
    scan, end = progressive[start:-2], progressive[-2:]
    assert scanned(tmp_path, progressive, "jpeg") == Prescan()
    at_limit = LIMITS.jpeg_scans - progressive.count(b"\xff\xda")
    assert scanned(tmp_path, progressive[:-2] + scan * at_limit + end, "jpeg") == Prescan()
    with pytest.raises(ImageTooComplex):
        scanned(tmp_path, progressive[:-2] + scan * (at_limit + 1) + end, "jpeg")


def test_scan_markers_inside_segments_and_behind_the_end_are_not_counted(tmp_path: Path) -> None:
    looks_like_scans = b"\xff\xda" * 5_000
    data = jpeg_with(jpeg_segment(0xED, looks_like_scans)) + looks_like_scans
    assert scanned(tmp_path, data, "jpeg") == Prescan()


def test_garbage_between_segments_does_not_hide_scans(tmp_path: Path) -> None:
    scan = jpeg_segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x12\xff\0\xff\xd0\xff\xff"
    with pytest.raises(ImageTooComplex):
        scanned(tmp_path, b"\xff\xd8" + b"junk" + scan * (LIMITS.jpeg_scans + 1), "jpeg")


FRAME_OF_THREE = jpeg_segment(0xC0, b"\x08\0\x10\0\x10\x03\x01\x11\0\x02\x11\0\x03\x11\0")


def test_a_sequential_jpeg_with_a_scan_for_each_component_is_counted_too(tmp_path: Path) -> None:
    scan = jpeg_segment(0xDA, b"\x01\x01\0\0\x3f\0") + b"\x12"
    with pytest.raises(ImageTooComplex):
        scanned(tmp_path, b"\xff\xd8" + FRAME_OF_THREE + scan * (LIMITS.jpeg_scans + 1), "jpeg")


def test_behind_a_scan_that_holds_everything_no_decoder_reads_and_nothing_is_counted(tmp_path: Path) -> None:
    plain = bytes_of(photo(), "jpeg")
    scan = plain[plain.rindex(b"\xff\xda") : -2]
    path = written(tmp_path, plain[:-2] + scan * 1_000 + plain[-2:])
    assert prescan(path, "jpeg", LIMITS) == Prescan()
    expected = pyvips.Image.new_from_buffer(plain, "").write_to_memory()
    assert pyvips.Image.jpegload(str(path)).write_to_memory() == expected


@pytest.mark.parametrize(
    "segment",
    [
        jpeg_segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0"),
        jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta hdrgm:Version='1.0'/>"),
    ],
)
def test_an_hdr_gain_map_is_seen_by_either_announcement(tmp_path: Path, segment: bytes) -> None:
    assert scanned(tmp_path, jpeg_with(segment), "jpeg").gain_map


def test_jpeg_metadata_is_summed_up(tmp_path: Path) -> None:
    data = jpeg_with(*[jpeg_segment(0xE1, bytes(60_000))] * 20)
    assert scanned(tmp_path, data, "jpeg") == Prescan()
    with pytest.raises(LimitExceeded) as caught:
        scanned(tmp_path, data, "jpeg", replace(LIMITS, metadata_bytes=1_000_000))
    assert caught.value.code == "METADATA_TOO_LARGE"


def test_endless_markers_are_too_complex(tmp_path: Path) -> None:
    with pytest.raises(ImageTooComplex):
        scanned(tmp_path, b"\xff\xd8" + jpeg_segment(0xC4, b"") * (MAX_PARTS + 1), "jpeg")


def bomb(kind: bytes) -> bytes:
    """A text or profile chunk of about 64 MiB when inflated, as the PNG specification lays it out."""
    packed = zlib.compress(bytes(64 * 2**20))
    lead = {b"zTXt": b"Comment\0\0", b"iCCP": b"Profile\0\0", b"iTXt": b"Comment\0\x01\0en\0Comment\0"}[kind]
    return png_chunk(kind, lead + packed)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_inflating_metadata_of_a_png_is_refused_without_inflating_it_all(tmp_path: Path, kind: bytes) -> None:
    data = png_with(bomb(kind))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceeded) as caught:
            scanned(tmp_path, data, "png")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.code == "METADATA_TOO_LARGE"
    assert peak < 3 * LIMITS.metadata_bytes


def test_many_small_bombs_share_one_budget(tmp_path: Path) -> None:
    chunk = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2**20)))
    assert scanned(tmp_path, png_with(*[chunk] * 15), "png") == Prescan()
    with pytest.raises(LimitExceeded):
        scanned(tmp_path, png_with(*[chunk] * 17), "png")


def test_text_chunks_are_counted_also_behind_the_pixels(tmp_path: Path) -> None:
    plain = bytes_of(photo())
    text = png_chunk(b"tEXt", b"a\0b")
    before_end = len(plain) - 12
    many = plain[:before_end] + text * LIMITS.text_chunks + plain[before_end:]
    assert scanned(tmp_path, many, "png") == Prescan()
    with pytest.raises(LimitExceeded) as caught:
        scanned(tmp_path, plain[:before_end] + text * (LIMITS.text_chunks + 1) + plain[before_end:], "png")
    assert caught.value.code == "METADATA_TOO_LARGE"


def test_ordinary_metadata_passes(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a photograph " * 1000, zip=True)
    info.add_itxt("Title", "苹果", zip=True)
    assert prescan(stored(tmp_path, photo(), pnginfo=info, icc_profile=srgb_profile()), "png", LIMITS) == Prescan()


def test_a_damaged_stream_counts_as_its_packed_size(tmp_path: Path) -> None:
    assert scanned(tmp_path, png_with(png_chunk(b"zTXt", b"Comment\0\0not deflated")), "png") == Prescan()


def test_empty_chunks_without_end_are_too_complex(tmp_path: Path) -> None:
    with pytest.raises(ImageTooComplex):
        scanned(tmp_path, png_with(png_chunk(b"prVt", b"") * MAX_PARTS), "png")


@pytest.mark.parametrize(("format", "frames"), [("png", 7), ("webp", 7)])
def test_frames_of_an_animation_are_counted(tmp_path: Path, format: str, frames: int) -> None:
    images = [photo().rotate(angle) for angle in range(frames)]
    path = stored(tmp_path, images[0], format, save_all=True, append_images=images[1:], duration=50)
    assert prescan(path, format, LIMITS).frames == frames


def test_a_webp_of_too_many_frames_stops_at_the_limit(tmp_path: Path) -> None:
    data = b"RIFF\0\0\0\0WEBP" + b"ANMF\0\0\0\0" * 501
    with pytest.raises(LimitExceeded) as caught:
        scanned(tmp_path, data, "webp")
    assert caught.value.code == "TOO_MANY_FRAMES"


def tiff_with(order: str, *tags: int) -> bytes:
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 1, 0) for tag in tags)
    return start + struct.pack(order + "IH", 8, len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_tags_tell_of_exif_gps_and_camera_raw(tmp_path: Path, order: str) -> None:
    assert scanned(tmp_path, tiff_with(order, 256, 0x8769, 0x8825), "tiff").metadata == {"exif", "gps"}
    with pytest.raises(UnsupportedFormat):
        scanned(tmp_path, tiff_with(order, 256, 0xC612), "tiff")


SAMPLES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: bytes_of(photo(), "jpeg", progressive=True),
    "png": lambda: png_with(png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"text"))),
    "webp": lambda: bytes_of(photo(), "webp", save_all=True, append_images=[photo().rotate(5)]),
    "tiff": lambda: tiff_with("<", 256, 257, 0x8769),
}


@given(format=st.sampled_from(sorted(SAMPLES)), data=st.data())
def test_damage_anywhere_ends_the_walk_or_is_a_public_error(tmp_path: Path, format: str, data: st.DataObject) -> None:
    sample = bytearray(SAMPLES[format]())
    for _ in range(data.draw(st.integers(0, 8))):
        sample[data.draw(st.integers(4, len(sample) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(4, len(sample)))
    try:
        prescan(written(tmp_path, bytes(sample[:cut])), format, LIMITS)
    except DarkroomError as error:
        assert error.message.endswith(".")
