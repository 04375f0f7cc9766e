"""`kill -9` in the middle of batches, over and over: what is lost, done twice or left behind.

`python -m benchmarks.kill9 [ROUNDS]`. In each round a server takes on a batch of 40 images and single calls beside it,
goes on with what the one before left, and is killed at a random moment. A last one finishes everything.
"""

import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROUNDS = 50
SERVER = Path(__file__).parents[1] / "tests" / "server" / "crash_server.py"


@dataclass
class Tally:
    """What came of all rounds: the ids that callers were given, and what is in the database and on the disk then."""

    rounds: int = 0
    accepted: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    items: int = 0
    results: Counter[int] = field(default_factory=Counter)
    temporary: int = 0
    unknown: int = 0
    repeated: int = 0

    @property
    def lost(self) -> int:
        """Jobs that a caller was promised and that are not done."""
        return sum(self.states.get(job) != "succeeded" for job in self.accepted)

    @property
    def doubled(self) -> int:
        """Images that were made more than once."""
        return sum(count for times, count in self.results.items() if times > 1)

    def __str__(self) -> str:
        return "\n".join(
            (
                f"kill -9 in the middle of a batch, {self.rounds} rounds",
                f"  jobs accepted {len(self.accepted)} (with those killed before their caller knew: {len(self.states)})",
                f"  done {Counter(self.states.values())['succeeded']}, lost {self.lost}",
                f"  images asked for {self.items}, made once {self.results[1]}, doubled {self.doubled}",
                f"  runs repeated because the kill came before their record: {self.repeated}",
                f"  temporary files left {self.temporary}, stored files that nothing names {self.unknown}",
            )
        )


def run(folder: Path, rounds: int, seed: int = 9) -> Tally:
    """Kill servers on one data directory, let a last one finish, and count."""
    dice = random.Random(seed)
    tally = Tally(rounds)
    ran = 0
    for number in range(rounds):
        said = list(_killed(folder, f"round{number}", dice.randint(1, 60)))
        tally.accepted += [line[1] for line in said if line[0] == "accepted"]
        ran += sum(line[0] == "ran" for line in said)
        _forget_attempts(folder)
    last = subprocess.run(_command(folder, "drain", "last"), capture_output=True, text=True, check=True)
    ran += sum(line.startswith("ran ") for line in last.stdout.splitlines())
    _count(folder, tally)
    tally.repeated = ran - tally.items
    return tally


def _command(folder: Path, mode: str, name: str) -> list[str]:
    return [sys.executable, str(SERVER), str(folder), mode, name]


def _killed(folder: Path, name: str, after: int) -> Iterator[list[str]]:
    """What a server says that is killed once it has run so many images."""
    process = subprocess.Popen(_command(folder, "mixed", name), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.endswith("\n"):  # the last one may be cut off by the kill
            yield line.split()
        after -= line.startswith("ran ")
        if after == 0:
            process.kill()
    process.wait()
    process.stdout.close()


def _forget_attempts(folder: Path) -> None:
    """Each job is tried three times; here all have to survive more kills than that."""
    with closing(sqlite3.connect(folder / "darkroom.db")) as connection:
        connection.execute("UPDATE jobs SET attempt = 1 WHERE finished_at IS NULL AND attempt > 1")
        connection.commit()


def _count(folder: Path, tally: Tally) -> None:
    def query(sql: str) -> list[tuple[Any, ...]]:
        return connection.execute(sql).fetchall()

    with closing(sqlite3.connect(folder / "darkroom.db")) as connection:
        tally.states = dict(query("SELECT id, state FROM jobs"))
        tally.items = query("SELECT coalesce(sum(item_count), 0) FROM jobs")[0][0]
        made = query("SELECT count(*) FROM images WHERE tool IS NOT NULL GROUP BY parent")
        tally.results = Counter(count for (count,) in made)
        named = {digest for (digest,) in query("SELECT sha256 FROM images UNION SELECT sha256 FROM job_blobs")}
    tally.temporary = len(list((folder / "blobs" / "tmp").iterdir()))
    tally.unknown = sum(path.name not in named for path in (folder / "blobs").glob("??/??/*"))


def main() -> None:
    """Print the figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else ROUNDS
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        print(run(Path(name), rounds))
    print(f"  in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
