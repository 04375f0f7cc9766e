"""What the tests of several dialects share: an image engine, and a client that holds answers against the documentation."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
from support.documented import CHECKED
from support.image_engine import ImageEngine, serving_images
from support.web_room import Web


@pytest.fixture(scope="session")
def engine() -> Iterator[ImageEngine]:
    with serving_images() as serving:
        yield serving


@pytest.fixture
async def client(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """Speaks as the user `ann`; what comes back is what is documented."""
    async with web.client(web.user, **CHECKED) as opened:
        yield opened
