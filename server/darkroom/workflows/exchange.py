"""Workflows as one JSON document: what goes out, what may come in, and the JSON Schema of both."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from darkroom.workflows.document import Component, Option, Price, WorkflowDocument, WorkflowInput
from darkroom_prompts.gallery import FACTS
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.kit.clean import clean_text
from darkroom_tools.settings import explain, nearest, wire_names

__all__ = ["FORMAT", "FORMAT_VERSION", "MOST_BYTES", "cleaned", "export_document", "json_schema", "read_document"]

FORMAT: Final = "darkroom-workflow"
FORMAT_VERSION: Final = 1

MOST_BYTES: Final = 1024 * 1024
"""Of one document as JSON."""

DEEPEST: Final = 32
"""Objects and lists inside one another."""

HIDDEN: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\U000e0000-\U000e007f]")
"""Characters that a person does not see and a model reads. Joiners stay: emoji in captions are made of them."""

NESTED: Final[Mapping[str, type[BaseModel]]] = {
    "components": Component,
    "inputs": WorkflowInput,
    "options": Option,
    "price": Price,
}
"""What stands under these names, at any depth."""


def export_document(document: WorkflowDocument, *, published: bool) -> dict[str, Any]:
    """The document as JSON values. It holds no ids: whoever reads it makes a workflow of their own."""
    wire = document.to_wire() | ({} if published else {"published": False})
    if published:
        wire.pop("published", None)
    return {"format": FORMAT, "formatVersion": FORMAT_VERSION, **wire}


def read_document(given: str | bytes | Mapping[str, Any]) -> WorkflowDocument:
    """The document that somebody hands in, as JSON text or as values; nothing of it is run.

    Args:
        given: As `export_document` makes it. `format` and `formatVersion` may be missing from values, not from text.
            Ids and what else the gallery says of its own documents mean nothing elsewhere and are left out.

    Raises:
        InvalidSettings: With the path into the document, such as `components[2].type`.
    """
    values = _loads(given) if isinstance(given, str | bytes) else given
    if not isinstance(values, Mapping):
        raise InvalidSettings("A workflow is one JSON object, with name and components.")
    _check_depth(values)
    if not isinstance(given, str | bytes) and len(json.dumps(dict(values), default=str)) > MOST_BYTES:
        raise _too_large()
    _check_format(values, required=isinstance(given, str | bytes))
    document = {key: value for key, value in values.items() if key not in ("format", "formatVersion", *FACTS)}
    try:
        return WorkflowDocument.model_validate(document)
    except ValidationError as error:
        raise _explained(error) from error


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of an exported document."""
    schema = WorkflowDocument.model_json_schema(by_alias=True)
    schema["properties"]["inputs"]["additionalProperties"] = False
    definitions = schema.pop("$defs")
    head = {
        "format": {"const": FORMAT, "description": "What this file is."},
        "formatVersion": {"const": FORMAT_VERSION, "description": "Version of the format."},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{FORMAT}:{FORMAT_VERSION}",
        **schema,
        "title": "Darkroom workflow",
        "properties": {**head, **schema["properties"]},
        "required": [*head, *schema["required"]],
        "$defs": definitions,
    }


def cleaned(document: WorkflowDocument) -> WorkflowDocument:
    """The document with all its words on one line each and free of what cannot be seen; so it is stored.

    Values of settings keep their line breaks and joiners, because they may be drawn.

    Raises:
        InvalidSettings: Nothing is left of the name.
    """
    wire = _without_hidden(document.to_wire())
    _clean(wire, "name", "description", "project", "organisation", "author")
    if "tags" in wire:
        wire["tags"] = [word for word in (_line(tag) for tag in wire["tags"]) if word]
    for wanted in wire.get("inputs", {}).values():
        _clean(wanted, "title", "description", "role")
        for option in wanted.get("options", []):
            _clean(option, "optionId", "label")
    for component in wire["components"]:
        _clean(component, "label")
    return WorkflowDocument.parse(wire)


def _clean(values: dict[str, Any], *names: str) -> None:
    values |= {name: _line(values[name]) for name in names if name in values}


def _line(text: str) -> str:
    return " ".join(clean_text(text, len(text)).split())


def _without_hidden(value: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN.sub("", value)
    if isinstance(value, list):
        return [_without_hidden(each) for each in value]
    return {key: _without_hidden(each) for key, each in value.items()} if isinstance(value, dict) else value


def _loads(text: str | bytes) -> Any:
    if len(text) > MOST_BYTES:
        raise _too_large()
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        where = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InvalidSettings(f"This is no valid JSON{where}.") from error


def _no_number(name: str) -> float:
    raise ValueError(name)


def _check_depth(values: Mapping[str, Any]) -> None:
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _members(outer)]
    if level:
        raise _too_deep()


def _members(value: Any) -> Iterator[Any]:
    """The objects and lists directly inside one."""
    inner = value.values() if isinstance(value, Mapping) else value
    return (each for each in inner if isinstance(each, Mapping | list))


def _check_format(values: Mapping[str, Any], *, required: bool) -> None:
    said = values.get("format", None if required else FORMAT)
    if said != FORMAT:
        raise InvalidSettings(
            f"This is no Darkroom workflow: its format should be {FORMAT!r}.",
            field="format",
            got=clean_text(str(said), 60) if said is not None else None,
            allowed=[FORMAT],
        )
    version = values.get("formatVersion", None if required else FORMAT_VERSION)
    if type(version) is not int or version != FORMAT_VERSION:
        newer = " Update Darkroom to read it." if isinstance(version, int) and version > FORMAT_VERSION else ""
        raise InvalidSettings(
            f"The document's formatVersion is {clean_text(str(version), 20)}; this Darkroom reads {FORMAT_VERSION}."
            + newer,
            field="formatVersion",
            allowed=[FORMAT_VERSION],
        )


def _explained(error: ValidationError) -> InvalidSettings:
    """The first complaint with its path, and for an unknown name those that are known there."""
    first = error.errors(include_url=False)[0]
    path = _path(first["loc"])
    if first["type"] == "extra_forbidden":
        model, name = _model_at(first["loc"]), clean_text(str(first["loc"][-1]), 60)
        names = wire_names(model)
        near = nearest(name, names)
        hint = f" Did you mean {near!r}?" if near else ""
        return InvalidSettings(
            f"{path}: nothing is called {name!r} here.{hint} Allowed: {', '.join(names)}.",
            field=path,
            allowed=names,
            nearest=near,
        )
    plain = explain(error, WorkflowDocument)
    return InvalidSettings(
        plain.message.replace(repr(".".join(map(str, first["loc"]))), repr(path)), **{**plain.details, "field": path}
    )


def _path(loc: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{clean_text(part, 60)}" for part in loc)
    return "".join(parts).removeprefix(".") or "document"


def _model_at(loc: tuple[int | str, ...]) -> type[BaseModel]:
    """The model that a name stands in; the second part of a path is a number or an input's own id."""
    known = [NESTED[part] for part in (*loc[:1], *loc[2:-1]) if isinstance(part, str) and part in NESTED]
    return known[-1] if known else WorkflowDocument


def _too_large() -> InvalidSettings:
    return InvalidSettings(
        f"The document is larger than {MOST_BYTES // 1024} KiB, which is the most.", limit=MOST_BYTES
    )


def _too_deep() -> InvalidSettings:
    return InvalidSettings(f"The document nests objects and lists deeper than {DEEPEST}.", limit=DEEPEST)
