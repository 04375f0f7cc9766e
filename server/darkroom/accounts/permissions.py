"""The names that the faces have for permissions, and what a role may do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, get_args

from darkroom.principal import ALL, OWN, Permission
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.settings import nearest

__all__ = ["ROLES", "SCOPES", "names_of", "permissions_of"]

ROLES: Final[Mapping[str, frozenset[Permission]]] = {"admin": ALL, "user": OWN}

SCOPES: Final[Mapping[str, frozenset[Permission]]] = {
    **{name: frozenset({name}) for name in get_args(Permission)},
    "tools:use": frozenset({"tools:run"}),
    "files:own": frozenset({"files:read", "files:write"}),
    "pipelines:own": frozenset({"workflows:read", "workflows:write"}),
    "pipelines:all": frozenset({"workflows:all"}),
    "apikeys:own": frozenset({"keys:own"}),
    "apikeys:all": frozenset({"keys:all"}),
    "workflows:execute": frozenset({"tools:run", "workflows:read"}),
    "storage:read": frozenset({"files:read"}),
    "storage:write": frozenset({"files:write"}),
    "all": OWN,
    "admin": ALL,
}
"""Every scope that a key may be given, in the words of any dialect."""


def permissions_of(scopes: Iterable[str]) -> frozenset[Permission]:
    """What these scopes stand for together.

    Raises:
        InvalidSettings: One is unknown.
    """
    found: set[Permission] = set()
    for scope in scopes:
        if scope not in SCOPES:
            raise InvalidSettings(
                f"There is no scope {scope[:40]!r}. There are {', '.join(SCOPES)}.",
                field="scopes",
                got=scope[:40],
                nearest=nearest(scope[:40], list(SCOPES)),
            )
        found |= SCOPES[scope]
    return frozenset(found)


def names_of(permissions: Iterable[Permission], names: Sequence[str]) -> list[str]:
    """Those of a dialect's names whose permissions are all there, in their order."""
    have = frozenset(permissions)
    return [name for name in names if SCOPES[name] <= have]
