"""Talks to addresses that strangers name, without becoming their hand inside the network.

The check sits under the connection pool: whatever name, redirect or retry leads there, a socket is opened only to an
address that was checked, and to that very address.
"""

import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import anyio
import httpcore2
import httpx2

from darkroom.errors import FetchFailed, UrlNotAllowed
from darkroom_tools.errors import LimitExceeded
from darkroom_tools.kit.clean import clean_name, clean_text

__all__ = ["FetchLimits", "Fetcher", "is_public", "is_site_private"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

PORTS: Final = frozenset({80, 443})
URL_CHARACTERS: Final = 2_048
_DOWNLOAD: Final = ((b"Accept", b"image/*, */*;q=0.5"), (b"Accept-Encoding", b"identity"))
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


def _networks(*names: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(name) for name in names)


# What `is_global` lets through although it leads elsewhere: translators, tunnels, relays, clouds' own services.
_NOT_PUBLIC: Final = _networks(
    "100.64.0.0/10",
    "168.63.129.16/32",
    "192.0.0.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "240.0.0.0/4",
    "::/96",
    "::ffff:0:0/96",
    "::ffff:0:0:0/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "fec0::/10",
)
_GLOBAL_UNICAST_6: Final = ipaddress.IPv6Network("2000::/3")
_SITE_PRIVATE: Final = _networks(
    "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7"
)
_CLOUD_METADATA: Final = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "192.0.0.192", "fd00:ec2::254")))


