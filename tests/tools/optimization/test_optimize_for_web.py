"""optimize-for-web: small, fitting, in the format that is smallest, and never larger than what came."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image as Pillow
from PIL import ImageCms, ImageDraw, ImageSequence
from support.codec import builtin_profile, difference, encoded
from support.containers import jpeg_segments, picture_bytes
from support.pictures import noise, opened, picture, use
from support.private import private_jpeg, private_png, saved, scene

from darkroom.engine.codec import Encoded
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.essentials.convert import convert
from darkroom_tools.essentials.crop import crop
from darkroom_tools.image import Encoding, Image
from darkroom_tools.optimization.optimize_for_web import optimize_for_web

PHOTO = Pillow.fromarray(skimage.data.astronaut())


def optimized(data: bytes, folder: Path, **settings: Any) -> tuple[Pillow.Image, Encoded]:
    result = encoded(use(optimize_for_web, opened(data, folder), **settings), folder)
    image = Pillow.open(io.BytesIO(result.output.path.read_bytes()))
    image.load()
    result.output.path.unlink()
    return image, result


def drawing() -> Pillow.Image:
    """Flat colours, on which PNG is smallest."""
    image = Pillow.new("RGB", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    for n in range(6):
        draw.rectangle([n * 40 + 10, 20, n * 40 + 40, 20 + n * 25], fill=["navy", "orange", "green"][n % 3])
    return image


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (256, None, (256, 192)),
        (None, 96, (128, 96)),
        (100, 96, (100, 75)),
        (300, 96, (128, 96)),
        (512, 384, (512, 384)),
        (4000, 4000, (512, 384)),
        (1, None, (1, 1)),
    ],
)
def test_the_picture_fits_and_is_never_enlarged(
    tmp_path: Path, width: int | None, height: int | None, size: tuple[int, int]
) -> None:
    data = saved(PHOTO.crop((0, 0, 512, 384)), "PNG")
    box = {name: value for name, value in (("maxWidthPx", width), ("maxHeightPx", height)) if value is not None}
    assert optimized(data, tmp_path, **box)[0].size == size


def test_scaling_is_that_of_a_good_filter(tmp_path: Path) -> None:
    out, _ = optimized(saved(PHOTO, "PNG"), tmp_path, maxWidthPx=100, format="png")
    assert difference(out, PHOTO.resize((100, 100), Pillow.Resampling.LANCZOS)) < 1


def test_hidden_colour_stays_out_of_visible_edges(tmp_path: Path) -> None:
    array = np.zeros((64, 64, 4), np.uint8)
    array[:, :32] = (255, 0, 0, 255)
    array[:, 32:] = (0, 255, 0, 0)
    out, _ = optimized(saved(Pillow.fromarray(array), "PNG"), tmp_path, maxWidthPx=21, format="png")
    seen = np.asarray(out.convert("RGBA")).astype(int)
    assert (seen[seen[:, :, 3] > 8][:, 1] <= 2).all()


@pytest.mark.parametrize("quality", [40, 80])
def test_auto_takes_the_smallest_of_what_can_hold_the_picture(tmp_path: Path, quality: int) -> None:
    see_through = PHOTO.convert("RGBA")
    see_through.putalpha(PHOTO.convert("L"))
    for source, able in (
        (PHOTO, ("webp", "jpeg", "png")),
        (drawing(), ("webp", "jpeg", "png")),
        (see_through, ("webp", "png")),
    ):
        data = saved(source, "TIFF")
        _, result = optimized(data, tmp_path, quality=quality)
        sizes = {}
        for format in able:
            chosen = {} if format == "png" else {"quality": quality}
            sizes[format] = optimized(data, tmp_path, format=format, **chosen)[1].output.picture.bytes
        assert result.output.picture.bytes == min(sizes.values()), (result.output.picture, sizes)
    assert optimized(saved(drawing(), "TIFF"), tmp_path)[1].output.picture.format == "png"


def test_auto_decides_a_large_picture_by_a_sample(tmp_path: Path) -> None:
    large = Pillow.fromarray(np.tile(skimage.data.astronaut(), (3, 3, 1)))
    assert optimized(saved(large, "PNG"), tmp_path)[1].output.picture.format == "webp"
    dots = large.convert("1").convert("L")
    assert optimized(saved(dots, "PNG"), tmp_path)[1].output.picture.format == "png"
    plain = saved(drawing().resize((1500, 1000), 0), "TIFF")
    sizes = [optimized(plain, tmp_path, format=format)[1].output.picture.bytes for format in ("webp", "jpeg", "png")]
    assert optimized(plain, tmp_path)[1].output.picture.bytes == min(sizes)


def test_a_jpeg_is_progressive_and_smaller_by_what_mozjpeg_does(tmp_path: Path) -> None:
    data = saved(PHOTO, "PNG")
    image, result = optimized(data, tmp_path, format="jpeg", quality=80)
    assert image.info["progressive"] == 1
    plain = len(saved(PHOTO, "JPEG", quality=80, optimize=True, progressive=True))
    assert result.output.picture.bytes < 0.95 * plain
    assert difference(image, PHOTO) < 4
    baseline, _ = optimized(data, tmp_path, format="jpeg", progressive=False)
    assert "progressive" not in baseline.info


def test_an_answer_is_never_larger_than_the_file_that_came(tmp_path: Path) -> None:
    data = private_jpeg(quality=15)
    image, result = optimized(data, tmp_path, quality=95)
    assert (image.format, result.facts["originalKept"]) == ("JPEG", True)
    assert result.output.picture.bytes == result.facts["processedSize"] < len(data) == result.facts["originalSize"]
    assert not image.getexif()


def test_the_kept_original_has_the_same_pixels_and_no_metadata(tmp_path: Path) -> None:
    data = private_jpeg(quality=15)
    result = encoded(use(optimize_for_web, opened(data, tmp_path), quality=95, format="jpeg"), tmp_path)
    out = result.output.path.read_bytes()
    assert picture_bytes(out, "jpeg") == picture_bytes(data, "jpeg")
    assert b"secret" not in out
    assert {marker for marker, _ in jpeg_segments(out)} & {0xE1, 0xED, 0xFE} == set()


def test_a_format_that_was_asked_for_is_kept_even_if_it_is_larger(tmp_path: Path) -> None:
    image, result = optimized(saved(PHOTO, "JPEG", quality=10), tmp_path, format="png")
    assert image.format == "PNG"
    assert "larger than the original" in result.warnings[0]
    assert result.facts["savedPercent"] < 0


def test_the_sizes_are_told(tmp_path: Path) -> None:
    data = saved(PHOTO, "PNG")
    _, result = optimized(data, tmp_path)
    after = result.output.picture.bytes
    assert result.facts == {
        "originalSize": len(data),
        "processedSize": after,
        "savedPercent": round(100 - 100 * after / len(data), 1),
    }


def test_png_is_lossless_unless_a_quality_is_given(tmp_path: Path) -> None:
    data = saved(drawing(), "TIFF")
    image, _ = optimized(data, tmp_path, format="png")
    assert (np.asarray(image.convert("RGB")) == np.asarray(drawing())).all()
    assert optimized(saved(PHOTO, "TIFF"), tmp_path, format="png", quality=60)[0].mode == "P"


def test_avif_has_a_default_of_its_own(tmp_path: Path) -> None:
    data = saved(PHOTO, "TIFF")
    default = optimized(data, tmp_path, format="avif")[1].output.picture.bytes
    assert default == optimized(data, tmp_path, format="avif", quality=50)[1].output.picture.bytes
    assert default < optimized(data, tmp_path, format="avif", quality=80)[1].output.picture.bytes


def test_an_animation_becomes_an_animated_webp(tmp_path: Path) -> None:
    frames = [Pillow.fromarray(noise(64, 48, seed=n)) for n in range(4)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[50, 100, 150, 200], loop=2)
    image, result = optimized(data, tmp_path, maxWidthPx=32)
    assert (image.format, image.size, getattr(image, "n_frames", 1)) == ("WEBP", (32, 24), 4)
    durations = []
    for frame in ImageSequence.Iterator(image):
        frame.load()
        durations.append(frame.info["duration"])
    assert durations == [50, 100, 150, 200]
    assert result.output.picture.frames == 4


def test_metadata_goes_unless_it_shall_stay(tmp_path: Path) -> None:
    gone, _ = optimized(private_jpeg(6), tmp_path, maxWidthPx=40)
    assert not gone.getexif()
    for format in ("jpeg", "webp", "png", "avif"):
        kept, result = optimized(private_jpeg(6), tmp_path, maxWidthPx=40, format=format, stripMetadata=False)
        tags = kept.getexif()
        assert tags[0x013B] == "secret-artist"
        assert tags.get(0x0112, 1) == 1
        assert tags.get_ifd(0x8825)[2] == (52, 31, 12)
        assert kept.size == (40, 60)
        assert {"exif", "gps", "xmp"} <= set(result.kept)
        # The thumbnail shows the picture as it was.
        assert 0x0201 not in tags.get_ifd(1)


def test_a_wide_gamut_is_converted(tmp_path: Path) -> None:
    data = saved(scene(200, 100), "PNG", icc_profile=builtin_profile("p3"))
    out, _ = optimized(data, tmp_path, format="png", maxWidthPx=100)
    wanted = opened(data, tmp_path).pixels.numpy()[::2, ::2]
    assert difference(np.asarray(out), wanted) < 12
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.getOpenProfile(io.BytesIO(out.info["icc_profile"])))


@pytest.mark.parametrize("kind", ["L", "LA", "1", "P", "I;16"])
@pytest.mark.parametrize("format", ["auto", "jpeg", "png", "webp"])
def test_every_kind_of_pixels_is_taken(tmp_path: Path, kind: str, format: str) -> None:
    source = scene().convert("L" if kind == "I;16" else kind)
    if kind == "I;16":
        source = Pillow.fromarray(np.asarray(source).astype(np.uint16) * 257)
    out, _ = optimized(saved(source, "PNG"), tmp_path, format=format, maxWidthPx=50)
    assert out.size == (50, 33)
    wanted = scene().convert("L" if kind == "I;16" else kind).convert("L").resize((50, 33), Pillow.Resampling.LANCZOS)
    assert difference(out.convert("L"), wanted) < 14


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 3000)])
def test_thin_and_tiny_pictures_are_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    out, _ = optimized(saved(Pillow.fromarray(noise(*size)), "PNG"), tmp_path, maxWidthPx=900)
    assert out.size == (min(size[0], 900), size[1])


def test_a_later_step_may_choose_another_format(tmp_path: Path) -> None:
    image = use(convert, use(optimize_for_web, opened(private_png(), tmp_path)), format="jpeg")
    assert encoded(image, tmp_path).output.picture.format == "jpeg"
    image = use(crop, use(optimize_for_web, opened(private_jpeg(), tmp_path)), shape="circle")
    assert encoded(image, tmp_path).output.picture.format == "png"


def test_a_picture_without_a_file_has_no_original_to_keep(tmp_path: Path) -> None:
    made = use(optimize_for_web, picture(noise(30, 20), "jpeg"))
    assert isinstance(made, Image)
    assert made.encoding.formats
    assert made.encode_as(format="png").encoding.formats == Encoding().formats
    assert encoded(made, tmp_path).output.picture.width == 30


@pytest.mark.parametrize(
    "settings", [{"format": "gif"}, {"quality": 0}, {"maxWidthPx": 0}, {"maxHeight": -1}, {"strip": True}]
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        optimize_for_web.settings.parse(settings)


def test_other_names_are_taken() -> None:
    parsed = optimize_for_web.settings.parse({"maxWidth": 10, "maxHeight": 20, "format": "jpg"})
    assert parsed == optimize_for_web.settings.parse({"maxWidthPx": 10, "maxHeightPx": 20, "format": "jpeg"})
