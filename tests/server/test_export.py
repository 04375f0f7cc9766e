"""Results land whole, under the right name, inside the allowed folders, and never on top of what should stay."""

import errno
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from darkroom import export as export_module
from darkroom.errors import Conflict, NotFound, PathNotAllowed, StorageFull
from darkroom.export import Exporter
from darkroom.principal import Principal
from darkroom.store.blobs import BlobStore
from darkroom_tools.errors import InvalidSettings

pytestmark = pytest.mark.anyio


def red_jpeg() -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), "red").save(out, "JPEG")
    return out.getvalue()


RED = red_jpeg()


@dataclass
class Desk:
    """An allowed folder, a forbidden one beside it, and one stored picture."""

    root: Path
    outside: Path
    digest: str
    exporter: Exporter
    principal: Principal

    async def export(self, path: str, format: str = "jpeg", name: str = "photo-resize.jpg", **more: Any) -> str:
        return await self.exporter.export(self.principal, self.digest, format, name, path, **more)

    def files(self) -> list[str]:
        return sorted(str(f.relative_to(self.root.parent)) for f in self.root.parent.rglob("*") if f.is_file())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    place = tmp_path / "place"
    root, outside = place / "pictures", place / "outside"
    (root / "out").mkdir(parents=True)
    outside.mkdir()
    blobs = BlobStore(tmp_path / "blobs", floor_bytes=0)
    return Desk(root, outside, blobs.put(RED), Exporter(blobs), Principal("ann", (root,)))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a.jpg", "a.jpg"),
        ("a.jpeg", "a.jpeg"),
        ("A.JPG", "A.JPG"),
        ("a", "a.jpg"),
        ("out/a", "out/a.jpg"),
        ("out/../b.jpg", "b.jpg"),
        ("{root}/out/c.jpg", "out/c.jpg"),
        ("file://{root}/d%20e.jpg", "d e.jpg"),
        ("out", "out/photo-resize.jpg"),
        ("out/", "out/photo-resize.jpg"),
        (".", "photo-resize.jpg"),
        ("-rf.jpg", "-rf.jpg"),
    ],
)
async def test_the_picture_is_written_where_the_path_says(desk: Desk, path: str, shown: str) -> None:
    assert await desk.export(path.format(root=desk.root)) == shown
    assert desk.files() == [f"pictures/{shown}"] and (desk.root / shown).read_bytes() == RED


@pytest.mark.parametrize(
    ("format", "path", "allowed"),
    [
        ("jpeg", "a.png", ["jpg", "jpeg"]),
        ("png", "a.jpg", ["png"]),
        ("tiff", "a.jpg", ["tiff", "tif"]),
        ("webp", "photo.v2", ["webp"]),
        ("jpeg", "run.sh", ["jpg", "jpeg"]),
        ("jpeg", "x.jpg[Q=1]", ["jpg", "jpeg"]),
    ],
)
async def test_an_extension_of_another_format_is_refused_with_the_right_one(
    desk: Desk, format: str, path: str, allowed: list[str]
) -> None:
    with pytest.raises(InvalidSettings) as caught:
        await desk.export(path, format)
    assert caught.value.details["allowed"] == allowed
    assert await desk.export(caught.value.details["nearest"], format) == caught.value.details["nearest"]


async def test_a_hidden_name_gets_an_extension_instead_of_being_one(desk: Desk) -> None:
    assert await desk.export(".jpg") == ".jpg.jpg"


async def test_an_existing_file_stays_unless_overwriting_is_asked_for(desk: Desk) -> None:
    (desk.root / "a.jpg").write_bytes(b"old")
    with pytest.raises(Conflict, match="overwrite=true"):
        await desk.export("a.jpg")
    assert (desk.root / "a.jpg").read_bytes() == b"old"
    assert await desk.export("a.jpg", overwrite=True) == "a.jpg"
    assert (desk.root / "a.jpg").read_bytes() == RED and desk.files() == ["pictures/a.jpg"]