def is_public(address: Address) -> bool:
    """Whether a stranger may make us connect there: global unicast that is no gateway to anything else."""
    if not address.is_global or address.is_multicast or any(address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return True
    isatap = (int(address) >> 32) & 0xFDFF_FFFF == 0x0000_5EFE
    return address in _GLOBAL_UNICAST_6 and not isatap


def is_site_private(address: Address) -> bool:
    """Whether it is a private or loopback address; clouds' metadata services and link-local addresses are not."""
    return address not in _CLOUD_METADATA and any(address in network for network in _SITE_PRIVATE)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one download: bytes, hops, and seconds to connect, between two reads, and in all."""

    bytes: int = 100 * 1024 * 1024
    redirects: int = 3
    connect_seconds: float = 3.0
    idle_seconds: float = 5.0
    total_seconds: float = 20.0


async def _resolve(host: str, port: int) -> Sequence[str]:
    answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(answer[4][0]) for answer in answers]


def _is_own(address: Address, port: int) -> bool:
    """Whether the address is one of this machine's: the kernel would then talk to it from itself. Sends nothing."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), port))
        except OSError:
            return False
        return ipaddress.ip_address(probe.getsockname()[0]) == address


class _CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Resolves once, checks every answer, connects to a checked address."""

    def __init__(
        self, inner: httpcore2.AsyncNetworkBackend, resolve: Resolve, private_ok: Callable[[str], bool]
    ) -> None:
        self._inner = inner
        self._resolve = resolve
        self._private_ok = private_ok

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            with anyio.fail_after(timeout):
                addresses = await self._checked(host, port)
                for address in addresses[:-1]:
                    try:
                        return await self._inner.connect_tcp(str(address), port, None, local_address, socket_options)
                    except httpcore2.ConnectError:
                        continue
                return await self._inner.connect_tcp(str(addresses[-1]), port, None, local_address, socket_options)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout from error

    async def _checked(self, host: str, port: int) -> list[Address]:
        try:
            addresses = [ipaddress.ip_address(answer) for answer in await self._resolve(host, port)]
        except (OSError, ValueError) as error:
            raise _no_public_address(host) from error
        private_ok = self._private_ok(host)
        if not addresses or not all(self._allowed(address, port, private_ok) for address in addresses):
            raise _no_public_address(host)
        return list(dict.fromkeys(addresses))

    @staticmethod
    def _allowed(address: Address, port: int, private_ok: bool) -> bool:
        if private_ok and is_site_private(address):
            return True
        return is_public(address) and (private_ok or not _is_own(address, port))

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore2.AsyncNetworkStream:
        raise UrlNotAllowed("Only http and https URLs can be fetched.")

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


def _no_public_address(host: str) -> UrlNotAllowed:
    return UrlNotAllowed(
        f"{clean_text(host, 100)!r} leads to no public web address: the name is unknown, or it is inside a private "
        "network. Use a public URL, or send the file through create_upload."
    )


class Fetcher:
    """Downloads single files over http and https.

    Args:
        limits: Bytes, hops and seconds.
        allow_private: Also private and loopback addresses, for a server that serves insiders only.
        allowed_hosts: Host names that may be at private addresses.
        resolve: From host and port to addresses; the system's resolver by default.
        backend: Opens the sockets; plain TCP by default.
        ssl_context: Verifies servers; the system's certificates by default.
    """

    def __init__(
        self,
        limits: FetchLimits | None = None,
        *,
        allow_private: bool = False,
        allowed_hosts: Iterable[str] = (),
        resolve: Resolve = _resolve,
        backend: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits or FetchLimits()
        self._allow_private = allow_private
        self._allowed_hosts = frozenset(host.lower().rstrip(".") for host in allowed_hosts)
        self._backend = _CheckedBackend(backend or httpcore2.AnyIOBackend(), resolve, self.may_be_private)
        self._ssl_context = ssl_context

    def may_be_private(self, host: str) -> bool:
        """Whether that host may be inside the network, and on any port."""
        return self._allow_private or host.lower().rstrip(".") in self._allowed_hosts

    async def download(self, url: str, write: Callable[[bytes], Awaitable[None]]) -> str:
        """Hand the bytes at `url` to `write`, piece by piece, and answer the file name that the URL ends in.

        Raises:
            UrlNotAllowed: Its scheme, port or address may not be fetched, also after a redirect.
            FetchFailed: No file came: FETCH_FAILED, FETCH_TIMEOUT or TOO_MANY_REDIRECTS.
            LimitExceeded: FILE_TOO_LARGE; `write` may have been called before.
        """
        try:
            with anyio.fail_after(self.limits.total_seconds):
                return await self._follow(parse_url(url), write)
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise FetchFailed(
                f"The address took too long to send the file: the limit is {self.limits.total_seconds:g} s in all and "
                f"{self.limits.idle_seconds:g} s without data. Try again, or send the file through create_upload.",
                code="FETCH_TIMEOUT",
            ) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError) as error:
            raise FetchFailed(
                "The address could not be reached, or did not speak HTTP. Check the URL, or use create_upload."
            ) from error

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str]]:
        """Send a body; the status of the answer and its headers in lower case. No redirect is followed.

        Raises:
            UrlNotAllowed: Its scheme, port or address may not be reached.
            FetchFailed: Nothing that answers HTTP in time was there.
        """
        target = parse_url(url, private_ok=self.may_be_private)
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            with anyio.fail_after(self.limits.total_seconds):
                async with AsyncExitStack() as stack:
                    response = await self._ask(stack, "POST", target, sent, body)
                    return response.status, {
                        k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers
                    }
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise FetchFailed("The address took too long to answer.", code="FETCH_TIMEOUT") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, ssl.SSLError) as error:
            raise FetchFailed("The address could not be reached, or did not speak HTTP.") from error

    async def _follow(self, url: httpx2.URL, write: Callable[[bytes], Awaitable[None]]) -> str:
        for _ in range(self.limits.redirects + 1):
            async with AsyncExitStack() as stack:
                response = await self._ask(stack, "GET", url, _DOWNLOAD)
                if response.status not in _REDIRECTS:
                    await self._copy(response, write)
                    return clean_name(url.path)
                url = _redirect(url, response)
        raise FetchFailed(
            f"The URL redirects more than {self.limits.redirects} times. Use the address it leads to in the end.",
            code="TOO_MANY_REDIRECTS",
        )

    async def _ask(
        self,
        stack: AsyncExitStack,
        method: str,
        url: httpx2.URL,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | None = None,
    ) -> httpcore2.Response:
        # A pool of its own for each request: no connection outlives the check it was opened under.
        pool = await stack.enter_async_context(
            httpcore2.AsyncConnectionPool(network_backend=self._backend, ssl_context=self._ssl_context)
        )
        seconds = self.limits.idle_seconds
        timeout = {"connect": self.limits.connect_seconds, "read": seconds, "write": seconds, "pool": seconds}
        target = httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        sent = [(b"Host", url.netloc), (b"User-Agent", b"darkroom"), *headers]
        return await stack.enter_async_context(
            pool.stream(method, target, headers=sent, content=body, extensions={"timeout": timeout})
        )

    async def _copy(self, response: httpcore2.Response, write: Callable[[bytes], Awaitable[None]]) -> None:
        headers = {name.lower(): value for name, value in response.headers}
        if response.status != 200:
            raise FetchFailed(f"The address answered with status {response.status} instead of a file. Check the URL.")
        if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"", b"identity"):
            raise FetchFailed("The address sent the file compressed although it was asked not to. Use create_upload.")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length[:20]) > self.limits.bytes:
            raise self._too_large()
        received = 0
        async for chunk in response.aiter_stream():
            received += len(chunk)
            if received > self.limits.bytes:
                raise self._too_large()
            await write(chunk)

    def _too_large(self) -> LimitExceeded:
        limit = self.limits.bytes
        return LimitExceeded(
            f"The file at this URL is over the limit of {limit / 1_048_576:.3g} MiB. Use a smaller version of it.",
            code="FILE_TOO_LARGE",
            limit=limit,
        )


def parse_url(text: str, *, private_ok: Callable[[str], bool] = lambda _: False) -> httpx2.URL:
    """The URL, if its form may be fetched at all; hosts that are `private_ok` may be on any port.

    Raises:
        UrlNotAllowed: No http or https URL with a host, over 2,048 characters, with a user name, or another port.
    """
    try:
        if len(text) > URL_CHARACTERS or not text.isprintable() or any(c in text for c in " \\"):
            raise UrlNotAllowed(f"A URL must have at most {URL_CHARACTERS:,} characters and no spaces or backslashes.")
        url = httpx2.URL(text)
        port = url.port or (443 if url.scheme == "https" else 80)
    except (httpx2.InvalidURL, ValueError, UnicodeError) as error:
        raise UrlNotAllowed("This is no valid URL. Give one such as https://example.com/photo.jpg.") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise UrlNotAllowed("Only http and https URLs can be fetched, such as https://example.com/photo.jpg.")
    if url.userinfo or b"@" in url.netloc:
        raise UrlNotAllowed("A URL must not carry a user name or password. Download the file and use create_upload.")
    if port not in PORTS and not private_ok(url.host):
        raise UrlNotAllowed(f"Only ports 80 and 443 can be fetched, but the URL names port {port}.", got=port)
    return url


def _redirect(url: httpx2.URL, response: httpcore2.Response) -> httpx2.URL:
    places = [value for name, value in response.headers if name.lower() == b"location"]
    try:
        target = str(url.join(places[0].decode("ascii")))
    except (IndexError, UnicodeError, ValueError, httpx2.InvalidURL) as error:
        raise FetchFailed("The address redirects to something that is no URL. Use its final address.") from error
    return parse_url(target)
