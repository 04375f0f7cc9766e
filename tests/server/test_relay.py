"""`darkroom mcp`: real processes over real pipes."""

import io
import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest
from PIL import Image

from darkroom.lock import AlreadyRunning, hold_lock, running_pid
from darkroom.paths import DataDir

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": "start",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


class Agent:
    """A client's end of `darkroom mcp`."""

    def __init__(self, where: Path, *options: str) -> None:
        command = [sys.executable, "-m", "darkroom", "mcp", "--data-dir", str(where), *options]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=where
        )
        self.lines: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            assert self.process.stdin
            self.process.stdin.close()
        self.process.wait(20)
        assert self.process.stdout and self.process.stderr
        self.process.stdout.close()
        self.process.stderr.close()

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self.send(message)
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line)
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == message["id"]:
                return answer
        raise AssertionError("the relay ended without an answer")

    def start(self) -> None:
        assert "result" in self.ask(INITIALIZE)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        params = {"name": name, "arguments": arguments}
        result: dict[str, Any] = self.ask({"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params})[
            "result"
        ]
        return result


def stop(where: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "darkroom", "stop", "--data-dir", str(where)], check=True, capture_output=True
    )


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    yield folder
    stop(folder)


def pid_of(where: Path) -> int:
    return int((where / "run" / "server.lock").read_text())


def test_two_clients_share_one_server(where: Path) -> None:
    with Agent(where) as first, Agent(where) as second:
        first.start()
        second.start()
        pid = pid_of(where)
        os.kill(pid, 0)
        assert first.call("list_images")["structuredContent"] == second.call("list_images")["structuredContent"]
        assert pid_of(where) == pid


def test_clients_that_start_at_the_same_moment_meet_at_one_server(tmp_path: Path) -> None:
    try:
        agents = [Agent(tmp_path) for _ in range(4)]
        for agent in agents:
            agent.start()
        for agent in agents:
            agent.__exit__()
        os.kill(pid_of(tmp_path), 0)
    finally:
        stop(tmp_path)


def test_standard_output_holds_json_rpc_and_nothing_else(where: Path) -> None:
    with Agent(where) as agent:
        agent.start()
        agent.call("list_workflows")
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in agent.lines)


def test_the_relay_ends_with_its_standard_input(where: Path) -> None:
    with Agent(where) as agent:
        agent.start()
        assert agent.process.stdin
        agent.process.stdin.close()
        assert agent.process.wait(10) == 0


