"""A server with an image engine, and who calls it."""

from collections.abc import AsyncIterator

import pytest
from support.gallery_room import PICTURES
from support.image_engine import ImageEngine
from support.web_room import Web, web_room

Files = list[tuple[str, tuple[str, bytes]]]


@pytest.fixture(scope="session")
async def web(tmp_path_factory: pytest.TempPathFactory, engine: ImageEngine, anyio_backend: str) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("nextry"), max_file_mb=1, **engine.settings) as running:
        yield running


@pytest.fixture
def outfit() -> Files:
    """The two pictures of the public text's example."""
    return [("clothes", ("clothes.png", PICTURES["logo"]())), ("person", ("person.png", PICTURES["portrait"]()))]
