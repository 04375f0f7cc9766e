"""What is known of the pictures of a call before anything is done: sizes and formats, never pixels.

A handle's facts stand in the library. A file or a data URI comes in as for a call, its header is read by a worker, and
it goes again. A web address is not asked: a dry run downloads nothing.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio

from darkroom.engine.outcome import Picture
from darkroom.intake import Intake, Resolved
from darkroom.library.library import Library, find_source, load_image
from darkroom.library.record import ImageRecord
from darkroom.principal import Principal
from darkroom.store.database import Database
from darkroom.workflows.preview import Given
from darkroom_tools.errors import DarkroomError, ProcessingTimeout
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.kit.format_rules import OPAQUE
from darkroom_tools.plan import Plan
from darkroom_tools.shape import Shape

if TYPE_CHECKING:
    from darkroom.executors.segments import Executor

__all__ = ["NOBODY", "Looker", "Seen"]

AT_ONCE: Final = 8
HEADER_SECONDS: Final = 10.0
LONGEST_LABEL: Final = 120

NOBODY: Final = object()
"""Stands for a picture that the caller has not named."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture of a call.

    Attributes:
        given: Its size and format, or a guess.
        label: Its handle, or what the caller called it; empty for one that nobody named.
        resolved: Its bytes in the store, None where they are not known.
    """

    given: Given
    label: str = ""
    resolved: Resolved | None = None


class Looker:
    """Looks at the pictures of calls.

    Args:
        database: At the newest schema.
        library: Knows the pictures that came before.
        intake: Brings in what is named otherwise.
        executor: Reads headers.
    """

    def __init__(self, database: Database, library: Library, intake: Intake, executor: "Executor") -> None:
        self._database = database
        self._library = library
        self._intake = intake
        self._executor = executor
        self._room = asyncio.Semaphore(AT_ONCE)

    async def look(
        self, principal: Principal, wanted: Mapping[str, tuple[str, Any]]
    ) -> dict[str, Seen | DarkroomError]:
        """The pictures, or why one could not be had.

        Args:
            principal: Whose handles and folders count.
            wanted: By any key the argument's name and value.
        """
        distinct = {_same(value): (field, value) for field, value in wanted.values()}
        found = await asyncio.gather(*(self._one(principal, field, value) for field, value in distinct.values()))
        by_value = dict(zip(distinct, found, strict=True))
        return {key: by_value[_same(value)] for key, (_, value) in wanted.items()}

    async def _one(self, principal: Principal, field: str, value: Any) -> Seen | DarkroomError:
        if value is NOBODY:
            return Seen(Given())
        if _is_address(value) and self._intake.fetches:
            return Seen(Given(), clean_text(str(value), LONGEST_LABEL))
        async with self._room:
            try:
                return await self._seen(principal, field, value)
            except DarkroomError as error:
                return error

    async def _seen(self, principal: Principal, field: str, value: Any) -> Seen:
        resolved = await self._intake.resolve(principal, value, field)
        label = resolved.handle or resolved.name
        if resolved.handle is None:
            try:
                given = await self._described(principal, resolved)
            finally:
                # Bytes that nothing else needs go again.
                with anyio.CancelScope(shield=True):
                    await self._library.discard(resolved.sha256)
            return Seen(given, label, resolved)
        return Seen(_of_record(await self._library.get(principal, resolved.handle)), label, resolved)

    async def _described(self, principal: Principal, resolved: Resolved) -> Given:
        """What is known of bytes that just came in: as they were before, or by their header."""

        def known(connection: Any) -> ImageRecord | None:
            handle = find_source(connection, principal.id, resolved.sha256)
            return load_image(connection, principal.id, handle) if handle is not None else None

        record = await self._database.read(known)
        if record is not None:
            return _of_record(record)
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                finished = await self._executor.run(Plan(), [resolved.sha256])
        except (TimeoutError, ProcessingTimeout):  # every worker is busy: better a guess than no answer
            return Given()
        return _of_picture(finished.outcome.inputs[0])


def _same(value: Any) -> str:
    return "" if value is NOBODY else json.dumps(value, sort_keys=True, default=str)


def _is_address(value: Any) -> bool:
    if isinstance(value, Mapping):
        return isinstance(value.get("download_url"), str)
    return isinstance(value, str) and value.strip().lower().startswith(("http://", "https://"))


def _of_record(record: ImageRecord) -> Given:
    return _given(record.format, record.width, record.height, record.frames, record.bytes)


def _of_picture(picture: Picture) -> Given:
    return _given(picture.format, picture.width, picture.height, picture.frames, picture.bytes)


def _given(format: str, width: int | None, height: int | None, frames: int, size: int) -> Given:
    alpha = width is not None and format not in OPAQUE
    return Given(Shape(width or 0, height or 0, frames, format, alpha=alpha), size, seen=True)
