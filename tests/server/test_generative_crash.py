"""`kill -9` while the engine draws: the job is not lost, and the engine is asked again only for what was not stored."""

import signal
import subprocess
import sys
from pathlib import Path

from support.image_engine import serving_images


def start(folder: Path, mode: str, *engine: str) -> "subprocess.Popen[str]":
    script = Path(__file__).with_name("generative_server.py")
    command = [sys.executable, str(script), str(folder), *engine, mode]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_killed_server_asks_again_only_for_what_was_not_stored(tmp_path: Path) -> None:
    with serving_images() as engine:
        where = (engine.url, engine.key, engine.model)
        engine.gate.clear()
        with start(tmp_path, "start", *where) as first:
            assert first.stdout is not None
            said, job = first.stdout.readline().split()
            assert said == "accepted"
            engine.wait_for()
            first.send_signal(signal.SIGKILL)
        engine.wait_for(0, 1)
        engine.gate.set()
        with start(tmp_path, "again", *where) as second:
            output, _ = second.communicate(f"{job}\n", timeout=60)
        lines = [line.split() for line in output.splitlines()]
        assert [line[:2] for line in lines] == [
            ["left", "succeeded"],
            ["accepted", lines[1][1]],
            ["ended", "succeeded"],
        ]
        assert lines[0][2] == lines[2][2]
        assert len(engine.asked) == 2
        assert list((tmp_path / "blobs" / "tmp").iterdir()) == []
