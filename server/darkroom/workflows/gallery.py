"""The gallery: workflows that come with Darkroom, for everybody to run and to copy."""

import functools
import logging
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from darkroom import __version__
from darkroom.workflows.compile import compile_workflow
from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.exchange import read_document
from darkroom.workflows.service import Saved
from darkroom_prompts.gallery import load_gallery
from darkroom_tools.base import Tool
from darkroom_tools.errors import DarkroomError
from darkroom_tools.registry import builtin_tools

__all__ = ["GALLERY", "gallery"]

log = logging.getLogger(__name__)

GALLERY = "gallery/"
"""How their ids begin."""


@functools.cache
def gallery() -> Mapping[str, Saved]:
    """All of them by slug, in their order; compiled when first asked for."""
    return MappingProxyType({slug: _entry(slug, document) for slug, document in load_gallery().items()})


def _entry(slug: str, written: Mapping[str, Any]) -> Saved:
    """One of them, from its document; one that does not compile says why."""
    document, tool, problem = WorkflowDocument.model_construct(name=slug, components=[]), None, None
    try:
        document = read_document(written)
        tool = _compiled(slug, document)
    except DarkroomError as error:
        log.error("the gallery's %s does not compile: %s", slug, error.message)
        problem = error.message
    return Saved(
        id=f"{GALLERY}{slug}",
        owner="",
        name=document.name,
        tool_name="",
        version=__version__,
        number=1,
        published=False,
        document=document,
        author="Darkroom",
        updated_at=0.0,
        tool=tool,
        problem=problem,
    )


def _compiled(slug: str, document: WorkflowDocument) -> Tool:
    compiled = compile_workflow(document, f"gallery-{slug}", builtin_tools())
    return replace(compiled, workflow=f"{GALLERY}{slug}", version=__version__)
