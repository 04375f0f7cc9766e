"""ZIP files: names that every system can unpack, and equal bytes for equal contents."""

import io
import re
import unicodedata
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom_tools.image import Entry
from darkroom_tools.kit.archive import unique_names, write_zip

ANY_NAME = st.one_of(
    st.text(max_size=30),
    st.text("aA./\\_1 -", max_size=12),
    st.sampled_from(
        ["con", "COM1.jpg", "../../etc/passwd", "a/b/c/d/e/f/g.png", "..\\..\\x", "a", "a/b", "a_1", "ß", "SS"]
    ),
)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def zipped(*entries: tuple[str, bytes]) -> bytes:
    target = io.BytesIO()
    write_zip(target, [Entry(name, lambda data=data: data) for name, data in entries])
    return target.getvalue()


@given(st.lists(ANY_NAME, max_size=12))
def test_names_are_safe_and_unique_whatever_their_case(names: list[str]) -> None:
    safe = unique_names(names)
    assert len(safe) == len(names)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in safe}) == len(names)
    for name in safe:
        for part in name.split("/"):
            assert part not in ("", ".", "..")
            assert not part.startswith((".", "-", " "))
            assert not part.endswith((".", " "))
            assert not RESERVED.match(part)
            assert not re.search(r'[\\<>:"|?*\x00-\x1f]', part)
            assert len(part.encode()) <= 210


@given(st.lists(ANY_NAME, max_size=12))
def test_no_file_has_the_name_of_a_folder(names: list[str]) -> None:
    safe = [name.casefold() for name in unique_names(names)]
    folders = {name[: match.start()] for name in safe for match in re.finditer("/", name)}
    assert not folders & set(safe)


@given(st.lists(st.tuples(ANY_NAME, st.binary(max_size=40)), max_size=8))
def test_what_is_written_is_read_back_by_the_standard_library(entries: list[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(*entries))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == unique_names([name for name, _ in entries])
        assert [archive.read(info) for info in archive.infolist()] == [data for _, data in entries]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "a.jpg", "A.JPG"], ["a.jpg", "a_1.jpg", "A_2.JPG"]),
        (["a_1.jpg", "a.jpg", "a.jpg"], ["a_1.jpg", "a.jpg", "a_2.jpg"]),
        (["shop/x.png", "Shop/x.png", "shop/X.png"], ["shop/x.png", "shop/x_1.png", "shop/X_2.png"]),
        (["a", "a/x", "a/y"], ["a", "a_1/x", "a_1/y"]),
        (["a/x", "a"], ["a/x", "a_1"]),
        (["../../etc/passwd"], ["etc/passwd"]),
        (["C:\\Windows\\a.jpg"], ["C_/Windows/a.jpg"]),
        (["con.txt", "CON.txt"], ["_con.txt", "_CON_1.txt"]),
        (["", "...", ".hidden"], ["image", "image_1", "hidden"]),
        (["1/2/3/4/5/6.png"], ["1/2/3/4/6.png"]),
        (["e\u0301.png", "\u00e9.png"], ["\u00e9.png", "\u00e9_1.png"]),
    ],
)
def test_names_are_changed_as_little_as_possible(names: list[str], expected: list[str]) -> None:
    assert unique_names(names) == expected


def test_thousands_of_equal_names_are_numbered_in_order() -> None:
    names = unique_names(["photo.jpg"] * 5000)
    assert names[:2] == ["photo.jpg", "photo_1.jpg"]
    assert names[-1] == "photo_4999.jpg"


def test_equal_contents_give_equal_bytes_and_are_stored_as_they_are() -> None:
    entries = [("übersicht/a.txt", b"x" * 1000), ("b.bin", b"\xff" * 300)]
    data = zipped(*entries)
    assert data == zipped(*entries)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for member in archive.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            assert member.external_attr >> 16 == 0o644
    assert b"x" * 1000 in data


def test_contents_are_made_one_after_the_other() -> None:
    made: list[int] = []

    class Target(io.BytesIO):
        def write(self, data: object) -> int:
            if data == b"second":
                assert made == [1, 2]
            return super().write(data)  # type: ignore[arg-type]

    def make(number: int, data: bytes) -> Entry:
        return Entry(f"{number}", lambda: (made.append(number), data)[1])

    assert write_zip(Target(), [make(1, b"first"), make(2, b"second"), make(3, b"third")]) == ["1", "2", "3"]
    assert made == [1, 2, 3]
