"""The OpenAPI document: valid, whole, and saying what the routes and the tools say."""

import json
from typing import Any, NotRequired, cast

import pytest
from openapi_spec_validator import validate
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from darkroom.app import Darkroom
from darkroom.asgi import PLAIN
from darkroom.openapi import openapi
from darkroom.routing import FILE, PUBLIC, SIGNED_IN, Dialect, Door, Says, dialect_at
from darkroom.web import DIALECTS, api_document, dialect_routes
from darkroom_tools.registry import builtin_tools
from darkroom_tools.schema import compact_schema
from darkroom_tools.settings import Settings

NO_ROOM = cast(Darkroom, None)
PAGES = {"/oauth/device"}
"""For people."""


class Trouble(TypedDict):
    reason: str


class Inner(TypedDict):
    id: str
    width: int | None


class Listing(TypedDict):
    items: list[Inner]
    more: NotRequired[bool]


class Query(Settings):
    limit: int = 20
    """How many at most."""
    search: str | None = None


class Body(Settings):
    name: str
    parent_id: str | None = None


async def nothing(_request: Request) -> Response:
    return Response()


DIALECT = Dialect("Test", ("/test",), PLAIN.refuse, "Of the tests.", error=Trouble, tags={"/test/*/batch": "Batches"})


def told(*doors: Door) -> dict[str, Any]:
    document = openapi(doors, [DIALECT, PLAIN], builtin_tools().values(), "1.2")
    validate(document)
    return document


def one(path: str, **given: Any) -> dict[str, Any]:
    """What the document says of a single route."""
    given.setdefault("needs", "files:read")
    ((_, place),) = told(Door(path, nothing, **given))["paths"].items()
    (operation,) = place.values()
    return operation


def test_the_document_of_this_server_is_valid_openapi() -> None:
    document = api_document()
    assert document["openapi"].startswith("3.1")
    validate(document)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_every_address_of_a_dialect_is_told(dialect: Dialect) -> None:
    doors = [door for door in dialect_routes(NO_ROOM) if dialect_at(door.path, DIALECTS) is dialect]
    assert doors
    assert {door.path for door in doors if door.says is None} <= PAGES
    assert dialect.blurb
    assert dialect.error is not None
    operations = [operation for place in api_document()["paths"].values() for operation in place.values()]
    (group,) = (group for group in api_document()["x-tagGroups"] if group["name"] == dialect.name)
    told = [each for each in operations if each["tags"][0] in group["tags"]]
    assert len(told) >= len([door for door in doors if door.says is not None])


