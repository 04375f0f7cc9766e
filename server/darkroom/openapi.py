"""OpenAPI 3.1 of every address that programs call, from what the routes say of themselves."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from darkroom.routing import FILE, PUBLIC, SIGNED_IN, Dialect, Door, Says, dialect_at
from darkroom_tools.base import Tool
from darkroom_tools.schema import compact_schema

__all__ = ["openapi"]

DESCRIPTION: Final = """\
Image tools, saved workflows and files over HTTP, in several dialects: existing clients of each find the addresses, forms \
and errors that they know. All work on the same users, keys, pictures, jobs and workflows, and any key works in any of them.
"""
SCHEMAS: Final = "#/components/schemas/"
HEADERS: Final = "#/components/headers/"
RESPONSES: Final = "#/components/responses/"
NUMBERS: Final = {"int": "integer", "float": "number"}
SEVERAL: Final = 200
"""Files that one field may hold."""

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]


def openapi(doors: Iterable[Door], dialects: Sequence[Dialect], tools: Iterable[Tool], version: str) -> dict[str, Any]:
    """The document, JSON values only, always in the same order.

    Args:
        doors: Those that say nothing of themselves are left out.
        dialects: Who speaks where; each is a group of tags.
        tools: Each has its own address where a route says so.
        version: Of the server.

    Raises:
        ValueError: An address belongs to no dialect, or two dialects have the same tag.
    """
    spoken = [(door, door.says, _dialect(door, dialects)) for door in doors if door.says is not None]
    schemas = _Schemas([*(says for _, says, _ in spoken)], dialects)
    tags: dict[str, list[str]] = {dialect.name: [] for dialect in dialects}
    paths: dict[str, dict[str, Any]] = {}
    by_tool = sorted(tools, key=lambda tool: tool.id)
    for door, says, dialect in spoken:
        tag = _tag(door.path, dialect)
        tags[dialect.name] += [tag] if tag not in tags[dialect.name] else []
        for path, tool in _addresses(door, says, by_tool):
            place = paths.setdefault(_template(path), {})
            for method in _methods(door):
                place[method] = _Operation(door, says, dialect, schemas, tool).describe(path, method, tag)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "Darkroom",
            "version": version,
            "description": _introduction([dialect for dialect in dialects if tags[dialect.name]]),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}],
        "tags": _described(tags, dialects),
        "x-tagGroups": [_group(dialect, tags[dialect.name]) for dialect in dialects if tags[dialect.name]],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "A key or a session."}},
            "headers": _SHARED_HEADERS,
            "responses": {_refused(each): _error(each, schemas) for each in dialects if tags[each.name]},
            "schemas": dict(sorted(schemas.components.items())),
        },
    }
    every = [tag for members in tags.values() for tag in members]
    if len(every) > len(set(every)):
        raise ValueError("two dialects have the same tag")
    written: dict[str, Any] = json.loads(json.dumps(document))  # nothing twice by reference, which YAML would show
    return written


_SHARED_HEADERS: Final = {
    "RetryAfter": {"description": "Seconds until it is worth trying again.", "schema": {"type": "integer"}},
    "Challenge": {"description": "What is missing, after RFC 6750.", "schema": {"type": "string"}},
}


def _dialect(door: Door, dialects: Sequence[Dialect]) -> Dialect:
    found = dialect_at(door.path, dialects)
    if found is None:
        raise ValueError(f"{door.path} belongs to no dialect")
    return found


def _tag(path: str, dialect: Dialect) -> str:
    return next((name for pattern, name in dialect.tags.items() if fnmatchcase(path, pattern)), dialect.name)


def _group(dialect: Dialect, tags: Sequence[str]) -> dict[str, Any]:
    return {
        "name": dialect.name,
        "description": dialect.blurb.strip(),
        "tags": list(tags),
        "x-prefixes": list(dialect.prefixes),
        "x-error": f"{RESPONSES}{_refused(dialect)}",
    }


def _introduction(dialects: Sequence[Dialect]) -> str:
    return "\n".join([DESCRIPTION, *(f"## {each.name}\n\n{each.blurb.strip()}\n" for each in dialects if each.blurb)])


def _described(tags: Mapping[str, Sequence[str]], dialects: Sequence[Dialect]) -> list[dict[str, str]]:
    """Every tag, with the first words of its dialect at the first one."""
    found = []
    for dialect in dialects:
        for place, tag in enumerate(tags[dialect.name]):
            said = f"Part of {dialect.name}." if place else dialect.blurb.strip().partition("\n\n")[0]
            found.append({"name": tag, **({"description": said} if said else {})})
    return found


def _addresses(door: Door, says: Says, tools: Sequence[Tool]) -> Iterator[tuple[str, Tool | None]]:
    if not says.tools:
        yield door.path, None
    else:
        for tool in tools:
            yield re.sub(r"{[^}]*}", tool.id, door.path, count=1), tool


def _template(path: str) -> str:
    """The path without what Starlette says of the types of its parameters."""
    return re.sub(r":\w+}", "}", path)


def _methods(door: Door) -> list[str]:
    """The methods of a route in lower case; a HEAD that is only GET without a body is not told."""
    methods = {method.lower() for method in door.methods or ()}
    return sorted(methods - {"head"} if "get" in methods else methods)


class _Untitled(GenerateJsonSchema):
    """Schemas whose fields have no titles: their names say as much."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Schemas:
    """The schemas of all types that routes speak of, each defined once.

    Args:
        said: By all routes.
        dialects: For the forms of their errors.
    """

    def __init__(self, said: Sequence[Says], dialects: Sequence[Dialect]) -> None:
        kinds: dict[tuple[Any, Mode], None] = {}
        for says in said:
            kinds |= {(kind, "validation"): None for kind in (says.body, says.query) if kind is not None}
            for answer in (says.answer, *says.more.values()):
                kinds |= {(kind, "serialization"): None for kind in _kinds(answer) if not isinstance(kind, str)}
        kinds |= {(dialect.error, "serialization"): None for dialect in dialects if dialect.error is not None}
        inputs = [((kind, mode), mode, TypeAdapter(kind)) for kind, mode in kinds]
        found, defined = TypeAdapter.json_schemas(
            inputs,
            ref_template=SCHEMAS + "{model}",
            schema_generator=_Untitled,
        )
        self._found = {key: schema for (key, _), schema in found.items()}
        self.components: dict[str, Any] = defined.get("$defs", {})

    def of(self, kind: Any, mode: Mode) -> Schema:
        """The schema of a type, a reference where it has a definition."""
        return self._found[kind, mode]

    def whole(self, kind: type[BaseModel]) -> Schema:
        """The definition of a model that comes in."""
        schema = self.of(kind, "validation")
        found: Schema = self.components[schema["$ref"].removeprefix(SCHEMAS)] if "$ref" in schema else schema
        return found


