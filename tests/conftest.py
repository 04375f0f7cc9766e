"""Fixtures for all tests."""

import os
import sys
from pathlib import Path

import pytest

# ONNX Runtime reports its use to its maker unless told not to; the model process does so for itself.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Tests import `support`, the helpers beside this file.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden pictures anew; look at each")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