def test_operations_have_names_of_their_own_and_tags_that_are_told() -> None:
    document = api_document()
    operations = [operation for place in document["paths"].values() for operation in place.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert {tag for operation in operations for tag in operation["tags"]} == {tag["name"] for tag in document["tags"]}
    assert all(operation["summary"].endswith((".", "?")) for operation in operations)


def test_every_tool_has_an_address_with_its_files_and_settings() -> None:
    paths = api_document()["paths"]
    for tool in builtin_tools().values():
        operation = paths[f"/api/v1/tools/{tool.id}"]["post"]
        form = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        settings = form["properties"]["settings"]
        assert settings["contentMediaType"] == "application/json"
        assert settings["contentSchema"] == json.loads(json.dumps(compact_schema(tool.settings)))
        assert tool.settings.model_validate(json.loads(settings["examples"][0]))
        files = [image.name for image in tool.inputs]
        assert {"file", *files[1:]} <= set(form["properties"]) if files else "file" not in form["properties"]


def test_a_query_is_told_without_null_and_with_its_words() -> None:
    operation = one("/test/things", says=Says("List things.", query=Query, answer=Listing))
    assert operation["parameters"] == [
        {
            "name": "limit",
            "in": "query",
            "description": "How many at most.",
            "required": False,
            "schema": {"type": "integer", "default": 20},
        },
        {"name": "search", "in": "query", "required": False, "schema": {"type": "string"}},
    ]


def test_answers_refer_to_the_definitions_of_their_types() -> None:
    document = told(Door("/test/things", nothing, needs="files:read", says=Says("List things.", answer=Listing)))
    content = document["paths"]["/test/things"]["get"]["responses"]["200"]["content"]
    assert content == {"application/json": {"schema": {"$ref": "#/components/schemas/Listing"}}}
    defined = document["components"]["schemas"]
    assert defined["Listing"]["required"] == ["items"]
    assert defined["Inner"]["properties"]["width"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_an_answer_may_be_one_of_several_or_nothing() -> None:
    says = Says("Run.", answer=["image/*", Inner], more={202: Inner, 204: None}, headers={"X-Job-Id": "The job."})
    answers = one("/test/run", methods=["POST"], says=says)["responses"]
    assert answers["200"]["content"] == {
        "image/*": {"schema": dict(FILE)},
        "application/json": {"schema": {"$ref": "#/components/schemas/Inner"}},
    }
    assert answers["200"]["headers"] == {"X-Job-Id": {"description": "The job.", "schema": {"type": "string"}}}
    assert set(answers["202"]["content"]) == {"application/json"}
    assert "content" not in answers["204"]


def test_bodies_and_forms_say_what_they_need() -> None:
    body = one("/test/make", methods=["POST"], says=Says("Make.", body=Body))["requestBody"]
    assert body["required"]
    assert body["content"] == {"application/json": {"schema": {"$ref": "#/components/schemas/Body"}}}
    says = Says("Send.", form={"file": FILE, "name": {"type": "string"}}, required=["file"])
    form = one("/test/send", methods=["POST"], says=says)["requestBody"]
    assert form["required"]
    schema = form["content"]["multipart/form-data"]["schema"]
    assert (list(schema["properties"]), schema["required"]) == (["file", "name"], ["file"])


def test_it_says_who_may_come_in_and_how_errors_look() -> None:
    document = told(
        Door("/test/{id:int}", nothing, needs="files:read", says=Says("Show.")),
        Door("/test/open", nothing, needs=PUBLIC, says=Says("Look.")),
        Door("/test/me", nothing, needs=SIGNED_IN, says=Says("Who am I?")),
        Door("/test/a/batch", nothing, needs=SIGNED_IN, says=Says("Run many.")),
        Door("/hidden", nothing, needs=PUBLIC),
    )
    assert document["security"] == [{"bearer": []}]
    assert list(document["paths"]) == ["/test/a/batch", "/test/me", "/test/open", "/test/{id}"]
    closed, open_ = (document["paths"][path]["get"] for path in ("/test/{id}", "/test/open"))
    assert "`files:read`" in closed["description"]
    assert closed["parameters"] == [{"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}]
    assert "security" not in closed
    assert open_["security"] == []
    assert set(closed["responses"]) == {"200", "401", "403", "404", "4XX", "5XX"}
    assert set(open_["responses"]) == {"200", "4XX", "5XX"}
    error = document["components"]["responses"]["TestError"]["content"]["application/json"]["schema"]
    assert error == {"$ref": "#/components/schemas/Trouble"}
    assert document["tags"] == [
        {"name": "Test", "description": "Of the tests."},
        {"name": "Batches", "description": "Part of Test."},
    ]


def test_routes_at_one_address_are_told_together() -> None:
    paths = told(
        Door("/test/{id}", nothing, needs="files:read", methods=["GET"], says=Says("Show.")),
        Door("/test/{id}", nothing, needs="files:write", methods=["DELETE"], says=Says("Delete.", status=204)),
        Door("/test/asked", nothing, needs="files:read", methods=["HEAD"], says=Says("Ask.")),
    )["paths"]
    assert {path: list(place) for path, place in paths.items()} == {
        "/test/asked": ["head"],
        "/test/{id}": ["get", "delete"],
    }


def test_an_address_without_a_dialect_or_two_dialects_with_one_tag_are_mistakes() -> None:
    door = Door("/elsewhere", nothing, needs=PUBLIC, says=Says("Look."))
    with pytest.raises(ValueError, match="belongs to no dialect"):
        openapi([door], [DIALECT], [], "1.2")
    twin = Dialect("Twin", ("/twin",), PLAIN.refuse, tags={"/twin": "Test"})
    doors = [Door(path, nothing, needs=PUBLIC, says=Says("Look.")) for path in ("/test", "/twin")]
    with pytest.raises(ValueError, match="same tag"):
        openapi(doors, [DIALECT, twin], [], "1.2")
