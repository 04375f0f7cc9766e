"""Writing pictures: what each format can hold, metadata, limits, cancelling."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageSequence, PngImagePlugin
from support.codec import (
    LIMITS,
    SAVED,
    bytes_of,
    difference,
    encoded,
    opened,
    photo,
    read_back,
    seen,
    srgb_profile,
    stored,
    written,
)

from darkroom.engine.codec import describe, encode_image
from darkroom.engine.outcome import Picture
from darkroom.engine.sniff import FORMATS
from darkroom_tools.errors import Cancelled, InvalidImage, OutOfMemory, OutputTooLarge, ProcessingFailed
from darkroom_tools.image import Image, Source

ALL = sorted(FORMATS)
PILLOW_NAME = {"heif": "AVIF"}


@pytest.mark.parametrize("format", ALL)
def test_each_format_is_written_and_read_back_by_another_library(tmp_path: Path, format: str) -> None:
    result = encoded(opened(stored(tmp_path, photo(256, 192)), sequential=True), tmp_path, format=format)
    path, picture = result.output.path, result.output.picture
    assert path == tmp_path / f"result.{FORMATS[format].extension}"
    size = path.stat().st_size
    assert picture == Picture(format, FORMATS[format].media_type, size, 256, 192, 1)
    assert (result.facts, result.kept, result.removed, result.warnings) == ({}, [], [], [])
    image = read_back(path)
    assert image.format == PILLOW_NAME.get(format, format.upper())
    assert difference(image.convert("RGB"), photo(256, 192)) < 8
    assert describe(opened(path)) == picture


@pytest.mark.parametrize("format", ALL)
def test_without_a_wish_the_format_of_the_source_stays(tmp_path: Path, format: str) -> None:
    first = encoded(opened(stored(tmp_path, photo())), tmp_path, format=format).output.path
    (again := tmp_path / "again").mkdir()
    assert encoded(opened(first), again).output.picture.format == format


def test_a_format_that_is_only_read_becomes_png_with_a_warning(tmp_path: Path) -> None:
    pixels = pyvips.Image.black(10, 10).copy(interpretation="b-w")
    result = encoded(Image(pixels, Source("svg", 100, pixels)), tmp_path)
    assert result.output.picture.format == "png"
    assert "SVG" in result.warnings[0]


@given(
    format=st.sampled_from(ALL),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA", "P", "1"]),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_any_size_and_kind_of_pixels_can_be_written_in_any_format(
    tmp_path: Path, format: str, mode: str, width: int, height: int
) -> None:
    image = opened(stored(tmp_path, photo(width, height).convert(mode)), sequential=True)
    result = encoded(image, tmp_path, format=format)
    try:
        assert read_back(result.output.path).size == (width, height)
    finally:
        result.output.path.unlink()


def test_the_defaults_are_ours(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo(256, 192)))
    jpeg = read_back(encoded(image, tmp_path, format="jpeg").output.path)
    quality_80 = Pillow.open(written(tmp_path, bytes_of(photo(), "jpeg", quality=80)))
    with quality_80:
        assert jpeg.quantization == quality_80.quantization
    header = pyvips.Image.jpegload(str(tmp_path / "result.jpg"))
    assert header.get("jpeg-chroma-subsample") == "4:2:0"
    assert header.get("jpeg-multiscan") == 0


def test_quality_changes_the_size(tmp_path: Path) -> None:
    for format in ("jpeg", "webp", "avif", "heif", "png", "gif"):
        sizes = []
        for quality in (10, 40, 90, None if format in ("png", "gif") else 100):
            image = opened(stored(tmp_path, photo(256, 192)))
            result = encoded(image, tmp_path, format=format, quality=quality).output.path
            sizes.append(result.stat().st_size)
            result.unlink()
        assert sizes == sorted(sizes)
        assert sizes[0] < 0.8 * sizes[-1]


def test_quality_below_100_gives_a_png_a_palette(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo()))
    assert read_back(encoded(image, tmp_path, quality=80).output.path).mode == "P"
    (tmp_path / "result.png").unlink()
    assert read_back(encoded(image, tmp_path, quality=100).output.path).mode == "RGB"
    assert (seen(tmp_path / "result.png") == np.asarray(photo())).all()


def test_png_rows_are_filtered_where_it_pays(tmp_path: Path) -> None:
    dots = photo(600, 400).convert("1").convert("L")
    for picture, best in ((photo(600, 400), "all"), (dots, "none")):
        pixels = pyvips.Image.new_from_array(np.asarray(picture))
        sizes = {name: len(pixels.pngsave_buffer(compression=6, filter=name, keep="icc")) for name in ("none", "all")}
        result = encoded(opened(stored(tmp_path, picture), sequential=True), tmp_path).output
        assert result.picture.bytes == sizes[best] == min(sizes.values())
        assert max(sizes.values()) > 1.1 * min(sizes.values())
        result.path.unlink()


def test_transparency_is_flattened_on_the_background_for_jpeg_only(tmp_path: Path) -> None:
    glass = Pillow.new("RGBA", (32, 32), (255, 0, 0, 0))
    glass.paste((0, 0, 255, 255), (0, 0, 16, 32))
    image = opened(stored(tmp_path, glass))
    result = encoded(image, tmp_path, format="jpeg", background="#00FF40", quality=100)
    assert np.abs(seen(result.output.path)[16, 28] - (0, 255, 64)).max() < 6
    assert np.abs(seen(result.output.path)[16, 4] - (0, 0, 255)).max() < 6
    assert ["#00FF40" in warning for warning in result.warnings] == [True]
    for format in ("png", "webp", "avif", "gif", "tiff"):
        result = encoded(image, tmp_path, format=format)
        assert result.warnings == []
        with_alpha = np.asarray(read_back(result.output.path).convert("RGBA"))
        assert list(with_alpha[16, [4, 28], 3]) == [255, 0]


def test_grey_with_alpha_takes_a_coloured_background(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, Pillow.new("LA", (16, 16), (128, 0))))
    result = encoded(image, tmp_path, format="jpeg", background="#FF0000").output.path
    assert np.abs(seen(result)[8, 8] - (254, 0, 0)).max() < 6
    result.unlink()
    grey = read_back(encoded(image, tmp_path, format="jpeg", background="#404040").output.path)
    assert (grey.mode, grey.getpixel((8, 8))) == ("L", 0x40)


def test_16_bits_stay_where_the_format_has_them_and_are_scaled_where_not(tmp_path: Path) -> None:
    deep = pyvips.Image.new_from_array(np.asarray(photo())).cast("ushort", shift=True) + 128
    deep = deep.cast("ushort").copy(interpretation="rgb16").bandjoin(65535)
    deep.pngsave(str(tmp_path / "deep"))
    image = opened(tmp_path / "deep")
    for format in ("png", "tiff"):
        result = encoded(image, tmp_path, format=format)
        back = opened(result.output.path)
        assert (back.pixels.format, result.warnings) == ("ushort", [])
        assert (back.pixels - deep).abs().max() == 0
    for format in ("jpeg", "webp", "avif", "gif"):
        result = encoded(image, tmp_path, format=format, quality=90)
        assert difference(read_back(result.output.path).convert("RGB"), photo()) < 8
        assert any("16 bits" in warning for warning in result.warnings)
        assert opened(result.output.path).pixels.format == "uchar"


def animation(folder: Path, format: str) -> tuple[Path, list[Pillow.Image], list[int]]:
    frames = [photo().rotate(angle) for angle in (0, 30, 60)]
    delays = [50, 120, 200]
    path = stored(folder, frames[0], format, save_all=True, append_images=frames[1:], duration=delays, loop=3)
    return path, frames, delays


@pytest.mark.parametrize("source", ["gif", "webp"])
@pytest.mark.parametrize("target", ["gif", "webp"])
def test_an_animation_keeps_frames_delays_and_loops(tmp_path: Path, source: str, target: str) -> None:
    path, frames, delays = animation(tmp_path, source)
    result = encoded(opened(path, sequential=True), tmp_path, format=target)
    assert (result.output.picture.frames, result.output.picture.height) == (3, 64)
    with Pillow.open(path) as before, Pillow.open(result.output.path) as after:
        loops = {"gif": lambda image: image.info["loop"] + 1, "webp": lambda image: image.info["loop"]}
        assert loops[target](after) == loops[source](before)
        pages = [page.copy() for page in ImageSequence.Iterator(after)]
        assert len(pages) == 3
        for page, frame in zip(pages, frames, strict=True):
            assert difference(page.convert("RGB"), frame) < 12
    assert opened(result.output.path).pixels.get("delay") == delays


@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "avif"])
def test_of_an_animation_other_formats_hold_the_first_frame(tmp_path: Path, target: str) -> None:
    path, frames, _ = animation(tmp_path, "gif")
    result = encoded(opened(path), tmp_path, format=target)
    assert (result.output.picture.frames, result.output.picture.height) == (1, 64)
    image = read_back(result.output.path)
    assert (image.size, getattr(image, "n_frames", 1)) == ((96, 64), 1)
    assert difference(image.convert("RGB"), frames[0]) < 10
    assert any("first of 3 frames" in warning for warning in result.warnings)


def everything() -> dict[str, object]:
    exif = Pillow.Exif()
    exif[0x010E] = "a secret description"
    exif.get_ifd(0x8825)[1] = "N"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>a secret packet</x:xmpmeta>"
    return {"exif": exif, "xmp": xmp, "icc_profile": srgb_profile()}


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif", "tiff", "gif"])
@pytest.mark.parametrize("source", ["jpeg", "webp", "avif"])
def test_only_the_colour_profile_survives_and_the_reply_says_so(tmp_path: Path, source: str, target: str) -> None:
    image = opened(stored(tmp_path, photo(), source, **everything()))
    result = encoded(image, tmp_path, format=target)
    assert b"secret" not in result.output.path.read_bytes()
    assert not {270, 34853} & set(read_back(result.output.path).getexif())
    has_profile = target != "gif"
    assert ("icc_profile" in read_back(result.output.path).info) is has_profile
    assert result.kept == (["icc"] if has_profile else [])
    assert result.removed == sorted({"exif", "gps", "xmp", "icc"} - set(result.kept))


def test_comments_and_text_are_gone(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a secret note")
    info.add_itxt("Title", "a secret title")
    for path in (
        stored(tmp_path, photo(), "png", pnginfo=info),
        stored(tmp_path, photo(), "jpeg", comment=b"a secret note"),
        stored(tmp_path, photo(), "gif", comment=b"a secret note"),
        stored(tmp_path, photo(), "tiff", description="a secret note"),
    ):
        assert b"secret" in path.read_bytes()
        for target in ("png", "jpeg", "gif", "tiff"):
            result = encoded(opened(path), tmp_path, format=target).output.path
            assert b"secret" not in result.read_bytes()
            result.unlink()


@pytest.mark.parametrize(
    ("size", "format", "limits", "words"),
    [
        ((400, 10), "png", replace(LIMITS, output_side=300), "300 on the longest side"),
        ((400, 300), "png", replace(LIMITS, output_pixels=100_000), "0.1 megapixels"),
        ((16_384, 1), "webp", LIMITS, "16383 on the longest side for WEBP"),
    ],
)
def test_a_result_over_a_limit_is_refused_before_any_work(
    tmp_path: Path, size: tuple[int, int], format: str, limits: object, words: str
) -> None:
    image = opened(stored(tmp_path, Pillow.new("L", size)))
    watched: list[pyvips.Image] = []
    with pytest.raises(OutputTooLarge, match=words):
        encode_image(image.encode_as(format=format), tmp_path, "result", limits, watched.append)
    assert watched == []


def test_frames_count_towards_the_output_limit_only_where_they_are_written(tmp_path: Path) -> None:
    path, _, _ = animation(tmp_path, "gif")
    limits = replace(LIMITS, output_pixels=96 * 64 * 2)
    with pytest.raises(OutputTooLarge, match="3 frames"):
        encoded(opened(path), tmp_path, limits=limits)
    assert encoded(opened(path), tmp_path, limits=limits, format="png").output.picture.frames == 1


def test_an_existing_file_is_never_touched(tmp_path: Path) -> None:
    target = tmp_path / "result.png"
    target.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        encoded(opened(stored(tmp_path, photo())), tmp_path)
    target.unlink()
    (tmp_path / "elsewhere").touch()
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        encoded(opened(stored(tmp_path, photo())), tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == b""


@pytest.mark.parametrize("target_bytes", [None, 5_000])
@pytest.mark.parametrize("format", ALL)
def test_a_failing_encode_leaves_no_file(tmp_path: Path, format: str, target_bytes: int | None) -> None:
    whole = bytes_of(photo(600, 400), "jpeg")
    image = opened(written(tmp_path, whole[: len(whole) // 2]), sequential=True)
    with pytest.raises(InvalidImage):
        encoded(image, tmp_path, format=format, target_bytes=target_bytes)
    assert [path.name for path in tmp_path.iterdir()] == ["input.bin"]


def test_a_failure_that_is_not_the_files_fault_blames_the_operation(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo()))
    (tmp_path / "cut.png").write_bytes(bytes_of(photo())[:-2000])
    broken = pyvips.Image.pngload(str(tmp_path / "cut.png"), fail_on="error").resize(2)
    with pytest.raises(ProcessingFailed) as caught:
        encoded(image.with_pixels(broken), tmp_path)
    assert caught.value.code == "PROCESSING_FAILED"
    assert isinstance(caught.value.__cause__, pyvips.Error)
    assert "png" not in caught.value.message


def test_memory_that_runs_out_has_its_own_error(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo()))

    def starve(pixels: pyvips.Image) -> None:
        raise MemoryError

    with pytest.raises(OutOfMemory):
        encode_image(image, tmp_path, "result", LIMITS, starve)
    assert not list(tmp_path.glob("result*"))


@pytest.mark.parametrize("target_bytes", [None, 20_000])
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "gif", "tiff"])
def test_work_reports_progress_and_stops_when_it_is_killed(
    tmp_path: Path, format: str, target_bytes: int | None
) -> None:
    path = stored(tmp_path, photo(1200, 900), "jpeg")
    percents: list[int] = []

    def watch(pixels: pyvips.Image) -> None:
        def moved(image: pyvips.Image, progress: object) -> None:
            percents.append(progress.percent)
            if progress.percent >= 20:
                pixels.set_kill(True)

        pixels.set_progress(True)
        pixels.signal_connect("eval", moved)

    image = opened(path, sequential=True).encode_as(format=format, target_bytes=target_bytes)
    with pytest.raises(Cancelled):
        encode_image(image, tmp_path, "result", LIMITS, watch)
    assert percents and max(percents) < 90
    assert not list(tmp_path.glob("result*"))


def test_watching_does_not_mark_the_pixels_of_the_picture(tmp_path: Path) -> None:
    image = opened(stored(tmp_path, photo()))
    watched: list[pyvips.Image] = []
    encode_image(image, tmp_path, "result", LIMITS, watched.append)
    assert watched and all(pixels is not image.pixels for pixels in watched)


def test_every_format_has_a_reader_in_the_tests() -> None:
    assert set(SAVED) < set(FORMATS)
