"""What is saved: ordered steps, and what a caller may set."""

import re
from typing import Annotated, Any

from pydantic import Field

from darkroom_tools.settings import Settings

__all__ = ["InputOverride", "PipelineStep", "WorkflowDocument", "referenced_input"]

REFERENCE = re.compile(r"\$\{\{\s*inputs\.([A-Za-z][A-Za-z0-9_]{0,39})\s*\}\}")


def referenced_input(value: Any) -> str | None:
    """The name in `${{ inputs.name }}` if the value is such a reference."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


class PipelineStep(Settings):
    """One tool with its settings."""

    tool: str
    """Name of an image tool, such as resize."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Its settings; a value may be ${{ inputs.name }} in a saved workflow."""


class InputOverride(Settings):
    """Changes to an input; its type and limits come from the setting that it feeds."""

    default: Any = None
    """Used when the caller gives none."""

    description: Annotated[str, Field(max_length=120)] = ""
    """Replaces the words of the setting."""


class WorkflowDocument(Settings):
    """A saved pipeline, versioned as one JSON document."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """Name for people, in any script."""

    description: Annotated[str, Field(max_length=200)] = ""
    """What it is for."""

    steps: Annotated[list[PipelineStep], Field(min_length=1, max_length=20)]
    """Steps in order; each works on the result of the one before."""

    inputs: dict[str, InputOverride] = Field(default_factory=dict)
    """By name {default, description}, for inputs that steps refer to"""
