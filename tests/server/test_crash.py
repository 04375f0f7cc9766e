"""`kill -9` at any moment: nothing accepted is lost, nothing is done twice, no temporary file stays."""

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from darkroom.accounts import ledger

PATIENCE = 60.0
KILLS = 5


class Server:
    """A running crash server whose words are kept."""

    def __init__(self, folder: Path, mode: str, name: str) -> None:
        script = Path(__file__).with_name("crash_server.py")
        command = [sys.executable, str(script), str(folder), mode, name]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.lines: list[list[str]] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                if line.endswith("\n"):
                    self.lines.append(line.split())
                self._changed.notify_all()

    def said(self, word: str) -> list[str]:
        with self._changed:
            return [line[-1] for line in self.lines if line[0] == word]

    def wait_for(self, word: str, count: int) -> None:
        def enough() -> bool:
            return sum(line[0] == word for line in self.lines) >= count

        with self._changed:
            assert self._changed.wait_for(enough, PATIENCE), f"{word} not said {count} times: {self.lines[-5:]}"

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end(-signal.SIGKILL)

    def end(self, status: int) -> None:
        assert self.process.wait(PATIENCE) == status
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def server(folder: Path, mode: str, name: str) -> Iterator[Server]:
    started = Server(folder, mode, name)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.kill()


def crash(folder: Path, mode: str, name: str, until: Callable[[Server], None]) -> Server:
    with server(folder, mode, name) as running:
        until(running)
        running.kill()
    return running


def drain(folder: Path) -> Server:
    with server(folder, "drain", "drain") as running:
        running.wait_for("closed", 1)
        running.end(0)
    return running


def query(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "darkroom.db")) as connection:
        return connection.execute(sql).fetchall()


def check_files(folder: Path) -> None:
    """Every image has its whole file, nothing is half written, and the database is sound."""
    assert list((folder / "blobs" / "tmp").iterdir()) == []
    for (digest,) in query(folder, "SELECT DISTINCT sha256 FROM images"):
        path = folder / "blobs" / digest[:2] / digest[2:4] / digest
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    assert query(folder, "PRAGMA integrity_check") == [("ok",)]
    assert query(folder, "SELECT count(*) FROM job_blobs") == query(folder, "SELECT count(*) FROM job_items") == [(0,)]
    check_books(folder)


def check_books(folder: Path) -> None:
    """The ledger adds up, nothing is reserved any more, and each finished item was paid for once."""
    engine = sa.create_engine(f"sqlite:///{folder / 'darkroom.db'}")
    with engine.connect() as connection:
        assert ledger.verify(connection) == []
        balance = ledger.balance_of(connection, "ann")
    engine.dispose()
    [(made,)] = query(
        folder, "SELECT count(*) FROM images WHERE tool = 'tint' AND format = 'png' AND parent IS NOT NULL"
    )
    assert (balance.reserved, balance.total) == (0, 100_000 - made)


def test_calls_survive_five_kills_and_are_done_exactly_once(tmp_path: Path) -> None:
    dice = random.Random(5)
    accepted: list[str] = []
    for number in range(KILLS):
        running = crash(tmp_path, "singles", f"run{number}", lambda s: s.wait_for("accepted", dice.randint(5, 60)))
        accepted += running.said("accepted")
    drain(tmp_path)
    states = dict(query(tmp_path, "SELECT id, state FROM jobs"))
    lost = [job_id for job_id in accepted if job_id not in states]
    assert lost == []
    assert Counter(states.values()) == {"succeeded": len(states)}
    made = query(tmp_path, "SELECT parent, count(*) FROM images WHERE tool = 'tint' GROUP BY parent")
    assert len(made) == len(states)
    assert {count for _, count in made} == {1}
    check_files(tmp_path)


def test_a_batch_survives_five_kills_and_repeats_only_what_was_under_way(tmp_path: Path) -> None:
    dice = random.Random(7)
    first = crash(tmp_path, "batch", "picture", lambda s: s.wait_for("ran", dice.randint(2, 6)))
    ran = Counter(first.said("ran"))
    for _ in range(KILLS - 1):
        forget_attempts(tmp_path)
        running = crash(tmp_path, "drain", "drain", lambda s: s.wait_for("ran", dice.randint(2, 6)))
        ran += Counter(running.said("ran"))
    forget_attempts(tmp_path)
    ran += Counter(drain(tmp_path).said("ran"))
    [(state, done)] = query(tmp_path, "SELECT state, done FROM jobs")
    assert (state, done) == ("succeeded", 40)
    assert len(ran) == 40
    assert sum(ran.values()) <= 40 + KILLS * 3
    assert query(tmp_path, "SELECT count(*), count(DISTINCT parent) FROM images WHERE tool = 'tint'") == [(40, 40)]
    check_files(tmp_path)


def test_batches_and_calls_beside_them_survive_kills_together(tmp_path: Path) -> None:
    dice = random.Random(9)
    accepted: list[str] = []
    for number in range(2):
        running = crash(tmp_path, "mixed", f"round{number}", lambda s: s.wait_for("ran", dice.randint(5, 40)))
        accepted += running.said("accepted")
        forget_attempts(tmp_path)
    drain(tmp_path)
    states = dict(query(tmp_path, "SELECT id, state FROM jobs"))
    assert Counter(states.values()) == {"succeeded": len(states)}
    assert set(accepted) <= set(states)
    [(items,)] = query(tmp_path, "SELECT sum(item_count) FROM jobs")
    made = query(tmp_path, "SELECT parent, count(*) FROM images WHERE tool = 'tint' GROUP BY parent")
    assert (len(made), {count for _, count in made}) == (items, {1})
    check_files(tmp_path)


def test_the_zip_of_a_batch_is_made_once_however_often_its_server_is_killed(tmp_path: Path) -> None:
    crash(tmp_path, "zip", "picture", lambda s: s.wait_for("ran", 15))
    while query(tmp_path, "SELECT count(*) FROM job_items")[0][0] < 38:  # the last kill comes while it is packed
        forget_attempts(tmp_path)
        left = 40 - query(tmp_path, "SELECT count(*) FROM job_items")[0][0]
        crash(tmp_path, "drain", "drain", partial(Server.wait_for, word="ran", count=left))
    forget_attempts(tmp_path)
    drain(tmp_path)
    [(digest,)] = query(tmp_path, "SELECT sha256 FROM images WHERE format = 'zip'")
    with zipfile.ZipFile(tmp_path / "blobs" / digest[:2] / digest[2:4] / digest) as archive:
        assert archive.testzip() is None
        names = {info.filename for info in archive.infolist()}
    assert names == {"_report.json", *(f"picture-{n}.png" for n in range(40))}
    check_files(tmp_path)


def forget_attempts(folder: Path) -> None:
    """Forget the attempts, so that five kills do not count as poison."""
    with closing(sqlite3.connect(folder / "darkroom.db")) as connection:
        connection.execute("UPDATE jobs SET attempt = 1")
        connection.commit()


def test_a_job_that_takes_its_server_down_three_times_is_given_up(tmp_path: Path) -> None:
    crash(tmp_path, "batch", "picture", lambda s: s.wait_for("ran", 1))
    for _ in range(2):
        crash(tmp_path, "drain", "drain", lambda s: s.wait_for("ran", 1))
    assert drain(tmp_path).said("ran") == []
    [(state, error)] = query(tmp_path, "SELECT state, error FROM jobs")
    assert (state, "INTERRUPTED" in error) == ("failed", True)
    check_files(tmp_path)
