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
    """

    id: str
    roots: tuple[Path, ...] = ()


LOCAL = Principal("local")
"""The one user of an embedded server."""
