"""edit-metadata: what other programs read afterwards, what stays, and that no pixel moved."""

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from support.codec import difference, encoded
from support.containers import exif_entries, exif_of, jpeg_segments, picture_bytes, png_chunks, webp_chunks, xmp_of
from support.pictures import opened, use
from support.private import MAKER_NOTE, PRIVATE, private_exif, private_jpeg, private_png, saved, scene, segment

from darkroom.engine.codec import Encoded
from darkroom_tools.errors import InvalidSettings, ProcessingFailed
from darkroom_tools.essentials.resize import resize
from darkroom_tools.optimization.edit_metadata import edit_metadata

every_format = pytest.mark.parametrize("format", PRIVATE)
DC, RDF = "{http://purl.org/dc/elements/1.1/}", "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
EXIF, PHOTOSHOP = "{http://ns.adobe.com/exif/1.0/}", "{http://ns.adobe.com/photoshop/1.0/}"
XMP = "{http://ns.adobe.com/xap/1.0/}"
ALL: dict[str, Any] = {
    "title": "苹果 Äpfel",
    "description": 'Zwei <Äpfel> & "mehr"',
    "author": "Ann Smith; Søren Ž",
    "copyright": "© 2026 Ann",
    "keywords": ["fruit", "苹果"],
    "gps": {"lat": -33.8567844, "lon": -70.6504502, "alt": -12.5},
    "dateTime": "2024-05-06T07:08:09+02:00",
}


def edited(data: bytes, folder: Path, **settings: Any) -> tuple[bytes, Encoded]:
    result = encoded(use(edit_metadata, opened(data, folder), **settings), folder)
    data = result.output.path.read_bytes()
    result.output.path.unlink()
    return data, result


def exif(data: bytes) -> Pillow.Exif:
    with Pillow.open(io.BytesIO(data)) as image:
        image.load()
        return image.getexif()


def text(value: str) -> str:
    """UTF-8 in an EXIF field as Pillow hands it out."""
    return value.encode("latin-1").decode()


