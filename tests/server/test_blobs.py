"""The blob store: whole files or none, safe names, room kept free."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.errors import StorageFull
from darkroom.store.blobs import BlobStore


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if not path.is_dir())


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


def test_bytes_come_back_under_their_sha256(store: BlobStore) -> None:
    digest = store.put(b"picture")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    assert store.exists(digest)
    assert store.path(digest).read_bytes() == b"picture"
    assert store.path(digest).parts[-3:] == (digest[:2], digest[2:4], digest)


def test_equal_bytes_are_stored_once(store: BlobStore, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"picture")
    assert store.put(b"picture") == store.put(b"picture") == store.adopt(made)
    assert len(files(tmp_path)) == 1


def test_a_truncated_blob_is_written_anew(store: BlobStore) -> None:
    digest = store.put(b"picture")
    store.path(digest).write_bytes(b"pic")
    assert store.put(b"picture") == digest
    assert store.path(digest).read_bytes() == b"picture"


def test_adopting_moves_the_file_for_the_owner_only(store: BlobStore, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"picture")
    made.chmod(0o644)
    inode = made.stat().st_ino
    digest = store.adopt(made)
    assert not made.exists()
    assert store.path(digest).stat().st_ino == inode
    assert stat.S_IMODE(store.path(digest).stat().st_mode) == 0o600
    assert {stat.S_IMODE(p.stat().st_mode) for p in store.path(digest).parents[:3]} <= {0o700}


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "second name"])
def test_only_regular_files_are_adopted(store: BlobStore, tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    made = tmp_path / "made"
    match kind:
        case "link":
            made.symlink_to(secret)
        case "pipe":
            os.mkfifo(made)
        case "folder":
            made.mkdir()
        case _:
            made.hardlink_to(secret)
    with pytest.raises((ValueError, OSError)):
        store.adopt(made)
    assert files(tmp_path / "blobs") == []
    assert secret.read_text() == "secret"


def test_a_file_from_another_file_system_is_copied_in(
    store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.write_bytes(b"picture")
    rename = Path.rename

    def across(self: Path, target: Path) -> Path:
        if self == made:
            raise OSError(errno.EXDEV, "cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", across)
    assert store.path(store.adopt(made)).read_bytes() == b"picture"
    assert not made.exists()


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_what_is_no_digest_names_no_path(store: BlobStore, digest: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal"):
        store.path(digest)


def test_a_full_disk_leaves_no_partial_file(store: BlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageFull) as caught:
        store.put(b"picture")
    assert files(tmp_path) == []
    assert str(tmp_path) not in caught.value.message


def test_a_file_size_limit_of_the_system_leaves_no_partial_file(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from darkroom.store.blobs import BlobStore\n"
        "store = BlobStore(Path(sys.argv[1]))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: store.put(b'x' * 5000)\n"
        "except OSError as error: print(error.errno)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "blobs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == str(errno.EFBIG)
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("total_gib", "free_mib", "accepted"), [(100, 600, True), (100, 500, False), (10, 250, True), (10, 200, False)]
)
def test_the_reserve_is_512_mb_or_2_percent(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch, total_gib: int, free_mib: int, accepted: bool
) -> None:
    disk = SimpleNamespace(f_frsize=1024, f_blocks=total_gib * 1024**2, f_bavail=free_mib * 1024)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    if accepted:
        store.check_space()
    else:
        with pytest.raises(StorageFull, match=f"{free_mib} MB free") as caught:
            store.put(b"picture")
        assert caught.value.status == 507


def test_a_blob_already_stored_is_found_on_a_full_disk(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.put(b"picture")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_frsize=1, f_blocks=10**12, f_bavail=0))
    assert store.put(b"picture") == digest


def test_the_sweep_spares_what_is_kept_and_what_is_new(store: BlobStore) -> None:
    kept, old, new = store.put(b"kept"), store.put(b"old"), store.put(b"new")
    long_ago = time.time() - 7200
    for digest in (kept, old):
        os.utime(store.path(digest), (long_ago, long_ago))
    assert store.sweep({kept}) == 1
    assert [store.exists(digest) for digest in (kept, old, new)] == [True, False, True]


def test_storing_again_renews_the_grace_of_a_blob(store: BlobStore) -> None:
    digest = store.put(b"picture")
    os.utime(store.path(digest), (0, 0))
    store.put(b"picture")
    assert store.sweep(set()) == 0


def test_leftovers_of_a_killed_server_are_removed_and_younger_ones_spared(store: BlobStore) -> None:
    with store.temporary() as path:
        path.write_bytes(b"half")
        assert store.remove_temporary(older_than=3600) == 0
        assert store.remove_temporary() == 1
        assert not path.exists()


def test_each_new_file_is_synced_before_it_is_named_and_its_folders_after(
    store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"picture").hexdigest()
    path = store.path(digest)
    order: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def watched_rename(self: Path, target: Any) -> Path:
        order.append("rename")
        assert target == path
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    store.put(b"picture")
    assert order == ["file", "rename", "folder", "folder", "folder"]


def test_many_threads_storing_the_same_bytes_leave_one_file(store: BlobStore, tmp_path: Path) -> None:
    gate = threading.Barrier(8)

    def put(_: int) -> str:
        gate.wait(30)
        return store.put(b"picture" * 1000)

    with ThreadPoolExecutor(8) as threads:
        digests = set(threads.map(put, range(8)))
    assert len(digests) == len(files(tmp_path)) == 1


@given(st.binary(max_size=5000))
def test_any_bytes_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    store = BlobStore(tmp_path_factory.getbasetemp() / "shared-blobs")
    assert store.path(store.put(data)).read_bytes() == data
