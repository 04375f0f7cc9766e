"""Calls that work for every tool: its example, on a picture or on a file of the kind that it reads."""

from pathlib import Path
from typing import Any

from darkroom_tools.base import Tool
from support.odd import TEST_DOCUMENTS

__all__ = ["WORK_ON_BYTES", "arguments_of", "example_with", "reads_documents", "reads_pictures"]

WORK_ON_BYTES = frozenset({"bulk-rename", "strip-metadata", "edit-metadata"})
"""Tools that need not decode a picture, so that they may take one that is damaged inside."""


def reads_documents(tool: Tool) -> bool:
    """Whether the tool is made for SVG or PDF files."""
    return any(image.as_file for image in tool.inputs) and bool(tool.reads)


def reads_pictures(tool: Tool) -> bool:
    """Whether the tool needs a picture."""
    return any(image.required for image in tool.inputs) and not reads_documents(tool)


def arguments_of(tool: Tool, image: Any, folder: Path) -> dict[str, Any]:
    """Arguments of a call on `image`; a tool for documents gets one in the caller's `folder` instead."""
    if reads_documents(tool):
        document = folder / f"document.{tool.reads[0]}"
        document.write_bytes(TEST_DOCUMENTS[tool.reads[0]])
        image = document.name
    return example_with(tool, image)


def example_with(tool: Tool, image: Any) -> dict[str, Any]:
    """The tool's example with `image` for every image that it needs, whatever it is."""
    images = {i.name: [image] * i.least if i.many else image for i in tool.inputs if i.required}
    return {**images, **tool.example}
