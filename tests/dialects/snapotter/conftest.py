"""One server for each module of tests."""

from collections.abc import AsyncIterator

import pytest
from support.web_room import Web, web_room


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("data")) as running:
        yield running