def xmp(data: bytes, format: str) -> ElementTree.Element:
    packet = xmp_of(data, format)
    assert packet is not None
    assert packet.startswith(b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    return ElementTree.fromstring(packet)


def items(root: ElementTree.Element, name: str) -> list[str | None]:
    return [item.text for item in root.findall(f".//{name}//{RDF}li")]


def iptc(data: bytes) -> dict[tuple[int, int], list[bytes]]:
    """The records in a JPEG's Photoshop segment, by record and dataset."""
    (body,) = [body[14:] for marker, body in jpeg_segments(data) if marker == 0xED]
    assert body[:8] == b"8BIM\x04\x04\0\0"
    block, found, at = body[12 : 12 + struct.unpack(">I", body[8:12])[0]], {}, 0
    while at < len(block):
        assert block[at] == 0x1C
        record, number, length = struct.unpack_from(">BBH", block, at + 1)
        found.setdefault((record, number), []).append(block[at + 5 : at + 5 + length])
        at += 5 + length
    return found


def degrees(parts: tuple[Fraction, ...], letter: str) -> float:
    value = float(parts[0] + parts[1] / 60 + parts[2] / 3600)
    return -value if letter in "SW" else value


@every_format
@pytest.mark.parametrize("before", ["private", "plain"])
def test_all_fields_are_read_by_pillow_and_as_xml_and_pixels_stay(tmp_path: Path, format: str, before: str) -> None:
    data = PRIVATE[format](6) if (format, before) == ("jpeg", "private") else saved(scene(), format)
    if before == "private" and format != "jpeg":
        data = PRIVATE[format]()
    out, result = edited(data, tmp_path, **ALL)
    assert picture_bytes(out, format) == picture_bytes(data, format)
    tags = exif(out)
    assert text(tags[0x010E]) == ALL["description"]
    assert text(tags[0x013B]) == ALL["author"]
    assert text(tags[0x8298]) == ALL["copyright"]
    assert tags[0x9C9B].decode("utf-16-le") == "苹果 Äpfel\0"
    assert tags[0x0132] == "2024:05:06 07:08:09"
    detail, gps = tags.get_ifd(0x8769), tags.get_ifd(0x8825)
    assert (detail[0x9003], detail[0x9010], detail[0x9011]) == ("2024:05:06 07:08:09", "+02:00", "+02:00")
    assert (gps[1], gps[3], gps[5], float(gps[6])) == ("S", "W", b"\1", 12.5)
    assert degrees(gps[2], gps[1]) == pytest.approx(-33.8567844, abs=2e-8)
    assert degrees(gps[4], gps[3]) == pytest.approx(-70.6504502, abs=2e-8)
    root = xmp(out, format)
    assert items(root, f"{DC}title") == [ALL["title"]]
    assert items(root, f"{DC}description") == [ALL["description"]]
    assert items(root, f"{DC}rights") == [ALL["copyright"]]
    assert items(root, f"{DC}creator") == ["Ann Smith", "Søren Ž"]
    words = items(root, f"{DC}subject")
    assert words == (["secret-word"] if before == "private" else []) + ["fruit", "苹果"]
    assert root.findtext(f".//{EXIF}GPSLatitude") == "33,51.40706400S"
    assert root.findtext(f".//{EXIF}GPSLongitude") == "70,39.02701200W"
    assert (root.findtext(f".//{EXIF}GPSAltitudeRef"), root.findtext(f".//{EXIF}GPSAltitude")) == ("1", "1250/100")
    assert root.findtext(f".//{EXIF}DateTimeOriginal") == "2024-05-06T07:08:09+02:00"
    assert root.findtext(f".//{PHOTOSHOP}DateCreated") == "2024-05-06T07:08:09+02:00"
    assert {"exif", "xmp"} <= set(result.facts["written"])
    assert result.removed == []


@every_format
def test_what_is_not_edited_stays(tmp_path: Path, format: str) -> None:
    data = PRIVATE[format]()
    out, result = edited(data, tmp_path, title="New")
    before, after = exif_entries(exif_of(data, format) or b""), exif_entries(exif_of(out, format) or b"")
    pointers = {0x8769, 0x8825}
    assert {t: e for t, e in after["main"].items() if t not in pointers | {0x9C9B}} == {
        t: e for t, e in before["main"].items() if t not in pointers
    }
    assert (after["exif"], after["gps"]) == (before["exif"], before["gps"])
    old_block, new_block = exif_of(data, format) or b"", exif_of(out, format) or b""
    assert new_block.index(MAKER_NOTE) == old_block.index(MAKER_NOTE)
    at, size = (
        struct.unpack("<I" if new_block[:2] == b"II" else ">I", after["thumbnail"][t][2])[0] for t in (0x201, 0x202)
    )
    assert b"secret-thumbnail" in new_block[at : at + size]
    Pillow.open(io.BytesIO(new_block[at : at + size])).load()
    root = xmp(out, format)
    assert root.find(f".//{RDF}Description").get("{http://foo.example/}bar") == "secret-property"  # type: ignore[union-attr]
    assert items(root, f"{DC}subject") == ["secret-word"]
    assert items(root, f"{DC}title") == ["New"]
    assert result.removed == []
    assert {"exif", "gps", "xmp", "thumbnail"} <= set(result.kept)


def test_iptc_of_a_jpeg_follows_and_old_text_becomes_utf_8(tmp_path: Path) -> None:
    out, _ = edited(private_jpeg(), tmp_path, title="Übersicht", description="", keywords="fruit, 苹果")
    records = iptc(out)
    assert records[1, 90] == [b"\x1b%G"]
    assert records[2, 5] == ["Übersicht".encode()]
    assert (2, 120) not in records
    # The words that stood in XMP count as those of the file; IPTC keeps its own as well.
    assert [word.decode() for word in records[2, 25]] == ["Straße-1", "secret-word", "fruit", "苹果"]
    (photoshop,) = [body for marker, body in jpeg_segments(out) if marker == 0xED]
    assert b"resolution-info!" in photoshop
    assert b"secret-preview" not in photoshop
    with Pillow.open(io.BytesIO(out)) as image:
        assert image.info["photoshop"][0x0404].startswith(b"\x1c\x01\x5a")


def test_iptc_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    fields = {"iptcTitle": "T", "iptcHeadline": "H", "iptcCity": "Köln", "iptcState": "NRW", "iptcCountry": "DE"}
    out, result = edited(saved(scene(), "JPEG"), tmp_path, **fields, author="A" * 40)
    records = iptc(out)
    assert {number: records[2, number] for number in (5, 105, 90, 95, 101)} == {
        5: [b"T"],
        105: [b"H"],
        90: ["Köln".encode()],
        95: [b"NRW"],
        101: [b"DE"],
    }
    assert records[2, 80] == [b"A" * 32]
    assert xmp(out, "jpeg").findtext(f".//{PHOTOSHOP}City") == "Köln"
    assert result.facts["written"] == ["exif", "iptc", "xmp"]
    assert edited(saved(scene(), "JPEG"), tmp_path, title="T")[1].facts["written"] == ["exif", "xmp"]
    assert "no place for IPTC" in use(edit_metadata, opened(saved(scene(), "PNG"), tmp_path), **fields).warnings[0]


@every_format
def test_an_empty_text_removes_a_field(tmp_path: Path, format: str) -> None:
    full, _ = edited(saved(scene(), format), tmp_path, **ALL)
    out, _ = edited(full, tmp_path, title="", author="", keywords=[], keywordsMode="set", dateTime="")
    tags = exif(out)
    assert not {0x013B, 0x9C9B, 0x9C9E, 0x0132} & set(tags)
    assert not {0x9003, 0x9010, 0x9011} & set(tags.get_ifd(0x8769))
    root = xmp(out, format)
    for name in (f"{DC}title", f"{DC}creator", f"{DC}subject", f"{XMP}ModifyDate", f"{EXIF}DateTimeOriginal"):
        assert root.find(f".//{name}") is None
    assert text(tags[0x8298]) == ALL["copyright"]


def test_removing_the_last_field_leaves_no_blocks(tmp_path: Path) -> None:
    data = saved(scene(), "PNG")
    full, _ = edited(data, tmp_path, title="T", author="A")
    out, result = edited(full, tmp_path, title="", author="")
    assert [name for name, _ in png_chunks(out)] == [b"IHDR", b"eXIf", b"IDAT", b"IEND", b""] or out == data
    assert xmp_of(out, "png") is None
    assert result.removed == ["xmp"] or out == data


def test_keywords_are_added_or_replaced(tmp_path: Path) -> None:
    first, _ = edited(private_png(), tmp_path, keywords="one, two ,two")
    assert items(xmp(first, "png"), f"{DC}subject") == ["secret-word", "one", "two"]
    second, _ = edited(first, tmp_path, keywords=["three"], keywordsMode="set")
    assert items(xmp(second, "png"), f"{DC}subject") == ["three"]
    assert exif(second)[0x9C9E].decode("utf-16-le") == "three\0"


def test_older_texts_of_a_png_do_not_contradict(tmp_path: Path) -> None:
    out, _ = edited(private_png(), tmp_path, title="New", author="Me")
    names = [body.partition(b"\0")[0] for name, body in png_chunks(out) if name in (b"tEXt", b"zTXt", b"iTXt")]
    assert names == [b"XML:com.adobe.xmp", b"Comment", b"Raw profile type iptc"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2024-02-29", "2024:02:29 00:00:00"),
        ("2024:02:29 23:59", "2024:02:29 23:59:00"),
        ("2024-02-29T23:59:58.123Z", "2024:02:29 23:59:58"),
        ("2024-02-29 23:59:58 -0330", "2024:02:29 23:59:58"),
    ],
)
def test_dates_are_taken_as_iso_8601_or_as_exif_writes_them(tmp_path: Path, given: str, written: str) -> None:
    tags = exif(edited(saved(scene(), "JPEG"), tmp_path, dateTime=given)[0])
    assert tags[0x0132] == tags.get_ifd(0x8769)[0x9003] == written


