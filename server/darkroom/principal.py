"""Who is calling, and what they may do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

__all__ = ["ALL", "LOCAL", "OWN", "Permission", "Principal"]

Permission = Literal[
    "tools:run",
    "files:read",
    "files:write",
    "workflows:read",
    "workflows:write",
    "keys:own",
    "settings:read",
    "files:all",
    "workflows:all",
    "keys:all",
    "settings:write",
    "users:manage",
    "teams:manage",
    "branding:manage",
    "system:health",
]
"""One vocabulary for every face; `accounts/permissions.py` has the names that each face has for them."""

OWN: Final[frozenset[Permission]] = frozenset(
    {"tools:run", "files:read", "files:write", "workflows:read", "workflows:write", "keys:own", "settings:read"}
)
"""What everybody may do with what is theirs."""

ALL: Final[frozenset[Permission]] = OWN | frozenset(
    {
        "files:all",
        "workflows:all",
        "keys:all",
        "settings:write",
        "users:manage",
        "teams:manage",
        "branding:manage",
        "system:health",
    }
)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller behind a request.

    Attributes:
        id: Owner of what the call makes; every query names it.
        roots: Folders whose files the caller may name by path; none over HTTP.
        member_of: The team that the caller belongs to, empty for one of their own.
        permissions: What the caller may do: those of the role, fewer with a key of narrower scopes.
        username: For people.
        role: `admin` or `user`.
        credential: Id of the key or session that the call came with; empty for none.
        must_change_password: Somebody else set the password that the session was opened with.
    """

    id: str
    roots: tuple[Path, ...] = ()
    member_of: str = ""
    permissions: frozenset[Permission] = OWN
    username: str = ""
    role: Literal["admin", "user"] = "user"
    credential: str = ""
    must_change_password: bool = False

    @property
    def organisation(self) -> str:
        """Who pays for what the caller runs, and whose webhooks hear of it."""
        return self.member_of or self.id

    def may(self, permission: Permission) -> bool:
        """Whether the caller has a permission."""
        return permission in self.permissions


LOCAL = Principal("local", permissions=ALL, username="admin", role="admin")
"""The owner of the machine: who calls over stdio, and the first admin over HTTP. The default team has this id too."""
