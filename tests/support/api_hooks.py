"""What Schemathesis does otherwise here; it loads this module by the variable SCHEMATHESIS_HOOKS.

Calls that are meant to be right get ids of things that there are, files that are pictures, and settings that the tool
knows. What is meant to be wrong stays as it was made up. Every refusal must be JSON that says why.
"""

import itertools
import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.transport.serialization import Binary

from darkroom_tools.registry import builtin_tools
from support.odd import TEST_DOCUMENTS, TEST_PHOTO

FOUND: dict[str, Any] = json.loads(Path(os.environ["DARKROOM_FOUND"]).read_text(encoding="utf-8"))
"""By the beginning of a path template: ids (`ids`) and whole bodies (`bodies`) that fit it. By the name of a field of a query
or form: a value (`values`), null where the field had better be left out."""

ODD_SETTINGS = [
    *("", "{}", "[]", "null", '"x"', "{", '{"nope": 1}', '{"width": 1e999}', '{"width": NaN}', '{"text": "\\ud800"}'),
    *('{"text": "\\u0000"}', '{"width": 10000000000000000000000000}', '{"width": -1, "width": 2}', "[" * 200),
    '{"a":' * 100 + "1" + "}" * 100,
]
turns = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Replace made-up values where the call is meant to be right."""
    if case.meta is None or case.meta.generation.mode.is_negative:
        return
    turn = next(turns)
    fitting = _found("ids", case.path)
    for name in case.path_parameters or {}:
        if fitting and turn % 4:
            case.path_parameters[name] = fitting[turn % len(fitting)]
    if turn % 4:
        _fill(case.query)
    if case.media_type == "multipart/form-data" and isinstance(case.body, dict):
        _fill_form(case, context.operation.definition.raw, turn)
    elif case.media_type == "application/json" and (bodies := _found("bodies", case.path)) and turn % 2:
        case.body = bodies[turn // 2 % len(bodies)]
    # Otherwise Schemathesis takes a body with a file in it for one that was meant to be wrong.
    case._record_starting_state()


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    """Write down what came of it."""
    with Path(os.environ["DARKROOM_CALLS"]).open("a", encoding="utf-8") as calls:
        calls.write(f"{case.method.upper()} {case.path} {response.status_code}\n")


@schemathesis.check
def refusals_say_why(_context: Any, response: Any, case: Any) -> None:
    """An error is JSON, and never one that nobody thought of."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    kind = response.headers["content-type"][0]
    assert kind.startswith("application/json"), f"{response.status_code} as {kind}"
    assert isinstance(response.json(), dict)
    assert '"INTERNAL"' not in response.text, response.text


def _fill(fields: Any) -> None:
    for name in [name for name in fields or () if name in FOUND["values"]]:
        if FOUND["values"][name] is None:
            del fields[name]
        else:
            fields[name] = FOUND["values"][name]


def _found(kind: str, path: str) -> list[Any]:
    fitting = [beginning for beginning in FOUND[kind] if path.startswith(beginning)]
    return FOUND[kind][max(fitting, key=len)] if fitting else []


def _fill_form(case: Any, operation: dict[str, Any], turn: int) -> None:
    fields = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    tool = builtin_tools().get(operation.get("x-tool", {}).get("id", ""))
    reads = [kind for kind in TEST_DOCUMENTS if tool and tool.inputs and kind == tool.inputs[0].name]
    data = Binary(TEST_DOCUMENTS[reads[0]] if reads else TEST_PHOTO)
    for name, value in case.body.items():
        schema = fields.get(name, {})
        if schema.get("format") == "binary" and turn % 8:
            case.body[name] = data
        elif schema.get("items", {}).get("format") == "binary" and turn % 8 and value:
            case.body[name] = [data] * max(min(len(value), 3), schema.get("minItems", 1))
    if tool or turn % 4:
        _fill(case.body)
        case.body |= FOUND["forms"].get(case.path, {})
    if "settings" in fields:
        examples = fields["settings"].get("examples", ["{}"])
        case.body["settings"] = examples[0] if turn % 5 else ODD_SETTINGS[turn // 5 % len(ODD_SETTINGS)]
