"""Downloads meet only what was checked. Every server here is on loopback; no name is ever looked up."""

import contextlib
import datetime
import gzip
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import anyio
import anyio.abc
import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from darkroom.errors import FetchFailed, UrlNotAllowed
from darkroom.fetch import Fetcher, FetchLimits, is_public, is_site_private
from darkroom_tools.errors import LimitExceeded

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
Answer = Callable[[anyio.abc.SocketStream, bytes], Awaitable[None]]


class Detour(httpcore2.AsyncNetworkBackend):
    """Stands for the network: notes where a connection should go and leads it to the loopback server."""

    def __init__(self, port: int, dead: Sequence[str] = ()) -> None:
        self.port = port
        self.dead = dead
        self.asked: list[tuple[str, int]] = []

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):
        self.asked.append((host, port))
        if host in self.dead:
            raise httpcore2.ConnectError
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


@contextlib.asynccontextmanager
async def serve(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that reads one request head for each connection and lets `answer` write what it likes."""

    async def handle(stream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError):
                if context is not None:
                    stream = await anyio.streams.tls.TLSStream.wrap(stream, server_side=True, ssl_context=context)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                await answer(stream, head)

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handle)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def replying(*replies: bytes) -> Answer:
    queue = list(replies)

    async def answer(stream, head: bytes) -> None:
        await stream.send(queue.pop(0) if len(queue) > 1 else queue[0])

    return answer


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(location: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def names(**table: str | list[str]) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver for the names given; numbers of any spelling are read as the C library reads them."""

    async def resolve(host: str, port: int) -> list[str]:
        if host in table:
            return [table[host]] if isinstance(table[host], str) else table[host]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [str(entry[4][0]) for entry in found]

    return resolve


async def download(fetcher: Fetcher, url: str) -> tuple[str, bytes]:
    pieces: list[bytes] = []

    async def write(piece: bytes) -> None:
        pieces.append(piece)

    return await fetcher.download(url, write), b"".join(pieces)


HOSTILE = [
    "ftp://pics.example/a.png",
    "gopher://127.0.0.1:70/_x",
    "file:///etc/passwd",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "//pics.example/a.png",
    "/etc/passwd",
    "http://",
    "https:///a.png",
    "http:a.png",
    "http://pics.example:8080/a.png",
    "http://pics.example:22/",
    "http://pics.example:0/",
    "http://pics.example:99999/",
    "http://user@pics.example/",
    "http://user:pass@pics.example/",
    "http://pics.example@127.0.0.1/",
    "http://@127.0.0.1/",
    "http://pics.example\\@127.0.0.1/",
    "http://pics.example /a.png",
    "http://pics.example/a b.png",
    "http://pics.example/\r\nHost: other",
    "http://pics.example/\x00",
    "http://pics.example/" + "a" * 2048,
    "http://[::1",
    "http://[fe80::1%25lo]/",
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://100.100.100.200/latest/meta-data/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://168.63.129.16/",
    "http://192.0.0.192/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::127.0.0.1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::ffff:93.184.216.34]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::a00:1]/",
    "http://[100::1]/",
    "http://[2001::1]/",
    "http://[2001:db8::1]/",
    "http://[2002:7f00:1::]/",
    "http://[3fff::1]/",
    "http://[2606:4700::5efe:7f00:1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://internal.example/",
    "http://mixed.example/",
    "http://unknown.example/",
    "http://nothing.example/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
]


@pytest.mark.parametrize("url", HOSTILE)
async def test_a_hostile_url_opens_no_connection(url: str) -> None:
    network = Detour(port=1)
    resolve = names(**{"internal.example": "10.1.2.3", "mixed.example": [PUBLIC, "10.1.2.3"], "nothing.example": []})
    with pytest.raises(UrlNotAllowed) as caught:
        await download(Fetcher(resolve=resolve, backend=network), url)
    assert network.asked == []
    assert "10.1.2.3" not in caught.value.message and len(caught.value.message) < 300


@pytest.mark.parametrize("url", ["http://internal.example/", "http://unknown.example/"])
async def test_an_unknown_name_and_an_internal_one_look_the_same(url: str) -> None:
    with pytest.raises(UrlNotAllowed) as caught:
        await download(Fetcher(resolve=names(**{"internal.example": "10.1.2.3"}), backend=Detour(1)), url)
    assert caught.value.message.replace("internal", "unknown") == (
        "'unknown.example' leads to no public web address: the name is unknown, or it is inside a private network. "
        "Use a public URL, or send the file through create_upload."
    )


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e"])
async def test_ordinary_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "0.0.0.0", "224.0.0.1"])
async def test_metadata_services_are_not_even_private(address: str) -> None:
    assert not is_site_private(ipaddress.ip_address(address))


