"""Every door in, and what is turned away at each."""

import base64
import gzip
import hashlib
import io
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
import PIL.Image
import pytest

from darkroom import intake as intake_module
from darkroom import roots
from darkroom.errors import FetchFailed, NotFound, PathNotAllowed, StorageFull, UrlNotAllowed
from darkroom.intake import Intake, Resolved
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom_tools.errors import DarkroomError, InvalidImage, InvalidSettings, LimitExceeded, UnsupportedFormat

pytestmark = pytest.mark.anyio

HANDLE, UNKNOWN = f"img_{'k' * 26}", f"img_{'u' * 26}"
LIMIT = 3_000_000


def encoded(format: str = "PNG", color: str = "red") -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), color).save(out, format)
    return out.getvalue()


RED = encoded()
SECRET = encoded(color="black")


class Web:
    """Stands for the downloader: hands out what it was given, or fails."""

    def __init__(self, *pieces: bytes, name: str = "photo.png", error: DarkroomError | None = None) -> None:
        self.pieces, self.name, self.error = pieces, name, error
        self.asked: list[str] = []

    async def download(self, url: str, write: Callable[[bytes], Any]) -> str:
        self.asked.append(url)
        for piece in self.pieces:
            await write(piece)
        if self.error is not None:
            raise self.error
        return self.name


