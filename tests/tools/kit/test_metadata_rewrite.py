"""Files that are damaged, odd or hostile: the rewriters either keep every pixel or say that they cannot."""

import io
import struct
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from support.containers import picture_bytes
from support.private import PRIVATE, XMP, private_exif, private_jpeg, saved, scene, segment

from darkroom_tools.errors import ProcessingFailed
from darkroom_tools.kit.metadata.changes import Edit, Position, Strip
from darkroom_tools.kit.metadata.containers import Damaged
from darkroom_tools.kit.metadata.exif import ExifBlock
from darkroom_tools.kit.metadata.iptc import edit_iptc, of_photoshop
from darkroom_tools.kit.metadata.rewrite import CONTAINERS, rewrite
from darkroom_tools.kit.metadata.xmp import XmpPacket

EDIT = Edit(texts={"title": "T", "author": "A"}, keywords=("k",), position=Position(1, 2), shift=5, iptc=True)
CHANGES = [
    (Strip(),),
    (Strip(frozenset({"gps"})),),
    (Strip(frozenset({"exif"})),),
    (EDIT,),
    (Strip(), EDIT),
    (EDIT, Strip(frozenset({"gps", "xmp"}))),
]
FILES = {
    **{format: make() for format, make in PRIVATE.items()},
    "gif": saved(scene(40, 30).quantize(8), "GIF", comment=b"secret"),
}
cases = pytest.mark.parametrize("format", FILES)


def pixels(data: bytes) -> np.ndarray | None:
    """What Pillow sees, None if it cannot read the file."""
    try:
        with warnings.catch_warnings(action="ignore"), Pillow.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGBA"))
    except Exception:  # noqa: BLE001 - Pillow fails in many ways on damaged files
        return None


def check(data: bytes, format: str, changes: tuple[Strip | Edit, ...]) -> None:
    """Rewriting is refused, or gives a file with the same pixels that can be rewritten again."""
    try:
        out = rewrite(data, format, changes).data
    except (Damaged, ProcessingFailed):
        return
    before = pixels(data)
    if before is not None:
        after = pixels(out)
        assert after is not None
        assert (after == before).all()
    assert rewrite(out, format, ()).data == out


@cases
@given(data=st.data())
def test_a_file_with_any_bytes_overwritten_is_refused_or_keeps_its_pixels(format: str, data: st.DataObject) -> None:
    whole = bytearray(FILES[format])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=6)):
        whole[at] = value
    head = {"jpeg": b"\xff\xd8\xff", "png": b"\x89PNG\r\n\x1a\n", "webp": b"RIFF", "gif": b"GIF89a"}[format]
    whole[: len(head)] = head
    check(bytes(whole), format, data.draw(st.sampled_from(CHANGES)))


@cases
@given(data=st.data())
def test_a_file_that_is_cut_doubled_or_shuffled_is_refused_or_keeps_its_pixels(
    format: str, data: st.DataObject
) -> None:
    whole = FILES[format]
    start, end = sorted(data.draw(st.tuples(st.integers(12, len(whole)), st.integers(12, len(whole)))))
    piece = data.draw(st.sampled_from([b"", whole[start:end] * 2, bytes(end - start), whole[start:end][::-1]]))
    check(whole[:start] + piece + whole[end:], format, data.draw(st.sampled_from(CHANGES)))


@cases
@given(st.integers(0, 400))
def test_what_is_cut_off_is_never_called_whole(format: str, missing: int) -> None:
    data = saved(scene(40, 30).quantize(8) if format == "gif" else scene(40, 30), format)
    if missing:
        with pytest.raises(Damaged):
            rewrite(data[: max(14, len(data) - missing)], format, (Strip(),))
    else:
        assert rewrite(data, format, (Strip(),)).data == data


@cases
def test_no_change_changes_no_byte(format: str) -> None:
    assert rewrite(FILES[format], format, ()).data == FILES[format]
    assert rewrite(FILES[format], format, (Strip(frozenset()),)).data == FILES[format]


@pytest.mark.parametrize("restarts", [0, 1])
def test_markers_inside_scans_are_no_segments(restarts: int) -> None:
    options = {"restart_marker_rows": 1} if restarts else {}
    data = saved(scene(), "JPEG", quality=95, comment=b"secret", **options)
    out = rewrite(data, "jpeg", (Strip(),)).data
    assert b"secret" not in out
    assert picture_bytes(out, "jpeg") == picture_bytes(data, "jpeg")


