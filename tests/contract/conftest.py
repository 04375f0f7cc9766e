"""One running Darkroom for all contract tests of a process."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.principal import Principal


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the caller may name."""
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="session")
def caller(pictures: Path) -> Principal:
    return Principal("local", (pictures,))


@pytest.fixture(scope="session")
async def room(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Darkroom]:
    config = Config(data_dir=tmp_path_factory.mktemp("darkroom"), workers=2, port=0)
    async with open_darkroom(config) as opened:
        yield opened
