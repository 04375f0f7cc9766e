"""Making users of a server and signing them in over dialect 001."""

import itertools
from dataclasses import dataclass
from typing import Any

import httpx2

from support.web_room import PASSWORD, Web

_numbers = itertools.count()


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in.

    Attributes:
        id: Of the user.
        username: Theirs.
        token: Of a session.
    """

    id: str
    username: str
    token: str


async def login(web: Web, username: str, password: str = PASSWORD) -> httpx2.Response:
    async with web.client() as client:
        return await client.post("/api/auth/login", json={"username": username, "password": password})


async def newcomer(web: Web, **fields: Any) -> Person:
    """A user that nobody else has, registered by the admin, with a session for which no password was compared."""
    body = {"username": f"person{next(_numbers)}", "password": PASSWORD, **fields}
    async with web.client(web.admin) as client:
        made = await client.post("/api/auth/register", json=body)
    assert made.status_code == 201, made.text
    token, _ = await web.room.sessions.issue(made.json()["id"], "login", "", 3600)
    return Person(made.json()["id"], body["username"], token)


def told(answer: httpx2.Response) -> dict[str, Any]:
    """An error without the id of its request."""
    return {key: value for key, value in answer.json().items() if key != "requestId"}
