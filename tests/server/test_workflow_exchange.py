"""Workflows as JSON documents: what goes out comes in again, the schema is true, and strange documents are refused."""

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.workflows.document import WorkflowDocument
from darkroom.workflows.exchange import (
    DEEPEST,
    FORMAT,
    MOST_BYTES,
    cleaned,
    export_document,
    json_schema,
    read_document,
)
from darkroom.workflows.gallery import gallery
from darkroom_prompts.gallery import FACTS, load_gallery
from darkroom_tools.errors import InvalidSettings

WHOLE: dict[str, Any] = {
    "format": FORMAT,
    "formatVersion": 1,
    "name": "Größe 小",
    "description": "For the shop.",
    "tags": ["shop"],
    "project": "Spring",
    "organisation": "Acme",
    "author": "Ann",
    "price": {"min": 1, "max": 4, "execution": 2},
    "published": False,
    "inputs": {
        "person": {"type": "image", "title": "Person", "role": "person"},
        "mood": {"type": "choice", "options": [{"optionId": "a", "label": "Calm", "value": 3}], "default": "a"},
        "width": {"minimum": 10, "maximum": 900.5, "default": 300},
    },
    "components": [
        {"id": "start", "type": "input", "label": "Who", "settings": {"field": "person"}},
        {"id": "small", "type": "resize", "settings": {"width": "${{ inputs.width }}"}, "written": True},
        {"type": "export", "settings": {"targetFormat": "PNG", "targetMode": "RGBA"}},
    ],
}


def text(**changes: Any) -> str:
    return json.dumps({**WHOLE, **changes})


def test_what_goes_out_comes_in_again() -> None:
    document = read_document(text())
    again = export_document(document, published=False)
    assert again == WHOLE
    assert read_document(json.dumps(again)) == document
    assert export_document(document, published=True) == {k: v for k, v in WHOLE.items() if k != "published"}


def test_the_schema_is_sound_and_takes_what_is_exported() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(WHOLE, schema)
    old = {"name": "Web", "steps": [{"tool": "resize", "settings": {"width": 2}}]}
    jsonschema.validate(export_document(WorkflowDocument.parse(old), published=True), schema)


@pytest.mark.parametrize("slug", load_gallery())
def test_every_document_of_the_gallery_fits_the_schema_and_comes_in(slug: str) -> None:
    written = {name: value for name, value in load_gallery()[slug].items() if name not in FACTS}
    jsonschema.validate(written, json_schema())
    entry = gallery()[slug]
    assert entry.problem is None
    exported = export_document(entry.document, published=True)
    jsonschema.validate(exported, json_schema())
    assert (
        read_document(json.dumps(exported)) == entry.document == read_document(json.dumps(dict(load_gallery()[slug])))
    )


SPOILED = [
    ({"name": ""}, "name"),
    ({"components": []}, "components"),
    ({"components": [{"settings": {}}]}, "components[0].type"),
    ({"components": [{"type": "resize", "settings": [1]}]}, "components[0].settings"),
    ({"inputs": {"9x": {}}}, "inputs"),
    ({"inputs": {"width": {"type": "picture"}}}, "inputs.width.type"),
    ({"inputs": {"mood": {"options": [{"label": "x"}]}}}, "inputs.mood.options[0].optionId"),
    ({"price": {"min": -1}}, "price.min"),
    ({"formatVersion": 2}, "formatVersion"),
    ({"formatVersion": "1"}, "formatVersion"),
    ({"formatVersion": True}, "formatVersion"),
    ({"format": "zip"}, "format"),
]


@pytest.mark.parametrize(("changes", "path"), SPOILED)
def test_what_the_schema_refuses_is_refused_with_the_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_document(text(**changes))
    assert str(refused.value.details["field"]).startswith(path)
    assert refused.value.message.endswith(".")
    if changes != {"formatVersion": True}:  # in JSON Schema true is not 1, in Python it is
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**WHOLE, **changes}, json_schema())


@pytest.mark.parametrize(
    ("changes", "path", "near"),
    [
        ({"descripton": "x"}, "descripton", "description"),
        ({"components": [{"type": "resize", "setings": {}}]}, "components[0].setings", "settings"),
        ({"inputs": {"options": {"titel": "x"}}}, "inputs.options.titel", "title"),
        ({"inputs": {"a": {"options": [{"optionid": "x", "labell": ""}]}}}, "inputs.a.options[0].", None),
        ({"price": {"maximum": 3}}, "price.maximum", "max"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_one_of_its_place(
    changes: dict[str, Any], path: str, near: str | None
) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_document(text(**changes))
    assert refused.value.details["field"].startswith(path)
    if near is not None:
        assert refused.value.details["nearest"] == near
        assert f"Did you mean {near!r}?" in refused.value.message


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "no valid JSON at line 1, column 1"),
        ("{", "no valid JSON"),
        ("[]", "one JSON object"),
        ("null", "one JSON object"),
        ('{"name": NaN}', "no valid JSON"),
        ('{"name": 1e999, "format": "darkroom-workflow", "formatVersion": 1, "components": []}', "name"),
        (b"\xff\xfe\x00", "no valid JSON"),
        ("{}", "its format should be 'darkroom-workflow'"),
        ('{"format": "darkroom-workflow"}', "formatVersion is None"),
        ('{"format": "darkroom-workflow", "formatVersion": 7}', "Update Darkroom"),
        ("[" * 100_000, "nests objects and lists deeper"),
        (" " * (MOST_BYTES + 1), "larger than 1024 KiB"),
    ],
)
def test_what_is_no_document_is_refused_with_words(given: str | bytes, said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        read_document(given)


def test_depth_and_size_are_judged_of_values_too() -> None:
    deep: Any = "end"
    for _ in range(DEEPEST):
        deep = {"a": deep}
    with pytest.raises(InvalidSettings, match="deeper than 32"):
        read_document({**WHOLE, "components": [{"type": "resize", "settings": deep}]})
    with pytest.raises(InvalidSettings, match="larger than"):
        read_document({**WHOLE, "components": [{"type": "resize", "settings": {"a": "x" * MOST_BYTES}}]})


def test_ids_of_others_are_left_behind() -> None:
    document = read_document(text(id="wf_foreign", slug="a", group="b", feature="c"))
    assert not {"id", "slug", "group", "feature"} & set(export_document(document, published=True))


def test_values_need_no_format_but_text_does() -> None:
    bare = {"name": "Web", "components": [{"type": "resize", "settings": {"width": 2}}]}
    assert read_document(bare).name == "Web"
    with pytest.raises(InvalidSettings, match="no Darkroom workflow"):
        read_document(json.dumps(bare))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*WHOLE, "steps", "id", "zz"]), JSON, max_size=6))
def test_any_values_are_read_or_refused_with_words(values: dict[str, Any]) -> None:
    try:
        document = cleaned(read_document({**WHOLE, **values}))
    except InvalidSettings as error:
        assert error.message.endswith((".", "?"))
        return
    jsonschema.validate(export_document(document, published=True), json_schema())
    assert cleaned(document) == document
