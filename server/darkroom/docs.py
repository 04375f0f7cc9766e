"""llms.txt, llms-full.txt, a page per tool and the JSON Schema of workflows, all from what callers meet.

What they say of the REST dialects comes from their OpenAPI document.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

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

REST = """\
## REST

- [API documentation](/api/docs): every address, to read and to try
- [openapi.yaml](/api/v1/openapi.yaml): OpenAPI 3.1 of all dialects; keys go in `Authorization: Bearer`
"""

MOST_PREFIXES = 3
"""Beginnings of paths that the index names of a dialect."""

Api = Mapping[str, Any]
"""An OpenAPI document."""

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


def llms_txt(pages: Sequence[Page], api: Api) -> str:
    """The index after llmstxt.org: a title, a summary and sections of links."""
    parts = [INTRODUCTION]
    for category, members in _by_category(pages).items():
        parts.append(f"## {category}\n")
        parts.append(
            "\n".join(f"- [{p.name}](/tools/{p.name.replace('_', '-')}.md): {p.summary}" for p in members) + "\n"
        )
    parts.append(REST + "".join(f"{_index_line(group)}\n" for group in _groups(api)))
    parts.append(
        "## Optional\n\n- [llms-full.txt](/llms-full.txt): every tool with its full schema and an example\n"
        f"- [{WORKFLOW_SCHEMA}](/{WORKFLOW_SCHEMA}): JSON Schema of saved workflows as files\n"
    )
    return "\n".join(parts)


def llms_full_txt(pages: Sequence[Page], api: Api) -> str:
    """All pages and all of the API in one text."""
    parts = [INTRODUCTION]
    for category, members in _by_category(pages).items():
        parts.append(f"## {category}\n")
        if blurb := MANAGEMENT_BLURBS.get(category) or category_blurbs().get(category):
            parts.append(f"{blurb}\n")
        parts.extend(render(page, level=3) for page in members)
    for group in _groups(api):
        error = _shape(
            _resolved(_resolved({"$ref": group["x-error"]}, api)["content"]["application/json"]["schema"], api), api
        )
        parts.append(f"## REST: {group['name']}\n\n{group['description']}\n\nErrors: `{error}`\n")
        parts.extend(_endpoints(api, group["tags"]))
    return "\n".join(parts)


def render(page: Page, *, level: int = 1) -> str:
    """One tool as Markdown."""
    call = {"name": page.name, "arguments": dict(page.example)}
    return (
        f"{'#' * level} {page.name}: {page.title}\n\n{page.description}\n\n"
        f"Arguments:\n\n```json\n{json.dumps(page.schema, indent=2, ensure_ascii=False)}\n```\n\n"
        f"Example call:\n\n```json\n{json.dumps(call, ensure_ascii=False)}\n```\n"
    )


def write_files(folder: Path, pages: Sequence[Page], api: Api) -> list[Path]:
    """Write llms.txt, llms-full.txt and workflow.schema.json into the folder; the files that changed."""
    changed = stale_files(folder, pages, api)
    for path in changed:
        path.write_text(_contents(pages, api)[path.name], encoding="utf-8")
    return changed


def stale_files(folder: Path, pages: Sequence[Page], api: Api) -> list[Path]:
    """The files that differ from what the schemas say."""
    return [
        folder / name
        for name, text in _contents(pages, api).items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != text
    ]


def workflow_schema() -> str:
    """The JSON Schema of an exported workflow."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _contents(pages: Sequence[Page], api: Api) -> dict[str, str]:
    texts = {"llms.txt": llms_txt(pages, api), "llms-full.txt": llms_full_txt(pages, api)}
    return {**texts, WORKFLOW_SCHEMA: workflow_schema()}


def _by_category(pages: Sequence[Page]) -> dict[str, list[Page]]:
    grouped: dict[str, list[Page]] = {}
    for page in pages:
        grouped.setdefault(page.category, []).append(page)
    last = list(MANAGEMENT_BLURBS)
    return dict(sorted(grouped.items(), key=lambda item: (item[0] in last, item[0])))


def _groups(api: Api) -> Sequence[Mapping[str, Any]]:
    """The dialects."""
    found: Sequence[Mapping[str, Any]] = api["x-tagGroups"]
    return found