def test_comments_between_scans_go_too() -> None:
    data = saved(scene(), "JPEG", quality=90, progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    at = data.rindex(b"\xff\xc4", 0, second)
    hidden = data[:at] + segment(0xFE, b"secret") + segment(0xE1, b"Exif\0\0" + private_exif()) + data[at:]
    out = rewrite(hidden, "jpeg", (Strip(),)).data
    assert out == data


def test_fill_bytes_before_a_marker_are_allowed() -> None:
    data = private_jpeg()
    at = data.index(b"\xff\xed")
    out = rewrite(data[:at] + b"\xff" * 5 + data[at:], "jpeg", (Strip(),)).data
    assert out == rewrite(data, "jpeg", (Strip(),)).data


@given(st.binary(max_size=400), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_any_bytes_as_exif_are_read_or_refused(block: bytes, head: bytes) -> None:
    try:
        written = ExifBlock.parse(head + block).to_bytes()
    except ValueError:
        return
    again = ExifBlock.parse(written)
    first = ExifBlock.parse(head + block)
    assert (again.main, again.exif, again.gps) == (first.main, first.exif, first.gps)


@given(st.integers(0, 1200), st.integers(1, 255))
def test_any_damage_to_a_real_exif_block_is_read_or_refused(at: int, change: int) -> None:
    block = bytearray(private_exif())
    block[at % len(block)] ^= change
    try:
        first = ExifBlock.parse(bytes(block))
    except ValueError:
        return
    again = ExifBlock.parse(first.to_bytes())
    assert (again.main, again.exif, again.gps, again.thumbnail) == (first.main, first.exif, first.gps, first.thumbnail)


def test_entries_that_share_their_bytes_cannot_multiply_them() -> None:
    count = 1500
    entries = b"".join(struct.pack("<HHII", 0x9000 + n, 7, 18_000, 8) for n in range(count))
    with pytest.raises(ValueError, match="more than the block"):
        ExifBlock.parse(b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4))


def test_directories_that_point_at_themselves_end() -> None:
    loop = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    assert ExifBlock.parse(loop).to_bytes()


def test_a_makers_block_stays_where_its_offsets_count_from() -> None:
    first = ExifBlock.parse(private_exif())
    at = first.maker_at
    first.main[0x010E] = first.main[0x010F]._replace(length=4000, data=b"x" * 3999 + b"\0")
    grown = ExifBlock.parse(first.to_bytes())
    assert grown.maker_at == at
    assert grown.exif == first.exif
    assert grown.main == first.main


@given(st.binary(max_size=200))
def test_any_bytes_as_xmp_are_read_or_refused(packet: bytes) -> None:
    try:
        read = XmpPacket(packet)
    except ValueError:
        return
    XmpPacket(read.to_bytes())


@pytest.mark.parametrize(
    "packet",
    [
        b"<!DOCTYPE x><x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>".encode("utf-16"),
        b"<a>" * 200 + b"</a>" * 200,
        b"",
        b"no markup",
    ],
)
def test_packets_that_declare_nest_too_deep_or_are_none_are_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        XmpPacket(packet)


def test_a_packet_keeps_what_it_means_through_another_parser() -> None:
    from xml.etree import ElementTree

    def meaning(node: ElementTree.Element) -> object:
        return node.tag, sorted(node.attrib.items()), node.text, [meaning(child) for child in node]

    odd = "<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
    odd += "<r:Description r:about='' dc:z='&quot;&lt;&#10;&amp;' xmlns:dc='urn:other' xml:lang='de'>a<![CDATA[<&]]>b"
    odd += "<plain xmlns=''/></r:Description></r:RDF></x:xmpmeta>"
    for packet in (XMP.decode(), odd):
        written = XmpPacket(packet.encode()).to_bytes()
        assert meaning(ElementTree.fromstring(written)) == meaning(ElementTree.fromstring(packet))


@given(st.binary(max_size=200))
def test_any_bytes_as_iptc_are_read_or_left_out(records: bytes) -> None:
    of_photoshop(records)
    written = edit_iptc(records, {"title": "T"}, ["k"])
    assert edit_iptc(written, {}, None) == written


def test_webp_of_each_kind_is_given_its_announcement() -> None:
    see_through = scene().convert("RGBA")
    see_through.putalpha(100)
    for image, options, flags in (
        (scene(), {}, 0x0C),
        (scene(), {"lossless": True}, 0x0C),
        (see_through, {"lossless": True}, 0x1C),
        (see_through, {}, 0x1C),
    ):
        data = saved(image, "WEBP", **options)
        out = rewrite(data, "webp", (EDIT,)).data
        assert (out[12:16], out[20]) == (b"VP8X", flags)
        assert struct.unpack("<I", out[24:27] + b"\0")[0] + 1 == 96
        assert struct.unpack("<I", out[27:30] + b"\0")[0] + 1 == 64
        assert (pixels(out) == pixels(data)).all()
        assert rewrite(out, "webp", (Strip(),)).data[20] == flags & 0x10


def test_every_container_says_what_it_holds() -> None:
    held = {format: rewrite(FILES[format], format, (Strip(), EDIT)).after for format in CONTAINERS}
    assert held == {
        "jpeg": {"exif", "gps", "xmp", "iptc"},
        "png": {"exif", "gps", "xmp"},
        "webp": {"exif", "gps", "xmp"},
        "gif": {"gps", "xmp"},
    }