def test_each_date_can_be_set_on_its_own(tmp_path: Path) -> None:
    out, _ = edited(private_jpeg(), tmp_path, setAllDates="2001-01-01", dateTimeOriginal="2002-02-02T02:02:02Z")
    tags = exif(out)
    detail = tags.get_ifd(0x8769)
    assert (tags[0x0132], detail[0x9003], detail[0x9004]) == (
        "2001:01:01 00:00:00",
        "2002:02:02 02:02:02",
        "2001:01:01 00:00:00",
    )
    assert detail[0x9011] == "+00:00"


@pytest.mark.parametrize(
    ("shift", "moved"),
    [("+00:45", "2020:02:01 00:15:00"), ("-24:00", "2020:01:30 23:30:00"), ("+99:59", "2020:02:05 03:29:00")],
)
def test_a_shift_moves_every_date_across_midnight_and_months(tmp_path: Path, shift: str, moved: str) -> None:
    out, _ = edited(private_jpeg(), tmp_path, dateShift=shift)
    tags = exif(out)
    assert tags[0x0132] == tags.get_ifd(0x8769)[0x9003] == moved
    both, _ = edited(
        edited(saved(scene(), "JPEG"), tmp_path, dateTime="2020-01-31T23:30:00+01:00")[0], tmp_path, dateShift=shift
    )
    assert xmp(both, "jpeg").findtext(f".//{XMP}ModifyDate") == f"{moved[:10].replace(':', '-')}T{moved[11:]}+01:00"


