"""The web application around the faces: one route each, bounded bodies, JSON for every error."""

import functools
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import anyio
import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as Bare

from darkroom import serve
from darkroom.accounts.throttle import Pass
from darkroom.asgi import Access, build_web, is_loopback
from darkroom.bodies import WINDOW_BYTES, BodyGuard
from darkroom.errors import NotFound, Overloaded, Unauthorized
from darkroom.principal import Principal
from darkroom.routing import PUBLIC, SIGNED_IN, Dialect, Door, principal_of

pytestmark = pytest.mark.anyio

OPEN = Access()


def Route(path: str, endpoint: Any, **more: Any) -> Door:
    return Door(path, endpoint, needs=PUBLIC, **more)


def web(*routes: Door) -> Starlette:
    return build_web(routes, health=dict, access=OPEN)


def client(app: Any) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1")


async def echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Route("/a", echo), Route("/a", echo)),
        (Route("/a/{x}", echo), Route("/a/{y}", echo, methods=["HEAD"])),
        (Route("/a", echo, methods=["PUT"]), Route("/a", functools.partial(echo), methods=["PUT", "POST"])),
        (Route("/a", web()), Route("/a", echo)),
        (Route("/api/health", echo), Route("/b", echo)),
    ],
)
async def test_two_faces_cannot_claim_one_address(first: Door, second: Door) -> None:
    with pytest.raises(ValueError, match="two routes for"):
        web(first, second)


async def test_one_address_may_have_several_methods() -> None:
    async with client(web(Route("/a", echo, methods=["PUT"]), Route("/a", echo, methods=["GET"]))) as http:
        assert (await http.put("/a", content=b"123")).json() == {"bytes": 3}


