"""Who is calling, and what they may do."""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOCAL", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller behind a request.

    Attributes:
        id: Owner of what the call makes; every query names it.
        roots: Folders whose files the caller may name by path; none over HTTP.
        member_of: The organisation that the caller belongs to, empty for one of their own.
    """

    id: str
    roots: tuple[Path, ...] = ()
    member_of: str = ""

    @property
    def organisation(self) -> str:
        """Who pays for what the caller runs, and whose webhooks hear of it."""
        return self.member_of or self.id


LOCAL = Principal("local")
"""The one user of an embedded server."""
