"""Darkroom as a user starts it: the command, and a server of its own."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

COMMAND = (sys.executable, "-m", "darkroom")
PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


def darkroom(
    *arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@dataclass(frozen=True)
class Served:
    """A server over HTTP."""

    url: str
    where: Path
    process: subprocess.Popen[str]


@contextmanager
def serving(where: Path, *options: str, env: dict[str, str] | None = None) -> Iterator[Served]:
    """`darkroom serve` on a free port, until the block ends; open to everybody unless `env` says otherwise."""
    command = [*COMMAND, "serve", "--port", "0", "--data-dir", str(where), *options]
    chosen = {"DARKROOM_AUTH": "off", **(env or {})}
    process = subprocess.Popen(command, env={**os.environ, **chosen}, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr
        said = process.stderr.readline()
        found = re.search(r"serves (http://\S+)", said)
        assert found, said + process.stderr.read()
        yield Served(found[1], where, process)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def on_terminal(*words: object, cwd: Path, command: Sequence[str] = COMMAND) -> str:
    """What a command draws on a terminal's standard error."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*command, *map(str, words)], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=follower
    )
    os.close(follower)
    drawn = b""
    try:
        while chunk := os.read(leader, 4096):
            drawn += chunk
    except OSError:  # Linux says so when the last process has closed a terminal
        pass
    finally:
        os.close(leader)
    assert process.wait(60) == 0
    return drawn.decode()


def files_under(folder: Path, besides: Sequence[str] = ()) -> set[str]:
    """Names of all files in a folder, relative to it."""
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(tuple(besides))}