async def test_an_unexpected_error_says_nothing_but_a_reference(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("secret")

    with caplog.at_level(logging.ERROR):
        async with client(web(Route("/broken", broken))) as http:
            answer = await http.get("/broken")
    assert answer.status_code == 500
    assert answer.json().keys() == {"error", "code", "details", "requestId"}
    assert "secret" not in answer.text
    assert answer.json()["requestId"] in caplog.text
    assert "secret" in caplog.text


async def test_an_error_that_passes_says_when_to_try_again() -> None:
    async def busy(_request: Request) -> Response:
        raise Overloaded("Too much to do.", retryAfter=7)

    async with client(web(Route("/busy", busy))) as http:
        answer = await http.get("/busy")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.json()["code"] == "OVERLOADED"


async def test_a_body_without_a_length_is_bounded_too() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b"x" * 1024 * 1024

    async with client(web(Route("/a", echo, methods=["PUT"]))) as http:
        assert (await http.put("/a", content=pieces())).status_code == 413
        whole = b"x" * (4 * 1024 * 1024)
        assert (await http.put("/a", content=whole)).json() == {"bytes": len(whole)}


async def test_files_may_be_longer() -> None:
    async with client(web(Route("/u/a", echo, methods=["PUT"]))) as http:
        assert (await http.put("/u/a", content=b"x" * (5 * 1024 * 1024))).json() == {"bytes": 5 * 1024 * 1024}


@pytest.mark.parametrize("path", ["/u/a", "/a"])
@pytest.mark.parametrize("coding", ["gzip", "br", "identity, gzip"])
async def test_compressed_bodies_are_read_nowhere(path: str, coding: str) -> None:
    async with client(web(Route(path, echo, methods=["PUT"]))) as http:
        assert (await http.put(path, content=b"x", headers={"content-encoding": coding})).status_code == 415
        assert (await http.put(path, content=b"x", headers={"content-encoding": "Identity"})).status_code == 200


def never(_request: Any, error: Any) -> Response:
    raise error


async def answers(app: Any, path: str, pieces: list[bytes], then: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What an application sends to a client that sends the pieces and then does something else."""
    sent: list[Any] = []
    waiting = iter(pieces)

    async def receive() -> Any:
        for piece in waiting:
            return {"type": "http.request", "body": piece, "more_body": True}
        return await then()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "PUT", "path": path, "headers": [], "query_string": b""}
    with anyio.fail_after(20):
        await app(scope, receive, send)
    return sent


@pytest.mark.parametrize("path", ["/u/a", "/a"])
@pytest.mark.parametrize("pieces", [[], [b"x"] * 50, [b"x" * WINDOW_BYTES]])
async def test_a_client_that_sends_too_slowly_is_told_so(path: str, pieces: list[bytes]) -> None:
    inner = web(Route(path, echo, methods=["PUT"]))

    def refuse(_request: Any, error: Any) -> Response:
        return Response(error.code, error.status)

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        guarded = BodyGuard(request, "/u/", refuse, seconds=0.05)
        await guarded(scope, receive, send)

    async def request(scope: Any, receive: Any, send: Any) -> None:
        await inner({**scope, "headers": [(b"host", b"localhost")]}, receive, send)

    sent = await answers(outer, path, pieces, anyio.sleep_forever)
    assert sent[0]["status"] == 408
    assert b"REQUEST_TIMEOUT" in sent[1]["body"]


async def test_a_client_that_goes_away_stops_the_wait() -> None:
    seen: list[str] = []

    async def app(_scope: Any, receive: Any, _send: Any) -> None:
        seen.append((await receive())["type"])

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert await answers(BodyGuard(app, "/u/", never), "/a", [b"x"], gone) == []
    assert seen == ["http.disconnect"]


async def test_a_stream_of_answers_may_take_its_time_once_the_body_came() -> None:
    async def slow(request: Request) -> Response:
        await request.body()

        async def pieces() -> AsyncIterator[bytes]:
            while not await request.is_disconnected():
                yield b"x"

        return StreamingResponse(pieces())

    left = anyio.Event()

    async def leave() -> Any:
        await left.wait()
        return {"type": "http.disconnect"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def heard(message: Any) -> None:
            if message.get("body"):
                left.set()
            await send(message)

        await Starlette(routes=[Bare("/a", slow, methods=["PUT"])])(scope, receive, heard)

    async def end() -> Any:
        return await leave() if ended else ended.append(True) or {"type": "http.request", "body": b""}

    ended: list[bool] = []
    sent = await answers(BodyGuard(app, "/u/", never, seconds=0.01), "/a", [], end)
    assert sent[1]["body"] == b"x"


@pytest.fixture
async def quick_server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A server that closes connections without a request after 50 ms; its port."""
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.05)
    async with AsyncExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server = serve._HttpServer(uvicorn.Config(web(), http=serve._Http, log_config=None, lifespan="off"))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        tasks.start_soon(server.serve, [listener])
        yield listener.getsockname()[1]
        server.should_exit = True


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: local", b"GET /api/health HTTP/1.1\r\n\r\nGET"])
async def test_a_client_that_never_ends_its_request_is_hung_up_on(quick_server: int, said: bytes) -> None:
    async with await anyio.connect_tcp("127.0.0.1", quick_server) as link:
        if said:
            await link.send(said)
        with anyio.fail_after(20), pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            while True:
                await link.receive()


async def test_a_client_that_asks_in_time_is_answered(quick_server: int) -> None:
    async with httpx2.AsyncClient() as http:
        for _ in range(3):
            assert (await http.get(f"http://127.0.0.1:{quick_server}/api/health")).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
async def test_addresses_of_this_machine_are_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "localhost.example", ""])
async def test_all_other_addresses_are_foreign(host: str) -> None:
    assert not is_loopback(host)


async def who(request: Request) -> Response:
    return JSONResponse(principal_of(request).id)


async def known(token: str) -> Principal:
    names = {"a": Principal("ann"), "n": Principal("nell", permissions=frozenset({"files:read"}))}
    if token not in names:
        raise Unauthorized("No such key.")
    return names[token]


def shout(_request: Request, error: Any, reference: str) -> Response:
    return JSONResponse({"loud": error.message.upper(), "id": reference}, error.status)


LOUD = Dialect("Loud", ("/loud", "/v1/loud"), shout, body_bytes=10)


def guarded(*routes: Door, **access: Any) -> Starlette:
    rules = Access(identify=known, metadata=lambda: "https://x.example/m", **access)
    return build_web(routes, health=dict, access=rules, dialects=[LOUD])


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_a_route_that_does_not_say_who_may_come_in_is_refused() -> None:
    with pytest.raises(TypeError, match="what it needs"):
        build_web([Bare("/a", echo)], health=dict, access=OPEN)  # type: ignore[list-item]


