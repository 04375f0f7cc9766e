"""Pictures that come inside a JSON body: base64 data URLs, decoded in pieces, straight into the store."""

import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread

from darkroom.app import Darkroom
from darkroom.engine.limits import MIB
from darkroom.intake import Resolved
from darkroom_tools.errors import DarkroomError, InvalidSettings

__all__ = ["is_data_url", "stored_pictures"]

HEAD: Final = re.compile(r"data:(image/[a-z0-9.+-]+|application/pdf)(;[a-z0-9=.+-]+)*;base64,", re.IGNORECASE)
PIECE: Final = MIB
"""Characters that are decoded at once; of four characters come three bytes, so each piece stands for itself."""

SPACES: Final = " \t\r\n"
"""What may stand between them."""


def is_data_url(value: Any) -> bool:
    """Whether it is a text that begins like a data URL."""
    return isinstance(value, str) and value[:5].lower() == "data:"


@asynccontextmanager
async def stored_pictures(room: Darkroom, images: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """Image arguments with the bytes of their data URLs in the store, the others as they came.

    At the end of the block, bytes that no image and no job needs by then are gone again.

    Args:
        room: Whose store it is.
        images: By name an image as a caller writes it, or a list of them.

    Raises:
        InvalidSettings: A data URL is damaged, or says that it is no picture.
        LimitExceeded: A picture is over the limit of files.
        UnsupportedFormat: The bytes are of no type that is read.
        InvalidImage: There are none.
    """
    arrived: list[Resolved] = []

    async def one(name: str, value: Any) -> Any:
        if not is_data_url(value):
            return value
        try:
            arrived.append(await room.intake.receive(_decoded(value, name), ""))
        except DarkroomError as error:
            error.details.setdefault("field", name)
            raise
        return arrived[-1]

    try:
        yield {
            name: [await one(name, each) for each in value] if isinstance(value, list) else await one(name, value)
            for name, value in images.items()
        }
    finally:
        with anyio.CancelScope(shield=True):
            for digest in {file.sha256 for file in arrived}:
                await room.library.discard(digest)


async def _decoded(url: str, name: str) -> AsyncIterator[bytes]:
    head = HEAD.match(url[:200])
    if head is None:
        raise InvalidSettings(f"The data URL of {name!r} should begin with data:image/<type>;base64, here.", field=name)
    start = head.end()
    if any(url.find(space, start) >= 0 for space in SPACES):
        url, start = "".join(url[start:].split()), 0
    if url.find("=", start, len(url) - 2) >= 0:
        raise _damaged(name)
    for place in range(start, len(url), PIECE):
        yield await anyio.to_thread.run_sync(_bytes_of, url[place : place + PIECE], name)


def _bytes_of(text: str, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _damaged(name) from error


def _damaged(name: str) -> InvalidSettings:
    return InvalidSettings(f"The data URL of {name!r} holds no valid base64.", field=name)
