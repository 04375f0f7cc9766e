"""`darkroom serve`: a real process, real sockets, real HTTP."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from support.processes import COMMAND, PHOTOS, Served, darkroom, serving

from darkroom.store.database import Database

TOKEN = "a-long-random-value"
BOTH_ERAS = pytest.mark.parametrize("era", ["auto", "legacy"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("data")) as served:
        yield served


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that every machine could reach, were there a network here."""
    env = {"DARKROOM_AUTH": "on", "DARKROOM_TOKEN": TOKEN, "DARKROOM_ALLOWED_HOSTS": "pictures.example, 127.0.0.2"}
    with serving(tmp_path_factory.mktemp("data"), "--host", "0.0.0.0", env=env) as served:
        yield Served(served.url.replace("0.0.0.0", "127.0.0.1"), served.where, served.process)


def get(server: Served, path: str, **headers: str) -> httpx2.Response:
    return httpx2.get(server.url + path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_health_says_how_the_server_is(server: Served) -> None:
    answer = get(server, "/api/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["sandbox"] in ("starting", "full", "partial", "none")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:1349", "127.0.0.1.evil.example", "", "[", "localhost."])
def test_other_host_names_are_not_served(server: Served, host: str) -> None:
    answer = get(server, "/api/health", host=host)
    assert answer.status_code == 421
    assert answer.json()["code"] == "MISDIRECTED"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1349", "[::1]:9"])
def test_names_of_this_machine_are_served(server: Served, host: str) -> None:
    assert get(server, "/api/health", host=host).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://["])
@pytest.mark.parametrize("path", ["/api/health", "/mcp", "/u/token"])
def test_pages_of_other_sites_are_refused(server: Served, path: str, origin: str) -> None:
    answer = get(server, path, origin=origin)
    assert answer.status_code == 403
    assert answer.json()["code"] == "FORBIDDEN"


def test_pages_of_this_machine_may_ask(server: Served) -> None:
    assert get(server, "/api/health", origin=server.url).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/tools/nothing.md", "/u/nothing", "/mcp/nothing"])
