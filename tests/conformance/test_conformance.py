"""The official MCP conformance suite against the product's server, for both protocol eras, nothing excused."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
SUITE = PACKAGES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"


@pytest.fixture(scope="module")
def node() -> str:
    """A Node that can run the suite; it comes as a package, for the suite wants a newer one than many systems have."""
    npm = shutil.which("npm")
    if npm is None:
        if "CI" in os.environ:
            pytest.fail("the conformance suite needs npm")
        pytest.skip("the conformance suite needs npm")
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not SUITE.exists():
            command = [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"]
            subprocess.run(command, cwd=HERE, check=True, timeout=300)
    return str(PACKAGES / ".bin" / "node")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The fixture, serving over HTTP."""
    server = subprocess.Popen(
        [sys.executable, "-m", "conformance.fixture"], cwd=HERE.parent, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"
    finally:
        server.terminate()
        server.wait(timeout=20)
        server.stdout.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "scenario",
    [
        "tasks-lifecycle",
        "tasks-capability-negotiation",
        "tasks-wire-fields",
        "tasks-request-state-removal",
        "tasks-request-headers",
        "tasks-dispatch-and-envelope",
        "tasks-required-task-error",
        "tasks-mrtr-composition",
    ],
)
def test_every_scenario_of_tasks_that_ask_nothing_passes(
    node: str, address: str, scenario: str, tmp_path: Path
) -> None:
    command = [node, str(SUITE), "server", "--url", address, "--scenario", scenario, "-o", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "FAILURE" not in done.stdout


@pytest.mark.timeout(600)
@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
def test_every_required_scenario_of_the_revision_passes(node: str, address: str, revision: str, tmp_path: Path) -> None:
    command = [node, str(SUITE), "server", "--url", address, "--requirements", revision, "-o", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "=== SUMMARY ===" in done.stdout
