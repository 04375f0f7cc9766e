"""Pulling a model: source after source, checked before it can be used, and nothing changed where it fails."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import onnx_models as onnx
from support.file_server import FileServer, serving_files

from darkroom.engine.model_check import check_file
from darkroom.engine.model_store import ModelFile, import_model, installed_models
from darkroom.errors import FetchFailed, StorageFull, UrlNotAllowed
from darkroom.model_pull import Mirror, drop_part, open_client, part_bytes, pull
from darkroom_tools.errors import ModelInvalid
from darkroom_tools.models import Card, Tensor

GOOD = onnx.luminance()
CARD = Card(
    "tiny",
    "cutout",
    "A tiny model",
    "tiny.onnx",
    "MIT",
    bytes=len(GOOD),
    sha256=hashlib.sha256(GOOD).hexdigest(),
    inputs=(Tensor("input", ("n", 3, 320, 320)),),
    outputs=(Tensor("output", ("n", 1, 320, 320)),),
)
UNPINNED = replace(CARD, bytes=None, sha256=None)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving_files(**{"tiny.onnx": GOOD}) as shown:
        yield shown


CLIENT = open_client()


def got(server: FileServer, folder: Path, card: Card = CARD, **options: Any) -> ModelFile:
    return pull(CLIENT, folder, card, mirror=Mirror(server.url), **{"reserve_bytes": 0, **options})


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_a_pulled_model_is_installed_with_its_source_and_its_trust(server: FileServer, tmp_path: Path) -> None:
    done = got(server, tmp_path / "models")
    assert installed_models(tmp_path / "models") == {"tiny": done}
    assert done.path.read_bytes() == GOOD
    assert (done.trust, done.source) == ("sha256", server.url + "tiny.onnx")
    assert files_of(tmp_path / "models") == {"manifest.json", done.path.name}


@pytest.mark.parametrize(
    ("card", "trust"),
    [(CARD, "sha256"), (replace(UNPINNED, md5=hashlib.md5(GOOD).hexdigest()), "md5"), (UNPINNED, "first-use")],
)
def test_the_trust_is_what_the_card_pins(server: FileServer, tmp_path: Path, card: Card, trust: str) -> None:
    assert got(server, tmp_path, card).trust == trust
    assert installed_models(tmp_path)["tiny"].trust == trust


@pytest.mark.parametrize(
    ("card", "body", "reason"),
    [
        (CARD, GOOD[:-1] + b"x", "its SHA-256 is"),
        (replace(UNPINNED, md5="0" * 32), GOOD, "its MD5 is"),
        (replace(CARD, md5="0" * 32), GOOD, "its MD5 is"),
        (UNPINNED, GOOD[:-20], "no ONNX model"),
        (UNPINNED, b"<html>Not found</html>", "no ONNX model"),
        (UNPINNED, b"", "no ONNX model"),
        (UNPINNED, onnx.identity(), r"takes float32 \[any×3×any×any\] and gives float32 \[any×3×any×any\]"),
        (UNPINNED, onnx.luminance(side=64), "takes float32"),
        (UNPINNED, onnx.custom(), "takes float32|custom library"),
    ],
)
def test_another_file_is_refused_removed_and_changes_nothing(
    server: FileServer, tmp_path: Path, card: Card, body: bytes, reason: str
) -> None:
    before = got(server, tmp_path, CARD)
    files = files_of(tmp_path)
    server.files["tiny.onnx"] = body
    with pytest.raises(ModelInvalid, match=reason):
        got(server, tmp_path, replace(card, bytes=None))
    assert installed_models(tmp_path) == {"tiny": before}
    assert before.path.read_bytes() == GOOD
    assert files_of(tmp_path) == files


def test_a_fixed_batch_and_other_names_fit_the_card(server: FileServer, tmp_path: Path) -> None:
    server.files["tiny.onnx"] = onnx.luminance(batch=1)
    assert got(server, tmp_path, UNPINNED).bytes == len(server.files["tiny.onnx"])


def test_the_next_source_is_tried_after_a_bad_one(tmp_path: Path) -> None:
    with serving_files(gone=b"", bad=b"other bytes", good=GOOD) as server:
        server.statuses["gone"] = 404
        card = replace(CARD, bytes=None, sources=tuple(f"{server.url}{name}" for name in ("gone", "bad", "good")))
        said: list[str] = []
        done = pull(CLIENT, tmp_path, card, loopback=True, reserve_bytes=0, say=said.append)
    assert done.source == card.sources[2]
    assert [name for name, _, _ in server.asked] == ["gone", "bad", "good"]
    assert [text.partition(" ")[2][:24] for text in said if not text.startswith("from")] == [
        "answers with status 404",
        "The file is not tiny.onn",
    ]


def test_sources_of_cards_are_never_fetched_over_http(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="not HTTPS"):
        pull(CLIENT, tmp_path, replace(CARD, sources=(server.url + "tiny.onnx",)), reserve_bytes=0)
    assert server.asked == []
    assert files_of(tmp_path) == set()


def test_when_no_source_has_it_the_error_names_each_and_the_way_without(server: FileServer, tmp_path: Path) -> None:
    server.statuses["tiny.onnx"] = 404
    with pytest.raises(FetchFailed) as caught:
        got(server, tmp_path)
    host = server.url.removeprefix("http://").rstrip("/")
    assert f"{host} answers with status 404" in caught.value.message
    assert "darkroom models import tiny FILE" in caught.value.message
    assert files_of(tmp_path) == set()


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="cannot be reached. Check the network"):
        pull(CLIENT, tmp_path, CARD, mirror=Mirror("http://127.0.0.1:9/"), reserve_bytes=0)


def test_a_model_without_sources_is_handed_in(tmp_path: Path) -> None:
    with pytest.raises(FetchFailed, match="Get tiny.onnx and hand it in: darkroom models import tiny FILE"):
        pull(CLIENT, tmp_path, CARD)


def test_a_full_disk_is_said_before_a_byte_is_written(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="must stay free"):
        got(server, tmp_path, reserve_bytes=2**62)
    assert files_of(tmp_path) == set()


def test_a_broken_pull_goes_on_and_is_dropped_by_a_removal(server: FileServer, tmp_path: Path) -> None:
    server.breaks = [50, 0]
    with pytest.raises(FetchFailed):
        got(server, tmp_path)
    assert part_bytes(tmp_path, "tiny") == 50
    assert installed_models(tmp_path) == {}
    server.asked.clear()
    assert got(server, tmp_path).path.read_bytes() == GOOD
    assert server.asked == [("tiny.onnx", "bytes=50-", server.etag("tiny.onnx"))]
    server.breaks = [50, 0]
    with pytest.raises(FetchFailed):
        got(server, tmp_path)
    assert drop_part(tmp_path, "tiny")
    assert not drop_part(tmp_path, "tiny")
    assert not [name for name in files_of(tmp_path) if name.startswith(".pull")]


def test_a_file_trusted_on_first_use_may_not_become_another(server: FileServer, tmp_path: Path) -> None:
    first = got(server, tmp_path, UNPINNED)
    first.path.unlink()
    server.files["tiny.onnx"] = onnx.luminance(batch=1)
    with pytest.raises(ModelInvalid, match=f"{first.sha256}.*darkroom models remove tiny"):
        got(server, tmp_path, UNPINNED)
    assert installed_models(tmp_path) == {"tiny": first}
    server.files["tiny.onnx"] = GOOD
    assert got(server, tmp_path, UNPINNED).sha256 == first.sha256


def test_an_import_by_hand_does_not_bind_a_pull(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(onnx.luminance(batch=1))
    import_model(tmp_path / "models", "tiny", tmp_path / "mine.onnx")
    assert got(server, tmp_path / "models", UNPINNED).path.read_bytes() == GOOD


def test_a_file_is_good_while_it_is_unchanged_and_the_cards(server: FileServer, tmp_path: Path) -> None:
    done = got(server, tmp_path)
    check_file(CARD, done)
    check_file(None, done)
    with pytest.raises(ModelInvalid, match="its publisher pins"):
        check_file(replace(CARD, sha256="0" * 64), done)
    done.path.write_bytes(GOOD[:-1])
    for card in (CARD, None):
        with pytest.raises(ModelInvalid, match="was changed"):
            check_file(card, done)


@pytest.mark.parametrize("address", ["http://example.com/", "ftp://example.com/", "example.com", "https://a:b@c/", ""])
def test_a_mirror_is_https_or_this_machine(address: str, tmp_path: Path) -> None:
    with pytest.raises(UrlNotAllowed, match="over https only"):
        pull(CLIENT, tmp_path, CARD, mirror=Mirror(address))


def test_a_mirror_is_a_folder_or_the_file_itself() -> None:
    assert Mirror("https://example.com/m/").source(CARD) == "https://example.com/m/tiny.onnx"
    assert Mirror("https://example.com/m?f=1").source(CARD) == "https://example.com/m?f=1"
