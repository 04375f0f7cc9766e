"""Webhooks: who hears of a job's end, how it is signed, and how long it is tried."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import httpcore2
import pytest
import sqlalchemy as sa
from support.jobs_room import Room, open_room, tint
from support.processes import darkroom

from darkroom.errors import Conflict, NotFound, UrlNotAllowed
from darkroom.fetch import Fetcher
from darkroom.jobs.terms import Hook, Terms
from darkroom.store.schema import webhook_deliveries
from darkroom.webhooks.courier import PAUSES, Courier
from darkroom.webhooks.registry import Webhooks
from darkroom.webhooks.signing import check_secret, new_secret, secret_of, sign
from darkroom_tools.errors import InvalidImage, InvalidSettings, LimitExceeded

pytestmark = pytest.mark.anyio

URL = "https://hooks.example.com/darkroom"
OWN = secret_of(b"o" * 32)


@dataclass
class Receiver:
    """Another server: notes what is posted and answers as it is told."""

    replies: list[bytes] = field(default_factory=list)
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    async def handle(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")[1:]
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            while len(body) < int(headers["content-length"]):
                body += await stream.receive()
            self.heard.append((headers, body))
            await stream.send(self.replies.pop(0) if self.replies else status(204))


def status(code: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {code} Answer", "Content-Length: 0", *headers, "", ""]).encode()


class ToReceiver(httpcore2.AsyncNetworkBackend):
    """Leads every connection to the receiver, in plain text."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    async def connect_tcp(self, host: str, port: int, timeout: float | None = None, *_: Any, **__: Any) -> Any:
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self._receiver.port, timeout)


@dataclass
class Post:
    """A room with jobs, their webhooks, and the server that hears of them."""

    room: Room
    webhooks: Webhooks
    courier: Courier
    receiver: Receiver
    now: float = 1_000_000_000.0

    async def rows(self) -> list[Any]:
        return await self.room.rows(webhook_deliveries)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.receiver.heard]