async def test_the_file_comes_from_the_checked_address_with_the_host_it_was_asked_for() -> None:
    heads: list[bytes] = []

    async def answer(stream, head: bytes) -> None:
        heads.append(head)
        await stream.send(ok(b"picture"))

    async with serve(answer) as port:
        network = Detour(port)
        fetcher = Fetcher(resolve=names(**{"pics.example": PUBLIC}), backend=network)
        name, body = await download(fetcher, "http://pics.example/a/caf%C3%A9.png?size=2#top")
    assert (name, body) == ("café.png", b"picture")
    assert network.asked == [(PUBLIC, 80)]
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "GET /a/caf%C3%A9.png?size=2 HTTP/1.1"
    assert "Host: pics.example" in lines and "Accept-Encoding: identity" in lines
    assert not any(line.lower().startswith(("cookie", "authorization", "referer")) for line in lines)


async def test_the_name_is_resolved_once_so_a_changing_answer_changes_nothing() -> None:
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return [PUBLIC] if len(asked) == 1 else ["127.0.0.1"]

    async with serve(replying(ok(b"picture"))) as port:
        network = Detour(port)
        fetcher = Fetcher(resolve=rebinding, backend=network)
        assert (await download(fetcher, "http://pics.example/a.png"))[1] == b"picture"
        assert asked == ["pics.example"] and network.asked == [(PUBLIC, 80)]
        with pytest.raises(UrlNotAllowed):
            await download(fetcher, "http://pics.example/a.png")
        assert network.asked == [(PUBLIC, 80)]


async def test_a_redirect_is_checked_by_address_when_the_name_rebinds_in_between() -> None:
    answers = [[PUBLIC], ["127.0.0.1"]]

    async def rebinding(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async with serve(replying(moved("/b.png"), ok(b"secret"))) as port:
        network = Detour(port)
        with pytest.raises(UrlNotAllowed):
            await download(Fetcher(resolve=rebinding, backend=network), "http://pics.example/a.png")
    assert network.asked == [(PUBLIC, 80)]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://internal.example/",
        "//internal.example/x",
        "http://pics.example:8080/",
        "http://user:pass@pics.example/",
        "file:///etc/passwd",
        "ftp://pics.example/",
    ],
)
async def test_a_redirect_to_a_forbidden_place_is_not_followed(location: str) -> None:
    async with serve(replying(moved(location), ok(b"secret"))) as port:
        network = Detour(port)
        resolve = names(**{"pics.example": PUBLIC, "internal.example": "192.168.0.9"})
        with pytest.raises(UrlNotAllowed):
            await download(Fetcher(resolve=resolve, backend=network), "http://pics.example/a.png")
    assert network.asked == [(PUBLIC, 80)]


async def test_three_redirects_are_followed_and_four_are_too_many() -> None:
    resolve = names(**{"pics.example": PUBLIC})
    hops = [moved("/b"), moved("http://pics.example/c"), moved("d")]
    async with serve(replying(*hops, ok(b"picture"))) as port:
        got = await download(Fetcher(resolve=resolve, backend=Detour(port)), "http://pics.example/a")
        assert got == ("d", b"picture")
    async with serve(replying(moved("/a"))) as port:
        network = Detour(port)
        with pytest.raises(FetchFailed) as caught:
            await download(Fetcher(resolve=resolve, backend=network), "http://pics.example/a")
    assert caught.value.code == "TOO_MANY_REDIRECTS" and len(network.asked) == 4


async def test_the_next_checked_address_is_tried_when_one_is_dead() -> None:
    async with serve(replying(ok(b"picture"))) as port:
        network = Detour(port, dead=["2606:4700::1111"])
        resolve = names(**{"pics.example": ["2606:4700::1111", PUBLIC]})
        assert (await download(Fetcher(resolve=resolve, backend=network), "http://pics.example/"))[1] == b"picture"
    assert [host for host, _ in network.asked] == ["2606:4700::1111", PUBLIC]


async def test_a_file_over_the_limit_is_refused_by_its_length_before_any_byte() -> None:
    written: list[bytes] = []

    async def write(piece: bytes) -> None:
        written.append(piece)

    async with serve(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)) as port:
        fetcher = Fetcher(FetchLimits(bytes=1000), resolve=names(**{"pics.example": PUBLIC}), backend=Detour(port))
        with pytest.raises(LimitExceeded) as caught:
            await fetcher.download("http://pics.example/", write)
    assert caught.value.code == "FILE_TOO_LARGE" and written == []


async def test_an_endless_body_is_cut_at_the_size_limit() -> None:
    async def endless(stream, head: bytes) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await stream.send(b"400\r\n" + b"x" * 1024 + b"\r\n")

    received = 0

    async def write(piece: bytes) -> None:
        nonlocal received
        received += len(piece)

    async with serve(endless) as port:
        fetcher = Fetcher(FetchLimits(bytes=10_000), resolve=names(**{"pics.example": PUBLIC}), backend=Detour(port))
        with pytest.raises(LimitExceeded):
            await fetcher.download("http://pics.example/", write)
    assert received <= 10_000


