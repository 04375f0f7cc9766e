"""Forms with files: read as they arrive, each file straight into the store, within limits from the first byte."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import anyio
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from darkroom.engine.limits import MIB
from darkroom.intake import Intake, Resolved
from darkroom_tools.errors import DarkroomError, InvalidSettings, LimitExceeded
from darkroom_tools.kit.clean import clean_name

__all__ = ["MOST_FILES", "Form", "Part", "read_form"]

MOST_FILES: Final = 200
MOST_PARTS: Final = 1_000
MOST_BYTES: Final = 1024 * MIB
FIELD_BYTES: Final = MIB
BOUNDARY_BYTES: Final = 256

Event = tuple[str, Any]
"""`begin` with the part's headers, `data` with bytes, `end`."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of a form.

    Attributes:
        field: Name of the field.
        came: Its bytes in the store, or why they were refused. Either may be handed to a job as an image: one that was
            refused fails only its own item of a batch.
    """

    field: str
    came: Resolved | DarkroomError

    @property
    def file(self) -> Resolved:
        """Its bytes in the store.

        Raises:
            DarkroomError: They were refused.
        """
        if isinstance(self.came, DarkroomError):
            raise self.came
        return self.came


@dataclass(frozen=True, slots=True)
class Form:
    """What a form held, in the order in which it came."""

    fields: Mapping[str, Sequence[str]]
    files: Sequence[Part]

    def text(self, name: str, otherwise: str = "") -> str:
        """The last text of that field."""
        return self.fields[name][-1] if self.fields.get(name) else otherwise

    def parts(self, *names: str) -> list[Part]:
        """The files of these fields, or all of them if none is named."""
        return [part for part in self.files if not names or part.field in names]


@asynccontextmanager
async def read_form(
    request: Request,
    intake: Intake,
    discard: Callable[[str], Awaitable[Any]],
    *,
    most_files: int = MOST_FILES,
) -> AsyncIterator[Form]:
    """The form of a request. At the end of the block, bytes that nothing needs by then are gone again.

    Args:
        intake: Stores files.
        discard: Deletes bytes by digest unless an image or a job needs them.
        most_files: More are refused.

    Raises:
        InvalidSettings: It is no form, a damaged one, or has too many parts or files.
        LimitExceeded: It is longer than 1 GiB, or a text of it longer than 1 MiB.
    """
    fields: dict[str, list[str]] = {}
    files: list[Part] = []
    events = _events(request)
    try:
        async for kind, headers in events:
            if kind == "begin":
                name, filename = _names(headers)
                if filename is None:
                    fields.setdefault(name, []).append(await _text(events, name))
                else:
                    if len(files) == most_files:
                        raise InvalidSettings(
                            f"At most {most_files} files may come at once.", code="TOO_MANY_FILES", limit=most_files
                        )
                    files.append(Part(name, await _file(events, intake, filename)))
        yield Form(fields, files)
    finally:
        with anyio.CancelScope(shield=True):
            await events.aclose()
            for digest in {part.came.sha256 for part in files if isinstance(part.came, Resolved)}:
                await discard(digest)


async def _file(events: AsyncIterator[Event], intake: Intake, name: str) -> Resolved | DarkroomError:
    whole = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal whole
        async for kind, data in events:
            if kind == "end":
                break
            yield data
        whole = True

    arriving = chunks()
    try:
        return await intake.receive(arriving, name)
    except DarkroomError as error:
        if error.status >= 500:  # no fault of this file: nothing else would fare better
            raise
        async for _ in arriving:
            pass
        if not whole:  # the form itself broke off
            raise
        error.details.setdefault("filename", clean_name(name))
        return error


async def _text(events: AsyncIterator[Event], name: str) -> str:
    held = bytearray()
    async for kind, data in events:
        if kind == "end":
            break
        held += data
        if len(held) > FIELD_BYTES:
            raise LimitExceeded(
                f"The field {name[:60]!r} is over the limit of 1 MiB.", code="PAYLOAD_TOO_LARGE", limit=FIELD_BYTES
            )
    try:
        return held.decode()
    except UnicodeDecodeError as error:
        raise InvalidSettings(f"The field {name[:60]!r} is no UTF-8.", field=name[:60]) from error


async def _events(request: Request) -> AsyncGenerator[Event, None]:
    """The parts of a form as they arrive."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= BOUNDARY_BYTES:
        raise InvalidSettings("Send this as multipart/form-data, as `curl -F` does.", field="content-type")
    collected = _Collected()
    parser = MultipartParser(boundary, collected.callbacks())  # type: ignore[arg-type] # a TypedDict of any of them
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES:
                raise LimitExceeded(
                    f"The request is over the limit of {MOST_BYTES // MIB:,} MiB. Send fewer files at once.",
                    code="FILE_TOO_LARGE",
                    limit=MOST_BYTES,
                )
            parser.write(chunk)
            for event in collected.take():
                yield event
        parser.finalize()
    except MultipartParseError as error:
        raise InvalidSettings("The form is damaged. Send it as `curl -F` does.", field="body") from error
    if not collected.ended:
        raise InvalidSettings("The form ends before its last boundary.", field="body")


class _Collected:
    """What the parser told since it was last asked."""

    def __init__(self) -> None:
        self.ended = False
        self._events: list[Event] = []
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._parts = 0

    def take(self) -> list[Event]:
        """What was told, once."""
        taken, self._events = self._events, []
        return taken

    def callbacks(self) -> dict[str, Callable[..., None]]:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
            "on_part_end": lambda: self._events.append(("end", b"")),
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": lambda: self._events.append(("begin", self._headers)),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise InvalidSettings(f"A form has at most {MOST_PARTS} parts.", code="TOO_MANY_FILES", limit=MOST_PARTS)
        self._headers = {}

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _end(self) -> None:
        self.ended = True


def _names(headers: Mapping[bytes, bytes]) -> tuple[str, str | None]:
    """Name of the field, and of its file; None for a field that is text."""
    disposition, options = parse_options_header(headers.get(b"content-disposition", b""))
    name = options.get(b"name")
    if disposition != b"form-data" or name is None:
        raise InvalidSettings("A part of the form has no name. Send it as `curl -F` does.", field="body")
    filename = options.get(b"filename")
    kind, _ = parse_options_header(headers.get(b"content-type", b"text/plain"))
    if filename is None and not kind.startswith((b"image/", b"application/octet-stream", b"application/pdf")):
        return name.decode(errors="replace"), None
    return name.decode(errors="replace"), (filename or b"").decode(errors="replace")