def test_the_relay_imports_neither_the_sdk_nor_any_model_library() -> None:
    code = (
        "import sys; from darkroom.cli import _parser; import darkroom.relay, darkroom.paths; _parser(); "
        "print([name for name in ('mcp', 'pydantic', 'starlette', 'sqlalchemy', 'anyio', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_paths_inside_a_root_are_taken_and_others_are_not(where: Path, tmp_path: Path) -> None:
    allowed, forbidden = tmp_path / "allowed", tmp_path / "forbidden"
    for folder in (allowed, forbidden):
        folder.mkdir()
        Image.new("RGB", (20, 10), "red").save(folder / "red.png")
    with Agent(where, "--root", str(allowed)) as agent:
        agent.start()
        inside = agent.call("resize", image=str(allowed / "red.png"), width=10)
        assert inside["structuredContent"]["width"] == 10
        outside = agent.call("resize", image=str(forbidden / "red.png"), width=10)
        missing = agent.call("resize", image=str(forbidden / "no.png"), width=10)
    assert outside["isError"] and outside["content"][0]["text"].startswith("PATH_NOT_ALLOWED")
    assert outside["content"][0]["text"].replace("red", "no") == missing["content"][0]["text"]


def test_socket_and_folders_belong_to_their_owner_alone(where: Path) -> None:
    with Agent(where) as agent:
        agent.start()
        data = DataDir(where)
        assert stat.S_IMODE(data.socket.stat().st_mode) & 0o077 == 0
        for folder in (data.blobs, data.models, data.run):
            assert stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(data.database.stat().st_mode) & 0o077 == 0


def test_a_data_directory_with_a_very_long_name_still_gets_a_socket(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120)
    long.mkdir()
    try:
        with Agent(long) as agent:
            agent.start()
            assert agent.call("list_images")["structuredContent"]["items"] == []
    finally:
        stop(long)


def test_a_server_that_was_killed_is_replaced_by_the_next_client(tmp_path: Path) -> None:
    try:
        with Agent(tmp_path) as agent:
            agent.start()
            os.kill(pid_of(tmp_path), signal.SIGKILL)
            agent.process.wait(20)
        with Agent(tmp_path) as agent:
            agent.start()
            assert agent.call("list_images")["structuredContent"]["items"] == []
    finally:
        stop(tmp_path)


def test_a_client_that_comes_while_a_server_ends_gets_the_next_one(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    try:
        with hold_lock(data):
            agent = Agent(tmp_path)
            while not data.log.exists():
                assert agent.process.poll() is None
            # As the relay's server does meanwhile: it finds the folder taken and leaves.
            command = [sys.executable, "-m", "darkroom", "serve", "--background", "--data-dir", str(tmp_path)]
            assert subprocess.run(command, timeout=60, check=False).returncode == 0
        with agent:
            agent.start()
            assert agent.call("list_images")["structuredContent"]["items"] == []
    finally:
        stop(tmp_path)


def test_looking_whether_a_server_runs_takes_nothing_from_it(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    assert running_pid(data) is None
    assert list(tmp_path.iterdir()) == []
    with hold_lock(data):
        assert running_pid(data) == os.getpid()
        with pytest.raises(AlreadyRunning, match=f"Process {os.getpid()} already serves"), hold_lock(data):
            pass
        assert running_pid(data) == os.getpid()
    assert running_pid(data) is None


def test_a_stranger_s_first_line_is_not_answered(where: Path) -> None:
    with Agent(where) as agent:
        agent.start()
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(DataDir(where).socket))
            link.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert link.recv(100) == b""


def test_an_agent_on_stdio_has_an_address_for_files_and_nothing_else_over_http(where: Path) -> None:
    encoded = io.BytesIO()
    Image.new("RGB", (30, 20), "green").save(encoded, "png")
    with Agent(where) as agent:
        agent.start()
        url = agent.call("create_upload")["structuredContent"]["url"]
        sent = httpx2.put(url, content=encoded.getvalue())
        made = agent.call("rotate", image=sent.json()["image"], angle=90)["structuredContent"]
        assert (made["width"], made["height"]) == (20, 30)
        assert httpx2.get(made["url"]).status_code == 200
        base = url.partition("/u/")[0]
        assert base.startswith("http://127.0.0.1:")
        assert [httpx2.get(base + path).status_code for path in ("/mcp", "/llms.txt")] == [404, 404]


def test_stop_ends_a_server_with_clients_at_once(tmp_path: Path) -> None:
    with Agent(tmp_path) as agent:
        agent.start()
        stop(tmp_path)
        assert running_pid(DataDir(tmp_path)) is None
        assert agent.process.wait(20) == 0


def test_standalone_serves_without_a_shared_server(tmp_path: Path) -> None:
    with Agent(tmp_path, "--standalone") as agent:
        agent.start()
        assert agent.call("list_images")["structuredContent"]["items"] == []
        assert not DataDir(tmp_path).socket.exists()
        assert all(json.loads(line)["jsonrpc"] == "2.0" for line in agent.lines)


def test_an_idle_background_server_ends_itself(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "darkroom",
        "serve",
        "--background",
        "--idle-exit",
        "0.5",
        "--data-dir",
        str(tmp_path),
    ]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
    assert not DataDir(tmp_path).socket.exists()


def test_a_second_server_in_the_foreground_says_who_is_there(where: Path) -> None:
    with Agent(where) as agent:
        agent.start()
        command = [sys.executable, "-m", "darkroom", "serve", "--port", "0", "--data-dir", str(where)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert f"Process {pid_of(where)} already serves" in done.stderr


def test_the_relay_s_own_cpu_time_is_small(where: Path) -> None:
    # A bound on work, not on time: CPU seconds do not depend on what else the machine does. It stands far above the
    # figure that benchmarks/startup.py measures, and far below what importing the SDK costs.
    with Agent(where) as agent:
        agent.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Agent(where) as agent:
        agent.start()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.6