@asynccontextmanager
async def open_post(folder: Path, resolve: Callable[[str, int], Any] | None = None) -> AsyncIterator[Post]:
    async def public(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34"]

    receiver = Receiver()
    async with (
        open_room(folder) as room,
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        receiver.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, receiver.handle)
        fetcher = Fetcher(resolve=resolve or public, backend=ToReceiver(receiver))
        post = Post(room, Webhooks(room.database, clock=lambda: post.now), None, receiver)  # type: ignore[arg-type]
        post.courier = Courier(
            room.database,
            fetcher,
            own_secret=lambda _: OWN,
            link=lambda handle: f"https://darkroom.example/{handle}",
            clock=lambda: post.now,
        )
        yield post
        tasks.cancel_scope.cancel()


@pytest.fixture
async def post(tmp_path: Path) -> AsyncIterator[Post]:
    async with open_post(tmp_path) as opened:
        # The rooms' jobs end by the real clock.
        opened.now = 4_000_000_000.0
        yield opened


# Plain HTTP, because the receiver here speaks no TLS; the guard is the same.
PLAIN = URL.replace("https", "http")


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """The check that the specification tells receivers to make."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return f"v1,{wanted}" in headers["webhook-signature"].split()


def test_a_signature_is_that_of_the_specifications_example() -> None:
    headers = sign(
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", base64.b64encode(b"k" * 32).decode()])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(InvalidSettings, match="whsec_"):
        check_secret(secret)
    assert check_secret(new_secret())


async def test_the_organisation_hears_how_a_job_ended_with_its_images(post: Post) -> None:
    hook = await post.webhooks.add("ann", PLAIN)
    job = await post.room.done(await post.room.tint())
    assert await post.courier.deliver_due() == 1
    [(headers, body)] = post.receiver.heard
    assert is_signed(headers, body, hook.secret)
    assert headers["content-type"] == "application/json"
    [event] = post.events()
    [made] = job.result.items[0].images if job.result else []
    assert event["type"] == "job.succeeded"
    assert event["data"]["job"] == job.id
    assert event["data"]["tool"] == "tint"
    assert event["data"]["items"] == [{"images": [{"image": made, "url": f"https://darkroom.example/{made}"}]}]
    assert await post.courier.deliver_due() == 0
    assert [(row.state, row.status) for row in await post.rows()] == [("sent", 204)]


async def test_a_failed_job_is_told_with_its_error(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    post.room.executor.fail = lambda _: InvalidImage("The picture is damaged.")
    await post.room.done(await post.room.tint())
    await post.courier.deliver_due()
    [event] = post.events()
    assert event["type"] == "job.failed"
    assert event["data"]["error"]["code"] == "INVALID_IMAGE"


async def test_nobody_hears_of_anothers_jobs(post: Post) -> None:
    await post.webhooks.add("ben", PLAIN)
    await post.room.done(await post.room.tint())
    assert await post.courier.deliver_due() == 0


async def test_a_run_can_name_an_address_of_its_own_with_its_own_secret(post: Post) -> None:
    secret = new_secret()
    image = post.room.picture("photo")
    for hook in (Hook(PLAIN, secret), Hook(PLAIN)):
        terms = Terms(webhooks=(hook,))
        shade = {"image": image, "shade": len(post.receiver.heard)}
        await post.room.done(await post.room.jobs.accept(post.room.ann, tint, shade, terms=terms))
        await post.courier.deliver_due()
    (first, second) = post.receiver.heard
    assert is_signed(*first, secret)
    assert is_signed(*second, OWN)


async def test_an_address_that_is_none_is_refused_with_the_call(post: Post) -> None:
    terms = Terms(webhooks=(Hook("ftp://hooks.example.com/"),))
    with pytest.raises(UrlNotAllowed):
        await post.room.jobs.accept(post.room.ann, tint, {"image": post.room.picture("photo")}, terms=terms)
    assert await post.room.rows(webhook_deliveries) == []


async def test_what_is_not_heard_is_sent_again_later_under_the_same_id(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    post.receiver.replies = [status(500), status(302, "Location: http://127.0.0.1/"), status(200)]
    await post.room.done(await post.room.tint())
    for pause in (PAUSES[0], PAUSES[1]):
        assert await post.courier.deliver_due() == 1
        post.now += pause * 0.99
        assert await post.courier.deliver_due() == 0
        post.now += pause * 0.2
    assert await post.courier.deliver_due() == 1
    assert len({headers["webhook-id"] for headers, _ in post.receiver.heard}) == 1
    assert len({headers["webhook-timestamp"] for headers, _ in post.receiver.heard}) == 3
    assert [(row.state, row.attempt) for row in await post.rows()] == [("sent", 3)]


async def test_a_receiver_says_how_long_to_wait(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    post.receiver.replies = [status(429, "Retry-After: 90")]
    await post.room.done(await post.room.tint())
    await post.courier.deliver_due()
    post.now += 89
    assert await post.courier.deliver_due() == 0
    post.now += 2
    assert await post.courier.deliver_due() == 1


async def test_an_address_that_is_gone_hears_nothing_more(post: Post) -> None:
    hook = await post.webhooks.add("ann", PLAIN)
    post.receiver.replies = [status(410)]
    await post.room.done(await post.room.tint())
    await post.courier.deliver_due()
    await post.room.done(await post.room.tint(shade=3))
    assert await post.courier.deliver_due() == 0
    [listed] = await post.webhooks.list("ann")
    assert listed.disabled == "The address answered with status 410."
    assert (await post.webhooks.rotate("ann", hook.id)).disabled is None


async def test_after_ten_attempts_it_is_given_up(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    post.receiver.replies = [status(503)] * 20
    await post.room.done(await post.room.tint())
    for _ in range(12):
        await post.courier.deliver_due()
        post.now += PAUSES[-1] * 1.2
    assert len(post.receiver.heard) == len(PAUSES) + 1
    assert [row.state for row in await post.rows()] == ["failed"]


async def test_no_event_goes_to_an_address_inside_the_network(tmp_path: Path) -> None:
    async def rebound(_host: str, _port: int) -> list[str]:
        return ["10.0.0.5"]

    async with open_post(tmp_path, rebound) as post:
        post.now = 4_000_000_000.0
        await post.webhooks.add("ann", PLAIN)
        await post.room.done(await post.room.tint())
        assert await post.courier.deliver_due() == 1
        assert post.receiver.heard == []
        [row] = await post.rows()
        assert (row.state, row.status) == ("queued", None)
        assert "no public web address" in row.problem


async def test_while_a_secret_is_replaced_both_sign(post: Post) -> None:
    old = await post.webhooks.add("ann", PLAIN)
    new = await post.webhooks.rotate("ann", PLAIN)
    assert new.secret != old.secret
    await post.room.done(await post.room.tint())
    await post.courier.deliver_due()
    assert all(is_signed(*post.receiver.heard[0], secret) for secret in (old.secret, new.secret))
    post.now += 25 * 3600
    await post.room.done(await post.room.tint(shade=1))
    await post.courier.deliver_due()
    assert is_signed(*post.receiver.heard[1], new.secret)
    assert not is_signed(*post.receiver.heard[1], old.secret)


async def test_an_event_whose_sender_died_is_sent_by_another(post: Post) -> None:
    from darkroom.webhooks import outbox

    await post.webhooks.add("ann", PLAIN)
    await post.room.done(await post.room.tint())
    [lost] = await post.room.database.write(lambda c: outbox.claim(c, post.now, 8))
    assert await post.courier.deliver_due() == 0
    post.now += 61
    assert await post.courier.deliver_due() == 1
    # The dead one comes back and must not undo what the other has recorded.
    await post.room.database.write(lambda c: outbox.try_again(c, lost, 500, "late", post.now))
    assert [row.state for row in await post.rows()] == ["sent"]


async def test_a_job_is_told_once_however_often_its_end_is_written(post: Post) -> None:
    from darkroom.webhooks import outbox

    await post.webhooks.add("ann", PLAIN)
    job = await post.room.done(await post.room.tint())
    await post.room.database.write(lambda c: outbox.enqueue(c, [job.id], post.now))
    assert len(await post.rows()) == 1


async def test_an_address_is_added_once_and_ten_are_the_limit(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    with pytest.raises(Conflict):
        await post.webhooks.add("ann", PLAIN)
    for number in range(9):
        await post.webhooks.add("ann", f"{PLAIN}/{number}")
    with pytest.raises(LimitExceeded):
        await post.webhooks.add("ann", f"{PLAIN}/ten")
    with pytest.raises(NotFound):
        await post.webhooks.remove("ben", PLAIN)


async def test_a_removed_webhook_takes_what_it_did_not_hear_with_it(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    await post.room.done(await post.room.tint())
    await post.webhooks.remove("ann", PLAIN)
    assert await post.webhooks.list("ann") == []
    assert await post.room.database.read(lambda c: c.scalar(sa.select(sa.func.count(webhook_deliveries.c.id)))) == 0


async def test_what_was_delivered_long_ago_is_forgotten_and_what_waits_is_not(post: Post) -> None:
    await post.webhooks.add("ann", PLAIN)
    await post.room.done(await post.room.tint())
    post.receiver.replies = [status(204), status(500)]
    post.now = 1_000.0
    await post.room.database.write(lambda c: c.execute(webhook_deliveries.update().values(due_at=0.0)))
    await post.courier.deliver_due()
    await post.room.done(await post.room.tint(shade=1))
    await post.room.jobs.prune(60.0)
    assert [row.state for row in await post.rows()] == ["queued"]


@pytest.mark.parametrize("url", ["file:///etc/passwd", "https://user:pw@example.com/", "http://example.com:22/", "no"])
async def test_what_is_no_web_address_is_no_webhook(post: Post, url: str) -> None:
    with pytest.raises(UrlNotAllowed):
        await post.webhooks.add("ann", url)


def test_the_command_line_adds_and_lists_and_says_what_is_wrong(tmp_path: Path) -> None:
    def webhooks(*words: str) -> str:
        return darkroom("webhooks", "--data-dir", tmp_path, *words).stdout

    added = webhooks("add", URL)
    assert URL in added
    assert check_secret(added.split()[-1])
    assert webhooks("list").endswith(f"{URL}  in use\n")
    refused = darkroom("webhooks", "--data-dir", tmp_path, "remove", "https://example.com/other")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "darkroom: There is no such webhook. `darkroom webhooks` lists them.\n"


def test_a_wrong_variable_is_named_instead_of_traced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_PORT", "abc")
    done = darkroom("webhooks", "--data-dir", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("darkroom: DARKROOM_PORT: Input should be a valid integer")
    assert done.stderr.count("\n") == 1
