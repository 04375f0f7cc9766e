"""The answer that is a stored file: how it is named, kept, shown, and read in parts. One for all faces over HTTP."""

import re
from email.utils import formatdate
from pathlib import Path
from typing import Final

import anyio
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from darkroom.engine.sniff import DOCUMENTS, FORMATS, READ_ONLY
from darkroom.errors import NotFound
from darkroom.library.names import content_disposition, rendition_name
from darkroom.library.record import ImageRecord

__all__ = ["picture_answer"]

UNTRUSTED: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Served pictures can neither run scripts nor reach anything (an SVG could)."""

DAY_SECONDS: Final = 86_400
_ONE_RANGE: Final = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)
_EXTENSIONS: Final = {kind.media_type: kind.extension for kind in {**FORMATS, **READ_ONLY, **DOCUMENTS}.values()}


async def picture_answer(
    request: Request,
    record: ImageRecord,
    path: Path,
    media_type: str,
    *,
    inline: bool = True,
    max_age: int = DAY_SECONDS,
) -> Response:
    """A stored file as the answer to a request: whole, one part of it, or 304 for who has it already.

    Args:
        request: Its `Range`, `If-Range` and `If-None-Match` count. Several ranges at once are answered with the whole.
        record: The image that it is, or a rendition of it.
        path: The file; its name is different for other bytes.
        media_type: Of the file.
        inline: Whether a browser may show it in its place. It never shows what is not made of pixels, such as an SVG:
            that is a document which could act.
        max_age: Seconds for which the client need not ask again.

    Raises:
        NotFound: The file is gone.
    """
    try:
        facts = await anyio.Path(path).stat()
    except FileNotFoundError as error:
        raise NotFound("The file of this picture is gone. Hand the picture in again.") from error
    headers = {
        "content-disposition": content_disposition(_name(record, media_type), inline=inline and _shows(media_type)),
        "content-security-policy": UNTRUSTED,
        "x-content-type-options": "nosniff",
        "cache-control": f"private, max-age={max_age}, immutable" if max_age else "private, no-cache",
        "etag": f'"{path.name}"',
        "last-modified": formatdate(record.created_at, usegmt=True),
        "vary": "authorization",
    }
    if _has_it(request, headers["etag"]):
        return Response(status_code=304, headers=headers)
    if (wanted := request.headers.get("range")) is None:
        return FileResponse(path, media_type=media_type, headers=headers, stat_result=facts)
    part = _ONE_RANGE.fullmatch(wanted.replace(" ", ""))
    if part is None or (part[2] and int(part[2]) < int(part[1])):
        return _Whole(path, media_type=media_type, headers=headers, stat_result=facts)
    if (part[1] and int(part[1]) >= facts.st_size) or (part[3] and int(part[3]) == 0):
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{facts.st_size}"})
    return FileResponse(path, media_type=media_type, headers=headers, stat_result=facts)


class _Whole(FileResponse):
    """A file that is sent whole, whatever ranges were asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def _has_it(request: Request, etag: str) -> bool:
    """Whether the client already has these bytes."""
    said = request.headers.get("if-none-match", "")
    known = [tag.strip().removeprefix("W/") for tag in said.split(",")]
    return etag in known or "*" in known


def _name(record: ImageRecord, media_type: str) -> str:
    """What a download is called: a rendition by its own type."""
    if media_type == record.media_type or media_type not in _EXTENSIONS:
        return record.name
    return rendition_name(record.name, _EXTENSIONS[media_type])


def _shows(media_type: str) -> bool:
    """Whether a browser may show the file in its place: pictures made of pixels, which hold nothing that acts."""
    return media_type.startswith("image/") and media_type != "image/svg+xml"
