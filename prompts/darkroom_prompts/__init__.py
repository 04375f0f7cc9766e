"""Prompts for real jobs, as MCP prompts: one Markdown file each, its arguments declared in front matter."""

from darkroom_prompts.load import Argument, Prompt, PromptError, load_prompts

__all__ = ["Argument", "Prompt", "PromptError", "load_prompts"]
