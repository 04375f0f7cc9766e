"""A server with an image engine, and who calls it."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from support.documented import CHECKED
from support.gallery_room import PICTURES
from support.image_engine import ImageEngine, serving_images
from support.web_room import Web, web_room

Files = list[tuple[str, tuple[str, bytes]]]


@pytest.fixture(scope="session")
def engine() -> Iterator[ImageEngine]:
    with serving_images() as serving:
        yield serving


@pytest.fixture(scope="session")
async def web(tmp_path_factory: pytest.TempPathFactory, engine: ImageEngine, anyio_backend: str) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("nextry"), max_file_mb=1, **engine.settings) as running:
        yield running


@pytest.fixture
async def client(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """Speaks as the user `ann`; what comes back is what is documented."""
    async with web.client(web.user, **CHECKED) as opened:
        yield opened


@pytest.fixture
def outfit() -> Files:
    """The two pictures of the public text's example."""
    return [("clothes", ("clothes.png", PICTURES["logo"]())), ("person", ("person.png", PICTURES["portrait"]()))]