async def test_each_route_lets_in_whom_it_says() -> None:
    routes = [
        Door("/open", echo, needs=PUBLIC),
        Door("/known", who, needs=SIGNED_IN),
        Door("/run", who, needs="tools:run"),
    ]
    wanted = {
        "/open": (200, 200, 200, 200),
        "/known": (401, 401, 200, 200),
        "/run": (401, 401, 403, 200),
        "/api/health": (200, 200, 200, 200),
    }
    async with client(guarded(*routes)) as http:
        for path, statuses in wanted.items():
            for headers, status in zip([{}, bearer("x"), bearer("n"), bearer("a")], statuses, strict=True):
                assert (await http.get(path, headers=headers)).status_code == status, (path, headers)
        refused = await http.get("/run", headers=bearer("n"))
        assert refused.json()["details"] == {"needs": "tools:run"}
        challenge = refused.headers["www-authenticate"]
        assert challenge.startswith('Bearer error="insufficient_scope", scope="tools:run", resource_metadata=')
        stranger = await http.get("/run")
        assert stranger.headers["www-authenticate"] == 'Bearer resource_metadata="https://x.example/m"'


async def test_errors_are_told_in_the_dialect_of_their_address_wherever_they_arise() -> None:
    async def broken(_request: Request) -> Response:
        raise RuntimeError("secret")

    routes = [
        Door("/loud/known", who, needs=SIGNED_IN),
        Door("/loud/put", echo, needs=PUBLIC, methods=["PUT"]),
        Door("/v1/loud/broken", broken, needs=PUBLIC),
    ]
    async with client(guarded(*routes)) as http:
        for path, method, body, status in [
            ("/loud/nothing", "GET", None, 404),
            ("/loud", "GET", None, 404),
            ("/loud/known", "GET", None, 401),
            ("/loud/put", "POST", None, 405),
            ("/loud/put", "PUT", b"x" * 11, 413),
            ("/v1/loud/broken", "GET", None, 500),
        ]:
            answer = await http.request(method, path, content=body)
            assert (answer.status_code, set(answer.json())) == (status, {"loud", "id"}), path
        for path in ("/louder", "/v1", "/v1/nothing"):
            answer = await http.get(path)
            assert set(answer.json()) == {"error", "code", "details", "requestId"}
            assert "Darkroom has nothing" in answer.json()["error"]
        assert "LOUD HAS NOTHING" in (await http.get("/loud/nothing")).json()["loud"]


async def test_an_address_is_found_with_and_without_a_slash_at_its_end() -> None:
    async with client(web(Route("/a", echo, methods=["PUT"]), Route("/", echo, methods=["PUT"]))) as http:
        for path in ("/a", "/a/", "/"):
            answer = await http.put(path, content=b"12")
            assert (answer.status_code, answer.json()) == (200, {"bytes": 2})


async def test_what_an_error_says_of_mcp_is_left_out_for_other_clients() -> None:
    async def missing(_request: Request) -> Response:
        raise NotFound("There is no image 'x'. list_images shows all. Hand it in first.")

    async def lone(_request: Request) -> Response:
        raise NotFound("See list_images.")

    routes = [Door(path, missing, needs=PUBLIC) for path in ("/loud/x", "/x")] + [Door("/loud/y", lone, needs=PUBLIC)]
    app = build_web(routes, health=dict, access=OPEN, dialects=[LOUD], only_over_mcp=["list_images"])
    async with client(app) as http:
        assert (await http.get("/loud/x")).json()["loud"] == "THERE IS NO IMAGE 'X'. HAND IT IN FIRST."
        assert "list_images" in (await http.get("/x")).json()["error"]
        assert (await http.get("/loud/y")).json()["loud"] == "SEE LIST_IMAGES."


async def test_problems_are_told_after_rfc_9457_to_who_asks_for_that() -> None:
    async with client(web()) as http:
        answer = await http.get("/nothing", headers={"accept": "application/problem+json"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404
    assert answer.json()["code"] == "NOT_FOUND"


async def test_requests_over_the_limit_are_told_when_to_come_back() -> None:
    seen: list[str] = []

    async def count(key: str) -> Pass:
        seen.append(key)
        return Pass(len(seen) < 3, 2, max(0, 2 - len(seen)), 60, 30)

    async with client(guarded(Door("/known", who, needs=SIGNED_IN), count=count)) as http:
        first = await http.get("/known", headers=bearer("a"))
        assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("2", "1")
        await http.get("/known")
        last = await http.get("/loud")
        assert (last.status_code, last.headers["retry-after"]) == (429, "30")
        assert (last.headers["x-ratelimit-remaining"], last.headers["x-ratelimit-reset"]) == ("0", "60")
        assert set(last.json()) == {"loud", "id"}
        assert (await http.get("/api/health")).status_code == 200
    assert seen == ["ann", "address 127.0.0.1", "address 127.0.0.1"]
