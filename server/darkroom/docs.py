"""llms.txt, llms-full.txt, a page per tool and the JSON Schema of workflows, all from what callers meet."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom.workflows.exchange import json_schema
from darkroom_tools.base import Tool
from darkroom_tools.registry import category_blurbs

__all__ = ["WORKFLOW_SCHEMA", "Page", "stale_files", "tool_page", "workflow_schema", "write_files"]

WORKFLOW_SCHEMA = "workflow.schema.json"
"""File that holds the JSON Schema of workflows."""

INTRODUCTION = """\
# Darkroom

> The image tool server for agents: every image operation as a schema-described MCP tool, saved pipelines that \
become tools themselves, and one shared engine behind them.

Pictures go by handle (`img_…`). An `image` argument also takes a file path inside the allowed folders (stdio), an \
https URL or a small data URI; `create_upload` gives an address to send anything else to. Every edit makes a new \
handle and leaves its source as it was. A reply states facts; `view_image` shows the picture.

Connect over stdio with the command `darkroom mcp`, or over HTTP at `/mcp` of `darkroom serve`. From a shell: \
`darkroom run resize photo.jpg --width 800`.
"""

MANAGEMENT_BLURBS = {
    "Management": "Pictures in, out and looked at; jobs that outlast a call.",
    "Workflows": "Several steps in one go, decoded once and encoded once; saved, they are a new tool.",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What the documentation says of one tool.

    Attributes:
        name: As called over MCP.
        title: For people.
        category: Section heading.
        summary: One sentence.
        description: All words.
        schema: JSON Schema of the arguments.
        example: Arguments of a call that works; `img_…` stands for any handle.
    """

    name: str
    title: str
    category: str
    summary: str
    description: str
    schema: Mapping[str, Any]
    example: Mapping[str, Any] = field(default_factory=dict)


def tool_page(tool: Tool) -> Page:
    """The page of an image tool."""
    images: dict[str, Any] = {i.name: ["img_…"] * i.least if i.many else "img_…" for i in tool.inputs if i.required}
    example = {**images, **tool.example}
    schema = tool.input_schema()
    return Page(tool.name, tool.title, tool.category, tool.summary, tool.description, schema, example)


def llms_txt(pages: Sequence[Page]) -> str:
    """The index after llmstxt.org: a title, a summary and sections of links."""
    parts = [INTRODUCTION]
    for category, members in _by_category(pages).items():
        parts.append(f"## {category}\n")
        parts.append(
            "\n".join(f"- [{p.name}](/tools/{p.name.replace('_', '-')}.md): {p.summary}" for p in members) + "\n"
        )
    parts.append(
        "## Optional\n\n- [llms-full.txt](/llms-full.txt): every tool with its full schema and an example\n"
        f"- [{WORKFLOW_SCHEMA}](/{WORKFLOW_SCHEMA}): JSON Schema of saved workflows as files\n"
    )
    return "\n".join(parts)


def llms_full_txt(pages: Sequence[Page]) -> str:
    """All pages in one text."""
    parts = [INTRODUCTION]
    for category, members in _by_category(pages).items():
        parts.append(f"## {category}\n")
        if blurb := MANAGEMENT_BLURBS.get(category) or category_blurbs().get(category):
            parts.append(f"{blurb}\n")
        parts.extend(render(page, level=3) for page in members)
    return "\n".join(parts)


def render(page: Page, *, level: int = 1) -> str:
    """One tool as Markdown."""
    call = {"name": page.name, "arguments": dict(page.example)}
    return (
        f"{'#' * level} {page.name}: {page.title}\n\n{page.description}\n\n"
        f"Arguments:\n\n```json\n{json.dumps(page.schema, indent=2, ensure_ascii=False)}\n```\n\n"
        f"Example call:\n\n```json\n{json.dumps(call, ensure_ascii=False)}\n```\n"
    )


def write_files(folder: Path, pages: Sequence[Page]) -> list[Path]:
    """Write llms.txt, llms-full.txt and workflow.schema.json into the folder; the files that changed."""
    changed = stale_files(folder, pages)
    for path in changed:
        path.write_text(_contents(pages)[path.name], encoding="utf-8")
    return changed


def stale_files(folder: Path, pages: Sequence[Page]) -> list[Path]:
    """The files that differ from what the schemas say."""
    return [
        folder / name
        for name, text in _contents(pages).items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def workflow_schema() -> str:
    """The JSON Schema of an exported workflow."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _contents(pages: Sequence[Page]) -> dict[str, str]:
    texts = {"llms.txt": llms_txt(pages), "llms-full.txt": llms_full_txt(pages)}
    return {**texts, WORKFLOW_SCHEMA: workflow_schema()}


def _by_category(pages: Sequence[Page]) -> dict[str, list[Page]]:
    grouped: dict[str, list[Page]] = {}
    for page in pages:
        grouped.setdefault(page.category, []).append(page)
    last = list(MANAGEMENT_BLURBS)
    return dict(sorted(grouped.items(), key=lambda item: (item[0] in last, item[0])))
