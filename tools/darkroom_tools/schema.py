"""Compact JSON Schemas: what a model reads is paid for in every conversation."""

from typing import Any

from pydantic import BaseModel

__all__ = ["compact_schema"]


def compact_schema(model: type[BaseModel], *, mode: str = "validation") -> dict[str, Any]:
    """The model's JSON Schema (2020-12) without titles, nulls, references or a root description.

    Every client then understands it: the root is a flat object, `anyOf` with null collapses to the type itself
    (null is still accepted), and definitions stand where they are used.
    """
    schema = model.model_json_schema(by_alias=True, mode="serialization" if mode == "serialization" else "validation")
    definitions = schema.pop("$defs", {})
    compacted: dict[str, Any] = _compact(schema, definitions)
    compacted.pop("description", None)
    return compacted


def _compact(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_compact(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rsplit("/", 1)[-1]]
        return _compact({**target, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    if "anyOf" in node:
        options = [option for option in node["anyOf"] if option != {"type": "null"}]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        if len(options) == 1:
            return _compact({**options[0], **rest}, definitions)
        node = {**rest, "anyOf": options}
    out: dict[str, Any] = {}
    for key, value in node.items():
        if key == "properties":
            out[key] = {name: _compact(prop, definitions) for name, prop in value.items()}
        elif key == "title" or (key == "default" and value is None):
            continue
        elif key in ("default", "enum", "const", "examples"):
            out[key] = value
        else:
            out[key] = _compact(value, definitions)
    return out
