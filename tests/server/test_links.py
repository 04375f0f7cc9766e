"""Signed addresses: the key, the signature, the time."""

import stat
import time
from pathlib import Path

import pytest

from darkroom.errors import NotFound
from darkroom.links import LIFETIME, Links


def parts(url: str | None) -> tuple[str, int, str, str]:
    assert url is not None
    image, expires, signature, name = url.removeprefix("http://here/files/").split("/")
    return image, int(expires), signature, name


def links(key: bytes = b"k" * 32) -> Links:
    made = Links(key)
    made.base = "http://here"
    return made


def test_a_link_is_good_for_a_day() -> None:
    before = time.time()
    image, expires, signature, _ = parts(links().url("img_a", "a.png"))
    assert before - 1 <= expires - LIFETIME <= time.time()
    links().check(image, expires, signature)


def test_an_expired_link_is_refused_although_it_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    image, expires, signature, _ = parts(links().url("img_a", "a.png"))
    monkeypatch.setattr(time, "time", lambda: expires + 1.0)
    with pytest.raises(NotFound):
        links().check(image, expires, signature)


def test_another_key_signs_otherwise() -> None:
    image, expires, signature, _ = parts(links().url("img_a", "a.png"))
    with pytest.raises(NotFound):
        links(b"x" * 32).check(image, expires, signature)


def test_names_are_quoted() -> None:
    assert parts(links().url("img_a", "ü ?/#.png"))[3] == "%C3%BC%20%3F%2F%23.png"


def test_a_link_to_another_form_names_it_and_opens_no_other() -> None:
    url = links().url("img_a", "a.b.png", "thumbnail")
    assert url is not None
    image, expires, signature, rendition, name = url.removeprefix("http://here/files/").split("/")
    assert (rendition, name) == ("thumbnail", "a.b.jpg")
    links().check(image, int(expires), signature, "thumbnail")
    for other in ("", "jpg", "png"):
        with pytest.raises(NotFound):
            links().check(image, int(expires), signature, other)


@pytest.mark.parametrize("left", [b"", b"half a key"])
def test_half_a_key_is_made_anew(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "key").write_bytes(left)
    (tmp_path / "key.new").write_bytes(left)
    Links.from_file(tmp_path / "key")
    assert len((tmp_path / "key").read_bytes()) == 32
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_there_is_no_link_while_nothing_listens() -> None:
    assert Links(b"k").url("img_a", "a.png") is None


def test_the_key_stays_the_same_and_is_the_owner_s_alone(tmp_path: Path) -> None:
    first, again = Links.from_file(tmp_path / "key"), Links.from_file(tmp_path / "key")
    first.base = again.base = "http://here"
    assert parts(first.url("img_a", "a"))[2] == parts(again.url("img_a", "a"))[2]
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert len((tmp_path / "key").read_bytes()) == 32