def _kinds(answer: Any) -> list[Any]:
    return list(answer) if isinstance(answer, list | tuple) else [] if answer is None else [answer]


def _content(answer: Any, schemas: _Schemas) -> Schema:
    """The `content` of an answer, by media type."""
    content: Schema = {}
    for kind in _kinds(answer):
        if not isinstance(kind, str):
            content["application/json"] = {"schema": schemas.of(kind, "serialization")}
        else:
            content[kind] = _of_media_type(kind)
    return content


def _of_media_type(kind: str) -> Schema:
    """What is told of bytes of a kind; of a stream of events nothing, as it is no single value."""
    if kind == "text/event-stream":
        return {}
    if kind.endswith(("json", "yaml")):
        return {"schema": {"type": "object"}}
    return {"schema": {"type": "string"} if kind.startswith("text/") else dict(FILE)}


def _refused(dialect: Dialect) -> str:
    return f"{re.sub(r'[^A-Za-z0-9]', '', dialect.name)}Error"


def _error(dialect: Dialect, schemas: _Schemas) -> Schema:
    schema = {"type": "object"} if dialect.error is None else schemas.of(dialect.error, "serialization")
    content = {"application/json": {"schema": schema}}
    headers = {"Retry-After": {"$ref": f"{HEADERS}RetryAfter"}, "WWW-Authenticate": {"$ref": f"{HEADERS}Challenge"}}
    return {"description": "Why not, and what to do.", "headers": headers, "content": content}


