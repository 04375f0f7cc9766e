"""Every address under requests that no client of good will sends: each is answered in JSON, and none is an accident."""

import gzip
import itertools
import json
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from support.web_room import Web, web_room

from darkroom.asgi import PLAIN
from darkroom.routing import Door, Says, dialect_at
from darkroom.web import DIALECTS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

PAGE = "/oauth/device"
STRIDE = 1 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 5
"""Each address gets one request of so many, the next address others of them."""

ODD_SEGMENTS = [
    "%00",
    "%FF%FE",
    "%ED%A0%80",
    "..%2F..%2Fetc",
    "a" * 4000,
    "%F0%9F%98%80",
    "%0D%0Ax:%20y",
    "-1",
    "{}",
    "%25s",
]
ODD_QUERIES = [
    *("limit=1&limit=2", "limit=%00", "limit=1e999", f"limit={'9' * 400}", "offset=-1", "%FF=%FF", "limit", "=", "&&&"),
    *("__proto__=1", "limit=%ED%A0%80", f"x={'a' * 6000}", "limit=NaN", "search=%00%01&tag=%27%22--"),
]
ODD_BODIES = [
    *(
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'"x"',
        b"1",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b"[" * 5000,
        b'{"a":' * 200 + b"1",
    ),
    *(
        b'{"a": ' + b"9" * 400 + b"}",
        b'{"\\ud800": 1}',
        b'{"a": 1, "a": 2}',
        b'{"__proto__": {}}',
        "{}".encode("utf-16"),
    ),
]
ODD_VALUES = [
    *(
        "\x00",
        "\ud800",
        "a" * 100_000,
        "",
        " ",
        "\u202e\u2066",
        1e308,
        -1,
        10**18,
        True,
        None,
        [],
        {},
        [[]],
        {"a": {"b": []}},
    ),
    *(
        ["\x00"],
        [None] * 500,
        {"\ud800": "\x00"},
        "../../etc/passwd",
        "data:image/png;base64,!!",
        "http://127.0.0.1:1/x.png",
    ),
]
ODD_TYPES = [
    *(
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "application/json; charset=utf-16",
        "\u00e9/x",
    ),
    *("application/x-www-form-urlencoded", "multipart/mixed; boundary=x", "multipart/form-data; boundary=" + "x" * 300),
]
ODD_FORMS = [
    b"--x\r\n\r\n\r\n--x--\r\n",
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="\x00\xff"\r\n\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="settings"\r\n\r\n\xff\xfe\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="settings"\r\n\r\n{"width": "\\ud800"}\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: \xff\r\n\r\n\x89PNG\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="\xed\xa0\x80"\r\n\r\n\x00\r\n--x--\r\n',
    b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nnot closed',
]


@pytest.fixture(scope="module")
async def web(tmp_path_factory: pytest.TempPathFactory, anyio_backend: str) -> AsyncIterator[Web]:
    async with web_room(tmp_path_factory.mktemp("data"), fetch=False) as served:
        yield served


def doors(web: Web) -> list[Door]:
    """All but those of MCP, whose form of errors is JSON-RPC's, and pages for people."""
    return [door for door in web.doors if not door.path.startswith(("/mcp", "/.well-known")) and door.path != PAGE]


def requests_for(door: Door) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Methods, paths and options of odd requests to a route."""
    path = re.sub(r"{\w+:?\w*}", "0", door.path)
    says = door.says or Says("")
    for method in sorted((door.methods or set()) - {"HEAD"}) or ["HEAD"]:
        if "{" in door.path:
            yield from ((method, re.sub(r"{\w+:?\w*}", odd, door.path), {}) for odd in ODD_SEGMENTS)
        yield from ((method, f"{path}?{query}", {}) for query in ODD_QUERIES[:: 1 if says.query else 5])
        if says.body:
            yield from ((method, path, {"content": body, "headers": JSON}) for body in (*ODD_BODIES, *filled(door)))
        if says.form:
            yield from ((method, path, {"content": form, "headers": FORM}) for form in ODD_FORMS)
        if method in ("POST", "PUT", "PATCH", "DELETE"):
            yield from ((method, path, {"content": body, "headers": JSON}) for body in ODD_BODIES[::4])
            yield from ((method, path, {"content": b"{}", "headers": typed(kind)}) for kind in ODD_TYPES)
            yield method, path, {"content": gzip.compress(b"{}"), "headers": {**JSON, "content-encoding": "gzip"}}
    yield from ((method, path, {}) for method in ("TRACE", "FOO"))


JSON = {"content-type": "application/json"}
FORM = {"content-type": "multipart/form-data; boundary=x"}


def typed(kind: str) -> dict[str, bytes]:
    return {"content-type": kind.encode("latin-1")}


def filled(door: Door) -> Iterator[bytes]:
    """Bodies with the right names and odd values, one odd at a time."""
    if door.says is None or door.says.body is None:
        return
    names = [field.alias or name for name, field in door.says.body.model_fields.items()]
    for name, value in itertools.product(names, ODD_VALUES):
        yield json.dumps({**dict.fromkeys(names, "x"), name: value}).encode()


def problem(answer: httpx2.Response) -> str:
    """What is wrong with an answer, empty if nothing is."""
    if answer.status_code < 400 or answer.request.method == "HEAD":
        return ""
    if answer.headers["content-type"] != "application/json":
        return f"{answer.status_code} as {answer.headers['content-type']}: {answer.text[:200]}"
    body = answer.json()
    if not isinstance(body, dict) or "INTERNAL" in answer.text or answer.status_code == 500:
        return f"{answer.status_code}: {answer.text[:300]}"
    return ""


@pytest.mark.parametrize("dialect", [*DIALECTS, PLAIN], ids=lambda dialect: dialect.name)
async def test_odd_requests_are_refused_in_json(dialect: Any, web: Web, caplog: pytest.LogCaptureFixture) -> None:
    mine = [door for door in doors(web) if dialect_at(door.path, [*DIALECTS, PLAIN]) is dialect]
    assert mine
    found = []
    with caplog.at_level(logging.ERROR):
        async with web.client(web.admin) as http:
            for number, door in enumerate(mine):
                for method, path, options in itertools.islice(requests_for(door), number % STRIDE, None, STRIDE):
                    answer = await http.request(method, path, **options)
                    if said := problem(answer):
                        found.append(f"{method} {path[:120]} {str(options)[:160]} -> {said}")
    assert found == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
