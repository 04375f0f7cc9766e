"""One running Darkroom for all contract tests of a process."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from support.image_engine import serving_images
from support.odd import TEST_PHOTO, TINY_PICTURE
from support.onnx_models import install, stand_ins

from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.server import build_server
from darkroom.principal import Principal
from darkroom.serve import mcp_room
from darkroom.store.schema import images, workflows

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the caller may name, with a photo and a tiny picture in it."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "photo.jpg").write_bytes(TEST_PHOTO)
    (folder / "tiny.gif").write_bytes(TINY_PICTURE)
    return folder


@pytest.fixture(scope="session")
def caller(pictures: Path) -> Principal:
    return Principal("local", (pictures,))


@pytest.fixture(scope="session")
async def room(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Darkroom]:
    with serving_images() as engine:
        config = Config(data_dir=tmp_path_factory.mktemp("darkroom"), workers=2, port=0, **engine.settings)
        install(config.data_dir, stand_ins())
        async with open_darkroom(config) as opened:
            yield opened


@pytest.fixture(scope="session")
def connect(room: Darkroom, caller: Principal) -> Connect:
    """Makes MCP clients in this process; `mode` is the protocol era."""
    room.links.base = "http://127.0.0.1:9"
    server = build_server(replace(mcp_room(room), http_principal=lambda _: caller))
    return lambda mode="auto": Client(server, mode=mode)


@pytest.fixture
def store(room: Darkroom) -> Callable[[], Any]:
    """Tells what is stored: the rows of images and workflows by their keys, and the names of all blobs."""

    async def look() -> tuple[dict[Any, Any], dict[Any, Any], set[str]]:
        rows = await room.database.read(lambda c: [c.execute(table.select()).all() for table in (images, workflows)])
        made, saved = ({row.id: row for row in found} for found in rows)
        return made, saved, {path.name for path in room.where.blobs.rglob("*") if path.is_file()}

    return look
