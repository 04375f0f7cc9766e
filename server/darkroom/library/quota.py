"""How much the pictures of one owner may take."""

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from darkroom.errors import QuotaExceeded
from darkroom.principal import LOCAL
from darkroom.store.schema import images

__all__ = ["Quota", "used_bytes"]

MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Quota:
    """The limit of every owner but the machine's, in bytes; 0 for none."""

    bytes: int = 0

    def check(self, connection: sa.Connection, owner: str, more: int, sha256: str = "") -> None:
        """Refuse what would not fit.

        Args:
            connection: Sees all images.
            owner: Whose they are.
            more: Bytes that are to come; 0 asks whether there is any room left at all.
            sha256: Their digest: what the owner has already costs nothing.

        Raises:
            QuotaExceeded: With what is used and allowed.
        """
        if not self.bytes or owner == LOCAL.id:
            return
        known = (images.c.owner == owner) & (images.c.sha256 == sha256)
        if sha256 and connection.scalar(sa.select(images.c.id).where(known).limit(1)):
            return
        used = used_bytes(connection, owner)
        if used + more > self.bytes or (not more and used >= self.bytes):
            coming = f", and {more / MB:.3g} MB more came" if more else ""
            raise QuotaExceeded(
                f"Your pictures take {used / MB:.4g} MB of the {self.bytes / MB:.4g} MB that you may have{coming}. "
                "Delete files that you no longer need, or ask an administrator for more room.",
                usedBytes=used,
                limit=self.bytes,
            )


def used_bytes(connection: sa.Connection, owner: str) -> int:
    """How much the pictures of an owner take, listed or not; equal bytes count once."""
    each = sa.select(sa.func.max(images.c.bytes).label("bytes")).where(images.c.owner == owner)
    distinct = each.group_by(images.c.sha256).subquery()
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(distinct.c.bytes), 0))) or 0)