@dataclass
class House:
    """An intake with one allowed folder, and a secret picture beside it."""

    root: Path
    secret: Path
    blobs: BlobStore
    principal: Principal
    web: Web | None = None

    async def resolve(self, value: Any, principal: Principal | None = None) -> Resolved:
        async def find(asked: Principal, handle: str) -> Resolved:
            if handle != HANDLE:
                raise NotFound(f"There is no image {handle!r}.")
            return Resolved("0" * 64, "png", 1, "known.png", HANDLE)

        doors = Intake(self.blobs, LIMIT, find, self.web)
        return await doors.resolve(principal or self.principal, value, "image")

    def stored(self) -> list[bytes]:
        return [file.read_bytes() for file in self.blobs.path("0" * 64).parents[2].rglob("*") if file.is_file()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    root, outside = tmp_path / "pictures", tmp_path / "outside"
    (root / "trip" / "day 1").mkdir(parents=True)
    outside.mkdir()
    secret = outside / "secret.png"
    secret.write_bytes(SECRET)
    for path in (root / "red.png", root / "trip" / "day 1" / "red.png"):
        path.write_bytes(RED)
    blobs = BlobStore(tmp_path / "blobs", floor_bytes=0)
    return House(root, secret, blobs, Principal("ann", (root,)))


def is_red(got: Resolved, house: House, name: str = "red.png") -> bool:
    digest = hashlib.sha256(RED).hexdigest()
    return got == Resolved(digest, "png", len(RED), name) and house.blobs.path(digest).read_bytes() == RED


@pytest.mark.parametrize(
    "value",
    [
        "red.png",
        "  red.png\n",
        "./red.png",
        "trip/../red.png",
        "trip/day 1/red.png",
        "{root}/red.png",
        "file://{root}/red.png",
        "file://localhost{root}/trip/day%201/red.png",
        "FILE://{root}/red.png",
        "~/red.png",
    ],
)
async def test_a_path_inside_the_folder_opens(house: House, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(house.root))
    assert is_red(await house.resolve(value.format(root=house.root)), house)


@pytest.mark.parametrize("value", [HANDLE, f" {HANDLE} ", f"darkroom://images/{HANDLE}"])
async def test_a_handle_opens_what_the_library_knows(house: House, value: str) -> None:
    assert (await house.resolve(value)).handle == HANDLE


@pytest.mark.parametrize("value", ["img_unknown", UNKNOWN, "darkroom://images/img_unknown", "darkroom://images/"])
async def test_an_unknown_handle_is_not_found(house: House, value: str) -> None:
    with pytest.raises(NotFound):
        await house.resolve(value)


async def test_a_file_whose_name_looks_like_a_handle_opens(house: House) -> None:
    (house.root / "img_0001.png").write_bytes(RED)
    assert is_red(await house.resolve("img_0001.png"), house, "img_0001.png")


@pytest.mark.parametrize("name", ["x.png[shrink=8]", "-rf.png", "a\u202egnp.png", "猫 é.png", "x;y|z`w.png", "%00.png"])
async def test_a_strange_file_name_is_only_a_name(house: House, name: str) -> None:
    (house.root / name).write_bytes(RED)
    got = await house.resolve(name)
    assert got.sha256 == hashlib.sha256(RED).hexdigest() and "\u202e" not in got.name and not got.name.startswith("-")


async def test_options_after_a_name_open_nothing(house: House) -> None:
    with pytest.raises(PathNotAllowed):
        await house.resolve("red.png[shrink=8]")


FORBIDDEN = [
    "missing.png",
    "trip",
    ".",
    "/",
    "..",
    "trip/missing/red.png",
    "red.png/x",
    "../outside/secret.png",
    "trip/../../outside/secret.png",
    "{secret}",
    "file://{secret}",
    "file://{root}/../outside/secret.png",
    "file://{root}/%2e%2e/outside/secret.png",
    "file://otherhost{root}/red.png",
    "file://{root}/red.png?x=1",
    "{root}/../outside/secret.png",
    "{root}x/red.png",
    "/etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/environ",
    "~root/secret.png",
    "~nobody-here/secret.png",
    "fifo",
    "device",
    "socket",
    "file-link",
    "folder-link/secret.png",
    "trip/deep-link/secret.png",
    "link-to-link",
    "loop",
    "dangling",
    "proc-link/self/environ",
    "red.png\0",
    "red.png\0.jpg",
    "a" * 300,
    "bad\ud800name.png",
    "\\\\server\\share\\x.png",
    "C:\\Windows\\win.ini",
]


@pytest.fixture
def traps(house: House) -> House:
    os.mkfifo(house.root / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(house.root)
        unix.bind("socket")
        os.chdir(here)
    (house.root / "device").symlink_to("/dev/zero")
    (house.root / "file-link").symlink_to(house.secret)
    (house.root / "folder-link").symlink_to(house.secret.parent)
    (house.root / "trip" / "deep-link").symlink_to("../../outside")
    (house.root / "link-to-link").symlink_to("file-link")
    (house.root / "loop").symlink_to("loop")
    (house.root / "dangling").symlink_to("nowhere")
    (house.root / "proc-link").symlink_to("/proc")
    return house


@pytest.mark.parametrize("value", FORBIDDEN)
async def test_missing_forbidden_and_special_files_get_one_answer(traps: House, value: str) -> None:
    value = value.format(root=traps.root, secret=traps.secret)
    with anyio.fail_after(10), pytest.raises(PathNotAllowed) as caught:
        await traps.resolve(value)
    assert caught.value.message.partition(" is not a file")[2] == (
        " that may be used here. Give a path inside an allowed folder, absolute or relative to the first one; "
        "folders, devices and links that lead outside are refused."
    )
    assert traps.stored() == []


async def test_a_device_node_inside_the_folder_is_refused(house: House) -> None:
    try:
        os.mknod(house.root / "zero", 0o020666, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root may make device nodes")
    with anyio.fail_after(10), pytest.raises(PathNotAllowed):
        await house.resolve("zero")


async def test_links_that_stay_inside_the_folder_open(house: House) -> None:
    (house.root / "link.png").symlink_to("trip/day 1/red.png")
    (house.root / "days").symlink_to("trip")
    assert is_red(await house.resolve("link.png"), house)
    assert is_red(await house.resolve("days/day 1/red.png"), house)


async def test_a_root_that_is_itself_a_link_works(house: House, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(house.root)
    principal = Principal("ann", (tmp_path / "alias",))
    assert is_red(await house.resolve("red.png", principal), house)
    assert is_red(await house.resolve(f"{house.root}/red.png", principal), house)


async def test_every_root_counts_and_relative_paths_start_at_the_first(house: House) -> None:
    principal = replace(house.principal, roots=(house.root, house.secret.parent))
    assert (await house.resolve(str(house.secret), principal)).bytes == len(SECRET)
    assert (await house.resolve("../outside/secret.png", principal)).bytes == len(SECRET)
    with pytest.raises(PathNotAllowed):
        await house.resolve("secret.png", principal)


@pytest.mark.parametrize("victim", ["trip/day 1/red.png", "trip/day 1", "trip"])
async def test_a_part_swapped_for_a_link_after_the_check_is_not_followed(
    house: House, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker wins the race: the swap happens just after the path was made real."""
    (house.secret.parent / "day 1").mkdir()
    for copy in (house.secret.parent / "red.png", house.secret.parent / "day 1" / "red.png"):
        copy.write_bytes(SECRET)
    honest = roots.locate

    def locate_then_swap(*args: Any, **kwargs: Any) -> roots.Place:
        place = honest(*args, **kwargs)
        target = house.root / victim
        target.rename(target.with_name("moved"))
        target.symlink_to(house.secret if target.suffix else house.secret.parent)
        return place

    monkeypatch.setattr(roots, "locate", locate_then_swap)
    with pytest.raises(PathNotAllowed):
        await house.resolve("trip/day 1/red.png")
    assert house.stored() == []


async def test_no_path_is_read_where_no_folder_is_allowed(house: House) -> None:
    for value in ("red.png", str(house.root / "red.png"), f"file://{house.root}/red.png", "hello"):
        with pytest.raises(PathNotAllowed) as caught:
            await house.resolve(value, Principal("web"))
        assert "create_upload" in caught.value.message and "file path inside" not in caught.value.message


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "WEBP", "TIFF"])
async def test_the_type_comes_from_the_bytes_and_not_from_the_name(house: House, format: str) -> None:
    (house.root / "photo.txt").write_bytes(encoded(format))
    assert (await house.resolve("photo.txt")).format == format.lower()


@pytest.mark.parametrize(
    "data", [b"#!/bin/sh\nrm -rf /\n" * 9, b"<math xmlns='x'></math>" * 9, b"\0" * 100, gzip.compress(b"\0" * 10**6)]
)
async def test_bytes_of_no_known_type_are_refused_and_not_kept(house: House, data: bytes) -> None:
    (house.root / "photo.png").write_bytes(data)
    with pytest.raises(UnsupportedFormat) as caught:
        await house.resolve("photo.png")
    assert caught.value.details["field"] == "image" and house.stored() == []


@pytest.mark.parametrize(
    ("data", "kind", "format"),
    [(b"<svg xmlns='x'></svg>", "image/svg+xml", "svg"), (b"%PDF-1.7\n", "application/pdf", "pdf")],
)
async def test_drawings_and_pdfs_come_in_as_files_and_as_data_uris(
    house: House, data: bytes, kind: str, format: str
) -> None:
    (house.root / "document").write_bytes(data)
    assert (await house.resolve("document")).format == format
    resolved = await house.resolve(f"data:{kind};base64,{base64.b64encode(data).decode()}")
    assert (resolved.format, resolved.name) == (format, f"image.{format}")


async def test_an_empty_file_is_refused(house: House) -> None:
    (house.root / "empty.png").touch()
    with pytest.raises(InvalidImage) as caught:
        await house.resolve("empty.png")
    assert caught.value.code == "EMPTY_FILE" and house.stored() == []


async def test_a_file_over_the_limit_is_refused_unread(house: House) -> None:
    with (house.root / "huge.png").open("wb") as file:
        file.write(RED)
        file.truncate(LIMIT + 1)
    with pytest.raises(LimitExceeded) as caught:
        await house.resolve("huge.png")
    assert caught.value.code == "FILE_TOO_LARGE" and house.stored() == []


async def test_a_file_that_grows_while_it_is_read_is_cut_off(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_module, "_CHUNK", 1024)
    honest = os.read
    path = house.root / "red.png"

    def read_then_grow(descriptor: int, size: int) -> bytes:
        if size == 1024:
            with path.open("ab") as file:
                file.write(b"x" * 100_000)
        return honest(descriptor, size)

    monkeypatch.setattr(os, "read", read_then_grow)
    with pytest.raises(LimitExceeded):
        await house.resolve("red.png")
    assert house.stored() == []


def data_uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("kind", ["image/png", "IMAGE/PNG", "image/jpeg", "image/svg+xml", "image/png;charset=utf-8"])
async def test_a_data_uri_is_stored_whatever_image_type_it_claims(house: House, kind: str) -> None:
    assert is_red(await house.resolve(data_uri(RED, kind)), house, "image.png")


@pytest.mark.parametrize(
    "value",
    [
        "data:",
        "data:image/png",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:text/html;base64,PHA+",
        "data:;base64,AAAA",
        "data:image/png;base64,not base64!",
        "data:image/png;base64,AAA",
        "data:image/png;base64,ÄÄÄÄ",
    ],
)
async def test_a_malformed_data_uri_is_refused_with_the_doors(house: House, value: str) -> None:
    with pytest.raises(InvalidSettings, match="create_upload"):
        await house.resolve(value)


async def test_line_breaks_in_a_data_uri_are_ignored(house: House) -> None:
    uri = data_uri(RED)
    assert is_red(await house.resolve(f"{uri[:60]}\r\n{uri[60:]}\n"), house, "image.png")


async def test_an_empty_data_uri_is_an_empty_file(house: House) -> None:
    with pytest.raises(InvalidImage):
        await house.resolve("data:image/png;base64,")


async def test_a_data_uri_ends_at_two_and_a_half_megabytes(house: House) -> None:
    fits = RED + bytes(2_500_000 - len(RED))
    assert (await house.resolve(data_uri(fits))).bytes == 2_500_000
    for over in (fits + b"\0", fits + bytes(400_000)):
        with pytest.raises(LimitExceeded, match=r"2.5 MB.*create_upload") as caught:
            await house.resolve(data_uri(over))
        assert caught.value.code == "FILE_TOO_LARGE"


@pytest.mark.parametrize("value", [None, 7, "", "   ", [], {}, {"file_id": "f"}, {"download_url": 3}, True])
async def test_what_is_no_image_at_all_is_told_the_doors(house: House, value: Any) -> None:
    with pytest.raises(InvalidSettings, match=r"img_….*file path.*data URI.*create_upload"):
        await house.resolve(value)


@pytest.mark.parametrize(
    "value", ["ftp://x/a.png", "s3://bucket/a.png", "javascript://alert", "A" * 5000, "darkroom://x"]
)
async def test_other_schemes_and_bare_base64_are_told_the_doors(house: House, value: str) -> None:
    with pytest.raises(InvalidSettings, match="create_upload") as caught:
        await house.resolve(value)
    assert len(caught.value.message) < 400


@pytest.mark.parametrize(
    "value",
    ["https://pics.example/a.png", "HTTP://pics.example/a.png", {"download_url": "https://pics.example/a.png"}],
)
async def test_a_url_is_downloaded_into_the_store(house: House, value: Any) -> None:
    house.web = Web(RED[:10], RED[10:])
    assert is_red(await house.resolve(value), house, "photo.png")
    assert [url.lower().partition("://")[2] for url in house.web.asked] == ["pics.example/a.png"]


async def test_a_download_url_must_not_be_another_door(house: House) -> None:
    house.web = Web(error=UrlNotAllowed("Only http and https URLs can be fetched."))
    for value in (str(house.root / "red.png"), HANDLE, f"file://{house.root}/red.png"):
        with pytest.raises(UrlNotAllowed):
            await house.resolve({"download_url": value})


@pytest.mark.parametrize(
    ("web", "kind"),
    [
        (Web(RED[:10], error=FetchFailed("It stopped.")), FetchFailed),
        (Web(b"<html>" + b" " * 100, b"x" * 1000), UnsupportedFormat),
        (Web(RED, *[bytes(1_000_000)] * 3), LimitExceeded),
        (Web(), InvalidImage),
    ],
)
async def test_a_failed_download_leaves_nothing(house: House, web: Web, kind: type[DarkroomError]) -> None:
    house.web = web
    with pytest.raises(kind):
        await house.resolve("https://pics.example/a.png")
    assert house.stored() == []


async def test_urls_are_refused_where_downloads_are_off(house: House) -> None:
    with pytest.raises(UrlNotAllowed) as caught:
        await house.resolve("https://pics.example/a.png")
    assert "create_upload" in caught.value.message and "https URL" not in caught.value.message


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_a_stream_in_tiny_pieces_is_typed_by_its_first_bytes(house: House) -> None:
    doors = Intake(house.blobs, LIMIT, lambda *_: None)
    assert is_red(await doors.receive(pieces(b"", *(RED[n : n + 1] for n in range(len(RED)))), "../red.png"), house)


async def test_a_stream_that_breaks_off_leaves_nothing(house: House) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield RED
        raise ConnectionResetError

    doors = Intake(house.blobs, LIMIT, lambda *_: None)
    with pytest.raises(ConnectionResetError):
        await doors.receive(broken(), "red.png")
    assert house.stored() == []


def test_a_full_disk_is_said(house: House) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageFull):
        intake_module._Incoming(house.blobs, Path("unused"), full, LIMIT).write(RED)


async def test_nothing_is_taken_in_below_the_disk_floor(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(needed: int = 0) -> None:
        raise StorageFull("The disk is at its floor.")

    monkeypatch.setattr(house.blobs, "check_space", full_disk)
    for value in ("red.png", data_uri(RED)):
        with pytest.raises(StorageFull):
            await house.resolve(value)
    assert house.stored() == []


async def test_files_are_read_beside_the_event_loop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: set[int] = set()
    honest = os.read

    def note(descriptor: int, size: int) -> bytes:
        if size == intake_module._CHUNK:
            readers.add(threading.get_ident())
        return honest(descriptor, size)

    monkeypatch.setattr(os, "read", note)
    await house.resolve("red.png")
    assert readers and threading.get_ident() not in readers