class _Operation:
    """One method at one address."""

    def __init__(self, door: Door, says: Says, dialect: Dialect, schemas: _Schemas, tool: Tool | None) -> None:
        self._door = door
        self._says = says
        self._dialect = dialect
        self._schemas = schemas
        self._tool = tool

    def describe(self, path: str, method: str, tag: str) -> Schema:
        """The operation object."""
        summary = self._says.summary if self._tool is None else f"{self._tool.title}: {self._tool.summary}"
        described: Schema = {
            "operationId": method + "".join(map(_capitalised, re.findall(r"[A-Za-z0-9]+", _template(path)))),
            "tags": [tag],
            "summary": summary,
            "description": self._description(),
        }
        if parameters := [*_path_parameters(path), *self._query()]:
            described["parameters"] = parameters
        if content := self._request():
            described["requestBody"] = {"required": self._needs_body(content), "content": content}
        described["responses"] = self._responses()
        if self._door.needs == PUBLIC:
            described["security"] = []
        if self._tool is not None:
            described["x-tool"] = {"id": self._tool.id, "path": self._door.path, "summary": self._says.summary}
        return described

    def _description(self) -> str:
        needs = self._door.needs
        who = {PUBLIC: "Needs no key.", SIGNED_IN: "Needs a key or a session."}.get(
            needs, f"Needs a key or a session with the permission `{needs}`."
        )
        told = [self._tool.description] if self._tool is not None and self._tool.description else []
        told += [who, *([f"Proposed or inferred: {self._says.inferred}"] if self._says.inferred else [])]
        return "\n\n".join(told)

    def _query(self) -> list[Schema]:
        if self._says.query is None:
            return []
        model = self._schemas.whole(self._says.query)
        required = model.get("required", [])
        return [
            _parameter("query", name, _without_null(schema), required=name in required)
            for name, schema in model.get("properties", {}).items()
        ]

    def _request(self) -> Schema:
        """The `content` of the request, empty if it has no body."""
        content: Schema = {}
        if self._says.body is not None:
            content["application/json"] = {"schema": self._schemas.of(self._says.body, "validation")}
        if self._says.form or self._tool is not None:
            fields = {name: dict(schema) for name, schema in self._says.form.items()}
            required = list(self._says.required)
            if self._tool is not None:
                fields, required = _tool_form(self._tool, fields)
            form = {"type": "object", "properties": fields, **({"required": required} if required else {})}
            content["multipart/form-data"] = {"schema": form}
        return content

    def _needs_body(self, content: Schema) -> bool:
        body = self._says.body
        needed = body is not None and bool(self._schemas.whole(body).get("required"))
        form = content.get("multipart/form-data")
        return needed if form is None else "required" in form["schema"] and (body is None or needed)

    def _responses(self) -> Schema:
        says, needs = self._says, self._door.needs
        answers = {says.status: self._answer(), **says.more}
        responses: Schema = {}
        for status, answer in sorted(answers.items()):
            responses[str(status)] = {"description": HTTPStatus(status).phrase}
            if content := _content(answer, self._schemas):
                responses[str(status)]["content"] = content
        if says.headers:
            told = {name: {"description": text, "schema": {"type": "string"}} for name, text in says.headers.items()}
            responses[str(says.status)]["headers"] = told
        known = {"401": needs != PUBLIC, "403": needs not in (PUBLIC, SIGNED_IN), "404": "{" in self._door.path}
        refused = {"$ref": RESPONSES + _refused(self._dialect)}
        for status_text in (*(status for status, given in known.items() if given), "4XX", "5XX"):
            responses.setdefault(status_text, refused)
        return responses

    def _answer(self) -> Any:
        """What success looks like: of a tool that only reads no file comes."""
        if self._tool is None or not self._tool.read_only:
            return self._says.answer
        return [kind for kind in _kinds(self._says.answer) if not isinstance(kind, str)] or self._says.answer


def _capitalised(word: str) -> str:
    return word[0].upper() + word[1:]


def _path_parameters(path: str) -> list[Schema]:
    return [
        _parameter("path", name, {"type": NUMBERS.get(kind, "string")}, required=True)
        for name, kind in re.findall(r"{(\w+):?(\w*)}", path)
    ]


def _parameter(place: str, name: str, schema: Schema, *, required: bool) -> Schema:
    said = schema.get("description")
    rest = {key: value for key, value in schema.items() if key != "description"}
    told = {"description": said} if said else {}
    return {"name": name, "in": place, **told, "required": required, "schema": rest}


def _without_null(schema: Schema) -> Schema:
    """The schema of a value in a query, where there is no null: it is left out."""
    options = [option for option in schema.get("anyOf", []) if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return rest if not options else {**options[0], **rest} if len(options) == 1 else {**rest, "anyOf": options}


def _tool_form(tool: Tool, fields: Mapping[str, Schema]) -> tuple[dict[str, Schema], list[str]]:
    """The fields of a tool's form and those it needs: a file for each of its images, and its settings as JSON."""
    files: dict[str, Schema] = {}
    required = []
    for place, image in enumerate(tool.inputs):
        name = "file" if not place else image.name
        most = image.most or SEVERAL
        files[name] = (
            {"type": "array", "items": dict(FILE), "minItems": image.least, "maxItems": most}
            if image.many
            else {**FILE}
        )
        if image.description:
            files[name]["description"] = image.description
        required += [name] if image.required else []
    settings = compact_schema(tool.settings)
    example = json.dumps(dict(tool.example), ensure_ascii=False)
    written: Schema = {"type": "string", "contentMediaType": "application/json", "contentSchema": settings}
    if settings.get("required"):
        required.append("settings")
    others = {name: schema for name, schema in fields.items() if schema != FILE and name != "settings"}
    return {**files, "settings": {**written, "examples": [example]}, **others}, required
