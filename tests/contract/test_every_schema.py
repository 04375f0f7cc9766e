"""What every tool publishes: words, schemas, promised settings."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.calls import example_with

from darkroom_tools.base import Tool
from darkroom_tools.errors import InvalidSettings
from darkroom_tools.registry import builtin_tools, category_blurbs

TOOLS = list(builtin_tools().values())
PROMISED = json.loads((Path(__file__).parent / "promised_settings.json").read_text(encoding="utf-8"))
SETTINGS = [(tool, name, promise) for tool, settings in PROMISED.items() for name, promise in settings.items()]
every_tool = pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.id)


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from nodes(item)


def test_every_promised_tool_is_there() -> None:
    assert set(PROMISED) <= {tool.id for tool in TOOLS}


@every_tool
def test_name_file_function_and_folder_agree(tool: Tool) -> None:
    assert tool.function is not None
    assert tool.function.__name__ == tool.name == tool.function.__module__.rsplit(".", 1)[-1]
    assert re.fullmatch(r"[a-z][a-z0-9_]{1,39}", tool.name)
    assert tool.category in category_blurbs()


@every_tool
def test_the_tool_and_each_setting_have_words(tool: Tool) -> None:
    assert tool.title
    assert tool.summary.endswith(".")
    for name, prop in tool.input_schema()["properties"].items():
        described = prop.get("description") or prop.get("items", {}).get("description")
        assert described, f"{name} says nothing"
        assert len(described.split()) <= 16, f"{name} says too much"


@every_tool
def test_the_schema_is_one_flat_object_that_every_client_understands(tool: Tool) -> None:
    schema = tool.input_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert not {"oneOf", "anyOf", "allOf", "not", "if", "$ref", "$defs"} & set(schema)
    for node in nodes(schema["properties"]):
        assert not {"$ref", "title", "discriminator"} & {key for key in node if not isinstance(node[key], dict)}
        assert not isinstance(node.get("type"), list)
    for name, prop in schema["properties"].items():
        assert "type" in prop or "anyOf" in prop or "enum" in prop, f"{name} has no type"
        if "default" in prop:
            jsonschema.validate(prop["default"], prop)


@every_tool
def test_the_example_is_a_valid_call(tool: Tool) -> None:
    arguments = example_with(tool, "x")
    jsonschema.validate(arguments, tool.input_schema())
    tool.parse(arguments)


@every_tool
def test_an_unknown_setting_is_refused_with_the_nearest_name(tool: Tool) -> None:
    names = [name for name in tool.input_schema()["properties"] if name not in {i.name for i in tool.inputs}]
    if not names:
        return
    wrong = f"{max(names, key=len)}x"
    with pytest.raises(InvalidSettings) as refused:
        tool.parse({**example_with(tool, "x"), wrong: 1})
    assert refused.value.details["nearest"] == max(names, key=len)
    assert wrong in refused.value.message


@pytest.mark.parametrize(("tool_id", "name", "promise"), SETTINGS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_promised_setting_is_published_with_its_type_range_and_values(
    tool_id: str, name: str, promise: dict[str, Any]
) -> None:
    prop = builtin_tools()[tool_id].input_schema()["properties"][name]
    if "enum" in promise:
        accepted = set(prop.get("enum", promise["enum"]))
        assert set(promise["enum"]) <= accepted
    if "minimum" in promise:
        assert prop["minimum"] == promise["minimum"]
    if "maximum" in promise:
        assert prop["maximum"] == promise["maximum"]
    if "exclusiveMinimum" in promise:
        assert prop.get("exclusiveMinimum", prop.get("minimum", 0)) >= 0
    if "default" in promise and (tool_id, name) != ("remove-background", "model"):
        assert prop.get("default") == promise["default"]


@pytest.mark.parametrize(
    ("tool_id", "name", "alias"),
    [(tool, name, alias) for tool, name, promise in SETTINGS for alias in promise.get("aliases", [])],
)
def test_every_alias_of_a_setting_is_accepted_and_kept_out_of_the_schema(tool_id: str, name: str, alias: str) -> None:
    tool = builtin_tools()[tool_id]
    given = example_with(tool, "x")
    schema = tool.input_schema()["properties"][name]
    sample = PROMISED[tool_id][name].get("sample") or {"integer": 50, "number": 50, "array": []}.get(schema.get("type"))
    value = schema["enum"][-1] if "enum" in schema else given.pop(name, sample or "#102030")
    assert tool.parse({**given, name: value}) == tool.parse({**given, alias: value})
    assert alias not in tool.input_schema()["properties"]


@pytest.mark.parametrize(
    ("tool_id", "name", "spelling", "value"),
    [(t, n, s, v) for t, n, promise in SETTINGS for s, v in promise.get("valueAliases", {}).items()],
)
def test_every_other_spelling_of_a_value_is_accepted(tool_id: str, name: str, spelling: str, value: str) -> None:
    tool = builtin_tools()[tool_id]
    given = example_with(tool, "x")
    assert tool.parse({**given, name: spelling}) == tool.parse({**given, name: value})
