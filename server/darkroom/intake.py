"""Every door in: from what a caller writes for an image to bytes in the blob store. Makes no row."""

import base64
import binascii
import errno
import hashlib
import os
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.to_thread

from darkroom.engine.limits import MIB
from darkroom.engine.sniff import HEAD_BYTES, kind_of, sniff
from darkroom.errors import PathNotAllowed, StorageFull, UrlNotAllowed
from darkroom.fetch import Fetcher
from darkroom.principal import Principal
from darkroom.roots import open_file
from darkroom.store.blobs import BlobStore
from darkroom.store.ids import is_id
from darkroom_tools.errors import DarkroomError, InvalidSettings, LimitExceeded
from darkroom_tools.kit.clean import clean_name, clean_text

__all__ = ["Intake", "Resolved", "too_large"]

DATA_URI_BYTES: Final = 2_500_000
_DATA_URI: Final = re.compile(r"data:(image/[a-z0-9.+-]+|application/pdf)(;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_IMAGES: Final = "darkroom://images/"
_LONGEST_PATH: Final = 4_096
_CHUNK: Final = MIB
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


@dataclass(frozen=True, slots=True)
class Resolved:
    """Bytes that are in the blob store.

    Attributes:
        sha256: Their digest.
        format: Their type by the first bytes, such as `jpeg`; nothing else of them was read.
        bytes: How many.
        name: Cleaned file name.
        handle: The image they belong to already, None for bytes that just came in.
    """

    sha256: str
    format: str
    bytes: int
    name: str
    handle: str | None = None


class _Incoming:
    """A file on its way into the store: refused as soon as its type or size is wrong."""

    def __init__(self, blobs: BlobStore, path: Path, file: RawIOBase, limit: int) -> None:
        self._blobs = blobs
        self._path = path
        self._file = file
        self._limit = limit
        self._head = b""
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, chunk: bytes) -> None:
        """Append a piece.

        Raises:
            LimitExceeded: FILE_TOO_LARGE.
            UnsupportedFormat: The first bytes are of no type that is read.
            StorageFull: The disk is full or read-only.
        """
        self._bytes += len(chunk)
        if self._bytes > self._limit:
            raise too_large(self._limit)
        if len(self._head) < HEAD_BYTES:
            self._head = (self._head + chunk[:HEAD_BYTES])[:HEAD_BYTES]
            if len(self._head) == HEAD_BYTES:
                sniff(self._head)
        self._hash.update(chunk)
        rest = memoryview(chunk)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            raise StorageFull("The server's disk is full, so nothing was stored. Free some space.") from error

    def finish(self, name: str) -> Resolved:
        """Move the whole file into the store.

        Raises:
            InvalidImage: It is empty.
            UnsupportedFormat: It is of no type that is read.
            StorageFull: The disk is full or read-only.
        """
        format = sniff(self._head)
        fallback = f"image.{kind_of(format).extension}"
        digest = self._hash.hexdigest()
        self._blobs.keep(self._path, digest, self._bytes)
        return Resolved(digest, format, self._bytes, clean_name(name, fallback))


@contextmanager
def _incoming(blobs: BlobStore, limit: int) -> Iterator[_Incoming]:
    blobs.check_space()
    # Unbuffered: nothing is left to flush, and to fail, when a refused file is closed.
    with blobs.temporary() as path, path.open("wb", buffering=0) as file:
        yield _Incoming(blobs, path, file, limit)


@asynccontextmanager
async def _incoming_in_threads(blobs: BlobStore, limit: int) -> AsyncIterator[_Incoming]:
    opened = _incoming(blobs, limit)
    incoming = await anyio.to_thread.run_sync(opened.__enter__)
    try:
        yield incoming
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(opened.__exit__, None, None, None)


def too_large(limit: int) -> LimitExceeded:
    """The error for a file over `limit` bytes."""
    return LimitExceeded(
        f"The file is over the limit of {limit / MIB:.3g} MiB. Make it smaller before sending it.",
        code="FILE_TOO_LARGE",
        limit=limit,
    )