def test_unknown_addresses_are_answered_in_json(server: Served, path: str) -> None:
    answer = get(server, path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "NOT_FOUND"
    assert answer.json().keys() == {"error", "code", "details", "requestId"}


def test_a_wrong_method_is_answered_in_json_with_those_allowed(server: Served) -> None:
    answer = httpx2.delete(server.url + "/api/health")
    assert answer.status_code == 405
    assert answer.json()["code"] == "METHOD_NOT_ALLOWED"
    assert "GET" in answer.headers["allow"]


def test_a_long_body_is_refused_before_it_is_read(server: Served) -> None:
    for path in ("/mcp", "/api/health", "/nothing"):
        answer = httpx2.post(server.url + path, content=b"x" * (4 * 1024 * 1024 + 1))
        assert answer.status_code == 413
        assert answer.json()["code"] == "PAYLOAD_TOO_LARGE"
        assert answer.json()["details"] == {"limit": 4 * 1024 * 1024}


def test_a_compressed_body_is_refused(server: Served) -> None:
    answer = httpx2.post(server.url + "/mcp", content=b"{}", headers={"content-encoding": "gzip"})
    assert answer.status_code == 415
    assert answer.json()["code"] == "UNSUPPORTED_FORMAT"


def test_without_accounts_only_this_machine_is_served(tmp_path: Path) -> None:
    env = {"DARKROOM_AUTH": "off"}
    done = darkroom("serve", "--host", "0.0.0.0", "--port", "0", "--data-dir", tmp_path / "data", env=env)
    assert done.returncode == 1
    assert "DARKROOM_AUTH=off would let everybody in" in done.stderr


def test_without_accounts_nobody_can_change_the_server_for_others(server: Served) -> None:
    assert get(server, "/metrics").status_code == 200
    answer = httpx2.put(server.url + "/api/v1/settings/loginAttemptLimit", json={"value": 3})
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")


def test_the_first_start_tells_the_admins_password_once(tmp_path: Path) -> None:
    with serving(tmp_path, env={"DARKROOM_AUTH": "on"}) as served:
        assert served.process.stderr
        said = served.process.stderr.readline()
        found = re.search(r"User admin, password (\S+) \(shown this once\)", said)
        assert found
        login = {"username": "admin", "password": found[1]}
        token = httpx2.post(served.url + "/api/auth/login", json=login).json()["token"]
        assert get(served, "/metrics", authorization=f"Bearer {token}").status_code == 200
    with serving(tmp_path, env={"DARKROOM_AUTH": "on"}) as served:
        process = served.process
        assert get(served, "/metrics", authorization=f"Bearer {token}").status_code == 200
    assert process.stderr
    assert "password" not in process.communicate()[1]


@pytest.mark.parametrize("path", ["/api/v1/files", "/mcp", "/metrics", "/api/v1/settings"])
@pytest.mark.parametrize(
    "given", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer \xe9"]
)
def test_what_is_not_public_needs_a_key(guarded: Served, path: str, given: str | None) -> None:
    answer = httpx2.get(guarded.url + path, headers={"authorization": given.encode("latin-1")} if given else {})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer resource_metadata=")
    assert answer.json()["code"] in ("UNAUTHORIZED", "AUTH_REQUIRED")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_the_token_opens_the_server(guarded: Served, scheme: str) -> None:
    assert get(guarded, "/metrics", authorization=f"{scheme} {TOKEN}").status_code == 200


def test_uploads_and_downloads_carry_tokens_of_their_own(guarded: Served) -> None:
    assert get(guarded, "/u/wrong").status_code == 404
    assert get(guarded, f"/files/img_x/{2**40}/wrong/a.png").status_code == 404


def test_further_host_names_are_configured(guarded: Served) -> None:
    for host, status in (("pictures.example", 200), ("127.0.0.2:80", 200), ("other.example", 421)):
        assert get(guarded, "/api/health", host=host).status_code == status


@pytest.mark.anyio
async def test_an_agent_over_http_needs_the_token(guarded: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(f"{guarded.url}/mcp", http_client=http)
        async with Client(transport) as client:
            assert "resize" in [tool.name for tool in (await client.list_tools()).tools]


@BOTH_ERAS
@pytest.mark.anyio
async def test_an_agent_edits_a_picture_over_http_and_hears_how_far_it_is(server: Served, era: str) -> None:
    heard: list[float] = []

    async def progress(done: float, _total: float | None, _message: str | None) -> None:
        heard.append(done)

    async with Client(f"{server.url}/mcp", mode=era) as client:
        slot = (await client.call_tool("create_upload", {})).structured_content
        async with httpx2.AsyncClient() as http:
            sent = await http.put(slot["url"], content=(PHOTOS / "coffee.jpg").read_bytes())
        call = {"image": sent.json()["image"], "width": 200 if era == "auto" else 201}
        facts = (await client.call_tool("resize", call, progress_callback=progress)).structured_content
        async with httpx2.AsyncClient() as http:
            picture = await http.get(facts["url"])
    assert facts["width"] == call["width"]
    assert len(picture.content) == facts["bytes"]
    assert heard
    assert all(later > earlier for earlier, later in pairwise(heard))


@pytest.mark.anyio
async def test_paths_of_the_machine_are_no_door_over_http(server: Served) -> None:
    async with Client(f"{server.url}/mcp") as client:
        refused = await client.call_tool("resize", {"image": str(PHOTOS / "coffee.jpg"), "width": 9})
    assert refused.is_error


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = darkroom("serve", "--port", port, "--data-dir", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"darkroom: 127.0.0.1:{port} cannot be listened on: ")
    assert "--port" in done.stderr


def test_a_second_server_on_one_folder_is_told_of_the_first(server: Served) -> None:
    done = darkroom("serve", "--port", "0", "--data-dir", server.where)
    assert done.returncode == 1
    assert f"Process {server.process.pid} already serves this data directory" in done.stderr


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DARKROOM_PORT": "http"}, "DARKROOM_PORT: "),
        ({"DARKROOM_WORKERS": "0"}, "DARKROOM_WORKERS: "),
        ({"DARKROOM_FETCH": "perhaps"}, "DARKROOM_FETCH: "),
    ],
)
def test_a_wrong_variable_is_named_without_a_trace(tmp_path: Path, env: dict[str, str], said: str) -> None:
    done = darkroom("serve", "--data-dir", tmp_path, env=env)
    assert done.returncode == 1
    assert done.stderr.startswith(f"darkroom: {said}")
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = darkroom("serve", "--port", "0", "--data-dir", tmp_path / "file")
    assert done.returncode == 1
    assert f"{tmp_path / 'file'} cannot be used" in done.stderr


@pytest.mark.anyio
async def test_the_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path / 'darkroom.db'}") as database:
        await database.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '29990101'"))
    done = darkroom("serve", "--port", "0", "--data-dir", tmp_path)
    assert done.returncode == 1
    assert "newer Darkroom" in done.stderr
    assert "Traceback" not in done.stderr


def test_stop_ends_the_server_also_while_somebody_listens(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        head = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        with httpx2.Client(headers=head) as http:
            session = http.post(f"{served.url}/mcp", json=opening).headers["mcp-session-id"]
            with http.stream("GET", f"{served.url}/mcp", headers={"mcp-session-id": session}) as events:
                assert events.status_code == 200
                done = darkroom("stop", "--data-dir", tmp_path)
        assert done.returncode == 0
        assert done.stdout == f"Process {served.process.pid} has ended.\n"
        assert served.process.wait(10) == 0
    assert darkroom("stop", "--data-dir", tmp_path).stdout == "No server runs on this data directory.\n"


def test_a_server_that_ends_leaves_no_socket_and_no_worker_folder(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        darkroom("run", "info", PHOTOS / "coffee.jpg", "--data-dir", tmp_path)
        assert served.process.poll() is None
    left = {path.name for path in (tmp_path / "run").iterdir() if path.name != "workers"}
    assert left <= {"server.lock", "server.log"}
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file() and "workers" in path.parts] == []


def test_what_a_foreground_server_says_goes_to_standard_error_alone(tmp_path: Path) -> None:
    command = [*COMMAND, "serve", "--port", "0", "--data-dir", str(tmp_path), "--idle-exit", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("Darkroom serves http://127.0.0.1:")


def test_answers_of_health_are_json_lines_for_scripts(server: Served) -> None:
    assert json.loads(get(server, "/api/health").text)["version"]
