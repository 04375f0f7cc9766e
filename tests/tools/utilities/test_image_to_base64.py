"""Image to Base64: the text decoded by the standard library, the picture in it by Pillow."""

import base64
import io
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from support.codec import bytes_of, difference, photo
from support.odd import UNREADABLE
from support.pictures import DirectRun, array_of, gradient, noise, opened, picture, use

from darkroom_tools.base import File, Image
from darkroom_tools.errors import Cancelled, InvalidSettings, OutputTooLarge
from darkroom_tools.utilities import image_to_base64 as module
from darkroom_tools.utilities.image_to_base64 import image_to_base64

PHOTO = photo(96, 64)


def encoded(*images: Image, run: DirectRun | None = None, **settings: Any) -> File:
    made = use(image_to_base64, list(images), run=run, **settings)
    assert isinstance(made, File)
    assert (made.media_type, made.extension) == ("application/json", "json")
    return made


def rows(made: File) -> list[dict[str, Any]]:
    document = json.loads(made.data)
    assert document["errors"] == []
    return list(document["results"])


def one(*images: Image, **settings: Any) -> tuple[dict[str, Any], bytes]:
    """The row of the first picture, and the bytes of its data URI as the standard library reads it."""
    row = rows(encoded(*images, **settings))[0]
    with urlopen(row["dataUri"]) as answer:
        assert answer.headers["Content-Type"] == row["mimeType"]
        return row, answer.read()


def file(folder: Path, image: PIL.Image.Image = PHOTO, format: str = "jpeg", **options: Any) -> Image:
    return opened(bytes_of(image, format, **options), folder)


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "tiff", "gif"])
def test_an_unchanged_picture_is_its_file(tmp_path: Path, format: str) -> None:
    row, data = one(file(tmp_path, PHOTO, format))
    assert data == (tmp_path / "input").read_bytes()
    assert row["mimeType"] == f"image/{format}"
    assert (row["width"], row["height"]) == (96, 64)
    assert row["originalSize"] == len(data)
    assert row["encodedSize"] == len(row["dataUri"])
    assert row["overheadPercent"] == round(100 * (len(row["dataUri"]) / len(data) - 1), 1)


def test_plain_is_base64_alone(tmp_path: Path) -> None:
    (row,) = rows(encoded(file(tmp_path), format="plain"))
    assert base64.b64decode(row["base64"], validate=True) == (tmp_path / "input").read_bytes()
    assert row["encodedSize"] == len(row["base64"])
    assert "dataUri" not in row


@pytest.mark.parametrize(
    ("settings", "format"),
    [
        ({"mimeType": "image/webp"}, "WEBP"),
        ({"mimeType": "image/jpg"}, "JPEG"),
        ({"outputFormat": "png"}, "PNG"),
        ({"outputFormat": "jpg"}, "JPEG"),
        ({"outputFormat": "avif"}, "AVIF"),
        ({"mimeType": "image/gif"}, "GIF"),
    ],
)
def test_pictures_are_converted_first(settings: Any, format: str) -> None:
    row, data = one(picture(np.asarray(PHOTO), "bmp"), **settings)
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert image.format == format
        assert difference(image.convert("RGB"), PHOTO) < 12
    assert row["mimeType"] == f"image/{format.lower()}"


def test_a_picture_that_has_the_wanted_format_already_stays_its_file(tmp_path: Path) -> None:
    _, data = one(file(tmp_path), mimeType="image/jpeg", maxWidth=96, maxHeight=0)
    assert data == (tmp_path / "input").read_bytes()


def test_a_quality_that_is_asked_for_encodes_anew(tmp_path: Path) -> None:
    sizes = [len(one(file(tmp_path), quality=quality)[1]) for quality in (5, 50, 95)]
    assert sizes == sorted(set(sizes))
    assert len(one(file(tmp_path))[1]) == len(one(file(tmp_path), outputFormat="original")[1])


def test_a_png_loses_no_colour_unless_asked(tmp_path: Path) -> None:
    _, data = one(picture(noise(40, 30), "tiff"), mimeType="image/png")
    assert (np.asarray(PIL.Image.open(io.BytesIO(data))) == noise(40, 30)).all()
    _, data = one(picture(noise(40, 30), "tiff"), mimeType="image/png", quality=50)
    assert PIL.Image.open(io.BytesIO(data)).mode == "P"


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 200), st.integers(0, 200))
def test_pictures_are_shrunk_into_the_box_and_never_enlarged(width: int, height: int, wide: int, high: int) -> None:
    row = rows(encoded(picture(np.zeros((height, width, 1), np.uint8)), maxWidth=wide, maxHeight=high))[0]
    scale = min(1.0, (wide or width) / width, (high or height) / height)
    assert row["width"] == max(1, math.floor(width * scale + 0.5))
    assert row["height"] == max(1, math.floor(height * scale + 0.5))
    assert row["width"] <= max(1, wide or width)
    assert row["height"] <= max(1, high or height)