class Intake:
    """Turns image arguments into stored bytes.

    Args:
        blobs: Where the bytes go.
        file_bytes: Largest file.
        find: The bytes behind a handle of a principal, or NotFound.
        fetcher: Downloads URLs; None where that is switched off.
        image_at: The handle of the picture that an address of this server is of, which needs no download.
    """

    def __init__(
        self,
        blobs: BlobStore,
        file_bytes: int,
        find: Callable[[Principal, str], Awaitable[Resolved]],
        fetcher: Fetcher | None = None,
        image_at: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._blobs = blobs
        self._file_bytes = file_bytes
        self._find = find
        self._fetcher = fetcher
        self._image_at = image_at

    @property
    def fetches(self) -> bool:
        """Whether it downloads URLs."""
        return self._fetcher is not None

    async def resolve(self, principal: Principal, value: Any, field: str) -> Resolved:
        """The bytes that `value` stands for.

        Args:
            principal: Whose handles and folders count.
            value: A handle, `darkroom://images/…`, a path or `file://` URL inside the principal's roots, an http or
                https URL, a data URI, or an object with `download_url`; or from a face that took the bytes in itself,
                these, or why it refused them.
            field: Name of the argument, for errors.

        Raises:
            InvalidSettings: It is none of these; the text names all doors that are open.
            NotFound: No such handle.
            PathNotAllowed: No such file inside the roots.
            UrlNotAllowed: Not a public web address, or downloads are switched off.
            FetchFailed: The address did not send a file.
            LimitExceeded: FILE_TOO_LARGE.
            UnsupportedFormat: The bytes are of no type that is read.
            InvalidImage: The file is empty.
        """
        try:
            return await self._resolve(principal, value, field)
        except DarkroomError as error:
            error.details.setdefault("field", field)
            raise

    async def _resolve(self, principal: Principal, value: Any, field: str) -> Resolved:
        if isinstance(value, DarkroomError):
            raise value
        if isinstance(value, Resolved):
            return value
        if isinstance(value, Mapping) and isinstance(url := value.get("download_url"), str):
            return await self._from_url(principal, url.strip())
        if not isinstance(value, str) or not (text := value.strip()):
            raise InvalidSettings(f"{field!r} is no image. {self._doors(principal)}", got=type(value).__name__)
        lower = text[:32].lower()
        if lower.startswith("data:"):
            return await self._from_data(principal, text)
        if lower.startswith(("http://", "https://")):
            return await self._from_url(principal, text)
        if lower.startswith(_IMAGES):
            return await self._find(principal, text[len(_IMAGES) :])
        if is_id(text, "img") or (text.startswith("img_") and not {".", "/"} & set(text)):
            return await self._find(principal, text)
        if len(text) > _LONGEST_PATH or (_SCHEME.match(text) and not lower.startswith("file:")):
            got = clean_text(text, 60)
            raise InvalidSettings(f"{field!r} is no image: {got!r}. {self._doors(principal)}", got=got)
        return await self._from_path(principal, text, field)

    async def receive(self, chunks: AsyncIterable[bytes], name: str) -> Resolved:
        """Store what arrives in pieces.

        Raises:
            LimitExceeded: FILE_TOO_LARGE; nothing is kept.
            UnsupportedFormat: The bytes are of no type that is read.
            InvalidImage: The file is empty.
            StorageFull: The disk is full.
        """
        async with _incoming_in_threads(self._blobs, self._file_bytes) as incoming:
            async for chunk in chunks:
                await anyio.to_thread.run_sync(incoming.write, chunk)
            return await anyio.to_thread.run_sync(incoming.finish, name)

    async def _from_url(self, principal: Principal, url: str) -> Resolved:
        if (handle := self._image_at(url)) is not None:
            return await self._find(principal, handle)
        if self._fetcher is None:
            raise UrlNotAllowed(f"URLs cannot be fetched here. {self._doors(principal)}")
        async with _incoming_in_threads(self._blobs, self._file_bytes) as incoming:

            async def write(chunk: bytes) -> None:
                await anyio.to_thread.run_sync(incoming.write, chunk)

            name = await self._fetcher.download(url, write)
            return await anyio.to_thread.run_sync(incoming.finish, name)

    async def _from_path(self, principal: Principal, path: str, field: str) -> Resolved:
        if not principal.roots:
            raise PathNotAllowed(f"{field!r} is no image: file paths cannot be used here. {self._doors(principal)}")

        def copy() -> Resolved:
            with open_file(principal, path, field) as (descriptor, place):
                if os.fstat(descriptor).st_size > self._file_bytes:
                    raise too_large(self._file_bytes)
                with _incoming(self._blobs, self._file_bytes) as incoming:
                    while chunk := os.read(descriptor, _CHUNK):
                        incoming.write(chunk)
                    return incoming.finish(place.name)

        return await anyio.to_thread.run_sync(copy)

    async def _from_data(self, principal: Principal, uri: str) -> Resolved:
        head = _DATA_URI.match(uri)
        if head is None:
            raise InvalidSettings(
                f"A data URI must start with data:image/…;base64, or data:application/pdf;base64, here. {self._doors(principal)}"
            )
        if len(uri) > DATA_URI_BYTES * 4 // 3 + 1_000:
            raise self._data_too_large(principal)

        def store() -> Resolved:
            try:
                data = base64.b64decode("".join(uri[head.end() :].split()), validate=True)
            except (binascii.Error, ValueError) as error:
                raise InvalidSettings(f"The data URI is no valid base64. {self._doors(principal)}") from error
            if len(data) > DATA_URI_BYTES:
                raise self._data_too_large(principal)
            with _incoming(self._blobs, self._file_bytes) as incoming:
                incoming.write(data)
                return incoming.finish("")

        return await anyio.to_thread.run_sync(store)

    def _data_too_large(self, principal: Principal) -> LimitExceeded:
        return LimitExceeded(
            f"A data URI may hold at most {DATA_URI_BYTES / 1e6:g} MB. {self._doors(principal)}",
            code="FILE_TOO_LARGE",
            limit=DATA_URI_BYTES,
        )

    def _doors(self, principal: Principal) -> str:
        doors = ["a handle img_…"]
        if principal.roots:
            doors.append("a file path inside an allowed folder")
        if self._fetcher is not None:
            doors.append("an https URL")
        doors.append(f"a data URI of at most {DATA_URI_BYTES / 1e6:g} MB")
        return f"Give {', '.join(doors)}, or send the file through create_upload and use the handle it answers."
