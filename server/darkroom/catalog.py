"""What a caller can call: built-in tools and saved workflows in one list, and the gallery beside it."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence

from darkroom.errors import NotFound
from darkroom.principal import Principal
from darkroom.workflows.gallery import GALLERY, gallery
from darkroom.workflows.service import Saved, Workflows, find_saved, missing
from darkroom_tools.base import Tool
from darkroom_tools.registry import builtin_tools
from darkroom_tools.settings import nearest

__all__ = ["Catalog", "builtin_names", "find_builtin"]


@functools.cache
def _by_alias() -> Mapping[str, Tool]:
    return {alias: tool for tool in builtin_tools().values() for alias in tool.aliases}


def find_builtin(name: str) -> Tool | None:
    """The built-in tool of that name or alias, also one that is switched off; kebab-case and snake_case are the same."""
    wanted = name.replace("_", "-")
    return builtin_tools().get(wanted) or _by_alias().get(wanted)


def builtin_names() -> Sequence[str]:
    """Every id and alias of a built-in tool."""
    return [*builtin_tools(), *_by_alias()]


class Catalog:
    """All tools of a principal under their MCP names.

    Args:
        workflows: The saved ones.
        disabled: Ids of the built-in tools that are switched off: for callers they are not there.
    """

    def __init__(self, workflows: Workflows, disabled: Callable[[], frozenset[str]] = frozenset) -> None:
        self._workflows = workflows
        self._disabled = disabled

    @property
    def builtin(self) -> Mapping[str, Tool]:
        """Built-in tools by id."""
        disabled = self._disabled()
        if not disabled:
            return builtin_tools()
        return {identifier: tool for identifier, tool in builtin_tools().items() if identifier not in disabled}

    def tools_for(self, principal: Principal) -> list[Tool]:
        """Built-in tools and the principal's workflows, each group by name."""
        return [*self.builtin.values(), *self._workflows.tools(principal)]

    def find(self, principal: Principal, name: str) -> Tool:
        """The tool of that name or alias; kebab-case and snake_case are the same.

        Raises:
            NotFound: With the nearest name.
        """
        if (builtin := find_builtin(name)) is not None:
            if builtin.id in self._disabled():
                raise NotFound(f"The tool {builtin.name!r} is switched off on this server.", got=builtin.name)
            return builtin
        tools = {tool.id: tool for tool in self._workflows.tools(principal)}
        if (workflow := tools.get(name.replace("_", "-"))) is not None:
            return workflow
        known = self.names(principal)
        near = known.get(nearest(name, list(known)) or "")
        hint = f" Did you mean {near!r}?" if near else ""
        raise NotFound(f"There is no tool {name[:60]!r}.{hint}", nearest=near)

    def names(self, principal: Principal) -> dict[str, str]:
        """The MCP name of every tool by each id and alias that it answers to."""
        disabled = self._disabled()
        aliases = {alias: tool.name for alias, tool in _by_alias().items() if tool.id not in disabled}
        return aliases | {tool.id: tool.name for tool in self.tools_for(principal)}

    async def gallery(self) -> Sequence[Saved]:
        """The workflows that come with Darkroom; they are not in the list of tools."""
        return list((await asyncio.to_thread(gallery)).values())

    async def workflow(self, principal: Principal, key: str) -> Saved:
        """A workflow to run: the principal's by name, tool name, id, `name@3` or version id, else the gallery's.

        Those of the gallery answer to their name, to their slug and to `gallery/<slug>`.

        Raises:
            NotFound: With the nearest name.
        """
        try:
            return await self._workflows.get(principal, key)
        except NotFound:
            common = await self.gallery()
        slug = key.strip().removeprefix(GALLERY).replace("_", "-").lower()
        found = find_saved(common, key) or next((saved for saved in common if saved.id == GALLERY + slug), None)
        if found is None:
            mine = [saved.name for saved in self._workflows.list(principal)]
            raise missing(key, [*mine, *(saved.name for saved in common), *(saved.id for saved in common)])
        return found