@given(
    latitude=st.floats(-90, 90, allow_nan=False),
    longitude=st.floats(-180, 180, allow_nan=False),
    altitude=st.floats(-12_000, 100_000, allow_nan=False),
)
def test_any_place_is_read_back_to_a_centimetre(latitude: float, longitude: float, altitude: float) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        data = saved(scene(8, 8), "WEBP")
        out, _ = edited(data, Path(folder), gpsLatitude=latitude, gpsLongitude=longitude, gpsAltitude=altitude)
    gps = exif(out).get_ifd(0x8825)
    assert degrees(gps[2], gps[1]) == pytest.approx(latitude, abs=1e-7)
    assert degrees(gps[4], gps[3]) == pytest.approx(longitude, abs=1e-7)
    assert float(gps[6]) * (-1 if gps[5] == b"\1" else 1) == pytest.approx(altitude, abs=0.006)
    assert all(0 <= part < 60 for part in (*gps[2][1:], *gps[4][1:]))


def test_the_position_is_replaced_or_cleared(tmp_path: Path) -> None:
    out, _ = edited(private_jpeg(), tmp_path, gps={"lat": 1, "lon": 2})
    gps = exif(out).get_ifd(0x8825)
    assert (degrees(gps[2], gps[1]), degrees(gps[4], gps[3])) == (1, 2)
    assert 6 not in gps
    packet = xmp_of(out, "jpeg") or b""
    assert packet.count(b"GPSLatitude>") == 2
    assert b"52,31.2N" not in packet
    for settings in ({"clearGps": True}, {"fieldsToRemove": ["gps"]}):
        out, result = edited(private_jpeg(), tmp_path, **settings)
        assert not exif(out).get_ifd(0x8825)
        assert "gps" in result.removed


