"""Bulk rename: the same bytes under new names."""

import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags
from support.codec import bytes_of, photo
from support.pictures import use

from darkroom_tools.base import Archive, Original
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.archive import unique_names, write_zip
from darkroom_tools.optimization.bulk_rename import bulk_rename


def file(name: str, data: bytes = b"\xff\xd8\xff", format: str = "jpeg") -> Original:
    return Original(format, len(data), lambda: data, name)


def renamed(names: Sequence[str], **settings: Any) -> list[str]:
    archive = use(bulk_rename, [file(name) for name in names], **settings)
    return unique_names([entry.name for entry in archive.entries])


def dated(day: str | None, format: str = "jpeg", tag: int = ExifTags.Base.DateTimeOriginal) -> Original:
    times = {} if day is None else {int(tag): f"{day} 12:34:56"}
    exif = PIL.Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.Exif).update(times)
    options = {"tiffinfo": {int(ExifTags.IFD.Exif): times}} if format == "tiff" else {"exif": exif}
    return file("p.jpg", bytes_of(photo(), format, **options), format)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["image-1.jpg", "image-2.jpg"]),
        ({"pattern": "{n}", "startIndex": 0}, ["0.jpg", "1.jpg"]),
        ({"pattern": "shot {n}", "startIndex": 9, "padding": 3}, ["shot 009.jpg", "shot 010.jpg"]),
        ({"pattern": "{original} ({n})"}, ["sea (1).jpg", "My.Dog (2).jpeg"]),
        ({"pattern": "image-{{index}}"}, ["image-1.jpg", "image-2.jpg"]),
        ({"pattern": "{{original}}_{{padded}}", "startIndex": 99}, ["sea_099.jpg", "My.Dog_100.jpeg"]),
        ({"pattern": "{padded}{{n}}", "startIndex": 1}, ["11.jpg", "22.jpg"]),
        ({"pattern": "same"}, ["same.jpg", "same_1.jpg"]),
        ({"pattern": "../../{n}"}, ["_.._1.jpg", "_.._2.jpg"]),
        ({"pattern": "a\\b/{n}"}, ["a_b_1.jpg", "a_b_2.jpg"]),
        ({"pattern": "con"}, ["_con.jpg", "_con_1.jpg"]),
        ({"pattern": "été 🌞 {n}"}, ["été 🌞 1.jpg", "été 🌞 2.jpg"]),
    ],
)
def test_names_follow_the_pattern(settings: Any, expected: list[str]) -> None:
    names = ["sea.jpg", "My.Dog.jpeg"] if "original" in str(settings) else ["sea.jpg", "dog.jpg"]
    assert renamed(names, **settings) == expected


def test_an_old_name_is_text_and_no_pattern() -> None:
    assert renamed(["{n}{{date}}.jpg"], pattern="{original}") == ["{n}{{date}}.jpg"]


@pytest.mark.parametrize(
    ("name", "format", "expected"),
    [
        ("a.JPEG", "jpeg", "a.jpeg"),
        ("a.jfif", "jpeg", "a.jfif"),
        ("a.tif", "tiff", "a.tif"),
        ("a.png", "jpeg", "a.jpg"),
        ("a.jpg", "webp", "a.webp"),
        ("a.svg", "svg", "a.svg"),
        ("a.pdf", "pdf", "a.pdf"),
        ("holiday 12.07", "jpeg", "holiday 12.07.jpg"),
        ("plain", "avif", "plain.avif"),
    ],
)
def test_the_extension_is_that_of_the_contents(name: str, format: str, expected: str) -> None:
    archive = use(bulk_rename, [file(name, format=format)], pattern="{original}")
    assert [entry.name for entry in archive.entries] == [expected]
    changed = name in ("a.png", "a.jpg") and format not in ("png", "jpeg") or name == "a.png"
    assert any("extension" in text for text in archive.warnings) == changed


