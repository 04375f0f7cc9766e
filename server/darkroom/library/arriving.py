"""Bytes that came in become an image: a worker reads their header, then they are recorded."""

import sqlalchemy as sa

from darkroom.engine.outcome import Picture
from darkroom.errors import Conflict
from darkroom.executors.segments import Executor
from darkroom.intake import Resolved
from darkroom.library.library import insert_source
from darkroom.library.quota import Quota
from darkroom.library.record import ImageRecord
from darkroom.store.blobs import BlobStore
from darkroom_tools.plan import Plan

__all__ = ["Arrivals"]


class Arrivals:
    """Reads and records what came in.

    Args:
        blobs: Where the bytes are already.
        executor: Its workers read headers.
        quota: How much one owner may have.
    """

    def __init__(self, blobs: BlobStore, executor: Executor, quota: Quota = Quota()) -> None:  # noqa: B008 - immutable
        self._blobs = blobs
        self._executor = executor
        self.quota = quota

    async def read_header(self, stored: Resolved) -> Picture:
        """What the header of stored bytes says; no pixel is decoded.

        Raises:
            LimitExceeded: A limit of the header.
            InvalidImage: The file is damaged.
        """
        finished = await self._executor.run(Plan(), [stored.sha256])
        return finished.outcome.inputs[0]

    def check_bytes(self, stored: Resolved) -> None:
        """Whether bytes that arrived are still there, in the transaction that counts on them.

        Raises:
            Conflict: They were deleted with another image of the same bytes.
        """
        if not self._blobs.exists(stored.sha256):
            raise Conflict("The same picture was deleted while it arrived. Send it again.")

    def record(
        self,
        connection: sa.Connection,
        owner: str,
        handle: str,
        stored: Resolved,
        picture: Picture,
        *,
        listed: bool = True,
        project: str | None = None,
    ) -> ImageRecord:
        """Record bytes as a new image.

        Raises:
            Conflict: The same bytes were deleted since they arrived.
            QuotaExceeded: The owner has no room for them.
        """
        self.check_bytes(stored)
        self.quota.check(connection, owner, stored.bytes, stored.sha256)
        return insert_source(
            connection, owner, handle, stored.sha256, picture, stored.name, listed=listed, project=project
        )
