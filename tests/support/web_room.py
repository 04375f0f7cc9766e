"""A whole server over HTTP, with accounts: an admin, two users, and their keys."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import httpx2
import uvicorn
from argon2 import PasswordHasher
from starlette.applications import Starlette

from darkroom.accounts import passwords
from darkroom.app import Darkroom, open_darkroom
from darkroom.config import Config
from darkroom.faces.mcp.server import build_server
from darkroom.principal import LOCAL, Principal
from darkroom.routing import Door
from darkroom.serve import mcp_room
from darkroom.web import web_app

PASSWORD = "Correct-horse-1"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Argon2id as cheap as it gets: these tests are not about how long a hash takes."""

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"


@dataclass(frozen=True)
class Web:
    """A running server.

    Attributes:
        admin: Key of the machine's owner, the first admin.
        user: Key of the user `ann`.
        other: Key of the user `ben`.
        ann: Who `ann` is; so for `ben`.
        doors: All routes.
    """

    url: str
    room: Darkroom
    doors: Sequence[Door]
    admin: str
    user: str
    other: str
    ann: Principal
    ben: Principal

    @property
    def photo(self) -> bytes:
        """A small real JPEG."""
        return min(PHOTOS.glob("*.jpg"), key=lambda path: path.stat().st_size).read_bytes()

    def client(self, key: str | None = None, **options: Any) -> httpx2.AsyncClient:
        """A client that sends this key."""
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=60, **options)


@asynccontextmanager
async def web_room(folder: Path, **config: Any) -> AsyncIterator[Web]:
    """A server on a free port over an empty data directory."""
    chosen = Config(data_dir=folder, admin_password=PASSWORD, **{"workers": 1, "rate_limit": 0, **config})
    async with AsyncExitStack() as opened:
        with patch.object(passwords, "HASHER", QUICK):  # while it is built only: other tests run beside it
            room = await opened.enter_async_context(open_darkroom(chosen))
        await room.users.ensure_admin(PASSWORD)
        people = [await room.users.create(LOCAL, name, PASSWORD) for name in ("ann", "ben")]
        ids = (LOCAL.id, *(person.id for person in people))
        keys = [(await room.keys.create(Principal(who, permissions=LOCAL.permissions), "tests"))[0] for who in ids]
        app = web_app(room, build_server(mcp_room(room)))
        doors = [route for route in app.routes if isinstance(route, Door)]
        async with _served(room, app) as url:
            principals = [await room.identity.principal_of(key) for key in keys]
            yield Web(url, room, doors, *keys, *principals[1:])


@asynccontextmanager
async def _served(room: Darkroom, app: Starlette) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="h11", log_level="warning", lifespan="on"))
    listener = server.config.bind_socket()
    listener.listen()  # connections wait until the server takes them
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    room.links.base = url
    with listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            while not server.started:
                await anyio.lowlevel.checkpoint()
            try:
                yield url
            finally:
                server.should_exit = True
