"""What could go into an argument of a prompt or a resource address."""

from collections.abc import Iterable, Mapping

import mcp_types as types

from darkroom.faces.mcp.resources import IMAGE_TEMPLATE
from darkroom.faces.mcp.room import Context, Room
from darkroom.principal import Principal
from darkroom_prompts import Argument, Prompt
from darkroom_tools.kit.presets import social_presets

__all__ = ["Completions"]

MOST_VALUES = 100


class Completions:
    """completion/complete for image handles, resize presets, workflow names and choices."""

    def __init__(self, room: Room, prompts: Mapping[str, Prompt]) -> None:
        self._room = room
        self._prompts = prompts

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> types.CompleteResult:
        """Handle completion/complete; what has no values completes to nothing."""
        principal = self._room.principal(ctx)
        typed = params.argument.value
        if isinstance(params.ref, types.ResourceTemplateReference):
            found = await self._handles(principal, typed) if params.ref.uri == IMAGE_TEMPLATE else []
        else:
            prompt = self._prompts.get(params.ref.name)
            argument = prompt.argument(params.argument.name) if prompt is not None else None
            found = await self._values(principal, argument, typed) if argument is not None else []
        shown = found[:MOST_VALUES]
        return types.CompleteResult(
            completion=types.Completion(values=shown, total=len(found), has_more=len(found) > len(shown))
        )

    async def _values(self, principal: Principal, argument: Argument, typed: str) -> list[str]:
        if argument.type in ("image", "images"):
            *before, last = typed.split(",")
            lead = "".join(f"{part.strip()}, " for part in before) if argument.type == "images" else ""
            return [lead + handle for handle in await self._handles(principal, last.strip())]
        if argument.type == "workflow":
            await self._room.workflows.refresh(principal)
            common = await self._room.catalog.gallery()
            return _matching(
                typed, [*(saved.name for saved in self._room.workflows.list(principal)), *(one.id for one in common)]
            )
        if argument.type == "preset":
            return _matching(typed, social_presets())
        return _matching(typed, argument.choices)

    async def _handles(self, principal: Principal, typed: str) -> list[str]:
        """Handles that start so, and those of images whose name holds the text."""
        by_handle = typed.startswith("img_"[: len(typed)])
        page = await self._room.library.list(principal, limit=MOST_VALUES, query=None if by_handle else typed)
        return [record.id for record in page.images if not by_handle or record.id.startswith(typed)]


def _matching(typed: str, values: Iterable[str]) -> list[str]:
    """Values that hold the text, those that start with it first."""
    wanted = typed.casefold()
    held = [value for value in values if wanted in value.casefold()]
    return sorted(held, key=lambda value: not value.casefold().startswith(wanted))