def _index_line(group: Mapping[str, Any]) -> str:
    paragraph = " ".join(group["description"].partition("\n\n")[0].split()) or "Addresses of its own"
    where = ", ".join(f"`{prefix}`" for prefix in group["x-prefixes"][:MOST_PREFIXES])
    more = ", …" if len(group["x-prefixes"]) > MOST_PREFIXES else ""
    first = paragraph.partition(". ")[0].rstrip(".")
    return f"- [{group['name']}](/api/docs#/{quote(group['tags'][0])}): {first} ({where}{more})"


def _endpoints(api: Api, tags: Sequence[str]) -> Iterator[str]:
    """Each address with these tags as Markdown; those of single tools as the one that they are cases of."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for path, place in api["paths"].items():
        for method, operation in place.items():
            if operation["tags"][0] in tags:
                tool = operation.get("x-tool")
                found.setdefault((method, tool["path"] if tool else path), []).append(operation)
    for (method, path), operations in found.items():
        yield _endpoint(api, method, path, max(operations, key=lambda each: len(_media_types(each))))


def _media_types(operation: Mapping[str, Any]) -> list[str]:
    return [media for answer in operation["responses"].values() for media in answer.get("content", ())]


def _endpoint(api: Api, method: str, path: str, operation: Mapping[str, Any]) -> str:
    access = "public" if operation.get("security") == [] else "auth required"
    tool = operation.get("x-tool")
    lines = [f"### {method.upper()} {path} ({access})\n"]
    if tool:
        lines.append(f"{tool['summary']} `settings` is JSON text of the tool's arguments beside its images.\n")
    else:
        lines.append(f"{operation['summary']}\n\n{operation['description']}\n")
    for parameter in operation.get("parameters", []):
        lines.append(_field(parameter["in"], parameter["name"], parameter["schema"], parameter, api))
    for media, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(content["schema"], api)
        for name, field_ in schema.get("properties", {}).items():
            kind = "form" if media == "multipart/form-data" else "body"
            given = {"description": field_.get("description", ""), "required": name in schema.get("required", ())}
            lines.append(_field(kind, name, field_, given, api))
    for status, answer in operation["responses"].items():
        for media, content in answer.get("content", {}).items():
            shown = f" `{_shape(content['schema'], api)}`" if media == "application/json" else ""
            lines.append(f"- answer {status} {media}{shown}")
        if "$ref" not in answer and "content" not in answer:
            lines.append(f"- answer {status} without a body")
    return "\n".join(lines) + "\n"


def _field(kind: str, name: str, schema: Mapping[str, Any], given: Mapping[str, Any], api: Api) -> str:
    needed = ", required" if given.get("required") and kind != "path" else ""
    said = f": {given['description']}" if given.get("description") else ""
    bounds = (
        f", {schema.get('minimum', '')}..{schema.get('maximum', '')}" if {"minimum", "maximum"} & set(schema) else ""
    )
    default = f", default {json.dumps(schema['default'])}" if schema.get("default") is not None else ""
    return f"- {kind} `{name}` `{_shape(schema, api)}`{needed}{bounds}{default}{said}".replace("\n", " ")


def _resolved(schema: Mapping[str, Any], api: Api) -> Mapping[str, Any]:
    """The definition that a reference names."""
    if "$ref" not in schema:
        return schema
    found: Any = api
    for step in schema["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    definition: Mapping[str, Any] = found
    return definition


def _shape(schema: Mapping[str, Any], api: Api, inside: Sequence[str] = ()) -> str:
    """A JSON Schema in short: `{name: string, tags?: [string], size: integer | null}`."""
    if (reference := schema.get("$ref")) is not None:
        return "…" if reference in inside else _shape(_resolved(schema, api), api, (*inside, reference))
    for options in (schema.get("anyOf"), schema.get("oneOf")):
        if options:
            return " | ".join(dict.fromkeys(_shape(option, api, inside) for option in options))
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"[{_shape(schema['items'], api, inside)}]"
    if schema.get("properties"):
        needed = schema.get("required", ())
        members = (
            f"{name}{'' if name in needed else '?'}: {_shape(value, api, inside)}"
            for name, value in schema["properties"].items()
        )
        return f"{{{', '.join(members)}}}"
    if isinstance(values := schema.get("additionalProperties"), Mapping):
        return f"{{…: {_shape(values, api, inside)}}}"
    return "file" if schema.get("format") == "binary" else str(schema.get("type", "any"))
