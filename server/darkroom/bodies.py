"""Request bodies over HTTP: bounded in size and in time before anything reads them."""

from collections.abc import Awaitable, Callable

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from darkroom.errors import RequestTimeout
from darkroom_tools.errors import DarkroomError, LimitExceeded, UnsupportedFormat

__all__ = ["BodyGuard"]

MIB = 1024 * 1024
BODY_BYTES = 4 * MIB
"""Longest body that is no file; as long as a message on a stream."""

WINDOW_SECONDS = 30.0
WINDOW_BYTES = 30 * 1024
"""A client must send so much in every window, until its body ends."""


class BodyGuard:
    """Hands on whole bodies, and the bodies of files and forms as they arrive; refuses what is compressed.

    Args:
        app: What is guarded.
        files: Beginning of the paths that take files, which have a limit of their own, as forms have.
        refuse: Makes the answer for an error.
        longest: Most bytes of a whole body by path.
        seconds: Length of the window in which a client must have sent 30 KiB or everything.
    """

    def __init__(
        self,
        app: ASGIApp,
        files: str,
        refuse: Callable[[Request, DarkroomError], Response],
        longest: Callable[[str], int] = lambda _: BODY_BYTES,
        seconds: float = WINDOW_SECONDS,
    ) -> None:
        self._app = app
        self._files = files
        self._refuse = refuse
        self._longest = longest
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on or answer 408, 413 or 415."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        arriving = _Paced(receive, self._seconds)
        try:
            headers = Headers(scope=scope)
            if headers.get("content-encoding", "identity").strip().lower() != "identity":
                raise UnsupportedFormat("Compressed request bodies are not read. Send it without Content-Encoding.")
            form = headers.get("content-type", "").lower().startswith("multipart/")
            if form or scope["path"].startswith(self._files):
                receive = arriving
            else:
                receive = _again(await _whole(arriving, headers, self._longest(scope["path"])), receive)
        except DarkroomError as error:
            await self._refuse(Request(scope), error)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _Paced:
    """A request's messages, as long as the client sends them fast enough."""

    def __init__(self, receive: Receive, seconds: float) -> None:
        self._receive = receive
        self._seconds = seconds
        self._deadline = anyio.current_time() + seconds
        self._got = 0
        self._ended = False

    async def __call__(self) -> Message:
        """The next message.

        Raises:
            RequestTimeout: Too little came in this window.
        """
        if self._ended:
            return await self._receive()
        with anyio.CancelScope(deadline=self._deadline) as waiting:
            message = await self._receive()
        if waiting.cancelled_caught:
            raise RequestTimeout("The body came too slowly. Send at least 1 KiB per second.")
        self._got += len(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._got >= WINDOW_BYTES:
            self._got, self._deadline = 0, anyio.current_time() + self._seconds
        return message


async def _whole(receive: Receive, headers: Headers, most: int) -> list[Message]:
    """The messages of a body of at most so many bytes, as one.

    Raises:
        LimitExceeded: It is longer, or says that it will be.
        RequestTimeout: It came too slowly.
    """
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most:
        raise _too_long(most)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return [message]
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_long(most)
        if not message.get("more_body", False):
            return [{"type": "http.request", "body": bytes(body), "more_body": False}]


def _again(read: list[Message], receive: Receive) -> Callable[[], Awaitable[Message]]:
    async def next_message() -> Message:
        return read.pop() if read else await receive()

    return next_message


def _too_long(most: int) -> LimitExceeded:
    return LimitExceeded(
        f"The body is over the limit of {most // MIB} MiB. Send pictures as files, or by create_upload.",
        code="PAYLOAD_TOO_LARGE",
        limit=most,
    )