async def silent(stream, head: bytes) -> None:
    await anyio.sleep_forever()


async def stalling(stream, head: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await anyio.sleep_forever()


async def dripping(stream, head: bytes) -> None:
    await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        await stream.send(b"x")
        await anyio.sleep(0.001)


@pytest.mark.parametrize(
    ("answer", "limits"),
    [
        (silent, FetchLimits(idle_seconds=0.05)),
        (stalling, FetchLimits(idle_seconds=0.05)),
        (dripping, FetchLimits(total_seconds=0.1)),
    ],
)
async def test_a_slow_server_is_left_when_its_time_is_up(answer: Answer, limits: FetchLimits) -> None:
    async with serve(answer) as port:
        fetcher = Fetcher(limits, resolve=names(**{"pics.example": PUBLIC}), backend=Detour(port))
        with anyio.fail_after(10), pytest.raises(FetchFailed) as caught:
            await download(fetcher, "http://pics.example/")
    assert caught.value.code == "FETCH_TIMEOUT"


async def test_a_resolver_that_never_answers_counts_as_slow() -> None:
    async def never(host: str, port: int) -> list[str]:
        await anyio.sleep_forever()
        return []

    with anyio.fail_after(10), pytest.raises(FetchFailed) as caught:
        await download(Fetcher(FetchLimits(connect_seconds=0.05), resolve=never), "http://pics.example/")
    assert caught.value.code == "FETCH_TIMEOUT"


async def test_a_compressed_answer_is_refused_and_never_inflated() -> None:
    bomb = gzip.compress(b"\0" * 1_000_000)
    async with serve(replying(ok(bomb, "Content-Encoding: gzip"))) as port:
        fetcher = Fetcher(FetchLimits(bytes=100_000), resolve=names(**{"pics.example": PUBLIC}), backend=Detour(port))
        with pytest.raises(FetchFailed):
            await download(fetcher, "http://pics.example/")


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\nSECRET WORDS",
        b"HTTP/1.1 500 SECRET WORDS\r\nContent-Length: 12\r\n\r\nSECRET WORDS",
        b"HTTP/1.1 206 Partial\r\nContent-Length: 12\r\n\r\nSECRET WORDS",
        b"HTTP/1.1 302 Found\r\nX: SECRET WORDS\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-SECRET WORDS\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nSECRET WORDS",
        b"",
    ],
)
async def test_a_failed_download_never_repeats_what_the_server_said(reply: bytes) -> None:
    async with serve(replying(reply)) as port:
        fetcher = Fetcher(resolve=names(**{"pics.example": PUBLIC}), backend=Detour(port))
        with pytest.raises(FetchFailed) as caught:
            await download(fetcher, "http://pics.example/")
    assert "SECRET" not in str(caught.value.to_wire())


async def test_private_addresses_open_only_to_insiders_and_to_listed_hosts() -> None:
    resolve = names(**{"internal.example": "10.1.2.3", "metadata.example": "169.254.169.254"})
    async with serve(replying(ok(b"picture"))) as port:
        insiders = Fetcher(resolve=resolve, backend=Detour(port), allow_private=True)
        assert (await download(insiders, "http://internal.example/"))[1] == b"picture"
        listed = Fetcher(resolve=resolve, backend=Detour(port), allowed_hosts=["Internal.example"])
        assert (await download(listed, "http://internal.EXAMPLE/"))[1] == b"picture"
        for fetcher, url in ((listed, "http://10.1.2.3/"), (insiders, "http://metadata.example/")):
            with pytest.raises(UrlNotAllowed):
                await download(fetcher, url)


async def test_an_address_of_this_machine_is_refused_even_if_it_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.fetch.is_public", lambda address: True)
    network = Detour(port=1)
    with pytest.raises(UrlNotAllowed):
        await download(Fetcher(resolve=names(**{"me.example": "127.0.0.1"}), backend=network), "http://me.example/")
    assert network.asked == []


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with serve(replying(ok(b"picture"))) as port:
        network = Detour(port)
        fetcher = Fetcher(resolve=names(**{"pics.example": PUBLIC}), backend=network)
        assert (await download(fetcher, "http://pics.example/"))[1] == b"picture"
    assert network.asked == [(PUBLIC, 80)]


def certificate(folder: Path, host: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server context for `host` and a client context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    signed = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = signed.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


async def test_tls_is_verified_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    server, client = certificate(tmp_path, "pics.example")
    seen: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with serve(replying(ok(b"picture")), server) as port:
        resolve = names(**{"pics.example": PUBLIC, "other.example": PUBLIC})
        network = Detour(port)
        fetcher = Fetcher(resolve=resolve, backend=network, ssl_context=client)
        assert (await download(fetcher, "https://pics.example/"))[1] == b"picture"
        with pytest.raises(FetchFailed):
            await download(fetcher, "https://other.example/")
    assert seen == ["pics.example", "other.example"]
    assert network.asked == [(PUBLIC, 443)] * 2
