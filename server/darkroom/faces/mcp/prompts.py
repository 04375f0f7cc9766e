"""Prompts for whole jobs, with arguments that are checked and completed."""

from collections.abc import Mapping

import mcp_types as types
from mcp.shared.exceptions import MCPError

from darkroom.faces.mcp.room import Context
from darkroom_prompts import Prompt, PromptError
from darkroom_tools.settings import nearest

__all__ = ["Prompts"]


class Prompts:
    """prompts/list and prompts/get over the prompt files."""

    def __init__(self, prompts: Mapping[str, Prompt]) -> None:
        self._prompts = prompts
        self._listed = [
            types.Prompt(
                name=prompt.name,
                title=prompt.title,
                description=prompt.description,
                arguments=[
                    types.PromptArgument(
                        name=argument.name, description=argument.description, required=argument.default is None
                    )
                    for argument in prompt.arguments
                ],
            )
            for prompt in prompts.values()
        ]

    async def list_prompts(
        self, _ctx: Context, _params: types.PaginatedRequestParams | None
    ) -> types.ListPromptsResult:
        """Handle prompts/list."""
        return types.ListPromptsResult(prompts=self._listed)

    async def get_prompt(self, _ctx: Context, params: types.GetPromptRequestParams) -> types.GetPromptResult:
        """Handle prompts/get."""
        prompt = self._prompts.get(params.name)
        if prompt is None:
            near = nearest(params.name, list(self._prompts))
            hint = f" Did you mean {near!r}?" if near else ""
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt {params.name[:60]!r}.{hint}")
        try:
            text = prompt.render(params.arguments or {})
        except PromptError as error:
            raise MCPError(types.INVALID_PARAMS, str(error)) from error
        message = types.PromptMessage(role="user", content=types.TextContent(text=text))
        return types.GetPromptResult(description=prompt.description, messages=[message])
