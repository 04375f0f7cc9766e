"""Every route for nobody, another user, the user and an admin: who gets in, and that others' things are not there."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from support.web_room import Web, web_room

from darkroom.principal import OWN
from darkroom.routing import PUBLIC, SIGNED_IN, Door
from darkroom.store.ids import as_uuid, new_id
from darkroom.web import dialect_routes

pytestmark = pytest.mark.anyio

DOORS = [
    pytest.param(door, method, id=f"{method} {door.path}")
    for door in dialect_routes(None)  # type: ignore[arg-type] # routes are told, none is entered
    for method in sorted((door.methods or set()) - {"HEAD"} or {"HEAD"})
]

VOLATILE = re.compile(r'"(requestId|request_id|timestamp|path|id|reference)": ?"[^"]*"')
"""What differs between two answers that tell the same."""


@dataclass(frozen=True)
class Things:
    """What ann has, and ids of the same form that nobody has, by the path's parameter."""

    anns: dict[str, str]
    nobodys: dict[str, str]


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture(scope="module")
async def things(web: Web) -> Things:
    async with web.client(web.user) as http:
        sent = await http.post("/api/v1/upload", files={"files": ("mine.jpg", web.photo)})
        image = sent.raise_for_status().json()["files"][0]["id"]
        ran = await http.post("/api/v1/tools/resize", files={"file": web.photo}, data={"settings": '{"width": 30}'})
        job = ran.raise_for_status().headers["x-job-id"]
        steps = [{"toolId": "rotate", "settings": {"angle": 90}}]
        saved = (await http.post("/api/v1/pipeline/save", json={"name": "mine", "steps": steps})).json()["id"]
        key = (await http.post("/api/v1/api-keys", json={"name": "mine"})).json()["id"]
        (workflow,) = (w for w in (await http.get("/v1/workflows")).json()["workflows"] if w["name"] == "mine")
        run = {"workflowId": workflow["id"], "parameters": {"image": image}}
        executed = (await http.post("/v1/workflows/execute", json=run)).raise_for_status().json()["executionId"]
        record = await web.room.library.get(web.ann, image)
    execution, wf = as_uuid(executed), as_uuid(workflow["id"])
    team = (await web.room.teams.create("Ann's own")).id
    anns = {
        "/api/auth/users/{id}": web.ben.id,
        "/api/v1/teams/{id}": team,
        "/api/v1/pipeline/{id}": saved,
        "/api/v1/api-keys/{id}": key,
        "/api/v1/files/{id}": image,
        "/v1/storage/images/{id}": image,
        "/api/v1/workflows/{id}": wf,
        "/v1/workflows/{id}": workflow["id"],
        "/api/v1/executions/{id}": execution,
        "/v1/workflows/executions/{id}": executed,
        "/user/generation-history/{id}": execution,
        "/user/generation-history/feedback/{id}": execution,
        "{jobId}": job,
        "{execution}": execution,
        "{workflow}": wf,
        "{hash}": record.sha256,
        "{organization}": as_uuid(team),
    }
    nobodys = {
        **dict.fromkeys(("/api/auth/users/{id}",), new_id("usr")),
        "/api/v1/teams/{id}": new_id("team"),
        "/api/v1/pipeline/{id}": _like(saved),
        "/api/v1/api-keys/{id}": new_id("key"),
        "/api/v1/files/{id}": new_id("img"),
        "/v1/storage/images/{id}": new_id("img"),
        "/api/v1/workflows/{id}": as_uuid(new_id("wf")),
        "/v1/workflows/{id}": new_id("wf"),
        "/api/v1/executions/{id}": as_uuid(new_id("job")),
        "/v1/workflows/executions/{id}": new_id("exec"),
        "/user/generation-history/{id}": as_uuid(new_id("job")),
        "/user/generation-history/feedback/{id}": as_uuid(new_id("job")),
        "{jobId}": new_id("job"),
        "{execution}": as_uuid(new_id("job")),
        "{workflow}": as_uuid(new_id("wf")),
        "{hash}": "0" * 64,
        "{organization}": as_uuid(new_id("team")),
    }
    return Things(anns, nobodys)


COMMON = {"{toolId}": "resize", "{key}": "loginAttemptLimit", "{name}": "a.png", "{file}": "nothing.webp"}
"""Parameters that are nobody's."""

