"""Fixtures for all tests."""

import sys
from pathlib import Path

import pytest

# Tests import `support`, the helpers beside this file.
sys.path.insert(0, str(Path(__file__).parent))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden pictures anew; look at each")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