def test_single_fields_can_be_removed_by_name(tmp_path: Path) -> None:
    out, _ = edited(private_jpeg(), tmp_path, fieldsToRemove=["Make", "makernote", "keywords"])
    tags = exif(out)
    assert 0x010F not in tags
    assert 0x927C not in tags.get_ifd(0x8769)
    assert tags[0x013B] == "secret-artist"
    assert items(xmp(out, "jpeg"), f"{DC}subject") == []
    with pytest.raises(InvalidSettings, match="no field 'Maek'") as error:
        edited(private_jpeg(), tmp_path, fieldsToRemove=["Maek"])
    assert error.value.details["nearest"] == "make"


def test_pictures_behind_the_end_are_still_found(tmp_path: Path) -> None:
    first, second = saved(scene(), "JPEG", quality=90), saved(scene(24, 16), "JPEG")
    entries = struct.pack("<IIIHH", 0x20030000, 0, 0, 0, 0) + struct.pack("<IIIHH", 0, len(second), 0, 0, 0)
    index = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0xB002, 7, 32, 26) + bytes(4) + entries
    head = segment(0xE2, b"MPF\0" + index)
    behind = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    data = bytearray(first[:20] + head + behind + first[20:] + second)
    base = 20 + 8
    struct.pack_into("<I", data, base + 26 + 16 + 8, len(data) - len(second) - base)
    out, result = edited(bytes(data), tmp_path, title="T" * 300)
    moved = out.index(b"MPF\0") + 4
    offset = struct.unpack_from("<I", out, moved + 26 + 16 + 8)[0]
    assert out[moved + offset :] == second
    assert "other" in result.kept


def test_frames_that_only_a_decoder_would_lose_are_not_reported_lost(tmp_path: Path) -> None:
    frames = [scene(40, 30).rotate(n * 20) for n in range(3)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    out, result = edited(data, tmp_path, title="T")
    with Pillow.open(io.BytesIO(out)) as image:
        assert getattr(image, "n_frames", 1) == 3
    image = use(edit_metadata, opened(data, tmp_path), title="T")
    assert (image.warnings, result.warnings) == ((), [])
    shrunk = encoded(use(resize, image, width=20), tmp_path)
    assert any("only the first is used" in text for text in shrunk.warnings)


def test_gif_is_given_xmp_that_ends_where_a_decoder_looks(tmp_path: Path) -> None:
    data = saved(scene().quantize(16), "GIF", comment=b"stays")
    out, result = edited(data, tmp_path, title="苹果")
    with Pillow.open(io.BytesIO(out)) as image:
        image.load()
        assert image.info["comment"] == b"stays"
        assert (difference(image.convert("RGB"), Pillow.open(io.BytesIO(data)).convert("RGB"))) == 0
    # A decoder that counts lengths from any byte of the packet lands in the trailer and stops at its end.
    start = out.index(b"\x21\xff\x0bXMP DataXMP") + 14
    for at in range(start, start + 300):
        while out[at]:
            at += 1 + out[at]
        assert out[at : at + 2] == b"\0;"
    packet = out[start : out.index(b"\x01\xff\xfe\xfd", start)]
    assert items(ElementTree.fromstring(packet), f"{DC}title") == ["苹果"]
    assert result.facts["written"] == ["xmp"]


@pytest.mark.parametrize("format", ["avif", "tiff"])
def test_other_formats_are_encoded_anew_with_the_fields(tmp_path: Path, format: str) -> None:
    out, result = edited(saved(scene(), format), tmp_path, **ALL)
    with Pillow.open(io.BytesIO(out)) as image:
        packet = image.info["xmp"] if format == "avif" else image.tag_v2[700]  # type: ignore[attr-defined]
        assert items(ElementTree.fromstring(packet), f"{DC}title") == [ALL["title"]]
        if format == "avif":
            assert text(image.getexif()[0x010E]) == ALL["description"]
    assert "encoded anew" in result.warnings[0]


def test_after_other_steps_only_the_new_fields_are_written(tmp_path: Path) -> None:
    image = use(edit_metadata, use(resize, opened(private_jpeg(6), tmp_path), width=40), copyright="© Me")
    result = encoded(image, tmp_path, format="webp")
    out = result.output.path.read_bytes()
    assert b"secret" not in out
    assert text(exif(out)[0x8298]) == "© Me"
    assert 0x0112 not in exif(out)
    assert [name for name, _ in webp_chunks(out)][:1] == [b"VP8X"]
    assert result.facts["written"] == ["exif", "xmp"]


def test_a_size_that_was_asked_for_counts_the_metadata(tmp_path: Path) -> None:
    image = use(edit_metadata, opened(saved(scene(400, 300), "JPEG"), tmp_path), description="d" * 3000)
    result = encoded(image, tmp_path, target_bytes=20_000)
    assert 15_000 < result.output.path.stat().st_size <= 20_000
    assert exif(result.output.path.read_bytes())[0x010E] == "d" * 3000


def test_too_much_for_a_jpeg_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ProcessingFailed, match="more than a JPEG holds"):
        edited(saved(scene(), "JPEG"), tmp_path, keywords=["k" * 9000 + str(n) for n in range(9)])


