"""Holds what a server answers against what its own OpenAPI document says that it answers."""

import copy
import functools
import re
from typing import Any

import httpx2
import jsonschema

from darkroom.web import api_document

__all__ = ["CHECKED", "check_documented"]

DOWNLOADS = "/files/"
"""Signed addresses, which no client makes up."""

DIALECT_2020 = "https://json-schema.org/draft/2020-12/schema"


def closed(schema: Any) -> Any:
    """The schema where no object has more than it says: a field that nobody documented is a mistake too."""
    if isinstance(schema, dict):
        shut = {"additionalProperties": False} if "properties" in schema else {}
        return {**shut, **{key: closed(value) for key, value in schema.items()}}
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


@functools.cache
def document() -> dict[str, Any]:
    found = copy.deepcopy(api_document())
    return {**found, "components": {**found["components"], "schemas": closed(found["components"]["schemas"])}}


def operation_at(method: str, path: str) -> dict[str, Any] | None:
    """What is documented there, literal paths first."""
    for template in sorted(document()["paths"], key=lambda each: each.count("{")):
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path):
            found: dict[str, Any] | None = document()["paths"][template].get(method.lower())
            if found is not None:
                return found
    return None


def resolved(value: dict[str, Any]) -> dict[str, Any]:
    """What a reference is to."""
    while "$ref" in value:
        where: Any = document()
        for key in value["$ref"].removeprefix("#/").split("/"):
            where = where[key]
        value = where
    return value


async def check_documented(response: httpx2.Response) -> None:
    """Raise AssertionError unless status, media type and body are as documented."""
    request, status = response.request, response.status_code
    if request.url.path.startswith(DOWNLOADS):
        return
    operation = operation_at(request.method, request.url.path.rstrip("/"))
    if operation is None:
        assert status in (404, 405), f"{request.method} {request.url.path} is not documented"
        return
    answers = operation["responses"]
    assert str(status) in answers or f"{status // 100}XX" in answers, f"{status} is not documented"
    content = resolved(answers.get(str(status)) or answers[f"{status // 100}XX"]).get("content", {})
    await response.aread()
    kind = response.headers.get("content-type", "").split(";")[0]
    if kind == "application/json":
        schema = {**content["application/json"]["schema"], "components": document()["components"]}
        jsonschema.Draft202012Validator({"$schema": DIALECT_2020, **schema}).validate(response.json())
    else:
        assert (kind in content or f"{kind.split('/')[0]}/*" in content) if response.content else not content


CHECKED: dict[str, Any] = {"event_hooks": {"response": [check_documented]}}
"""Options of a client whose every answer is checked."""