def test_shrinking_agrees_with_pillow_and_hidden_colour_does_not_bleed(tmp_path: Path) -> None:
    large = photo(384, 256)
    _, data = one(file(tmp_path, large, "png"), maxWidth=96)
    expected = large.resize((96, 64), PIL.Image.Resampling.LANCZOS)
    assert difference(PIL.Image.open(io.BytesIO(data)), expected) < 1.5
    array = np.zeros((100, 100, 4), np.uint8)
    array[..., 1] = 255
    array[30:70, 30:70] = (255, 0, 0, 255)
    _, data = one(picture(array), maxHeight=25)
    seen = np.asarray(PIL.Image.open(io.BytesIO(data)))
    assert (seen[seen[..., 3] > 0][:, 1] <= 2).all()


def test_every_frame_of_an_animation_is_shrunk() -> None:
    frames = np.stack([np.full((40, 60, 3), value, np.uint8) for value in (0, 128, 255)])
    row, data = one(picture(frames, "gif", delay=[50, 60, 70]), maxWidth=30)
    with PIL.Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.n_frames) == ((30, 20), 3)
    assert (row["width"], row["height"]) == (30, 20)


def test_several_pictures_are_rows_in_order_under_cleaned_names(tmp_path: Path) -> None:
    first = file(tmp_path)
    assert first.source.original is not None
    named = replace(
        first, source=replace(first.source, original=replace(first.source.original, name="../a\u202eb.jpg"))
    )
    made = encoded(replace(named, source=replace(named.source, pixels=named.pixels)), picture(noise(9, 9)))
    assert [row["filename"] for row in rows(made)] == ["ab.jpg", "image 2"]
    assert [row["width"] for row in rows(made)] == [96, 9]


def test_short_texts_are_in_the_reply_and_long_ones_in_the_file_only() -> None:
    small, large = picture(np.full((8, 8, 3), 7, np.uint8)), picture(noise(60, 60))
    made = encoded(small)
    assert made.facts["results"] == rows(made)
    for images in ([large], [small] * 50):
        made = encoded(*images)
        shown = json.dumps(made.facts)
        assert "base64," not in shown
        assert made.facts["images"] == len(images) == len(rows(made))
        assert len(made.facts["results"]) == min(20, len(images))
        assert all("base64," in row["dataUri"] for row in rows(made))
    fitting = [row for row in rows(encoded(*[small] * 12))]
    assert sum(row["encodedSize"] for row in fitting) <= 4000
    assert len(json.dumps(encoded(*[small] * 12).facts)) < 4000 + 12 * 200


def test_metadata_that_stays_is_told_and_a_conversion_drops_it(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Artist] = "Somebody"
    assert encoded(file(tmp_path, exif=exif)).kept == ("exif",)
    assert encoded(file(tmp_path, exif=exif), mimeType="image/webp").kept == ()
    _, data = one(file(tmp_path, exif=exif), mimeType="image/webp")
    assert b"Somebody" not in data


def test_warnings_of_the_pictures_are_passed_on() -> None:
    assert encoded(picture(noise(4, 4)).warn("Careful.")).warnings == ("Careful.",)


@pytest.mark.parametrize("kind", ["cut off", "damaged"])
def test_a_damaged_file_does_not_get_into_a_page(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Exception, match=".") as refused:
        encoded(opened(UNREADABLE[kind], tmp_path))
    assert type(refused.value).__module__.startswith(("pyvips", "darkroom_tools"))


def test_too_much_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHARACTERS", 10_000)
    image = picture(noise(40, 40))
    assert len(rows(encoded(image))) == 1
    with pytest.raises(OutputTooLarge) as refused:
        encoded(image, image)
    assert "maxWidth" in refused.value.message


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_depth_and_alpha_survive(tmp_path: Path, bands: int, dtype: Any) -> None:
    array = gradient(30, 20, bands, dtype)
    _, data = one(picture(array, "tiff"), mimeType="image/png")
    assert (array_of(opened(data, tmp_path)) == array).all()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 16000, 3), (9000, 1, 4)])
def test_degenerate_pictures_work(shape: tuple[int, ...]) -> None:
    row, _ = one(picture(np.full(shape, 50, np.uint8)), maxWidth=100, maxHeight=100)
    assert (row["width"], row["height"]) == (min(100, shape[1]), min(100, shape[0]))


def test_progress_is_told_and_a_caller_who_gives_up_is_heard() -> None:
    run = DirectRun()
    encoded(picture(noise(4, 4)), picture(noise(4, 4)), run=run)
    assert run.reports == [(0.0, "Image 1 of 2"), (0.5, "Image 2 of 2")]
    with pytest.raises(Cancelled):
        encoded(picture(noise(4, 4)), picture(noise(4, 4)), run=DirectRun(cancel_at=0.5))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"format": "hex"}, "plain"),
        ({"mimeType": "webp"}, "image/webp"),
        ({"mimeType": "image/webp", "outputFormat": "png"}, "differ"),
        ({"outputFormat": "bmp"}, "avif"),
        ({"quality": 0}, "quality"),
        ({"maxWidth": -1}, "maxWidth"),
        ({"width": 3}, "maxWidth"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        image_to_base64.settings.parse(asked)
    assert words in refused.value.message