BODIES: dict[str, dict[str, Any]] = {
    "/user/generation-history/feedback": {"json": {"like": True}},
    "/feedback": {"json": {"thumbsUp": True}},
    "/execute": {"json": {"images": {}}},
}


def _like(identifier: str) -> str:
    return as_uuid(new_id("x")) if "-" in identifier else new_id(identifier.partition("_")[0])


def filled(door: Door, values: dict[str, str]) -> str:
    """The path with its parameters; a parameter that no table knows fails the test."""
    path = str(door.path)
    for template, value in {**COMMON, **values}.items():
        name = "{" + template.rpartition("{")[2]
        if template.startswith("{") or path == template or path.startswith(f"{template}/"):
            path = path.replace(name, value)
    assert "{" not in path, f"what belongs into {door.path}?"
    return path


def owned(door: Door) -> bool:
    """Whether the path names something that somebody has."""
    return bool(set(re.findall(r"{\w+}", str(door.path))) - set(COMMON))


async def ask(web: Web, key: str | None, method: str, path: str) -> httpx2.Response:
    body = next(
        (body for part, body in BODIES.items() if part in path), {"json": {}} if method in ("POST", "PUT") else {}
    )
    async with web.client(key) as http, http.stream(method, path, **body) as answer:
        if "event-stream" not in answer.headers.get("content-type", ""):
            await answer.aread()
        return answer


def told(answer: httpx2.Response, path: str, values: dict[str, str]) -> tuple[int, str]:
    """Status and body without what names the request."""
    text = VOLATILE.sub("", answer.text)
    for value in values.values():
        text = text.replace(value, "…").replace(json.dumps(value)[1:-1], "…")
    return answer.status_code, text


@pytest.mark.parametrize(("door", "method"), DOORS)
async def test_nobody_gets_in_where_somebody_is_needed(web: Web, things: Things, door: Door, method: str) -> None:
    answer = await ask(web, None, method, filled(door, things.anns))
    if door.needs == PUBLIC:
        assert answer.status_code != 401 or "oauth" in str(door.path) or "login" in str(door.path)
    else:
        assert answer.status_code == 401


@pytest.mark.parametrize(("door", "method"), DOORS)
async def test_users_get_in_where_their_role_allows(web: Web, things: Things, door: Door, method: str) -> None:
    answer = await ask(web, web.user, method, filled(door, things.nobodys))
    if door.needs in (PUBLIC, SIGNED_IN) or door.needs in OWN:
        assert answer.status_code not in (401, 403) or door.needs == PUBLIC
    else:
        assert answer.status_code == 403


@pytest.mark.parametrize(("door", "method"), DOORS)
async def test_admins_get_in_everywhere(web: Web, things: Things, door: Door, method: str) -> None:
    if method == "DELETE" and not owned(door):
        pytest.skip("would remove what all share")
    answer = await ask(web, web.admin, method, filled(door, things.nobodys))
    assert answer.status_code not in (401, 403) or door.needs == PUBLIC
    assert answer.status_code < 500


OWNED = [param for param in DOORS if owned(param.values[0]) and param.values[0].needs in (*OWN, SIGNED_IN)]


@pytest.mark.parametrize(("door", "method"), OWNED)
async def test_what_is_anothers_is_not_there(web: Web, things: Things, door: Door, method: str) -> None:
    foreign = await ask(web, web.other, method, filled(door, things.anns))
    missing = await ask(web, web.other, method, filled(door, things.nobodys))
    assert told(foreign, "", things.anns) == told(missing, "", things.nobodys)
    assert 400 <= foreign.status_code < 500
    if method in ("GET", "HEAD", "DELETE"):
        assert foreign.status_code == 404


@pytest.mark.parametrize(("door", "method"), [param for param in OWNED if param.values[1] in ("GET", "HEAD")])
async def test_what_is_ones_own_is_there(web: Web, things: Things, door: Door, method: str) -> None:
    answer = await ask(web, web.user, method, filled(door, things.anns))
    if "{organization}" in str(door.path) or "/download/" in str(door.path):
        pytest.skip("ann is in another team, and the file has another name")
    assert answer.status_code in (200, 304)


async def test_every_route_of_the_application_is_told_what_it_needs(web: Web) -> None:

    assert {door.path for door in web.doors} >= {param.values[0].path for param in DOORS}