def test_a_damaged_block_is_replaced_with_a_warning(tmp_path: Path) -> None:
    data = saved(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff", xmp=b"<no xml")
    out, result = edited(data, tmp_path, title="T", author="A")
    assert exif(out)[0x013B] == "A"
    assert items(xmp(out, "jpeg"), f"{DC}title") == ["T"]
    assert len(result.warnings) == 2


def test_what_xml_cannot_hold_is_left_out(tmp_path: Path) -> None:
    out, _ = edited(saved(scene(), "PNG"), tmp_path, title="a\0b\x0bc\ud800d\ne")
    assert items(xmp(out, "png"), f"{DC}title") == ["abcd\ne"]


def test_big_endian_blocks_stay_big_endian(tmp_path: Path) -> None:
    block = b"MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\0\x06\0\0\0\x1aMaker\0"[:-6] + bytes(4) + b"Maker\0"
    data = saved(scene(), "PNG", exif=block)
    out, _ = edited(data, tmp_path, author="A", gps={"lat": 10.5, "lon": 20.25})
    after = exif_of(out, "png")
    assert after is not None
    assert after.startswith(b"MM")
    tags = exif(out)
    assert (tags[0x010F], tags[0x013B]) == ("Maker", "A")
    assert tags.get_ifd(0x8825)[2] == (10, 30, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keywordsMode": "set"},
        {"gps": {"lat": 91, "lon": 0}},
        {"gps": {"lat": 1}},
        {"gpsLatitude": 1},
        {"gpsAltitude": 1},
        {"dateTime": "yesterday"},
        {"dateTime": "2023-02-29"},
        {"dateTime": "2023-02-28T24:00"},
        {"dateShift": "1:00"},
        {"title": "x" * 10_001},
        {"keywords": ["x"] * 201},
        {"keywordsMode": "replace"},
        {"titel": "x"},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings):
        edit_metadata.settings.parse(settings)


def test_other_names_are_taken() -> None:
    parsed = edit_metadata.settings.parse({"imageDescription": "D", "artist": "A", "gps": {"latitude": 1, "lng": 2}})
    assert parsed == edit_metadata.settings.parse({"description": "D", "author": "A", "gps": {"lat": 1, "lon": 2}})


def test_a_private_thumbnail_block_is_whole(tmp_path: Path) -> None:
    # The helper of these tests is no use if Pillow does not read what it makes.
    with Pillow.open(io.BytesIO(saved(scene(), "JPEG", exif=b"Exif\0\0" + private_exif()))) as image:
        assert image.getexif().get_ifd(0x8769)[0x927C] == MAKER_NOTE