def test_a_file_without_a_name_is_an_image() -> None:
    assert renamed(["", ""], pattern="{original}") == ["image.jpg", "image_1.jpg"]


@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "avif", "tiff"])
def test_the_date_is_the_day_on_which_the_photo_was_taken(format: str) -> None:
    archive = use(bulk_rename, [dated("2023:07:09", format)], pattern="{date}_{n}")
    assert archive.entries[0].name.startswith("2023-07-09_1.")
    assert not [text for text in archive.warnings if "date" in text]


def test_the_day_of_digitising_stands_in() -> None:
    scan = dated("1999:12:31", tag=ExifTags.Base.DateTimeDigitized)
    assert use(bulk_rename, [scan], pattern="{date}").entries[0].name == "1999-12-31.jpg"


@pytest.mark.parametrize("day", [None, "0000:00:00", "2023:13:01", "2023:00:10", "    :  :  "])
def test_a_file_without_a_date_is_called_undated_and_said(day: str | None) -> None:
    archive = use(bulk_rename, [dated("2020:02:29"), dated(day)], pattern="{date}")
    assert [entry.name for entry in archive.entries] == ["2020-02-29.jpg", "undated.jpg"]
    assert archive.warnings == ("No date taken in file 2: {date} became 'undated'.",)


def test_documents_have_no_date() -> None:
    archive = use(bulk_rename, [file("a.svg", b"<svg/>", "svg"), file("b.gif", b"GIF89a", "gif")], pattern="{date}")
    assert [entry.name for entry in archive.entries] == ["undated.svg", "undated.gif"]


def test_many_files_without_a_date_make_a_short_warning() -> None:
    (warning,) = use(bulk_rename, [file("a.gif", b"", "gif")] * 30, pattern="{date}").warnings
    assert warning == "No date taken in file 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 20 more: {date} became 'undated'."


def test_files_are_read_only_when_they_are_written() -> None:
    def refuse() -> bytes:
        raise AssertionError

    archive = use(bulk_rename, [Original("jpeg", 3, refuse, "a.jpg")])
    assert archive.entries[0].name == "image-1.jpg"


def test_bytes_are_unchanged(tmp_path: Path) -> None:
    contents = [bytes_of(photo(8, 8), "png"), b"<svg/>", b""]
    files = [file(f"{n}", data, "png") for n, data in enumerate(contents)]
    archive = use(bulk_rename, files)
    assert isinstance(archive, Archive)
    assert archive.kept == ("everything",)
    target = io.BytesIO()
    write_zip(target, archive.entries)
    with zipfile.ZipFile(target) as written:
        assert [written.read(name) for name in written.namelist()] == contents


@given(st.text("ab{}n/.\\ é", min_size=1, max_size=20), st.lists(st.text(max_size=12), min_size=1, max_size=5))
def test_any_pattern_gives_safe_names_or_is_refused(pattern: str, names: list[str]) -> None:
    try:
        got = renamed(names, pattern=pattern)
    except InvalidSettings:
        return
    assert len({name.casefold() for name in got}) == len(names)
    assert not any(re.search(r"[/\\]|^\.", name) for name in got)
    assert all(name.endswith(".jpg") for name in got)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"pattern": "{name}"}, "{original}"),
        ({"pattern": "{{n}"}, "{n}"),
        ({"pattern": "a{"}, "'{'"),
        ({"pattern": "}"}, "{date}"),
        ({"pattern": "{}"}, "{padded}"),
        ({"pattern": "{n!r}"}, "'{'"),
        ({"pattern": "{0.__class__}"}, "placeholder"),
        ({"pattern": ""}, "pattern"),
        ({"pattern": "x" * 1001}, "1000"),
        ({"startIndex": -1}, "startIndex"),
        ({"padding": 11}, "10"),
        ({"start": 1}, "startIndex"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(asked: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        bulk_rename.settings.parse(asked)
    assert words in refused.value.message