async def test_a_file_that_appears_meanwhile_is_not_replaced(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = export_module._refuse_existing

    def check_then_lose_the_race(*args: Any) -> None:
        honest(*args)
        (desk.root / "a.jpg").write_bytes(b"theirs")

    monkeypatch.setattr(export_module, "_refuse_existing", check_then_lose_the_race)
    with pytest.raises(Conflict):
        await desk.export("a.jpg")
    assert (desk.root / "a.jpg").read_bytes() == b"theirs" and desk.files() == ["pictures/a.jpg"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("target", ["{outside}/victim.jpg", "inside.jpg", "nowhere.jpg"])
async def test_a_link_is_never_written_through_nor_replaced(desk: Desk, target: str, overwrite: bool) -> None:
    for victim in (desk.outside / "victim.jpg", desk.root / "inside.jpg"):
        victim.write_bytes(b"victim")
    before = desk.files()
    (desk.root / "link.jpg").symlink_to(target.format(outside=desk.outside))
    with pytest.raises(PathNotAllowed):
        await desk.export("link.jpg", overwrite=overwrite)
    assert (desk.root / "link.jpg").is_symlink()
    assert (desk.outside / "victim.jpg").read_bytes() == b"victim"
    (desk.root / "link.jpg").unlink()
    assert desk.files() == before


async def test_a_link_that_is_swapped_in_is_not_written_through(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = desk.outside / "victim.jpg"
    victim.write_bytes(b"victim")
    (desk.root / "a.jpg").write_bytes(b"old")
    honest = export_module._refuse_existing

    def check_then_swap(*args: Any) -> None:
        honest(*args)
        (desk.root / "a.jpg").unlink()
        (desk.root / "a.jpg").symlink_to(victim)

    monkeypatch.setattr(export_module, "_refuse_existing", check_then_swap)
    await desk.export("a.jpg", overwrite=True)
    assert victim.read_bytes() == b"victim" and (desk.root / "a.jpg").read_bytes() == RED


async def test_a_folder_swapped_for_a_link_is_not_followed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = export_module._place

    def place_then_swap(*args: Any) -> Any:
        place = honest(*args)
        (desk.root / "out").rmdir()
        (desk.root / "out").symlink_to(desk.outside)
        return place

    monkeypatch.setattr(export_module, "_place", place_then_swap)
    with pytest.raises(PathNotAllowed):
        await desk.export("out/a.jpg")
    assert desk.files() == []


@pytest.mark.parametrize(
    "path",
    [
        "../outside/a.jpg",
        "{outside}/a.jpg",
        "{outside}",
        "{outside}/",
        "..",
        "../a.jpg",
        "/a.jpg",
        "file://{outside}/a.jpg",
        "file://{root}/%2e%2e/outside/a.jpg",
        "{root}x/a.jpg",
        "away/a.jpg",
        "away/",
        "missing/a.jpg",
        "missing/",
        "file.jpg/a.jpg",
        "a.jpg\0",
        "a/b\0.jpg",
        "n" * 300 + ".jpg",
        "bad\ud800.jpg",
        "",
    ],
)
async def test_nothing_is_written_outside_the_folders_or_where_none_is(desk: Desk, path: str) -> None:
    (desk.root / "away").symlink_to(desk.outside)
    (desk.root / "file.jpg").write_bytes(b"file")
    before = desk.files()
    path = path.format(root=desk.root, outside=desk.outside)
    with pytest.raises(PathNotAllowed) as caught:
        await desk.export(path)
    assert not path or str(desk.root.parent) not in caught.value.message.replace(path, "")
    assert desk.files() == before


@pytest.mark.parametrize("overwrite", [False, True])
async def test_pipes_and_folders_are_never_replaced(desk: Desk, overwrite: bool) -> None:
    os.mkfifo(desk.root / "pipe.jpg")
    (desk.root / "folder.jpg").mkdir()
    with pytest.raises(PathNotAllowed):
        await desk.export("pipe.jpg", overwrite=overwrite)
    assert await desk.export("folder.jpg", overwrite=overwrite) == "folder.jpg/photo-resize.jpg"


async def test_without_a_folder_nothing_can_be_written(desk: Desk) -> None:
    desk.principal = Principal("web")
    with pytest.raises(PathNotAllowed):
        await desk.export(str(desk.root / "a.jpg"))
    assert desk.files() == []


async def test_a_second_folder_is_shown_by_its_own_path(desk: Desk) -> None:
    desk.principal = Principal("ann", (desk.root, desk.outside))
    assert await desk.export(f"{desk.outside}/a.jpg") == f"{desk.outside}/a.jpg"


async def test_a_name_for_the_folder_form_is_cleaned(desk: Desk) -> None:
    assert await desk.export("out", name="../../\u202eevil\0.jpg") == "out/evil.jpg"


@pytest.mark.parametrize("call", ["fsync", "link", "open"])
async def test_a_failed_write_leaves_no_trace(desk: Desk, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = getattr(os, call)

    def fail(*args: Any, **more: Any) -> Any:
        if call == "open" and not (len(args) > 1 and args[1] & os.O_CREAT):
            return honest(*args, **more)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageFull):
        await desk.export("a.jpg")
    monkeypatch.undo()
    assert desk.files() == []


async def test_file_systems_without_hard_links_work(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert await desk.export("a.jpg") == "a.jpg"
    assert desk.files() == ["pictures/a.jpg"] and (desk.root / "a.jpg").read_bytes() == RED


async def test_a_picture_whose_file_is_gone_is_not_found(desk: Desk) -> None:
    desk.digest = "0" * 64
    with pytest.raises(NotFound):
        await desk.export("a.jpg")
    assert desk.files() == []


async def test_the_written_file_follows_the_users_umask(desk: Desk) -> None:
    old = os.umask(0o027)
    try:
        await desk.export("a.jpg")
    finally:
        os.umask(old)
    assert (desk.root / "a.jpg").stat().st_mode & 0o777 == 0o640
