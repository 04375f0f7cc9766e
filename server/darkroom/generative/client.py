"""Asks an image engine over the OpenAI Images API: one request, one picture, whatever goes wrong named."""

import asyncio
import logging
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx2
from pydantic import SecretStr

from darkroom.engine.limits import MIB
from darkroom.errors import (
    EngineAnswerInvalid,
    EngineNoAnswer,
    EngineRateLimited,
    EngineRequestRefused,
    EngineUnavailable,
    FetchFailed,
    UrlNotAllowed,
)
from darkroom.fetch import Fetcher
from darkroom.generative.answers import Shown, read_answer, refusal
from darkroom.generative.families import Family, family_of
from darkroom_tools.errors import InvalidSettings, LimitExceeded
from darkroom_tools.generation import Generation

__all__ = ["Answer", "ImagesClient", "Sent"]

log = logging.getLogger(__name__)

TRIES: Final = 3
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
"""Seconds that are waited before a further try; who asks for more gets its answer at once."""
CONNECT_SECONDS: Final = 10.0
ANSWER_BYTES: Final = 96 * MIB
ERROR_BYTES: Final = 64 * 1024
CONTROL: Final = "sd_cpp_extra_args"
"""stable-diffusion.cpp takes settings of the server out of prompts that hold this tag."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture on its way to an engine: upright, without metadata."""

    data: bytes
    media_type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine made.

    Attributes:
        data: The picture as it came: not looked at yet.
        usage: What it cost the engine, in tokens.
        asked: The size that was asked for, None if the model was to choose.
    """

    data: bytes
    usage: dict[str, int]
    asked: tuple[int, int] | None


class ImagesClient:
    """Speaks to one engine. An async context manager.

    Args:
        address: The API's address, such as `https://api.openai.com/v1`.
        model: The model's id.
        key: Sent as a bearer token to this address only, and never told to anybody.
        seconds: How long an answer may take.
        fetcher: Downloads pictures that are answered as public addresses.
        picture_bytes: Largest picture.
        sleep: Waits between tries.
        jitter: 0..1, so that many servers do not come back at once.
        clock: Seconds since the epoch.

    Raises:
        InvalidSettings: The address is none, or the key cannot be sent. Neither is repeated in the text.
    """

    def __init__(  # noqa: PLR0913 - what it talks to, and what tests replace
        self,
        address: str,
        model: str,
        key: SecretStr | None = None,
        *,
        seconds: float = 180.0,
        fetcher: Fetcher | None = None,
        picture_bytes: int = 100 * MIB,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = model
        self._address = _parsed(address)
        self._key = key.get_secret_value().strip() if key is not None else ""
        if not re.fullmatch(r"[!-~]*", self._key):
            raise InvalidSettings(
                "DARKROOM_IMAGES_KEY holds characters that no HTTP header carries. Copy the key again.",
                field="DARKROOM_IMAGES_KEY",
            )
        self._seconds = seconds
        self._fetcher = fetcher or Fetcher()
        self._picture_bytes = picture_bytes
        self._sleep = sleep
        self._jitter = jitter
        self._clock = clock
        self._http: httpx2.AsyncClient | None = None

    @property
    def identity(self) -> str:
        """What a picture depends on besides the request: where it was made, and by which model."""
        return f"{self._address} {self.model}"

    @property
    def family(self) -> Family:
        """What the model takes."""
        return family_of(self.model)

    async def __aenter__(self) -> Self:
        # Without connections that are kept: one that the engine closed meanwhile would look like a lost answer.
        self._http = httpx2.AsyncClient(
            timeout=httpx2.Timeout(self._seconds, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            verify=self._address.scheme == "https",  # certificates are only read where there is one to check
            trust_env=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "darkroom"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()

    def check(self, wanted: Generation) -> None:
        """Refuse what this model cannot do, before anything is queued or sent.

        Raises:
            EngineRequestRefused: It cannot start from pictures.
        """
        if wanted.images and not self.family.edits:
            raise EngineRequestRefused(
                f"The model {self.model!r} makes pictures from words only. Use generate_image, or have the server's "
                "operator set DARKROOM_IMAGES_MODEL to one that edits."
            )

    async def ask(self, wanted: Generation, pictures: Sequence[Sent] = (), mask: Sent | None = None) -> Answer:
        """Have one picture made. Cancelling it closes the connection at once.

        Busy, failing and unreachable engines are asked up to three times. A request that was taken and not answered is
        not repeated: it may have been carried out and paid for.

        Raises:
            DarkroomError: One of the engine errors of `darkroom.errors`, or CONTENT_REFUSED.
        """
        first = (pictures[0].width, pictures[0].height) if pictures else None
        size = self.family.size(wanted, first)
        fields = self._fields(wanted, size)
        body = _multipart(fields, pictures, mask) if pictures else {"json": fields}
        path = "images/edits" if pictures else "images/generations"
        shown = await self._insist(path, body)
        data = shown.data if shown.data is not None else await self._download(shown.url)
        if len(data) > self._picture_bytes:
            raise _too_large(self._picture_bytes)
        return Answer(data, dict(shown.usage), size)

    def _fields(self, wanted: Generation, size: tuple[int, int] | None) -> dict[str, Any]:
        prompt = wanted.prompt.replace(CONTROL, CONTROL.replace("_", " "))
        fields = {"model": self.model, "prompt": prompt, **self.family.fields(wanted)}
        if size is not None or self.family.auto:
            fields["size"] = f"{size[0]}x{size[1]}" if size is not None else "auto"
        return fields

    async def _insist(self, path: str, body: dict[str, Any]) -> Shown:
        for number in range(1, TRIES + 1):
            try:
                return await self._post(path, body)
            except (EngineRateLimited, EngineUnavailable) as error:
                asked = error.details.get("retryAfter")
                pause = FIRST_PAUSE * 2 ** (number - 1) * (0.75 + 0.5 * self._jitter()) if asked is None else asked
                if number == TRIES or pause > LONGEST_PAUSE:
                    raise
                log.warning("the image engine is asked again in %.1f s: %s", pause, error.code)
            await self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    async def _post(self, path: str, body: dict[str, Any]) -> Shown:
        url = self._address.join(path)
        async with self._sending("POST", url, **body) as response:
            if response.status_code != 200:
                said = await _read(response, ERROR_BYTES, cut=True)
                headers = {name.lower(): value for name, value in response.headers.items()}
                error = refusal(response.status_code, headers, said, self.model, self._clock())
                log.warning("the image engine refused with status %d: %s", response.status_code, error.code)
                raise error
            answer = await _read(response, ANSWER_BYTES)
        return await asyncio.to_thread(read_answer, answer)

    @asynccontextmanager
    async def _sending(self, method: str, url: httpx2.URL, **body: Any) -> AsyncIterator[httpx2.Response]:
        """The response to a request; whatever goes wrong on the way is one of ours."""
        if self._http is None:
            raise RuntimeError("the client is used outside of its context")
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        try:
            async with (
                asyncio.timeout(self._seconds + CONNECT_SECONDS),
                self._http.stream(method, url, headers=headers, **body) as response,
            ):
                yield response
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.WriteError) as error:
            raise EngineUnavailable(
                "The image engine cannot be reached. Try again later, or have the server's operator check "
                "DARKROOM_IMAGES_URL."
            ) from error
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise EngineNoAnswer(
                f"The image engine did not answer within {self._seconds:g} seconds. It is not asked again by itself, "
                "because it may have made the picture. Try again, with a smaller imageSize or a lower quality.",
                seconds=self._seconds,
            ) from error
        except httpx2.RequestError as error:
            raise EngineNoAnswer(
                "The image engine broke off in the middle of its answer. It is not asked again by itself, because it "
                "may have made the picture. Try again."
            ) from error

    async def _download(self, place: str) -> bytes:
        """The picture at an address that an engine answered with: its own host, or a public one."""
        try:
            url = self._address.join(place)
        except (httpx2.InvalidURL, ValueError) as error:
            raise _unreachable("URL_NOT_ALLOWED") from error
        if (url.scheme, url.host, url.port) == (self._address.scheme, self._address.host, self._address.port):
            async with self._sending("GET", url) as response:
                if response.status_code != 200:
                    raise _unreachable("FETCH_FAILED")
                return await _read(response, self._picture_bytes)
        pieces: list[bytes] = []

        async def keep(piece: bytes) -> None:
            pieces.append(piece)

        try:
            await self._fetcher.download(str(url), keep)
        except (UrlNotAllowed, FetchFailed, LimitExceeded) as error:
            raise _unreachable(error.code) from error
        return b"".join(pieces)


def _parsed(address: str) -> httpx2.URL:
    try:
        url = httpx2.URL(address.rstrip("/") + "/")
        if url.scheme in ("http", "https") and url.host and not (url.userinfo or url.query or url.fragment):
            return url
    except httpx2.InvalidURL:
        pass
    raise InvalidSettings(
        "DARKROOM_IMAGES_URL should be an http or https address without user name and query, such as "
        "https://api.openai.com/v1.",
        field="DARKROOM_IMAGES_URL",
    )


def _multipart(fields: dict[str, Any], pictures: Sequence[Sent], mask: Sent | None) -> dict[str, Any]:
    """A form: `image` for one picture, `image[]` for several, as the official clients send them."""
    name = "image" if len(pictures) == 1 else "image[]"
    files = [(name, _file(f"image-{number}", picture)) for number, picture in enumerate(pictures, 1)]
    if mask is not None:
        files.append(("mask", _file("mask", mask)))
    return {"data": {key: str(value) for key, value in fields.items()}, "files": files}


def _file(stem: str, picture: Sent) -> tuple[str, bytes, str]:
    return f"{stem}.{picture.media_type.rpartition('/')[2]}", picture.data, picture.media_type


async def _read(response: httpx2.Response, limit: int, *, cut: bool = False) -> bytes:
    """A body of at most `limit` bytes; a longer one is cut, or refused while it still comes."""
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > limit:
            if cut:
                break
            raise _too_large(limit)
    return bytes(body[:limit])


def _too_large(limit: int) -> EngineAnswerInvalid:
    return EngineAnswerInvalid(
        f"The image engine sent more than {limit / MIB:.3g} MiB. Ask for a smaller imageSize.", limit=limit
    )


def _unreachable(reason: str) -> EngineAnswerInvalid:
    return EngineAnswerInvalid(
        "The image engine answered with the address of a picture that cannot be fetched. "
        "Its operator can have it answer with base64 instead.",
        reason=reason,
    )
