"""Downloads from a server that is slow, breaks off, lies, or leads elsewhere."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from support.file_server import FileServer, serving_files

from darkroom.download import DownloadFailed, Part, Unreachable, download, is_allowed
from darkroom.errors import Conflict, StorageFull

BODY = random.Random(7).randbytes(300_000)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files(model=BODY) as shown:
        yield shown


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".pull-model"


def fetch(server: FileServer, path: Path, name: str = "model", **options: object) -> list[tuple[int, int | None]]:
    """Download a file; what was told meanwhile."""
    told: list[tuple[int, int | None]] = []
    with httpx2.Client(timeout=10, trust_env=False, verify=False) as client, Part(path) as part:
        settings = {"loopback": True, "reserve_bytes": 0, "watch": lambda *a: told.append(a), **options}
        download(client, server.url + name, part, **settings)  # type: ignore[arg-type]
    return told


def broken_off(server: FileServer, path: Path, at: int = 100_000) -> None:
    """Leave a part of the file, as after a connection that was lost for good."""
    server.breaks = [at, 0]
    with pytest.raises(Unreachable):
        fetch(server, path)
    assert path.read_bytes() == BODY[:at]
    server.asked.clear()


def test_a_whole_file_arrives_and_its_length_is_told(server: FileServer, path: Path) -> None:
    told = fetch(server, path)
    assert path.read_bytes() == BODY
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_breaks_off_goes_on_at_once_where_it_stopped(server: FileServer, path: Path) -> None:
    server.breaks = [100_000, 50_000]
    fetch(server, path)
    assert path.read_bytes() == BODY
    etag = server.etag("model")
    assert server.asked == [
        ("model", None, None),
        ("model", "bytes=100000-", etag),
        ("model", "bytes=150000-", etag),
    ]


def test_a_part_of_an_earlier_run_goes_on(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    told = fetch(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [("model", "bytes=100000-", server.etag("model"))]
    assert told[0][0] > 100_000


def test_a_part_that_is_whole_is_not_asked_for_again(server: FileServer, path: Path) -> None:
    fetch(server, path)
    server.asked.clear()
    fetch(server, path)
    assert (path.read_bytes(), server.asked) == (BODY, [])


def test_a_part_of_a_file_that_changed_meanwhile_is_begun_anew(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    server.files["model"] = BODY[::-1]
    fetch(server, path)
    assert path.read_bytes() == BODY[::-1]


def test_a_part_that_is_longer_than_the_new_file_is_begun_anew(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    server.files["model"] = BODY[::-1][:1000]
    fetch(server, path)
    assert path.read_bytes() == BODY[::-1][:1000]


def test_a_range_that_the_server_does_not_know_is_begun_anew(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    path.write_bytes(BODY + b"more")
    fetch(server, path)
    assert path.read_bytes() == BODY
    assert [span for _, span, _ in server.asked] == ["bytes=300004-", None]


def test_without_ranges_it_begins_anew(server: FileServer, path: Path) -> None:
    server.ranges, server.breaks = False, [100_000]
    fetch(server, path)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("etags", ["", "W"])
def test_without_a_strong_tag_it_begins_anew_in_the_next_run(server: FileServer, path: Path, etags: str) -> None:
    server.etags, server.breaks = etags, [100_000]
    with pytest.raises(Unreachable, match="broke off"):
        fetch(server, path)
    fetch(server, path)
    assert path.read_bytes() == BODY
    assert [span for _, span, _ in server.asked] == [None, None]


def test_a_part_of_another_address_is_not_mixed_in(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    server.files["other"] = BODY[::-1]
    fetch(server, path, "other")
    assert path.read_bytes() == BODY[::-1]
    assert server.asked == [("other", None, None)]


def test_a_part_stays_while_the_address_cannot_be_reached(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    away = FileServer(url="http://127.0.0.1:9/")
    with pytest.raises(Unreachable, match="cannot be reached"):
        fetch(away, path)
    assert path.read_bytes() == BODY[:100_000]
    fetch(server, path)
    assert path.read_bytes() == BODY


def test_without_a_length_the_end_is_the_end(server: FileServer, path: Path) -> None:
    server.lengths = False
    told = fetch(server, path)
    assert (path.read_bytes(), told[-1]) == (BODY, (len(BODY), None))


def test_a_server_that_always_breaks_off_is_given_up_and_the_part_kept(server: FileServer, path: Path) -> None:
    server.breaks = [1000] * 20
    with pytest.raises(Unreachable, match="again and again|broke off"):
        fetch(server, path)
    assert 0 < path.stat().st_size < len(BODY)
    assert len(server.asked) == 5


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_another_status_is_said_and_leaves_nothing(server: FileServer, path: Path, status: int) -> None:
    server.statuses["model"] = status
    with pytest.raises(DownloadFailed, match=f"answers with status {status}"):
        fetch(server, path)
    assert list(path.parent.iterdir()) == []


def test_another_length_than_expected_is_refused_before_a_byte_is_written(server: FileServer, path: Path) -> None:
    with pytest.raises(DownloadFailed, match="300,000 bytes instead of 4"):
        fetch(server, path, size=4)
    assert list(path.parent.iterdir()) == []


def test_a_file_that_does_not_fit_on_the_disk_is_refused_before_it_starts(server: FileServer, path: Path) -> None:
    with pytest.raises(StorageFull, match="must stay free"):
        fetch(server, path, reserve_bytes=2**62)
    assert list(path.parent.iterdir()) == []


def test_redirects_are_followed_and_the_part_belongs_to_the_first_address(server: FileServer, path: Path) -> None:
    server.redirects = {"old": "/older", "older": server.url + "model"}
    server.breaks = [100_000, 0]
    with pytest.raises(Unreachable):
        fetch(server, path, "old")
    fetch(server, path, "old")
    assert path.read_bytes() == BODY
    assert server.asked[-1] == ("model", "bytes=100000-", server.etag("model"))


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("http://example.com/model", "not HTTPS"),
        ("ftp://127.0.0.1/model", "not HTTPS"),
        ("https://user:word@example.com/model", "not HTTPS"),
        ("file:///etc/passwd", "not HTTPS"),
        ("/model/again", "redirects more than 5 times"),
        ("https://example.com:port/", "no URL"),
    ],
)
def test_a_redirect_elsewhere_is_refused(server: FileServer, path: Path, place: str, reason: str) -> None:
    server.redirects = {"model": place, "model/again": "/model/again"}
    with pytest.raises(DownloadFailed, match=reason):
        fetch(server, path)
    assert list(path.parent.iterdir()) == []


def test_http_is_refused_unless_this_machine_is_asked_for(server: FileServer, path: Path) -> None:
    with pytest.raises(DownloadFailed, match="not HTTPS"):
        fetch(server, path, loopback=False)
    assert server.asked == []


def test_https_leads_to_https_only(path: Path) -> None:
    places = {"a.example": "https://b.example/model", "c.example": "http://b.example/model"}
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        if request.url.host in places:
            return httpx2.Response(302, headers={"location": places[request.url.host]})
        return httpx2.Response(200, stream=httpx2.ByteStream(BODY), headers={"etag": '"1"'})

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client, Part(path) as part:
        with pytest.raises(DownloadFailed, match="not HTTPS"):
            download(client, "https://c.example/model", part, reserve_bytes=0)
        download(client, "https://a.example/model", part, reserve_bytes=0)
    assert path.read_bytes() == BODY
    assert asked == ["https://c.example/model", "https://a.example/model", "https://b.example/model"]


def test_a_compressed_answer_is_refused(path: Path) -> None:
    gzipped = httpx2.MockTransport(lambda _: httpx2.Response(200, content=b"", headers={"content-encoding": "gzip"}))
    with (
        httpx2.Client(transport=gzipped) as client,
        Part(path) as part,
        pytest.raises(DownloadFailed, match="compressed"),
    ):
        download(client, "https://a.example/model", part, reserve_bytes=0)


def test_a_range_that_was_not_asked_for_is_refused(path: Path) -> None:
    headers = {"content-range": "bytes 5-9/10"}
    partial = httpx2.MockTransport(lambda _: httpx2.Response(206, content=b"56789", headers=headers))
    with (
        httpx2.Client(transport=partial) as client,
        Part(path) as part,
        pytest.raises(DownloadFailed, match="status 206"),
    ):
        download(client, "https://a.example/model", part, reserve_bytes=0)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx2.ConnectTimeout(""), "took too long"),
        (httpx2.ReadTimeout(""), "took too long"),
        (httpx2.ProxyError(""), "the proxy refuses"),
        (httpx2.ConnectError(""), "cannot be reached"),
        (httpx2.RemoteProtocolError(""), "broke off"),
    ],
)
def test_what_went_wrong_is_said_in_words(path: Path, error: httpx2.TransportError, words: str) -> None:
    def fail(_request: httpx2.Request) -> httpx2.Response:
        raise error

    with (
        httpx2.Client(transport=httpx2.MockTransport(fail)) as client,
        Part(path) as part,
        pytest.raises(Unreachable, match=words),
    ):
        download(client, "https://a.example/model", part, reserve_bytes=0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_disk_that_fills_up_meanwhile_is_said_in_words(path: Path) -> None:
    path.symlink_to("/dev/full")
    with Part(path) as part, pytest.raises(StorageFull, match="Free some space"):
        part.write(b"x")


@pytest.mark.parametrize(
    ("url", "always", "with_loopback"),
    [
        ("https://example.com/x", True, True),
        ("http://example.com/x", False, False),
        ("http://localhost:8000/x", False, True),
        ("http://[::1]/x", False, True),
        ("http://127.0.0.1.example.com/x", False, False),
        ("https://name@example.com/x", False, False),
        ("https:///x", False, False),
    ],
)
def test_only_https_and_this_machine_are_allowed(url: str, always: bool, with_loopback: bool) -> None:
    address = httpx2.URL(url)
    assert (is_allowed(address, loopback=False), is_allowed(address, loopback=True)) == (always, with_loopback)


def test_only_one_process_works_on_a_part(path: Path) -> None:
    code = f"from pathlib import Path; from darkroom.download import Part\nwith Part(Path({str(path)!r})): pass"
    with Part(path):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "darkroom.errors.Conflict" in done.stderr
        with pytest.raises(Conflict, match="Another process"), Part(path):
            pass
    with Part(path):
        pass


def test_a_damaged_note_means_a_new_start(server: FileServer, path: Path) -> None:
    broken_off(server, path)
    path.with_name(f"{path.name}~").write_text("[1")
    fetch(server, path)
    assert path.read_bytes() == BODY
    assert server.asked == [("model", None, None)]
